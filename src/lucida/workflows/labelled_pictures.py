"""Labelled pictures, and which of them a seed trains on and is measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.corpus import Corpus, draw_splits
from lucida.data.galleries import as_words
from lucida.data.pixels import DecodedPictures

FEWEST = 3  # pictures of a class: one to train on, one to tune on, one to be measured on


class ChosenPixels:
    """Some rows of a memory-mapped array of pictures as an array that never is in memory as a whole."""

    def __init__(self, pixels: np.ndarray, rows: NDArray[np.int64]):
        self._pixels, self._rows = pixels, rows
        self.dtype, self.ndim, self.shape = pixels.dtype, pixels.ndim, (len(rows), *pixels.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> np.ndarray:
        return self._pixels[self._rows[chosen]]


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Pictures with one label each.

    Attributes:
        decoded: all of them, and pictures without a label.
        rows: of the labelled ones in ``decoded``, ``int64 [N]``.
        labels: of those, ``int64 [N]``.
        names: of the classes, in the order of their numbers.
        own_test: which of the ``N`` the source set apart as its test, ``bool [N]``; ``None`` if it names none.
    """

    decoded: DecodedPictures
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    own_test: NDArray[np.bool_] | None

    @classmethod
    def of(cls, decoded: DecodedPictures, where: Path) -> LabelledPictures:
        """The labelled pictures of a corpus.

        Raises:
            LucidaError: there are fewer than two classes, or fewer than three pictures of one.
        """
        corpus = decoded.corpus
        rows = np.array([i for i, picture in enumerate(corpus) if picture.label], np.int64)
        counts = Counter(str(corpus.pictures[i].label) for i in rows)
        if len(counts) < 2:
            remedy = "put the pictures of each class in a folder of their own, or give the table a column 'label'"
            raise LucidaError(
                f"{len(counts)} classes: pictures need labels to be classified", where=where, remedy=remedy
            )
        rarest, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
        if fewest < FEWEST:
            remedy = f"add pictures of it, or leave it out: every class needs {FEWEST}, to train, to tune, to measure"
            raise LucidaError(f"class {rarest!r} has {fewest} pictures", where=where, remedy=remedy)
        numbers = {label: k for k, label in enumerate(corpus.classes)}
        labels = np.array([numbers[str(corpus.pictures[i].label)] for i in rows], np.int64)
        own = None if "test" in corpus.drawn else np.isin(rows, corpus.rows("test"))
        if own is not None and not own.any():
            raise LucidaError(
                "no picture of the test split has a label", where=where, remedy="add labels, or leave it out"
            )
        if own is not None:
            _check_own_test(corpus, labels, own, where)
        words = tuple(as_words(name) for name in corpus.classes)
        return cls(decoded, rows, labels, words if len({*words, ""}) == len(words) + 1 else corpus.classes, own)

    def pixels(self, rows: NDArray[np.int64]) -> ChosenPixels:
        """The pixels of some of the ``N`` pictures, read when they are asked for."""
        return ChosenPixels(self.decoded.pixels, self.rows[rows])

    def key(self, rows: NDArray[np.int64]) -> str:
        """The content key of the pixels of some of the ``N`` pictures."""
        pictures = self.decoded.corpus.pictures
        return content_hash("decoded", self.decoded.size, [pictures[i].source.content_key() for i in self.rows[rows]])

    def parts(self, seed: int, test_share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the ``N`` pictures to train on and which to be measured on, for a seed.

        The source's own test stays the test; else a share of every class is drawn, pictures of one identity together.
        """
        if self.own_test is not None:
            return np.flatnonzero(~self.own_test), np.flatnonzero(self.own_test)
        drawn = draw_splits(self.decoded.corpus, seed, validation_share=0.0, test_share=test_share)
        tested = np.array([drawn.pictures[i].split == "test" for i in self.rows])
        missing = set(range(len(self.names))) - set(self.labels[~tested].tolist())
        if missing:
            name = self.names[min(missing)]
            raise LucidaError(f"no picture of class {name!r} is left to train on", where=f"split seed {seed}")
        return np.flatnonzero(~tested), np.flatnonzero(tested)


def capped(corpus: Corpus, most: int, seed: int) -> Corpus:
    """At most so many labelled pictures: the largest classes are cut to one size, rare ones stay whole.

    >>> _cap([90, 30, 5], 60)
    27
    """
    strata: dict[tuple[str, str], list[int]] = {}
    for i, picture in enumerate(corpus):
        if picture.label:
            part = "test" if picture.split == "test" and "test" not in corpus.drawn else "train"
            strata.setdefault((part, picture.label), []).append(i)
    if sum(map(len, strata.values())) <= most:
        return corpus
    cap = _cap([len(rows) for rows in strata.values()], most)
    kept: set[int] = set()
    for (part, label), rows in strata.items():
        kept |= {rows[k] for k in stream(seed, "capped", part, label).permutation(len(rows))[:cap].tolist()}
    pictures = tuple(picture for i, picture in enumerate(corpus) if i in kept)
    return replace(corpus, pictures=pictures, n_available=corpus.n_available or len(corpus))


def _cap(sizes: Sequence[int], most: int) -> int:
    """The largest size to which classes can be cut so that ``most`` are left, at least the fewest a class needs."""
    cap, left = FEWEST, most
    for place, size in enumerate(sorted(sizes)):
        cap = max(left // (len(sizes) - place), FEWEST)
        if size >= cap:
            break
        left -= size
    return cap


def _check_own_test(corpus: Corpus, labels: NDArray[np.int64], own: NDArray[np.bool_], where: Path) -> None:
    """Every class is trained on.

    Raises:
        LucidaError: a class stands in the test split alone.
    """
    only = sorted(set(labels[own].tolist()) - set(labels[~own].tolist()))
    if only:
        named = ", ".join(repr(corpus.classes[k]) for k in only[:3])
        remedy = "add some, or take it out of the test split"
        raise LucidaError(f"no picture to train on of {named}", where=where, remedy=remedy)
