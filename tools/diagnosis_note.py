"""The results in docs/notes/diagnosis.md, drawn from docs/results/diagnosis.json and watching-cost.json: never typed.

    python tools/diagnosis_note.py [--check]

``--check`` changes nothing and fails if the note is not what the files say.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the bench and the blocks lie beside this file

from diagnosis_bench import add_shares
from note_blocks import write_or_check

from lucida.core.results import Metric, Results

ROOT = Path(__file__).resolve().parents[1]
NOTE = ROOT / "docs" / "notes" / "diagnosis.md"
STAGES = {
    "dual_encoder": "the workbench's dual encoder",
    "naming": "the workbench's multimodal LLM, naming places",
    "looking": "the workbench's multimodal LLM, looking",
    "language": "the workbench's multimodal LLM",
}
MODELS = {
    "transformer": "transformer, 6 x 192",
    "llama": "Llama, 4 x 128",
    "dual_encoder_heads": "heads of a dual encoder, batch 512",
    "recurrent": "GRU, 50 steps",
    "residual_network": "residual network with batch norm",
    "perceptron": "perceptron 784-512-512-10",
    "tiny_perceptron": "perceptron 32-64-64-10",
}


def shares(results: Results) -> str:
    """What was judged, the table of shares, and the runs that were judged wrongly."""
    rows = results.details["runs"]
    faults = [row for row in rows if row["group"] == "fault"]
    healthy = [row for row in rows if row["group"] == "healthy"]
    seeds = len(results.details["seeds"])
    found = Results()
    add_shares(found, rows)  # of the runs: a file of before may hold other intervals
    false = [row for row in healthy if not row["right"]]
    lines = [
        f"`tools/diagnosis_bench.py` judged {in_words(results.details['seeds'])}, once. All runs with what was found,",
        "the shares by fault and by kind, and the environment are in",
        "[docs/results/diagnosis.json](../results/diagnosis.json).",
        "",
        "| what | runs | share | 95 % interval |",
        "|---|---|---|---|",
        share_row(f"{_kinds(faults)} faults x {seeds} seeds, named rightly", [r["right"] for r in faults],
                  found.metrics["recall"]),
        share_row("named rightly and first", [r["first"] for r in faults], found.metrics["recall/named_first"]),
        share_row("another finding beside the fault", [len(r["found"]) > r["right"] for r in faults],
                  found.metrics["other_findings_beside_the_fault"]),
        share_row(f"{_kinds(healthy)} kinds of healthy runs x {seeds} seeds, with an alarm",
                  [not r["right"] for r in healthy], found.metrics["false_alarms"]),
        "",
        f"Missed: {listed([r for r in faults if not r['right']])}. False alarms: {listed(false)}.",
    ]  # fmt: skip
    later = Counter(row["found"][0] for row in faults if row["right"] and not row["first"])
    if later:
        what = ", ".join(f"`{name}` ({count})" for name, count in later.most_common())
        lines.append(f"Where the planted fault is named, but not first, what stands before it: {what}.")
    return "\n".join(lines)


def _kinds(rows: list[dict[str, Any]]) -> int:
    return len({row["name"] for row in rows})


def share_row(title: str, flags: list[bool], metric: Metric) -> str:
    """A row of the table: how many of how many, the share, its interval."""
    low, high = metric.ci95 or (float("nan"), float("nan"))
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"| {title} | {sum(flags)} of {len(flags)} | {100 * metric.value:.1f} % | {interval} |"


def listed(rows: list[dict[str, Any]]) -> str:
    """Runs by name and seed, with what was found instead.

    >>> listed([{"name": "a", "seed": 3, "found": ["b", "c"]}]), listed([])
    ('`a` of seed 3 (found: b, c)', 'none')
    """
    return "; ".join(
        f"`{row['name']}` of seed {row['seed']} (found: {', '.join(row['found']) or 'nothing'})" for row in rows
    ) or "none"  # fmt: skip


def in_words(seeds: list[int]) -> str:
    """
    >>> in_words([0, 1, 2]), in_words([3, 7]), in_words([5])
    ('seeds 0 to 2', 'seeds 3, 7', 'seed 5')
    """
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def costs(models: Results, workbench: Results) -> str:
    """The table of what watching costs."""
    lines = ["| model | a step | ratio | quartiles |", "|---|---|---|---|"]
    for name, title in STAGES.items():
        if (metric := workbench.metrics.get(f"cost/{name}")) is not None:
            lines.append(cost_row(title, workbench.details[name], metric))
    for name, title in MODELS.items():
        lines.append(cost_row(title, models.details["cost"][name.replace("_", " ")], models.metrics[f"cost/{name}"]))
    small = models.details["cost"]["tiny perceptron"]["milliseconds_a_step"]
    more = 10 * small * (models.metrics["cost/tiny_perceptron"].value - 1)
    return "\n".join([
        *lines,
        "",
        f"Ten steps of the smallest take {more:.1f} ms more where one of them is probed: steps of a few milliseconds",
        "want a longer interval (`every=100`).",
    ])  # fmt: skip


def cost_row(title: str, details: dict[str, Any], metric: Metric) -> str:
    """A row: milliseconds of an unwatched step, the ratio, its quartiles where they were recorded."""
    low_high = details.get("quartiles")
    quartiles = "" if low_high is None else f"{low_high[0]:.3f} to {low_high[1]:.3f}"
    return f"| {title} | {details['milliseconds_a_step']:.3g} ms | {metric.value:.3f} | {quartiles} |"


def blocks() -> dict[str, str]:
    """By name."""
    diagnosis, workbench = (
        Results.load(ROOT / "docs" / "results" / f"{name}.json") for name in ("diagnosis", "watching-cost")
    )
    return {"shares": shares(diagnosis), "costs": costs(diagnosis, workbench)}


if __name__ == "__main__":
    write_or_check(__file__, __doc__, NOTE, blocks)
