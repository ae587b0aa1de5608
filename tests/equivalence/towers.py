"""A dual encoder in float64 with all that a large batch makes hard: blocks, dropout, norms, a scale and a bias.

What one of several processes does with it: gradients of one step, and trainings that stop and go on. A case of them is
a loss, an effective batch in so many passes, how weights are placed, and dropout.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.distributed.tensor import DTensor

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.training.batches import BatchStream, Draw
from lucida.training.distributed import Accelerator, leave_processes, seed_step
from lucida.training.loop import TrainConfig, set_training_modes, train
from lucida.training.parameter_groups import parameter_groups
from lucida.training.sharding import local_part, place
from lucida.training.step import train_step
from lucida.training.tasks import ContrastiveTask, SigmoidTask

STEPS, BATCH, STEP = 16, 32, 1  # the batch of that step holds examples of two epochs
LOSSES, PASSES, SHARDINGS = ("softmax", "sigmoid"), (1, 2, 8), ("none", "full")
CASES = list(product(LOSSES, PASSES, SHARDINGS, (0.0, 0.4)))


class Block(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm, self.linear, self.dropout = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(torch.tanh(self.linear(self.norm(x))))


class Towers(nn.Module):
    """Three blocks on the pictures' side, one on the texts'; widths that no number of processes divides."""

    def __init__(self, dropout: float):
        super().__init__()
        self.image_in, self.text_in = nn.Linear(6, 11), nn.Linear(5, 11)
        self.image_blocks = nn.ModuleList(Block(11, dropout) for _ in range(3))
        self.text_blocks = nn.ModuleList([Block(11, dropout)])
        self.image_out, self.text_out = nn.Linear(11, 7, bias=False), nn.Linear(11, 7, bias=False)
        self.log_logit_scale = nn.Parameter(torch.tensor(2.0))
        self.logit_bias = nn.Parameter(torch.tensor(-3.0))

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp()

    def encode_image(self, x: Tensor) -> Tensor:
        x = self.image_in(x)
        for block in self.image_blocks:
            x = block(x)
        return F.normalize(self.image_out(x), dim=-1)

    def encode_text(self, x: Tensor) -> Tensor:
        x = self.text_in(x)
        for block in self.text_blocks:
            x = block(x)
        return F.normalize(self.text_out(x), dim=-1)


class Pairs:
    """Noisy views; every third pair has the identity of the one before it, often in another pass or process."""

    def __len__(self) -> int:
        return 45

    def batch(self, indices: Sequence[int], draw: Draw) -> dict[str, Any]:
        ids = [index - (index % 3 == 2) for index in indices]
        hidden = np.stack([np.random.default_rng(i).normal(size=6) for i in ids])
        noise = np.stack([draw(k).normal(size=6) for k in range(len(indices))])
        images, texts = torch.from_numpy(hidden + 0.1 * noise), torch.from_numpy(hidden[:, :5] ** 2)
        return {"image": {"x": images}, "text": {"x": texts}, "ids": torch.tensor(ids)}


def task_of(loss: str, dropout: float) -> ContrastiveTask:
    """The same at every call; the bias of the softmax loss, which has none, is frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Towers(dropout).double()
    if loss == "sigmoid":
        return SigmoidTask(model)
    model.logit_bias.requires_grad_(False)
    return ContrastiveTask(model, label_smoothing=0.05)


def config_of(passes: int, sharding: Any = "none", **changes: Any) -> TrainConfig:
    if passes > 1:
        changes |= {"batch_size": BATCH // passes, "effective_batch": BATCH}
    return TrainConfig(**{"batch_size": BATCH, "sharding": sharding} | changes)


def one_step(loss: str, passes: int, sharding: str, dropout: float) -> dict[str, Tensor]:
    """Loss and gradients of one step, those of the parameters put together from all processes."""
    accelerator = Accelerator(mixed_precision="no")
    task, config = task_of(loss, dropout), config_of(passes, sharding)
    process = accelerator.process_index, accelerator.num_processes
    size = config.pass_size(process[1])
    stream = BatchStream(Pairs(), batch_size=config.update_size, micro_batch_size=size, process=process)
    batches = stream.micro_batches(STEP)
    assert len(batches) == min(passes, BATCH // process[1])  # it is cut as it should be
    groups = parameter_groups(task.model, learning_rate=1.0, weight_decay=0.0)
    placed = place(task, optim.AdamW(groups), accelerator, precision="float32", sharded=sharding == "full")
    set_training_modes(placed.task.model)
    seed_step(100 + process[0], accelerator.device)
    output = train_step(placed.task, placed.module, batches, placed.optimizer, accelerator, max_grad_norm=None)
    found = {
        "loss": torch.tensor(output.loss, dtype=torch.float64),
        "norm": torch.tensor(output.grad_norm, dtype=torch.float64),
    }
    for name, parameter in placed.task.model.named_parameters():
        if parameter.grad is not None:
            grad, moment = parameter.grad, placed.optimizer.state[parameter]["exp_avg"]
            assert isinstance(grad, DTensor) == (sharding == "full" and process[1] > 1 and parameter.ndim > 0)
            if isinstance(grad, DTensor):  # a process holds its share, rounded up to whole rows, and no more
                for part in (parameter, grad, moment):
                    assert len(local_part(part)) <= -(-len(part) // process[1])
            found[name] = (grad.full_tensor() if isinstance(grad, DTensor) else grad).clone()
    return found


class Stop(Exception):
    """The run ends here."""


class Stopping:
    """A task that is stopped before the step that is not to happen."""

    def __init__(self, task: ContrastiveTask, before: int):
        self.task, self.model, self.before = task, task.model, before

    def set_progress(self, progress: float) -> None:
        if round(STEPS * progress) == self.before:
            raise Stop

    def features(self, batch: Any) -> Any:
        return self.task.features(batch)

    def loss_of_features(self, features: Any, ring: Any) -> Any:
        return self.task.loss_of_features(features, ring)


def go_on(folder: Path, name: str, until: int) -> None:
    """A run of ``STEPS`` steps from where it is until a step; its name ends with how weights are placed, and passes."""
    sharding, passes = name.split("-")[-2:]
    config = config_of(
        int(passes),
        sharding,
        duration=Duration(STEPS, "steps"),
        learning_rate=1e-2,
        log_every=Duration(1, "steps"),
        checkpoint_every=Duration(4, "steps"),
    )
    with suppress(Stop):
        train(
            Stopping(task_of("softmax", 0.0), until),
            Pairs(),
            config,
            RunFolder(folder / name),
            resume=True,
            progress=False,
        )
    Accelerator(mixed_precision="no").wait_for_everyone()  # until the last checkpoint is written


def main(folder: Path, runs: Sequence[tuple[str, int]], cases: Sequence[tuple[Any, ...]]) -> None:
    """What one of several processes does: one step of each case, then each run until a step."""
    found = {repr(case): one_step(*case) for case in cases}
    accelerator = Accelerator(mixed_precision="no")
    torch.save(found, folder / f"{accelerator.num_processes}-{accelerator.process_index}.pt")
    for name, until in runs:
        go_on(folder, name, until)
    leave_processes()


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)  # type: ignore[name-defined]  # noqa: F821  # of runpy
    torch.set_num_threads(1)
    main(*ARGUMENTS)  # type: ignore[name-defined]  # noqa: F821
