"""The tables in docs/notes/encoder-training.md, drawn from the results files of two benchmarks: never typed.

    python tools/training_note.py [--check]

``--check`` changes nothing and fails if a table is not what its file says.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import write_or_check

from lucida.core.results import Results

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "encoder-training.md"
RESULTS = ROOT / "docs" / "results" / "benchmarks"
ARMS = ("equal padding, whole layers", "equal padding", "trimmed", "all")
PEERS = ("open_clip, 1 workers", "open_clip, 2 workers")
PARTS = ("pictures", "texts", "loss", "backward", "optimizer", "reading")


def rates(results: Results) -> str:
    """Ways × pictures a second and ratios; means over the seeds, with the smallest and largest ratio of a seed."""
    value = {name: metric.value for name, metric in results.metrics.items()}
    lines = ["| | steady pictures/s | over whole epochs | times open_clip's |", "|---|---|---|---|"]
    for way in (*PEERS, *ARMS):
        steady, whole = (f"{value[f'{way}/pictures a second, {kind}']:.0f}" for kind in ("steady", "whole epochs"))
        ratio = ""
        if way in ARMS:
            key = f"times faster, {way}"
            ratio = f"{value[key]:.2f} [{value[key + '/smallest of a round']:.2f}, "
            ratio += f"{value[key + '/largest of a round']:.2f}]"
        lines.append(f"| {way} | {steady} | {whole} | {ratio} |")
    each = results.details["zero-shot by seed"]
    listed = {who: ", ".join(f"{100 * score:.1f}" for score in scores) for who, scores in each.items()}
    lines += [
        "",
        f"Zero-shot top-1 among ten classes by seed: lucida {listed['ours']} %, open_clip {listed['theirs']} %",
    ]
    lines[-1] += f"; means {100 * value['ours/zero-shot top-1']:.1f} and {100 * value['theirs/zero-shot top-1']:.1f} %."
    return "\n".join(["", *lines, ""])


def parts(results: Results) -> str:
    """Where a step's time goes, milliseconds of one core a picture."""
    lines = [f"| | {' | '.join(PARTS)} |", "|---" * (1 + len(PARTS)) + "|"]
    for name, who in (("lucida", "ours"), ("open_clip", "theirs")):
        cells = (f"{results.metrics[f'{who}/ms of one core a picture/{part}'].value:.2f}" for part in PARTS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(["", *lines, ""])


def batches(results: Results) -> str:
    """Ways × pictures a second and memory."""
    lines = ["| batch | pictures/s | MB |", "|---|---|---|"]
    for name, metric in results.metrics.items():
        way, _, what = name.rpartition("/")
        if what == "pictures a second":
            lines.append(f"| {way} | {metric.value:.0f} | {results.metrics[f'{way}/extra MB'].value:.0f} |")
    share, times = (results.metrics[f"in passes/{what}"].value for what in ("share of the memory", "times the seconds"))
    lines += ["", f"2,048 pairs in 8 passes: {share:.2f} of the memory, {times:.2f} times the seconds."]
    return "\n".join(["", *lines, ""])


def blocks() -> dict[str, str]:
    """By name."""
    training, large = (Results.load(RESULTS / f"{name}.json") for name in ("dual-encoder-training", "large-batches"))
    return {"rates": rates(training), "parts": parts(training), "batches": batches(large)}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, NOTE, blocks)
