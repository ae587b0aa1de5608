"""How well clusters agree with labels, or with other clusters: corrected for chance, or as shared information.

Both measures are functions of how many pictures each pair of a label and a cluster has. Their intervals come from the
jackknife over pictures: all pictures of one such pair change the measure alike when one is left out, so that it is
exact at any size, needs no draws, and, unlike a bootstrap, never counts a picture as its own neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lucida.core.results import Metric


class Table(NamedTuple):
    """A contingency table, its filled cells alone.

    Attributes:
        cells: pictures of each pair of a label and a cluster, ``float64 [C]``.
        rows, columns: pictures of its label, of its cluster, ``float64 [C]``.
        row_sums, column_sums: pictures of each label, of each cluster.
    """

    cells: NDArray
    rows: NDArray
    columns: NDArray
    row_sums: NDArray
    column_sums: NDArray

    @property
    def total(self) -> float:
        """All pictures."""
        return float(self.cells.sum())


def contingency(labels: Sequence[object] | NDArray, clusters: Sequence[object] | NDArray) -> Table:
    """Counts of pairs.

    Raises:
        ValueError: not one cluster a label.
    """
    if len(labels) != len(clusters):
        raise ValueError(f"{len(labels)} labels for {len(clusters)} clusters")
    rows, columns = (np.unique(np.asarray(list(each)), return_inverse=True)[1] for each in (labels, clusters))
    width = int(columns.max(initial=0)) + 1
    pairs, counts = np.unique(rows.astype(np.int64) * width + columns, return_counts=True)
    row_sums, column_sums = (np.bincount(each).astype(float) for each in (rows, columns))
    return Table(
        counts.astype(float), row_sums[pairs // width], column_sums[pairs % width], row_sums, column_sums
    )  # fmt: skip


def adjusted_rand_index(
    labels: Sequence[object] | NDArray, clusters: Sequence[object] | NDArray, *, confidence: float = 0.95
) -> Metric:
    """The share of pairs of pictures on which both agree, so scaled that chance is 0 and equality 1.

    Hubert & Arabie 1985, equation 5. Two partitions that are both trivial alike (all together, or all apart) agree: 1.

    >>> round(adjusted_rand_index("aabb", [1, 1, 0, 0]).value, 3), round(adjusted_rand_index("aabb", "abab").value, 3)
    (1.0, -0.5)
    """
    return _jackknifed(contingency(labels, clusters), _rand_indices, (-1.0, 1.0), confidence)


def normalised_mutual_information(
    labels: Sequence[object] | NDArray, clusters: Sequence[object] | NDArray, *, confidence: float = 0.95
) -> Metric:
    """Information that a cluster gives of the label, over the mean of both entropies: 0 for none, 1 for all.

    Not corrected for chance: many small clusters raise it. Where neither has any entropy it is 1.

    >>> round(normalised_mutual_information("aabb", [0, 0, 1, 2]).value, 3)
    0.8
    """
    return _jackknifed(contingency(labels, clusters), _informations, (0.0, 1.0), confidence)


def _jackknifed(
    table: Table, measure: Callable[[Table, bool], NDArray], bounds: tuple[float, float], confidence: float
) -> Metric:
    total = int(table.total)
    if total == 0:
        return Metric(float("nan"), None, 0)
    value = float(measure(table, False)[0])
    if total < 3:
        return Metric(value, None, total)
    without = measure(table, True)
    centre = float((without * table.cells).sum() / total)
    variance = (total - 1) / total * float((table.cells * (without - centre) ** 2).sum())
    half = float(stats.t.ppf((1 + confidence) / 2, total - 1)) * np.sqrt(variance)
    return Metric(value, (max(bounds[0], value - half), min(bounds[1], value + half)), total)


def _rand_indices(table: Table, leave_one_out: bool) -> NDArray:
    """Of the whole table, ``[1]``, or of each cell with one picture less, ``[C]``."""
    total = table.total
    together, by_row, by_column = (
        (x * (x - 1) / 2).sum() for x in (table.cells, table.row_sums, table.column_sums)
    )  # pairs in one cell, of one label, in one cluster
    if leave_one_out:
        together, by_row, by_column = (
            whole - (own - 1)
            for whole, own in ((together, table.cells), (by_row, table.rows), (by_column, table.columns))
        )
        total -= 1
    expected = by_row * by_column / max(total * (total - 1) / 2, 1.0)
    most = (by_row + by_column) / 2
    with np.errstate(invalid="ignore"):
        index = np.asarray((together - expected) / (most - expected))
    return np.atleast_1d(np.where(most - expected <= 1e-12 * np.maximum(most, 1), 1.0, index))


def _informations(table: Table, leave_one_out: bool) -> NDArray:
    """Likewise."""
    total = table.total
    joint, by_row, by_column = (_x_log_x(x).sum() for x in (table.cells, table.row_sums, table.column_sums))
    if leave_one_out:
        joint, by_row, by_column = (
            whole - _x_log_x(own) + _x_log_x(own - 1)
            for whole, own in ((joint, table.cells), (by_row, table.rows), (by_column, table.columns))
        )
        total -= 1
    log_total = np.log(total)
    rows, columns, cells = (log_total - x / total for x in (by_row, by_column, joint))  # entropies
    mean = (rows + columns) / 2
    with np.errstate(invalid="ignore"):
        index = np.asarray((rows + columns - cells) / mean)
    return np.atleast_1d(np.clip(np.where(mean <= 1e-12, 1.0, index), 0.0, 1.0))


def _x_log_x(x: NDArray) -> NDArray:
    return x * np.log(np.maximum(x, 1.0))


def purity(labels: ArrayLike, clusters: ArrayLike) -> dict[int, tuple[object, float]]:
    """Of each cluster (a number) its most frequent label and the share of its pictures that have it.

    >>> purity(["cat", "cat", "dog"], [0, 0, 1])
    {0: ('cat', 1.0), 1: ('dog', 1.0)}
    """
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    numbers = np.asarray(clusters)
    found: dict[int, tuple[object, float]] = {}
    for number in np.unique(numbers).tolist():
        counts = np.bincount(codes[numbers == number], minlength=len(names))
        found[int(number)] = names[counts.argmax()].item(), float(counts.max() / counts.sum())
    return found
