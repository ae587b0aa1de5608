"""A model taken apart and put together again; what cannot be sharded is said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from lucida.core.errors import LucidaError
from lucida.models.new_encoders import NewEncoderConfig, new_dual_encoder
from lucida.training.distributed import Accelerator
from lucida.training.loop import TrainConfig, make_optimizer
from lucida.training.sharding import Replicas, Shards, place
from lucida.training.step import train_step
from lucida.training.tasks import ClassificationTask, ContrastiveTask

BATCH = {"x": torch.randn(4, 5), "labels": torch.tensor([0, 1, 2, 0])}


class Accelerated:
    """What sharding asks of accelerate, for a group of one process."""

    device, num_processes, process_index, is_main_process = torch.device("cpu"), 1, 0, True
    distributed_type = DistributedType.MULTI_CPU


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Any]:
    """A group of this process alone: everything is sent, to nobody."""
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield Accelerated()
    distributed.destroy_process_group()


class Network(nn.Module):
    """Two blocks and a scalar."""

    def __init__(self, *, tied: bool = False, reads: bool = False):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(5, 5), nn.Linear(5, 5)])
        self.scale, self.out, self.reads = nn.Parameter(torch.tensor(2.0)), nn.Linear(5, 3), reads
        if tied:
            self.blocks[1].weight = self.blocks[0].weight

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.tanh(block(x)) @ block.weight if self.reads else torch.tanh(block(x))
        return self.out(self.scale * x)


def test_it_comes_home_as_it_trained(toys: ModuleType, alone: Any) -> None:
    ends = []
    for kind in (Replicas, Shards):
        torch.manual_seed(0)
        task = ClassificationTask(Network())
        given = {name: p.detach().clone() for name, p in task.model.named_parameters()}
        optimizer = make_optimizer(task.model, TrainConfig(learning_rate=0.1))
        accelerator = alone if kind is Shards else Accelerator(mixed_precision="no")
        placed = kind(task, optimizer, accelerator)
        sharded = {name for name, p in placed.task.model.named_parameters() if isinstance(p, DTensor)}
        assert sharded == (given.keys() - {"scale"} if kind is Shards else set())
        for _ in range(3):
            train_step(placed.task, placed.module, [BATCH], placed.optimizer, accelerator, max_grad_norm=0.5)
        if kind is Shards:
            assert all(torch.equal(p, given[name]) for name, p in task.model.named_parameters())  # not asked for yet
        with placed.whole():
            weights = {name: p.detach().clone() for name, p in task.model.named_parameters()}
        ends.append((weights, placed.optimizer_state()))
    (one, one_state), (two, two_state) = ends
    assert all(not torch.equal(one[name], given[name]) for name in one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)
    assert one_state["param_groups"] == two_state["param_groups"]
    for place_, state in one_state["state"].items():
        for key, value in state.items():
            torch.testing.assert_close(two_state["state"][place_][key], value, rtol=1e-5, atol=1e-7)


def test_a_clip_is_sharded_layer_by_layer(alone: Any) -> None:
    """Its last layers compute one token alone, and are whole only while they do."""
    ends = []
    for kind in (Replicas, Shards):
        encoder = new_dual_encoder(NewEncoderConfig(32, 16, 64, 2, 64, 1, vocabulary=300), ["a red hat", "two dogs"], 0)
        tokens = encoder.text_tower.tokenize(["a red hat", "dogs"])
        pixels = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
        batch = {"image": {"pixel_values": pixels}, "text": tokens, "ids": torch.arange(2)}
        task = ContrastiveTask(encoder)
        accelerator = alone if kind is Shards else Accelerator(mixed_precision="no")
        placed = kind(task, make_optimizer(encoder, TrainConfig()), accelerator)
        units = [name for name, module in placed.task.model.named_modules() if isinstance(module, FSDPModule)]
        assert len(units) == (3 if kind is Shards else 0)  # the root is the task's module
        output = train_step(placed.task, placed.module, [batch], placed.optimizer, accelerator, max_grad_norm=None)
        ends.append((output.loss, output.grad_norm))
    assert ends[1] == pytest.approx(ends[0], rel=1e-5)


def test_a_process_alone_is_not_sharded(toys: ModuleType) -> None:
    task, _ = toys.toy("contrastive")
    optimizer = make_optimizer(task.model, TrainConfig())
    placed = place(task, optimizer, Accelerator(mixed_precision="no"), precision="float32", sharded=True)
    assert isinstance(placed, Replicas)
    assert placed.task is task


def shards(network: nn.Module, accelerator: Any) -> Shards:
    task = ClassificationTask(network)
    return Shards(task, make_optimizer(task.model, TrainConfig()), accelerator)


def test_weights_that_two_blocks_share_are_refused(alone: Any) -> None:
    with pytest.raises(LucidaError, match=r"two of its blocks share a weight \(Linear.weight\)"):
        shards(Network(tied=True), alone)


def test_weights_read_while_their_block_rests_are_refused(alone: Any) -> None:
    placed = shards(Network(reads=True), alone)
    with pytest.raises(LucidaError, match=r"reads weights of a block while the block does not compute"):
        train_step(placed.task, placed.module, [BATCH], placed.optimizer, alone, max_grad_norm=None)


def test_a_launcher_that_shards_is_refused(toys: ModuleType) -> None:
    class Launched(Accelerated):
        distributed_type = DistributedType.FSDP

    with pytest.raises(LucidaError, match="the launcher shards the model already"):
        shards(Network(), Launched())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sharding": "some"}, "sharding cannot be 'some'"),
        ({"batch_size": 64, "effective_batch": 32}, "an effective batch of 32 is less than the 64 in memory at once"),
        ({"effective_batch": 128, "micro_batch_size": 8}, "micro_batch_size and effective_batch say the same"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LucidaError, match=said):
        TrainConfig(**changes)
