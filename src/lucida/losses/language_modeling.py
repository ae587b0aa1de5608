"""The loss of a (multimodal) language model: cross-entropy on the supervised tokens, never the whole logits."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lucida.core.errors import LucidaError

IGNORE_INDEX = -100

CHUNK_BYTES = 176 << 20
"""Of logits that exist at one time: a matrix product of so many rows runs at full speed."""

_CACHED = 1 << 19  # elements that are exponentiated at a time: they stay in a processor's second cache


def language_modeling_loss(
    hidden_states: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    token_weights: Tensor | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    r"""Cross-entropy of the next token, of the supervised rows alone, a chunk of logits at a time.

    With :math:`z_n = \log \sum_v e^{h_n \cdot w_v}`, weights :math:`a_n` (1 by default) and smoothing
    :math:`\varepsilon`,

    .. math:: L = \sum_{n:\, y_n \ne \text{ignore}} a_n \Big[ z_n - (1 - \varepsilon)\, h_n \cdot w_{y_n}
              - \tfrac{\varepsilon}{V} \sum_v h_n \cdot w_v + \zeta z_n^2 \Big]

    divided by :math:`\sum a_n` of those rows for ``"mean"``. The term with :math:`\zeta` keeps logits from drifting
    (z-loss, Chowdhery et al. 2022, PaLM, section 5). Rows that are not supervised (the picture, the question, padding)
    are dropped before the vocabulary matrix; of the others, gradients are computed with the values, so that no more
    than ``chunk_bytes`` of logits exist at one time: 3·2·n·V·D operations, as many as the plain loss, and 2·(V + n)·D
    numbers for the gradients. Values and gradients are exact. Across micro-batches and processes use ``"sum"`` and
    divide by the global weight: a mean of means weighs short answers more.

    Args:
        hidden_states: ``[N, D]``, the state that predicts the label of its row.
        weight: ``[V, D]``, the output embedding.
        labels: ``int64 [N]``, already aligned with ``hidden_states`` (:func:`shift_labels`).
        ignore_index: marks the rows that are not supervised.
        reduction: ``"mean"`` over supervised rows, or ``"sum"``.
        label_smoothing: share of the target mass that is spread over the vocabulary.
        z_loss: :math:`\zeta`, ``1e-4`` in PaLM.
        token_weights: ``[N]``, how much each row counts.
        chunk_bytes: of logits at one time, at least one row's.

    Returns:
        A scalar, ``float32`` or wider. The sum over no supervised row is 0, with zero gradients.

    Raises:
        LucidaError: ``"mean"`` of no supervised row (or none with a weight): such a run would train on nothing.
        ValueError: shapes that do not fit together, a label outside the vocabulary, a setting out of range.

    >>> states, weight = torch.zeros(3, 4), torch.zeros(8, 4)
    >>> round(language_modeling_loss(states, weight, torch.tensor([5, -100, 1])).item(), 4)  # log 8
    2.0794
    """
    rows = _supervised(hidden_states, weight, labels, ignore_index, token_weights)
    _check_settings(label_smoothing, z_loss, chunk_bytes)
    if reduction == "mean":
        total = _total(rows)
    if len(rows.targets) == 0:
        return (hidden_states.sum() + weight.sum()).float() * 0.0
    states, words = _as_autocast(rows.states, weight)
    form = _Form(label_smoothing, z_loss, chunk_bytes, torch.is_grad_enabled())
    weights = rows.weights / total if reduction == "mean" else rows.weights  # here, so that gradients are final
    return _ChunkedLoss.apply(states, words, rows.targets, weights, form)


def plain_language_modeling_loss(
    hidden_states: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    token_weights: Tensor | None = None,
) -> Tensor:
    """The same, the formula as it stands: all logits of the supervised rows at one time, gradients by autograd."""
    rows = _supervised(hidden_states, weight, labels, ignore_index, token_weights)
    if reduction == "mean":
        total = _total(rows)
    logits = rows.states @ weight.T
    with torch.autocast(logits.device.type, enabled=False):
        wide = logits if logits.dtype == torch.float64 else logits.float()
        losses = F.cross_entropy(wide, rows.targets, reduction="none", label_smoothing=label_smoothing)
        if z_loss:
            losses = losses + z_loss * wide.logsumexp(dim=1).square()
        loss = (losses * rows.weights).sum()
    return loss / total if reduction == "mean" else loss


def shift_labels(labels: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Labels in the Hugging Face convention aligned with the states that predict them: each moves one to the left.

    >>> shift_labels(torch.tensor([[-100, 4, 5]]))
    tensor([[   4,    5, -100]])
    """
    return torch.cat([labels[..., 1:], torch.full_like(labels[..., :1], ignore_index)], dim=-1)


