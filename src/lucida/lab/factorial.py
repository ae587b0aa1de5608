"""Two-level factorial experiments: which runs, and what each factor and each pair of factors does.

A full factorial of eight factors has 256 runs. A quarter of it of resolution V (Box & Hunter 1961) has 64, and in it
neither a main effect nor an interaction of two factors is mixed up with another one; only those of three and more are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

QUARTER_OF_EIGHT = ((0, 1, 2, 3), (0, 1, 4, 5))
"""Generators of the 2^(8-2) design of resolution V: the last two factors as products of these."""


def runs(factors: Sequence[str], generators: Sequence[tuple[int, ...]] = ()) -> list[frozenset[str]]:
    """The factors that are on, of each run.

    Args:
        factors: the last ones are made by the generators, in their order.
        generators: places of the factors whose product each of them is; without any, all combinations are run.

    >>> len(runs("abcdefgh", QUARTER_OF_EIGHT)), len(runs("ab"))
    (64, 4)
    """
    free = len(factors) - len(generators)
    table = []
    for signs in product((-1, 1), repeat=free):
        whole = [*signs, *(int(np.prod([signs[i] for i in places])) for places in generators)]
        table.append(frozenset(name for name, sign in zip(factors, whole, strict=True) if sign > 0))
    return table


def signs(factors: Sequence[str], table: Sequence[frozenset[str]]) -> NDArray[np.float64]:
    """+1 where a factor is on in a run, else -1: ``[runs, factors]``."""
    return np.array([[1.0 if name in run else -1.0 for name in factors] for run in table])


def effects(
    factors: Sequence[str], table: Sequence[frozenset[str]], values: NDArray[np.float64]
) -> dict[tuple[str, ...], float]:
    """What a factor does, and what of it another one changes; the table's columns must be balanced and orthogonal.

    Of one factor: the mean with it less the mean without. Of two: the effect of the first where the second is on, less
    that where it is off (the same with both exchanged).

    Args:
        values: of each run, ``[runs]``.

    Raises:
        ValueError: two of the effects cannot be told apart in these runs.
    """
    own = signs(factors, table)
    columns: dict[tuple[str, ...], NDArray[np.float64]] = {(name,): own[:, k] for k, name in enumerate(factors)}
    for i, k in combinations(range(len(factors)), 2):
        columns[factors[i], factors[k]] = own[:, i] * own[:, k]
    matrix = np.stack([np.ones(len(own)), *columns.values()], axis=1)
    if not np.allclose(matrix.T @ matrix, len(own) * np.eye(matrix.shape[1])):
        raise ValueError("two of the effects cannot be told apart in these runs")
    each = matrix.T @ values / len(own)
    return {name: float(2 * len(name) * value) for name, value in zip(columns, each[1:], strict=True)}


def shares(
    found: Mapping[tuple[str, ...], float], values: NDArray[np.float64], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Of the variance over the runs, what the factors of each group explain, and what ``"together"`` all pairs do.

    Args:
        found: of :func:`effects`.
        values: of each run, ``[runs]``.
        groups: factors by the name of their group.
    """
    whole = float(np.var(values))
    parts = {name: (effect / 2 / len(name)) ** 2 / whole for name, effect in found.items()}
    explained = {group: sum(parts[name,] for name in names) for group, names in groups.items()}
    return explained | {"together": sum(part for name, part in parts.items() if len(name) == 2)}
