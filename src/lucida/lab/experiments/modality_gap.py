"""Whether pictures and texts of a dual encoder lie apart, from when on, and what becomes of it if they are moved.

Small dual encoders on frozen features of emoji, looked at before training and after training at temperatures that are
held fixed; then pictures and texts are moved towards each other, along the difference of their means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lucida.evaluation.zero_shot import true_class_ranks
from lucida.lab.dual_encoders import (
    USUAL_SCALE,
    NamedArtwork,
    PairCourse,
    PairMember,
    Parts,
    Scoring,
    make_encoder,
    named_artwork,
    parts,
    train_alike,
)
from lucida.lab.experiment import Bench, Tried
from lucida.lab.feature_statistics import alignment, modality_gap
from lucida.lab.observations import Observations
from lucida.models.dual_encoder import DualEncoder

SHIFTS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""How far both are moved: at 0 they are where training left them, at 1 their means meet."""
LEARNED = "learned"
START = "before training"
BOTH, HALVES = "pictures and texts", "two halves of the pictures"
CLOSED, AS_TRAINED = "moved together", "as trained"
GAP, PARTED, PICTURE_CONE, TEXT_CONE = "distance of the means", "told apart", "cosine of pictures", "cosine of texts"
ALIGNED, NAMED, BEST_SHIFT = "cosine of pairs", "named right", "best shift"
_VALIDATION = "validation"


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        temperatures: held fixed, each in a training of its own; one more is learned from CLIP's start.
        rates: Adam's, each temperature at its own best.
        examples: pairs of a training.
    """

    temperatures: tuple[float, ...]
    rates: tuple[float, ...]
    examples: int

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the temperatures."""
        return (*map(str, self.temperatures), LEARNED)

    @property
    def course(self) -> PairCourse:
        """Of all trainings."""
        return PairCourse(batch_size=256, examples=self.examples)


def measure(bench: Bench, settings: Settings) -> Observations:
    """The start, then every temperature."""
    found = Observations()
    fresh = bench.remember(START, (bench.seeds, named_artwork().content_key), partial(_at_the_start, bench.seeds))
    _record(found, {name: values[:, None] for name, values in fresh.items()}, START)
    for level in settings.levels:
        rate = _rate(bench, settings, level)
        looked = _trained(bench, settings.course, level, (rate,), bench.seeds)
        _record(found, looked, level)
        along = np.stack([looked[_moved(shift)][:, 0] for shift in SHIFTS], axis=1)
        found.draw(f"{NAMED}/{level}", SHIFTS, along)
        found.record(NAMED, AS_TRAINED, along[:, SHIFTS.index(0.0)], level)
        found.record(NAMED, CLOSED, along[:, SHIFTS.index(1.0)], level)
        found.record(BEST_SHIFT, "of those tried", np.array(SHIFTS)[along.argmax(axis=1)], level)
    return found


def _record(found: Observations, looked: dict[str, NDArray], level: str) -> None:
    for name in (GAP, f"{GAP}, {HALVES}", PARTED, PICTURE_CONE, TEXT_CONE, ALIGNED):
        own, _, halves = name.partition(", ")
        found.record(own, halves or BOTH, looked[name][:, 0], level)


def _member(level: str, seed: int, rate: float) -> PairMember:
    if level == LEARNED:
        return PairMember(seed, rate, Scoring(), USUAL_SCALE)
    return PairMember(seed, rate, Scoring(learned=False), 1 / float(level))


def _rate(bench: Bench, settings: Settings, level: str) -> float:
    """The rate at which the names of validation pictures rank first on the tuning seeds."""

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        looked = _trained(bench, settings.course, level, rates, bench.tuning_seeds)
        wrong, last = 1 - looked[_VALIDATION].mean(axis=0), looked["loss"].mean(axis=0)
        return {
            r: Tried(float(wrong[k]), float(np.nan_to_num(last[k], nan=np.inf)), bool(looked["alive"][:, k].all()))
            for k, r in enumerate(rates)
        }

    return bench.chosen_from(f"temperature {level}", settings.rates, tried)


def _trained(
    bench: Bench, course: PairCourse, level: str, rates: Sequence[float], seeds: Sequence[int]
) -> dict[str, NDArray]:
    """A temperature at some rates for some seeds: every array ``[seeds, rates]``."""
    members = [_member(level, seed, rate) for seed, rate in product(seeds, rates)]
    what = f"{level}, rates {min(rates):.2g} to {max(rates):.2g}, seeds from {seeds[0]}"
    key = (repr(course), repr(members), named_artwork().content_key)
    found = bench.remember(what, key, partial(trained, course, members))
    return {name: array.reshape(len(seeds), len(rates)) for name, array in found.items()}