class _Rows(NamedTuple):
    """What is supervised: states ``[n, D]``, targets ``[n]``, weights ``[n]``."""

    states: Tensor
    targets: Tensor
    weights: Tensor


class _Form(NamedTuple):
    label_smoothing: float
    z_loss: float
    chunk_bytes: int
    gradients: bool


class _ChunkedLoss(torch.autograd.Function):
    """The sum, its gradients computed beside it: going back would need the logits again.

    The gradients are handed over when they are asked for first, so that no copy of them exists; whoever goes back
    twice has them computed anew.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, form: _Form) -> Tensor:
        ctx.save_for_backward(states, weight, targets, weights)
        ctx.form, ctx.wanted = form, tuple(form.gradients and needed for needed in ctx.needs_input_grad[:2])
        loss, *ctx.gradients = _loss_and_gradients(states, weight, targets, weights, form, ctx.wanted)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients: list[Tensor | None] | None
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            states, weight, targets, weights = ctx.saved_tensors
            gradients = list(_loss_and_gradients(states, weight, targets, weights, ctx.form, ctx.wanted)[1:])
        if not (upstream.device.type == "cpu" and float(upstream) == 1.0):
            gradients = [None if one is None else one.mul_(upstream.to(one.dtype)) for one in gradients]
        return (*gradients, None, None, None)


def _loss_and_gradients(
    states: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, form: _Form, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The sum, and its gradients at states and weight where they are wanted, in the type of each.

    Every row's exponentials are computed once and left as they are; what they are divided by, the weights and the
    z-loss scale whole rows, which is done to the states instead of the logits, and smoothing is one vector for all.
    """
    wide = torch.float64 if states.dtype == torch.float64 else torch.float32
    smooth, count = form.label_smoothing, len(targets)
    mean_word = weight.to(wide).mean(dim=0) if smooth else states.new_zeros(weight.shape[1], dtype=wide)
    grad_states = torch.empty_like(states, dtype=wide) if wanted[0] else None
    grad_weight = torch.zeros_like(weight, dtype=wide) if wanted[1] else None
    size = min(count, max(1, form.chunk_bytes // (len(weight) * states.new_empty(0, dtype=wide).element_size())))
    buffer = states.new_empty((size, len(weight)), dtype=wide)
    loss = torch.zeros((), dtype=torch.float64, device=states.device)
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        own, truth, scale = states[part], targets[part], weights[part].to(wide)
        logits = _product(own, weight, buffer[: len(own)])
        right = logits.gather(1, truth[:, None])[:, 0]
        sums, level = _exponentials(logits)
        log_sums = level + sums.log()
        losses = log_sums - (1 - smooth) * right - smooth * (own.to(wide) @ mean_word)
        loss += (scale * (losses + form.z_loss * log_sums.square())).sum()
        scaled = scale * (1 + 2 * form.z_loss * log_sums) / sums
        if grad_states is not None:
            pulled = (logits.to(weight.dtype) @ weight).to(wide).mul_(scaled[:, None])
            pulled.addcmul_(weight[truth].to(wide), scale[:, None], value=smooth - 1)
            grad_states[part] = pulled.addr_(scale, mean_word, alpha=-smooth)
        if grad_weight is not None:
            _add_product(grad_weight, logits, own, scaled)
            grad_weight.index_add_(0, truth, own.to(wide) * scale[:, None], alpha=smooth - 1)
    if grad_weight is not None and smooth:
        grad_weight.sub_((weights.to(wide) @ states.to(wide)) * (smooth / len(weight)))
    return (
        loss.to(wide),
        None if grad_states is None else grad_states.to(states.dtype),
        None if grad_weight is None else grad_weight.to(weight.dtype),
    )


def _product(states: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """Logits ``[n, V]`` in ``out``, in its type."""
    if states.dtype == out.dtype:
        return torch.mm(states, weight.T, out=out)
    return out.copy_(states @ weight.T)


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits into ``exp(logits - largest)`` where they are; the sums and the largest, ``[n]`` each."""
    rows = max(1, _CACHED // logits.shape[1])
    sums, level = logits.new_empty(len(logits)), logits.new_empty(len(logits))
    for start in range(0, len(logits), rows):
        part = logits[start : start + rows]
        torch.amax(part, dim=1, out=level[start : start + rows])
        part.sub_(level[start : start + rows, None]).exp_()
        torch.sum(part, dim=1, out=sums[start : start + rows])
    return sums, level


def _add_product(total: Tensor, exponentials: Tensor, states: Tensor, scaled: Tensor) -> None:
    """Add ``exponentialsᵀ (scaled · states)``, in the states' type but for the sum."""
    left = states.to(total.dtype) * scaled[:, None]
    if states.dtype == total.dtype:
        total.addmm_(exponentials.T, left)
    else:
        total += exponentials.to(states.dtype).T @ left.to(states.dtype)


def _as_autocast(states: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type in which a matrix product would be done here."""
    device = states.device.type
    if not torch.is_autocast_enabled(device) or states.dtype == torch.float64:
        return states, weight
    low = torch.get_autocast_dtype(device)
    return states.to(low), weight.to(low)


def _supervised(
    hidden_states: Tensor, weight: Tensor, labels: Tensor, ignore_index: int, token_weights: Tensor | None
) -> _Rows:
    """The supervised rows of what was given.

    Raises:
        ValueError: shapes that do not fit together, a label outside the vocabulary.
    """
    if hidden_states.ndim != 2 or weight.ndim != 2 or hidden_states.shape[1] != weight.shape[1]:
        raise ValueError(
            f"expected states [N, D] and a weight [V, D], not {list(hidden_states.shape)} and {list(weight.shape)}"
        )
    for name, given in (("labels", labels), ("token_weights", token_weights)):
        if given is not None and given.shape != hidden_states.shape[:1]:
            raise ValueError(f"{name} must be [{len(hidden_states)}], one a state, not {list(given.shape)}")
    supervised = labels != ignore_index
    targets = labels[supervised]
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= len(weight)):
        raise ValueError(f"labels must be between 0 and {len(weight) - 1}, or {ignore_index}")
    wide = torch.float64 if hidden_states.dtype == torch.float64 else torch.float32
    if token_weights is None:
        weights = torch.ones(len(targets), dtype=wide, device=hidden_states.device)
    else:
        weights = token_weights[supervised].to(wide)
    return _Rows(hidden_states[supervised], targets, weights)


def _total(rows: _Rows) -> Tensor:
    """The weight of the supervised rows.

    Raises:
        LucidaError: there is none.
    """
    total = rows.weights.sum()
    if not bool(total > 0):
        raise LucidaError("no supervised token in the batch", where="labels", remedy="check the answer masks")
    return total


def _check_settings(label_smoothing: float, z_loss: float, chunk_bytes: int) -> None:
    """Every setting is in its range.

    Raises:
        ValueError: one is not.
    """
    for name, value, fine in (
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1),
        ("z_loss", z_loss, z_loss >= 0),
        ("chunk_bytes", chunk_bytes, chunk_bytes > 0),
    ):
        if not fine:
            raise ValueError(f"{name} cannot be {value}")
