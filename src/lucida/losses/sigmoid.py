"""The sigmoid contrastive loss of SigLIP: every pair of a picture and a text is a yes-or-no question of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lucida.losses.contrastive import SMALL
from lucida.losses.pair_scores import (
    Gradients,
    Identities,
    add_in_parts,
    at_least_float32,
    check_pairs,
    precise,
    row_parts,
    row_products,
    scalar,
    score_tiles,
)
from lucida.losses.ring import Ring
from lucida.losses.row_parts import in_parts


def sigmoid_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor | float,
    logit_bias: Tensor | float,
    *,
    ids: Tensor | None = None,
    positive_weight: float = 1.0,
    ring: Ring | None = None,
) -> Tensor:
    r"""Binary cross-entropy of all pairs of a batch over the number of pictures (Zhai et al. 2023, 2303.15343).

    With :math:`s_{ij} = t\, u_i \cdot v_j + b` and :math:`z_{ij} = 1` for a positive, else :math:`-1`,

    .. math:: L = -\frac{1}{B} \sum_{ij} w_{ij} \log \sigma(z_{ij} s_{ij}).

    Each picture has one positive among :math:`B` texts (without repeated ids), which is why the paper starts the bias
    at -10: before training nearly every pair is answered "no". The matrix of scores never exists whole
    (:mod:`~lucida.losses.pair_scores`): the gradient comes with the value, of the same tile. Values and gradients are
    those of :func:`plain_sigmoid_loss`, the loss as it is written here, but for rounding.

    Args:
        image_features: ``[B, d]``, each row of length one.
        text_features: ``[B, d]``, each row of length one; row ``i`` belongs to row ``i`` of the images.
        logit_scale: the multiplier :math:`t` itself (not its logarithm), a scalar; 10 at the paper's start.
        logit_bias: :math:`b`, a scalar.
        ids: ``int64 [B]``, the identity of each pair: pairs of one id are positives of each other, as in
            :func:`lucida.losses.contrastive.contrastive_loss`; ``None`` if all differ.
        positive_weight: :math:`w` of the positives; negatives count once. 1 is the paper's loss.
        ring: the processes that share the batch, as in :func:`~lucida.losses.contrastive.contrastive_loss`.

    Returns:
        The loss, a ``float32`` scalar (``float64`` for ``float64`` features); half-precision features are scored in
        ``float32``, inside autocast too.

    Raises:
        ValueError: shapes that do not fit together, an empty batch, or a weight that is not positive.

    >>> features = torch.eye(4)  # without bias and scale every pair costs log 2: four each picture
    >>> round(sigmoid_loss(features, features, 0.0, 0.0).item(), 4)
    2.7726
    >>> round(sigmoid_loss(features, features, 10.0, -10.0).item(), 4)  # positives log 2, negatives nothing
    0.6933
    """
    _check(image_features, text_features, ids, positive_weight, ring, logit_scale, logit_bias)
    alone = ring is None or ring.size == 1
    if alone and len(image_features) <= SMALL:
        return plain_sigmoid_loss(
            image_features, text_features, logit_scale, logit_bias, ids=ids, positive_weight=positive_weight
        )
    with torch.autocast(image_features.device.type, enabled=False):
        images, texts = at_least_float32(image_features), at_least_float32(text_features)
        scale, bias = scalar(logit_scale, images), scalar(logit_bias, images)
        ring = ring or Ring(len(images))
        if ids is None:
            ids = ring.offset + torch.arange(len(images), device=images.device)
        else:
            ids, order = ids.sort()  # so that positives lie in few tiles
            images, texts = (each.index_select(0, order) for each in (images, texts))  # its gradient is quick
        loss: Tensor = _TiledLoss.apply(
            images.contiguous(), texts.contiguous(), scale, bias, ids, positive_weight, ring
        )
        return loss


def plain_sigmoid_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor | float,
    logit_bias: Tensor | float,
    *,
    ids: Tensor | None = None,
    positive_weight: float = 1.0,
) -> Tensor:
    """:func:`sigmoid_loss` with the whole matrix of scores, ``[B, B]``."""
    _check(image_features, text_features, ids, positive_weight, None, logit_scale, logit_bias)
    with torch.autocast(image_features.device.type, enabled=False):
        images, texts = at_least_float32(image_features), at_least_float32(text_features)
        logits = logit_scale * (images @ texts.T) + logit_bias
        same = positives(len(logits), ids, logits.device)
        terms = F.logsigmoid(torch.where(same, logits, -logits))
        weights = torch.where(same, positive_weight, 1.0) if positive_weight != 1 else 1.0
        return -(weights * terms).sum() / len(logits)


class _TiledLoss(torch.autograd.Function):
    """Value and gradient in one go over the tiles: 3·2·B²·d operations, 2·B²·d for the value alone."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, ids: Tensor, weight: float, ring: Ring
    ) -> Tensor:
        """The loss; its gradients are kept."""
        wanted = any(ctx.needs_input_grad)
        sums, of_images = images.new_zeros(3, dtype=precise(images)), torch.zeros_like(images)
        for visitor in ring.round(texts, ids, torch.zeros_like(texts)):
            pulled = Gradients(of_images, visitor[2]) if wanted else None
            scored = _Scores(float(scale), bias, weight)
            sums[:2] += _over_tiles(images, visitor[0], scored, Identities(ids, visitor[1]), pulled)
        sums[2] = row_products(images, of_images).sum()
        loss, of_bias, of_scale = (ring.total(sums) / ring.total_rows).to(images)
        if wanted:
            share = scale / ring.total_rows
            ctx.save_for_backward(of_images * share, visitor[2] * share, of_scale, of_bias)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """What was found with the value."""
        return *(each * grad for each in ctx.saved_tensors), None, None, None


