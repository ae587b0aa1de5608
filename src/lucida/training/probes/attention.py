"""The entropy of attention: 1 where a query looks everywhere alike, 0 where it looks at one place only."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lucida.training.probes.guard import Guard
from lucida.training.probes.sampling import Pending

EXAMPLES, QUERIES = 2, 32


def relative_entropy(probabilities: Tensor) -> Tensor:
    """The mean over queries of entropy / log(number of keys that may be seen); ``[..., L, S]`` in, a scalar out.

    >>> round(relative_entropy(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])).item(), 3)
    1.0
    """
    visible = (probabilities > 0).sum(dim=-1)
    entropy = torch.special.entr(probabilities).sum(dim=-1)
    several = visible > 1
    return (entropy / visible.clamp(min=2).log())[several].mean()


def probabilities_of(
    query: Tensor, key: Tensor, mask: Tensor | None = None, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """The attention of two examples and at most 32 queries, as ``scaled_dot_product_attention`` would have it.

    Args:
        query, key: ``[B, H, L, D]`` and ``[B, H or fewer, S, D]``.
        mask: boolean (true: may be seen) or added to the scores; broadcasts to ``[B, H, L, S]``.
    """
    every = math.ceil(query.shape[-2] / QUERIES)
    q, k = query[:EXAMPLES, :, ::every].float(), key[:EXAMPLES].float()
    if k.shape[1] != q.shape[1]:
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        seen = torch.ones(query.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~seen[::every], -math.inf)
    if mask is not None:
        mask = mask.expand(query.shape[0], -1, query.shape[-2], -1) if mask.ndim == 4 else mask
        mask = mask[:EXAMPLES, :, ::every] if mask.ndim == 4 else mask[..., ::every, :]
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.float()
    return scores.softmax(dim=-1)


class _Listening(TorchFunctionMode):
    """Hears the scaled dot products that are computed below it, and changes nothing."""

    def __init__(self, hear: Callable[[dict[str, Any]], None]):
        super().__init__()
        self.hear = hear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
            self.hear(given | kwargs)
        return func(*args, **kwargs)


@torch.no_grad()
def _heard(given: dict[str, Any]) -> Tensor | None:
    """The attention of a scaled dot product's arguments; only such of four dimensions are read."""
    query, key = given["query"], given["key"]
    if query.ndim != 4 or not query.numel() or not key.numel():
        return None
    causal = bool(given.get("is_causal"))
    return probabilities_of(query, key, given.get("attn_mask"), causal=causal, scale=given.get("scale"))


class AttentionProbe:
    """Hooks on the attention modules, for the length of one step.

    ``nn.MultiheadAttention`` is computed once more from its inputs (dropout left out); of other modules whose class
    ends with ``Attention``, a call of ``scaled_dot_product_attention`` is listened to, or the weights they return are
    taken. Others are not measured.
    """

    def __init__(self, model: nn.Module, guard: Guard):
        self._guard = guard
        named = dict(model.named_modules())
        self.modules = {n: m for n, m in named.items() if type(m).__name__.endswith("Attention")}
        self._pending = Pending()
        self._handles: list[Any] = []
        self._listening: list[tuple[str, _Listening]] = []

    def attach(self, active: Callable[[], bool]) -> None:
        """Put the hooks on."""
        for name, module in self.modules.items():
            part = _part(name)
            put_on = partial(self._attach, name, module, active)
            self._handles += self._guard.value(part, put_on, [])

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def forget(self) -> None:
        """Forget what was measured of a step that is not taken."""
        self._pending = Pending()

    def read(self) -> dict[str, float]:
        """``{layer: relative entropy}`` of the first call; forgets them."""
        read = self._pending.read().items()
        return {name: numbers[0] for name, numbers in read if _part(name) not in self._guard.left_out}

    def _attach(self, name: str, module: nn.Module, active: Callable[[], bool]) -> list[Any]:
        part = _part(name)
        look = self._guard.hook(part, partial(self._look, name, active))
        if isinstance(module, nn.MultiheadAttention):
            return [module.register_forward_pre_hook(look, with_kwargs=True)]
        returned = self._guard.hook(part, partial(self._look_at_weights, name, active))

        def leave_and_look(module: nn.Module, args: Any, output: Any) -> None:
            if torch.compiler.is_compiling():
                return
            if self._listening and self._listening[-1][0] == name:  # whatever failed since it was entered
                self._listening.pop()[1].__exit__(None, None, None)
            returned(module, args, output)

        return [
            module.register_forward_pre_hook(look, with_kwargs=True),
            module.register_forward_hook(leave_and_look, always_call=True),
        ]

    def _look(self, name: str, active: Callable[[], bool], module: nn.Module, args: Any, kwargs: Any) -> None:
        if isinstance(module, nn.MultiheadAttention):
            if active():
                self._put(name, _multihead(module, args, kwargs))
            return
        # Listened to in other passes too: a module around this one must not hear what is inside this one.
        hear = self._guard.hook(_part(name), lambda given: self._put(name, _heard(given)) if active() else None)
        mode = _Listening(hear)
        mode.__enter__()
        self._listening.append((name, mode))

    def _look_at_weights(
        self, name: str, active: Callable[[], bool], module: nn.Module, args: Any, output: Any
    ) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if active() and isinstance(weights, Tensor) and weights.ndim == 4 and weights.numel():
            every = math.ceil(weights.shape[-2] / QUERIES)
            self._put(name, weights.detach()[:EXAMPLES, :, ::every].float())

    def _put(self, name: str, probabilities: Tensor | None) -> None:
        if probabilities is not None:
            self._pending.put(name, relative_entropy(probabilities))


def _part(name: str) -> str:
    """An attention as a part of its own: where only its entropy fails, the layer is measured all the same."""
    return f"the attention of {name or 'the model'}"


@torch.no_grad()
def _multihead(module: nn.MultiheadAttention, args: Any, kwargs: Any) -> Tensor | None:
    given = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"), args, strict=False))
    given |= kwargs
    query, key = given["query"], given["key"]
    weight, bias = module.in_proj_weight, module.in_proj_bias
    if weight is None or query.ndim != 3 or query.is_nested or not query.numel() or not key.numel():
        return None
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    size, heads = module.embed_dim, module.num_heads
    q = F.linear(query[:EXAMPLES], weight[:size], None if bias is None else bias[:size])
    k = F.linear(key[:EXAMPLES], weight[size : 2 * size], None if bias is None else bias[size : 2 * size])
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
    return probabilities_of(q, k, _allowed(given, q, k, heads))


def _allowed(given: dict[str, Any], q: Tensor, k: Tensor, heads: int) -> Tensor | None:
    """``nn.MultiheadAttention``'s masks (true: may not be seen) as one that is added, ``[B, H, L, S]``."""
    shape = (len(q), heads, q.shape[-2], k.shape[-2])
    total = None
    for name in ("attn_mask", "key_padding_mask"):
        mask = given.get(name)
        if mask is None:
            continue
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf)
        if name == "key_padding_mask":
            mask = mask[:EXAMPLES, None, None]
        elif mask.ndim == 3:
            mask = mask.unflatten(0, (-1, heads))[:EXAMPLES]
        total = mask.expand(shape) if total is None else total + mask
    return total
