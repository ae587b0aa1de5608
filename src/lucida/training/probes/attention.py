"""The entropy of attention: 1 where a query looks everywhere alike, 0 where it looks at one place only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

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

    def __init__(self, hear: Callable[[Tensor], None]):
        super().__init__()
        self.hear = hear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
            given |= kwargs
            if given["query"].ndim == 4:
                with torch.no_grad():
                    self.hear(
                        probabilities_of(
                            given["query"],
                            given["key"],
                            given.get("attn_mask"),
                            causal=bool(given.get("is_causal")),
                            scale=given.get("scale"),
                        )
                    )
        return func(*args, **kwargs)


class AttentionProbe:
    """Hooks on the attention modules, for the length of one step.

    ``nn.MultiheadAttention`` is computed once more from its inputs (dropout left out); of other modules whose class
    ends with ``Attention``, a call of ``scaled_dot_product_attention`` is listened to, or the weights they return are
    taken. Others are not measured.
    """

    def __init__(self, model: nn.Module):
        named = dict(model.named_modules())
        self.modules = {n: m for n, m in named.items() if type(m).__name__.endswith("Attention")}
        self._pending = Pending()
        self._handles: list[Any] = []
        self._listening: list[_Listening] = []

    def attach(self, active: Callable[[], bool]) -> None:
        """Put the hooks on."""
        for name, module in self.modules.items():
            before, after = self._hooks(name, active)
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(module.register_forward_hook(after, always_call=True))

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def read(self) -> dict[str, float]:
        """``{layer: relative entropy}`` of the first call; forgets them."""
        return {name: numbers[0] for name, numbers in self._pending.read().items()}

    def _hooks(self, name: str, active: Callable[[], bool]) -> tuple[Any, Any]:
        def hear(probabilities: Tensor) -> None:
            self._pending.put(name, relative_entropy(probabilities))

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if isinstance(module, nn.MultiheadAttention):
                if active() and (found := _multihead(module, args, kwargs)) is not None:
                    hear(found)
                return
            mode = _Listening(hear if active() else lambda _: None)
            mode.__enter__()
            self._listening.append(mode)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(module, nn.MultiheadAttention):
                return
            if self._listening:
                self._listening.pop().__exit__(None, None, None)
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if active() and isinstance(weights, Tensor) and weights.ndim == 4:
                every = math.ceil(weights.shape[-2] / QUERIES)
                hear(weights.detach()[:EXAMPLES, :, ::every].float())

        return before, after


@torch.no_grad()
def _multihead(module: nn.MultiheadAttention, args: Any, kwargs: Any) -> Tensor | None:
    given = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"), args, strict=False))
    given |= kwargs
    query, key = given["query"], given["key"]
    weight, bias = module.in_proj_weight, module.in_proj_bias
    if weight is None or query.ndim != 3 or query.is_nested:
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
