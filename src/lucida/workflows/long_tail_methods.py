"""What is compared on long-tailed pictures: every remedy on the same features, and what needs no training at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.evaluation.classification import parts_by_count
from lucida.training.classifier import ClassifierConfig
from lucida.training.imbalance import REMEDIES, Remedy, fit_classifier
from lucida.training.tuning import Floor, Tuning, tuned
from lucida.workflows.long_tail_features import Part

FOLDS = 3  # of the cross-validation
RATES = (0.1, 0.3, 1.0, 3.0)  # times the learning rate of the settings
PLAIN = "cross_entropy"
AUGMENTED = "augmented_oversampling"
MAJORITY, CHANCE = "always_the_largest_class", "chance"

TITLES: Mapping[str, str] = {
    PLAIN: "plain cross-entropy",
    "logit_adjustment_post_hoc": "logit adjustment, post-hoc",
    "tau_normalisation": "τ-normalised weights",
    "square_root_sampling": "square-root sampling",
    "class_balanced_sampling": "class-balanced sampling",
    "oversampling": "oversampling",
    "undersampling": "undersampling",
    "weighted": "weighted cross-entropy",
    "class_balanced": "class-balanced loss",
    "focal": "focal loss",
    "class_balanced_focal": "class-balanced focal loss",
    "logit_adjustment_loss": "logit-adjusted loss",
    "cross_entropy_drw": "cross-entropy, DRW",
    "ldam": "LDAM",
    "ldam_drw": "LDAM-DRW",
    "classifier_retraining": "classifier re-training",
    "threshold_moving": "threshold moving",
    "smote": "SMOTE",
    AUGMENTED: "augmented oversampling",
    "zero_shot": "zero-shot by class names",
    "zero_shot_adjusted": "zero-shot, logits adjusted",
    MAJORITY: "always the largest class",
    CHANCE: "chance",
}
"""What a person reads for the names of methods, from the simplest to the most elaborate: of those that cannot be told
from the best, the first is recommended."""


@dataclass(frozen=True, eq=False)
class Answered:
    """What a method says of a part's test pictures.

    Attributes:
        logits: ``[m, C]``.
        settings: that tuning chose.
        seconds: of the training; NaN if there was none.
        tuning_seconds: of the search for the settings.
    """

    logits: NDArray
    settings: Mapping[str, float] = field(default_factory=dict)
    seconds: float = float("nan")
    tuning_seconds: float = 0.0


def chosen_remedies(names: Sequence[str], *, views: bool) -> dict[str, Remedy]:
    """Remedies by name, all of them if none is named; plain cross-entropy is always among them.

    Args:
        views: whether there are augmented views, without which there is no remedy made of them.

    Raises:
        LucidaError: an unknown name.
    """
    known = dict(REMEDIES) | ({AUGMENTED: replace(REMEDIES["oversampling"], name=AUGMENTED)} if views else {})
    for name in names:
        if name not in known:
            raise LucidaError(f"no remedy {name!r}", where="--remedies", remedy=f"there are {', '.join(known)}")
    return {name: known[name] for name in known if not names or name in (*names, PLAIN)}


class Answerer:
    """Fits every remedy to one part after another, with settings found by cross-validation in training pictures.

    Args:
        remedies: by name.
        config: of every training.
        metric: settings are chosen by it.
        again: look for the settings in every part; else those of the first part are kept. Where all parts have the same
            test pictures, no test picture can be among those that decide, and one search will do.
        head_loss: settings are passed over that take more recall than this from the most frequent third, against plain
            training, both on held-out training pictures.
    """

    def __init__(
        self,
        remedies: Mapping[str, Remedy],
        config: ClassifierConfig,
        metric: str,
        *,
        again: bool,
        head_loss: float | None = None,
    ):
        self.remedies, self.config, self.metric, self.again = remedies, config, metric, again
        self.head_loss = head_loss
        self._found: dict[str, Tuning] = {}

    def __call__(self, part: Part) -> Iterator[tuple[str, Answered]]:
        """Every method's answers about the part's test pictures."""
        for name in counted(list(self.remedies), f"seed {part.seed}: remedies"):
            searched = 0.0
            if self.again or name not in self._found:
                self._found[name] = self._tuned(name, part)
                searched = self._found[name].seconds
            best, features, labels = self._found[name], part.features, part.labels
            if name == AUGMENTED:
                features = np.concatenate([features, part.extra_features])
                labels = np.concatenate([labels, part.extra_labels])
            fitted = fit_classifier(features, labels, part.classes, best.remedy, best.config, seed=part.seed)
            yield name, Answered(fitted.logits(part.test_features).numpy(), best.settings, fitted.seconds, searched)

    def _tuned(self, name: str, part: Part) -> Tuning:
        return tuned(
            self.remedies[name],
            part.features,
            part.labels,
            part.classes,
            self.config,
            seed=part.seed,
            folds=FOLDS,
            rates=[self.config.learning_rate * factor for factor in RATES],
            metric=self.metric,
            floor=None if name == PLAIN else self._floor(part),
        )

    def _floor(self, part: Part) -> Floor | None:
        """What must be left of plain training's recall of the most frequent third, if there is a limit."""
        if self.head_loss is None:
            return None
        head, plain = parts_by_count(part.counts)["many"], self._found[PLAIN].recalls
        assert plain is not None  # its rate is tuned, and it comes first
        return Floor(tuple(head.tolist()), float(np.nanmean(plain[head])) - self.head_loss)
