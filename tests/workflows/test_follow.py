"""``lucida diagnose --follow``: reading a file that grows, on a terminal and line by line, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from lucida import cli
from lucida.core.errors import LucidaError
from lucida.core.run_folder import append_jsonl
from lucida.training.findings import diagnose, read_rows
from lucida.training.probes import watch
from lucida.training.progress import truncate_metrics
from lucida.workflows.follow import follow, on_terminal
from lucida.workflows.follower import Follower, GrowingFile

HEADER = {"kind": "model", "step": 0, "model": "Net", "layers": {"0": "linear: Linear"}, "parameters": {}}
ERROR = {"kind": "error", "step": 31, "error": "ValueError", "message": "two\nlines"}


def probe(step: int, loss: float = 1.0) -> dict[str, Any]:
    layers = {"0": {"rms": 1.0, "rows": 64, "bad": False, "grad": 0.1, "calls": 1}}
    row = {"kind": "probe", "step": step, "loss": loss, "grad_norm": 0.5, "rates": [1e-3], "layers": layers}
    return row | {"parameters": {}, "scalars": {}, "attention": {}, "idle": []}


def write(path: Path, *rows: dict[str, Any]) -> None:
    for row in rows:
        append_jsonl(path, row)


def train(folder: Path, *, batch: int = 32, steps: int = 60, each: Callable[[], None] = lambda: None) -> None:
    """A small model on noise; ``each`` is called after every step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, folder=folder) as watching:
        for _ in range(steps):
            optimizer.zero_grad()
            x = torch.randn(batch, 8)
            loss = (model(x) - x[:, :1]).square().mean()
            loss.backward()
            watching.note(loss=loss.item())
            optimizer.step()
            each()


class Time:
    """A clock that moves when somebody sleeps, and what happens meanwhile: one event a sleep, then Ctrl-C."""

    def __init__(self, *events: Callable[[], object]):
        self.now, self.events = 0.0, list(events)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.events:
            raise KeyboardInterrupt
        self.events.pop(0)()


def lines_of(path: Path, time: Time, **more: Any) -> list[str]:
    """What is said where there is no terminal; the last line is why it ended."""
    said = io.StringIO()
    end = follow(path, console=Console(file=said), clock=time.clock, sleep=time.sleep, **more)
    return [*said.getvalue().splitlines(), end]


# Reading ----------------------------------------------------------------------------------------------------------


def test_every_byte_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    path.touch()
    file = GrowingFile(path)
    rows = [HEADER, *(probe(step) for step in range(1, 50))]
    seen = []
    for row in rows:
        write(path, row)
        for _ in range(3):
            new, replaced = file.look()
            assert not replaced
            seen += new
    assert seen == rows
    assert file.bytes_read == path.stat().st_size


def test_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    line = json.dumps(probe(1) | {"note": "Grün"}, ensure_ascii=False).encode()
    file = GrowingFile(path)
    path.write_bytes(line[: line.index("ü".encode()) + 1])  # within a character
    assert file.look() == ([], False)
    path.write_bytes(line)
    assert file.look() == ([], False)
    path.write_bytes(line + b"\n" + line[:20])
    assert [row["note"] for row in file.look()[0]] == ["Grün"]
    assert file.look() == ([], False)


def test_a_new_run_is_noticed_however_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    for count in (1, 3, 10):
        path.unlink(missing_ok=True)
        write(path, HEADER, *(probe(step, 1.0) for step in (1, 10, 20)))
        file = GrowingFile(path)
        assert len(file.look()[0]) == 4
        path.unlink()
        assert file.look() == ([], False)  # missing for a moment
        rows = [HEADER, *(probe(step, 2.0) for step in range(1, count + 1))]
        write(path, *rows)
        assert file.look() == (rows, True)
        write(path, probe(99))
        assert file.look() == ([probe(99)], False)


