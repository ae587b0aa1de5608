"""Two tiny problems with everything that makes real ones hard, and a run of them as a script of its own.

Answers of different length, epochs that no batch size divides, a random draw for each example, dropout, several pairs
of one identity. The script is what the tests kill, resume and launch in several processes::

    python tests/training/toys.py FOLDER contrastive language:4 --steps 50
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss, shift_labels
from lucida.training.batches import Batch, Draw
from lucida.training.distributed import Accelerator, leave_processes
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import ContrastiveTask, LanguageTask


class DualEncoder(nn.Module):
    """Two linear encoders, dropout on one of them, a learned scale."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.image = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 8))
        self.text = nn.Linear(5, 8)
        self.log_logit_scale = nn.Parameter(torch.tensor(2.0))

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=100)

    def encode_image(self, x: Tensor) -> Tensor:
        return F.normalize(self.image(x), dim=-1)

    def encode_text(self, x: Tensor) -> Tensor:
        return F.normalize(self.text(x), dim=-1)


@dataclass(frozen=True)
class Pairs:
    """Noisy views of ``count`` pairs; every third pair shares its identity with the one before."""

    count: int = 53
    noise: float = 0.1

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        concepts = [index - (index % 3 == 2) for index in indices]
        hidden = np.stack([np.random.default_rng(c).normal(size=6) for c in concepts])
        images = hidden + self.noise * np.stack([draw(k).normal(size=6) for k in range(len(indices))])
        return {
            "image": {"x": torch.tensor(images, dtype=torch.float32)},
            "text": {"x": torch.tensor(hidden[:, :5] ** 2, dtype=torch.float32)},
            "ids": torch.tensor(concepts),
        }


class LanguageOutput(NamedTuple):
    loss_sum: Tensor
    n_supervised: Tensor


class LanguageModel(nn.Module):
    """Embedding, one hidden layer, tied output."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.hidden = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(dropout))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, input_ids: Tensor, labels: Tensor) -> LanguageOutput:
        self.calls += 1
        states = self.hidden(self.embedding(input_ids))
        aligned = shift_labels(labels).flatten()
        loss = language_modeling_loss(states.flatten(0, 1), self.embedding.weight, aligned, reduction="sum")
        return LanguageOutput(loss, (aligned != IGNORE_INDEX).sum())


@dataclass(frozen=True)
class Sentences:
    """Counting modulo 12 from a drawn start; between 1 and 9 supervised tokens, so means of means would be wrong."""

    count: int = 53

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        ids = np.full((len(indices), 10), 0)
        labels = np.full((len(indices), 10), IGNORE_INDEX)
        for k, index in enumerate(indices):
            supervised = 1 + index % 9
            ids[k] = (draw(k).integers(12) + np.arange(10)) % 12
            labels[k, 10 - supervised :] = ids[k, 10 - supervised :]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


def toy(name: str, dropout: float = 0.0) -> tuple[Any, Any]:
    """Task and data of a toy, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "contrastive":
            return ContrastiveTask(DualEncoder(dropout), label_smoothing=0.05), Pairs()
        return LanguageTask(LanguageModel(dropout)), Sentences()


def settings(steps: int, **changes: Any) -> TrainConfig:
    """A short run that logs every step."""
    every = {"log_every": Duration(1, "steps"), "checkpoint_every": None}
    return TrainConfig(**({"duration": Duration(steps, "steps"), "batch_size": 16} | every | changes))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("task", nargs="+", help="one run each: contrastive, language, or with micro-batches language:3")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--checkpoint-every", type=int)
    options = parser.parse_args(arguments)
    every = Duration(options.checkpoint_every, "steps") if options.checkpoint_every else None
    for run in options.task:
        name, _, size = run.partition(":")
        task, data = toy(name, options.dropout)
        config = settings(options.steps, micro_batch_size=int(size) if size else None, checkpoint_every=every)
        train(task, data, config, RunFolder(options.folder / run), resume=True, progress=False)
    assert Accelerator().num_processes == int(os.environ.get("WORLD_SIZE", 1))  # the launcher's processes took part
    sys.stdout.write(f"processes: {Accelerator().num_processes}\n")  # one write: the processes share the stream
    leave_processes()


if __name__ == "__main__":
    main(globals().get("ARGUMENTS"))
