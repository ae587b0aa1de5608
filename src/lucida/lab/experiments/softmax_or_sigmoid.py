"""The softmax of CLIP and the sigmoid of SigLIP over the batch size, at equal examples, each at its own best rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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

SOFTMAX, SOFTMAX_AT_TEN = "softmax", "softmax, scale from 10"
SIGMOID, SIGMOID_FROM_ZERO = "sigmoid", "sigmoid, bias from 0"
SIGMOID_SCALE, SIGMOID_BIAS = 10.0, -10.0
ARMS = {
    SOFTMAX: PairArm(Scoring(), USUAL_SCALE),
    SOFTMAX_AT_TEN: PairArm(Scoring(), SIGMOID_SCALE),
    SIGMOID: PairArm(Scoring("sigmoid"), SIGMOID_SCALE, SIGMOID_BIAS),
    SIGMOID_FROM_ZERO: PairArm(Scoring("sigmoid"), SIGMOID_SCALE, 0.0),
}
BATCHES = (8, 32, 128, 512)
WORTH = (ZERO_SHOT, SECOND_ARTIST, RETRIEVAL)
STATISTICS = ("alignment", "uniformity of pictures", "modality gap")
SCALE, RATE, ADVANTAGE = "scale at the end", "best learning rate", "sigmoid over softmax"


def level(batch: int) -> str:
    """The name of a batch size.

    >>> level(32)
    'batch 32'
    """
    return f"batch {batch}"


LEVELS = tuple(level(batch) for batch in BATCHES)


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        examples: pairs shown in all, whatever the batch.
        rates: where tuning starts, by batch size.
    """

    examples: int
    rates: Mapping[str, tuple[float, ...]]


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every arm at every batch size, at its best rate there."""
    found = Observations()
    for batch in BATCHES:
        course, where = PairCourse(batch, settings.examples), level(batch)
        trained: dict[str, Measures] = {}
        for name, arm in ARMS.items():
            tuned = f"{name}, {where}"
            trained[name] = at_best_rate(bench, named_artwork(), course, tuned, arm, settings.rates[where])
            for measured in (*WORTH, *STATISTICS):
                found.record(measured, name, trained[name][measured], where)
            found.record_ratio(SCALE, name, np.log2(trained[name]["scale"]), where)
            found.record_ratio(RATE, name, np.full(len(bench.seeds), np.log2(bench.chosen[tuned])), where)
        found.record(ADVANTAGE, where, trained[SIGMOID][ZERO_SHOT] - trained[SOFTMAX][ZERO_SHOT])
    _curves(found)
    return found


def _curves(found: Observations) -> None:
    for measured in (*WORTH, *STATISTICS):
        for name in ARMS:
            values = [found.numbers[measured, name, where] for where in LEVELS]
            found.draw(f"{measured} by batch/{name}", BATCHES, np.stack(values, axis=1))
