"""One step is one step: 1, 2, 4 processes, a batch in 1, 2, 8 passes, replicas and shards; in float64, with dropout."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import runpy
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lucida.losses.contrastive import plain_contrastive_loss
from lucida.losses.sigmoid import plain_sigmoid_loss
from lucida.training.batches import BatchStream
from lucida.training.checkpoint import WEIGHTS, latest_checkpoint, load_state
from lucida.training.loop import TrainConfig

SCRIPT = Path(__file__).with_name("towers.py")
PROCESSES = (1, 2, 4)
RUNS = ("full-1", "full-2", "none-2")  # how weights are placed, and in how many passes a batch is taken
CHAIN = ((1, 4), (2, 8), (4, 12), (1, None))  # so many processes until a step; None for the end


@pytest.fixture(scope="module")
def towers() -> ModuleType:
    specification = importlib.util.spec_from_file_location("towers", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def in_processes(count: int, *arguments: Any) -> None:
    """Run ``towers.main`` in so many processes that share what was imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lucida.training.loop", "torch.utils.tensorboard"])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": count}
    processes = []
    for rank in range(count):
        environment = {key: str(value) for key, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
        given = {"ENVIRONMENT": environment, "ARGUMENTS": arguments}
        options = {"init_globals": given, "run_name": "__main__"}
        processes.append(context.Process(target=runpy.run_path, args=(str(SCRIPT),), kwargs=options))
    for process in processes:
        process.start()
    for process in processes:
        process.join(150)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * count


@pytest.fixture(scope="module")
def folder(towers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gradients of 1, 2, 4 processes, and runs that go from one number of processes to the next."""
    folder = tmp_path_factory.mktemp("processes")
    towers.go_on(folder, "alone-none-1", towers.STEPS)
    stopped = towers.STEPS // 2 + 1
    for link, (count, until) in enumerate(CHAIN):
        runs = [(name, until or towers.STEPS) for name in RUNS]
        if count == 1:
            for run in runs:
                towers.go_on(folder, *run)
            continue
        if count == 2:
            runs += [("whole-full-1", towers.STEPS), ("stopped-full-1", stopped), ("stopped-full-1", towers.STEPS)]
        in_processes(count, folder, runs, towers.CASES)
        reached = [latest_checkpoint(folder / name / "checkpoints") for name in RUNS]
        assert {path.name for path in reached if path is not None} == {f"step_{CHAIN[link][1]:09d}"}
    return folder


@pytest.fixture(scope="module")
def found(towers: ModuleType, folder: Path) -> dict[int, list[dict[str, Any]]]:
    """What each process of 1, 2, 4 found, for every case."""
    several = {
        count: [torch.load(folder / f"{count}-{rank}.pt", weights_only=True) for rank in range(count)]
        for count in PROCESSES[1:]
    }
    return {1: [{repr(case): towers.one_step(*case) for case in towers.CASES}]} | several


def expected(towers: ModuleType, loss: str, passes: int, processes: int, dropout: float) -> dict[str, Tensor]:
    """Plain autograd of the plain loss of the whole batch, whose features have the masks of each process and pass."""
    task = towers.task_of(loss, dropout)
    model = task.model.train()
    images, texts, ids = [], [], []
    for rank in range(processes):
        config = towers.config_of(passes)
        size = config.pass_size(processes)
        stream = BatchStream(towers.Pairs(), batch_size=towers.BATCH, micro_batch_size=size, process=(rank, processes))
        torch.manual_seed(100 + rank)
        for batch in stream.micro_batches(towers.STEP):
            images.append(model.encode_image(**batch["image"]))
            texts.append(model.encode_text(**batch["text"]))
            ids.append(batch["ids"])
    rows = torch.cat(images), torch.cat(texts), model.logit_scale
    plain: Callable[..., Tensor] = plain_sigmoid_loss
    given, options = (*rows, model.logit_bias), {}
    if loss == "softmax":
        plain, given, options = plain_contrastive_loss, rows, {"label_smoothing": 0.05}
    value = plain(*given, ids=torch.cat(ids), **options)
    value.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients.values()]))
    return {"loss": value.detach(), "norm": norm, **gradients}


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_gradient_is_that_of_the_whole_batch(
    towers: ModuleType, found: dict[int, list[dict[str, Any]]], loss: str, processes: int
) -> None:
    compared, without_dropout = 0, []
    for case in [case for case in towers.CASES if case[0] == loss]:
        _, passes, _, dropout = case
        right = expected(towers, loss, passes, processes, dropout)
        assert ("logit_bias" in right) == (loss == "sigmoid")
        without_dropout += [right] * (dropout == 0)
        for own in found[processes]:
            assert own[repr(case)].keys() == right.keys()
            for name, tensor in right.items():
                torch.testing.assert_close(
                    own[repr(case)][name], tensor, rtol=1e-10, atol=1e-12, msg=lambda m, c=case, n=name: f"{c} {n}: {m}"
                )
                compared += 1
    assert compared > 12 * processes * 20
    for each in without_dropout:  # one loss and one gradient, however it is cut
        for name, tensor in without_dropout[0].items():
            torch.testing.assert_close(each[name], tensor, rtol=1e-10, atol=1e-12)


def test_dropout_is_on(towers: ModuleType) -> None:
    on, off = (expected(towers, "softmax", 1, 1, dropout) for dropout in (0.4, 0.0))
    assert abs(float(on["loss"] - off["loss"])) > 1e-3


def kept(folder: Path, name: str) -> dict[str, Tensor]:
    """Weights and optimizer state at the end of a run, by name."""
    checkpoint = latest_checkpoint(folder / name / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "step_000000016"
    state = load_state(checkpoint)["optimizer"]
    names = [name for group in state["param_groups"] for name in group["names"]]
    assert state["state"].keys() == set(range(len(names)))
    moments = {f"{names[k]} {key}": value for k, each in state["state"].items() for key, value in each.items()}
    return load_file(checkpoint / WEIGHTS) | moments


@pytest.mark.parametrize("name", RUNS)
def test_another_number_of_processes_goes_on(folder: Path, name: str) -> None:
    """Sums in another order, of which Adam's division makes at most some thousand times the rounding of float64."""
    alone, chained = kept(folder, "alone-none-1"), kept(folder, name)
    assert alone.keys() == chained.keys()
    assert any("exp_avg_sq" in key for key in alone)
    for key, value in alone.items():
        assert value.shape == chained[key].shape
        torch.testing.assert_close(chained[key], value, rtol=1e-9, atol=1e-11, msg=lambda m, k=key: f"{k}: {m}")
    losses = [
        [json.loads(line)["loss"] for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("alone-none-1", name)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert len(losses[0]) == 16
    assert losses[0][-1] < losses[0][0]


def test_the_same_number_of_shards_goes_on_bit_for_bit(folder: Path) -> None:
    whole, stopped = kept(folder, "whole-full-1"), kept(folder, "stopped-full-1")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_what_goes_through_the_model_at_once() -> None:
    assert TrainConfig(batch_size=32).update_size == 32
    config = TrainConfig(batch_size=32, effective_batch=256)
    assert (config.update_size, config.pass_size(1), config.pass_size(4), config.pass_size(64)) == (256, 32, 8, 1)
