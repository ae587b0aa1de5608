"""What needs no model: saying the most frequent class, and guessing. Every table of metrics carries these rows.

The first is "always negative" where few positives stand among many negatives: it is right as often as the negatives
are frequent, and finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.classification import (
    Measures,
    checked_counts,
    classification_metrics,
    named,
    positive_class,
)
from lucida.evaluation.labelled_scores import LabelledScores
from lucida.evaluation.resampling import Draw
from lucida.report.wording import interval, number

_RECALL_LOW = 0.1
_GAP = 0.15
_UNEVEN = 0.1  # how much more often than evenly the most frequent class must be right for size to matter


def always_majority(
    labels: ArrayLike, classes: int, train_counts: ArrayLike | None = None, **options: Any
) -> dict[str, Metric]:
    """Metrics of saying the most frequent class of training for every row; for two classes, always negative.

    Its probabilities are the shares of the classes in training, so that its log loss is that of knowing the shares and
    nothing else. What it finds of a class is certain: only what depends on how frequent the classes are has an
    interval.

    Args:
        labels: ``int [n]``.
        classes: their number.
        train_counts: ``[C]``; the test part's own counts without them.
        options: clusters, names, prefix, resamples and seed of
            :func:`~lucida.evaluation.classification.classification_metrics`.

    >>> metrics = always_majority([0] * 99 + [1], 2, [990, 10])
    >>> metrics["accuracy"].value, metrics["balanced_accuracy"].value, metrics["class/1/recall"].value
    (0.99, 0.5, 0.0)
    """
    y = _labels(labels, classes)
    counts = checked_counts(np.bincount(y, minlength=classes) if train_counts is None else train_counts, classes)
    assert counts is not None
    if counts.sum() == 0:
        raise LucidaError("no class has a row in training", where="training counts")
    shares = np.broadcast_to(counts / counts.sum(), (len(y), classes))
    metrics = classification_metrics(
        shares, y, train_counts=train_counts, scale="probabilities", **{**options, "resamples": 0}
    )
    certain = (name for name in metrics if name.endswith("recall"))
    return metrics | {name: Metric(metrics[name].value, None, metrics[name].n) for name in certain}


def chance(
    labels: ArrayLike,
    classes: int,
    train_counts: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    prefix: str = "",
) -> dict[str, Metric]:
    """What guessing every class equally often gives on average: exact, so without intervals.

    Its probabilities are all ``1 / C``. Precision, F1 and MCC are those of the average confusion matrix.

    Args:
        labels, classes, train_counts: as for :func:`always_majority`.
        names, prefix: as for :func:`~lucida.evaluation.classification.classification_metrics`.

    >>> metrics = chance([0] * 99 + [1], 2)
    >>> metrics["accuracy"].value, metrics["class/1/precision"].value, metrics["roc_auc"].value
    (0.5, 0.01, 0.5)
    """
    support = np.bincount(_labels(labels, classes), minlength=classes)
    true, said = np.divmod(np.arange(classes**2), classes)
    true, said = true[support[true] > 0], said[support[true] > 0]
    even = np.full(len(true), 1 / classes)
    guessed = LabelledScores(
        labels=true,
        predicted=said,
        ranking=np.tile(even[:, None], (1, classes)),
        log_likelihood=np.log(even),
        confidence=even,
        clusters=np.arange(len(true)),
    )
    weights = Draw(support[true][:, None] / classes, np.zeros((2, classes, 1)), np.ones(1, np.int64))
    values = Measures(guessed, checked_counts(train_counts, classes))(weights)
    # Sums of many equal shares miss whole numbers by a last bit: a calibration error of 7e-18 is none.
    metrics = {name: Metric(round(float(value.mean()), 12)) for name, value in values.items()}
    metrics |= {f"class/{c}/support": Metric(float(rows)) for c, rows in enumerate(support)}
    return named(metrics, classes, names, prefix)


def baselines(
    labels: ArrayLike, classes: int, train_counts: ArrayLike | None = None, **options: Any
) -> dict[str, dict[str, Metric]]:
    """The rows that stand in every table, by their name there; arguments as for :func:`always_majority`."""
    first = "always negative" if classes == 2 and positive_class(train_counts) == 1 else "always the most frequent"
    plain = {name: options[name] for name in ("names", "prefix") if name in options}
    return {
        first: always_majority(labels, classes, train_counts, **options),
        "chance": chance(labels, classes, train_counts, **plain),
    }


def warning_of(metrics: Mapping[str, Metric], baseline: Mapping[str, Metric], *, prefix: str = "") -> str | None:
    """One sentence where accuracy misleads, with the numbers that show it; None where it does not.

    It does where classes differ in size and a model is not clearly more accurate than saying the most frequent one
    every time, or where the frequent classes hide the others (balanced accuracy at least 15 points lower).

    Args:
        metrics: of the model.
        baseline: of :func:`always_majority` on the same rows.
        prefix: of the names in both.

    >>> silent = always_majority(np.repeat([0, 1], [990, 10]), 2, [9900, 100], resamples=0)
    >>> for part in warning_of(silent, silent).replace("\xa0", " ").split(", and "):
    ...     print(part)
    Accuracy (99.0 % [98.2, 99.5]) is no higher than saying the most frequent class every time (99.0 %)
    0.0 % of the rows of the rarer class are found: judge by balanced accuracy (50.0 %) and PR-AUC (0.010).
    """
    stem = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
    own = {name.removeprefix(stem): metric for name, metric in metrics.items() if name.startswith(stem)}
    present = sum(name.endswith("/support") and metric.value > 0 for name, metric in own.items())
    if present < 2:
        return None
    accuracy, balanced, silent = own["accuracy"], own["balanced_accuracy"].value, baseline[f"{stem}accuracy"].value
    rare, found = _least_frequent(own, present)
    rest = (
        f"{number(found, share=True)} of the rows of {rare} are found: "
        f"judge by balanced accuracy ({number(balanced, share=True)}) and PR-AUC ({number(own['pr_auc'].value)})."
    )
    words = f"Accuracy ({number(accuracy.value, share=True)} {interval(accuracy, share=True)}".strip() + ")"
    low = accuracy.value if accuracy.ci95 is None else accuracy.ci95[0]
    if silent >= 1 / present + _UNEVEN and low <= silent:
        height = "no higher" if accuracy.value <= silent else "not clearly higher"
        link = "and" if found <= _RECALL_LOW else "yet"
        than = f"than saying the most frequent class every time ({number(silent, share=True)})"
        return f"{words} is {height} {than}, {link} {rest}"
    if accuracy.value - balanced >= _GAP:
        return f"{words} is that of the frequent classes, but {rest}"
    return None


def _least_frequent(own: Mapping[str, Metric], present: int) -> tuple[str, float]:
    """What the warning calls the classes that accuracy hides, and their recall."""
    few = own.get("accuracy_few")
    if few is None or not np.isfinite(few.value):
        return "the worst class", own["worst_class_recall"].value
    return "the rarer class" if present == 2 else "the rarest classes", few.value


def _labels(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    y = np.asarray(labels)
    if y.ndim != 1 or len(y) == 0 or classes < 2:
        raise LucidaError(f"baselines need labels [n] and at least two classes, not {list(y.shape)} and {classes}")
    if y.min() < 0 or y.max() >= classes:
        raise LucidaError(f"a label is not one of the classes 0 to {classes - 1}", where="baselines")
    return y.astype(np.int64)
