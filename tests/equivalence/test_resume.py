"""A run that is stopped or killed, at any moment, ends bit for bit as one that is not."""

from __future__ import annotations

import json
import multiprocessing
import random
import runpy
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.training.checkpoint import STATE, WEIGHTS, latest_checkpoint, load_state
from lucida.training.loop import train

KILLS, TASK = 10, "contrastive:6"


def outcome(folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Final weights, optimizer state and log (without the seconds) of a run."""
    checkpoint = latest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    assert (checkpoint / STATE).is_file()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return load_file(checkpoint / WEIGHTS), load_state(checkpoint)["optimizer"]["state"], rows


def assert_same(one: Path, two: Path) -> None:
    (weights, moments, rows), (other_weights, other_moments, other_rows) = outcome(one), outcome(two)
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert len(moments) > 0
    for key, state in moments.items():
        assert all(torch.equal(state[name], other_moments[key][name]) for name in state)
    assert rows == other_rows


@pytest.mark.parametrize("name", ["contrastive", "language"])
@pytest.mark.parametrize("micro_batch_size", [None, 5])
def test_stopping_in_the_middle_of_an_epoch(
    toys: ModuleType, tmp_path: Path, name: str, micro_batch_size: int | None
) -> None:
    """With dropout, drawn examples, accumulation, and a stop two steps after the checkpoint."""

    class Stop(Exception):
        pass

    def go(folder: Path, stop_after: int | None = None) -> None:
        task, data = toys.toy(name, dropout=0.2)
        every = Duration(3, "steps")
        config = toys.settings(12, micro_batch_size=micro_batch_size, checkpoint_every=every, validate_every=every)
        calls = []

        def validate() -> dict[str, float]:
            calls.append(1)
            if len(calls) == stop_after:
                raise Stop
            return {"norm": sum(p.norm().item() for p in task.model.parameters())}

        train(task, data, config, RunFolder(folder), validate=validate, resume=True, progress=False)

    go(tmp_path / "whole")
    for stop_after in (2, 1):  # at step 6, then again at step 6: its checkpoint was never written
        with pytest.raises(Stop):
            go(tmp_path / "stopped", stop_after)
    go(tmp_path / "stopped")
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def logged_rows(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_killing_at_ten_random_moments(toys: ModuleType, tmp_path: Path) -> None:
    """SIGKILL, so nothing can be tidied up; each life goes on from what the disk holds."""
    script = str(toys.__file__)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lucida.training.loop", "torch.utils.tensorboard"])  # torch is imported once

    def live(folder: Path) -> Any:
        arguments = [str(folder), TASK, "--steps", "240", "--checkpoint-every", "4", "--dropout", "0.2"]
        process = context.Process(
            target=runpy.run_path,
            args=(script,),
            kwargs={"init_globals": {"ARGUMENTS": arguments}, "run_name": "__main__"},
        )
        process.start()
        return process

    whole = live(tmp_path / "whole")
    moments, log = random.Random(0), tmp_path / "killed" / TASK / "metrics.jsonl"
    killed_at = []
    for _ in range(KILLS):
        process = live(tmp_path / "killed")
        seen = log.stat().st_size if log.exists() else 0
        while process.is_alive() and (log.stat().st_size if log.exists() else 0) == seen:
            time.sleep(0.002)  # until it has logged something
        wanted = logged_rows(log) + moments.randint(0, 11)  # steps, not seconds: a slow machine gets as far
        while process.is_alive() and logged_rows(log) < wanted:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.01))
        process.kill()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        killed_at.append(logged_rows(log))
    last = live(tmp_path / "killed")
    for process in (whole, last):
        process.join(60)
        assert process.exitcode == 0
    assert len(set(killed_at)) > 3, killed_at  # it got on between the kills
    assert_same(tmp_path / "whole" / TASK, tmp_path / "killed" / TASK)
