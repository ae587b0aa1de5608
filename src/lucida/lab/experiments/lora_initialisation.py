"""Whether LoRA may start with A = 0: four starts, learning rates and widths, each start at all rates.

An adapter adds ``s B A x``. One of A and B is zero at the start, so that nothing changes: which, is the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.low_rank import LowRank
from lucida.lab.observations import Observations
from lucida.lab.turned_digits import DATA, Course, Member, adapt, bases, borne

DEFAULT, A_ZERO, BOTH, NEITHER = "B = 0", "A = 0", "both random", "both zero"
STARTS = {DEFAULT: "a_random", A_ZERO: "b_random", BOTH: "both_random", NEITHER: "both_zero"}
ARMS = (DEFAULT, A_ZERO, BOTH)  # those that learn

ACCURACY, AT_ITS_RATE, COPIED = "accuracy", "best learning rate", "accuracy at the rate of B = 0"
LARGEST, LOST, GAINED = "largest rate borne", "octaves of rate lost with width", "accuracy gained"
GRAD_A, GRAD_B = "gradient of A, first step", "gradient of B, first step"
FEATURES = "change of features, first step"
MOVED_A, MOVED_B = "A moved, end", "B moved, end"
KNOWN = "accuracy before"
_CURVES = {
    "grad_a": "gradient of A",
    "grad_b": "gradient of B",
    "moved_a": "A moved",
    "moved_b": "B moved",
    "features": "features",
}


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        widths: of the network, from the narrowest.
        r, alpha: of all adapters.
        steps: of 64 examples.
        octaves: the rates are powers of two, from the first exponent to the last.
        most: weights of the middle layers that are trained at a time: a stack's size.
    """

    widths: tuple[int, ...]
    r: int
    alpha: float
    steps: int
    octaves: tuple[int, int]
    most: int = 1 << 22

    @property
    def rates(self) -> tuple[float, ...]:
        """All of them, ascending."""
        first, last = self.octaves
        return tuple(2.0**exponent for exponent in range(first, last + 1))

    @property
    def looks(self) -> tuple[int, ...]:
        """Steps that are looked at more closely."""
        early = [0, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 150]
        return tuple(step for step in early if step < self.steps)


class Width(NamedTuple):
    """Where the starts are compared."""

    width: int

    def __str__(self) -> str:
        return f"width {self.width}"


def levels(settings: Settings) -> tuple[str, ...]:
    """The widths by name."""
    return tuple(str(Width(width)) for width in settings.widths)


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every start at every width and rate; accuracies at the rate that tuning seeds choose."""
    found = Observations()
    largest: dict[tuple[str, int], NDArray] = {}
    for width in settings.widths:
        level = str(Width(width))
        found.record(KNOWN, "network", _known(bench, width, bench.seeds)["accuracy"], level)
        outcomes = {arm: _grid(bench, settings, width, arm, bench.seeds) for arm in ARMS}
        chosen = {arm: _chosen(bench, settings, width, arm) for arm in ARMS}
        for arm in ARMS:
            largest[arm, width] = _arm(found, settings, outcomes[arm], arm, level, chosen[arm], chosen[DEFAULT])
        _control(bench, found, settings, width, chosen[DEFAULT])
    for arm in ARMS:
        lost = largest[arm, settings.widths[0]] - largest[arm, settings.widths[-1]]
        found.record(LOST, arm, lost)
    return found


def _arm(
    found: Observations, settings: Settings, grid: dict[str, NDArray], arm: str, level: str, best: float, default: float
) -> NDArray:
    """What was measured of a start at a width; returns the largest rates borne, ``log2 [seeds]``."""
    rates = np.array(settings.rates)
    at, copied = (int(np.abs(np.log2(rates / rate)).argmin()) for rate in (best, default))
    test = grid["test"][:, :, -1]  # [seeds, rates]
    found.record(ACCURACY, arm, test[:, at], level)
    found.record(COPIED, arm, test[:, copied], level)
    found.record_ratio(AT_ITS_RATE, arm, np.full(len(test), np.log2(best)), level)
    found.record(GAINED, arm, test[:, at] - grid["test"][:, at, 0], level)
    largest, cut = largest_borne(borne(grid["losses"]), rates, at)
    found.record_ratio(LARGEST, arm, largest, level, cut)
    found.draw(f"accuracy/{arm}/{level}", rates, test)
    steps = [*settings.looks, settings.steps]
    for name in _CURVES:
        found.draw(f"{name}/{arm}/{level}", steps, grid[name][:, at])
    for measure, name, look in ((GRAD_A, "grad_a", 0), (GRAD_B, "grad_b", 0), (FEATURES, "features", 1)):
        found.record(measure, arm, grid[name][:, copied, look], level)
    found.record(MOVED_A, arm, grid["moved_a"][:, at, -1], level)
    found.record(MOVED_B, arm, grid["moved_b"][:, at, -1], level)
    return largest


def largest_borne(borne_at: NDArray, rates: NDArray, best: int) -> tuple[NDArray, NDArray]:
    """``log2`` of the largest rate up to which all from the best one on are borne, and whether that is the grid's end.

    Rates below the best one may be too slow to get anywhere in time, which is another matter.

    >>> borne_at = np.array([[False, True, True, False], [True, True, True, True]])
    >>> largest, cut = largest_borne(borne_at, np.array([0.25, 0.5, 1.0, 2.0]), 1)
    >>> largest.tolist(), cut.tolist()
    ([0.0, 1.0], [False, True])
    """
    count: NDArray = np.cumprod(borne_at[:, best:], axis=1).sum(axis=1)
    return np.log2(rates[best + np.maximum(count, 1) - 1]), np.asarray(count == len(rates) - best)


def _control(bench: Bench, found: Observations, settings: Settings, width: int, rate: float) -> None:
    """Both zero, at the default's rate."""
    level = str(Width(width))
    outcome = _trained(bench, settings, width, NEITHER, bench.seeds, (rate,))
    found.record(ACCURACY, NEITHER, outcome["test"][:, -1], level)
    found.record(GAINED, NEITHER, outcome["test"][:, -1] - outcome["test"][:, 0], level)
    for measure, name, look in ((GRAD_A, "grad_a", 0), (GRAD_B, "grad_b", 0), (FEATURES, "features", 1)):
        found.record(measure, NEITHER, outcome[name][:, look], level)


