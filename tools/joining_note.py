"""The table of ways to join pictures to words in docs/notes/multimodal-llm.md, drawn from docs/results/joining.json.

    python tools/joining_note.py [--check]

``--check`` changes nothing and fails if the table is not what its file says.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import write_or_check

from lucida.core.results import Results
from lucida.models.joining import WAYS

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "multimodal-llm.md"
RESULTS = ROOT / "docs" / "results" / "joining.json"
SETS = ("random", "popular", "adversarial")


def ways(results: Results) -> str:
    """Ways × what they learned on the test scenes, percent but for AUROC."""

    def percent(name: str) -> str:
        metric = results.metrics[name]
        low, high = metric.ci95 or (metric.value, metric.value)
        return f"{100 * metric.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    lines = ["| `--language.join` | POPE random | popular | adversarial | AUROC | with another picture | CHAIR_i |"]
    lines.append("|---|---|---|---|---|---|---|")
    for way in WAYS:
        cells = [percent(f"{way}/pope/{how}/accuracy") for how in SETS]
        cells.append(f"{results.metrics[f'{way}/pope/random/auroc'].value:.3f}")
        cells += [percent(f"{way}/{name}") for name in ("blind/shuffled/accuracy", "chair/chair_i")]
        lines.append(f"| `{way}` | {' | '.join(cells)} |")
    scenes = results.metrics[f"{WAYS[0]}/pope/random/accuracy"].n
    about = f"Split seed {results.details['split_seed']}, {scenes} test scenes;"
    return "\n".join(["", *lines, "", f"{about} intervals over pictures, one training a way.", ""])


def blocks() -> dict[str, str]:
    """By name."""
    return {"ways": ways(Results.load(RESULTS))}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, NOTE, blocks)
