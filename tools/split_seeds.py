"""The dual encoder against its frozen start over several split seeds: one JSON a seed and a summary.

    python tools/split_seeds.py 0 1 2 3 4 --out docs/results/split-seeds

A seed that was measured with the same settings is read from its file, not run again. Splits, not weights, are what is
drawn anew: the interval of a difference says how far it depends on which concepts happened to be held out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lucida.core.cache import content_hash
from lucida.core.config import to_dict
from lucida.core.results import Results, peak_memory_mb, read_json, write_json
from lucida.core.run_folder import RunFolder, environment
from lucida.core.statistics import mean_interval
from lucida.data.emoji import read_emoji
from lucida.workflows.encoder_stage import run_encoder
from lucida.workflows.recipes import load
from lucida.workflows.zero_shot_ablation import source

START = "frozen_start_top1"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/results/split-seeds"))
    parser.add_argument("--recipe", default="default")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [measured(seed, options.recipe, options.out / f"seed-{seed}.json") for seed in options.seeds]
    write_json(options.out / "summary.json", {"seeds": options.seeds, "metrics": summarize(rows)})
    for name, row in summarize(rows).items():
        low, high = row["difference_ci95"] or (float("nan"), float("nan"))
        print(
            f"{name:45} {100 * row['default']:5.1f} %  frozen start {100 * row['frozen_start']:5.1f} %  "
            f"difference {100 * row['difference']:+5.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        )


def measured(seed: int, recipe: str, path: Path) -> dict[str, Any]:
    """The row of one split seed: read if the same settings made it, measured and written otherwise."""
    config = load(recipe)
    settings = {
        "recipe": recipe,
        "encoder": to_dict(config.encoder),
        "frozen_start": to_dict(config.frozen_start),
        "artwork_size": config.artwork_size,
    }
    made_by = content_hash("split seeds 2", settings, source())
    if path.exists() and (row := read_json(path)).get("made_by") == made_by:
        return row
    results = Results()
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder.create(Path(scratch) / "run", settings, seed=seed)
        run_encoder(read_emoji(seed), config.encoder, config.frozen_start, config.artwork_size, folder, results)
    values = {name: {"value": m.value, "ci95": m.ci95, "n": m.n} for name, m in results.metrics.items()}
    row = {
        "split_seed": seed,
        "made_by": made_by,
        "settings": settings,
        "environment": environment(seed),
        "metrics": values,
        "seconds": results.seconds,
        "peak_mb": peak_memory_mb(),
    }
    write_json(path, row)
    return row


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each metric with a frozen start: the means, and the paired difference with its t-interval over seeds."""
    summary = {}
    for start in sorted(name for name in rows[0]["metrics"] if name.endswith(START)):
        name = start.replace(START, "top1")
        ours = [row["metrics"][name]["value"] for row in rows]
        base = [row["metrics"][start]["value"] for row in rows]
        difference = mean_interval([a - b for a, b in zip(ours, base, strict=True)])
        summary[name] = {
            "default": sum(ours) / len(ours),
            "frozen_start": sum(base) / len(base),
            "difference": difference.value,
            "difference_ci95": difference.ci95,
            "n_seeds": len(rows),
        }
    return summary


if __name__ == "__main__":
    main()