def test_a_copy_that_goes_on_is_not_a_new_run(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    write(path, HEADER, probe(1))
    file = GrowingFile(path)
    file.look()
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    write(copy, probe(10))
    os.replace(copy, path)
    assert file.look() == ([probe(10)], False)


@pytest.mark.parametrize("line", [b"{]\n", b"[1]\n", b'{"kind": "probe", "step": 3}\n', b"\0\0\0\n"])
def test_other_lines_are_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "probes.jsonl"
    write(path, HEADER)
    file = GrowingFile(path)
    file.look()
    with path.open("ab") as out:
        out.write(line)
    with pytest.raises(LucidaError, match=r"not a row of probes .*line 2"):
        file.look()


# Following --------------------------------------------------------------------------------------------------------


def test_a_training_is_seen_whole_while_it_runs(tmp_path: Path) -> None:
    follower, done, seen = Follower(tmp_path), threading.Event(), []
    gate = threading.Semaphore(0)

    def run() -> None:
        try:
            train(tmp_path, batch=2, steps=80, each=gate.acquire)
        finally:
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    looks_with_news = 0
    while not done.wait(0.002):
        gate.release()
        news = follower.look()
        looks_with_news += bool(news)
        seen += [row for one in news for row in one.rows]
    thread.join()
    seen += [row for one in follower.look(finally_judge=True) for row in one.rows]
    part = follower.parts["."]
    assert seen == part.rows == read_rows(tmp_path / "probes.jsonl")
    assert looks_with_news > 2
    assert part.stage.probes == 9
    assert part.stage.loss.last == part.rows[-1]["loss"]
    assert part.diagnosis == diagnose(seen)
    assert part.diagnosis is not None
    assert [finding.name for finding in part.diagnosis.findings] == ["batch-norm-small-batch"]


def test_looking_at_a_run_that_rests_costs_nothing(tmp_path: Path) -> None:
    train(tmp_path)
    follower = Follower(tmp_path)
    follower.look()
    file = follower.parts["."].file
    before = (file.bytes_read, follower.judgements)
    for _ in range(100):
        assert follower.look() == []
    assert (file.bytes_read, follower.judgements) == before == (file.path.stat().st_size, 1)


def test_the_rules_take_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time, path = Time(), tmp_path / "probes.jsonl"

    def slow(rows: Any) -> Any:
        time.now += 0.5
        return diagnose(rows)

    monkeypatch.setattr("lucida.workflows.follower.diagnose", slow)
    write(path, HEADER)
    follower = Follower(tmp_path, clock=time.clock)
    for step in range(1, 201):
        write(path, probe(step))
        follower.look()
        time.now += 1.0
    assert follower.judgements == 4  # of 200 looks in as many seconds
    follower.look(finally_judge=True)
    assert follower.judgements == 5
    assert follower.parts["."].judged == 201


def test_stages_are_taken_up_as_they_appear(tmp_path: Path) -> None:
    def stage(name: str, *rows: dict[str, Any]) -> Callable[[], None]:
        return lambda: write(tmp_path / "stages" / name / "probes.jsonl", *rows)

    time = Time(
        stage("dual_encoder", HEADER, probe(1)),
        stage("language", HEADER),
        stage("language", probe(1, 3.0)),
        stage("frozen_start", HEADER, probe(7)),
    )
    lines = lines_of(tmp_path, time)
    assert lines[:3] == [
        "dual_encoder: step 1, loss 1, gradient norm 0.5",
        "language: step 1, loss 3, gradient norm 0.5",
        "frozen_start: step 7, loss 1, gradient norm 0.5",
    ]
    assert list(Follower(tmp_path).parts) == []
    follower = Follower(tmp_path)
    follower.look()
    assert list(follower.parts) == ["frozen_start", "dual_encoder", "language"]


def test_a_finding_is_told_once(tmp_path: Path) -> None:
    train(tmp_path, batch=2)
    more = read_rows(tmp_path / "probes.jsonl")[-1]
    time = Time(*(lambda step=step: write(tmp_path / "probes.jsonl", more | {"step": step}) for step in (70, 80, 90)))
    lines = lines_of(tmp_path, time)
    assert sum("finding: batch-norm-small-batch in 1, since step 1: 1 batch norms take" in x for x in lines) == 1
    assert sum(x.startswith("step ") for x in lines) == 10
    assert lines[-1].startswith("stopped watching; step 90, 1 finding so far: lucida diagnose ")


def test_a_run_that_goes_on_is_told_apart_from_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    write(path, HEADER, *(probe(step, 1 / step) for step in (1, 10, 20, 30)))

    def resume() -> None:
        truncate_metrics(path, 15)
        write(path, probe(20, 0.3))

    def restart() -> None:
        path.unlink()
        write(path, HEADER, probe(1, 9.0))

    lines = lines_of(path, Time(resume, restart))
    assert [line for line in lines if not line.startswith("step")][:-1] == [
        "the run goes on after step 10",
        "a new run has replaced the one before",
    ]
    assert [line.split(",")[0] for line in lines if line.startswith("step")] == [
        *("step 1", "step 10", "step 20", "step 30"),
        "step 20",
        "step 1",
    ]


def test_it_ends_with_the_error_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    write(path, HEADER, probe(1))
    lines = lines_of(tmp_path, Time(lambda: write(path, probe(30), ERROR), lambda: pytest.fail("it went on")))
    assert lines[-2] == "ended with ValueError: two lines"
    assert lines[-1].startswith("the run ended with an error; step 30, no finding so far")


def test_it_ends_after_a_time_without_rows(tmp_path: Path) -> None:
    time = Time(*[lambda: None] * 3, lambda: write(tmp_path / "probes.jsonl", HEADER, probe(1)), *[lambda: None] * 50)
    lines = lines_of(tmp_path, time, idle=10.0)
    assert lines[-1].startswith("no new row for 10 s; step 1,")
    assert time.now == 14.0
    assert lines_of(tmp_path, Time(), idle=0.0)[-1].startswith("no new row for 0 s")


def test_forced_colours_in_a_pipe_are_no_terminal() -> None:
    assert not on_terminal(Console(file=io.StringIO(), force_terminal=True))


# On a terminal ----------------------------------------------------------------------------------------------------


@contextmanager
def terminal(width: int, height: int) -> Iterator[tuple[Console, Callable[[], str]]]:
    """A console on a terminal of its own, and what was written to it."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    said: list[bytes] = []

    def drain() -> None:
        while True:
            try:
                said.append(os.read(ours, 65536))
            except OSError:
                return

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as file:
        console = Console(file=file, width=width, height=height, _environ={"TERM": "xterm"})

        def text() -> str:
            file.write("END")
            file.flush()
            for _ in range(1000):
                if b"".join(said).endswith(b"END"):
                    break
                reader.join(0.01)
            return b"".join(said).decode()

        yield console, text
    os.close(ours)


def test_a_picture_is_drawn_where_something_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, draws = tmp_path / "probes.jsonl", []
    from lucida.workflows import follow as module

    def counted(*given: Any, **more: Any) -> Any:
        draws.append(given)
        return drawn(*given, **more)

    drawn = module.picture
    monkeypatch.setattr(module, "picture", counted)
    events: list[Callable[[], object]] = [lambda: write(path, HEADER, probe(1))]
    events += [lambda: None] * 8 + [lambda: write(path, probe(10))] + [lambda: None] * 25
    time = Time(*events)
    with terminal(80, 24) as (console, text):
        end = follow(tmp_path, console=console, clock=time.clock, sleep=time.sleep)
        said = text()
    assert end.startswith("stopped watching; step 10")
    # empty, two rows, silent for 10 s and for 20 s, and what stays on the screen at the end
    assert len(draws) == 6
    assert said.startswith("\x1b[?1049h")  # a screen of its own, which is left again
    before, _, after = said.partition("\x1b[?1049l")
    assert "gradient by layer at step 10" in before
    assert "no new row for 20 s" in before
    assert "gradient by layer at step 10" in after
    assert "\x1b[?25h" in said  # the cursor is back


# The command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--follow"], "no such run"),
        (["--follow"], "needs one run"),
        ([".", "--follow", "--json"], "no JSON form"),
        ([".", "--follow", "--idle", "soon"], "--idle soon is no time"),
        ([".", "--follow", "--idle=-1"], "--idle -1 is no time"),
        ([".", "--follow", "--idle"], "--idle needs a value"),
        ([".", "--idle", "3"], "belongs to --follow"),
        (["broken", "--follow"], "not a row of probes"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken").write_text("no rows\n")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["diagnose", *arguments])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_command_ends_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "probes.jsonl", HEADER, probe(30), ERROR)
    cli.main(["diagnose", str(tmp_path), "--follow"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 30, loss 1, gradient norm 0.5"
    assert lines[-1].startswith("lucida: the run ended with an error; ")


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 0), ("SIGTERM", 143)])
def test_a_signal_ends_it(tmp_path: Path, name: str, code: int) -> None:
    write(tmp_path / "probes.jsonl", HEADER, probe(1))
    command = [sys.executable, "-m", "lucida", "diagnose", str(tmp_path), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert list(islice(process.stdout, 1)) == ["step 1, loss 1, gradient norm 0.5\n"]
        process.send_signal(getattr(signal, name))
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == code
    assert errors == ""
    assert rest.count("\n") == (1 if code == 0 else 0)
    assert code or rest.startswith("lucida: stopped watching; step 1, no finding so far")