class _Scores(NamedTuple):
    """How cosines become scores, and what positives weigh."""

    scale: float
    bias: Tensor
    positive_weight: float


def _over_tiles(images: Tensor, texts: Tensor, scores: _Scores, ids: Identities, into: Gradients | None) -> Tensor:
    """Sums ``[2]`` of the loss and of ``d loss / d logits``; how those pull at features is added, if asked for."""

    def of_part(part: slice, own: Gradients | None = None) -> Tensor:
        return _of_rows(images[part], texts, scores, Identities(ids.rows[part], ids.columns), own)

    each = in_parts(of_part, row_parts(images)) if into is None else add_in_parts(into, of_part)
    return torch.stack(each).sum(dim=0)


def _of_rows(images: Tensor, texts: Tensor, scores: _Scores, ids: Identities, into: Gradients | None) -> Tensor:
    sums = images.new_zeros(2, dtype=precise(images))
    for tile in score_tiles(images, texts, scores.scale):
        pull, summed = _tile(tile.scores.add_(scores.bias), tile.twins(ids), scores.positive_weight)
        sums += summed
        if into is not None:
            into.images[tile.rows].addmm_(pull, texts[tile.columns])
            into.texts[tile.columns].addmm_(pull.T, images[tile.rows])
    return sums


def _tile(logits: Tensor, twins: Tensor | None, weight: float) -> tuple[Tensor, Tensor]:
    """``d loss / d logits`` in the place of the logits ``[R, C]``, and sums ``[2]`` of the loss and of those."""
    positive = logits.new_zeros(0)
    if twins is not None:
        positive = -logits[twins]
        logits.masked_fill_(twins, -torch.inf)
    total = F.softplus(logits).sum() + weight * F.softplus(positive).sum()
    pull = logits.sigmoid_()
    if twins is not None:
        pull[twins] = -weight * positive.sigmoid()
    return pull, torch.stack([total, pull.sum()])


def positives(count: int, ids: Tensor | None, device: torch.device | None = None) -> Tensor:
    """Which pairs belong together, ``bool [B, B]``.

    >>> positives(3, torch.tensor([5, 6, 5])).int()
    tensor([[1, 0, 1],
            [0, 1, 0],
            [1, 0, 1]], dtype=torch.int32)
    """
    if ids is None:
        return torch.eye(count, dtype=torch.bool, device=device)
    return ids[:, None] == ids[None, :]


def _check(
    images: Tensor,
    texts: Tensor,
    ids: Tensor | None,
    positive_weight: float,
    ring: Ring | None,
    logit_scale: Tensor | float,
    logit_bias: Tensor | float,
) -> None:
    check_pairs(images, texts, ids, ring, logit_scale=logit_scale, logit_bias=logit_bias)
    if not positive_weight > 0:
        raise ValueError(f"positive_weight must be above 0, not {positive_weight}")
