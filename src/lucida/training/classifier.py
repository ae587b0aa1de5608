"""A classifier on frozen features: a linear, cosine or one-hidden-layer head, trained by the workbench's own step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed, stream
from lucida.data.sampling import Sampling, draw_rows, epoch_size, repeats
from lucida.data.smote import class_neighbours
from lucida.losses.imbalance import ClassLoss
from lucida.training.batches import Batch
from lucida.training.distributed import Accelerator, TaskModule
from lucida.training.schedules import cosine_with_warmup
from lucida.training.step import train_step
from lucida.training.tasks import ClassificationTask

HeadName = Literal["linear", "cosine"]


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier on frozen features is trained: the same for every remedy.

    Attributes:
        steps: optimizer steps.
        batch_size: rows a step.
        learning_rate: the peak of AdamW's, after which it falls as half a cosine.
        weight_decay: AdamW's.
        warmup_share: the linear warm-up, as a share of the steps.
        hidden: width of a hidden layer; ``None`` for a linear classifier.
    """

    steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
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


class Head(nn.Module):
    """Standardised inputs, perhaps a hidden layer, and the last layer; called with ``inputs [B, D]``."""

    mean: Tensor
    scale: Tensor
    last: CosineLinear | nn.Linear

    def __init__(self, mean: Tensor, scale: Tensor, classes: int, hidden: int | None, kind: HeadName):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        width = len(mean)
        self.body = nn.Identity() if hidden is None else nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.last = (CosineLinear if kind == "cosine" else nn.Linear)(hidden or width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.body((inputs - self.mean).mul_(self.scale)))

    @torch.no_grad()
    def normalised(self, tau: float) -> Head:
        """Rows of the last layer divided by their length to the power ``tau``, no bias (Kang et al. 2020, eq. 10)."""
        self.last.weight /= self.last.weight.norm(dim=1, keepdim=True) ** tau
        if (bias := getattr(self.last, "bias", None)) is not None:
            bias.zero_()
        return self


class FrozenFeatures:
    """Labelled rows, perhaps with augmented views of each, from which batches are drawn.

    Args:
        features: float32 ``[N, D]``.
        labels: ``int64 [N]``, in ``0 … classes - 1``.
        classes: their number.
        views: ``[V, N, D]``; each time a row is shown, one of its views is drawn.

    Raises:
        LucidaError: shapes that do not fit, labels out of range, a class without an example, values not finite.
    """

    def __init__(
        self, features: NDArray | Tensor, labels: NDArray | Tensor, classes: int, views: NDArray | Tensor | None = None
    ):
        self.features, self.labels, self.classes = np.asarray(features), np.asarray(labels), classes
        self.views = None if views is None else np.asarray(views)
        self._check()
        self.counts = np.bincount(self.labels, minlength=classes)

    def _check(self) -> None:
        x, y = self.features, self.labels
        if x.ndim != 2 or y.shape != x.shape[:1] or len(y) == 0:
            raise LucidaError(f"features {list(x.shape)} and labels {list(y.shape)} do not fit", where="features")
        if self.views is not None and self.views.shape[1:] != x.shape:
            raise LucidaError(f"views {list(self.views.shape)} do not fit features {list(x.shape)}", where="views")
        if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= self.classes:
            raise LucidaError(f"labels must be whole numbers from 0 to {self.classes - 1}", where="labels")
        if empty := sorted(set(range(self.classes)) - set(np.unique(y).tolist())):
            raise LucidaError(
                "a class has no example", where=f"class {empty[0]}", remedy="leave it out or find examples"
            )
        for name, rows in (("features", x), *((("views", v) for v in self.views) if self.views is not None else ())):
            if not np.isfinite(rows.sum(dtype=np.float64)):
                row = int((~np.isfinite(rows).all(axis=1)).argmax())
                raise LucidaError("a feature is NaN or infinite", where=f"{name}, row {row}")

    def part(self, kept: NDArray[np.bool_]) -> FrozenFeatures:
        """The rows that are kept."""
        views = None if self.views is None else self.views[:, kept]
        return FrozenFeatures(self.features[kept], self.labels[kept], self.classes, views)

    def batches(
        self, sampling: Sampling, *, steps: int, batch_size: int, seed: int, neighbours: NDArray | None = None
    ) -> Iterator[Batch]:
        """So many batches of ``inputs`` and ``labels``.

        With ``neighbours`` (rows ``[N, k]``, -1 for none), a row that has been shown in an epoch gives way to a point
        between it and one of them, drawn anew each time.
        """
        rows = draw_rows(self.labels, sampling, stream(seed, "rows"), size=steps * batch_size)
        epoch = epoch_size(self.counts, sampling)
        again = np.concatenate([repeats(rows[i : i + epoch]) for i in range(0, len(rows), epoch)]) > 0
        generator = stream(seed, "views and synthetic rows")
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            source = self.features if self.views is None else self.views
            at = (part,) if self.views is None else (generator.integers(len(self.views), size=len(part)), part)
            inputs = np.asarray(source[at], np.float32)
            if neighbours is not None:
                to = neighbours[part, generator.integers(neighbours.shape[1], size=len(part))]
                mixed = again[start : start + batch_size] & (to >= 0)
                step = generator.random((int(mixed.sum()), 1), dtype=np.float32)
                partner = np.asarray(source[(*(a[mixed] for a in at[:-1]), to[mixed])], np.float32)
                inputs[mixed] += step * (partner - inputs[mixed])
            yield {"inputs": torch.from_numpy(inputs), "labels": torch.from_numpy(self.labels[part]).long()}

    def neighbours(self, k: int = 5) -> NDArray[np.int64]:
        """The nearest rows of the same class, ``[N, k]``, those of small classes repeated; -1 in the largest class."""
        answer = np.full((len(self.labels), k), -1)
        for c in range(self.classes):
            members = np.flatnonzero(self.labels == c)
            if 1 < len(members) < self.counts.max():
                near = class_neighbours(self.features, members, k)
                answer[members] = near[:, np.arange(k) % near.shape[1]]
        return answer


