"""What each step of data construction buys: a dirty crawl, each step alone and each left out, one small dual encoder.

All encoders see as many examples, those of one pass over the crawl; what differs is the pairs they are drawn from, and
for hard negatives the company they keep in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lucida.lab.dirty_pairs import FAULTS, STEPS, Construction, Dirt, Kept, World, chain_of, construct, crawl, world
from lucida.lab.experiment import Bench, Tried
from lucida.lab.observations import Observations
from lucida.lab.pair_learners import Course, Material, named, trained, trusted_encoder
from lucida.models.dual_encoder import DualEncoder

NONE, ALL = "no step", "all steps"
UNSEEN, SECOND = LEVELS = ("unseen concepts", "second artist")
ACCURACY, LEAKED, FLATTERY = "accuracy", "accuracy on leaked pictures", "leaked over untouched"
VALIDATION = "validation concepts"
TESTS = (VALIDATION, *LEVELS, LEAKED)
LEFT, SHOWN, SOUND = "pairs that are left", "concepts that are left", "share of pairs that are right"


COUNTS = (LEFT, SHOWN, SOUND, *(f"pairs {fault}" for fault in FAULTS))


def alone(step: str) -> str:
    """The arm with one step."""
    return f"{step} alone"


def without(step: str) -> str:
    """The arm with all steps but one."""
    return f"all but {step}"


ARMS = {
    NONE: (),
    **{alone(step): (step,) for step in STEPS},
    **{without(step): tuple(other for other in STEPS if other != step) for step in STEPS},
    ALL: STEPS,
}


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale."""

    dirt: Dirt
    construction: Construction
    course: Course


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every arm on the crawl of every seed, each at the rate that is best on the validation concepts of all seeds."""
    parts = [_of_seed(bench, settings, seed) for seed in bench.seeds]
    found = Observations()
    for arm in ARMS:
        seen = {name: np.stack([part[f"{arm}/{name}"] for part in parts]) for name in (*TESTS, *COUNTS)}
        at = _chosen(bench, settings, arm, seen[VALIDATION].mean(axis=0))
        for level in LEVELS:
            found.record(ACCURACY, arm, seen[level][:, at], level)
        found.record(LEAKED, arm, seen[LEAKED][:, at])
        found.record(FLATTERY, arm, seen[LEAKED][:, at] - seen[SECOND][:, at])
        for name in COUNTS:
            found.record(name, arm, seen[name])
    return found


def _chosen(bench: Bench, settings: Settings, arm: str, scores: NDArray) -> int:
    """Place of the arm's rate."""
    rates = settings.course.rates
    known = {rate: Tried(1 - float(score), 0.0, True) for rate, score in zip(rates, scores, strict=True)}
    return rates.index(bench.chosen_from(arm, rates, lambda more: {r: known[r] for r in more if r in known}))


def _of_seed(bench: Bench, settings: Settings, seed: int) -> dict[str, NDArray]:
    return bench.remember(f"seed {seed}", (repr(settings), seed), lambda: _measured(settings, seed))


def _measured(settings: Settings, seed: int) -> dict[str, NDArray]:
    """Of each arm: what is named right at each rate, ``[rates]``, and what it was trained on."""
    own, found = world(seed), crawl(seed, settings.dirt)
    material = Material.of(found, settings.course.components)
    encode = trusted_encoder(seed, own, material, found, settings.construction.trusted)
    left = construct(found, [chain_of(steps) for steps in ARMS.values()], settings.construction, encode)
    exam = _Exam(own, np.isin(own.second, found.concepts[found.faults == FAULTS.index("leaked")]), material)
    arrays: dict[str, NDArray] = {}
    for arm, kept in zip(ARMS, left, strict=True):
        tried = [exam.of(seed, kept, settings.course, rate) for rate in settings.course.rates]
        arrays |= {f"{arm}/{name}": np.array([one[name] for one in tried]) for name in TESTS}
        described = _described(kept, found.faults, found.concepts)
        arrays |= {f"{arm}/{name}": np.asarray(value) for name, value in described.items()}
    return arrays


@dataclass(frozen=True, eq=False)
class _Exam:
    """What the dual encoders of a seed are asked.

    Attributes:
        own: who is known.
        leaked: which of the second artist's pictures lie in the crawl, ``bool [n]``.
        material: with every concept's plain pictures.
    """

    own: World
    leaked: NDArray[np.bool_]
    material: Material

    def of(self, seed: int, kept: Kept, course: Course, rate: float) -> dict[str, float]:
        """The mean over the starts of the heads."""
        each = [self._once(trained(seed, k, self.material, kept, course, rate)) for k in range(course.starts)]
        return {name: float(np.mean([one[name] for one in each])) for name in TESTS}

    def _once(self, model: DualEncoder) -> dict[str, float]:
        own, plain = self.own, self.material.concepts
        second = named(model, plain[1][own.second], own.known, own.second)
        return {
            VALIDATION: _both(model, plain, own.validation),
            UNSEEN: _both(model, plain, own.unseen),
            SECOND: float(second[~self.leaked].mean()),
            LEAKED: float(second[self.leaked].mean()),
        }


def _both(model: DualEncoder, plain: Tensor, concepts: NDArray) -> float:
    return float(np.mean([named(model, by[concepts], concepts, concepts) for by in plain]))


def _described(kept: Kept, faults: NDArray, concepts: NDArray) -> dict[str, float]:
    counts = np.bincount(faults[kept.rows], minlength=len(FAULTS))
    sound = counts[FAULTS.index("right")] + counts[FAULTS.index("copied")] + counts[FAULTS.index("leaked")]
    described = {LEFT: float(len(kept.rows)), SHOWN: float(len(np.unique(concepts[kept.rows])))}
    by_fault = {f"pairs {fault}": float(count) for fault, count in zip(FAULTS, counts, strict=True)}
    return described | {SOUND: float(sound / len(kept.rows))} | by_fault
