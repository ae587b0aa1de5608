"""Negatives that count the more the more they look like a positive (Radenovic et al. 2023, arXiv:2301.02280, HN-NCE).

In the sum over a row a negative counts

.. math:: w_{ij} = n_i \\frac{e^{\\beta s_{ij}}}{\\sum_{k \\in N_i} e^{\\beta s_{ik}}}

times, with :math:`N_i` the :math:`n_i` pairs of another identity: 1 on average, and all alike at :math:`\\beta = 0`.
One :math:`\\beta` serves both directions, and positives count once (the paper's :math:`\\alpha = 1`). Weights say what
is drawn, as in importance sampling: for the gradient they are constants, which is a choice made here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lucida.losses.pair_scores import (
    Identities,
    LogSums,
    Tile,
    joined,
    piece_room,
    powers_of,
    precise,
    row_parts,
    score_tiles,
    shift_of,
    whole,
)
from lucida.losses.row_parts import in_parts


def plain_hardened(scores: Tensor, same: Tensor, beta: float) -> Tensor:
    """What each row of ``scores [B, B]`` sums up, as a logarithm ``[B]``; ``same`` are the positives."""
    negative = scores.masked_fill(same, -torch.inf)
    hardness = beta * negative.detach()
    others = (~same).sum(dim=1, keepdim=True).to(scores.dtype)
    weights = others.log() + hardness - hardness.logsumexp(dim=1, keepdim=True)
    return torch.where(same, scores, negative + weights).logsumexp(dim=1)


def hard_sums(images: Tensor, texts: Tensor, scale: float, beta: float, ids: Identities) -> LogSums:
    """Three logarithms of each row ``[B, 3]`` and each column ``[C, 3]``.

    Of the sums over positives of ``e^s``, and over negatives of ``e^((1 + β) s)`` and of ``e^(β s)``; ``-inf`` where
    there is none. Sums over other columns are added to those of a row by ``logaddexp``.

    Args:
        images: ``[B, d]``.
        texts: ``[C, d]``.
        scale: the multiplier.
        beta: how much harder negatives count more, above 0.
        ids: of rows and columns.
    """

    def of_part(part: slice) -> LogSums:
        given = images[part], texts, scale, beta, Identities(ids.rows[part], ids.columns)
        return _quickly(*given) or _carefully(*given)

    return joined(in_parts(of_part, row_parts(images)))


def hardened(sums: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """What rows (or columns) sum up, and how their negatives are weighed, logarithms ``[B]`` each.

    Args:
        sums: ``[B, 3]`` of :func:`hard_sums`, over the whole batch.
        others: how many negatives each has, ``[B]``.

    Returns:
        ``log(Σ_P e^s + Σ_N w e^s)``; and ``log(w) - β s``, the weight without its own exponential (``-inf`` where there
        is no negative).
    """
    positives, harder, hardness = sums.unbind(dim=1)
    none, count = others == 0, others.to(sums.dtype).log()
    weights = torch.where(none, count, count - hardness)  # not inf - inf
    return torch.logaddexp(positives, torch.where(none, count, weights + harder)), weights


def _quickly(images: Tensor, texts: Tensor, scale: float, beta: float, ids: Identities) -> LogSums | None:
    """With one exponential for rows and columns; None if it lost something to underflow."""
    shifts = [shift_of(images, texts, scale * power) for power in (1 + beta, beta)]
    found, room = _nothing(images, texts), piece_room(images, texts)
    sums = LogSums(torch.zeros_like(found.rows), torch.zeros_like(found.columns))
    for tile in score_tiles(images, texts, scale):
        for piece in tile.pieces():
            twins = piece.twins(ids)
            if twins is not None:
                _add(found, 0, piece, piece.scores.masked_fill(~twins, -torch.inf))
            other = torch.mul(piece.scores, beta, out=room[: piece.scores.numel()].view_as(piece.scores))
            for k, scores in enumerate((piece.scores.mul_(1 + beta), other)):
                powers = powers_of(scores, shifts[k])
                if twins is not None:
                    powers.masked_fill_(twins, 0.0)
                sums.rows[piece.rows, 1 + k] += powers.sum(dim=1)
                sums.columns[piece.columns, 1 + k] += powers.sum(dim=0)
    for own, summed in zip(found, sums, strict=True):
        own[:, 1:] = summed[:, 1:].log()
    if not whole(LogSums(*(own[:, 1:] for own in found)), images.dtype):
        return None
    for own in found:
        own[:, 1:] += own.new_tensor(shifts)
    return found


def _carefully(images: Tensor, texts: Tensor, scale: float, beta: float, ids: Identities) -> LogSums:
    """Every row and column from its own largest score."""
    found = _nothing(images, texts)
    for tile in score_tiles(images, texts, scale):
        twins, negative = tile.twins(ids), tile.scores
        if twins is not None:
            _add(found, 0, tile, tile.scores.masked_fill(~twins, -torch.inf))
            negative = tile.scores.masked_fill(twins, -torch.inf)
        _add(found, 1, tile, (1 + beta) * negative)
        _add(found, 2, tile, beta * negative)
    return found


def _nothing(images: Tensor, texts: Tensor) -> LogSums:
    return LogSums(*(each.new_full((len(each), 3), -torch.inf, dtype=precise(each)) for each in (images, texts)))


def _add(sums: LogSums, place: int, tile: Tile, scores: Tensor) -> None:
    for own, where, dim in ((sums.rows, tile.rows, 1), (sums.columns, tile.columns, 0)):
        own[where, place] = torch.logaddexp(own[where, place], scores.logsumexp(dim=dim).to(own))
