"""The tables and pictures in docs/notes/remedies.md, drawn from docs/results/remedies/: never typed.

    python tools/remedies_note.py [--check]

``--check`` changes nothing and fails if note or pictures are not what the files say. The files are the
``results.json`` of

    lucida evaluate remedies --run runs/default --out runs/remedies            (default.json)
    lucida evaluate remedies --run runs/patient --out runs/remedies-patient    (patient.json)

after ``lucida run --split-seed 21`` and ``lucida run --recipe patient --split-seed 21``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import drawn

from lucida.core.results import Metric, Results, write_text
from lucida.report.remedy_frontier import frontier_picture
from lucida.workflows.remedy_abilities import BLIND

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "remedies.md"
FOLDER = ROOT / "docs" / "results" / "remedies"
BENCHMARKS = ROOT / "docs" / "results" / "benchmarks"
COSTS = {"default model": "decoding-remedies.json", "reference patient": "decoding-remedies-patient.json"}
IMAGES = ROOT / "docs" / "images"
MODELS = ("default", "patient")
ALT = "What is made up against what is named, and false yes against the time of decoding, by remedy"
GREEDY = {
    "chair_i": "made up (CHAIR_i)",
    "recall": "named of what is there",
    "mean_words": "words",
    "chair_i_at_equal_length": "made up, cut where the shorter description ends",
    "plain_chair_i_at_equal_length": "as it is, cut there",
    "decoding_cost": "time of decoding",
    "training_seconds": "s of training",
}
ABILITIES = {
    "count_accuracy": "counted right",
    "count_balanced_accuracy": "every count alike",
    "where_accuracy": "places told right",
    "naming_accuracy": "the one thing named",
}
ANSWERS = {
    "adversarial/false_yes": "false yes, adversarial",
    "random/false_yes": "random",
    "adversarial/yes_recall": "yes to what is there",
    "adversarial/yes_ratio": "yes-ratio",
    "adversarial/false_yes_at_true_yes": "false yes at as many yes as are true",
    "adversarial/false_yes_at_equal_yes": "at as many yes as before",
    "adversarial/false_yes_at_equal_recall": "false yes at as many right yes",
    "adversarial/auroc": "AUROC",
}
SAMPLED = {
    "sampled/chair_i": "made up (CHAIR_i)",
    "sampled/recall": "named of what is there",
    "sampled/adversarial/false_yes": "false yes, adversarial",
    "sampled/adversarial/yes_recall": "yes to what is there",
}
PLAIN = {"mean_words": ".1f", "decoding_cost": ".2f", "training_seconds": ".0f", "adversarial/auroc": ".3f"}


def table(results: Results, columns: dict[str, str]) -> str:
    """Remedies × measures; shares in percent with their intervals, nothing where a file does not have them."""
    names = [*results.details["trials"]]
    names += [BLIND] if any(f"{BLIND}/{column}" in results.metrics for column in columns) else []
    lines = [f"| remedy | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [shown(column, results.metrics.get(f"{name}/{column}")) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(column: str, metric: Metric | None) -> str:
    """
    >>> shown("chair_i", Metric(0.0312, (0.02, 0.041))), shown("decoding_cost", Metric(1.084, (1.0, 1.1)))
    ('3.1 [2.0, 4.1]', '1.08')
    """
    if metric is None or not math.isfinite(metric.value):
        return ""
    if column in PLAIN:
        return f"{metric.value:{PLAIN[column]}}"
    bounds = "" if metric.ci95 is None else " [" + ", ".join(f"{100 * bound:.1f}" for bound in metric.ci95) + "]"
    return f"{100 * metric.value:.1f}{bounds}"


def picture(name: str) -> str:
    """The drawing of a model."""
    results = Results.load(FOLDER / f"{name}.json")
    return frontier_picture(results.metrics, results.details["trials"])


def block(name: str) -> str:
    """The drawing and all tables of a model."""
    results = Results.load(FOLDER / f"{name}.json")
    environment = results.details["environment"]
    parts = [
        f"![{ALT}](../images/remedies-{name}.svg)",
        "Descriptions, likeliest words:\n\n" + table(results, GREEDY),
        "Abilities that a remedy must not cost:\n\n" + table(results, ABILITIES),
        "Answers to “is there a …?”:\n\n" + table(results, ANSWERS),
        "Sampled words, temperature 1:\n\n" + table(results, SAMPLED),
        f"Measured on {environment['processor']} at commit {str(environment['commit'])[:7]}.",
    ]
    return "\n\n".join(parts)


def costs() -> str:
    """Times of decoding, measured alone: remedies × models, with quartiles."""
    found = {name: Results.load(BENCHMARKS / file).metrics for name, file in COSTS.items()}
    lines = [f"| remedy | {' | '.join(found)} |", "|---" * (1 + len(found)) + "|"]
    for measure in next(iter(found.values())):
        cells = [
            f"{own[measure].value:.2f} [{', '.join(f'{q:.2f}' for q in own[measure].ci95 or ())}]"
            for own in found.values()
        ]
        lines.append(f"| {measure.split('/')[0]} | {' | '.join(cells)} |")
    return "\n".join(["", *lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    note = read(NOTE)
    files = {IMAGES / f"remedies-{name}.svg": picture(name) for name in MODELS}
    files[NOTE] = drawn(note, "remedies_note.py", {name: block(name) for name in MODELS} | {"cost": costs()})
    if options.check:
        stale = [
            str(path.relative_to(ROOT)) for path, made in files.items() if not path.is_file() or read(path) != made
        ]
        sys.exit(f"not what the results files say: {', '.join(stale)}" if stale else 0)
    for path, made in files.items():
        write_text(path, made)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
