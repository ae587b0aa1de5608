"""Near-duplicates: pictures whose features are almost one *and* whose pixels agree, found without an n×n matrix.

Features alone would call two photographs of one kind of thing duplicates, pixels alone two that are mostly sky. The
search compares sketches instead of features: ``k`` coordinates of the unit vector along orthonormal axes and, as one
more, the length of what they leave out. By Cauchy and Schwarz the product of two sketches is never less than the cosine
of the features, so no pair above the threshold is missed; what the sketches let through is compared in full. Sorted by
the first coordinate, in which two such vectors differ by at most ``√(2 - 2 cos)``, most blocks need no comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lucida.core.progress import counted
from lucida.core.seeds import stream
from lucida.data.picture_hashes import likeness_of
from lucida.models.principal_components import PrincipalComponents, chunks

BLOCK = 2048  # rows a side of what is compared at once
_DENSE = 0.005  # of a block's pairs; if more pass the sketches, one product in full costs less than looking at each
_ROUNDING = 1e-5  # of products of float32
_VERIFIED = 4096  # pairs whose features and pixels are in memory at once
SIDE = 16  # of the small pictures that pixels are compared by


@dataclass
class Groups:
    """Disjoint sets (union-find with path halving; the root of a set is its smallest row).

    >>> groups = Groups.of(4)
    >>> groups.join(3, 1); groups.join(1, 2)
    >>> groups.roots.tolist()
    [0, 1, 1, 1]
    """

    parents: NDArray[np.int64]

    @classmethod
    def of(cls, count: int) -> Groups:
        """Every row alone."""
        return cls(np.arange(count))

    def root(self, row: int) -> int:
        """The smallest row of the set of ``row``."""
        parents = self.parents
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = int(parents[row])
        return row

    def join(self, a: int, b: int) -> None:
        """Make one set of two."""
        a, b = self.root(a), self.root(b)
        self.parents[max(a, b)] = min(a, b)

    def roots_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of some rows at once."""
        at = self.parents[rows]
        while not np.array_equal(at, above := self.parents[at]):
            at = above
        return at

    @property
    def roots(self) -> NDArray[np.int64]:
        """Of every row."""
        return self.roots_of(np.arange(len(self.parents)))


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What was found.

    Attributes:
        groups: of each picture the number of its group, from 0 in the order of their first pictures; -1 for none.
        pairs: links that made the groups: rows, cosine and likeness of the pixels, at most one fewer than pictures.
        rejected: links above the cosine whose pixels differ: the same kind of thing, not the same picture.
        compared: share of all pairs whose sketches were multiplied.
    """

    groups: NDArray[np.int64]
    pairs: list[tuple[int, int, float, float]] = field(default_factory=list)
    rejected: int = 0
    compared: float = 0.0

    @cached_property
    def members(self) -> list[NDArray[np.int64]]:
        """Rows of each group, ascending."""
        order = np.argsort(self.groups, kind="stable")
        cuts = np.searchsorted(self.groups[order], np.arange(int(self.groups.max(initial=-1)) + 2))
        return [order[a:b] for a, b in pairwise(cuts.tolist())]


Pictures = Callable[[NDArray[np.int64]], NDArray]
"""Rows to their pixels, ``uint8 [n, H, W, 3]``."""


def near_duplicates(
    features: NDArray, pixels: Pictures, components: PrincipalComponents, *, cosine: float, likeness: float
) -> Duplicates:
    """Groups of pictures that are linked by near-equality.

    Every pair is looked at, by its sketches: for a million pictures and 128 axes about 1.3e14 operations.

    Args:
        features: ``[N, D]``, memory-mapped or not.
        pixels: of some rows.
        components: of these features: their mean is taken away first, since all features of a tower lean one way, and
            along their axes lie the sketches.
        cosine: of the centred features, at least; above 0.
        likeness: of the small pictures, at least; see :func:`likeness_of`.
    """
    rows = len(features)
    sketches = sketch(features, components)
    order = np.argsort(sketches[:, 0], kind="stable")
    groups, found = Groups.of(rows), Duplicates(np.full(rows, -1, np.int64))
    search = _Search(features, pixels, components, cosine, likeness, groups)
    blocks = list(chunks(rows, BLOCK))
    multiplied = 0
    for i in counted(range(len(blocks)), "blocks searched for near-duplicates"):
        own = order[blocks[i]]
        ends = float(sketches[own[-1], 0]) + math.sqrt(2 - 2 * cosine)
        for block in blocks[i:]:
            other = order[block]
            if sketches[other[0], 0] > ends:
                break
            multiplied += len(own) * len(other)
            search.compare(own, other, torch.from_numpy(sketches[own]) @ torch.from_numpy(sketches[other]).T)
    roots = groups.roots
    sizes = np.bincount(roots, minlength=rows)
    heads = np.flatnonzero(sizes > 1)
    number = np.full(rows, -1, np.int64)
    number[heads] = np.arange(len(heads))
    all_pairs = max(rows * (rows + BLOCK) / 2, 1)
    return Duplicates(number[roots], search.pairs, search.rejected, min(1.0, multiplied / all_pairs)) if rows else found


def usual_nearness(
    features: NDArray, pixels: Pictures, components: PrincipalComponents, *, likeness: float, sample: int = 256,
    quantile: float = 0.99, seed: int = 0,
) -> float:  # fmt: skip
    """How near other pictures come: a quantile of the cosine of the nearest picture whose pixels differ.

    What a tower finds near depends on the corpus: drawings by one hand lie closer together than photographs. A cosine
    above this number is one that different pictures hardly reach.

    Args:
        features, pixels, components: as for :func:`near_duplicates`.
        likeness: pictures that are at least so alike are not counted as others.
        sample: pictures whose nearest ones are looked for among all.
        quantile: of their cosines.
        seed: of the sample.

    Returns:
        0 if every nearest picture is alike.
    """
    count = len(features)
    rows = np.sort(stream(seed, "near-duplicates").choice(count, min(sample, count), replace=False))
    own = components.directions(features[rows]).astype(np.float32)
    best, nearest = np.full(len(rows), -2.0, np.float32), np.zeros(len(rows), np.int64)
    for part in chunks(count):
        cosines = own @ components.directions(features[part]).astype(np.float32).T
        inside = (rows >= part.start) & (rows < part.stop)
        cosines[inside, rows[inside] - part.start] = -2.0
        place = cosines.argmax(axis=1)
        found = cosines[np.arange(len(rows)), place]
        nearer = found > best
        best[nearer], nearest[nearer] = found[nearer], place[nearer] + part.start
    alike = likeness_of(small_pictures(pixels(rows)), small_pictures(pixels(nearest)))
    others = best[(alike < likeness) & (best > -2.0)]
    return float(np.quantile(others, quantile)) if len(others) else 0.0


def sketch(features: NDArray, components: PrincipalComponents) -> NDArray:
    """Unit vectors in few numbers whose products are never below the cosines, ``float32 [N, k + 1]``."""
    out = np.empty((len(features), components.dimensions + 1), np.float32)
    for part in chunks(len(features)):
        unit = components.directions(features[part])
        along = unit @ components.axes
        rest = np.sqrt(np.maximum(np.square(unit).sum(axis=1) - np.square(along).sum(axis=1), 0.0))
        out[part] = np.column_stack([along, rest])
    return out


@dataclass
class _Search:
    """Candidates of one block after another: verified in full, then joined."""

    features: NDArray
    pixels: Pictures
    components: PrincipalComponents
    cosine: float
    likeness: float
    groups: Groups
    pairs: list[tuple[int, int, float, float]] = field(default_factory=list)
    rejected: int = 0

    def compare(self, own: NDArray, other: NDArray, bounds: torch.Tensor) -> None:
        """Join what is near-equal of two blocks, given bounds of their cosines."""
        passed = bounds >= self.cosine - _ROUNDING
        if float(passed.float().mean()) > _DENSE:
            passed = self._unit(own) @ self._unit(other).T >= self.cosine - _ROUNDING
        places = torch.nonzero(passed).numpy()
        first, second = own[places[:, 0]], other[places[:, 1]]
        apart = first < second if own is other or np.array_equal(own, other) else first != second
        for a, b in self._batches(first[apart], second[apart]):
            self._verify(a, b)

    def _unit(self, rows: NDArray) -> torch.Tensor:
        return torch.from_numpy(self.components.directions(self.features[rows]).astype(np.float32))

    def _batches(self, first: NDArray, second: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
        """Pairs that are not yet in one group, some at a time: a thousand copies need not be compared all with all."""
        while len(first):
            apart = self.groups.roots_of(first) != self.groups.roots_of(second)
            first, second = first[apart], second[apart]
            yield first[:_VERIFIED], second[:_VERIFIED]
            first, second = first[_VERIFIED:], second[_VERIFIED:]

    def _verify(self, first: NDArray, second: NDArray) -> None:
        if not len(first):
            return
        rows, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        a, b = places[: len(first)], places[len(first) :]
        unit = self.components.directions(self.features[rows])
        cosines = np.einsum("nd,nd->n", unit[a], unit[b])
        near = np.flatnonzero(cosines >= self.cosine)
        if not len(near):
            return
        small = np.concatenate([small_pictures(self.pixels(rows[part])) for part in chunks(len(rows), 256)])
        alike = likeness_of(small[a[near]], small[b[near]])
        self.rejected += int((alike < self.likeness).sum())
        for k, like in zip(near, alike, strict=True):
            x, y = int(first[k]), int(second[k])
            if like >= self.likeness and self.groups.root(x) != self.groups.root(y):
                self.groups.join(x, y)
                self.pairs.append((min(x, y), max(x, y), float(cosines[k]), float(like)))


def small_pictures(pixels: NDArray, side: int = SIDE) -> NDArray:
    """Pictures as ``float32 [n, side, side, 3]``, each value the mean of what it covers."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(x, side).permute(0, 2, 3, 1).numpy()
