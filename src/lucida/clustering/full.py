"""The costly case, a full covariance for each component: only pairs of row and component that matter are computed.

After the first iterations almost every responsibility is zero to all digits that are kept. :mod:`screening` names the
pairs that can matter; densities and sums are computed exactly, for those alone. Where most pairs matter, all are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import Parameters, Sums
from lucida.clustering.rows import Rows
from lucida.clustering.screening import WIDEST, Screen

DENSE = 0.3  # share of pairs that matter above which all are computed
WAIT = 7  # blocks until screening is tried again
STRIP = 1024  # rows at a time where all pairs are computed


@dataclass
class Worker:
    """One worker's sums, its memory for pairs, and for how many blocks to come screening does not pay."""

    sums: Sums
    bounds: tuple[Tensor, Tensor] | None
    seen: Tensor
    turned: Tensor
    products: Tensor
    dense: int = 0

    def room(self, p: int) -> tuple[Tensor, Tensor]:
        """Two arrays ``[p, d]``; memory that is asked for anew every time is slow to come."""
        if p > len(self.seen):
            shape = (p + p // 4, self.seen.shape[1])
            self.seen, self.turned = self.seen.new_empty(shape), self.turned.new_empty(shape)
        return self.seen[:p], self.turned[:p]


@dataclass(frozen=True)
class Pairs:
    """What matters in a block of ``b`` rows, component by component.

    Args:
        rows: ``int64 [p]``.
        components: ``int64 [p]``, ascending.
        spans: for each component that occurs its number, begin and end.
        seen: ``[p, d]``, each row about its component's mean; in the worker's memory.
        joint: ``[p]``, ``log w + log p``.
    """

    rows: Tensor
    components: Tensor
    spans: list[tuple[int, int, int]]
    seen: Tensor
    joint: Tensor


@dataclass(frozen=True)
class FullComponents:
    """The components as tensors of the rows' type: ``[k, d]``, ``[k, d, d]``, ``[k]``."""

    means: Tensor
    factors: Tensor
    constants: Tensor
    screen: Screen | None
    reach: float

    @classmethod
    def of(cls, parameters: Parameters, rows: Rows, *, screened: bool = True) -> FullComponents:
        """``screened=False`` computes every pair: the plain twin."""
        k, d = parameters.means.shape
        constants = parameters.constants
        screen = Screen.of(parameters, constants, rows.scale) if screened and d <= WIDEST and k > 2 else None
        single = rows.dtype == np.float32
        dtype = torch.float32 if single else torch.float64
        parts = (parameters.means, parameters.precisions_cholesky, constants)
        means, factors, terms = (torch.from_numpy(np.ascontiguousarray(x)).to(dtype) for x in parts)
        reach = 24.0 if single else 40.0  # what is left out weighs less than exp(-reach)
        return cls(means, factors, terms, screen, reach)

    def worker(self, sums: Sums) -> Worker:
        """Sums and memory of a new worker."""
        few = self.means[:0]
        return Worker(sums, self.screen.memory() if self.screen else None, few, few, torch.empty_like(self.factors))

    def joint(self, block: Tensor, worker: Worker) -> Tensor:
        """``log w + log p`` of each row under each component, ``[b, k]``; minus infinity where it cannot matter."""
        pairs = self._pairs(block, worker)
        if pairs is None:
            return torch.cat([self._all(strip) for strip in block.split(STRIP)], 1).T
        joint = block.new_full((len(block), len(self.means)), -torch.inf)
        joint[pairs.rows, pairs.components] = pairs.joint
        return joint

    def add(self, block: Tensor, worker: Worker) -> None:
        """Add a block's sums to the worker's."""
        pairs = self._pairs(block, worker)
        if pairs is None:
            for strip in block.split(STRIP):
                self._add_all(strip, worker.sums)
        else:
            self._add_pairs(len(block), pairs, worker)

    # Pairs that matter.

    def _pairs(self, block: Tensor, worker: Worker) -> Pairs | None:
        if self.screen is None or worker.bounds is None or worker.dense > 0:
            worker.dense -= 1
            return None
        upper, best = self.screen.bounds(block, worker.bounds)
        matters = ~(upper < best - self.reach)  # so that a bound that is not a number rules nothing out
        components, rows = matters.nonzero(as_tuple=True)
        if len(rows) > DENSE * matters.numel():
            worker.dense = WAIT
            return None
        ends = np.cumsum(matters.sum(1).numpy())
        begins = np.concatenate([[0], ends[:-1]])
        spans = [(k, int(a), int(b)) for k, (a, b) in enumerate(zip(begins, ends, strict=True)) if b > a]
        seen, turned = worker.room(len(rows))
        torch.index_select(block, 0, rows, out=seen)
        for k, a, b in spans:
            torch.mm(seen[a:b].sub_(self.means[k]), self.factors[k], out=turned[a:b])
        joint = turned.square_().sum(1).mul_(-0.5).add_(self.constants.index_select(0, components))
        return Pairs(rows, components, spans, seen, joint)

    def _add_pairs(self, b: int, pairs: Pairs, worker: Worker) -> None:
        rows, joint, sums = pairs.rows, pairs.joint, worker.sums
        top = joint.new_full((b,), -torch.inf).scatter_reduce_(0, rows, joint, "amax")
        total = joint.new_zeros(b).index_add_(0, rows, (joint - top[rows]).exp_())
        norm = top + total.log_()
        responsibilities = (joint - norm[rows]).exp_()
        weighted = torch.mul(pairs.seen, responsibilities[:, None], out=worker.room(len(rows))[1])
        products, moments = worker.products.zero_(), torch.zeros_like(self.means)
        for k, begin, end in pairs.spans:
            torch.mm(weighted[begin:end].T, pairs.seen[begin:end], out=products[k])
            torch.sum(weighted[begin:end], 0, out=moments[k])
        torch.from_numpy(sums.count).index_add_(0, pairs.components, responsibilities.double())
        torch.from_numpy(sums.first).add_(moments)
        torch.from_numpy(sums.second).add_(products)
        sums.log_likelihood += norm.sum(dtype=torch.float64).numpy()

    # All pairs.

    def _all(self, block: Tensor) -> Tensor:
        joint = block.new_empty(len(self.means), len(block))
        seen, turned = torch.empty_like(block), torch.empty_like(block)
        for k, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            torch.sub(block, mean, out=seen)
            torch.mm(seen, factor, out=turned)
            torch.sum(turned.square_(), 1, out=joint[k])
        return joint.mul_(-0.5).add_(self.constants[:, None])

    def _add_all(self, block: Tensor, sums: Sums) -> None:
        joint = self._all(block)
        norm = torch.logsumexp(joint, 0)
        # Numbers too small for a float's full precision are a hundred times slower than zeros.
        responsibilities = torch.nn.functional.threshold(joint.sub_(norm).exp_(), 1e-30, 0.0)
        add_full(block, responsibilities, self.means, sums)
        sums.log_likelihood += norm.sum(dtype=torch.float64).numpy()


def add_full(block: Tensor, responsibilities: Tensor, origin: Tensor, sums: Sums) -> None:
    """Add the sums of a block about ``origin`` ``[k, d]``, with ``responsibilities`` ``[k, b]``."""
    seen, weighted = torch.empty_like(block), torch.empty_like(block)
    product = block.new_empty(block.shape[1], block.shape[1])
    first, second = torch.from_numpy(sums.first), torch.from_numpy(sums.second)
    for k, mean in enumerate(origin):
        torch.sub(block, mean, out=seen)
        torch.mul(seen, responsibilities[k][:, None], out=weighted)
        torch.mm(weighted.T, seen, out=product)
        first[k] += weighted.sum(0)
        second[k] += product
    sums.count += responsibilities.sum(1, dtype=torch.float64).numpy()
