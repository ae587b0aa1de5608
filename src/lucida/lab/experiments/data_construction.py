"""What each step of data construction buys: a dirty crawl, each step alone and each left out, one small dual encoder.

All encoders see as many examples, those of one pass over the crawl; what differs is the pairs they are drawn from, and
for hard negatives the company they keep in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import NonFiniteError
from lucida.lab.dirty_pairs import (
    FAULTS,
    NEGATIVES,
    STEPS,
    Construction,
    Crawl,
    Dirt,
    Kept,
    World,
    chain_of,
    construct,
    crawl,
    world,
)
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
FALSE = "share of hard negatives that show the same concept"
LOSS, SOUND_RATE = "last loss", "whether losses fell"

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
    """Every arm on the crawl of every seed, at the rate that is best on the validation concepts of other seeds."""
    found = Observations()
    for arm in ARMS:
        rate = bench.chosen_from(arm, settings.course.rates, partial(_tried, bench, settings, arm))
        asked = [_asked(bench, settings, arm, seed, rate) for seed in bench.seeds]
        seen = {name: np.array([float(one[name]) for one in asked]) for name in TESTS}
        for level in LEVELS:
            found.record(ACCURACY, arm, seen[level], level)
        found.record(LEAKED, arm, seen[LEAKED])
        found.record(FLATTERY, arm, seen[LEAKED] - seen[SECOND])
        left = [_constructed(bench, settings, seed) for seed in bench.seeds]
        for name in (*COUNTS, *((FALSE,) if NEGATIVES in ARMS[arm] else ())):
            found.record(name, arm, np.array([float(one[f"{arm}/{name}"]) for one in left]))
    return found


def _tried(bench: Bench, settings: Settings, arm: str, rates: Sequence[float]) -> dict[float, Tried]:
    """What rates are worth to an arm on the seeds for tuning: the share of validation concepts that is named wrong."""
    found = {}
    for rate in rates:
        each = [_asked(bench, settings, arm, seed, rate) for seed in bench.tuning_seeds]
        named, last, sound = (np.array([one[name] for one in each]) for name in (VALIDATION, LOSS, SOUND_RATE))
        found[rate] = Tried(1 - float(named.mean()), float(last.mean()), bool(sound.all()))
    return found


def _constructed(bench: Bench, settings: Settings, seed: int) -> dict[str, NDArray]:
    """Of each arm: the pairs of a seed's crawl that are left, their negatives, and what they are."""
    numbers = (settings.dirt, settings.construction, settings.course.components)
    return bench.remember(f"pairs of seed {seed}", (repr(numbers), seed), lambda: _left(settings, seed))


def _left(settings: Settings, seed: int) -> dict[str, NDArray]:
    crawled = _crawled(settings.dirt, settings.course.components, seed)
    encode = trusted_encoder(seed, crawled.own, crawled.material, crawled.found, settings.construction.trusted)
    chains = [chain_of(steps) for steps in ARMS.values()]
    arrays: dict[str, NDArray] = {}
    for arm, kept in zip(ARMS, construct(crawled.found, chains, settings.construction, encode), strict=True):
        described = _described(kept, crawled.found)
        arrays |= {f"{arm}/{name}": np.asarray(value) for name, value in described.items()}
        arrays |= {f"{arm}/rows": kept.rows, f"{arm}/negatives": kept.negatives}
    return arrays


def _asked(bench: Bench, settings: Settings, arm: str, seed: int, rate: float) -> dict[str, NDArray]:
    """What an arm's encoders name right."""
    left = _constructed(bench, settings, seed)
    kept = Kept(left[f"{arm}/rows"], left[f"{arm}/negatives"])
    return bench.remember(
        f"{arm}, seed {seed}, rate {rate:.3g}", (repr(settings), arm, seed, rate),
        lambda: _crawled(settings.dirt, settings.course.components, seed).ask(seed, kept, settings.course, rate),
    )  # fmt: skip


@cache
def _crawled(dirt: Dirt, components: int, seed: int) -> _Crawled:
    own, found = world(seed), crawl(seed, dirt)
    leaked = np.isin(own.second, found.concepts[found.faults == FAULTS.index("leaked")])
    return _Crawled(own, found, leaked, Material.of(found, components))


@dataclass(frozen=True, eq=False)
class _Crawled:
    """A seed's crawl, and what is asked of the dual encoders that are trained on it.

    Attributes:
        own: who is known.
        found: the crawl.
        leaked: which of the second artist's pictures lie in the crawl, ``bool [n]``.
        material: with every concept's plain pictures.
    """

    own: World
    found: Crawl
    leaked: NDArray[np.bool_]
    material: Material

    def ask(self, seed: int, kept: Kept, course: Course, rate: float) -> dict[str, NDArray]:
        """The mean over the starts of the heads; nothing is right where the rate is too large for them."""
        tests, last, sound = [], [], True
        for start in range(course.starts):
            try:
                model, losses = trained(seed, start, self.material, kept, course, rate)
            except NonFiniteError:
                return {name: np.zeros(()) for name in (*TESTS, SOUND_RATE)} | {LOSS: np.array(np.inf)}
            tests.append(self._named(model))
            last.append(losses[-1])
            sound &= losses[-1] < losses[0]
        arrays = {name: np.array(np.mean([one[name] for one in tests])) for name in TESTS}
        return arrays | {LOSS: np.array(np.mean(last)), SOUND_RATE: np.array(float(sound))}

    def _named(self, model: DualEncoder) -> dict[str, float]:
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


def _described(kept: Kept, found: Crawl) -> dict[str, float]:
    counts = np.bincount(found.faults[kept.rows], minlength=len(FAULTS))
    sound = counts[FAULTS.index("right")] + counts[FAULTS.index("copied")] + counts[FAULTS.index("leaked")]
    shown = found.concepts[kept.rows]
    described = {LEFT: float(len(kept.rows)), SHOWN: float(len(np.unique(shown))), SOUND: float(sound / len(kept.rows))}
    there = kept.negatives >= 0
    if there.any():
        same = found.concepts[kept.negatives] == shown[:, None]
        described[FALSE] = float(same[there].mean())
    return described | {f"pairs {fault}": float(count) for fault, count in zip(FAULTS, counts, strict=True)}