@dataclass
class Classifier:
    """A trained classifier.

    Attributes:
        head: the network.
        scale: what its outputs are multiplied by.
        offsets: ``[C]``, added to the logits.
        steps: optimizer steps of its training.
        seconds: the training took.
        loss: the mean over the last tenth of the steps.
    """

    head: Head
    scale: float
    offsets: Tensor
    steps: int = 0
    seconds: float = 0.0
    loss: float = float("nan")

    @torch.no_grad()
    def logits(self, features: NDArray | Tensor, *, batch_size: int = 8192) -> Tensor:
        """float32 ``[n, C]`` of features ``[n, D]``; the largest is the answer."""
        rows = np.asarray(features)
        parts = [
            self.scale * self.head(torch.from_numpy(np.array(rows[i : i + batch_size], np.float32)))
            for i in range(0, len(rows), batch_size)
        ]
        return (torch.cat(parts) if parts else torch.empty(0, len(self.offsets))) + self.offsets


def new_classifier(
    data: FrozenFeatures, config: ClassifierConfig, kind: HeadName, scale: float, seed: int
) -> Classifier:
    """An untrained classifier; its first weights depend on the seed alone."""
    mean, deviation = data.features.mean(axis=0, dtype=np.float64), data.features.std(axis=0, dtype=np.float64)
    inverse = 1 / np.where(deviation > 1e-6, deviation, 1.0)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "head"))
        head = Head(torch.tensor(mean).float(), torch.tensor(inverse).float(), data.classes, config.hidden, kind)
    return Classifier(head, scale, torch.zeros(data.classes))


@dataclass(frozen=True)
class Stage:
    """A part of a training: its loss, its rows, its share of the steps."""

    loss: ClassLoss
    sampling: Sampling
    steps: int
    seed: int
    neighbours: NDArray | None = None


def train_stage(classifier: Classifier, data: FrozenFeatures, stage: Stage, config: ClassifierConfig) -> None:
    """Train what requires gradients, from a warm-up to a rate of zero."""
    began = time.perf_counter()
    task = ClassificationTask(classifier.head, stage.loss)
    module = TaskModule(task, device=torch.device("cpu"), precision="float32")
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    parameters = [p for p in classifier.head.parameters() if p.requires_grad]
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
    classifier.seconds += time.perf_counter() - began
    classifier.loss = float(np.mean(losses[-max(1, len(losses) // 10) :]))
