"""``watch(model, optimizer)``: hooks on for a probed step, off again behind it, a row of numbers for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.core.results import json_values
from lucida.core.run_folder import append_jsonl
from lucida.training.findings import PROBES
from lucida.training.probes.activations import ActivationProbe
from lucida.training.probes.attention import AttentionProbe
from lucida.training.probes.guard import WHOLE, Guard
from lucida.training.probes.inputs import INPUTS, InputProbe, Pictures
from lucida.training.probes.latest import Latest
from lucida.training.probes.pairs import GradientPair
from lucida.training.probes.parts import Parts, without_shape
from lucida.training.probes.pulse import Pulse
from lucida.training.probes.rows import of_parameters, prepare, refuse_reserved
from lucida.training.probes.sampling import short
from lucida.training.probes.scaling import loss_scale
from lucida.training.probes.weights import WeightProbe

LATEST = "the latest batch"
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

    A step is a call of ``optimizer.step()``, whatever number of forward and backward passes came before it; of one with
    a closure, the first evaluation is looked at. The first step is probed, then every step whose number ``every``
    divides.

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
        LucidaError: ``every`` is below 1, the optimizer holds nothing, nothing matches ``expected``, or a lazy module
            has no parameters yet. Once the training runs, nothing is raised: what cannot be watched is told by a
            :class:`~lucida.training.probes.guard.ProbeWarning` and left out.
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
        if lazy := without_shape(model):
            remedy = "pass one batch through the model before it is watched"
            raise LucidaError("a parameter has no shape yet", where=f"watch, {lazy[0]}", remedy=remedy)
        self.model, self.optimizer, self.every, self.done = model, optimizer, every, start
        self.path = None if folder is None else Path(folder) / PROBES
        self.rows: list[dict[str, Any]] = []
        self._guard = Guard(lambda: self.done + 1)
        self.inputs = InputProbe(model, pictures, self._guard)
        self._look_at_parts()
        expected = (expected,) if isinstance(expected, str) else expected
        self.expected = [name for name, _ in model.named_parameters() if any(fnmatchcase(name, x) for x in expected)]
        if expected and not self.expected:
            raise LucidaError(f"no parameter matches {' or '.join(expected)}", where="watch, expected")
        self._ever_training = False
        self._handles: list[Any] = []
        self._noted: dict[str, float] = {}
        self._half: dict[str, Any] | None = None
        self._attached = False
        self._latest = Latest()
        self._evaluations = 0
        self._steps_seen = 0
        self._closed = False

    def _look_at_parts(self) -> None:
        """Probes for the modules and parameters as they are now."""
        self.weights, self.gradients = WeightProbe(self.model, self.optimizer), GradientPair()
        self.activations = ActivationProbe(self.model, self._guard)
        self.attention = AttentionProbe(self.model, self._guard)
        self._pulse = Pulse(self.weights, self._guard)
        self._parts = Parts(self.model, self.optimizer)

    def note(self, **numbers: float) -> None:
        """Numbers of the loop's own for the next row; a ``loss`` stands there in place of the one the model returns.

        Raises:
            LucidaError: a name is one that the rows use themselves.
        """
        refuse_reserved(numbers)
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
            prepare(self.path, self.done)
        if not self.done or (self.path is not None and not self.path.stat().st_size):
            self._write({"kind": "model", "step": self.done} | self._header())
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        self._handles += self._guard.value(LATEST, self._attach_latest, [])
        self._guard.value(WHOLE, self._begin, None)
        return self

    def _attach_latest(self) -> list[Any]:
        return [
            self.model.register_forward_pre_hook(self._guard.hook(LATEST, self._before_forward)),
            self.model.register_forward_hook(self._guard.hook(LATEST, self._after_forward), with_kwargs=True),
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._guard.value(WHOLE, partial(self._last_words, error), None)
        elif self._latest.examples and not self._steps_seen:
            missing = "the model ran, but no call of optimizer.step() was seen: another optimizer, or a compiled step"
            self._guard.leave_out(WHOLE, RuntimeError(missing))
        self._guard.value(WHOLE, self._write_rest, None)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._pulse.stop()
        self._detach()
        with suppress(OSError):  # it has been told, if it was the disk that failed
            self._write_failures()

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

    def _looks(self, step: int) -> bool:
        return step == 1 or step % (self.every * LOOKS_EVERY) == 0

    def _active(self) -> bool:
        """Whether a forward pass is one of training, and the first of a step that makes several evaluations."""
        if self._evaluations or not torch.is_grad_enabled():
            return False
        return self.model.training or not self._ever_training

    def _begin(self) -> None:
        if self._probed(self.done + 1) and not self._attached:
            self._look_again()
            self._attached = True
            self.activations.attach(self._active)
            self.attention.attach(self._active)
            self.inputs.attach(self._active, look=self._looks(self.done + 1))

    def _detach(self) -> None:
        for probe in (self.activations, self.attention, self.inputs):
            probe.detach()
        self._attached = False

    def _look_again(self) -> None:
        """Parts that were put in, replaced or unfrozen since the last look are measured from here on."""
        if not self._parts.changed():
            return
        replaced = self._parts.replaced()
        self._write_rest()  # the next beats may be of another parameter
        self._pulse.stop()
        self._detach()
        self._look_at_parts()
        self._write({"kind": "model", "step": self.done, "replaced": replaced} | self._header())

    def _before_forward(self, module: nn.Module, args: Any) -> None:
        """Forget what came before, if its gradients were thrown away: a loss scaler skips steps, and calls no hook."""
        if self._latest.examples and self._active() and self._pulse.thrown_away(self.activations.graded):
            self._latest.forget()
            for probe in (self.activations, self.attention, self.inputs):
                probe.forget()

    def _after_forward(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._active():
            self._latest.add(args, kwargs, output, keep=self._attached or self._pulse.at_once)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Measure; of a step with a closure, behind its first evaluation, at the weights before the step."""
        if torch.compiler.is_compiling() or self._guard.ended:
            return None
        self._evaluations, self._closed = 0, False
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            self._guard.value(WHOLE, self._before_update, None)
            return None
        watched = partial(self._evaluated, closure)
        self._closed = True
        if "closure" in kwargs:
            return args, {**kwargs, "closure": watched}
        return (args[0], watched, *args[2:]), kwargs

    def _evaluated(self, closure: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = closure(*args, **kwargs)
        self._evaluations += 1
        if self._evaluations == 1:
            self._guard.value(WHOLE, self._before_update, None)
        return result

    @torch.no_grad()
    def _before_update(self) -> None:
        step = self.done + 1
        self._ever_training |= self.model.training
        if self._attached:  # what was replaced since then took part in this step's gradients
            self._look_again()
            self._attached = True
        broken = self._pulse.beat(step, loss_scale())
        gradients = self.weights.gradients() if self._attached or broken or self._probed(step + 1) else {}
        enlargement = self._pulse.enlargement() if gradients else None
        if self._attached or broken:
            pair = self.gradients.compare(gradients, self._latest.examples, enlargement)
            self._half = self._measured(gradients) | pair
        if self._probed(step + 1):
            self.gradients.remember(gradients, self._latest.examples, enlargement)

    def _after_step(self, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._steps_seen += 1
        if self._guard.ended:
            self._latest.forget()
            if self._attached:
                self._detach()
            return
        self._guard.value(WHOLE, self._after_update, None)

    def _after_update(self) -> None:
        if self._half is not None:
            row = self._row(self._half, self.weights.after())
            self._half = None
            self._write(row)
        self._write_failures()
        self._latest.forget()
        self._pulse.forget()
        if self._attached:
            self._detach()
        self.done += 1
        self._evaluations, self._closed = 0, False
        self._begin()

    def _row(
        self, half: dict[str, Any], after: Mapping[str, tuple[float, float | None]], *, unfinished: bool = False
    ) -> dict[str, Any]:
        step = self.done + 1
        look = not unfinished and self._looks(step)
        none: dict[str, Any] = {}
        row = {
            "kind": "probe",
            "step": step,
            "rates": [float(group["lr"]) for group in self.optimizer.param_groups],
            "grad_norm": short(half["grad_norm"]),
            "cosine": short(half.get("cosine")),
            **self._pulse.read(half["grad_norm"]),
            "layers": self._guard.value("the layers", self.activations.read, none),
            "parameters": of_parameters(half, after),
            "scalars": self.weights.scalars(),
            "attention": {n: short(x) for n, x in self._guard.value("attention", self.attention.read, none).items()},
            **self._guard.value(INPUTS, partial(self.inputs.read, look=look), none),
            **self._noted,
        }
        self._noted = {}
        calls = self.activations.take_calls()
        for name, layer in row["layers"].items():
            layer["calls"] = calls.get(name, 0)
        row["idle"] = [name for name in calls if name not in row["layers"]]  # ran, but never with gradients on
        if self._closed:
            row["evaluations"] = self._evaluations
        if "noise" in half:
            row["noise"] = {key: short(x) for key, x in half["noise"].items()}
        if "bad" in half:
            row["bad"] = half["bad"]
        if unfinished:
            row["unfinished"] = True
        return row

    def _measured(self, gradients: dict[str, Tensor]) -> dict[str, Any]:
        half = self.weights.before(gradients)
        self._pulse.measure()
        if not all(math.isfinite(x) for x in half["gradients"].values()):
            half["bad"] = self.weights.bad(half["gradients"]) | self._latest.bad()
        return half

    def _last_words(self, error: Exception) -> None:
        """The step that an error ended, as far as it came: what was wrong may be in its gradients."""
        gradients = self.weights.gradients()
        broken = any(not bool(g.isfinite().all()) for g in gradients.values() if g.is_floating_point())
        if broken or self._attached:
            half = self._half or self._measured(gradients)
            self._write(self._row(half, self.weights.standing(), unfinished=True))
        row = {"kind": "error", "step": self.done + 1, "error": type(error).__name__, "message": str(error)[:300]}
        self._write(row | {"pulse": self._pulse.read(math.nan).get("pulse")})

    def _write_rest(self) -> None:
        """The beats that no probe has taken, in a row of their own."""
        if rest := self._pulse.rest():
            self._write({"kind": "pulse", "step": self.done} | rest)

    def _write(self, row: dict[str, Any]) -> None:
        if self.path is None:
            self.rows.append(json_values(row))
        else:
            append_jsonl(self.path, row)

    def _write_failures(self) -> None:
        for row in self._guard.take_rows():
            self._write(row)
