"""Reading a run's probes while it trains: every row once, and what a look costs."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from lucida.core.errors import LucidaError
from lucida.training.findings import diagnose, read_rows
from lucida.workflows.follower import Follower, GrowingFile
from tests.workflows.growing_runs import HEADER, Time, probe, train, write

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
    found = {finding.name for finding in part.diagnosis.findings}
    assert {"batch-norm-small-batch"} <= found <= {"batch-norm-small-batch", "exploding-gradients"}  # see test_follow


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
