"""Arms of small dual encoders on a bench: each trained over all seeds at the learning rate that is best for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from lucida.lab.dual_encoders import (
    VALIDATION,
    Measures,
    NamedArtwork,
    PairCourse,
    PairMember,
    Scoring,
    train_pairs,
)
from lucida.lab.experiment import Bench, Tried

HELPERS = (
    "lab/pair_arms.py",
    "lab/dual_encoders.py",
    "lab/feature_statistics.py",
    "lab/frozen_features.py",
    "models/dual_encoder.py",
    "losses/contrastive.py",
    "losses/sigmoid.py",
)
"""What a measurement of them rests on, beside what every experiment does."""


class PairArm(NamedTuple):
    """How cosines become a loss, and where scale and bias start."""

    scoring: Scoring
    start_scale: float
    start_bias: float = 0.0


def at_best_rate(
    bench: Bench, artwork: NamedArtwork, course: PairCourse, name: str, arm: PairArm, rates: Sequence[float]
) -> Measures:
    """What the results' seeds measure at the arm's best rate, ``[seeds]`` or ``[seeds, points]`` each.

    The mean reciprocal rank on validation concepts over the tuning seeds decides: one less it is in
    ``bench.rates[name]``.
    """

    def tried(wanted: Sequence[float]) -> dict[float, Tried]:
        trained = _trained(bench, artwork, course, name, arm, bench.tuning_seeds, wanted)
        shape = len(bench.tuning_seeds), len(wanted)
        missed = 1 - trained[VALIDATION].reshape(shape).mean(axis=0)
        last = np.nan_to_num(trained["losses"][:, -1], nan=np.inf).reshape(shape).mean(axis=0)
        fine = np.asarray(trained["alive"].reshape(shape).all(axis=0))
        return {rate: Tried(float(missed[k]), float(last[k]), bool(fine[k])) for k, rate in enumerate(wanted)}

    best = bench.chosen_from(name, rates, tried)
    return _trained(bench, artwork, course, name, arm, bench.seeds, (best,))


def _trained(
    bench: Bench,
    artwork: NamedArtwork,
    course: PairCourse,
    name: str,
    arm: PairArm,
    seeds: Sequence[int],
    rates: Sequence[float],
) -> Measures:
    """An arm for all seeds and some rates (seeds outside), at once."""
    members = [
        PairMember(seed, rate, arm.scoring, arm.start_scale, arm.start_bias) for seed, rate in product(seeds, rates)
    ]
    key = (repr(course), repr(members), artwork.content_key)
    what = f"{name}, rates {min(rates):.2g} to {max(rates):.2g}"
    return bench.remember(what, key, partial(train_pairs, artwork, course, members))
