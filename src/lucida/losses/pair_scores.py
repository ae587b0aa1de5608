"""Sums over the scores of all pairs of pictures and texts, a tile at a time: the matrix of scores never exists whole.

With scores :math:`s_{ij} = \\tau\\, u_i \\cdot v_j` a contrastive loss needs :math:`\\log \\sum_j e^{s_{ij}}` of every
row and of every column, and its gradient :math:`G V` and :math:`G^T U` for some
:math:`G_{ij} = e^{s_{ij} + a_i} + e^{s_{ij} + b_j}`. Both come from the same tiles: one matrix product for the sums,
the same once more and two others for the gradient, 8·B²·d operations in all, and memory for one tile and O(B·d).

A score needs one exponential, not two, as long as all of them fit in the range of their type:
:math:`e^{s - c}` serves rows and columns, and :math:`G = e^{s - c} (e^{a + c} + e^{b + c})`. Whether it did is seen
from the sums; where it did not (features that are not normalised, a scale of thousands), rows and columns are summed
apart, each from its own largest score. Threads take parts of the rows (:mod:`~lucida.losses.row_parts`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from lucida.losses.ring import Ring
from lucida.losses.row_parts import Found, in_parts, parts_of

TILE = 1024, 2048
"""Rows and columns of a tile: 8 MB of float32, a matrix product of which runs at full speed."""
PIECE = 128
"""Rows of a tile that operation follows operation on, while a core keeps them near: 1 MB of float32."""
_LARGEST = {torch.float32: 70.0, torch.float64: 600.0}
"""Exponents up to here can be summed over any batch."""
_SMALLEST = {torch.float32: -60.0, torch.float64: -600.0}
"""A sum that is larger lost nothing of weight to underflow."""


class LogSums(NamedTuple):
    """Logarithms of sums of exponentials: over each row ``[B]`` and over each column ``[C]``.

    They are in double precision: near 100, single precision has steps of 1e-5, and what is left of a pair that is told
    apart well, one less its probability, is smaller.
    """

    rows: Tensor
    columns: Tensor


class Identities(NamedTuple):
    """Whom each row ``[B]`` and each column ``[C]`` shows, ``int64`` in ascending order: so few tiles have twins."""

    rows: Tensor
    columns: Tensor


class Twins(NamedTuple):
    """Pairs of one identity, which pull in a way of their own: ``exp(power · s + a) + exp(power · s + b)``.

    Attributes:
        ids: of rows and columns.
        power: of their scores.
        weights: ``a`` and ``b``.
    """

    ids: Identities
    power: float
    weights: LogSums

    def of_rows(self, part: slice) -> Twins:
        """Among some of the rows."""
        ids, weights = Identities(self.ids.rows[part], self.ids.columns), self.weights
        return Twins(ids, self.power, LogSums(weights.rows[part], weights.columns))

    def pulls(self, tile: Tile) -> tuple[Tensor, Tensor] | None:
        """Which pairs of a tile these are, ``bool [R, C]``, and how each of them pulls; None if there are none."""
        mask = tile.twins(self.ids)
        if mask is None:
            return None
        rows, columns = mask.nonzero(as_tuple=True)
        scores = self.power * tile.scores[mask]
        of_rows, of_columns = self.weights.rows[tile.rows][rows], self.weights.columns[tile.columns][columns]
        return mask, ((scores + of_rows).exp() + (scores + of_columns).exp()).to(scores.dtype)


class Gradients(NamedTuple):
    """``G V [B, d]`` and ``Gᵀ U [C, d]``."""

    images: Tensor
    texts: Tensor


class Tile(NamedTuple):
    """Scores of some pairs, ``[R, C]``; they may be changed."""

    rows: slice
    columns: slice
    scores: Tensor

    def pieces(self) -> Iterator[Tile]:
        """Some rows each, which one core keeps near while operation follows operation."""
        for top in range(0, len(self.scores), PIECE):
            scores = self.scores[top : top + PIECE]
            start = self.rows.start + top
            yield Tile(slice(start, start + len(scores)), self.columns, scores)

    def twins(self, ids: Identities) -> Tensor | None:
        """Which of these pairs are of one identity, ``bool [R, C]``; None if none is."""
        rows, columns = ids.rows[self.rows], ids.columns[self.columns]
        apart = bool((rows[-1] < columns[0]) | (columns[-1] < rows[0]))
        return None if apart else rows[:, None] == columns


def log_sums(images: Tensor, texts: Tensor, scale: float) -> LogSums:
    """Of ``exp(scale · images textsᵀ)``, over rows and over columns.

    Args:
        images: ``[B, d]``, ``float32`` or ``float64``.
        texts: ``[C, d]``.
        scale: the multiplier.
    """
    return joined(in_parts(lambda part: _log_sums(images[part], texts, scale), row_parts(images)))


def row_parts(images: Tensor) -> list[slice]:
    """The rows that a thread takes: as many as a tile has, or more."""
    return parts_of(images, least=TILE[0])


def joined(parts: Sequence[LogSums]) -> LogSums:
    """Of rows that were summed in parts, each with all columns."""
    rows, columns = zip(*parts, strict=True)
    return LogSums(torch.cat(rows), reduce(torch.logaddexp, columns))


def _log_sums(images: Tensor, texts: Tensor, scale: float) -> LogSums:
    shift = shift_of(images, texts, scale)
    sums = LogSums(*(each.new_zeros(len(each), dtype=precise(each)) for each in (images, texts)))
    for tile in score_tiles(images, texts, scale):
        for piece in tile.pieces():
            powers = powers_of(piece.scores, shift)
            sums.rows[piece.rows] += powers.sum(dim=1)
            sums.columns[piece.columns] += powers.sum(dim=0)
    logs = LogSums(sums.rows.log(), sums.columns.log())
    if whole(logs, images.dtype):
        return LogSums(logs.rows + shift, logs.columns + shift)
    return _carefully(images, texts, scale)


def _carefully(images: Tensor, texts: Tensor, scale: float) -> LogSums:
    """The plain way, for scores of any size: every row and column from its own largest score."""
    rows, columns = (each.new_full((len(each),), -torch.inf, dtype=precise(each)) for each in (images, texts))
    for tile in score_tiles(images, texts, scale):
        for sums, where, dim in ((rows, tile.rows, 1), (columns, tile.columns, 0)):
            sums[where] = torch.logaddexp(sums[where], tile.scores.logsumexp(dim=dim).to(sums))
    return LogSums(rows, columns)


def add_gradients(
    into: Gradients, images: Tensor, texts: Tensor, scale: float, weights: LogSums, twins: Twins | None = None
) -> None:
    """``G V`` and ``Gᵀ U`` for ``G = exp(s + a) + exp(s + b)``, ``s = scale · images textsᵀ``.

    Args:
        into: what they are added to.
        images: ``[B, d]``.
        texts: ``[C, d]``.
        scale: the multiplier.
        weights: ``a [B]`` of the rows and ``b [C]`` of the columns, so small that no entry of ``G`` overflows.
        twins: pairs of which ``G`` is another.
    """

    def add(part: slice, own: Gradients) -> None:
        known = None if twins is None else twins.of_rows(part)
        _add_gradients(own, images[part], texts, scale, LogSums(weights.rows[part], weights.columns), known)

    add_in_parts(into, add)


def add_in_parts(into: Gradients, add: Callable[[slice, Gradients], Found]) -> list[Found]:
    """Add to gradients in parts of the rows, each with a gradient of all columns, as threads must not meet in one.

    Args:
        into: what is added to.
        add: adds what some rows find to gradients of these rows, and of all columns.

    Returns:
        What ``add`` returned of each part.
    """
    parts = row_parts(into.images)

    def of_part(part: slice) -> tuple[Found, Tensor]:
        of_texts = into.texts if part == parts[0] else torch.zeros_like(into.texts)
        return add(part, Gradients(into.images[part], of_texts)), of_texts

    found, of_texts = zip(*in_parts(of_part, parts), strict=True)
    for other in of_texts[1:]:
        into.texts.add_(other)
    return list(found)


def _add_gradients(
    into: Gradients, images: Tensor, texts: Tensor, scale: float, weights: LogSums, twins: Twins | None
) -> None:
    shift = shift_of(images, texts, scale)
    fits = whole(LogSums(*(-(each + shift) for each in weights)), images.dtype)
    factors = [(each + shift).exp().to(images) for each in weights] if fits else []
    of_rows, of_columns = (each.to(images) for each in weights)
    both = piece_room(images, texts)
    for tile in score_tiles(images, texts, scale):
        instead = None if twins is None else twins.pulls(tile)
        for piece in tile.pieces():
            room = both[: piece.scores.numel()].view_as(piece.scores)
            if factors:
                torch.add(factors[0][piece.rows, None], factors[1][piece.columns], out=room)
                powers_of(piece.scores, shift).mul_(room)
            else:
                torch.add(piece.scores, of_rows[piece.rows, None], out=room).exp_()
                piece.scores.add_(of_columns[piece.columns]).exp_().add_(room)
        pulls = tile.scores
        if instead is not None:
            pulls[instead[0]] = instead[1]
        into.images[tile.rows].addmm_(pulls, texts[tile.columns])
        into.texts[tile.columns].addmm_(pulls.T, images[tile.rows])


def powers_of(scores: Tensor, shift: float) -> Tensor:
    """``exp(scores - shift)``, in place."""
    return (scores.sub_(shift) if shift else scores).exp_()


def shift_of(images: Tensor, texts: Tensor, scale: float) -> float:
    """What all scores are lessened by, so that no exponential overflows; a whole number, exact in any type."""
    reach = float(images.norm(dim=1).max() * texts.norm(dim=1).max()) * abs(scale)
    return float(math.ceil(max(0.0, reach - _LARGEST[images.dtype]))) if math.isfinite(reach) else 0.0


def whole(logs: LogSums, dtype: torch.dtype) -> bool:
    """Whether shifted sums of exponentials of that type lost nothing of weight to underflow."""
    smallest = _SMALLEST[dtype]
    return all(bool((each > smallest).all()) for each in logs)


def score_tiles(images: Tensor, texts: Tensor, scale: float) -> Iterator[Tile]:
    """``scale · images textsᵀ`` of all pairs, tile by tile; one is overwritten by the next."""
    room = images.new_empty(min(TILE[0], len(images)) * min(TILE[1], len(texts)))
    for top in range(0, len(images), TILE[0]):
        rows = slice(top, min(top + TILE[0], len(images)))
        for left in range(0, len(texts), TILE[1]):
            columns = slice(left, min(left + TILE[1], len(texts)))
            shape = rows.stop - rows.start, columns.stop - columns.start
            scores = room[: shape[0] * shape[1]].view(shape)
            torch.addmm(scores, images[rows], texts[columns].T, beta=0, alpha=scale, out=scores)
            yield Tile(rows, columns, scores)


def piece_room(images: Tensor, texts: Tensor) -> Tensor:
    """Room for the numbers of a piece of a tile."""
    return images.new_empty(min(PIECE, len(images)) * min(TILE[1], len(texts)))


def precise(features: Tensor) -> torch.dtype:
    """What sums over a batch are kept in: double precision, where the device has it."""
    return torch.float32 if features.device.type == "mps" else torch.float64


def row_products(one: Tensor, other: Tensor) -> Tensor:
    """``one_i · other_i`` of each row, ``[B]`` in double precision; some rows at a time, in memory that is at hand."""
    parts = zip(one.split(TILE[0]), other.split(TILE[0]), strict=True)
    return torch.cat([(x * y).sum(dim=1, dtype=precise(one)) for x, y in parts])


def scalar(value: Tensor | float, features: Tensor) -> Tensor:
    """A scale or bias as a scalar beside features."""
    return torch.as_tensor(value, dtype=features.dtype, device=features.device).reshape(())


def check_pairs(
    images: Tensor, texts: Tensor, ids: Tensor | None, ring: Ring | None, **scalars: Tensor | float
) -> None:
    """Raise ``ValueError`` unless these are features of pairs, their identities and multipliers."""
    if images.ndim != 2 or images.shape != texts.shape or len(images) == 0:
        raise ValueError(
            f"features must be two [B, d] tensors of the same shape, not {tuple(images.shape)} and {tuple(texts.shape)}"
        )
    if ids is not None and ids.shape != images.shape[:1]:
        raise ValueError(f"ids must be [{len(images)}], one a pair, not {list(ids.shape)}")
    if ids is not None and (ids.is_floating_point() or ids.dtype == torch.bool):
        raise ValueError(f"ids must be whole numbers, not {ids.dtype}")
    if ring is not None and ring.rows[ring.rank] != len(images):
        raise ValueError(f"the ring is one of {ring.rows[ring.rank]} rows here, and there are {len(images)}")
    for name, value in scalars.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"{name} must be one number, not {list(value.shape)}")


def at_least_float32(features: Tensor) -> Tensor:
    """What scores are computed in: half precision has too few digits for a scale of 100."""
    return features if features.dtype == torch.float64 else features.float()
