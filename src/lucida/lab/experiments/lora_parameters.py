"""What the rank, alpha and dropout of LoRA are worth, each setting at its own best learning rate.

One thing is turned at a time, with few and with many examples; ranks are compared at a copied rate as well, since that
is how they are turned in practice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.low_rank import LowRank
from lucida.lab.observations import Observations
from lucida.lab.turned_digits import DATA, Course, Member, adapt, bases, borne

FEW, MANY = "few examples", "many examples"
LEVELS = FEW, MANY
RANKS = (1, 4, 16, 64)
USUAL, COPIED_FROM, FIXED_ALPHA = 16, 4, 8.0
SCALES = {"alpha = r/2": 0.5, "alpha = 2 r": 2.0, "alpha = 8 r": 8.0}
DROPOUTS = {"no dropout": 0.0, "dropout 0.1": 0.1, "dropout 0.3": 0.3}
PLAIN, STABLE = "alpha / r", "alpha / √r"

ACCURACY, RATE, TIMES_SCALE = "accuracy", "best learning rate", "best learning rate times scale"
COPIED, FIRST = "accuracy at the rate of rank 4", "change of features, first step"
UPRIGHT, USED = "accuracy on upright digits", "directions that matter"
ENOUGH = 0.99  # of the squared singular values


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width: of the network.
        few: examples; many are all of the training part.
        steps: of 64 examples.
        rates: where tuning starts.
    """

    width: int
    few: int
    steps: int
    rates: tuple[float, ...]

    def examples(self, level: str) -> int:
        """0 for all."""
        return self.few if level == FEW else 0


def rank(r: int) -> str:
    """The arm of a rank at alpha = 2 r, without dropout."""
    return f"rank {r}"


def arms() -> dict[str, LowRank]:
    """All settings that get a rate of their own."""
    usual = {rank(r): LowRank(r, 2.0 * r) for r in RANKS}
    scaled = {name: LowRank(USUAL, scale * USUAL) for name, scale in SCALES.items()}
    dropped = {name: LowRank(USUAL, 2.0 * USUAL, dropout=share) for name, share in DROPOUTS.items()}
    return usual | scaled | dropped


def scaling(way: str, r: int) -> LowRank:
    """Adapters of a rank with one alpha for all ranks."""
    return LowRank(r, FIXED_ALPHA, rank_stabilised=way == STABLE)


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every setting at its best rate, with few and with many examples; ranks at a copied rate."""
    found = Observations()
    for level, (arm, adapters) in product(LEVELS, arms().items()):
        best = _chosen(bench, settings, f"{arm}, {level}", adapters, level)
        outcome = _trained(bench, settings, adapters, level, bench.seeds, (best,))
        found.record(ACCURACY, arm, outcome["test"][:, -1], level)
        found.record(UPRIGHT, arm, outcome["upright"], level)
        found.record(USED, arm, directions(outcome["values"]), level)
        found.record_ratio(RATE, arm, np.full(len(bench.seeds), np.log2(best)), level)
        found.record_ratio(TIMES_SCALE, arm, np.full(len(bench.seeds), np.log2(best * adapters.scale)), level)
        values = outcome["values"][:, : adapters.r]
        found.draw(f"values/{arm}/{level}", np.arange(1, values.shape[1] + 1), values / values[:, :1])
    for way in (PLAIN, STABLE):
        _copied(bench, settings, found, way)
    return found


def directions(values: NDArray) -> NDArray:
    """How many singular values ``[seeds, r]`` hold :data:`ENOUGH` of the squares.

    >>> directions(np.array([[3.0, 1.0, 0.0], [1.0, 1.0, 1.0]])).tolist()
    [2.0, 3.0]
    """
    shares = np.cumsum(values**2, axis=1) / np.maximum((values**2).sum(axis=1, keepdims=True), 1e-30)
    return np.asarray((shares < ENOUGH).sum(axis=1) + 1.0)


def _copied(bench: Bench, settings: Settings, found: Observations, way: str) -> None:
    """All ranks at the rate that is best for one, with one alpha, many examples."""
    rate = _chosen(bench, settings, f"rank {COPIED_FROM}, {way}", scaling(way, COPIED_FROM), MANY)
    first = []
    for r in RANKS:
        outcome = _trained(bench, settings, scaling(way, r), MANY, bench.seeds, (rate,))
        found.record(COPIED, way, outcome["test"][:, -1], rank(r))
        first.append(outcome["features"][:, 1])
    found.draw(f"{FIRST}/{way}", RANKS, np.stack(first, axis=1))


def _chosen(bench: Bench, settings: Settings, name: str, adapters: LowRank, level: str) -> float:
    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        outcome = _trained(bench, settings, adapters, level, bench.tuning_seeds, rates)
        shape = len(bench.tuning_seeds), len(rates)
        missed = 1 - outcome["validation"][:, -1].reshape(shape).mean(axis=0)
        last = np.nan_to_num(outcome["losses"][:, -10:], nan=np.inf).mean(axis=1).reshape(shape).mean(axis=0)
        fine = np.asarray(borne(outcome["losses"]).reshape(shape).all(axis=0))
        return {rate: Tried(float(missed[k]), float(last[k]), bool(fine[k])) for k, rate in enumerate(rates)}

    return bench.chosen_from(name, settings.rates, tried)


def _trained(
    bench: Bench,
    settings: Settings,
    adapters: LowRank,
    level: str,
    seeds: Sequence[int],
    rates: Sequence[float],
) -> dict[str, NDArray]:
    """A setting for all seeds and some rates (seeds outside), stacked."""
    members = [Member(seed, rate, adapters) for seed, rate in product(seeds, rates)]
    course = Course(settings.width, settings.examples(level), settings.steps, (0, 1))
    key = (repr(course), repr(members), load(DATA).content_key)
    known = _known(bench, settings.width, seeds)
    what = f"{_words(adapters)}, {level}, rates {min(rates):.2g} to {max(rates):.2g}"
    return bench.remember(what, key, partial(adapt, known, seeds, members, course))


def _words(adapters: LowRank) -> str:
    """Equal settings have equal words, so that they are trained once."""
    dropout = f", dropout {adapters.dropout:g}" if adapters.dropout else ""
    return f"rank {adapters.r}, scale {adapters.scale:g}{dropout}"


def _known(bench: Bench, width: int, seeds: Sequence[int]) -> dict[str, NDArray]:
    key = (width, tuple(seeds), load(DATA).content_key)
    return bench.remember("networks that know upright digits", key, partial(bases, width, seeds))
