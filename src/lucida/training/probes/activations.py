"""What layers put out, and the gradient at it: size, spread, silent and saturated units, rows that are not finite."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from lucida.training.probes.guard import Guard
from lucida.training.probes.sampling import LIMIT, Pending, enlarged, sample, short
from lucida.training.probes.weights import norms

SKIPPED = ("Dropout", "Identity", "Flatten", "Softmax", "Pool", "Padding", "Upsample", "Loss")
BOUNDED = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign)
SATURATED = 0.98
"""A bounded unit within 2 % of its range's end passes next to no gradient."""


def kind_of(module: nn.Module) -> str | None:
    """What a module is to the rules, or ``None`` where it is not measured.

    >>> kind_of(nn.Linear(1, 1)), kind_of(nn.LayerNorm(1)), kind_of(nn.Dropout()), kind_of(nn.Sequential(nn.ReLU()))
    ('linear', 'norm', None, None)
    """
    name = type(module).__name__
    if isinstance(module, nn.MultiheadAttention) or name.endswith("Attention"):
        return "attention"
    if any(module.children()) or any(word in name for word in SKIPPED):
        return None
    for kinds, label in (
        ((nn.Linear, nn.Bilinear), "linear"),
        ((_ConvNd,), "conv"),
        ((_BatchNorm,), "batch norm"),
        ((nn.Embedding, nn.EmbeddingBag), "embedding"),
        ((nn.RNNBase, nn.RNNCellBase), "recurrent"),
        (BOUNDED, "bounded"),
    ):
        if isinstance(module, kinds):
            return label
    if "Norm" in name:
        return "norm"
    return "other" if any(True for _ in module.parameters(recurse=False)) else "activation"


