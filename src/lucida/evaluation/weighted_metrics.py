"""Metrics of a classifier under weights of its rows, for many sets of weights at once.

A resample is a set of weights, a plain score is weights of one: both come from the functions here. ``R`` sets of
weights lie in the last dimension, ``[n, R]``, so that sums over rows are sums of contiguous vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucida.evaluation.labelled_scores import LabelledScores
from lucida.evaluation.resampling import Draw, Floats, sums_by


@dataclass(frozen=True)
class Counts:
    """What a confusion matrix is summed to, each ``[C, R]``: weights hit, weights said, weights true of each class."""

    hits: Floats
    predicted: Floats
    support: Floats


def counts_of(scored: LabelledScores, draw: Draw, model: int = 0) -> Counts:
    """Hits, predictions and support of each class in a draw; its added rows leave each class its number of rows."""
    classes, right, wrong = scored.classes, draw.right(model), draw.wrong(model)
    support, weights = scored.support[:, None].astype(np.float64), draw.weights
    share = np.divide(support, support + right + wrong, out=np.zeros_like(right), where=support > 0)
    if right.any() or wrong.any():
        weights = weights * np.repeat(share.astype(weights.dtype), scored.support, axis=0)
    hit = scored.labels == scored.predicted
    added_right, added_wrong = right * share, wrong * share
    called = (np.arange(classes)[:, None] - draw.shift) % classes  # whose wrong row is called each class
    return Counts(
        hits=sums_by(scored.labels[hit], weights[hit], classes) + added_right,
        predicted=sums_by(scored.predicted, weights, classes)
        + added_right
        + np.take_along_axis(added_wrong, called, axis=0),
        support=sums_by(scored.labels, weights, classes) + added_right + added_wrong,
    )


def _ratio(above: Floats, below: Floats, otherwise: float = np.nan) -> Floats:
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, otherwise), where=below > 0)


def class_metrics(counts: Counts) -> dict[str, Floats]:
    """Precision, recall and F1 of each class, ``[C, R]``: NaN for the precision of a class that is never said, and for
    the recall and F1 of one that has no row."""
    return {
        "precision": _ratio(counts.hits, counts.predicted),
        "recall": _ratio(counts.hits, counts.support),
        "f1": np.where(counts.support > 0, _ratio(2 * counts.hits, counts.support + counts.predicted), np.nan),
    }


def mean_metrics(counts: Counts) -> dict[str, Floats]:
    """Accuracy, macro and weighted means, MCC and the worst recall, ``[R]``; means are over classes that have rows.

    The precision of a class that is never said counts as zero, as in scikit-learn: else silence about a hard class
    would raise the mean. MCC (Gorodkin 2004) is zero where one class alone is said, and NaN where one alone is true.
    """
    present = counts.support.max(axis=1) > 0
    rows = {name: np.nan_to_num(values[present]) for name, values in class_metrics(counts).items()}
    support = counts.support[present]
    total = support.sum(axis=0)
    hits = counts.hits.sum(axis=0)
    means = {"accuracy": hits / total, "balanced_accuracy": rows["recall"].mean(axis=0)}
    for name, values in rows.items():
        means[f"{name}_macro"] = values.mean(axis=0)
        means[f"{name}_weighted"] = (values * support).sum(axis=0) / total
    covariance = hits * total - (counts.predicted * counts.support).sum(axis=0)
    spread_said = np.maximum(total**2 - (counts.predicted**2).sum(axis=0), 0)
    spread_true = np.maximum(total**2 - (support**2).sum(axis=0), 0)
    means["mcc"] = _ratio(covariance, np.sqrt(spread_said) * np.sqrt(spread_true), 0.0)
    if present.sum() < 2:
        means["mcc"] = np.full_like(total, np.nan)
    means["worst_class_recall"] = rows["recall"].min(axis=0)
    return means


class Ranking:
    """One class against all others, ordered once by its scores, to be weighed many times.

    Args:
        score: higher means positive, ``[n]``.
        positive: ``bool [n]``.
    """

    def __init__(self, score: Floats, positive: NDArray[np.bool_]):
        self.order = np.argsort(-score, kind="stable")
        in_order = positive[self.order]
        falls = np.flatnonzero(np.diff(score[self.order])) + 1
        edges = np.concatenate([[0], falls, [len(score)]])
        # Only scores that a positive has matter: negatives between two of them are summed at once.
        groups, self.first = np.unique(
            np.searchsorted(edges, np.flatnonzero(in_order), side="right") - 1, return_index=True
        )
        bounds = np.unique(np.concatenate([[0], edges[groups], edges[groups + 1]]))
        self.segments = bounds[bounds < len(score)]
        self.start, self.end = np.searchsorted(bounds, edges[groups]), np.searchsorted(bounds, edges[groups + 1])
        self.positives = self.order[in_order]
        self.defined = 0 < len(self.positives) < len(score)

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Area under the ROC curve (ties half) and average precision, each ``[R]``, under ``weights [n, R]``.

        Average precision is that of scikit-learn: precision at each distinct score, weighted by the recall gained
        there, without interpolation. NaN where positives or negatives are missing.
        """
        if not self.defined:
            missing = np.full(weights.shape[1], np.nan)
            return missing, missing
        until = np.zeros((len(self.segments) + 1, weights.shape[1]))
        np.cumsum(np.add.reduceat(weights[self.order], self.segments, axis=0), axis=0, out=until[1:])
        gained = np.add.reduceat(weights[self.positives], self.first, axis=0).astype(np.float64)
        found, seen = np.cumsum(gained, axis=0), until[self.end]
        negatives = until[-1] - found[-1]
        # A positive outranks the negatives that come after it, and half of those at its own score.
        outranked = negatives - (seen - found) + (seen - until[self.start] - gained) / 2
        roc = (gained * outranked).sum(axis=0) / (found[-1] * negatives)
        return roc, (gained * _ratio(found, seen, 0.0)).sum(axis=0) / found[-1]


def binned_gaps(scored: LabelledScores, weights: Floats, bins: int) -> Floats:
    """The mean distance ``[R]`` between confidence and share of right answers over equal-width bins."""
    right = scored.labels == scored.predicted
    inside = np.minimum((scored.confidence * bins).astype(np.int64), bins - 1)
    gaps = sums_by(inside, weights * (scored.confidence - right)[:, None].astype(weights.dtype), bins)
    return np.abs(gaps).sum(axis=0) / weights.sum(axis=0, dtype=np.float64)


def log_loss(scored: LabelledScores, weights: Floats) -> Floats:
    """Mean of minus the log probability of the true class, ``[R]``."""
    total = weights.sum(axis=0, dtype=np.float64)
    return -(scored.log_likelihood.astype(weights.dtype) @ weights).astype(np.float64) / total
