"""What is trained: a model and its loss. A new objective is one small class here or in the user's own code."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.imbalance import ClassLoss, ScheduledLoss
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

    A batch holds ``image`` and ``text``, the keyword arguments of the two encoders, and ``ids``, ``int64 [B]``: pairs
    of one id are positives of each other.
    """

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0):
        self.model: Any = model
        self.label_smoothing = label_smoothing

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
        loss = contrastive_loss(images, texts, scale, ids=ids, label_smoothing=self.label_smoothing, ring=ring)
        count = float(ring.total_rows)
        return LossOutput(loss * count, count, {"logit_scale": scale.detach()})


class SigmoidTask(ContrastiveTask):
    """A dual encoder under the sigmoid loss, as SigLIP was trained.

    Args:
        model: as for :class:`ContrastiveTask`, with a ``logit_bias`` beside ``logit_scale``.

    Raises:
        LucidaError: the model has no bias.
    """

    def __init__(self, model: nn.Module):
        if getattr(model, "logit_bias", None) is None:
            raise LucidaError(
                "the sigmoid loss needs a logit_bias", remedy="build the dual encoder with one, -10 at first"
            )
        super().__init__(model)

    def features(self, batch: Batch) -> Features:
        rows, shared = super().features(batch)
        return Features(rows, shared | {"logit_bias": self.model.logit_bias})

    def loss_of_features(self, features: Features, ring: Ring) -> LossOutput:
        scale, bias = features.shared["logit_scale"], features.shared["logit_bias"]
        images, texts, ids = (features.rows[name] for name in ("image_features", "text_features", "ids"))
        loss = sigmoid_loss(images, texts, scale, bias, ids=ids, ring=ring)
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
            ``[B, C]``.
        class_loss: one of :mod:`lucida.losses.imbalance`; ``None`` for plain cross-entropy.
    """

    def __init__(self, model: nn.Module, class_loss: ClassLoss | None = None):
        self.model, self.class_loss = model, class_loss

    def loss(self, batch: Batch) -> LossOutput:
        labels = batch["labels"]
        logits = self.model(**{name: value for name, value in batch.items() if name != "labels"})
        if self.class_loss is None:
            return LossOutput(F.cross_entropy(logits, labels, reduction="sum"), float(len(labels)))
        return LossOutput(self.class_loss(logits, labels).sum(), self.class_loss.weights(labels).sum())

    def set_progress(self, progress: float) -> None:
        """Tell a loss that changes along the training how much of it is done."""
        if isinstance(self.class_loss, ScheduledLoss):
            self.class_loss.progress = progress
