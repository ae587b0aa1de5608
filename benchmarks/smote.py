"""SMOTE, streamed, against imbalanced-learn's: seconds and peak anonymous memory, each run in a process of its own.

    python benchmarks/smote.py [--cases NAME ...] [--out docs/results/benchmarks/smote.json]

Cases that are measured in several calls are added to the file; each says on how many threads it ran.

Rows are a long tail of ten classes (the largest a hundred times the smallest), 64 float32 features each, correlated as
features of a tower are, in a memory-mapped file; every class is brought to the size of the largest. Anonymous memory is
what a process holds that lies in no file (``RssAnon``), sampled every 2 ms, above what it is after the imports.
Of the cases that both run, the rows are compared too: the same draws must give the same rows.

What bounds the time. Neighbours are all pairs: for Q rows of a class of n, 2·Q·n·(D + 1) operations, and one pass over
the Q·n distances for the smallest. ``bound`` is that number of operations at the speed of a plain matrix product of the
same shape, measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from anonymous_memory import Peak

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment

WIDTH, CLASSES, RATIO = 64, 10, 100
PEER_LIMIT = 200_000  # rows that imbalanced-learn is measured on too: its time grows with their square
MOST_OTHER = 1e-3  # share of rows that may differ: float32 tells two neighbours of nearly equal distance otherwise
CASES = {"50,000 rows": 50_000, "200,000 rows": 200_000, "1,000,000 rows": 1_000_000}


def write_rows(path: Path, rows: int) -> None:
    """Rows and labels of a long tail, shuffled; piece by piece."""
    generator = np.random.default_rng(0)
    shares = RATIO ** -(np.arange(CLASSES) / (CLASSES - 1))
    counts = np.floor(rows * shares / shares.sum()).astype(int)
    counts[0] += rows - counts.sum()
    labels = generator.permutation(np.repeat(np.arange(CLASSES), counts))
    mixing = generator.normal(size=(16, WIDTH))
    centres = generator.normal(size=(CLASSES, 16))
    features = np.lib.format.open_memmap(path / "features.npy", mode="w+", dtype=np.float32, shape=(rows, WIDTH))
    for start in range(0, rows, 10_000):
        part = labels[start : start + 10_000]
        hidden = centres[part] + generator.normal(size=(len(part), 16))
        features[start : start + 10_000] = np.maximum(hidden @ mixing, 0) + 0.1 * generator.normal(
            size=(len(part), WIDTH)
        )
    np.save(path / "labels.npy", labels)


def child(who: str, folder: Path) -> None:
    """One run; prints what it took."""
    features, labels = np.load(folder / "features.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    found: dict[str, float] = {}
    if who == "lucida":
        from lucida.data.smote import smote

        smote(features[:3000], labels[:3000], k_neighbors=1)  # what is loaded on first use
        with Peak() as peak:
            more, classes = smote(features, labels, random_state=0, out=folder / "lucida.npy")
        found["bound"] = bound(labels)
    else:
        from imblearn.over_sampling import SMOTE

        small = np.r_[np.flatnonzero(labels == 0)[:200], np.flatnonzero(labels == 1)[:100]]
        SMOTE(random_state=0).fit_resample(features[small], labels[small])
        with Peak() as peak:
            more, classes = SMOTE(random_state=0).fit_resample(features, labels)
        np.save(folder / "imbalanced-learn.npy", more)
    np.save(folder / f"{who} labels.npy", classes)
    found |= {"seconds": peak.seconds, "mb": peak.mb, "rows": len(more)}
    print(json.dumps(found))


def bound(labels: np.ndarray) -> float:
    """Seconds that the matrix products alone take, at the speed of a plain one."""
    from lucida.data.smote import CHUNK, QUERIES

    left, right, out = (torch.randn(*s) for s in ((QUERIES, WIDTH + 1), (WIDTH + 1, CHUNK), (QUERIES, CHUNK)))
    times = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        times.append(time.perf_counter() - began)
    counts = np.bincount(labels)
    legacy = np.random.RandomState(0)
    pairs = 0.0
    for n in counts[counts < counts.max()]:
        legacy.seed(0)
        pairs += float(len(np.unique(legacy.randint(0, n * 5, size=counts.max() - n) // 5))) * n
    return float(np.median(times)) * pairs / (QUERIES * CHUNK)


def measure(rows: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Both runs of a case; the rows they made are compared."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        write_rows(folder, rows)
        found = {}
        for who in ("lucida", "imbalanced-learn") if rows <= PEER_LIMIT else ("lucida",):
            command = [sys.executable, __file__, "--child", who, "--scratch", str(folder)]
            found[who] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        if len(found) == 1:
            return found
        ours, theirs = (np.load(folder / f"{who}.npy", mmap_mode="r") for who in found)
        assert ours.shape == theirs.shape
        far = 0
        for start in range(0, len(ours), 50_000):
            difference = np.abs(ours[start : start + 50_000] - theirs[start : start + 50_000]).max(axis=1)
            far += int((difference > 1e-3).sum())
        assert far <= MOST_OTHER * len(ours), f"{far} of {len(ours)} rows differ from imbalanced-learn's"
        assert np.array_equal(*(np.load(folder / f"{who} labels.npy") for who in found)), "other labels"
        found["lucida"]["other rows"] = far
    return found


def main() -> None:
    """Measure the cases, write the file; results of other cases in it stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/smote.json"))
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument(
        "--scratch", type=Path, default=None, help="a folder on a disk, for the rows; TMPDIR by default"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.scratch)
        return
    results = Results.load(options.out) if options.out.exists() else Results()
    for name in options.cases:
        found = measure(CASES[name], options.scratch)
        results.metrics = {key: value for key, value in results.metrics.items() if not key.startswith(f"{name}/")}
        for who, row in found.items():
            results.add(f"{name}/{who}/seconds", Metric(row["seconds"]))
            results.add(f"{name}/{who}/peak anonymous MB", Metric(row["mb"]))
            print(
                f"{name:16} {who:17} {row['seconds']:8.1f} s  {row['mb']:7.0f} MB  {row['rows']:,.0f} rows", flush=True
            )
        results.add(f"{name}/lucida/share of the bound", Metric(found["lucida"]["bound"] / found["lucida"]["seconds"]))
        results.add(f"{name}/threads", Metric(torch.get_num_threads()))
        if (other := found["lucida"].get("other rows")) is not None:
            results.add(f"{name}/rows that differ", Metric(other, None, int(found["lucida"]["rows"])))
            print(f"{name:16} rows that differ: {other}", flush=True)
    results.details = {
        "rows": CASES,
        "features": WIDTH,
        "classes": CLASSES,
        "ratio": RATIO,
        "environment": environment(0),
    }
    results.save(options.out)


if __name__ == "__main__":
    main()