def first_tensor(output: Any) -> Tensor | None:
    """The floating-point tensor a module returned, the first of a tuple."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() and output.numel() else None


def thinned(value: Tensor, rows: int = 256) -> Tensor:
    """At most about 8,192 numbers of ``[N, U]``: every k-th row, but ``rows`` of them, then every k-th unit.

    >>> thinned(torch.zeros(5000, 64)).shape, thinned(torch.zeros(5000, 32_000)).shape, thinned(torch.zeros(3, 4)).shape
    (torch.Size([250, 32]), torch.Size([250, 33]), torch.Size([3, 4]))
    """
    count, units = value.shape
    value = _every(value, math.ceil(count / min(count, max(rows, LIMIT // units))))
    every = math.ceil(value.numel() / LIMIT)
    return value[:, ::every] if every > 1 else value


def _every(value: Tensor, step: int) -> Tensor:
    return value[::step] if step > 1 else value


class ActivationProbe:
    """Forward hooks on every measured layer, for the length of one step.

    A row of ``layers`` holds, over a sample of the outputs as rows and units (channels of a convolution):

    - ``rms``: root mean square; ``spread``: the share of it (0 to 1) that varies between rows; 0 means that the output
      is the same whatever goes in;
    - ``silent``: the share of units that are exactly 0 in every row; ``rows``: how many rows that is;
    - ``negative``: of linear layers and convolutions, the share of units that are never above 0 (dead, if a ReLU
      follows);
    - ``saturated``: of bounded units, the share of outputs at the end of their range;
    - ``grad``: norm of the loss' gradient at the output (before any clipping);
    - ``bad``: outputs that are not finite; ``calls``: how often the layer was called;
    - batch norm: ``examples`` in its batch, and ``noise``: mean squared distance of the batch's mean from the running
      mean, in running variances (1/n for n independent values).

    Layers stand in the order in which they first ran.

    Attributes:
        graded: whether a gradient came back through a layer since the last reading.
    """

    def __init__(self, model: nn.Module, guard: Guard):
        self.kinds: dict[str, str] = {}
        self.modules: dict[str, nn.Module] = {}
        self._guard = guard
        for name, module in model.named_modules():
            if (kind := kind_of(module)) is not None:
                self.kinds[name], self.modules[name] = kind, module
        self.calls: dict[str, int] = {}
        self._pending = Pending()
        self._tops: list[tuple[str, str, Tensor]] = []
        self._rows: dict[str, int] = {}
        self._examples: dict[str, int] = {}
        self._channels: tuple[int, ...] | None = None
        self._handles: list[Any] = []
        self.graded = False

    def header(self) -> dict[str, Any]:
        """``{layer: kind and class}``, for the first row."""
        return {name: f"{kind}: {type(self.modules[name]).__name__}" for name, kind in self.kinds.items()}

    def attach(self, active: Any) -> None:
        """Put the hooks on; ``active()`` says whether a forward pass is one of training."""
        for name, module in self.modules.items():
            if name not in self._guard.left_out:
                hook = self._guard.hook(name, partial(self._forward, name, active))
                handle = self._guard.value(name, partial(module.register_forward_hook, hook), None)
                self._handles += [] if handle is None else [handle]

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _forward(self, name: str, active: Any, module: nn.Module, args: Any, output: Any) -> None:
        if not active():
            self.calls.setdefault(name, 0)
            return
        calls = self.calls[name] = self.calls.get(name, 0) + 1
        if calls & (calls - 1):
            return
        x = first_tensor(output)
        if x is None:
            return
        kind, value = self.kinds[name], x.detach()
        part = self._units_last(kind, value).float().contiguous()
        rows, units = part.shape
        put = self._pending.put
        moved = part - part[0]  # without it, a small variance would drown in the rounding of a large mean
        size, away = torch._foreach_norm([part, moved])
        put((name, "rms"), size, part.numel() ** -0.5)
        put((name, "moved"), away, part.numel() ** -0.5)
        put((name, "mean"), torch.linalg.vector_norm(moved.sum(dim=0)), units**-0.5 / rows)
        if kind in ("linear", "conv"):
            self._tops.append((name, "negative", part.amax(dim=0)))
        elif kind in ("activation", "other"):
            self._tops.append((name, "silent", torch.linalg.vector_norm(part, math.inf, dim=0)))
        self._rows[name] = max(self._rows.get(name, 0), rows)
        if kind == "bounded" or isinstance(module, nn.RNN | nn.RNNCell):
            put((name, "saturated"), _saturated(part, module))
        if kind == "batch norm" and isinstance(module, _BatchNorm) and module.training:
            self._batch_norm(name, module, args)
        if x.requires_grad:
            handle = x.register_hook(self._guard.hook(name, partial(self._gradient, name)))
            if x.is_leaf:  # a parameter that a module hands out: it would keep the hook
                self._handles.append(handle)

    def _units_last(self, kind: str, value: Tensor) -> Tensor:
        """A sample ``[rows, units]`` of outputs; convolutions and what follows them have their channels second."""
        spatial = kind in ("conv", "batch norm") or value.ndim > 3 or tuple(value.shape) == self._channels
        self._channels = tuple(value.shape) if spatial and value.ndim > 2 else None
        if value.ndim < 2:
            return value.reshape(1, -1)
        if not (spatial and value.ndim > 2):
            return thinned(value.reshape(-1, value.shape[-1]))
        flat = value.flatten(2)
        every = math.ceil(flat.numel() / LIMIT)
        places = min(every, max(1, flat.shape[2] // 4))
        flat = _every(flat, math.ceil(every / places))[:, :, ::places]
        return flat.transpose(1, 2).reshape(-1, flat.shape[1])

    def _batch_norm(self, name: str, module: _BatchNorm, args: Any) -> None:
        x = args[0].detach() if args and isinstance(args[0], Tensor) else None
        if x is None:
            return
        self._examples[name] = len(x)
        if module.running_mean is not None and module.running_var is not None and module.momentum is not None:
            centre = x.float().mean(dim=[d for d in range(x.ndim) if d != 1])
            away = (centre - module.running_mean) / (1 - module.momentum)  # the running mean has moved already
            self._pending.put((name, "noise"), (away.square() / (module.running_var + module.eps)).mean())

    def _gradient(self, name: str, gradient: Tensor) -> None:
        self.graded = True
        part = sample(gradient.detach())
        self._pending.put((name, "grad"), torch.linalg.vector_norm(part.float()), enlarged(part, gradient))

    def read(self) -> dict[str, dict[str, Any]]:
        """The rows of all layers that ran; forgets them."""
        found: dict[str, dict[str, Any]] = {}
        for (name, key), numbers in self._pending.read().items():
            found.setdefault(name, {})[key] = numbers
        for (name, key, top), share in zip(self._tops, self._never_positive(), strict=True):
            found[name].setdefault(key, []).append(share if top.numel() else math.nan)
        rows = {
            name: self._row(name, numbers)
            for name, numbers in found.items()
            if name not in self._guard.left_out and "rms" in numbers  # a gradient may come after its row was read
        }
        self._drop()
        return rows

    def forget(self) -> None:
        """Forget what was measured of a step that is not taken."""
        self._pending, self.calls = Pending(), {}
        self._drop()

    def _drop(self) -> None:
        self._rows, self._examples, self._channels, self._tops = {}, {}, None, []
        self.graded = False

    def _never_positive(self) -> list[float]:
        """The share of units whose largest (largest absolute) output is not above 0, of each call."""
        tops = [top for *_, top in self._tops]
        if not tops:
            return []
        above = norms(list(torch._foreach_clamp_min(tops, 0.0)), 0)  # how many are not 0
        return [1 - count / max(1, top.numel()) for count, top in zip(above, tops, strict=True)]

    def take_calls(self) -> dict[str, int]:
        """How often each layer was called in training since the last time; 0: in other passes only."""
        calls, self.calls = self.calls, {}
        return calls

    def _row(self, name: str, numbers: dict[str, list[float]]) -> dict[str, Any]:
        rms = [x * x for x in numbers.pop("rms")]
        variance = [max(0.0, a * a - b * b) for a, b in zip(numbers.pop("moved"), numbers.pop("mean"), strict=True)]
        total = _mean(rms)
        row: dict[str, Any] = {
            "rms": short(math.sqrt(total)),
            "spread": short(math.sqrt(_mean(variance) / total)) if 0 < total < math.inf else None,
            "rows": self._rows[name],
            "bad": not math.isfinite(total),
        }
        if name in self._examples:
            row["examples"] = self._examples[name]
        gradients = numbers.pop("grad", [])
        if gradients:
            row["grad"] = short(math.sqrt(sum(g * g for g in gradients)))
            if len(gradients) > 2:  # the last call's gradient arrives first
                row["grad_calls"] = [short(g) for g in reversed(gradients)]
        return row | {key: short(_mean(values)) for key, values in numbers.items()}


def _saturated(part: Tensor, module: nn.Module) -> Tensor:
    if isinstance(module, nn.Sigmoid | nn.Hardsigmoid):
        part = 2 * part - 1
    return (part.abs() > SATURATED).float().mean()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
