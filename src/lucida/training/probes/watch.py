"""``watch(model, optimizer)``: hooks on for a probed step, off again behind it, a row of numbers for each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.core.results import json_values
from lucida.core.run_folder import append_jsonl
from lucida.training.probes.activations import ActivationProbe
from lucida.training.probes.attention import AttentionProbe
from lucida.training.probes.inputs import InputProbe, Pictures
from lucida.training.probes.sampling import rounded
from lucida.training.probes.weights import WeightProbe, dense
from lucida.training.progress import truncate_metrics

PROBES = "probes.jsonl"
LOOKS_EVERY = 10
"""Of the probed steps, every tenth asks whether the pictures matter: that is two forward passes."""


def watch(
    model: nn.Module,
    optimizer: Any,
    *,
    every: int = 10,
    folder: str | Path | None = None,
    start: int = 0,
    pictures: Pictures | None = None,
    expected: Sequence[str] = (),
) -> Watch:
    """Watch a training loop: ``with watch(model, optimizer, folder="runs/mine"): …``.

    A step is a call of ``optimizer.step()``, whatever number of forward and backward passes came before it. The first
    step is probed, then every step whose number ``every`` divides.

    Args:
        model: any module; forward passes without gradients, or in evaluation mode where steps are taken in training
            mode, are validation and are not looked at.
        optimizer: any ``torch.optim.Optimizer``, or accelerate's wrapper of one.
        every: steps from one probe to the next.
        folder: rows are appended to ``probes.jsonl`` there (an old one is replaced, unless ``start`` says that the run
            goes on); by default they stay in memory, as ``rows``.
        start: steps done before, in a run that was resumed; later rows of the file are removed.
        pictures: for multimodal models: the name of the keyword argument that holds the pictures, or a function that
            returns the loss with the own and with other pictures (see
            :class:`~lucida.training.probes.inputs.InputProbe`).
        expected: patterns of parameters that are meant to be trained (``"vision_tower.*"``). Parameters without
            ``requires_grad`` are taken for frozen on purpose unless they are named here.

    Returns:
        The watch; its hooks are on between entering and leaving it.

    Raises:
        LucidaError: ``every`` is below 1, the optimizer holds nothing, or nothing matches ``expected``.
    """
    return Watch(model, optimizer, every=every, folder=folder, start=start, pictures=pictures, expected=expected)


class Watch:
    """A watched training loop; see :func:`watch`. ``rows`` are plain JSON values."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        every: int = 10,
        folder: str | Path | None = None,
        start: int = 0,
        pictures: Pictures | None = None,
        expected: Sequence[str] = (),
    ):
        while isinstance(getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
            optimizer = optimizer.optimizer  # accelerate's wrapper is an Optimizer too, without hooks of its own
        if every < 1:
            raise LucidaError(f"probes every {every} steps", where="every", remedy="use 1 or more")
        if not isinstance(optimizer, torch.optim.Optimizer) or not any(g["params"] for g in optimizer.param_groups):
            raise LucidaError("the optimizer holds no parameters", where="watch")
        self.model, self.optimizer, self.every, self.done = model, optimizer, every, start
        self.path = None if folder is None else Path(folder) / PROBES
        self.rows: list[dict[str, Any]] = []
        self.weights = WeightProbe(model, optimizer)
        self.activations, self.attention = ActivationProbe(model), AttentionProbe(model)
        self.inputs = InputProbe(model, pictures)
        expected = (expected,) if isinstance(expected, str) else expected
        self.expected = [name for name, _ in model.named_parameters() if any(fnmatchcase(name, x) for x in expected)]
        if expected and not self.expected:
            raise LucidaError(f"no parameter matches {' or '.join(expected)}", where="watch, expected")
        self._ever_training = False
        self._handles: list[Any] = []
        self._pulse = Pulse(self.weights)
        self._noted: dict[str, float] = {}
        self._half: dict[str, Any] | None = None
        self._attached = False
        self._latest: tuple[Any, Any, Any] | None = None

    def note(self, **numbers: float) -> None:
        """Numbers of the loop's own (``loss=...``) for the next row."""
        self._noted |= numbers

    def findings(self) -> list[Any]:
        """What :func:`lucida.training.findings.find` concludes from the rows so far.

        Raises:
            LucidaError: nothing was probed: an empty list would pass for health.
        """
        from lucida.training.findings import find, read_rows

        rows = self.rows if self.path is None else read_rows(self.path)
        if not any(row["kind"] in ("probe", "error") for row in rows):
            raise LucidaError("no step was probed", where="watch", remedy="train inside `with watch(...):`")
        return find(rows)

    def __enter__(self) -> Watch:
        if self._handles:
            raise LucidaError("the watch is on already", where="watch", remedy="enter it once")
        if self.path is not None:
            self._prepare(self.path)
        if not self.done or (self.path is not None and not self.path.stat().st_size):
            self._write({"kind": "model", "step": self.done} | self._header())
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
            self.model.register_forward_hook(self._keep_latest, with_kwargs=True),
        ]
        self._begin()
        return self

    def _prepare(self, path: Path) -> None:
        """A folder that can be written, without rows of the steps to come."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.done:
                truncate_metrics(path, self.done)
            else:
                path.unlink(missing_ok=True)
            path.touch()
        except OSError as error:
            raise LucidaError(f"cannot write the probes: {error.strerror}", where=path) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._last_words(error)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._pulse.stop()
        self._detach()

    def _header(self) -> dict[str, Any]:
        return {
            "model": type(self.model).__name__,
            "optimizer": type(self.optimizer).__name__,
            "every": self.every,
            "layers": self.activations.header(),
            "parameters": self.weights.header(),
            "expected": self.expected,
            "pictures": self.inputs.pictures is not None,
        }

    def _probed(self, step: int) -> bool:
        return step == 1 or step % self.every == 0

    def _active(self) -> bool:
        """Whether a forward pass is one of training."""
        return torch.is_grad_enabled() and (self.model.training or not self._ever_training)

    def _begin(self) -> None:
        if self._probed(self.done + 1) and not self._attached:
            for probe in (self.activations, self.attention, self.inputs):
                probe.attach(self._active)
            self._attached = True

    def _detach(self) -> None:
        for probe in (self.activations, self.attention, self.inputs):
            probe.detach()
        self._attached = False

    def _keep_latest(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._latest = (args, kwargs, output.detach() if isinstance(output, Tensor) else None)

    def _before_step(self, *_: Any) -> None:
        step = self.done + 1
        self._ever_training |= self.model.training
        broken = self._pulse.beat(step)
        if self._attached or broken:
            self._half = self._measured()
        if self._probed(step + 1):
            self.weights.remember()

    def _after_step(self, *_: Any) -> None:
        if self._half is not None:
            row = self._row(self._half, self.weights.after())
            self._half = None
            self._write(row)
        self._latest = None
        if self._attached:
            self._detach()
        self.done += 1
        self._begin()

    def _row(self, half: dict[str, Any], after: dict[str, tuple[float, float]]) -> dict[str, Any]:
        step = self.done + 1
        numbers: dict[str, list[float | None]] = {}
        for name in {**after, **half["gradients"]}:
            weight, update = after.get(name, (None, None))
            entry = (half["gradients"].get(name), weight, update, half["silent"].get(name))
            numbers[name] = [_short(x) for x in entry]
        row = {
            "kind": "probe",
            "step": step,
            "rates": [float(group["lr"]) for group in self.optimizer.param_groups],
            **self._noted,
            "grad_norm": _short(half["grad_norm"]),
            "cosine": _short(half["cosine"]),
            **self._pulse.read(half["grad_norm"]),
            "layers": self.activations.read(),
            "parameters": numbers,
            "scalars": self.weights.scalars(),
            "attention": {name: _short(x) for name, x in self.attention.read().items()},
            **self.inputs.read(look=bool(after) and (step == 1 or step % (self.every * LOOKS_EVERY) == 0)),
        }
        calls = self.activations.take_calls()
        for name, layer in row["layers"].items():
            layer["calls"] = calls.get(name, 0)
        row["idle"] = [name for name in calls if name not in row["layers"]]  # ran, but never with gradients on
        if "bad" in half:
            row["bad"] = half["bad"]
        return row

    def _measured(self) -> dict[str, Any]:
        half = self.weights.before()
        self._pulse.measure()
        if not all(math.isfinite(x) for x in half["gradients"].values()):
            half["bad"] = self._what_is_bad(half["gradients"])
        return half

    def _what_is_bad(self, gradients: dict[str, float]) -> dict[str, Any]:
        """Where non-finite values are, before the optimizer spreads them."""
        weights = [n for n, p in self.weights.named.items() if p.is_floating_point() and not p.isfinite().all()]
        found: dict[str, Any] = {
            "gradients": sum(not math.isfinite(x) for x in gradients.values()),
            "of": len(gradients),
            "weights": weights,
        }
        args, kwargs, output = self._latest or ((), {}, None)
        named = {f"input {k}": x for k, x in enumerate(args)} | {f"input {k}": x for k, x in kwargs.items()}
        for name, tensor in [*named.items(), ("output", output)]:
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim > 0:
                rows = (~tensor.detach().isfinite()).reshape(len(tensor), -1).any(dim=1)
                if rows.any():
                    found["examples"] = {"where": name, "bad": rows.nonzero()[:8, 0].tolist(), "of": len(tensor)}
                    break
        return found

    def _last_words(self, error: Exception) -> None:
        """The step that an error ended, as far as it came: what was wrong may be in its gradients."""
        gradients = self.weights.gradients()
        broken = any(not bool(g.isfinite().all()) for g in gradients.values() if g.is_floating_point())
        if broken or self._attached:
            self._write(self._row(self._half or self._measured(), {}) | {"unfinished": True})
        self._write(
            {"kind": "error", "step": self.done + 1, "error": type(error).__name__, "message": str(error)[:300]}
        )

    def _write(self, row: dict[str, Any]) -> None:
        if self.path is None:
            self.rows.append(json_values(row))
        else:
            append_jsonl(self.path, row)


class Pulse:
    """The norm of one small gradient at every step, before any clipping: leaps between probes, and the first bad step.

    The first vector among the parameters that received a gradient stands for all: in recurrent nets the first bias lies
    within the recurrence. Whether values are finite is looked up in the first row of the last matrix too: a ReLU stops
    a NaN on its way back, and what comes out of the layers before reaches that row.
    """

    def __init__(self, weights: WeightProbe):
        self._weights = weights
        self._vector: Tensor | None = None
        self._matrix: Tensor | None = None
        self._handle: Any = None
        self._raw: Tensor | None = None
        self._beats: list[tuple[int, Tensor]] = []
        self._was_bad = False
        self._now = math.nan

    def beat(self, step: int) -> bool:
        """Take the norm of this step; whether it is the first that is not finite (looked at on a CPU only)."""
        if self._vector is None:
            self._choose()
        if self._vector is None or self._vector.grad is None:
            return False
        raw = self._norm(self._vector) if self._raw is None else self._raw
        self._raw = None
        if self._matrix is not None and self._matrix.grad is not None:
            raw = torch.add(raw, self._matrix.grad[0].sum(), alpha=0)  # as it was, or not finite
        self._beats.append((step, raw))
        if raw.device.type != "cpu":
            return False
        bad = not math.isfinite(raw.item())
        first, self._was_bad = bad and not self._was_bad, bad
        return first

    def measure(self) -> None:
        """Take the norm that the optimizer is about to see."""
        there = self._vector is not None and self._vector.grad is not None
        self._now = self._norm(self._vector).item() if there and self._vector is not None else math.nan

    def read(self, grad_norm: float) -> dict[str, Any]:
        """``unclipped`` norm of the whole gradient, and the ``pulse`` since the last row: median, largest, its step."""
        if not self._beats:
            return {}
        steps = [step for step, _ in self._beats]
        values = torch.stack([value for _, value in self._beats]).tolist()
        now, self._beats = self._now, []
        finite = [x for x in values if math.isfinite(x)]
        worst = max(range(len(values)), key=lambda i: values[i] if math.isfinite(values[i]) else math.inf)
        row: dict[str, Any] = {
            "pulse": {
                "median": _short(statistics.median(finite)) if finite else None,
                "max": _short(values[worst]),
                "at": steps[worst],
                "steps": len(values),
                "bad": len(values) - len(finite),
            }
        }
        if now > 0 and math.isfinite(now) and math.isfinite(values[-1]):
            row["unclipped"] = _short(grad_norm * values[-1] / now)
        return row

    def stop(self) -> None:
        """Take the hook off."""
        if self._handle is not None:
            self._handle.remove()

    def _choose(self) -> None:
        there = [p for p in self._weights.named.values() if p.grad is not None and p.is_floating_point()]
        vectors = [p for p in there if p.ndim == 1 and p.numel() > 1]
        matrices = [p for p in there if p.ndim > 1 and p.grad is not None and not p.grad.is_sparse]
        self._vector = next(iter(vectors or sorted(there, key=Tensor.numel)), None)
        self._matrix = matrices[-1] if matrices else None
        if self._vector is not None and self._vector.requires_grad:
            self._handle = self._vector.register_post_accumulate_grad_hook(self._accumulated)

    def _accumulated(self, parameter: Tensor) -> None:
        self._raw = self._norm(parameter)

    @staticmethod
    def _norm(parameter: Tensor) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None  # it was accumulated, or looked for
        return torch.linalg.vector_norm(dense(gradient.detach()).float())


def _short(number: float | None) -> float | None:
    return rounded(number) if number is not None and math.isfinite(number) else number
