"""Negatives that count the more the more they look like a positive (Radenovic et al. 2023, arXiv:2301.02280, HN-NCE).

In the sum over a row a negative counts

.. math:: w_{ij} = n_i \\frac{e^{\\beta s_{ij}}}{\\sum_{k \\in N_i} e^{\\beta s_{ik}}}

times, with :math:`N_i` the :math:`n_i` pairs of another identity: 1 on average, and all alike at :math:`\\beta = 0`.
Weights say what is drawn, as in importance sampling: for the gradient they are constants.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lucida.losses.pair_scores import LogSums, Tile, powers_of, score_tiles, shift_of, tile_buffer, whole


class Hardened(NamedTuple):
    """Of rows and of columns, logarithms.

    Attributes:
        sums: of what a row sums up, ``log(Σ_P e^s + Σ_N w e^s)``.
        weights: of ``w`` without its own exponential: ``log(w) - β s``; ``-inf`` where there is no negative.
    """

    sums: LogSums
    weights: LogSums


class _Sums(NamedTuple):
    """Logarithms: over positives of ``e^s``, over negatives of ``e^((1 + β) s)`` and of ``e^(β s)``."""

    positives: LogSums
    harder: LogSums
    hardness: LogSums


def plain_hardened(scores: Tensor, same: Tensor, beta: float) -> Tensor:
    """What each row of ``scores [B, B]`` sums up, as a logarithm ``[B]``; ``same`` are the positives."""
    negative = scores.masked_fill(same, -torch.inf)
    hardness = beta * negative.detach()
    weights = (
        (~same).sum(dim=1, keepdim=True).to(scores.dtype).log() + hardness - hardness.logsumexp(dim=1, keepdim=True)
    )
    return torch.where(same, scores, negative + weights).logsumexp(dim=1)


def hardened(images: Tensor, texts: Tensor, scale: float, beta: float, groups: Tensor) -> Hardened:
    """Of all pairs, a tile at a time.

    Args:
        images, texts: ``[B, d]``.
        scale: the multiplier.
        beta: how much harder negatives count more, above 0.
        groups: identities, ``int64 [B]`` in ascending order.
    """
    sums = _quickly(images, texts, scale, beta, groups) or _carefully(images, texts, scale, beta, groups)
    sizes = torch.unique_consecutive(groups, return_counts=True)[1]
    others = (len(groups) - sizes.repeat_interleave(sizes)).to(images.dtype).log()
    found = []
    for positives, harder, hardness in zip(*sums, strict=True):
        weights = torch.where(others == -torch.inf, others, others - hardness)  # not inf - inf where all are twins
        negatives = torch.where(others == -torch.inf, others, weights + harder)
        found.append((torch.logaddexp(positives, negatives), weights))
    return Hardened(*(LogSums(*each) for each in zip(*found, strict=True)))


def _quickly(images: Tensor, texts: Tensor, scale: float, beta: float, groups: Tensor) -> _Sums | None:
    """With one exponential for rows and columns; None if it lost something to underflow."""
    shifts = [shift_of(images, texts, scale * power) for power in (1 + beta, beta)]
    sums = images.new_zeros(2, 2, len(images))  # which power, rows or columns
    positives, room = _none(images), tile_buffer(images, texts)
    for tile in score_tiles(images * scale, texts):
        twins = tile.twins(groups)
        _add_positives(positives, tile, twins)
        other = room[: tile.scores.numel()].view_as(tile.scores)
        torch.mul(tile.scores, beta, out=other)
        for k, (scores, shift) in enumerate(zip((tile.scores.mul_(1 + beta), other), shifts, strict=True)):
            powers = powers_of(scores, shift)
            if twins is not None:
                powers.masked_fill_(twins, 0.0)
            sums[k, 0, tile.rows] += powers.sum(dim=1)
            sums[k, 1, tile.columns] += powers.sum(dim=0)
    logs = [LogSums(*each) for each in sums.log()]
    if groups[0] != groups[-1] and not all(map(whole, logs)):
        return None
    harder, hardness = (LogSums(*(own + shift for own in log)) for log, shift in zip(logs, shifts, strict=True))
    return _Sums(positives, harder, hardness)


def _carefully(images: Tensor, texts: Tensor, scale: float, beta: float, groups: Tensor) -> _Sums:
    """Every row and column from its own largest score."""
    found = _Sums(_none(images), _none(images), _none(images))
    for tile in score_tiles(images * scale, texts):
        twins = tile.twins(groups)
        _add_positives(found.positives, tile, twins)
        negative = tile.scores if twins is None else tile.scores.masked_fill(twins, -torch.inf)
        for sums, power in ((found.harder, 1 + beta), (found.hardness, beta)):
            _add(sums, tile, power * negative)
    return found


def _none(images: Tensor) -> LogSums:
    return LogSums(*images.new_full((2, len(images)), -torch.inf))


def _add_positives(sums: LogSums, tile: Tile, twins: Tensor | None) -> None:
    if twins is not None:
        _add(sums, tile, tile.scores.masked_fill(~twins, -torch.inf))


def _add(sums: LogSums, tile: Tile, scores: Tensor) -> None:
    for own, where, dim in ((sums.rows, tile.rows, 1), (sums.columns, tile.columns, 0)):
        own[where] = torch.logaddexp(own[where], scores.logsumexp(dim=dim))
