"""Points in known groups, planted and real, on which clusterings are compared: some to fit, the others held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lucida.core.cache import content_hash
from lucida.core.seeds import stream
from lucida.lab.datasets import digits as digit_pictures

GROUPS, DIMENSIONS = 8, 8  # of what is planted
ELONGATION = 30.0  # largest over smallest variance of a group
UNEQUAL = 8.0  # largest over smallest group
SPREAD = 1.0  # of the groups' centres, in a group's mean standard deviation
REAL_DIMENSIONS = 16  # principal components of real data


@dataclass(frozen=True, eq=False)
class Truth:
    """What points were drawn from.

    Attributes:
        weights, means, covariances: ``[k]``, ``[k, d]``, ``[k, d, d]``.
    """

    weights: NDArray
    means: NDArray
    covariances: NDArray


@dataclass(frozen=True, eq=False)
class GroupedPoints:
    """Points and the group of each.

    Attributes:
        fitted, held_out: ``float64 [n, d]``; the mean variance of a dimension of both is about 1.
        fitted_groups, held_out_groups: ``int64 [n]``.
        groups: how many there are.
        truth: what they were drawn from, where that is known.
    """

    fitted: NDArray
    fitted_groups: NDArray
    held_out: NDArray
    held_out_groups: NDArray
    groups: int
    truth: Truth | None = None


def planted(
    seed: int, points: int, *, elongation: float = 1.0, unequal: float = 1.0, held_out: int = 2000
) -> GroupedPoints:
    """Gaussian groups in random places.

    Args:
        seed: of all that is drawn.
        points: that are fitted, of all groups.
        elongation: of each group: its largest variance over its smallest, along random axes; the mean is 1.
        unequal: the largest group's share over the smallest's.
        held_out: points beside those.
    """
    generator = stream(seed, "planted mixture", str(elongation), str(unequal))
    means = SPREAD * generator.normal(size=(GROUPS, DIMENSIONS))
    variances = np.geomspace(1.0, elongation, DIMENSIONS)
    variances = variances / variances.mean()
    axes = [np.linalg.qr(generator.normal(size=(DIMENSIONS, DIMENSIONS)))[0] for _ in range(GROUPS)]
    roots = np.stack([q * np.sqrt(variances) for q in axes])
    weights = np.geomspace(1.0, unequal, GROUPS)
    weights = weights / weights.sum()
    groups = generator.choice(GROUPS, size=points + held_out, p=weights)
    noise = generator.normal(size=(len(groups), DIMENSIONS))
    drawn = means[groups] + np.einsum("nij,nj->ni", roots[groups], noise)
    scale = np.sqrt(1 + SPREAD**2)  # of a dimension, over groups
    truth = Truth(weights, means / scale, roots @ roots.transpose(0, 2, 1) / scale**2)
    drawn = drawn / scale
    return GroupedPoints(drawn[:points], groups[:points], drawn[points:], groups[points:], GROUPS, truth)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Real points with labels; those of one ``unit`` stay together."""

    name: str
    points: NDArray
    labels: NDArray
    units: NDArray

    @property
    def content_key(self) -> str:
        """A hash of what is in it."""
        return content_hash(self.name, self.points, self.labels)

    def halves(self, seed: int) -> GroupedPoints:
        """Half of the units to fit, the other half held out."""
        _, codes = np.unique(self.units, return_inverse=True)
        places = stream(seed, "halves", self.name).permutation(codes.max() + 1)
        first = places[codes] < (codes.max() + 1) // 2
        groups = int(self.labels.max()) + 1
        return GroupedPoints(
            self.points[first], self.labels[first], self.points[~first], self.labels[~first], groups
        )  # fmt: skip


def _reduced(features: NDArray) -> NDArray:
    """Principal components of features as they are, scaled to a mean variance of 1."""
    centred = features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    axes, kept = vectors[:, ::-1][:, :REAL_DIMENSIONS], values[::-1][:REAL_DIMENSIONS]
    return centred @ axes / np.sqrt(kept.mean())


@cache
def digits() -> Labelled:
    """Handwritten digits, reduced from their 64 pixels; no label is used for it."""
    data = digit_pictures()
    pixels = data.inputs["inputs"].reshape(len(data.labels), -1).double().numpy()
    return Labelled("digits", _reduced(pixels), data.labels.numpy(), data.groups)


@cache
def emoji(size: int = 128) -> Labelled:
    """Emoji of two artists as the frozen vision tower sees them; the label is Unicode's category."""
    from lucida.data.emoji import ARTISTS, concepts, load_artwork
    from lucida.models.efficientnet import EfficientNetLite0
    from lucida.models.features import vision_features

    drawn = concepts()
    rows = [i for i, concept in enumerate(drawn) if concept.category and not concept.apart]
    names = sorted({drawn[i].category for i in rows})
    tower = EfficientNetLite0(size)
    seen = []
    for artist in ARTISTS:
        rgba = load_artwork(artist, size)
        alpha = rgba[..., 3:].astype(np.float32) / 255
        white = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        key = content_hash("artwork on white", artist, size, [concept.code for concept in drawn])
        seen.append(np.asarray(vision_features(tower, white, key=key), np.float64)[rows])
    features = np.concatenate(seen)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.tile([names.index(drawn[i].category) for i in rows], len(ARTISTS))
    units = np.tile([drawn[i].group for i in rows], len(ARTISTS))
    return Labelled("emoji", _reduced(features), labels, units)


REAL: dict[str, Callable[[], Labelled]] = {"digits": digits, "emoji": emoji}
