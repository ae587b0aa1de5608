"""A classifier on frozen features: a linear, cosine or one-hidden-layer head, trained by the workbench's own step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed
from lucida.data.sampling import Sampling
from lucida.losses.imbalance import ClassLoss
from lucida.training.distributed import Accelerator, TaskModule
from lucida.training.frozen_features import FrozenFeatures, standardised
from lucida.training.schedules import cosine_with_warmup
from lucida.training.step import train_step
from lucida.training.tasks import ClassificationTask

HeadName = Literal["linear", "cosine"]


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier on frozen features is trained: the same for every remedy.

    The defaults were chosen on half of the training part of CIFAR-10, made long-tailed, by accuracy on the other half:
    twice the steps or twice the batch changed nothing.

    Attributes:
        steps: optimizer steps.
        batch_size: rows a step.
        learning_rate: the peak of AdamW's, after which it falls as half a cosine.
        weight_decay: AdamW's.
        warmup_share: the linear warm-up, as a share of the steps.
        hidden: width of a hidden layer; ``None`` for a linear classifier.
    """

    steps: int = 500
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    warmup_share: float = 0.05
    hidden: int | None = None

    def __post_init__(self) -> None:
        allowed = {
            "steps": self.steps >= 1,
            "batch_size": self.batch_size >= 1,
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup_share": 0 <= self.warmup_share <= 1,
            "hidden": self.hidden is None or self.hidden >= 1,
        }
        for name, fine in allowed.items():
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)!r}", where="ClassifierConfig")


class CosineLinear(nn.Module):
    """The cosines of the inputs and one direction a class, ``[B, C]``: LDAM's normalised linear layer."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width) / width**0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.normalize(inputs, dim=-1) @ F.normalize(self.weight, dim=-1).T


class Layers(nn.Module):
    """Perhaps a hidden layer, and the last one; called with standardised ``inputs [B, D]``."""

    last: CosineLinear | nn.Linear

    def __init__(self, width: int, classes: int, hidden: int | None, kind: HeadName):
        super().__init__()
        self.body = nn.Identity() if hidden is None else nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.last = (CosineLinear if kind == "cosine" else nn.Linear)(hidden or width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.body(inputs))

    @torch.no_grad()
    def normalised(self, tau: float) -> Layers:
        """Rows of the last layer divided by their length to the power ``tau``, no bias (Kang et al. 2020, eq. 10)."""
        self.last.weight /= self.last.weight.norm(dim=1, keepdim=True) ** tau
        if (bias := getattr(self.last, "bias", None)) is not None:
            bias.zero_()
        return self


@dataclass
class Classifier:
    """A trained classifier.

    Attributes:
        layers: the network.
        mean, inverse: features become ``(x - mean) · inverse``, ``[D]``.
        scale: what the network's outputs are multiplied by.
        offsets: ``[C]``, added to the logits.
        steps: optimizer steps of its training.
        seconds: everything took.
        loss: the mean over the last tenth of the steps.
    """

    layers: Layers
    mean: NDArray[np.float32]
    inverse: NDArray[np.float32]
    scale: float
    offsets: Tensor
    steps: int = 0
    seconds: float = 0.0
    loss: float = float("nan")

    @torch.no_grad()
    def logits(self, features: NDArray | Tensor, *, batch_size: int = 8192) -> Tensor:
        """float32 ``[n, C]`` of features ``[n, D]``; the largest is the answer.

        Raises:
            LucidaError: rows of another width than it was trained on.
        """
        rows = np.asarray(features)
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise LucidaError(f"the classifier takes rows of {len(self.mean)} numbers, not {list(rows.shape)}")
        parts = [torch.empty(0, len(self.offsets))]
        for start in range(0, len(rows), batch_size):
            inputs = standardised(rows[start : start + batch_size], self.mean, self.inverse)
            parts.append(self.scale * self.layers(torch.from_numpy(inputs)) + self.offsets)
        return torch.cat(parts)


def new_classifier(
    data: FrozenFeatures, config: ClassifierConfig, kind: HeadName, scale: float, seed: int
) -> Classifier:
    """An untrained classifier; its first weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "layers"))
        layers = Layers(len(data.mean), data.classes, config.hidden, kind)
    return Classifier(layers, data.mean, data.inverse, scale, torch.zeros(data.classes))


@dataclass(frozen=True)
class Stage:
    """A part of a training: its loss, its rows and its steps."""

    loss: ClassLoss
    sampling: Sampling
    steps: int
    seed: int
    neighbours: NDArray | None = None


def train_stage(classifier: Classifier, data: FrozenFeatures, stage: Stage, config: ClassifierConfig) -> None:
    """Train what requires gradients, from a warm-up to a rate of zero, by the workbench's own step."""
    task = ClassificationTask(classifier.layers, stage.loss)
    module = TaskModule(task, device=torch.device("cpu"), precision="float32")
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    parameters = [p for p in classifier.layers.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    warmup, losses = round(config.warmup_share * stage.steps), []
    batches = data.batches(
        stage.sampling,
        steps=stage.steps,
        batch_size=config.batch_size,
        seed=stage.seed,
        neighbours=stage.neighbours,
    )
    for step, batch in enumerate(batches):
        task.set_progress(step / stage.steps)
        rate = config.learning_rate * cosine_with_warmup(step, total_steps=stage.steps, num_warmup_steps=warmup)
        optimizer.param_groups[0]["lr"] = rate
        losses.append(train_step(task, module, [batch], optimizer, accelerator, max_grad_norm=None, step=step).loss)
    classifier.steps += stage.steps
    classifier.loss = float(np.mean(losses[-max(1, len(losses) // 10) :]))
