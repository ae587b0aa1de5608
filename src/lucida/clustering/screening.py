"""Which components can matter for a row: a cheap upper bound of each one's density.

``log w + log p`` is a quadratic function of a row ``z``, so linear in the products ``z_i z_j`` (i ≤ j), in ``z_i`` and
in 1: it is ``Θ φ(z)`` with ``φ`` of little more than ``d (d + 1) / 2`` numbers that all share. One matrix product
gives it for all, at half the operations of ``k`` products with a ``[d, d]`` factor and without their passes over
memory. It is not exact: the square is not complete, so rounding grows with ``|z|²`` and with the norm of the precision.
A bound of that rounding is added, so that nothing which matters is left out; what remains is then computed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import Parameters

CHUNK = 4096  # rows at a time: enough for a component to meet dozens of its own
PANEL = 1 << 20  # numbers of φ at a time: they stay in a processor's cache
TILE = 8  # features whose products are formed together: few calls, and a tenth more numbers than needed
WIDEST = 128  # features up to which φ is small enough
ROUNDING = 64.0  # epsilons by which a sum of a few thousand products may be off


def tiles(d: int) -> list[tuple[int, int]]:
    """Begin and end of each tile of features; a tile is multiplied with itself and all features behind it.

    >>> tiles(20)
    [(0, 8), (8, 16), (16, 20)]
    """
    return [(begin, min(begin + TILE, d)) for begin in range(0, d, TILE)]


def panel_of(z: Tensor, panel: Tensor) -> Tensor:
    """``φ`` of each column of ``z`` ``[d, b]``, written into the first columns of ``panel``."""
    d, b = z.shape
    at, panel = 0, panel[:, :b]
    for begin, end in tiles(d):
        size = (end - begin) * (d - begin)
        products = panel[at : at + size].unflatten(0, (end - begin, d - begin))
        torch.mul(z[begin:end, None], z[None, begin:], out=products)
        at += size
    panel[at : at + d] = z
    panel[at + d] = 1.0
    return panel


@dataclass(frozen=True)
class Screen:
    """Bounds of ``log w + log p``.

    Args:
        theta: ``[k, φ]``, float32.
        scale: ``[d]``; rows are multiplied by it, so that the features' units do not matter.
        slack: ``[k, 2]``; by how much a bound may exceed the truth, for each ``|z|²`` and for 1.
    """

    theta: Tensor
    scale: Tensor
    slack: Tensor

    @classmethod
    def of(cls, parameters: Parameters, constants: np.ndarray, scale: np.ndarray) -> Screen:
        """From a mixture of full covariances; ``constants`` ``[k]`` are all terms that no row changes."""
        means, factors = parameters.means * scale, parameters.precisions_cholesky / scale[:, None]
        precisions = factors @ factors.transpose(0, 2, 1)
        unit = ROUNDING * np.finfo(np.float32).eps
        error = unit * np.linalg.norm(precisions, axis=(1, 2))
        beyond = error * np.square(means).sum(1) + unit * np.nan_to_num(np.abs(constants), posinf=0.0)
        linear = np.einsum("kij,kj->ki", precisions, means)
        constant = constants - 0.5 * np.einsum("ki,ki->k", linear, means) + beyond
        d = means.shape[1]
        quadratic = -np.triu(precisions)  # each product of two features stands there once, below the diagonal never
        quadratic[:, range(d), range(d)] = -0.5 * precisions[:, range(d), range(d)] + error[:, None]
        parts = [quadratic[:, begin:end, begin:].reshape(len(means), -1) for begin, end in tiles(d)]
        theta = np.concatenate([*parts, linear, constant[:, None]], 1)
        slack = 2 * np.stack([error, beyond], 1)
        return cls(*(torch.from_numpy(x.astype(np.float32)) for x in (theta, scale, slack)))

    def memory(self) -> tuple[Tensor, Tensor]:
        """What :meth:`bounds` writes into; each thread needs its own."""
        k, features = self.theta.shape
        width = max(16, min(CHUNK, PANEL // features) // 16 * 16)
        return torch.empty(features, width), torch.empty(k, CHUNK)

    def bounds(self, block: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Upper bounds of all components, ``[k, b]``, and a lower bound of each row's best, ``[b]``."""
        z = (block * self.scale).float().T.contiguous()
        panel, upper = memory[0], memory[1][:, : len(block)]
        for begin in range(0, len(block), panel.shape[1]):
            part = z[:, begin : begin + panel.shape[1]]
            end = begin + part.shape[1]
            torch.mm(self.theta, panel_of(part, panel), out=upper[:, begin:end])
        best, which = upper.max(0)
        slack = self.slack[which]
        return upper, best - slack[:, 0] * z.square().sum(0) - slack[:, 1]
