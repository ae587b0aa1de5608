"""``lucida compare A B``: two audits of the same questions, pair by pair; for continuous integration, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, read_json
from lucida.evaluation.intervals import share_difference
from lucida.workflows.audit import ANSWERS, CAPTIONS, PUT_IN, QUESTIONS, TAKEN_OUT, TWINS

BETTER_UP = {"accuracy", "recall", "flip_rate"}  # of the others, less is better


@dataclass(frozen=True)
class Compared:
    """One measure of both.

    Attributes:
        name: of the measure.
        first, second: its values.
        difference: the second less the first, paired, with the interval over pictures.
        worse: by how much the second is worse; below 0 where it is better, NaN of a measure that is neither.
    """

    name: str
    first: float
    second: float
    difference: Metric
    worse: float

    def regressed(self, margin: float) -> bool:
        """Whether the second is worse by more than a margin, and by more than noise (its interval excludes 0)."""
        low, high = self.difference.ci95 or (float("-inf"), float("inf"))
        return self.worse > margin and (low > 0 or high < 0)


@dataclass(frozen=True)
class Comparison:
    """Two audits on the same questions.

    Attributes:
        names: of the folders.
        rows: what was compared.
        margin: by which a measure may get worse.
    """

    names: tuple[str, str]
    rows: tuple[Compared, ...]
    margin: float

    @property
    def regressions(self) -> list[Compared]:
        """What got worse by more than the margin and than noise."""
        return [row for row in self.rows if row.regressed(self.margin)]

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        rows = {
            row.name: {
                "first": _number(row.first),
                "second": _number(row.second),
                "difference": _number(row.difference.value),
                "ci95": row.difference.ci95,
                "n": row.difference.n,
                "regression": row.regressed(self.margin),
            }
            for row in self.rows
        }
        return {"first": self.names[0], "second": self.names[1], "margin": self.margin, "measures": rows,
                "regressions": [row.name for row in self.regressions]}  # fmt: skip

    def as_text(self) -> str:
        """For a person."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'':{width}}  {'first':>8}{'second':>8}   second less first, 95 % interval"]
        for row in self.rows:
            low, high = row.difference.ci95 or (float("nan"), float("nan"))
            mark = "  WORSE" if row.regressed(self.margin) else ""
            change = f"{100 * row.difference.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            lines.append(f"{row.name:{width}}  {100 * row.first:>7.1f}%{100 * row.second:>7.1f}%   {change}{mark}")
        found = len(self.regressions)
        verdict = "nothing got worse" if not found else f"{found} measure{'s' if found > 1 else ''} got worse"
        return "\n".join(
            [*lines, "", f"{verdict} by more than {self.margin:.1%} and more than noise".replace("%", " %")]
        )


def compare(first: Path, second: Path, *, margin: float = 0.02) -> Comparison:
    """The second audit against the first.

    Args:
        first, second: folders of ``lucida audit`` with the same questions.
        margin: by which a measure may get worse before it is a regression.

    Raises:
        LucidaError: a folder is no audit, the questions differ, or the margin is negative.
    """
    if not 0 <= margin < 1:
        raise LucidaError(f"the margin cannot be {margin}", where="--margin", remedy="give a share such as 0.02")
    sets = [read_json(folder / "results.json").get("details", {}).get("question_set") for folder in (first, second)]
    for folder, found in zip((first, second), sets, strict=True):
        if not found:
            raise LucidaError("no finished audit", where=folder, remedy="name folders of lucida audit")
    if sets[0] != sets[1]:
        what = f"the questions differ: {sets[0]} in {first}, {sets[1]} in {second}"
        raise LucidaError(what, remedy="audit both with the same pictures, vocabulary, --k, --max-pictures and --seed")
    rows = [*_pope(first, second), *_captions(first, second), *_twins(first, second)]
    return Comparison((str(first), str(second)), tuple(rows), margin)


