"""The ablation table in docs/notes/dual-encoder.md, drawn from docs/results/zero-shot-ablation.json: never typed.

    python tools/zero_shot_note.py [--check]

``--check`` changes nothing and fails if the table is not what the file says. The file is the ``results.json`` of
``lucida evaluate zero-shot-ablation``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import write_or_check

from lucida.core.results import Results
from lucida.workflows.zero_shot_ablation import DEFAULT, MEASURES, cell

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "dual-encoder.md"
RESULTS = ROOT / "docs" / "results" / "zero-shot-ablation.json"


def table(results: Results) -> str:
    """Rows × measures: top-1 in percent, and the paired difference from the default; bold where it excludes zero."""
    seeds = ", ".join(map(str, results.details["split_seeds"]))
    lines = [f"| split seeds {seeds} | {' | '.join(MEASURES)} |", "|---" * (1 + len(MEASURES)) + "|"]
    for name in results.details["rows"]:
        cells = [_marked(results, name, measure) for measure in MEASURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(["", *lines, ""])


def _marked(results: Results, name: str, measure: str) -> str:
    text = cell(results, name, measure)
    if name == DEFAULT:
        return text
    ends = results.metrics[f"{name}/{measure}/difference"].ci95
    return f"**{text}**" if ends is not None and (ends[0] > 0 or ends[1] < 0) else text


def blocks() -> dict[str, str]:
    """By name."""
    return {"ablation": table(Results.load(RESULTS))}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, NOTE, blocks)
