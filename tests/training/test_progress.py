"""What the reader sees, and what the log keeps."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lucida.core.run_folder import RunFolder
from lucida.training.progress import MetricsLog, Progress, truncate_metrics


@dataclass
class Where:
    step: int
    examples: int = 0
    seconds: float = 0.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100, batch_size=8, interval=0.0) as progress:
        progress.say("trainable parameters: 5")
        progress.update(50, 1.25)
    error = capsys.readouterr().err
    assert error.splitlines()[0] == "trainable parameters: 5"
    assert "step 50/100  loss 1.2500" in error
    assert "examples/s" in error
    assert "left" in error


def test_lines_come_every_so_often_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100, batch_size=8, interval=60.0) as progress:
        for step in range(1, 101):
            progress.update(step, 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("step 100/100")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Progress(4, batch_size=8) as progress:
        progress.update(1, 2.0)
        progress.update(4, 0.5)
    assert "4/4" in terminal.getvalue()
    assert "loss 0.5000" in terminal.getvalue()


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, batch_size=1, shown=False) as progress:
        progress.say("hello")
        progress.update(1, 0.0)
    assert capsys.readouterr().err == ""


def test_rows_beyond_the_checkpoint_and_torn_lines_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"kind": kind, "step": step}) for step in (1, 2, 3) for kind in ("train", "validation")]
    path.write_text("\n".join(whole) + '\n{"kind": "train", "st')
    truncate_metrics(path, 2)
    assert path.read_text().splitlines() == whole[:4]
    truncate_metrics(tmp_path / "none.jsonl", 2)
    assert not (tmp_path / "none.jsonl").exists()


def test_the_log_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for start, end in ((0, 5), (3, 8)):  # killed at 5, its checkpoint was at 3
        with MetricsLog(folder, start) as log:
            for step in range(start + 1, end + 1):
                log.write("train", Where(step), {"loss": float(100 * end + step)})
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(s, 500 + s) for s in (1, 2, 3)] + [
        (s, 800 + s) for s in (4, 5, 6, 7, 8)
    ]
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with MetricsLog(RunFolder(tmp_path), 0, enabled=False) as log:
        log.write("train", Where(1), {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []
