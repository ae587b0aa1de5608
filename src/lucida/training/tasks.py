"""What is trained: a model and its loss. A new objective is one small class here or in the user's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.imbalance import ClassLoss, ScheduledLoss
from lucida.losses.language_modeling import IGNORE_INDEX
from lucida.losses.ring import Ring
from lucida.losses.sigmoid import sigmoid_loss
from lucida.training.batches import Batch


class LossOutput(NamedTuple):
    """A loss as a sum and the number of units it sums over, so that parts add up to the whole exactly.

    Attributes:
        loss_sum: the summed loss, a scalar with a graph.
        weight: the number of supervised units (tokens, pairs).
        metrics: other means over the same units, for the log.
    """

    loss_sum: Tensor
    weight: Tensor | float
    metrics: dict[str, Tensor | float] = {}  # noqa: RUF012  # NamedTuple defaults are never written to


class Features(NamedTuple):
    """What a loss over the whole batch needs of each part of it.

    Attributes:
        rows: tensors with one row an example; their parts are concatenated over micro-batches.
        shared: scalars that do not depend on the examples, such as ``logit_scale``.
    """

    rows: dict[str, Tensor]
    shared: dict[str, Tensor]


@runtime_checkable
class Task(Protocol):
    """A model with a loss that is a sum over independent units."""

    model: nn.Module

    def loss(self, batch: Batch) -> LossOutput:
        """The loss of one (micro-)batch."""


@runtime_checkable
class FeatureTask(Protocol):
    """A model with a loss in which every example meets every other: the features of the whole batch come first."""

    model: nn.Module

    def features(self, batch: Batch) -> Features:
        """The features of one (micro-)batch."""

    def loss_of_features(self, features: Features, ring: Ring) -> LossOutput:
        """The loss of the whole batch, of which ``features`` are this process' rows: all of its micro-batches.

        It is the same in all processes of the ring, its gradient at rows that of this process' own, and at shared
        scalars that of the whole batch.
        """


@runtime_checkable
class ScheduledTask(Protocol):
    """A task whose loss changes along the training; the loop says before each step where it is."""

    def set_progress(self, progress: float) -> None:
        """The share of the training that is done, in ``[0, 1)``."""


class ContrastiveTask:
    """A dual encoder under the symmetric contrastive loss.

    Args:
        model: has ``encode_image(**kwargs)`` and ``encode_text(**kwargs)``, both ``[B, d]`` with rows of length one,
            and ``logit_scale``, the (clamped) multiplier.
        label_smoothing: share of the target mass that is spread over the batch.
        hard_negatives: how much more a negative counts that looks like a positive; 0 for all alike.

    A batch holds ``image`` and ``text``, the keyword arguments of the two encoders, and ``ids``, ``int64 [B]``: pairs
    of one id are positives of each other.
    """

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0, hard_negatives: float = 0.0):
        self.model: Any = model
        self.label_smoothing, self.hard_negatives = label_smoothing, hard_negatives

    def features(self, batch: Batch) -> Features:
        rows = {
            "image_features": self.model.encode_image(**batch["image"]),
            "text_features": self.model.encode_text(**batch["text"]),
            "ids": batch["ids"],
        }
        return Features(rows, {"logit_scale": self.model.logit_scale})

    def loss_of_features(self, features: Features, ring: Ring) -> LossOutput:
        scale = features.shared["logit_scale"]
        images, texts, ids = (features.rows[name] for name in ("image_features", "text_features", "ids"))
        options: dict[str, Any] = {"label_smoothing": self.label_smoothing, "hard_negatives": self.hard_negatives}
        loss = contrastive_loss(images, texts, scale, ids=ids, ring=ring, **options)
        count = float(ring.total_rows)
        return LossOutput(loss * count, count, {"logit_scale": scale.detach()})


class SigmoidTask(ContrastiveTask):
    """A dual encoder under the sigmoid loss, as SigLIP was trained.

    Args:
        model: as for :class:`ContrastiveTask`, with a ``logit_bias`` beside ``logit_scale``.
        positive_weight: how much a positive counts; negatives count once.

    Raises:
        LucidaError: the model has no bias.
    """

    def __init__(self, model: nn.Module, *, positive_weight: float = 1.0):
        if getattr(model, "logit_bias", None) is None:
            raise LucidaError(
                "the sigmoid loss needs a logit_bias", remedy="build the dual encoder with one, -10 at first"
            )
        super().__init__(model)
        self.positive_weight = positive_weight

    def features(self, batch: Batch) -> Features:
        rows, shared = super().features(batch)
        return Features(rows, shared | {"logit_bias": self.model.logit_bias})

    def loss_of_features(self, features: Features, ring: Ring) -> LossOutput:
        scale, bias = features.shared["logit_scale"], features.shared["logit_bias"]
        images, texts, ids = (features.rows[name] for name in ("image_features", "text_features", "ids"))
        loss = sigmoid_loss(images, texts, scale, bias, ids=ids, positive_weight=self.positive_weight, ring=ring)
        count = float(ring.total_rows)
        return LossOutput(loss * count, count, {"logit_scale": scale.detach(), "logit_bias": bias.detach()})


class LanguageTask:
    """A (multimodal) language model under cross-entropy on its supervised tokens.

    Args:
        model: called with the batch as keyword arguments, returns an output with ``loss_sum`` (over the supervised
            tokens) and ``n_supervised``, their number.
    """

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        output = self.model(**batch)
        return LossOutput(output.loss_sum, output.n_supervised)


class ClassificationTask:
    """A network over classes under cross-entropy, or any other loss over classes.

    Args:
        model: called with the batch as keyword arguments, ``labels`` (``int64 [B]``) left out; returns logits
            ``[B, C]``. Under plain cross-entropy a label of ``IGNORE_INDEX`` does not count.
        class_loss: one of :mod:`lucida.losses.imbalance`; ``None`` for plain cross-entropy.
    """

    def __init__(self, model: nn.Module, class_loss: ClassLoss | None = None):
        self.model, self.class_loss = model, class_loss

    def loss(self, batch: Batch) -> LossOutput:
        labels = batch["labels"]
        logits = self.model(**{name: value for name, value in batch.items() if name != "labels"})
        if self.class_loss is None:
            loss_sum = F.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORE_INDEX)
            return LossOutput(loss_sum, (labels != IGNORE_INDEX).sum())
        return LossOutput(self.class_loss(logits, labels).sum(), self.class_loss.weights(labels).sum())

    def set_progress(self, progress: float) -> None:
        """Tell a loss that changes along the training how much of it is done."""
        if isinstance(self.class_loss, ScheduledLoss):
            self.class_loss.progress = progress


class Part(NamedTuple):
    """One more task of a :class:`MultiTask`.

    Attributes:
        task: its loss is a sum over independent units.
        weight: of its mean loss beside that of the main task.
        inputs: its batch: the name of each entry, and where that is found: in the features of the main task or in the
            batch.
    """

    task: Task
    weight: float
    inputs: Mapping[str, str]


class MultiTask:
    """One model under several losses: a contrastive task, and others on what it computes anyway.

    The loss is that of ``main`` plus the weighted mean losses of the parts, each over its own units in the whole batch
    (CoCa, Yu et al. 2022, arXiv:2205.01917, adds captioning to the contrastive loss in this way). Gradients are those
    of the whole batch, however it is cut and however many processes share it: what a part's loss sums to in a
    micro-batch travels with the features, evenly over its rows.

    Args:
        main: the features of its batch are computed once, for all.
        parts: by name; the log has each one's mean.

    Raises:
        LucidaError: a weight is negative.
    """

    def __init__(self, main: FeatureTask, parts: Mapping[str, Part]):
        for name, part in parts.items():
            if part.weight < 0:
                raise LucidaError(f"the weight of {name} cannot be {part.weight}", where="MultiTask")
        self.main, self.parts = main, dict(parts)
        self.model: nn.Module = nn.ModuleDict(
            {"main": main.model, **{name: part.task.model for name, part in parts.items()}}
        )

    def features(self, batch: Batch) -> Features:
        rows, shared = self.main.features(batch)
        known, count = {**batch, **rows}, len(next(iter(rows.values())))
        for name, part in self.parts.items():
            output = part.task.loss({key: known[source] for key, source in part.inputs.items()})
            weight = torch.as_tensor(output.weight).to(output.loss_sum)
            rows |= {_LOSS.format(name): (output.loss_sum / count).expand(count)}
            rows |= {_UNITS.format(name): (weight / count).expand(count)}
        return Features(rows, shared)

    def loss_of_features(self, features: Features, ring: Ring) -> LossOutput:
        output = self.main.loss_of_features(features, ring)
        mean, metrics = output.loss_sum / output.weight, dict(output.metrics)
        for name, part in self.parts.items():
            own = features.rows[_LOSS.format(name)].sum()
            units = features.rows[_UNITS.format(name)].sum()
            total, units = ring.total(torch.stack([own, units]).detach())
            # The value of all processes, with the gradient of this one's rows; nothing where nothing is supervised.
            of_part = (own + (total - own.detach())) / units.clamp(min=torch.finfo(units.dtype).tiny)
            mean, metrics[name] = mean + part.weight * of_part, of_part.detach()
        return LossOutput(mean * output.weight, output.weight, metrics)

    def set_progress(self, progress: float) -> None:
        """Tell the parts that change along the training how much of it is done."""
        for part in self.parts.values():
            if isinstance(part.task, ScheduledTask):
                part.task.set_progress(progress)


_LOSS, _UNITS = "{}: loss", "{}: units"
