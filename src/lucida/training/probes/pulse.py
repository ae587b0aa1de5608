"""The pulse: the norm of one small gradient at every step, between probes too."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from lucida.training.probes.guard import Guard
from lucida.training.probes.sampling import short
from lucida.training.probes.weights import WeightProbe, dense


class Pulse:
    """The norm of one small gradient at every step, before any clipping: leaps between probes, and the first bad step.

    The first vector among the parameters that received a gradient stands for all: in recurrent nets the first bias lies
    within the recurrence. Whether values are finite is looked up in the first row of the last matrix too: a ReLU stops
    a NaN on its way back, and what comes out of the layers before reaches that row.

    On a CPU a beat is a number at once; elsewhere it stays a tensor until a row is written, so that no step waits.
    Where a ``GradScaler`` takes the step, its scale is undone.
    """

    def __init__(self, weights: WeightProbe, guard: Guard):
        self._weights = weights
        self._guard = guard
        self._vector: Tensor | None = None
        self._matrix: Tensor | None = None
        self._handle: Any = None
        self._raw: Tensor | None = None
        self._last_raw: Tensor | None = None
        self._version = 0
        self._scaled = False
        self._beats: list[tuple[int, float | Tensor]] = []
        self._was_bad = False
        self._now = math.nan

    @property
    def at_once(self) -> bool:
        """Whether a beat is known at its step, which may then be looked into (also where no vector is chosen yet)."""
        return self._vector is None or self._vector.device.type == "cpu"

    def beat(self, step: int, scale: Tensor | None = None) -> bool:
        """Take the norm of this step, whose loss was multiplied by ``scale``.

        Returns:
            Whether it is the first that is not finite; ``False`` where that is not known :attr:`at_once`.
        """
        self._scaled = scale is not None
        if self._vector is None:
            self._choose()
        if self._vector is None or self._vector.grad is None:
            self._last_raw = None
            return False
        self._last_raw, self._raw = self._raw, None
        if self._last_raw is not None and scale is not None:
            self._last_raw = self._last_raw / scale.to(self._last_raw.device)
        raw = self._seen(self._vector) if self._last_raw is None else self._last_raw
        other = None if self._matrix is None or self._matrix.grad is None else self._matrix.grad[0]
        if other is not None:
            other = other.sum(dtype=torch.float32) if other.dtype in (torch.float16, torch.bfloat16) else other.sum()
        if not self.at_once:
            value = raw if other is None else torch.add(raw, other.to(raw.device), alpha=0)  # itself, or not finite
            self._beats.append((step, value.detach()))
            return False
        number = raw.item()
        if other is not None and not math.isfinite(other.item()):
            number = math.nan
        self._beats.append((step, number))
        bad = not math.isfinite(number)
        first, self._was_bad = bad and not self._was_bad, bad
        return first

    def enlargement(self) -> Tensor | None:
        """The norm as it came / as it is now, ``[]``: what undoes clipping and scaling; ``None``: not known."""
        if self._vector is None or self._vector.grad is None or self._last_raw is None:
            return None
        return self._last_raw / norm_of(self._vector)

    def measure(self) -> None:
        """Take the norm that the optimizer is about to see."""
        there = self._vector is not None and self._vector.grad is not None
        self._now = self._seen(self._vector).item() if there and self._vector is not None else math.nan

    def thrown_away(self, came: bool) -> bool:
        """Whether gradients came and are gone without a step (a loss scaler skipped it).

        They are gone where there are none any more, or where they were written to since and are exactly 0.

        Args:
            came: whether there were any, asked in the first step, before a parameter is chosen that tells.
        """
        if self._vector is None:
            return came and all(p.grad is None for p in self._weights.named.values())
        if self._raw is None:
            return False
        gradient = self._vector.grad
        gone = gradient is None or (gradient._version != self._version and norm_of(self._vector).item() == 0)
        if gone:
            self._raw = None
        return gone

    def read(self, grad_norm: float) -> dict[str, Any]:
        """``unclipped`` norm of the whole gradient, and the ``pulse`` since the last row.

        The pulse holds the ``median`` of the finite beats, the largest and its step, how many ``steps``, how many
        ``bad`` ones, and the ``last`` beat before the first bad one.
        """
        if not self._beats:
            return {}
        pulse, latest = self._taken()
        row: dict[str, Any] = {"pulse": pulse}
        if self._now > 0 and math.isfinite(self._now) and math.isfinite(latest):
            row["unclipped"] = short(grad_norm * latest / self._now)
        return row

    def rest(self) -> dict[str, Any]:
        """The ``pulse`` since the last row where no probe follows; empty if there was no beat.

        It is ``broken`` if it ends in values that are not finite, but for a single step that a loss scaler skips.
        """
        if not self._beats:
            return {}
        pulse, latest = self._taken()
        return {"pulse": pulse, "broken": not math.isfinite(latest) and (pulse["bad"] > 1 or not self._scaled)}

    def _taken(self) -> tuple[dict[str, Any], float]:
        """The pulse of all beats, and the latest of them; forgets them."""
        steps = [step for step, _ in self._beats]
        values = self._numbers()
        self._beats = []
        finite = [x for x in values if math.isfinite(x)]
        worst = max(range(len(values)), key=lambda i: values[i] if math.isfinite(values[i]) else math.inf)
        pulse = {
            "median": short(statistics.median(finite)) if finite else None,
            "max": short(values[worst]),
            "at": steps[worst],
            "steps": len(values),
            "bad": len(values) - len(finite),
            "last": short(_last_before_bad(values)),
        }
        return pulse, values[-1]

    def forget(self) -> None:
        """Drop what further evaluations within a step left behind."""
        self._raw = None

    def stop(self) -> None:
        """Take the hook off."""
        if self._handle is not None:
            self._handle.remove()

    def _numbers(self) -> list[float]:
        tensors = [value for _, value in self._beats if isinstance(value, Tensor)]
        read = iter(torch.stack(tensors).tolist() if tensors else ())
        return [next(read) if isinstance(value, Tensor) else value for _, value in self._beats]

    def _choose(self) -> None:
        there = [p for p in self._weights.named.values() if p.grad is not None and p.is_floating_point() and p.numel()]
        vectors = [p for p in there if p.ndim == 1 and p.numel() > 1]
        matrices = [p for p in there if p.ndim > 1 and p.grad is not None and not p.grad.is_sparse]
        self._vector = next(iter(vectors or sorted(there, key=Tensor.numel)), None)
        self._matrix = matrices[-1] if matrices else None
        if self._vector is not None and self._vector.requires_grad:
            hook = self._guard.hook("the pulse between probes", self._accumulated)
            self._handle = self._vector.register_post_accumulate_grad_hook(hook)

    def _accumulated(self, parameter: Tensor) -> None:
        self._raw = norm_of(parameter)
        self._version = 0 if parameter.grad is None else parameter.grad._version

    def _seen(self, vector: Tensor) -> Tensor:
        """The norm that the optimizer takes: a fused one divides by the scale itself."""
        norm, scale = norm_of(vector), getattr(self._weights.optimizer, "grad_scale", None)
        return norm if scale is None else norm / torch.as_tensor(scale, device=norm.device)


def norm_of(parameter: Tensor) -> Tensor:
    """The norm of a parameter's gradient, ``float32 []``."""
    gradient = parameter.grad
    assert gradient is not None  # it was accumulated, or looked for
    gradient = dense(gradient.detach() if gradient.requires_grad else gradient)
    return torch.linalg.vector_norm(gradient if gradient.dtype == torch.float32 else gradient.float())


def _last_before_bad(values: list[float]) -> float | None:
    """
    >>> _last_before_bad([1.0, 5.0, math.nan, 2.0]), _last_before_bad([math.nan]), _last_before_bad([1.0, 2.0])
    (5.0, None, 2.0)
    """
    last = None
    for value in values:
        if not math.isfinite(value):
            break
        last = value
    return last
