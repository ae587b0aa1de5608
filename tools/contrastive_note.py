"""The tables in docs/notes/contrastive-loss.md, drawn from the results files of two benchmarks: never typed.

    python tools/contrastive_note.py [--check]

``--check`` changes nothing and fails if a table is not what its file says.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import write_or_check

from lucida.core.results import Metric, Results

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "contrastive-loss.md"
RESULTS = ROOT / "docs" / "results" / "benchmarks"
WAYS = ("open_clip ClipLoss", "in tiles", "identities", "smoothing", "hard negatives", "all three")


def table(results: Results) -> str:
    """Ways × seconds, memory, and the ratio to the plain loss in tiles; medians with smallest and largest."""
    lines = ["| | seconds | MB | times the seconds in tiles |", "|---|---|---|---|"]
    for way in WAYS:
        cells = [
            spread(results.metrics[f"{way}/{what}"], form)
            for what, form in (("seconds", ".1f"), ("extra MB", ".0f"), ("times the seconds in tiles", ".2f"))
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    bound = spread(results.metrics["times the four products"], ".2f")
    memory = results.metrics["share of the peer's extra memory"].value
    lines += ["", f"In tiles: {bound} times the four products alone, {memory:.3f} of `ClipLoss`'s memory."]
    large = {
        what: results.metrics[f"65,536 pairs/{what}"].value
        for what in ("seconds", "extra MB", "times the four products")
    }
    lines[-1] += (
        f" 65,536 pairs, once: {large['seconds']:.0f} s, {large['extra MB']:.0f} MB, "
        f"{large['times the four products']:.2f} times the products."
    )
    return "\n".join(["", *lines, ""])


def attempts(results: Results) -> str:
    """Ways × seconds and the ratio to the products; medians with smallest and largest."""
    lines = ["| | seconds | times the four products |", "|---|---|---|"]
    for name in results.metrics:
        way, _, what = name.rpartition("/")
        if what == "seconds":
            ratio = results.metrics[f"{way}/times the four products"]
            lines.append(f"| {way} | {spread(results.metrics[name], '.2f')} | {spread(ratio, '.3f')} |")
    return "\n".join(["", *lines, ""])


def spread(metric: Metric, form: str) -> str:
    """
    >>> spread(Metric(1.5, (1.0, 2.0)), ".1f")
    '1.5 [1.0, 2.0]'
    """
    bounds = ", ".join(f"{bound:{form}}" for bound in metric.ci95 or ())
    return f"{metric.value:{form}} [{bounds}]"


def blocks() -> dict[str, str]:
    """By name."""
    loss, others = (Results.load(RESULTS / f"contrastive-{name}.json") for name in ("loss", "attempts"))
    return {"loss": table(loss), "attempts": attempts(others)}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, NOTE, blocks)
