"""The symmetric softmax loss of one process or of a ring of them, and its gradients, in tiles.

Both terms are logarithms of sums over all pairs, less the scores of what is wanted, which are scores with means of
features:

.. math:: L = \\frac{1}{2B} \\Big( \\sum_i \\log \\sum_j e^{s_{ij}} + \\sum_j \\log \\sum_i e^{s_{ij}} \\Big)
          - \\frac{\\tau}{B} \\sum_i u_i \\cdot \\sum_j p_{ij} v_j.

In a ring the texts go round: with them the sums of their columns in the forward pass, and their gradients in the
backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lucida.losses.hard_negatives import hard_sums, hardened
from lucida.losses.pair_scores import (
    Gradients,
    Identities,
    LogSums,
    Twins,
    add_gradients,
    log_sums,
    precise,
    row_products,
)
from lucida.losses.ring import Ring


def tiled_loss(
    images: Tensor, texts: Tensor, scale: Tensor, ids: Tensor | None, smoothing: float, beta: float, ring: Ring
) -> Tensor:
    """See :func:`~lucida.losses.contrastive.contrastive_loss`; ids, if there are any, are in ascending order."""
    loss: Tensor = _TiledLoss.apply(images.contiguous(), texts.contiguous(), scale, ids, smoothing, beta, ring)
    return loss


class _TiledLoss(torch.autograd.Function):
    """Value, and gradients at the features and at the scale."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        ids: Tensor | None,
        smoothing: float,
        beta: float,
        ring: Ring,
    ) -> Tensor:
        """The loss of the whole batch."""
        wanted = _Wanted(ids, smoothing, ring)
        multiplier = float(scale)
        if beta:
            sums, weights = _hardened(images, texts, multiplier, beta, wanted)
            ctx.save_for_backward(images, texts, *sums, *weights)
        else:
            sums = _log_sums(images, texts, multiplier, ring)
            ctx.save_for_backward(images, texts, *sums)
        ctx.scale, ctx.beta, ctx.wanted = multiplier, beta, wanted
        aimed = multiplier * row_products(images, wanted.mean(texts))
        both = (sums.rows + sums.columns) / 2
        return (ring.total((both - aimed).sum()) / ring.total_rows).to(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """What ``d loss / d scores`` pulls at, once multiplied with the scale; that of the scale follows from it."""
        images, texts, rows, columns, *weights = ctx.saved_tensors
        wanted: _Wanted = ctx.wanted
        ring, of_images = wanted.ring, torch.zeros_like(images)
        ids = wanted.identities(images)
        own, hard = (-rows, -columns), weights or [torch.zeros_like(rows), torch.zeros_like(columns)]
        for visitor in ring.round(texts, ids, own[1], hard[1], torch.zeros_like(texts)):
            block, block_ids, of_columns, hard_columns, of_block = visitor
            pull, twins = LogSums(own[0], of_columns), None
            if weights:
                twins = Twins(Identities(ids, block_ids), 1 / (1 + ctx.beta), pull)
                pull = LogSums(own[0] + hard[0], of_columns + hard_columns)
            pulled = Gradients(of_images, of_block)
            add_gradients(pulled, images, block, ctx.scale * (1 + ctx.beta), pull, twins)
        of_texts, share = visitor[-1], 1 / ring.total_rows
        for mine, other in ((of_images, texts), (of_texts, images)):
            mine.mul_(share / 2).sub_(wanted.mean(other), alpha=share)
        of_scale = ring.total(row_products(images, of_images).sum()).to(images)
        pulls = (each.mul_(ctx.scale * grad) for each in (of_images, of_texts))
        return *pulls, grad * of_scale, None, None, None, None


class _Wanted:
    """What each row is to find: targets ``p``, the same for pictures and for texts.

    Args:
        ids: of the own rows, in ascending order; None if all differ.
        smoothing: share of the mass that is spread over all.
        ring: who shares the batch.
    """

    def __init__(self, ids: Tensor | None, smoothing: float, ring: Ring):
        self.ids, self.smoothing, self.ring = ids, smoothing, ring
        if ids is not None:
            every = ring.gathered(ids).sort().values
            self.twins = torch.searchsorted(every, ids, right=True) - torch.searchsorted(every, ids)

    def identities(self, rows: Tensor) -> Tensor:
        """Of the own rows, ``int64 [B]`` in ascending order; their numbers where all differ."""
        return self.ring.offset + torch.arange(len(rows), device=rows.device) if self.ids is None else self.ids

    def others(self, rows: Tensor) -> Tensor:
        """How many negatives each of the own rows has, ``[B]``."""
        twins = torch.ones(len(rows), dtype=torch.int64, device=rows.device) if self.ids is None else self.twins
        return self.ring.total_rows - twins

    def mean(self, features: Tensor) -> Tensor:
        """``Σ_j p_ij features_j`` of the own rows over those of all processes, ``[B, d]``."""
        own = features if self.ids is None else self._mean_of_twins(features)
        if not self.smoothing:
            return own
        mean = self.ring.total(features.sum(dim=0)) / self.ring.total_rows
        return torch.lerp(own, mean.expand_as(own), self.smoothing)

    def _mean_of_twins(self, features: Tensor) -> Tensor:
        assert self.ids is not None
        known, group = self.ids.unique_consecutive(return_inverse=True)
        sums = features.new_zeros(len(known), features.shape[1])
        for block, ids in self.ring.round(features, self.ids, home=0):
            place = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
            here = known[place] == ids
            if not here.all():
                place, block = place[here], block[here]
            sums.index_add_(0, place, block)
        counts = torch.empty_like(known).scatter_(0, group, self.twins)
        return sums.div_(counts[:, None]).index_select(0, group)


def _log_sums(images: Tensor, texts: Tensor, scale: float, ring: Ring) -> LogSums:
    """Of the own rows over all columns, and of the own columns over all rows."""
    rows = images.new_full((len(images),), -torch.inf, dtype=precise(images))
    for visitor in ring.round(texts, torch.full_like(rows, -torch.inf)):
        found = log_sums(images, visitor[0], scale)
        rows, visitor[1] = torch.logaddexp(rows, found.rows), torch.logaddexp(visitor[1], found.columns)
    return LogSums(rows, visitor[1])


def _hardened(images: Tensor, texts: Tensor, scale: float, beta: float, wanted: _Wanted) -> tuple[LogSums, LogSums]:
    """The same with harder negatives counted more; and how negatives are weighed."""
    ids = wanted.identities(images)
    rows = images.new_full((len(images), 3), -torch.inf, dtype=precise(images))
    for visitor in wanted.ring.round(texts, ids, torch.full_like(rows, -torch.inf)):
        found = hard_sums(images, visitor[0], scale, beta, Identities(ids, visitor[1]))
        rows, visitor[2] = torch.logaddexp(rows, found.rows), torch.logaddexp(visitor[2], found.columns)
    sums, weights = zip(*(hardened(each, wanted.others(images)) for each in (rows, visitor[2])), strict=True)
    return LogSums(*sums), LogSums(*weights)