def _chosen(bench: Bench, settings: Settings, width: int, arm: str) -> float:
    """The rate whose validation accuracy is highest on tuning seeds, of the whole grid."""
    grid = _grid(bench, settings, width, arm, bench.tuning_seeds)
    missed = np.asarray(1 - grid["validation"][:, :, -1].mean(axis=0))
    fine = np.asarray(borne(grid["losses"]).all(axis=0))
    last = np.nan_to_num(grid["losses"][:, :, -10:].mean(axis=(0, 2)), nan=np.inf)
    known = {rate: Tried(float(missed[k]), float(last[k]), bool(fine[k])) for k, rate in enumerate(settings.rates)}
    return bench.chosen_from(
        f"{arm}, {Width(width)}", settings.rates, lambda rates: {r: known[r] for r in rates if r in known}
    )


def _grid(bench: Bench, settings: Settings, width: int, arm: str, seeds: Sequence[int]) -> dict[str, NDArray]:
    """A start at all rates: every array ``[seeds, rates, …]``."""
    at_once = max(1, settings.most // (width * width * len(seeds)))
    rates = settings.rates
    chunks = [rates[k : k + at_once] for k in range(0, len(rates), at_once)]
    parts = [_trained(bench, settings, width, arm, seeds, chunk) for chunk in chunks]
    shaped = [
        {name: array.reshape(len(seeds), len(chunk), *array.shape[1:]) for name, array in part.items()}
        for part, chunk in zip(parts, chunks, strict=True)
    ]
    return {name: np.concatenate([part[name] for part in shaped], axis=1) for name in shaped[0]}


def _trained(
    bench: Bench, settings: Settings, width: int, arm: str, seeds: Sequence[int], rates: Sequence[float]
) -> dict[str, NDArray]:
    """A start for all seeds and some rates (seeds outside), stacked."""
    adapters = LowRank(settings.r, settings.alpha, STARTS[arm])
    members = [Member(seed, rate, adapters) for seed, rate in product(seeds, rates)]
    course = Course(width, 0, settings.steps, settings.looks)
    what = f"{arm}, {Width(width)}, rates {min(rates):.2g} to {max(rates):.2g}"
    key = (repr(course), repr(members), load(DATA).content_key)
    known = _known(bench, width, seeds)
    return bench.remember(what, key, partial(adapt, known, seeds, members, course))


def _known(bench: Bench, width: int, seeds: Sequence[int]) -> dict[str, NDArray]:
    key = (width, tuple(seeds), load(DATA).content_key)
    return bench.remember(f"networks that know upright digits, {Width(width)}", key, partial(bases, width, seeds))
