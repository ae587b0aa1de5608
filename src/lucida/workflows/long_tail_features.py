"""Features of labelled pictures by a frozen tower, each computed once, and the part of them that a seed sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.data.long_tail import Profile, long_tailed_counts, long_tailed_rows
from lucida.data.picture_augmentation import PRESETS
from lucida.models.features import vision_features
from lucida.models.towers import VisionTower
from lucida.models.views import balanced_views, view_features
from lucida.workflows.labelled_pictures import LabelledPictures

_VIEW_SEED = 0  # of the augmented views: the same for every seed, so that they are computed once


@dataclass(frozen=True, eq=False)
class Part:
    """What one seed trains on and is measured on.

    Attributes:
        seed: of the draw and of all that is random in the training.
        features: ``[n, D]`` of the training pictures.
        labels: ``int64 [n]``.
        extra_features, extra_labels: ``[e, D]`` and ``int64 [e]``, augmented views of the rarer classes' pictures.
        test_features, test_labels: ``[m, D]`` and ``int64 [m]``.
        classes: how many.
    """

    seed: int
    features: NDArray
    labels: NDArray[np.int64]
    extra_features: NDArray
    extra_labels: NDArray[np.int64]
    test_features: NDArray
    test_labels: NDArray[np.int64]
    classes: int

    @property
    def counts(self) -> NDArray[np.int64]:
        """Training pictures of each class, ``[C]``."""
        return np.bincount(self.labels, minlength=self.classes)


class LongTailFeatures:
    """Features of all labelled pictures; what a source sets apart as its test has a cache entry of its own.

    Args:
        pictures: labelled.
        tower: frozen.
        training_rows: by seed, rows into the labelled pictures: what the seed trains on.
        views: of a picture, itself among them; more than one only for the rarer half of the classes.
    """

    def __init__(
        self,
        pictures: LabelledPictures,
        tower: VisionTower,
        training_rows: Sequence[NDArray[np.int64]],
        *,
        views: int,
    ):
        self.pictures = pictures
        own, count = pictures.own_test, len(pictures.labels)
        everything = np.arange(count)
        groups = [everything] if own is None else [np.flatnonzero(~own), np.flatnonzero(own)]
        self._place = np.empty(count, np.int64)  # of each picture among those of its group
        self._group = np.empty(count, np.int64)
        self._plain = []
        for number, rows in enumerate(groups):
            self._place[rows], self._group[rows] = np.arange(len(rows)), number
            pixels = cast(np.ndarray, pictures.pixels(rows))
            self._plain.append(vision_features(tower, pixels, key=pictures.key(rows)))
        self._views = self._augmented(tower, groups[0], training_rows, views)

    def _augmented(
        self, tower: VisionTower, group: NDArray[np.int64], training_rows: Sequence[NDArray[np.int64]], most: int
    ) -> list[tuple[NDArray[np.int64], NDArray]]:
        """Rows and their augmented views ``[k - 1, n, D]``, for each number of views k that some pictures need."""
        needed = np.ones(len(self.pictures.labels), np.int64)
        for rows in training_rows:
            labels = self.pictures.labels[rows]
            counts = np.bincount(labels, minlength=len(self.pictures.names))
            needed[rows] = np.maximum(needed[rows], _views_of_the_rarer_half(counts, most)[labels])
        pixels, key = cast(np.ndarray, self.pictures.pixels(group)), self.pictures.key(group)
        found = []
        for number in np.unique(needed[needed > 1]).tolist():
            rows = np.flatnonzero(needed == number)
            views = view_features(tower, pixels, PRESETS["all"], number, _VIEW_SEED, key=key, rows=self._place[rows])
            found.append((rows, views[1:]))
        return found

    def part(self, seed: int, train: NDArray[np.int64], test: NDArray[np.int64]) -> Part:
        """What a seed sees."""
        extra, labels = [np.empty((0, self._plain[0].shape[1]), np.float32)], [np.empty(0, np.int64)]
        for rows, views in self._views:
            chosen = np.isin(rows, train)
            extra.append(views[:, chosen].reshape(-1, views.shape[2]))
            labels.append(np.tile(self.pictures.labels[rows[chosen]], len(views)))
        return Part(
            seed,
            self._features(train),
            self.pictures.labels[train],
            np.concatenate(extra),
            np.concatenate(labels),
            self._features(test),
            self.pictures.labels[test],
            len(self.pictures.names),
        )

    def _features(self, rows: NDArray[np.int64]) -> NDArray:
        answer = np.empty((len(rows), self._plain[0].shape[1]), np.float32)
        for number, features in enumerate(self._plain):
            inside = self._group[rows] == number
            answer[inside] = features[self._place[rows[inside]]]
        return answer


def _views_of_the_rarer_half(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Views of the pictures of each class: many where oversampling would repeat a picture most.

    >>> _views_of_the_rarer_half(np.array([100, 40, 30, 5]), 4).tolist()
    [1, 1, 4, 4]
    """
    numbers = balanced_views(counts, most)
    numbers[np.argsort(-counts, kind="stable")[: (len(counts) + 1) // 2]] = 1
    return numbers


def training_rows(
    pictures: LabelledPictures, seed: int, *, test_share: float, ratio: float, profile: Profile
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to be measured on, the former thinned to an imbalance; 1 leaves them as they are.

    The classes are thinned in their order of frequency, equal ones in the order of their names.
    """
    train, test = pictures.parts(seed, test_share)
    if ratio > 1:
        labels = pictures.labels[train]
        counts = np.bincount(labels, minlength=len(pictures.names))
        order = np.argsort(-counts, kind="stable")
        wanted = long_tailed_counts(len(counts), ratio, largest=int(counts.max()), profile=profile)
        for k, count in zip(order, wanted, strict=True):
            if counts[k] < count:
                what = f"class {pictures.names[k]!r} has {counts[k]} training pictures and should keep {count}"
                raise LucidaError(
                    what, where="--ratio", remedy="the classes are skewed already: use a larger ratio, or none"
                )
        train = train[long_tailed_rows(labels, ratio, profile=profile, order=order.tolist(), seed=seed)]
    return train, test
