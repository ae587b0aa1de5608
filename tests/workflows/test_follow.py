"""``lucida diagnose --follow``: what is said line by line and drawn on a terminal, and how it ends."""

from __future__ import annotations

import io
import os
import re
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
from rich.console import Console

from lucida import cli
from lucida.training.findings import read_rows
from lucida.training.progress import truncate_metrics
from lucida.workflows.follow import follow, on_terminal
from lucida.workflows.follower import Follower
from tests.workflows.growing_runs import ERROR, HEADER, Time, probe, train, write


def lines_of(path: Path, time: Time, **more: Any) -> list[str]:
    """What is said where there is no terminal; the last line is why it ended."""
    said = io.StringIO()
    end = follow(path, console=Console(file=said), clock=time.clock, sleep=time.sleep, **more)
    return [*said.getvalue().splitlines(), end]


# Line by line ------------------------------------------------------------------------------------------------------


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
    # Two examples a batch let the gradient jump, too, on some processors: that may be a finding of its own.
    assert re.match("stopped watching; step 90, (1 finding|2 findings) so far: lucida diagnose ", lines[-1])


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


def test_watching_a_training_does_not_load_pytorch_again() -> None:
    code = "import sys, lucida.workflows.follow; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _heed_interrupts() -> None:
    """A suite that runs in the background inherits that SIGINT is ignored, and so would the command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 0), ("SIGTERM", 143)])
def test_a_signal_ends_it(tmp_path: Path, name: str, code: int) -> None:
    write(tmp_path / "probes.jsonl", HEADER, probe(1))
    command = [sys.executable, "-m", "lucida", "diagnose", str(tmp_path), "--follow"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert list(islice(process.stdout, 1)) == ["step 1, loss 1, gradient norm 0.5\n"]
        process.send_signal(getattr(signal, name))
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == code
    assert errors == ""
    assert rest.count("\n") == (1 if code == 0 else 0)
    assert code or rest.startswith("lucida: stopped watching; step 1, no finding so far")
