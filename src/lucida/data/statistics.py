"""How often objects appear, alone and together: the source of popular and adversarial negatives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEGATIVES = ("random", "popular", "adversarial")
"""POPE's three ways to choose an object that is absent (Li et al. 2023, arXiv 2305.10355)."""


@dataclass(frozen=True, eq=False)
class ObjectStatistics:
    """Frequencies of objects in the pictures of a split or a world.

    Attributes:
        names: the vocabulary.
        frequency: share of pictures (or any number proportional to it) that show each, ``[K]``.
        together: the same for each pair, symmetric, ``[K, K]``, zero on the diagonal.
    """

    names: tuple[str, ...]
    frequency: np.ndarray
    together: np.ndarray

    @classmethod
    def count(cls, pictures: Iterable[Collection[str]], names: Sequence[str] | None = None) -> ObjectStatistics:
        """Statistics of the given pictures, each a collection of object names.

        >>> counted = ObjectStatistics.count([["cat", "mat"], ["cat"], ["dog", "cat"]])
        >>> counted.names, counted.frequency.tolist(), counted.choose("popular", ["dog"], 1)
        (('cat', 'dog', 'mat'), [3.0, 1.0, 1.0], ['cat'])
        """
        sets = [sorted(set(picture)) for picture in pictures]
        vocabulary = tuple(names) if names is not None else tuple(sorted({name for s in sets for name in s}))
        place = {name: i for i, name in enumerate(vocabulary)}
        frequency, together = np.zeros(len(vocabulary)), np.zeros((len(vocabulary), len(vocabulary)))
        for shown in sets:
            places = [place[name] for name in shown if name in place]
            frequency[places] += 1
            together[np.ix_(places, places)] += 1
        np.fill_diagonal(together, 0)
        return cls(vocabulary, frequency, together)

    def only(self, names: Collection[str]) -> ObjectStatistics:
        """The statistics of a part of the vocabulary.

        >>> ObjectStatistics.count([["cat", "mat"], ["cat"]]).only(["mat"]).names
        ('mat',)
        """
        kept = [i for i, name in enumerate(self.names) if name in set(names)]
        return ObjectStatistics(
            tuple(self.names[i] for i in kept), self.frequency[kept], self.together[np.ix_(kept, kept)]
        )

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def choose(
        self, how: str, present: Collection[str], n: int, generator: np.random.Generator | None = None
    ) -> list[str]:
        """Up to ``n`` names that are absent from a picture.

        Args:
            how: ``"random"``; ``"popular"``: the most frequent; ``"adversarial"``: those that most often appear with
                what is there.
            present: what the picture shows.
            n: how many; fewer if the vocabulary ends.
            generator: draws the random ones and, for the others, replaces "the most" by "in proportion to"; without
                it, ties are broken by the order of the names.
        """
        here = [self._place[name] for name in present if name in self._place]
        if how == "random":
            weights = np.ones(len(self.names))
        elif how == "popular" or not here:
            weights = self.frequency.astype(np.float64)
        else:
            weights = (self.together[here] / np.maximum(self.frequency[here], 1e-12)[:, None]).sum(axis=0)
        allowed = np.ones(len(self.names), bool)
        allowed[here] = False
        if how == "random" and generator is None:
            raise ValueError("random negatives need a generator")
        scores = self._scores(weights, generator)
        scores[~allowed] = -np.inf
        order = np.argsort(-scores, kind="stable")[: min(n, int(allowed.sum()))]
        return [self.names[i] for i in order]

    @staticmethod
    def _scores(weights: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """The weights, or Gumbel keys that sort in the order of weighted drawing without replacement."""
        if generator is None:
            return weights.copy()
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(weights, 1e-12)) + generator.gumbel(size=len(weights))
