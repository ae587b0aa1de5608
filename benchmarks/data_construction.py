"""Captions through `lucida data construct`: rows a second by stage, and peak memory, which must not follow the corpus.

    python benchmarks/data_construction.py [--rows 1000000] [--memory 256MB] [--ray]
        [--out docs/results/benchmarks/data-construction.json]

Made-up captions without pictures (a Zipf vocabulary of 20,000 words, 5 to 12 words each; 5 % are said again,
5 % with one word more, 2 % say nothing) go through reading, cleaning, deduplicating and balancing, a quarter of them
first and then all, each in a process of its own. Asserted: every planted repetition is dropped, what says nothing too,
and four times the rows take at most 1.5 times the memory. With ``--ray`` all rows go through Ray Data, too
(pip install 'camera-lucida[ray]'), and every manifest, with the hashes of all that was written, must be the same.

What bounds it. Reading and cleaning are Python, row by row: some ten microseconds for each of decoding, normal form and
regular expressions. Deduplicating hashes each group of four letters 32 times, about 45 groups a caption: 1,500 mixes of
eight operations, some ten microseconds in NumPy; the joins sort eight bands a row on disk. Balancing looks each word
up twice and draws one hash a concept. So some ten thousand rows a second and core, and memory is that of the
interpreter with its libraries, one batch of rows, DuckDB's limit, and the list of concepts.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lucida.core.results import Metric, Results, read_json
from lucida.core.run_folder import environment
from lucida.core.seeds import stream

WORDS, BATCH = 20_000, 50_000
REPEATED, EXTENDED, EMPTY = 0.05, 0.05, 0.02
GROWTH = 1.5


def write_captions(path: Path, rows: int) -> dict[str, int]:
    """A Parquet table of captions with addresses, and how many of each kind were planted."""
    generator = stream(0, "captions")
    letters = np.array(list("bcdfghjklmnprstvwz")), np.array(list("aeiou"))
    syllables = ["".join(pair) for pair in zip(*(generator.choice(kind, 4 * WORDS) for kind in letters), strict=True)]
    words = np.array(["".join(syllables[4 * i : 4 * i + 2 + i % 3]) + f"{i % 7}" for i in range(WORDS)])
    shares = 1 / (np.arange(WORDS) + 10.0)
    ends = np.cumsum(shares / shares.sum())
    planted = dict.fromkeys(("repeated", "extended", "empty"), 0)
    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            lengths = generator.integers(5, 13, count)
            drawn = words[np.minimum(np.searchsorted(ends, generator.random(int(lengths.sum()))), WORDS - 1)]
            captions = [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]
            kinds = generator.random(count)
            for i in range(1, count):
                # Repetitions are of the row before, long enough that a word more is still almost the same.
                if kinds[i] < REPEATED and kinds[i - 1] > 0.2:
                    captions[i], planted["repeated"] = captions[i - 1].upper() + "!", planted["repeated"] + 1
                elif kinds[i] < REPEATED + EXTENDED and kinds[i - 1] > 0.2 and len(captions[i - 1]) > 60:
                    captions[i], planted["extended"] = f"{captions[i - 1]} a", planted["extended"] + 1
                elif 0.1 <= kinds[i] < 0.1 + EMPTY:
                    captions[i], planted["empty"] = f"IMG_{start + i}.jpg", planted["empty"] + 1
            urls = [f"https://example.org/{start + i}.jpg" for i in range(count)]
            writer.write_table(pa.table({"url": urls, "caption": captions}, schema=schema))
    return planted


def construct(rows: int, folder: Path, memory: str, *, engine: str) -> Path:
    """Construct so many rows in a process of its own; returns the run's folder."""
    out = folder / engine
    shutil.rmtree(out, ignore_errors=True)
    command = ["data", "construct", "--captions-only", "--pictures", folder / "captions.parquet", "--out", out]
    settings = ["--engine", engine, "--memory", memory, "--balance.cap", rows // 1000, "--examples", "0"]
    settings += ["--deduplicate.same-caption", "1"]  # the addresses all differ: without it nothing would be a duplicate
    program = "import sys; from lucida.cli import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", program, *map(str, [*command, *settings])], check=True)
    return out


def measure(rows: int, folder: Path, memory: str, results: Results) -> float:
    """Write captions and construct pairs of them; returns the peak memory in MB."""
    planted = write_captions(folder / "captions.parquet", rows)
    out = construct(rows, folder, memory, engine="local")
    found = Results.load(out / "results.json")
    manifests = {path.parent.name[2:]: read_json(path) for path in sorted(out.glob("stages/*/manifest.json"))}
    check(manifests, planted)
    for stage, seconds in found.seconds.items():
        at = manifests[stage]["rows_in"] if stage in manifests else manifests["balance"]["rows_out"]
        results.add(f"{rows}/{stage}/rows a second", Metric(at / seconds, None, 1))
    total = sum(found.seconds.values())
    results.add(f"{rows}/all/rows a second", Metric(rows / total, None, 1))
    results.add(f"{rows}/all/peak MB", Metric(float(found.peak_mb or 0), None, 1))
    results.details[f"{rows}"] = {name: manifest["dropped"] for name, manifest in manifests.items()}
    print(f"{rows:>9,} rows: {rows / total:8,.0f} rows/s, peak {found.peak_mb:,.0f} MB", flush=True)
    return float(found.peak_mb or 0)


def compare(rows: int, folder: Path, memory: str, results: Results) -> None:
    """The same rows on Ray Data: every manifest is the same, byte for byte."""
    out = construct(rows, folder, memory, engine="ray")
    paths = sorted(path.relative_to(out) for path in out.glob("stages/*/manifest.json"))
    assert len(paths) == 4, paths
    for path in paths:
        assert (out / path).read_bytes() == (folder / "local" / path).read_bytes(), path
    seconds = sum(Results.load(out / "results.json").seconds.values())
    results.add(f"{rows}/ray/rows a second", Metric(rows / seconds, None, 1))
    results.details["ray"] = f"{len(paths)} manifests of {rows:,} rows equal those of the local engine, byte for byte"


def check(manifests: dict[str, dict], planted: dict[str, int]) -> None:
    """Everything that was planted is dropped, and nothing in its place."""
    assert manifests["clean"]["dropped"]["boilerplate"] == planted["empty"]
    dropped = manifests["deduplicate"]["dropped"]
    assert dropped["the same caption again"] >= planted["repeated"], (dropped, planted)
    found = dropped.get("almost the same caption", 0)
    assert found >= 0.99 * planted["extended"], (dropped, planted)
    assert sum(dropped.values()) <= 1.02 * (planted["repeated"] + planted["extended"]), (dropped, planted)


def main() -> None:
    """Measure a quarter of the rows and all, check, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory", default="256MB")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/data-construction.json"))
    given = parser.parse_args()
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        peaks = [measure(rows, Path(folder), given.memory, results) for rows in (given.rows // 4, given.rows)]
        if given.ray:
            compare(given.rows, Path(folder), given.memory, results)
    results.add("all/peak, four times the rows", Metric(peaks[1] / peaks[0], None, 1))
    results.details |= {"interval": "one run", "memory": given.memory, "environment": environment(seed=0)}
    results.save(given.out)
    assert peaks[1] <= GROWTH * peaks[0], f"peak memory follows the corpus: {peaks}"


if __name__ == "__main__":
    main()
