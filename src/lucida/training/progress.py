"""What a run says while it trains: a bar or plain lines for the reader, ``metrics.jsonl`` and TensorBoard for later."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from lucida.core.progress import clock
from lucida.core.results import write_text
from lucida.core.run_folder import RunFolder, append_jsonl


class Progressed(Protocol):
    """How far a run is."""

    step: int
    examples: int
    seconds: float


class MetricsLog:
    """``metrics.jsonl`` and TensorBoard events of a run, one row a call.

    Args:
        folder: the run.
        step: steps already done; rows beyond it (of a run that was killed later than its checkpoint) are removed, so
            that no step appears twice.
        enabled: off in every process but the first.
    """

    def __init__(self, folder: RunFolder, step: int, *, enabled: bool = True):
        self.path = folder.metrics
        self.events: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, needed by training only

            truncate_metrics(self.path, step)
            self.events = SummaryWriter(str(folder.tensorboard), purge_step=step + 1, flush_secs=10)

    def write(self, kind: Literal["train", "validation"], state: Progressed, row: Mapping[str, float]) -> None:
        """One row of numbers, with where the run is."""
        if self.events is None:
            return
        where = {"step": state.step, "examples": state.examples, "seconds": round(state.seconds, 3)}
        append_jsonl(self.path, {"kind": kind, **where, **row})
        for name, value in row.items():
            self.events.add_scalar(f"{kind}/{name}", value, state.step)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()


def truncate_metrics(path: Path, step: int) -> None:
    """Remove the rows after ``step`` and any line that a kill left unfinished."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # half a line: its step will be written again
    write_text(path, "".join(kept))


class Progress:
    """A bar with loss, rate and time left on a terminal; elsewhere a plain line every ``interval`` seconds.

    Args:
        total: steps of the run.
        start: steps already done.
        batch_size: examples a step.
        shown: off for silence.
    """

    def __init__(self, total: int, *, start: int = 0, batch_size: int, shown: bool = True, interval: float = 10.0):
        self.total, self.start, self.batch_size, self.interval = total, start, batch_size, interval
        self.shown, self.began, self.last_line = shown, 0.0, 0.0
        self.bar: Any = None

    def __enter__(self) -> Progress:
        self.began = self.last_line = time.perf_counter()
        if self.shown and sys.stderr.isatty():
            self._open_bar()
        return self

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[rate]:.0f} examples/s"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), transient=False)
        self.bar.add_task("training", total=self.total, completed=self.start, loss=float("nan"), rate=0.0)
        self.bar.start()

    def update(self, step: int, loss: float) -> None:
        """Show that ``step`` steps are done."""
        if not self.shown:
            return
        now = time.perf_counter()
        rate = (step - self.start) * self.batch_size / max(1e-9, now - self.began)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step, loss=loss, rate=rate)
        elif now - self.last_line >= self.interval or step == self.total:
            self.last_line = now
            left = (self.total - step) * self.batch_size / max(1e-9, rate)
            self.say(f"step {step}/{self.total}  loss {loss:.4f}  {rate:.0f} examples/s  {clock(left)} left")

    def say(self, line: str) -> None:
        """One line for the reader, above the bar."""
        if self.bar is not None:
            self.bar.console.print(line, highlight=False)
        elif self.shown:
            print(line, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
