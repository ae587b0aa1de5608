"""``lucida diagnose RUN --follow``: watch the probes of a run while it trains, on a terminal or line by line."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from lucida.report.live import picture
from lucida.report.live_rows import loss_of, number
from lucida.report.strokes import BLOCKS, LETTERS, brief
from lucida.workflows.follower import REPLACED, Follower, News, Part, Row

QUIET_AFTER = 10.0
"""Seconds without a row after which the picture says so."""


def follow(
    path: Path,
    *,
    console: Console | None = None,
    idle: float | None = None,
    every: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Watch a run until it ends with an error, nothing came for ``idle`` seconds, or Ctrl-C.

    Args:
        path: a run folder of ``lucida run``, a folder with ``probes.jsonl`` (or that will have one), or such a file.
        console: where it is shown: a picture on a terminal, lines elsewhere; by default standard output.
        idle: seconds without a new row after which it ends; ``None``: never for that reason.
        every: seconds from one look to the next.

    Returns:
        One line that says why it ended.

    Raises:
        LucidaError: there is nothing at ``path``, or its rows cannot be read.
    """
    console = console or Console()
    follower = Follower(path, clock=clock)
    with _ended_by_term():
        if not on_terminal(console):
            return _watch(follower, Lines(console), idle, every, sleep)
        screen = Screen(console)
        with screen:
            end = _watch(follower, screen, idle, every, sleep)
        console.print(_picture(follower, console, "ended", None))
    return end


def on_terminal(console: Console) -> bool:
    """Whether a picture can be drawn again and again; colours may be forced where it cannot."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


class View(Protocol):
    """What shows a run."""

    def show(self, follower: Follower, news: list[News], status: str) -> None:
        """Show what a look found."""


def _watch(follower: Follower, view: View, idle: float | None, every: float, sleep: Callable[[float], None]) -> str:
    try:
        while True:
            news = follower.look()
            end = _end(follower, idle)
            if end is not None:
                news += follower.look(finally_judge=True)
            view.show(follower, news, end or _status(follower.silence()))
            if end is not None:
                break
            sleep(every)
    except KeyboardInterrupt:
        end = "stopped watching"
    return f"{end}; {_summary(follower)}"


def _end(follower: Follower, idle: float | None) -> str | None:
    if follower.stopped:
        return "the run ended with an error"
    return f"no new row for {idle:g} s" if idle is not None and follower.silence() >= idle else None


def _status(silence: float) -> str:
    """In steps of ten seconds, later of minutes: the picture is drawn again for each.

    >>> _status(3.0), _status(47.0), _status(200.0)
    ('following', 'no new row for 40 s', 'no new row for 3 min')
    """
    if silence < QUIET_AFTER:
        return "following"
    long = f"{silence // 60:.0f} min" if silence >= 60 else f"{silence // QUIET_AFTER * QUIET_AFTER:.0f} s"
    return f"no new row for {long}"


def _summary(follower: Follower) -> str:
    """How far the run was, and where to read on."""
    part = follower.current
    if part is None or part.stage.latest is None:
        return "no probed step was seen"
    found = sum(len(x.diagnosis.findings) for x in follower.parts.values() if x.diagnosis is not None)
    findings = f"{found} finding{'' if found == 1 else 's'}" if found else "no finding"
    return f"{_title(part)}step {part.stage.latest['step']:,}, {findings} so far: lucida diagnose {follower.path}"


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """A ``kill`` leaves the terminal as it was before: it unwinds, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# A picture --------------------------------------------------------------------------------------------------------


class Screen:
    """For terminals: the picture of the whole run, drawn again where something changed.

    Attributes:
        draws: how often it was drawn, for tests of what looking costs.
    """

    def __init__(self, console: Console):
        self.console, self.draws = console, 0
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._drawn: tuple[Any, ...] = ()

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, follower: Follower, news: list[News], status: str) -> None:
        """Draw the run, unless the picture would be the same."""
        size = self.console.size
        drawn = (size, status, follower.judgements)
        if news or drawn != self._drawn:
            self._drawn = drawn
            self.draws += 1
            self._live.update(_picture(follower, self.console, status, size.height), refresh=True)


def _picture(follower: Follower, console: Console, status: str, height: int | None) -> RenderableType:
    part = follower.current
    return picture(
        [part.stage for part in follower.parts.values()],
        title=str(follower.path),
        status=status,
        width=console.width,
        height=height,
        current=None if part is None else part.stage.name,
        marks=LETTERS if console.options.ascii_only else BLOCKS,
    )


# Lines ------------------------------------------------------------------------------------------------------------


class Lines:
    """For pipes and files: a line a probe, and each finding once."""

    def __init__(self, console: Console):
        self.console = console
        self._told: dict[str, set[str]] = {}

    def show(self, follower: Follower, news: list[News], status: str) -> None:
        """Say what is new."""
        for one in news:
            name = _title(one.part)
            if one.note:
                self._say(f"{name}{one.note}")
            if one.note.startswith(REPLACED):
                self._told.pop(one.part.stage.name, None)
            for row in one.rows:
                if row["kind"] == "probe":
                    self._say(name + line_of(row))
                elif row["kind"] == "error":
                    self._say(f"{name}ended with {row.get('error')}: {row.get('message')}")
        for part in follower.parts.values():
            self._tell_findings(part)

    def _tell_findings(self, part: Part) -> None:
        told = self._told.setdefault(part.stage.name, set())
        for one in part.diagnosis.findings if part.diagnosis is not None else ():
            if one.name not in told:
                told.add(one.name)
                where = f" in {one.layer}" if one.layer else ""
                self._say(f"{_title(part)}finding: {one.name}{where}, since step {one.since_step:,}: {one.evidence}")

    def _say(self, line: str) -> None:
        line = " ".join(line.split())  # the message of an error may have several
        self.console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)


def line_of(row: Row) -> str:
    """A probed step in one line.

    >>> line_of({"step": 20, "loss": 0.5, "grad_norm": None})
    'step 20, loss 0.5, gradient norm not finite'
    """
    loss = loss_of(row)
    said = "" if loss is None else f", loss {brief(loss)}"
    return f"step {row['step']:,}{said}, gradient norm {brief(number(row, 'grad_norm'))}"


def _title(part: Part) -> str:
    return "" if part.stage.name == "." else f"{part.stage.name}: "
