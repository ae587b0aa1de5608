"""What probes say about a run: findings, by rules over recorded rows alone. No model is needed.

:func:`find` reads the rows of ``probes.jsonl`` (see :mod:`lucida.training.probes`); the rules and their thresholds are
in :mod:`lucida.training.rules`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucida.core.errors import LucidaError

if TYPE_CHECKING:
    from lucida.training.noise import NoiseScale

Row = Mapping[str, Any]

PROBES = "probes.jsonl"
"""The file of the rows; it stands here, where no model is needed, since reading one must not load PyTorch."""

ENOUGH = 3
"""Probed steps in a row that must show a fault before it is one; with fewer, most rules cannot judge."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a run.

    Attributes:
        name: of the fault, a key of :data:`lucida.training.remedies.REMEDIES`.
        layer: the layer or parameter it shows in most; ``None`` where it is the whole run.
        since_step: the first probed step from which it shows.
        evidence: the numbers, and what a healthy run would have.
        remedy: what to try first.
        lab_page: the page of the lab that explains it, or ``None``.
    """

    name: str
    layer: str | None
    since_step: int
    evidence: str
    remedy: str
    lab_page: str | None


@dataclass(frozen=True)
class Diagnosis:
    """The findings of one record, with what was looked at.

    Attributes:
        findings: the earliest first, causes before symptoms; empty for a healthy run.
        steps: the number of probed steps; ``first`` and ``last`` of them.
        layers, parameters: how many were measured.
        rules: how many rules judged.
        not_judged: ``{rule: why}`` of those that could not.
        stopped: the error that ended the run, if one did.
        not_watched: ``{part: why}`` of what the probes left out.
        noise_scale: of the gradients, in examples, if it could be estimated; it is no finding, but tells of the batch.
    """

    findings: tuple[Finding, ...]
    steps: int
    first: int
    last: int
    layers: int
    parameters: int
    rules: int
    not_judged: dict[str, str]
    stopped: str | None = None
    not_watched: dict[str, str] = field(default_factory=dict)
    noise_scale: NoiseScale | None = None

    @property
    def healthy(self) -> bool | None:
        """Whether no rule raised an alarm; ``None`` where too few steps were probed to say so."""
        if self.findings or self.stopped:
            return False
        return True if self.steps >= ENOUGH else None


class Record:
    """The rows of a run by kind: ``header``, ``probes`` in order of their steps, and the error, if one ended it.

    ``pulses`` are the rows that hold beats of the gradient: probes, and rows of kind ``pulse``, for beats that no probe
    followed (at the end, and before parts were exchanged). ``rest`` is the last of those, if it ended the run.

    Where parameters were replaced in the middle of a run, what was before is no part of the record: weights that are
    other weights did not grow.
    """

    def __init__(self, rows: Iterable[Row]):
        rows = list(rows)
        headers = [row for row in rows if row.get("kind") == "model"]
        self.header: Row = headers[-1] if headers else {}
        changes = [row for row in headers if row.get("replaced")]
        start = changes[-1]["step"] if changes else 0
        probes = (row for row in rows if row.get("kind") == "probe" and row["step"] > start)
        self.probes = sorted(probes, key=lambda row: row["step"])
        last = self.probes[-1]["step"] if self.probes else 0
        rests = [row for row in rows if row.get("kind") == "pulse" and row["step"] > start and row.get("pulse")]
        self.pulses = sorted([*(row for row in self.probes if row.get("pulse")), *rests], key=lambda row: row["step"])
        self.rest: Row | None = next((row for row in reversed(rests) if row["step"] >= last), None)
        errors = [row for row in rows if row.get("kind") == "error" and row["step"] >= last]
        self.error: Row | None = errors[-1] if errors else None
        self.kinds = {name: label.partition(": ")[0] for name, label in self.header.get("layers", {}).items()}
        self.left_out = {
            row["part"] or "the model": f"since step {row['step']}: {row['reason']}"
            for row in rows
            if row.get("kind") == "left out"
        }
        if changes:
            names = changes[-1]["replaced"]
            what = f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''} replaced"
            self.left_out[f"steps 1 to {start}"] = f"{what} after them: the run is judged from there on"

    def layers(self, row: Row, *kinds: str) -> dict[str, Row]:
        """The measured layers of a row in the order in which they ran, of these kinds (all if none is named)."""
        return {n: x for n, x in row["layers"].items() if not kinds or self.kinds.get(n) in kinds}


def find(rows: Iterable[Row]) -> list[Finding]:
    """The findings of a run; an empty list says that no rule raised an alarm.

    >>> find([{"kind": "model", "step": 0, "layers": {}, "parameters": {}}])
    []
    """
    return list(diagnose(rows).findings)


def diagnose(rows: Iterable[Row]) -> Diagnosis:
    """Findings, and what was looked at; see :class:`Diagnosis`."""
    from lucida.training.noise import noise_scale
    from lucida.training.rules import judge

    record = Record(rows)
    findings, judged, not_judged = judge(record)
    probes = record.probes
    error = record.error
    return Diagnosis(
        tuple(findings),
        len(probes),
        probes[0]["step"] if probes else 0,
        probes[-1]["step"] if probes else 0,
        len({name for row in probes for name in row["layers"]}),
        len(record.header.get("parameters", {})),
        judged,
        not_judged,
        None if error is None else f"{error['error']}: {error['message']}",
        record.left_out,
        noise_scale(record),
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``probes.jsonl``; a last line that a kill left unfinished is not one.

    Raises:
        LucidaError: the file is missing, empty, or not of probes.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise LucidaError("no such file", where=path) from None
    except OSError as error:
        raise LucidaError(f"cannot read the probes: {error.strerror}", where=path) from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise LucidaError("not a row of probes", where=f"{path}, line {number}") from None
        if not is_row(row):
            raise LucidaError("not a row of probes", where=f"{path}, line {number}")
        rows.append(row)
    if not any(row["kind"] in ("probe", "error") for row in rows):
        raise LucidaError("there is no probed step in it", where=path)
    return rows


def is_row(row: Any) -> bool:
    """Whether the rules can read it: a kind, a step, and of a probe what all of them look into."""
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str) or not isinstance(row.get("step"), int):
        return False
    if row["kind"] == "left out":
        return isinstance(row.get("part"), str) and isinstance(row.get("reason"), str)
    needed = ("layers", "parameters") if row["kind"] in ("probe", "model") else ()
    return all(isinstance(row.get(key), dict) for key in needed)