def _pope(first: Path, second: Path) -> list[Compared]:
    asked = _lines(first / QUESTIONS)
    answered = [_lines(folder / ANSWERS) for folder in (first, second)]
    if any(len(rows) != len(asked) for rows in answered):
        raise LucidaError("not one answer a question", where=f"{first}, {second}")
    yes, no = (np.array([[row["read"] == word for row in rows] for rows in answered]) for word in ("yes", "no"))
    there = np.array([row["label"] == "yes" for row in asked])
    pictures, kinds = np.array([row["image"] for row in asked]), np.array([row["category"] for row in asked])
    found = []
    for kind in dict.fromkeys(kinds.tolist()):
        own = kinds == kind
        right, absent = (yes & there) | (no & ~there), (~there & own).astype(float)
        cases: dict[str, tuple[NDArray, NDArray]] = {
            "accuracy": (right * own, own.astype(float)),
            "false_yes_ratio": (yes * absent, absent),
            "yes_ratio": (yes * own, own.astype(float)),
            "abstain_ratio": (~(yes | no) * own, own.astype(float)),
        }
        for name, (hits, trials) in cases.items():
            found.append(_compared(f"pope/{kind}/{name}", hits, np.stack([trials, trials]), pictures))
    return found


def _captions(first: Path, second: Path) -> list[Compared]:
    pairs = _pairs(first / CAPTIONS, second / CAPTIONS, ("image",))
    if not pairs:
        return []
    images = [one["image"] for one, _ in pairs]

    def counts(what: str) -> NDArray:
        return np.array([[len(row[what]) for row in rows] for rows in zip(*pairs, strict=True)], dtype=float)

    named = np.array([[len({*r["mentioned"]} & {*r["present"]}) for r in rows] for rows in zip(*pairs, strict=True)])
    invented = counts("hallucinated")
    return [
        _compared("chair/chair_i", invented, counts("mentioned"), images),
        _compared("chair/chair_s", (invented > 0).astype(float), np.ones_like(invented), images),
        _compared("chair/recall", named, counts("present"), images),
    ]


def _twins(first: Path, second: Path) -> list[Compared]:
    """What was taken out, and what was put in; audits from before the latter existed do not say which it was."""
    every = _pairs(first / TWINS, second / TWINS, ("image", "object", "edit"), {"edit": TAKEN_OUT})
    found = []
    for edit, prefix, before, after in ((TAKEN_OUT, "twins", "yes", "no"), (PUT_IN, "twins/pasted", "no", "yes")):
        pairs = [pair for pair in every if pair[0]["edit"] == edit]
        if not pairs:
            continue
        said = np.array([[row["said"] for row in rows] for rows in zip(*pairs, strict=True)])  # [2, n, 3]
        right = said[:, :, 0] == before
        flipped, control = right & (said[:, :, 1] == after), right & (said[:, :, 2] == after)
        images = [one["image"] for one, _ in pairs]
        found += [
            _compared(f"{prefix}/flip_rate", flipped, right, images),
            _compared(f"{prefix}/control_flip_rate", control, right, images),
        ]
    return found


def _compared(name: str, hits: NDArray, trials: NDArray, clusters: Sequence[Any] | NDArray) -> Compared:
    """Of hits and trials ``[2, n]``."""
    h, t = hits.astype(float), trials.astype(float)
    shares = [float(h[i].sum() / t[i].sum()) if t[i].sum() else float("nan") for i in (0, 1)]
    difference = share_difference((h[1], t[1]), (h[0], t[0]), clusters)
    measure = name.rsplit("/", 1)[-1]
    sign = float("nan") if measure == "yes_ratio" else -1.0 if measure in BETTER_UP else 1.0
    return Compared(name, shares[0], shares[1], difference, sign * difference.value)


def _pairs(
    first: Path, second: Path, keys: Sequence[str], usual: Mapping[str, str] | None = None
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of both files that have the same keys; ``usual`` stands where a row has none."""
    ours, theirs = ([{**(usual or {}), **row} for row in _lines(path)] for path in (first, second))
    known = {tuple(row[key] for key in keys): row for row in theirs}
    rows = ((row, known.get(tuple(row[key] for key in keys))) for row in ours)
    return [(one, other) for one, other in rows if other is not None]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise LucidaError(f"cannot read what the audit kept: {error}", where=path) from None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
