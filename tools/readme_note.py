"""The numbers in README.md, drawn from the files below docs/results: never typed by hand.

    python tools/readme_note.py [--check]

``--check`` changes nothing and fails if they are not what the files say.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the blocks lie beside this file

from note_blocks import write_or_check

from lucida.core.results import Metric, Results, read_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
RUN, WITH_CACHES, SEEDS = "default.json", "default-with-caches.json", "split-seeds/summary.json"
ZERO_SHOT = {
    "concepts never seen in training, OpenMoji": "zero_shot/unseen_concepts/openmoji",
    "concepts never seen in training, Twemoji": "zero_shot/unseen_concepts/twemoji",
    "pictures by the second artist": "transfer/second_artist",
}


def table(results: Path) -> str:
    """Markdown of what the results files hold."""
    run, cached = Results.load(results / RUN), Results.load(results / WITH_CACHES)
    seeds = read_json(results / SEEDS)
    lines = ["| what | lucida | 95 % interval | beside it |", "|---|---|---|---|"]
    for title, name in ZERO_SHOT.items():
        start = run.metrics[f"{name}/frozen_start_top1"]
        alone = run.metrics[f"{name}/names_only_top1"]
        beside = f"frozen start {percent(start)}; names alone {percent(alone)}"
        lines.append(row(f"zero-shot, {title}", run.metrics[f"{name}/top1"], beside))
    for how in ("random", "popular", "adversarial"):
        auroc, blind = run.metrics[f"pope/{how}/auroc"], run.metrics[f"pope/question_only/{how}/accuracy"]
        beside = f"AUROC {auroc.value:.3f}; question only {percent(blind)}"
        lines.append(row(f"POPE on composed scenes, {how}", run.metrics[f"pope/{how}/accuracy"], beside))
    recall = f"recall {percent(run.metrics['chair/recall'])}"
    lines.append(row("CHAIR_i of the captions (less is better)", run.metrics["chair/chair_i"], recall))
    count, one = run.metrics["count/accuracy"], run.metrics["count/majority_accuracy"]
    lines.append(row("counting", count, f"always one: {percent(one)}"))
    minutes = [sum(each.seconds.values()) / 60 for each in (run, cached)]
    lines.append(f"| minutes, cold / with caches | {minutes[0]:.1f} / {minutes[1]:.1f} | | 2 cores |")
    lines.append(f"| peak memory | {(run.peak_mb or 0) / 1000:.1f} GB | | |")
    return "\n".join(["", *lines, "", *over_seeds(seeds), ""])


def over_seeds(seeds: dict[str, Any]) -> list[str]:
    """The zero-shot results over several split seeds."""
    drawn = ", ".join(map(str, seeds["seeds"]))
    lines = [
        f"Zero-shot over split seeds {drawn} (each holds out other concepts and pictures; mean top-1):",
        "",
        "| what | frozen start | lucida | difference in points | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for title, name in ZERO_SHOT.items():
        found = seeds["metrics"][f"{name}/top1"]
        low, high = (100 * end for end in found["difference_ci95"])
        start, ours = 100 * found["frozen_start"], 100 * found["default"]
        lines.append(f"| {title} | {start:.1f} % | {ours:.1f} % | {ours - start:+.1f} | {low:+.1f} to {high:+.1f} |")
    return lines


def row(title: str, metric: Metric, beside: str) -> str:
    """One line of the table."""
    interval = f"{100 * metric.ci95[0]:.1f} to {100 * metric.ci95[1]:.1f} %" if metric.ci95 else ""
    return f"| {title} | {percent(metric)} | {interval} | {beside} |"


def percent(metric: Metric) -> str:
    """A share for a reader."""
    return f"{100 * metric.value:.1f} %"


def corpus(results: Results) -> str:
    """What a corpus of pairs costs by its size."""
    sizes = [name.split("/")[0] for name in results.metrics if name.endswith("/all/peak MB")]
    told = []
    for size in sorted(sizes, key=int):
        peak, rate = (results.metrics[f"{size}/all/{what}"].value for what in ("peak MB", "rows a second"))
        told.append(f"{int(size):,} captions: {peak:,.0f} MB at {rate:,.0f} a second")
    return f"{'; '.join(told)} ([measured](docs/results/benchmarks/data-construction.json))."


def blocks() -> dict[str, str]:
    """By name."""
    construction = Results.load(RESULTS / "benchmarks" / "data-construction.json")
    return {"results": table(RESULTS), "corpus": corpus(construction)}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, ROOT / "README.md", blocks)
