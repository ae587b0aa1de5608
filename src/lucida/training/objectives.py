"""What a dual encoder is trained for: one config, from which its task is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed
from lucida.data.pairs import FeaturePairs
from lucida.models.captioner import Captioner, ClassHead
from lucida.training.tasks import (
    ClassificationTask,
    ContrastiveTask,
    FeatureTask,
    LanguageTask,
    MultiTask,
    Part,
    SigmoidTask,
)

Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss of a dual encoder, and what it learns beside.

    Attributes:
        loss: "softmax" over the batch (CLIP), or "sigmoid" of every pair (SigLIP).
        hard_negatives: how much more a negative counts that looks like a positive, 0 for all alike; of the softmax.
        label_smoothing: share of the target that is spread over the batch; of the softmax.
        positive_weight: how much a positive counts beside a negative; of the sigmoid.
        captioning: weight of saying the caption from the picture's vector, beside the contrastive loss.
        classification: weight of naming the picture's class (its category where it is artwork), likewise.
    """

    loss: Loss = "softmax"
    hard_negatives: float = 0.0
    label_smoothing: float = 0.0
    positive_weight: float = 1.0
    captioning: float = 0.0
    classification: float = 0.0

    def __post_init__(self) -> None:
        allowed = {
            "loss": self.loss in get_args(Loss),
            "hard_negatives": self.hard_negatives >= 0,
            "label_smoothing": 0 <= self.label_smoothing <= 1,
            "positive_weight": self.positive_weight > 0,
            "captioning": self.captioning >= 0,
            "classification": self.classification >= 0,
        }
        for name, fine in allowed.items():
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)!r}", where="ObjectiveConfig")
        others = {"softmax": ("positive_weight",), "sigmoid": ("hard_negatives", "label_smoothing")}[self.loss]
        for name in others:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise LucidaError(f"{name} is not for the {self.loss} loss", where="ObjectiveConfig")

    @property
    def start(self) -> dict[str, Any]:
        """Temperature and bias that fresh heads begin with: those of the papers."""
        if self.loss == "softmax":
            return {"initial_temperature": 0.07, "logit_bias": None}
        return {"initial_temperature": 0.1, "logit_bias": -10.0}


def make_task(
    encoder: nn.Module,
    objective: ObjectiveConfig,
    *,
    embedding_size: int,
    vocabulary: int | None = None,
    classes: int | None = None,
    seed: int = 0,
) -> FeatureTask:
    """The task of a dual encoder.

    Batches hold ``image``, ``text`` and ``ids``; for captioning also ``caption_ids`` and ``caption_labels``, for
    classification ``classes`` (:class:`~lucida.data.pairs.FeaturePairs` gives all of them).

    Args:
        encoder: its model; for the sigmoid loss it has a bias.
        objective: the losses.
        embedding_size: of its common space.
        vocabulary: number of tokens that captions are made of; ``None`` where there are no captions.
        classes: how many; ``None`` where there are none.
        seed: of the fresh weights of what is learned beside.

    Raises:
        LucidaError: captions are to be said or classes to be told, and there are none.
    """
    if objective.loss == "sigmoid":
        main: ContrastiveTask = SigmoidTask(encoder, positive_weight=objective.positive_weight)
    else:
        options = {"label_smoothing": objective.label_smoothing, "hard_negatives": objective.hard_negatives}
        main = ContrastiveTask(encoder, **options)
        if isinstance(bias := getattr(encoder, "logit_bias", None), nn.Parameter):
            bias.requires_grad_(False)  # a softmax does not see it
    parts: dict[str, Part] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "beside the contrastive loss"))
        if objective.captioning:
            if vocabulary is None:
                raise LucidaError("there are no captions to learn to say", remedy="leave captioning at 0")
            inputs = {"image_features": "image_features", "input_ids": "caption_ids", "labels": "caption_labels"}
            captioner = LanguageTask(Captioner(embedding_size, vocabulary))
            parts["captioning"] = Part(captioner, objective.captioning, inputs)
        if objective.classification:
            if classes is None or classes < 2:
                raise LucidaError("there are no classes to learn to tell", remedy="leave classification at 0")
            inputs = {"image_features": "image_features", "labels": "classes"}
            head = ClassificationTask(ClassHead(embedding_size, classes))
            parts["classification"] = Part(head, objective.classification, inputs)
    return MultiTask(main, parts) if parts else main


def heads_task(
    encoder: nn.Module, objective: ObjectiveConfig, pairs: FeaturePairs, *, embedding_size: int, seed: int
) -> FeatureTask:
    """:func:`make_task` for heads on features: captions and classes are those of the pairs.

    Raises:
        LucidaError: as there.
    """
    return make_task(
        encoder,
        objective,
        embedding_size=embedding_size,
        vocabulary=None if pairs.words is None else pairs.words.vocabulary,
        classes=None if pairs.classes is None else int(pairs.classes.max(initial=-1)) + 1,
        seed=seed,
    )