def trained(course: PairCourse, members: Sequence[PairMember]) -> dict[str, NDArray]:
    """What :func:`look` finds in each after its training, ``[M]``; also ``loss`` at the end and ``alive``."""
    artwork = named_artwork()
    done = train_alike(artwork, course, members)
    looked = [look(artwork, parts(artwork, one.seed), done.encoder(k)) for k, one in enumerate(members)]
    found = {name: np.array([each[name] for each in looked]) for name in looked[0]}
    return found | {"loss": done.losses[:, -1], "alive": done.alive}


def _at_the_start(seeds: Sequence[int]) -> dict[str, NDArray]:
    artwork, looked = named_artwork(), []
    for seed in seeds:
        known = parts(artwork, seed)
        looked.append(look(artwork, known, make_encoder(artwork, known, _member(LEARNED, seed, 0.0)).eval()))
    return {name: np.array([each[name] for each in looked]) for name in looked[0]}


@torch.no_grad()
def look(artwork: NamedArtwork, known: Parts, encoder: DualEncoder) -> dict[str, float]:
    """How pictures and names lie, and how many pictures of unseen concepts are named right along the shift.

    The direction of the shift comes from the concepts of the training part, all else from unseen ones.
    """
    artists, count = artwork.pictures.shape[:2]
    pictures = encoder.encode_image(features=artwork.pictures.flatten(0, 1)).unflatten(0, (artists, count))
    names = encoder.encode_text(features=artwork.named(np.arange(count)))
    artist, concept = torch.from_numpy(known.pairs).T
    learned = pictures[artist, concept], names[concept]
    apart = learned[0].mean(dim=0) - learned[1].mean(dim=0)
    shown, said = pictures[:, known.unseen].flatten(0, 1), names[known.unseen]
    tuned = torch.from_numpy(known.validation)
    labels = np.tile(np.arange(len(tuned)), artists)
    ranks = true_class_ranks(pictures[:, tuned].flatten(0, 1), names[tuned], labels)
    found = {
        GAP: modality_gap(shown, said),
        f"{GAP}, {HALVES}": modality_gap(shown[::2], shown[1::2]),
        PARTED: told_apart(shown, said, apart, learned),
        PICTURE_CONE: mean_cosine(shown),
        TEXT_CONE: mean_cosine(said),
        ALIGNED: 1 - alignment(shown, said.repeat(artists, 1)) / 2,
        _VALIDATION: float((1 / ranks).mean()),
    }
    return found | {_moved(shift): named(*moved(shown, said, apart, shift)) for shift in SHIFTS}


def _moved(shift: float) -> str:
    return f"moved by {shift}"


def mean_cosine(features: Tensor) -> float:
    """Of all pairs of different rows of length one, ``[n, d]``: 0 all round the sphere, 1 in one direction.

    >>> mean_cosine(torch.eye(3))
    0.0
    """
    n = len(features)
    return float((features.sum(dim=0).square().sum() - n) / (n * (n - 1)))


def told_apart(shown: Tensor, said: Tensor, apart: Tensor, known: tuple[Tensor, Tensor]) -> float:
    """The share of pictures and of texts that one plane tells from the other: across ``apart``, midway between means.

    Args:
        shown, said: of unseen concepts.
        apart: the direction.
        known: pictures and texts of known concepts, between which the plane lies.
    """
    middle = (known[0].mean(dim=0) + known[1].mean(dim=0)) @ apart / 2
    right = ((shown @ apart > middle).float().mean() + (said @ apart < middle).float().mean()) / 2
    return float(right)


def moved(shown: Tensor, said: Tensor, apart: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """Both moved along ``apart``, each half the way, and brought back to the sphere; 1 closes the gap."""
    return F.normalize(shown - shift / 2 * apart, dim=-1), F.normalize(said + shift / 2 * apart, dim=-1)


def named(shown: Tensor, said: Tensor) -> float:
    """The share of pictures, of all concepts by each artist in turn, whose own name is nearest."""
    own = np.tile(np.arange(len(said)), len(shown) // len(said))
    return float((true_class_ranks(shown, said, own) == 1).mean())
