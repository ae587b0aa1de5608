"""What a live picture keeps of the rows of ``probes.jsonl``: the latest one, and the course of a few numbers.

A row is looked at once, when it comes; what is kept does not grow with the run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = Mapping[str, Any]

TRANSFORMING = ("linear", "conv", "recurrent", "attention", "embedding", "other")
"""Kinds of layers that have a bar; norms and activations stand beside one of them."""


class Found(Protocol):
    """A finding, as :class:`lucida.training.findings.Finding` has it."""

    @property
    def name(self) -> str: ...
    @property
    def layer(self) -> str | None: ...
    @property
    def since_step(self) -> int: ...
    @property
    def evidence(self) -> str: ...
    @property
    def remedy(self) -> str: ...


class Noise(Protocol):
    """A noise scale in examples, as :class:`lucida.training.noise.NoiseScale` has it."""

    @property
    def examples(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def batch(self) -> float: ...


class Judged(Protocol):
    """What was concluded from the rows up to step ``last``, as :class:`lucida.training.findings.Diagnosis` has it."""

    @property
    def findings(self) -> Sequence[Found]: ...
    @property
    def healthy(self) -> bool | None: ...
    @property
    def last(self) -> int: ...
    @property
    def noise_scale(self) -> Noise | None: ...


@dataclass
class _Piece:
    total: float = 0.0
    known: int = 0
    bad: bool = False

    def add(self, other: _Piece) -> None:
        self.total += other.total
        self.known += other.known
        self.bad |= other.bad

    def value(self) -> float | None:
        return math.nan if self.bad else self.total / self.known if self.known else None


class Course:
    """The course of one number in at most ``limit`` pieces, which grow with the run: each is the mean of its values.

    >>> course = Course(limit=4)
    >>> for value in range(9): course.add(float(value))
    >>> course.values(10), course.values(2), course.first, course.last
    ([1.5, 5.5, 8.0], [1.5, 6.0], 0.0, 8.0)
    """

    def __init__(self, limit: int = 256):
        self.limit, self.first, self.last = limit, None, None
        self._size, self._inside = 1, 0
        self._pieces: list[_Piece] = []

    first: float | None
    last: float | None

    def add(self, value: float | None) -> None:
        """The next value; ``None``: it was not recorded, NaN or infinity: it is not finite."""
        finite = value is not None and math.isfinite(value)
        one = _Piece(value if finite and value is not None else 0.0, int(finite), value is not None and not finite)
        self.first = value if self.first is None else self.first
        self.last = value if value is not None else self.last
        if self._inside % self._size == 0:
            if len(self._pieces) == self.limit:
                self._pieces = _merged(self._pieces, self.limit // 2)
                self._size *= 2
            self._pieces.append(_Piece())
            self._inside = 0
        self._inside += 1
        self._pieces[-1].add(one)

    def values(self, width: int) -> list[float | None]:
        """At most ``width`` values, the first of the run first."""
        return [piece.value() for piece in _merged(self._pieces, min(max(1, width), len(self._pieces)))]


def _merged(pieces: list[_Piece], count: int) -> list[_Piece]:
    merged = []
    for k in range(count):
        piece = _Piece()
        for one in pieces[k * len(pieces) // count : (k + 1) * len(pieces) // count]:
            piece.add(one)
        merged.append(piece)
    return merged


@dataclass
class Stage:
    """What is drawn of one watched part of a run.

    Attributes:
        name: the stage, ``"."`` for a run of one part.
        judged: the latest verdict of the rules, if there is one.
        note: what else is to be said of it (it goes on after a restart).
        header: the latest row about the model; latest: the latest probed step; probes: how many there were.
        measured: the latest one whose layers were measured; one that broke off between two probes has none.
        loss, gradient, update: courses of the loss, the gradient's norm, and the median over matrices of
            update / weight.
        pictures: the latest row that measured the loss with other pictures.
        scalars: the first value of each trainable parameter of one element.
        left_out: parts that are no longer watched; error: the row of the error that ended the run.
    """

    name: str
    judged: Judged | None = None
    note: str = ""
    header: Row = field(default_factory=dict)
    latest: Row | None = None
    measured: Row | None = None
    probes: int = 0
    loss: Course = field(default_factory=Course)
    gradient: Course = field(default_factory=Course)
    update: Course = field(default_factory=Course)
    pictures: Row | None = None
    scalars: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    error: Row | None = None

    def add(self, row: Row) -> None:
        """Look at the next row."""
        kind = row.get("kind")
        if kind == "model":
            self.header = row
        elif kind == "left out":
            self.left_out.append(str(row.get("part") or "the model"))
        elif kind == "error":
            self.error = row
        elif kind == "probe":
            self._probe(row)

    def _probe(self, row: Row) -> None:
        self.latest, self.error = row, None  # an error of a step before it was overcome
        self.probes += 1
        self.loss.add(loss_of(row))
        self.gradient.add(number(row, "grad_norm"))
        ratios = updates(row, self.header)
        self.update.add(statistics.median(ratios.values()) if ratios else math.nan if "bad" in row else None)
        self.measured = row if row["layers"] or self.measured is None else self.measured
        if row.get("pictures"):
            self.pictures = row
        for name, value in row.get("scalars", {}).items():
            self.scalars.setdefault(name, value)

    @property
    def kinds(self) -> dict[str, str]:
        """What each layer is to the rules (``"linear"``, …)."""
        return {name: label.partition(": ")[0] for name, label in self.header.get("layers", {}).items()}


def stage_of(name: str, rows: Iterable[Row], judged: Judged | None = None) -> Stage:
    """The stage with all of its rows.

    >>> stage_of("mine", [{"kind": "probe", "step": 1, "loss": 2.0, "layers": {}, "parameters": {}}]).loss.last
    2.0
    """
    stage = Stage(name, judged)
    for row in rows:
        stage.add(row)
    return stage


def number(row: Row, key: str) -> float | None:
    """A number of a row; NaN where it was not finite (``null`` in the file), ``None`` where there is none.

    >>> number({"x": 1}, "x"), number({"x": None}, "x"), number({}, "x")
    (1.0, nan, None)
    """
    if key not in row:
        return None
    value = row[key]
    return math.nan if value is None else float(value) if isinstance(value, int | float) else None


def loss_of(row: Row) -> float | None:
    """The loss of the step; where the loop noted none, the one that its trainer logged last."""
    return number(row, "loss") if "loss" in row else number(row, "logged_loss")


def updates(row: Row, header: Row) -> dict[str, float]:
    """update / weight of each matrix of the model."""
    found = {}
    for name, about in header.get("parameters", {}).items():
        _, weight, update, *_ = row["parameters"].get(name) or (None, None, None)
        if len(about.get("shape", ())) > 1 and weight and update is not None:
            found[name] = update / weight
    return found


def gradients(stage: Stage) -> tuple[str, dict[str, float | None]]:
    """``("layer", {name: norm of the gradient at its output})`` when last measured, in the order in which they ran.

    Of models that take no hooks it is ``"parameter"``, with the norms of their gradients.
    """
    row, kinds = stage.measured or {}, stage.kinds
    layers = {n: x for n, x in row.get("layers", {}).items() if kinds.get(n) in TRANSFORMING}
    if layers:
        return "layer", {name: number(layer, "grad") for name, layer in layers.items()}
    missing = math.nan if "bad" in row else None  # both are null in the file
    numbers = row.get("parameters", {}).items()
    return "parameter", {name: missing if one[0] is None else one[0] for name, one in numbers if one}


def dead(stage: Stage) -> dict[str, tuple[float, int]]:
    """``{layer: (share of units that were silent in every row, how many rows)}``, where units can be silent.

    Before a ReLU that is called as a function, a unit is silent where it is never above 0 and its bias has no gradient.
    """
    row, kinds, found = stage.measured or {}, stage.kinds, {}
    for name, layer in row.get("layers", {}).items():
        if layer.get("bad"):
            continue  # a NaN is neither silent nor not
        bias = row["parameters"].get(f"{name}.bias") or []
        silent = bias[3] if len(bias) > 3 else None
        if kinds.get(name) == "activation" and layer.get("silent") is not None:
            found[name] = (float(layer["silent"]), int(layer.get("rows", 0)))
        elif kinds.get(name) in ("linear", "conv") and silent is not None and layer.get("negative") is not None:
            found[name] = (min(float(silent), float(layer["negative"])), int(layer.get("rows", 0)))
    return found
