"""Frozen linear layers with adapters, norms and rotations as single differentiable steps.

Between the matrix products of a frozen layer stands what moves memory: sums and scalings of adapters, squares, means,
halves that change places. Left to autograd each of them is an operation with a result that is kept. Here every step
has its own backward pass, keeps what it needs, and adds in place. :func:`project` is
``[module(x) for module in modules]``, :func:`rms_norm` and :func:`rotate` are transformers' own; values and gradients
are tested against those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FrozenLinear(NamedTuple):
    """A linear layer without gradients of its own, and perhaps an adapter that has them.

    Attributes:
        weight: ``[m, n]``.
        bias: ``[m]``.
        a, b: of the adapter, ``[r, n]`` and ``[m, r]``.
        scale: how much the adapter counts.
    """

    weight: Tensor
    bias: Tensor | None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0

    @classmethod
    def of(cls, module: nn.Module) -> FrozenLinear | None:
        """What a module computes, if it is no more than this."""
        if type(module) is LoraLinear:
            return _adapted(module)
        if type(module) is not nn.Linear or any(p.requires_grad for p in module.parameters()):
            return None
        return cls(module.weight, module.bias)


def _adapted(module: Any) -> FrozenLinear | None:
    base, active = FrozenLinear.of(module.get_base_layer()), list(module.active_adapters)
    if base is None or module.merged or module.disable_adapters or len(active) != 1 or active[0] not in module.lora_A:
        return None
    name = active[0]
    a, b, dropout = module.lora_A[name], module.lora_B[name], module.lora_dropout[name]
    drops = isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0
    if drops or name in module.lora_variant or b.bias is not None or a.weight.dtype != base.weight.dtype:
        return None
    return base._replace(a=a.weight, b=b.weight, scale=float(module.scaling[name]))


def project(x: Tensor, modules: Sequence[nn.Module]) -> list[Tensor]:
    """``[N, m]`` of each linear layer on the same rows ``[N, n]``."""
    layers = [FrozenLinear.of(module) for module in modules]
    known = [layer for layer in layers if layer is not None]
    if len(known) < len(layers):
        return [module(x) for module in modules]
    adapters = [part for layer in known for part in (layer.a, layer.b) if part is not None]
    return list(_Project.apply(x, known, *adapters))


class _Project(torch.autograd.Function):
    """``W x + b + s B A x`` of several layers: one product with all A, sums within the products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: list[FrozenLinear], *adapters: Tensor) -> tuple[Tensor, ...]:
        inner = x @ torch.cat(adapters[::2]).t() if adapters else x.new_empty(len(x), 0)
        outputs, start = [], 0
        for layer in layers:
            y = x @ layer.weight.t() if layer.bias is None else torch.addmm(layer.bias, x, layer.weight.t())
            if layer.b is not None:
                r = layer.b.shape[1]
                y.addmm_(inner[:, start : start + r], layer.b.t(), alpha=layer.scale)
                start += r
            outputs.append(y)
        ctx.layers = layers
        ctx.save_for_backward(x, inner, *adapters)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, *adapters = ctx.saved_tensors
        within, of_b, start = [], [], 0
        for layer, grad in zip(ctx.layers, grads, strict=True):
            if layer.b is not None:
                r = layer.b.shape[1]
                within.append((grad @ layer.b).mul_(layer.scale))
                of_b.append((grad.t() @ inner[:, start : start + r]).mul_(layer.scale))
                start += r
        back = torch.cat(within, dim=1) if within else None
        of_adapters: list[Tensor | None] = []
        if back is not None:
            of_a = (back.t() @ x).split([a.shape[0] for a in adapters[::2]])
            of_adapters = [part for pair in zip(of_a, of_b, strict=True) for part in pair]
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = grads[0] @ ctx.layers[0].weight
            for layer, grad in zip(ctx.layers[1:], grads[1:], strict=True):
                of_x.addmm_(grad, layer.weight)
            if back is not None:
                of_x.addmm_(back, torch.cat(adapters[::2]))
        return of_x, None, *of_adapters


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``[N, D]`` over its root mean square, times a frozen ``weight [D]`` (Zhang and Sennrich 2019)."""
    return _RmsNorm.apply(x, weight, eps)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = torch.linalg.vecdot(x, x).div_(x.shape[1]).add_(eps).rsqrt_()[:, None]
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        weighted = grad * weight
        along = torch.linalg.vecdot(weighted, x)[:, None] * inverse.pow(3).div_(x.shape[1])
        return weighted.mul_(inverse).addcmul_(x, along, value=-1), None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) of ``[N, heads, d]``, with ``cos`` and ``sin`` ``[N, 1, d]``, halves alike."""
    return _Rotate.apply(x, cos, sin)


class _Rotate(torch.autograd.Function):
    """Numbers i and i + d/2 turn together; the way back turns them the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, sin, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-way)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=way)
    return out


def take(x: Tensor, there: Tensor, back: Tensor, *, padded: bool) -> Tensor:
    """Rows ``there`` of ``x``, where rows ``back`` of the result are those of ``x``, once each.

    Args:
        x: ``[N, …]``.
        there: ``int64 [M]``.
        back: ``int64 [N]`` into M if the result is longer (``padded``), or ``[M]`` into N of the longer ``x``: rows
            that are in no sequence get, or give, no gradient.
    """
    return _Take.apply(x, there, back, padded)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, padded: bool) -> Tensor:
        ctx.save_for_backward(back)
        ctx.padded, ctx.shape = padded, x.shape
        return x.index_select(0, there)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (back,) = ctx.saved_tensors
        if ctx.padded:
            return grad.index_select(0, back), None, None, None
        return grad.new_zeros(ctx.shape).index_copy_(0, back, grad), None, None, None
