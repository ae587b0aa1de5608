"""Samples of tensors, and numbers that wait on the device until all are read at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

LIMIT = 8_192
"""Numbers read of a tensor: a norm is then known to about 1 % where its entries are alike."""


def sample(tensor: Tensor, limit: int = LIMIT) -> Tensor:
    """A view of at most about ``limit`` numbers: whole rows, evenly spaced; of few rows, every k-th number.

    >>> sample(torch.zeros(1000, 64), 6400).shape
    torch.Size([100, 64])
    >>> sample(torch.zeros(2, 10_000), 100).shape, sample(torch.zeros(3, 4)).shape
    (torch.Size([100]), torch.Size([3, 4]))
    """
    count = tensor.numel()
    if count <= limit:
        return tensor
    every = math.ceil(count / limit)
    if tensor.ndim > 1 and tensor.shape[0] >= 2 * every:
        return tensor[::every]
    return tensor.reshape(-1)[::every]


def enlarged(part: Tensor, whole: Tensor) -> float:
    """The factor that makes the norm of a sample that of the whole."""
    return math.sqrt(whole.numel() / max(1, part.numel()))


class Pending:
    """Scalars under names, kept as tensors and read with one synchronisation.

    >>> pending = Pending()
    >>> pending.put(("a", "x"), torch.tensor(1.5)); pending.put(("a", "x"), torch.tensor(2.5)); pending.read()
    {('a', 'x'): [1.5, 2.5]}
    """

    def __init__(self) -> None:
        self._names: list[tuple[Any, float]] = []
        self._values: list[Tensor] = []

    def put(self, name: Any, value: Tensor, factor: float = 1.0) -> None:
        """Add a scalar, ``float32 []``, without a graph; the number read will be ``factor`` times it."""
        self._names.append((name, factor))
        self._values.append(value)

    def read(self) -> dict[Any, list[float]]:
        """The numbers of each name in order; empties the list."""
        found: dict[Any, list[float]] = {}
        if self._values:
            values, device = self._values, self._values[0].device
            if any(value.device != device for value in values):
                values = [value.to(device) for value in values]
            for (name, factor), number in zip(self._names, torch.stack(values).tolist(), strict=True):
                found.setdefault(name, []).append(number * factor)
        self._names, self._values = [], []
        return found


def rounded(number: float) -> float:
    """Four significant digits: more would only fill the disk.

    >>> rounded(123456.0), rounded(0.00012345678)
    (123500.0, 0.0001235)
    """
    return float(f"{number:.4g}")


def short(number: float | None) -> float | None:
    """:func:`rounded`, where there is a finite number."""
    return rounded(number) if number is not None and math.isfinite(number) else number
