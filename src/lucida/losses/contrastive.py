"""The symmetric contrastive loss of CLIP, with positives by identity."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lucida.losses.hard_negatives import plain_hardened
from lucida.losses.pair_scores import at_least_float32, check_pairs, scalar
from lucida.losses.ring import Ring
from lucida.losses.tiled_softmax import tiled_loss

SMALL = 1024
"""Pairs up to which the whole matrix of scores is quicker than tiles of it."""


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor | float,
    *,
    ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    hard_negatives: float = 0.0,
    ring: Ring | None = None,
) -> Tensor:
    r"""Mean cross-entropy of finding the text of each image and the image of each text (Radford et al. 2021, fig. 3).

    With :math:`s_{ij} = \tau\, u_i \cdot v_j` and targets :math:`p_{ij}`,

    .. math:: L = -\frac{1}{2B} \sum_{ij} p_{ij} \Big(\log\frac{e^{s_{ij}}}{\sum_k e^{s_{ik}}}
              + \log\frac{e^{s_{ji}}}{\sum_k e^{s_{ki}}}\Big).

    Without ``ids``, :math:`p` is the identity. With ``ids``, pairs of the same id are positives of each other and
    share the target mass equally (supervised contrastive, Khosla et al. 2020), so that two captions of one picture in
    a batch are no negatives. Smoothing mixes :math:`p` with the uniform distribution:
    :math:`(1-\epsilon)\,p_{ij} + \epsilon/B`.

    With ``hard_negatives`` above 0, :math:`\beta`, negatives in the sums over :math:`k` count the more the more they
    look like a positive (:mod:`~lucida.losses.hard_negatives`).

    Beyond :data:`SMALL` pairs the matrix of scores never exists whole (:mod:`~lucida.losses.pair_scores`): beside the
    gradients memory is that of some tiles, and of features copied. Since :math:`p` is constant within an identity,
    :math:`\sum_j p_{ij} v_j` is a mean of features: ids and smoothing cost O(B·d). Values and gradients are those of
    :func:`plain_contrastive_loss`, the loss as it is written here, but for rounding; only that one has second
    derivatives.

    Args:
        image_features: ``[B, d]``, each row of length one.
        text_features: ``[B, d]``, each row of length one; row ``i`` belongs to row ``i`` of the images.
        logit_scale: the multiplier :math:`\tau` itself (not its logarithm), a scalar.
        ids: ``int64 [B]``, the identity of each pair; ``None`` if all differ.
        label_smoothing: :math:`\epsilon`, in ``[0, 1]``.
        hard_negatives: :math:`\beta`, 0 or more; Radenovic et al. have 0.25 and 0.5.
        ring: the processes that share the batch. Rows and ids are then those of this process alone; the loss is that of
            the whole batch, the same in all. Its gradient at the features is that of the own rows: gradients of towers
            are to be summed over processes. At the scale it is that of the whole batch in every process.

    Returns:
        The loss, a ``float32`` scalar (``float64`` for ``float64`` features); half-precision features are scored in
        ``float32``, inside autocast too.

    Raises:
        ValueError: shapes that do not fit together, an empty batch, or a setting out of range.

    >>> features = torch.eye(3)
    >>> round(contrastive_loss(features, features, 1.0).item(), 4)  # log(e + 2) - 1
    0.5514
    >>> same = torch.tensor([7, 7, 7])  # one identity: nothing to tell apart
    >>> round(contrastive_loss(torch.ones(3, 1), torch.ones(3, 1), 10.0, ids=same).item(), 4)  # log 3
    1.0986
    """
    _check(image_features, text_features, ids, label_smoothing, hard_negatives, ring, logit_scale)
    alone = ring is None or ring.size == 1
    if alone and len(image_features) <= SMALL:
        return plain_contrastive_loss(
            image_features,
            text_features,
            logit_scale,
            ids=ids,
            label_smoothing=label_smoothing,
            hard_negatives=hard_negatives,
        )
    with torch.autocast(image_features.device.type, enabled=False):
        images, texts = at_least_float32(image_features), at_least_float32(text_features)
        scale = scalar(logit_scale, images)
        if ids is not None:
            ids, order = ids.sort()  # so that positives lie in few tiles
            images, texts = (each.index_select(0, order) for each in (images, texts))  # its gradient is quick
        return tiled_loss(images, texts, scale, ids, label_smoothing, hard_negatives, ring or Ring(len(images)))


def plain_contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor | float,
    *,
    ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    hard_negatives: float = 0.0,
) -> Tensor:
    """:func:`contrastive_loss` with the whole matrix of scores, ``[B, B]``."""
    _check(image_features, text_features, ids, label_smoothing, hard_negatives, None, logit_scale)
    with torch.autocast(image_features.device.type, enabled=False):
        images, texts = at_least_float32(image_features), at_least_float32(text_features)
        logits = logit_scale * (images @ texts.T)
        targets = identity_targets(ids, logits.dtype) if ids is not None else _diagonal(logits)
        if hard_negatives:
            return _plain_hard_loss(logits, ids, label_smoothing, hard_negatives)
        by_image = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        by_text = F.cross_entropy(logits.T, targets, label_smoothing=label_smoothing)
        return (by_image + by_text) / 2


def _plain_hard_loss(logits: Tensor, ids: Tensor | None, smoothing: float, beta: float) -> Tensor:
    ids = _diagonal(logits) if ids is None else ids
    same, targets = ids[:, None] == ids, identity_targets(ids, logits.dtype)
    sums = (plain_hardened(each, same, beta).mean() for each in (logits, logits.T))
    aimed = torch.lerp(targets, torch.full_like(targets, 1 / len(targets)), smoothing)
    return sum(sums, torch.zeros_like(logits[0, 0])) / 2 - (aimed * logits).sum() / len(logits)


def identity_targets(ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The target distribution of each row, ``[B, B]``; symmetric, rows sum to one.

    >>> identity_targets(torch.tensor([5, 6, 5]))
    tensor([[0.5000, 0.0000, 0.5000],
            [0.0000, 1.0000, 0.0000],
            [0.5000, 0.0000, 0.5000]])
    """
    same = (ids[:, None] == ids[None, :]).to(dtype)
    return same / same.sum(dim=1, keepdim=True)


def _diagonal(logits: Tensor) -> Tensor:
    return torch.arange(len(logits), device=logits.device)


def _check(
    images: Tensor,
    texts: Tensor,
    ids: Tensor | None,
    label_smoothing: float,
    hard_negatives: float,
    ring: Ring | None,
    logit_scale: Tensor | float,
) -> None:
    check_pairs(images, texts, ids, ring, logit_scale=logit_scale)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, not {label_smoothing}")
    if not (hard_negatives >= 0 and math.isfinite(hard_negatives)):
        raise ValueError(f"hard_negatives must be a number that is 0 or more, not {hard_negatives}")
