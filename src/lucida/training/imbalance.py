"""Remedies for imbalanced classes, by name, and classifiers on frozen features trained under any of them.

A remedy acts at one of three places: which rows a batch shows (:mod:`lucida.data.sampling`, :mod:`lucida.data.smote`),
what the loss is (:mod:`lucida.losses.imbalance`), or what is done after the training
(:mod:`lucida.training.post_hoc`). The first two serve every task of the training loop:
:class:`~lucida.training.batches.Resampled` chooses rows for any of them, and
:class:`~lucida.training.tasks.ClassificationTask` takes any loss over classes. The third works on any logits.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed, stream
from lucida.data.sampling import Sampling
from lucida.data.smote import neighbours_of_rare
from lucida.losses.imbalance import ClassLoss, Counts, deferred, make_loss
from lucida.training.classifier import Classifier, ClassifierConfig, Stage, new_classifier, train_stage
from lucida.training.frozen_features import FrozenFeatures
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
        source: where it comes from.
        cost: what it costs beside plain training, in words.
        loss: one of :data:`lucida.losses.imbalance.LOSSES`.
        loss_settings: of the loss.
        sampling: which rows the batches show.
        deferred: the share of the training after which class-balanced weights set in; ``None`` for never.
        synthetic: whether rows that would be shown again are replaced by synthetic ones (SMOTE).
        k_neighbors: of SMOTE.
        post_hoc: what follows the training.
        post_hoc_settings: of that.
        head: ``"cosine"`` for losses with margins.
        grid: the settings that may be tuned, with the values to try.
    """

    name: str
    source: str = ""
    cost: str = "none"
    loss: str = "cross_entropy"
    loss_settings: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = "instance"
    deferred: float | None = None
    synthetic: bool = False
    k_neighbors: int = 5
    post_hoc: PostHoc = "none"
    post_hoc_settings: Mapping[str, Any] = field(default_factory=dict)
    head: Literal["linear", "cosine"] = "linear"
    grid: Mapping[str, tuple] = field(default_factory=dict)

    def with_settings(self, **settings: Any) -> Remedy:
        """The remedy with other settings: its own fields, those of what follows the training, else those of the loss.

        >>> REMEDIES["focal"].with_settings(gamma=1.0).loss_settings
        {'gamma': 1.0}
        >>> REMEDIES["smote"].with_settings(k_neighbors=3).k_neighbors
        3
        """
        own = {k: v for k, v in settings.items() if k in {f.name for f in fields(self)}}
        after = {k: v for k, v in settings.items() if k in self.post_hoc_settings}
        loss = {k: v for k, v in settings.items() if k not in own and k not in after}
        return replace(
            replace(self, **own),
            loss_settings={**own.get("loss_settings", self.loss_settings), **loss},
            post_hoc_settings={**own.get("post_hoc_settings", self.post_hoc_settings), **after},
        )

    def make_loss(self, counts: Counts) -> ClassLoss:
        """The loss for data with so many examples of each class."""
        if self.deferred is not None:
            return deferred(self.loss, counts, self.deferred, **self.loss_settings)
        return make_loss(self.loss, counts, **self.loss_settings)

    @property
    def training(self) -> Remedy:
        """The part that is over when the training is; remedies that share it need only one."""
        if self.post_hoc == "retrain_classifier":
            return replace(self, name="", source="", cost="", grid={})
        return replace(self, name="", source="", cost="", grid={}, post_hoc="none", post_hoc_settings={})


