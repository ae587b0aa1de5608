"""Reading the probes of a run while it trains: every row once, and the rules not too often.

Rows are read as they come and looked at once; the rules, which read all rows, are asked seldom enough to take no more
than a small share of the time. A look at a run in which nothing happened costs a ``stat`` a file.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from lucida.core.errors import LucidaError
from lucida.report.live_rows import Stage, stage_of
from lucida.training.findings import Diagnosis, diagnose, is_row
from lucida.workflows.diagnose import part_name, probe_files

KNOWN = 256
"""Bytes before the place where reading goes on; if they are others than before, the file was replaced."""
SHARE = 0.01
"""The share of the time that the rules may take."""
REPLACED = "a new run has replaced the one before"

Row = dict[str, Any]


class GrowingFile:
    """The rows of a ``probes.jsonl`` as they come.

    A last line without its end waits. A file that is shorter than what was read, or has other bytes just before the
    place where reading goes on, was replaced: it is read from its start. One that is missing for a moment keeps what
    was read.

    Attributes:
        bytes_read: how much was read in all, for tests of what looking costs.
    """

    def __init__(self, path: Path):
        self.path = path
        self.bytes_read = 0
        self.changed = 0.0
        self._seen: tuple[int, ...] = ()
        self._start_over()

    def _start_over(self) -> None:
        self._offset, self._lines, self._before = 0, 0, b""

    def look(self) -> tuple[list[dict[str, Any]], bool]:
        """``(rows that are new, whether the file was replaced)``; of a replaced file, all of its rows.

        Raises:
            LucidaError: it cannot be read, or a line is no row of probes.
        """
        try:
            about = self.path.stat()
            seen = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
            if seen == self._seen:
                return [], False
            with self.path.open("rb") as file:
                replaced = not self._goes_on(file)
                if replaced:
                    self._start_over()
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return [], False
        except OSError as error:
            raise LucidaError(f"cannot read the probes: {error.strerror}", where=self.path) from None
        self._seen, self.changed = seen, about.st_mtime
        self.bytes_read += len(content)
        return self._rows(content[: content.rfind(b"\n") + 1]), replaced

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether the last of what was read still comes before the place where reading goes on."""
        file.seek(self._offset - len(self._before))
        return file.read(len(self._before)) == self._before

    def _rows(self, whole: bytes) -> list[dict[str, Any]]:
        rows = []
        for line in whole.split(b"\n")[:-1]:
            self._lines += 1
            try:
                row = json.loads(line.decode("utf-8", errors="replace"))
            except ValueError:
                row = None
            if not is_row(row):
                raise LucidaError("not a row of probes", where=f"{self.path}, line {self._lines}")
            rows.append(row)
        self._offset += len(whole)
        self._before = (self._before + whole)[-KNOWN:]
        return rows


@dataclass
class Part:
    """A watched part of a run: its file, all of its rows, what is drawn of them, what the rules say."""

    file: GrowingFile
    stage: Stage
    rows: list[Row] = field(default_factory=list)
    judged: int = 0
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class News:
    """What a look found in a part: new rows, and what is to be said about them (a run was replaced, or goes on)."""

    part: Part
    rows: list[Row]
    note: str = ""


class Follower:
    """What has been seen of a run so far.

    Args:
        path: a run folder (its stages are taken up as they appear), a folder with ``probes.jsonl``, or such a file.
        clock: seconds, for the pace of the rules.

    Attributes:
        parts: by name, in the order in which stages train.
        heard: when the last row came, or the watching began.
        judgements: how often the rules were asked, for tests of what looking costs.

    Raises:
        LucidaError: there is nothing at ``path``.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic):
        if not path.exists():
            raise LucidaError("no such run", where=path, remedy="start the training first")
        self.path, self.parts, self.judgements = path, dict[str, Part](), 0
        self._clock, self._next = clock, -math.inf
        self.heard = clock()

    @property
    def current(self) -> Part | None:
        """The part that was written to last."""
        read = [part for part in self.parts.values() if part.rows]
        return max(reversed(read), key=lambda part: part.file.changed, default=None)

    @property
    def stopped(self) -> bool:
        """Whether the run ended with an error."""
        return self.current is not None and self.current.stage.error is not None

    def look(self, *, finally_judge: bool = False) -> list[News]:
        """Read what is new, and ask the rules if it is time; with ``finally_judge`` in any case.

        Raises:
            LucidaError: a file cannot be read, or is not of probes.
        """
        self._find_parts()
        news = [self._read(part) for part in self.parts.values()]
        self._judge(at_once=finally_judge or self.stopped)
        news = [one for one in news if one.rows or one.note]
        self.heard = self._clock() if news else self.heard
        return news

    def silence(self) -> float:
        """Seconds since the last row came."""
        return self._clock() - self.heard

    def _find_parts(self) -> None:
        files = [self.path] if self.path.is_file() else probe_files(self.path)
        found = {part_name(file, self.path): file for file in files}
        if found.keys() - self.parts.keys():
            new = {n: Part(GrowingFile(f), Stage(n)) for n, f in found.items() if n not in self.parts}
            order = [*found, *(name for name in self.parts if name not in found)]
            self.parts = {name: (self.parts | new)[name] for name in order}

    def _read(self, part: Part) -> News:
        rows, replaced = part.file.look()
        if not replaced:
            part.rows += rows
            for row in rows:
                part.stage.add(row)
            return News(part, rows)
        same = next((k for k, (a, b) in enumerate(zip(part.rows, rows, strict=False)) if a != b), None)
        kept = min(len(part.rows), len(rows)) if same is None else same
        steps = [row["step"] for row in rows[:kept] if row["kind"] == "probe"]
        note = f"the run goes on after step {steps[-1]:,}" if steps else REPLACED
        part.rows, part.judged, part.diagnosis = rows, 0, None
        part.stage = stage_of(part.stage.name, rows)
        part.stage.note = note
        return News(part, rows[kept:] if steps else rows, note)

    def _judge(self, *, at_once: bool) -> None:
        """Ask the rules about parts with new rows; then not before that took but a share of the time."""
        waiting = [part for part in self.parts.values() if part.judged < len(part.rows) and judgeable(part.stage)]
        begun = self._clock()
        if not waiting or (begun < self._next and not at_once):
            return
        for part in waiting:
            part.diagnosis = part.stage.judged = diagnose(part.rows)
            part.judged = len(part.rows)
            self.judgements += 1
        now = self._clock()
        self._next = now + (now - begun) / SHARE


def judgeable(stage: Stage) -> bool:
    """Whether there is something for the rules to read."""
    return stage.probes > 0 or stage.error is not None
