"""Whether the temperature of a contrastive loss must be learned: held at several values, learned from several starts.

The logit scale is the temperature's inverse. Every arm has its own learning rate; the best of the scales that are held
is chosen on tuning seeds, as a rate is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucida.lab.dual_encoders import (
    RETRIEVAL,
    SECOND_ARTIST,
    USUAL_SCALE,
    ZERO_SHOT,
    Measures,
    PairCourse,
    Scoring,
    named_artwork,
)
from lucida.lab.experiment import Bench
from lucida.lab.observations import Observations
from lucida.lab.pair_arms import PairArm, at_best_rate

CLEAN, WRONG = "true names", "many wrong names"
LEVELS = CLEAN, WRONG
HELD = (1.0, 3.0, 10.0, 30.0, 100.0)
HOT, COLD = HELD[0], HELD[-1]
PACE = 10.0

USUAL, FROM_HOT, FROM_COLD = "learned", "learned from 1", "learned from 100"
QUICK_FROM_HOT, QUICK_FROM_COLD = "learned quickly from 1", "learned quickly from 100"
FREE = "learned quickly from 100, no clamp"
BEST = "best that is held"

SCALE, BEST_SCALE, LEARNED_SCALE = "scale at the end", "best scale held", "scale that was learned"
WORTH = (ZERO_SHOT, SECOND_ARTIST, RETRIEVAL)
STATISTICS = ("alignment", "uniformity of pictures", "uniformity of names", "modality gap")


def held(scale: float) -> str:
    """The arm of a scale that is held."""
    return f"held at {scale:g}"


def arms() -> dict[str, PairArm]:
    """All that get a rate of their own."""
    fixed = {held(scale): PairArm(Scoring(learned=False), scale) for scale in HELD}
    slow, quick = Scoring(), Scoring(pace=PACE)
    return fixed | {
        USUAL: PairArm(slow, USUAL_SCALE),
        FROM_HOT: PairArm(slow, HOT),
        FROM_COLD: PairArm(slow, COLD),
        QUICK_FROM_HOT: PairArm(quick, HOT),
        QUICK_FROM_COLD: PairArm(quick, COLD),
        FREE: PairArm(Scoring(pace=PACE, max_logit_scale=math.inf), COLD),
    }


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        batch_size: pairs.
        examples: pairs shown in all.
        wrong: share of the pictures with a wrong name, at the level that has them.
        rates: where tuning starts.
    """

    batch_size: int
    examples: int
    wrong: float
    rates: tuple[float, ...]

    def course(self, level: str) -> PairCourse:
        """What all arms of a level have in common."""
        return PairCourse(self.batch_size, self.examples, self.wrong if level == WRONG else 0.0)


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every arm at its best rate, with true names and with many wrong ones."""
    found = Observations()
    for level in LEVELS:
        trained: dict[str, Measures] = {}
        for name, arm in arms().items():
            tuned = f"{name}, {level}"
            trained[name] = at_best_rate(bench, named_artwork(), settings.course(level), tuned, arm, settings.rates)
            _record(found, name, trained[name], level)
        missed = {held(scale): min(bench.rates[f"{held(scale)}, {level}"].values()) for scale in HELD}
        _record(found, BEST, trained[min(missed, key=lambda name: missed[name])], level)
        _best_scales(found, trained, level)
        for name in (USUAL, FROM_HOT, FROM_COLD, QUICK_FROM_HOT, QUICK_FROM_COLD, FREE):
            scales = trained[name]["scales"]
            found.draw(f"scales/{name}/{level}", np.linspace(0, 1, scales.shape[1]), scales)
    return found


def _record(found: Observations, name: str, trained: Measures, level: str) -> None:
    for measure_name in (*WORTH, *STATISTICS):
        found.record(measure_name, name, trained[measure_name], level)
    found.record_ratio(SCALE, name, np.log2(trained["scale"]), level)


def _best_scales(found: Observations, trained: dict[str, Measures], level: str) -> None:
    """Zero-shot by scale, as a curve; and of each seed the scale at which it is best."""
    by_scale = np.stack([trained[held(scale)][ZERO_SHOT] for scale in HELD], axis=1)
    for measure_name in (*WORTH, *STATISTICS):
        curve = np.stack([trained[held(scale)][measure_name] for scale in HELD], axis=1)
        found.draw(f"{measure_name} by scale/{level}", HELD, curve)
    found.record_ratio(BEST_SCALE, level, _peak(by_scale))
    found.record_ratio(LEARNED_SCALE, level, np.log2(trained[USUAL]["scale"]))


def _peak(values: NDArray) -> NDArray:
    """The logarithm (base 2) of the scale at which each row ``[seeds, scales]`` is highest.

    Scales are weighted by how far they are above half of the way between the row's mean and its peak: of two that are
    alike none wins alone.

    >>> (2 ** _peak(np.array([[0, 0, 1, 0, 0], [0, 0, 1.0, 1.0, 0]]))).round(3).tolist()
    [10.0, 17.321]
    """
    middle = (values.mean(axis=1, keepdims=True) + values.max(axis=1, keepdims=True)) / 2
    weights = np.maximum(values - middle, 0) + 1e-12
    return np.asarray((weights * np.log2(HELD)).sum(axis=1) / weights.sum(axis=1))