_KANG, _CUI, _CAO, _MENON = "Kang et al. 2020", "Cui et al. 2019", "Cao et al. 2019", "Menon et al. 2021"
_BETAS, _TAUS, _MARGINS = (0.99, 0.999, 0.9999), (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0), (0.1, 0.2, 0.5)
_ALL = (
    Remedy("cross_entropy", "the plain training that every other is compared with"),
    Remedy("oversampling", "rows of small classes again and again, every class as often as the largest",
           "an epoch is C · max n rows: at equal steps the common classes are seen less often", sampling="oversampled"),
    Remedy("undersampling", "every class as often as the smallest, other rows in each epoch",
           "an epoch sees little of the common classes", sampling="undersampled"),
    Remedy("class_balanced_sampling", f"the class drawn evenly, then a row of it ({_KANG})", sampling="class_balanced"),
    Remedy("square_root_sampling", f"classes drawn by √n ({_KANG})", sampling="square_root"),
    Remedy("smote", "points between a row and one of its neighbours of the same class (Chawla et al. 2002), new ones "
           "in each epoch", "neighbours once: n_c² · D operations a class; for features only, not for pictures",
           sampling="oversampled", synthetic=True, grid={"k_neighbors": (3, 5, 10)}),
    Remedy("weighted", "cross-entropy with weights n ** -exponent", loss="weighted",
           grid={"exponent": (0.5, 0.75, 1.0)}),
    Remedy("focal", "cross-entropy times (1 - p) ** gamma (Lin et al. 2017): made for easy negatives, not for tails",
           loss="focal", grid={"gamma": (0.5, 1.0, 2.0)}),
    Remedy("class_balanced", f"weights by the effective number of examples ({_CUI})", loss="class_balanced",
           grid={"beta": _BETAS}),
    Remedy("class_balanced_focal", f"the same with the focal loss ({_CUI})", loss="class_balanced",
           loss_settings={"base": "focal"}, grid={"beta": _BETAS}),
    Remedy("ldam", f"larger margins for rarer classes, on cosines ({_CAO})", "a normalised last layer", loss="ldam",
           head="cosine", grid={"max_margin": _MARGINS}),
    Remedy("ldam_drw", f"LDAM, class-balanced weights for the last fifth of the training ({_CAO})",
           "a normalised last layer", loss="ldam", deferred=0.8, head="cosine", grid={"max_margin": _MARGINS}),
    Remedy("cross_entropy_drw", f"class-balanced weights for the last fifth of the training ({_CAO})", deferred=0.8,
           grid={"beta": _BETAS}),
    Remedy("logit_adjustment_loss", f"tau · log prior added to the logits in the loss ({_MENON})",
           loss="logit_adjusted", grid={"tau": _TAUS}),
    Remedy("logit_adjustment_post_hoc", f"tau · log prior taken from the logits afterwards ({_MENON})",
           "no training: works on any logits", post_hoc="logit_adjustment", post_hoc_settings={"tau": 1.0},
           grid={"tau": _TAUS}),
    Remedy("classifier_retraining", f"the last layer again from the start, classes drawn evenly (cRT, {_KANG}); on a "
           "linear classifier of frozen features that is class-balanced sampling with fewer steps",
           "the last steps see no other layer", post_hoc="retrain_classifier", post_hoc_settings={"share": 0.3}),
    Remedy("tau_normalisation", f"rows of the last layer divided by their length ** tau, no bias ({_KANG})",
           "no training", post_hoc="tau_normalisation", post_hoc_settings={"tau": 1.0},
           grid={"tau": (0.5, 0.75, 1.0)}),
    Remedy("threshold_moving", "an offset for each class, or one threshold for two, that is best on held-out rows",
           "five more trainings, for logits of rows that were not trained on", post_hoc="thresholds",
           post_hoc_settings={"metric": "balanced_accuracy"}),
)  # fmt: skip

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
        features: float ``[N, D]``; a memory-mapped array will do, batches become float32.
        labels: ``int64 [N]``, from 0 to ``classes - 1``.
        classes: the number of classes; each has an example.
        remedy: one of :data:`REMEDIES`, perhaps with other settings.
        settings: of the training.
        seed: of the first weights, the rows and what is drawn of them.
        views: ``[V, N, D]`` features of augmented views: each time a row is shown, one of them is drawn.

    Returns:
        The classifier; its ``seconds`` are those of everything, trainings for thresholds too.

    Raises:
        LucidaError: shapes that do not fit, a class without an example, labels out of range, values not finite.
    """
    began = time.perf_counter()
    config = settings or ClassifierConfig()
    data = FrozenFeatures(features, labels, classes, views)
    classifier = corrected(trained(data, remedy, config, seed), remedy, data.counts)
    if remedy.post_hoc == "thresholds":
        (logits,), truth, _ = held_out_logits(data, [(remedy, config)], seed)
        classifier.offsets = moved_thresholds(logits, truth, **remedy.post_hoc_settings)
    classifier.seconds = time.perf_counter() - began
    return classifier


def trained(data: FrozenFeatures, remedy: Remedy, config: ClassifierConfig, seed: int) -> Classifier:
    """A classifier at the end of its training, before what needs none."""
    loss = remedy.make_loss(data.counts)
    scale = float(getattr(getattr(loss, "base", loss), "scale", 1.0))  # of LDAM's cosines
    near = neighbours_of_rare(data.features, data.labels, remedy.k_neighbors) if remedy.synthetic else None
    classifier = new_classifier(data, config, remedy.head, scale, seed)
    again = 0
    if remedy.post_hoc == "retrain_classifier":
        again = min(config.steps - 1, max(1, round(remedy.post_hoc_settings["share"] * config.steps)))
    train_stage(classifier, data, Stage(loss, remedy.sampling, config.steps - again, seed, near), config)
    if again:
        second = derive_seed(seed, "second stage")
        classifier.layers.last = new_classifier(data, config, remedy.head, scale, second).layers.last
        classifier.layers.body.requires_grad_(False)
        train_stage(classifier, data, Stage(loss, "class_balanced", again, second), config)
    return classifier


def corrected(classifier: Classifier, remedy: Remedy, counts: Counts) -> Classifier:
    """The classifier after what is done without training; the given one is unchanged."""
    if remedy.post_hoc == "logit_adjustment":
        offsets = adjusted_logits(classifier.offsets[None], counts, **remedy.post_hoc_settings)[0]
        return replace(classifier, offsets=offsets)
    if remedy.post_hoc == "tau_normalisation":
        return replace(classifier, layers=copy.deepcopy(classifier.layers).normalised(**remedy.post_hoc_settings))
    return replace(classifier)


def folds_of(labels: NDArray, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, ``int64 [N]``, every class spread evenly; -1 (never held out) where it has one row.

    Raises:
        LucidaError: fewer than two folds.
    """
    if folds < 2:
        raise LucidaError("cross-validation needs at least two folds", where=f"folds = {folds}")
    generator = stream(seed, "folds")
    answer = np.empty(len(labels), np.int64)
    dealt = 0
    for c in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == c))
        answer[rows] = (dealt + np.arange(len(rows))) % folds if len(rows) > 1 else -1
        dealt += len(rows) if len(rows) > 1 else 0
    return answer


def held_out_logits(
    data: FrozenFeatures, variants: Sequence[tuple[Remedy, ClassifierConfig]], seed: int, folds: int = 5
) -> tuple[list[Tensor], Tensor, int]:
    """What classifiers say of rows that they have not seen: every row is held out once.

    Returns:
        For each variant logits ``[m, C]`` (thresholds are not moved), the labels ``int64 [m]``, and the number of
        trainings: variants that differ after the training only share them.
    """
    fold = folds_of(data.labels, folds, seed)
    parts = [(remedy.training, config) for remedy, config in variants]
    logits: list[list[Tensor]] = [[] for _ in variants]
    trainings = 0
    for k in range(folds):
        kept, held = data.part(fold != k), np.asarray(data.features[fold == k])
        done: list[Classifier] = []
        for i, part in enumerate(parts):
            first = parts.index(part)
            done.append(done[first] if first < i else trained(kept, *part, seed))
            trainings += first == i
            logits[i].append(corrected(done[i], variants[i][0], kept.counts).logits(held))
    truth = torch.cat([torch.from_numpy(data.labels[fold == k]) for k in range(folds)]).long()
    return [torch.cat(found) for found in logits], truth, trainings
