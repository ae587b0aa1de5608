"""Remedies for imbalanced classes, by name, and classifiers on frozen features trained under any of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.seeds import derive_seed, stream
from lucida.data.sampling import Sampling
from lucida.losses.imbalance import ClassLoss, deferred, make_loss
from lucida.training.classifier import Classifier, ClassifierConfig, FrozenFeatures, Stage, new_classifier, train_stage
from lucida.training.post_hoc import adjusted_logits, moved_thresholds

__all__ = [
    "REMEDIES", "Classifier", "ClassifierConfig", "Remedy", "adjusted_logits", "fit_classifier", "moved_thresholds",
]  # fmt: skip

PostHoc = Literal["none", "logit_adjustment", "retrain_classifier", "tau_normalisation", "thresholds"]


@dataclass(frozen=True)
class Remedy:
    """What is done about imbalance: in the loss, in the choice of rows, and after the training.

    Attributes:
        name: as in :data:`REMEDIES`.
        loss: one of :data:`lucida.losses.imbalance.LOSSES`.
        loss_settings: of the loss.
        sampling: which rows the batches show.
        deferred: the share of the training after which class-balanced weights set in; ``None`` for never.
        synthetic: whether rows that would be shown again are replaced by synthetic ones (SMOTE).
        post_hoc: what follows the training.
        post_hoc_settings: of that.
        head: ``"cosine"`` for losses with margins.
        grid: the settings that may be tuned, with the values to try.
    """

    name: str
    loss: str = "cross_entropy"
    loss_settings: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = "instance"
    deferred: float | None = None
    synthetic: bool = False
    post_hoc: PostHoc = "none"
    post_hoc_settings: Mapping[str, Any] = field(default_factory=dict)
    head: Literal["linear", "cosine"] = "linear"
    grid: Mapping[str, tuple] = field(default_factory=dict)

    def with_settings(self, **settings: Any) -> Remedy:
        """The remedy with other settings, named as in ``grid``."""
        own = {f.name for f in fields(self)} - {"name", "grid"}
        after = {k: v for k, v in settings.items() if k in self.post_hoc_settings}
        direct = {k: v for k, v in settings.items() if k in own}
        loss = {k: v for k, v in settings.items() if k not in after and k not in direct}
        return replace(
            self,
            loss_settings={**self.loss_settings, **loss},
            post_hoc_settings={**self.post_hoc_settings, **after},
            **direct,
        )

    def make_loss(self, counts: Any) -> ClassLoss:
        """The loss for data with these examples of each class."""
        if self.deferred is not None:
            return deferred(self.loss, counts, self.deferred, **self.loss_settings)
        return make_loss(self.loss, counts, **self.loss_settings)


_BETAS, _TAUS = (0.99, 0.999, 0.9999), (0.5, 1.0, 1.5)
_ALL = (
    Remedy("cross_entropy"),
    Remedy("oversampling", sampling="oversampled"),
    Remedy("undersampling", sampling="undersampled"),
    Remedy("class_balanced_sampling", sampling="class_balanced"),
    Remedy("square_root_sampling", sampling="square_root"),
    Remedy("smote", sampling="oversampled", synthetic=True),
    Remedy("weighted", loss="weighted", grid={"exponent": (0.5, 0.75, 1.0)}),
    Remedy("focal", loss="focal", grid={"gamma": (0.5, 1.0, 2.0)}),
    Remedy("class_balanced", loss="class_balanced", grid={"beta": _BETAS}),
    Remedy("class_balanced_focal", loss="class_balanced", loss_settings={"base": "focal"}, grid={"beta": _BETAS}),
    Remedy("ldam", loss="ldam", head="cosine", grid={"max_margin": (0.3, 0.5, 0.7)}),
    Remedy("ldam_drw", loss="ldam", deferred=0.8, head="cosine", grid={"max_margin": (0.3, 0.5, 0.7)}),
    Remedy("cross_entropy_drw", deferred=0.8, grid={"beta": _BETAS}),
    Remedy("logit_adjustment_loss", loss="logit_adjusted", grid={"tau": _TAUS}),
    Remedy(
        "logit_adjustment_post_hoc", post_hoc="logit_adjustment", post_hoc_settings={"tau": 1.0}, grid={"tau": _TAUS}
    ),
    Remedy("classifier_retraining", post_hoc="retrain_classifier", post_hoc_settings={"share": 0.3}),
    Remedy("tau_normalisation", post_hoc="tau_normalisation", post_hoc_settings={"tau": 1.0}, grid={"tau": _TAUS}),
    Remedy("threshold_moving", post_hoc="thresholds", post_hoc_settings={"metric": "balanced_accuracy"}),
)

REMEDIES: Mapping[str, Remedy] = {remedy.name: remedy for remedy in _ALL}
"""All remedies, by name."""


def fit_classifier(
    features: NDArray | Tensor,
    labels: NDArray | Tensor,
    classes: int,
    remedy: Remedy,
    settings: ClassifierConfig | None = None,
    *,
    seed: int,
    views: NDArray | Tensor | None = None,
) -> Classifier:
    """A classifier on frozen features under a remedy: for every remedy the same steps, batch size and first weights.

    Args:
        features: float32 ``[N, D]``; a memory-mapped array will do.
        labels: ``int64 [N]``, from 0 to ``classes - 1``.
        classes: the number of classes; each has an example.
        remedy: one of :data:`REMEDIES`, perhaps with other settings.
        settings: of the training.
        seed: of the first weights, the rows and what is drawn of them.
        views: ``[V, N, D]`` features of augmented views: each time a row is shown, one of them is drawn.

    Raises:
        LucidaError: shapes that do not fit, a class without an example, labels out of range, values not finite.
    """
    config = settings or ClassifierConfig()
    data = FrozenFeatures(features, labels, classes, views)
    began = time.perf_counter()
    classifier = _trained(data, remedy, config, seed)
    if remedy.post_hoc == "thresholds":
        logits, truth = held_out_logits(data, remedy, config, seed)
        classifier.offsets = moved_thresholds(logits, truth, **remedy.post_hoc_settings)
    classifier.seconds = time.perf_counter() - began
    return classifier


def _trained(data: FrozenFeatures, remedy: Remedy, config: ClassifierConfig, seed: int) -> Classifier:
    """Trained and, where it needs no held-out rows, corrected."""
    loss = remedy.make_loss(data.counts)
    scale = float(getattr(getattr(loss, "base", loss), "scale", 1.0))
    classifier = new_classifier(data, config, remedy.head, scale, seed)
    near = data.neighbours() if remedy.synthetic else None
    last = 0
    if remedy.post_hoc == "retrain_classifier":
        last = min(config.steps - 1, max(1, round(remedy.post_hoc_settings["share"] * config.steps)))
    train_stage(classifier, data, Stage(loss, remedy.sampling, config.steps - last, seed, near), config)
    if last:
        fresh = new_classifier(data, config, remedy.head, scale, derive_seed(seed, "second stage"))
        classifier.head.last = fresh.head.last
        classifier.head.body.requires_grad_(False)
        again = Stage(loss, "class_balanced", last, derive_seed(seed, "second stage"))
        train_stage(classifier, data, again, config)
    if remedy.post_hoc == "logit_adjustment":
        classifier.offsets = adjusted_logits(classifier.offsets[None], data.counts, **remedy.post_hoc_settings)[0]
    if remedy.post_hoc == "tau_normalisation":
        _normalise(classifier, **remedy.post_hoc_settings)
    return classifier


@torch.no_grad()
def _normalise(classifier: Classifier, tau: float) -> None:
    """Rows of the last layer divided by their length to the power ``tau``, no bias (Kang et al. 2020, eq. 10)."""
    last: Any = classifier.head.last
    last.weight /= last.weight.norm(dim=1, keepdim=True) ** tau
    if last.bias is not None:
        last.bias.zero_()


def folds_of(labels: NDArray, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, ``int64 [N]``, every class spread evenly; -1 (never held out) where it has one row."""
    generator = stream(seed, "folds")
    answer = np.empty(len(labels), np.int64)
    dealt = 0
    for c in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == c))
        answer[rows] = (dealt + np.arange(len(rows))) % folds if len(rows) > 1 else -1
        dealt += len(rows) % folds
    return answer


def held_out_logits(
    data: FrozenFeatures, remedy: Remedy, config: ClassifierConfig, seed: int, folds: int = 5
) -> tuple[Tensor, Tensor]:
    """Logits ``[m, C]`` of every row by a classifier that has not seen it, and the labels ``[m]``."""
    plain = replace(remedy, post_hoc="none", post_hoc_settings={}) if remedy.post_hoc == "thresholds" else remedy
    fold = folds_of(data.labels, folds, seed)
    logits, labels = [], []
    for k in range(folds):
        kept, held = fold != k, fold == k
        views = None if data.views is None else data.views[:, kept]
        part = FrozenFeatures(data.features[kept], data.labels[kept], data.classes, views)
        logits.append(_trained(part, plain, config, seed).logits(data.features[held]))
        labels.append(torch.from_numpy(data.labels[held]))
    return torch.cat(logits), torch.cat(labels)
