"""The tables in docs/notes/long-tail.md, drawn from docs/results/long-tail/: never typed.

    python tools/long_tail_note.py [--check]

``--check`` changes nothing and fails if the note is not what the files say. The files are the ``results.json`` of

    lucida evaluate long-tail --pictures CIFAR-10 --max-pictures 0 --ratio 100 --split-seed 200 [--profile step] ...

and, for ``limited.json``, of the same with ``--split-seed 205 --head-loss 0.08``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import write_or_check

from lucida.core.results import Metric, Results

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "long-tail.md"
FOLDER = ROOT / "docs" / "results" / "long-tail"
MEASURES = {"balanced_accuracy": "all", "accuracy_many": "many", "accuracy_medium": "medium", "accuracy_few": "few"}


def table(results: Results) -> str:
    """Methods, accuracies, and differences to plain cross-entropy, in points."""
    facts = results.details["long_tail"]
    lines = [
        f"| method | {' | '.join(MEASURES.values())} | minus plain: all | many | few |",
        "|---" * (len(MEASURES) + 4) + "|",
    ]
    for method in facts["methods"]:
        name = method["name"]
        own = [share(results.metrics[f"{name}/{measure}"]) for measure in MEASURES]
        kept = ("balanced_accuracy", "accuracy_many", "accuracy_few")
        against = [points(results.metrics.get(f"difference/{name}/{measure}")) for measure in kept]
        lines.append("| " + " | ".join([method["title"], *own, *against]) + " |")
    return "\n".join([*lines, "", machine(results.details), "", told(results)])


def told(results: Results) -> str:
    """The best method, and the best of those that take at most eight points from the most frequent third."""
    facts = results.details["long_tail"]
    titles = {method["name"]: method["title"] for method in facts["methods"]}
    best = facts["methods"][0]["name"]
    return (
        f"The best mean: {titles[best]}, {gains(results, best)}. The best that takes at most eight points from the "
        f"most frequent third: {titles[facts['careful']]}, {gains(results, facts['careful'])}."
    )


def gains(results: Results, name: str) -> str:
    """Differences to plain cross-entropy in words."""
    kept = {
        "balanced_accuracy": "over all",
        "accuracy_few": "on the rarest third",
        "accuracy_many": "on the most frequent",
    }
    return ", ".join(f"{points(results.metrics[f'difference/{name}/{m}'])} {words}" for m, words in kept.items())


def share(metric: Metric) -> str:
    """
    >>> share(Metric(0.7312, (0.72, 0.74)))
    '73.1 [72.0, 74.0]'
    """
    return f"{100 * metric.value:.1f}" + ("" if metric.ci95 is None else f" {bracket(metric.ci95, '.1f')}")


def points(metric: Metric | None) -> str:
    """
    >>> points(Metric(0.1, (0.05, 0.15))), points(None)
    ('+10.0 [+5.0, +15.0]', '')
    """
    if metric is None:
        return ""
    return f"{100 * metric.value:+.1f}" + ("" if metric.ci95 is None else f" {bracket(metric.ci95, '+.1f')}")


def bracket(interval: tuple[float, float], form: str) -> str:
    """
    >>> bracket((0.5, 1.0), ".0f")
    '[50, 100]'
    """
    return f"[{100 * interval[0]:{form}}, {100 * interval[1]:{form}}]"


def machine(details: dict[str, Any]) -> str:
    """Where and from which commit it was measured."""
    where = details["environment"]
    first, last = where["seed"], where["seed"] + details["long_tail"]["seeds"] - 1
    measured = f"{where['processor']}, commit `{where['commit'][:10]}`"
    return f"In percent, means and 95 % intervals over seeds {first} to {last}; {measured}."


def blocks() -> dict[str, str]:
    """By name."""
    return {path.stem: table(Results.load(path)) for path in sorted(FOLDER.glob("*.json"))}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, NOTE, blocks)
