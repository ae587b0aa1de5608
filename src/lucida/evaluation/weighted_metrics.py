"""Metrics of a classifier under weights of its rows, for many sets of weights at once.

A resample is a set of weights, a plain score is weights of one: both come from the functions here. ``R`` sets of
weights lie in the last dimension, ``[n, R]``, so that sums over rows are sums of contiguous vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucida.evaluation.labelled_scores import LabelledScores

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Counts:
    """What a confusion matrix is summed to, each ``[C, R]``: weights hit, weights said, weights true of each class."""

    hits: Floats
    predicted: Floats
    support: Floats


def sums_by(keys: NDArray[np.int64], weights: Floats, size: int) -> Floats:
    """Sums of ``weights [n, R]`` over rows of one key, ``float64 [size, R]``."""
    result = np.zeros((size, weights.shape[1]))
    if len(keys):
        order = np.argsort(keys, kind="stable")
        present, starts = np.unique(keys[order], return_index=True)
        taken = weights if np.array_equal(order, np.arange(len(keys))) else weights[order]
        result[present] = np.add.reduceat(taken, starts, axis=0)
    return result


def smoothed_counts(scored: LabelledScores, weights: Floats, right: Floats, wrong: Floats) -> Counts:
    """Hits, predictions and support of each class under ``weights [n, R]`` and added rows.

    Args:
        scored: rows sorted by class.
        weights: of the rows; those of a class sum to its number of rows.
        right, wrong: weight of added rows of each class, ``[C, R]``; what the wrong ones are called follows what the
            others are called. Each class keeps its number of rows.
    """
    support = scored.support[:, None].astype(np.float64)
    share = np.divide(support, support + right + wrong, out=np.zeros_like(right), where=support > 0)
    if right.any() or wrong.any():
        weights = weights * np.repeat(share.astype(weights.dtype), scored.support, axis=0)
    hit = scored.labels == scored.predicted
    hits = sums_by(scored.labels[hit], weights[hit], scored.classes) + right * share
    said = np.bincount(scored.predicted, minlength=scored.classes) + 1 / scored.classes
    called = np.where(np.eye(scored.classes, dtype=bool), 0, said)
    called /= called.sum(axis=1, keepdims=True)
    predicted = sums_by(scored.predicted, weights, scored.classes) + right * share + called.T @ (wrong * share)
    return Counts(
        hits,
        predicted,
        np.broadcast_to(sums_by(scored.labels, weights, scored.classes), hits.shape) + (right + wrong) * share,
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


def ranking_metrics(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Area under the ROC curve (ties half) and average precision of one class against the others, each ``[R]``.

    Average precision is that of scikit-learn: precision at each distinct score, weighted by the recall gained there,
    without interpolation. NaN where positives or negatives are missing.

    Args:
        score: higher means positive, ``[n]``.
        positive: ``bool [n]``.
        weights: ``[n, R]``.
    """
    if positive.all() or not positive.any():
        return np.full(weights.shape[1], np.nan), np.full(weights.shape[1], np.nan)
    order = np.argsort(-score, kind="stable")
    falls = np.flatnonzero(np.diff(score[order])) + 1
    edges = np.concatenate([[0], falls, [len(score)]])
    # Only scores that a positive has matter: negatives between two of them are summed at once.
    group_of = np.searchsorted(edges, np.flatnonzero(positive[order]), side="right") - 1
    groups, first = np.unique(group_of, return_index=True)
    starts, ends = edges[groups], edges[groups + 1]
    bounds = np.unique(np.concatenate([[0], starts, ends]))
    inner = bounds[bounds < len(score)]
    sorted_weights = weights[order]
    below = np.zeros((len(inner) + 1, weights.shape[1]))
    np.cumsum(np.add.reduceat(sorted_weights, inner, axis=0), axis=0, out=below[1:])
    before, until = below[np.searchsorted(bounds, starts)], below[np.searchsorted(bounds, ends)]
    gained = np.add.reduceat(sorted_weights[positive[order]], first, axis=0).astype(np.float64)
    found = np.cumsum(gained, axis=0)
    negatives_until = until - found
    negatives_here = (until - before) - gained
    positives = found[-1]
    negatives = below[-1] - positives
    outranked = gained * (negatives - negatives_until + negatives_here / 2)
    return outranked.sum(axis=0) / (positives * negatives), (gained * _ratio(found, until, 0.0)).sum(axis=0) / positives


def macro_ranking_metrics(scored: LabelledScores, weights: Floats, positive: int) -> dict[str, Floats]:
    """``roc_auc`` and ``pr_auc`` ``[R]``: of the positive class for two classes, else the means over one-vs-rest."""
    present = np.flatnonzero(scored.support)
    of = [positive] if scored.classes == 2 else present
    pairs = [ranking_metrics(scored.ranking[:, c], scored.labels == c, weights) for c in of]
    areas, precisions = (np.stack(column).mean(axis=0) for column in zip(*pairs, strict=True))
    return {"roc_auc": areas, "pr_auc": precisions}
