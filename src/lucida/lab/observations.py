"""What an experiment measured: numbers by arm and seed, curves, and what the page shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lucida.core.results import Metric
from lucida.core.statistics import mean_interval, wilson
from lucida.lab.design import Claim
from lucida.report.lab_page import Series


@dataclass
class Observations:
    """Numbers by measure, arm and level, one a seed; curves by name, one a seed.

    Attributes:
        numbers: ``{(measure, arm, level): [seeds]}``; the level is ``""`` where there is none.
        curves: ``{name: (x [n], y [seeds, n])}``.
        yes_or_no: the entries whose numbers are answers, 1 or 0.
        ratios: the entries whose numbers are logarithms to the base 2, told as what they are logarithms of.
        cut: which of an entry's seeds are known only to be at least their number (the budget ended first).
        facts: single numbers that no seed changes (a predicted gain, seconds of a step).
        left_out: what was not measured, and why.
    """

    numbers: dict[tuple[str, str, str], NDArray] = field(default_factory=dict)
    curves: dict[str, tuple[NDArray, NDArray]] = field(default_factory=dict)
    yes_or_no: set[tuple[str, str, str]] = field(default_factory=set)
    ratios: set[tuple[str, str, str]] = field(default_factory=set)
    cut: dict[tuple[str, str, str], NDArray] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def record(self, measure: str, arm: str, values: ArrayLike, level: str = "", cut: ArrayLike | None = None) -> None:
        """Numbers of an arm, one for each seed in the order of the seeds.

        Args:
            values: numbers, or ``bool`` for what holds of a seed or not: its share has Wilson's interval.
            cut: ``bool [seeds]``, where the number is only a lower bound: a run that never came to its target has the
                steps it was given.

        Raises:
            ValueError: they are already there, or one is not finite: what divergence counts as is for the experiment
                to say.
        """
        given = np.asarray(values)
        array = given.astype(float)
        if (measure, arm, level) in self.numbers:
            raise ValueError(f"{measure} of {arm} {level} is already recorded")
        if array.ndim != 1 or not np.isfinite(array).all():
            raise ValueError(f"{measure} of {arm} {level}: one finite number a seed, not {array}")
        self.numbers[measure, arm, level] = array
        if given.dtype == bool:
            self.yes_or_no.add((measure, arm, level))
        if cut is not None:
            self.cut[measure, arm, level] = np.asarray(cut, dtype=bool)

    def record_ratio(
        self, measure: str, arm: str, log2_values: ArrayLike, level: str = "", cut: ArrayLike | None = None
    ) -> None:
        """As :meth:`record`, of logarithms: the metric is the geometric mean, with the interval of the logarithms."""
        self.record(measure, arm, log2_values, level, cut)
        self.ratios.add((measure, arm, level))

    def draw(self, name: str, x: ArrayLike, y: ArrayLike) -> None:
        """A curve: ``x`` ``[n]``, ``y`` ``[seeds, n]``."""
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if ys.shape[1:] != xs.shape:
            raise ValueError(f"curve {name!r}: {ys.shape} does not go with {xs.shape}")
        self.curves[name] = xs, ys

    def differences(self, claim: Claim) -> dict[str, NDArray]:
        """Treatment minus control by level, ``[seeds]`` each.

        Raises:
            KeyError: an arm was not measured.
        """
        return {
            level: self.numbers[claim.measure, claim.treatment, level]
            - self.numbers[claim.measure, claim.control, level]
            for level in claim.levels or ("",)
        }

    def censored(self, measure: str, arm: str, level: str = "") -> int:
        """How many seeds of an entry are known only to be at least their number."""
        return int(self.cut[measure, arm, level].sum()) if (measure, arm, level) in self.cut else 0

    def cut_off(self, claim: Claim) -> dict[str, tuple[int, int]]:
        """Seeds of the treatment and of the control that are lower bounds, by level; none for a claim without any."""
        arms = claim.treatment, claim.control
        found = {
            level: (self.censored(claim.measure, arms[0], level), self.censored(claim.measure, arms[1], level))
            for level in claim.levels or ("",)
        }
        return {level: both for level, both in found.items() if any(both)}

    def metrics(self) -> dict[str, Metric]:
        """Means over seeds with intervals, named ``measure/arm`` or ``measure/arm/level``; facts under their names."""
        named = {"/".join(filter(None, key)): self._metric(key) for key in self.numbers}
        return named | {name: Metric(value) for name, value in self.facts.items()}

    def _metric(self, key: tuple[str, str, str]) -> Metric:
        values = self.numbers[key]
        metric = wilson(int(values.sum()), len(values)) if key in self.yes_or_no else mean_interval(values)
        if key in self.ratios:
            low, high = metric.ci95 or (np.nan, np.nan)
            metric = Metric(2.0**metric.value, (2.0**low, 2.0**high) if metric.ci95 else None, metric.n)
        return replace(metric, censored=self.censored(*key))

    def series(self, name: str, label: str) -> Series:
        """A curve's mean over seeds with its interval; a point where a seed has no number is a gap."""
        x, y = self.curves[name]
        means = [mean_interval(y[:, k]) for k in range(len(x))]
        finite = np.isfinite(y).all(axis=0)
        bands = [m.ci95 or (m.value, m.value) for m in means]

        def shown(values: Sequence[float]) -> tuple[float | None, ...]:
            return tuple(float(v) if fine else None for v, fine in zip(values, finite, strict=True))

        low, high = shown([b[0] for b in bands]), shown([b[1] for b in bands])
        return Series(label, tuple(map(float, x)), shown([m.value for m in means]), low, high)

    def predicted(self, name: str, label: str) -> Series:
        """The curve that was predicted for ``name``, without a band."""
        series = self.series(f"predicted {name}", label)
        return Series(label, series.x, series.y, dashed=True)

    def log_series(self, name: str, label: str) -> Series:
        """A curve's geometric mean over seeds with its interval, for a logarithmic axis; a value of 0 leaves a gap."""
        x, y = self.curves[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = Observations(curves={name: (x, np.log(np.where(y > 0, y, np.nan)))}).series(name, label)

        def back(values: Sequence[float | None]) -> tuple[float | None, ...]:
            return tuple(None if v is None else float(np.exp(v)) for v in values)

        return Series(label, logs.x, back(logs.y), back(logs.low), back(logs.high))

    def values(self) -> dict[str, Any]:
        """Everything as JSON values, for ``details["observations"]``: whoever doubts an interval finds the seeds.

        ``cut`` holds the places of the seeds whose number is only a lower bound.
        """
        numbers = {"/".join(filter(None, key)): _short(values) for key, values in self.numbers.items()}
        curves = {name: {"x": _short(x), "y": _short(y)} for name, (x, y) in self.curves.items()}
        cut = {"/".join(filter(None, key)): np.flatnonzero(seeds).tolist() for key, seeds in self.cut.items()}
        return {"numbers": numbers, "curves": curves, "cut": {name: places for name, places in cut.items() if places}}


def _short(values: NDArray) -> list[Any]:
    """Seven significant digits: more than float32 holds, in half the room."""
    flat = [float(f"{value:.7g}") for value in values.ravel()]
    return np.array(flat).reshape(values.shape).tolist()


def by_seed(values: ArrayLike, seeds: int) -> NDArray:
    """``[seeds · k, …]`` of members listed seed by seed as ``[seeds, k, …]``."""
    array = np.asarray(values)
    return array.reshape(seeds, -1, *array.shape[1:])


def points(x: Mapping[float, float] | Sequence[tuple[float, float]], label: str, *, dashed: bool = True) -> Series:
    """A curve without a band: a prediction or a bound."""
    pairs = list(x.items()) if isinstance(x, Mapping) else list(x)
    return Series(label, tuple(a for a, _ in pairs), tuple(b for _, b in pairs), dashed=dashed)
