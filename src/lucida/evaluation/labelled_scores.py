"""Scores of a classifier beside the true classes: checked, sorted by class, and what follows from them.

Every metric of a classifier starts from a :class:`LabelledScores`, so that shapes, ties and thresholds are decided
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

from lucida.core.errors import LucidaError
from lucida.evaluation.intervals import cluster_codes

Scale = Literal["logits", "probabilities"]
_WHERE = "classification metrics"


@dataclass(frozen=True)
class LabelledScores:
    """What a classifier says of ``n`` rows and what is true of them, sorted by class.

    Attributes:
        labels: the true class of each row, ``int64 [n]``, ascending.
        predicted: the class that was said, ``int64 [n]``.
        ranking: how strongly each class was meant, ``float64 [n, C]``: log odds against all others, which do not
            saturate, for logits; the probabilities themselves where those were given.
        log_likelihood: of the true class, ``float64 [n]``.
        confidence: the probability of the predicted class, ``float64 [n]``.
        clusters: numbers from 0, one a row, ``int64 [n]``.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    ranking: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    confidence: NDArray[np.float64]
    clusters: NDArray[np.intp]

    @property
    def classes(self) -> int:
        return self.ranking.shape[1]

    @property
    def support(self) -> NDArray[np.int64]:
        """Rows of each class, ``int64 [C]``."""
        return np.bincount(self.labels, minlength=self.classes)


def labelled_scores(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: Sequence[object] | NDArray | None = None,
    threshold: float | None = None,
    scale: Scale | None = None,
) -> LabelledScores:
    """Check scores and labels and put them together.

    Args:
        scores: ``[n, C]`` logits or probabilities; ``[n]`` for two classes: of class 1.
        labels: the true classes, ``int [n]``, 0 to C - 1.
        clusters: what each row belongs to (its picture, its patient); rows are independent by default.
        threshold: two classes alone: class 1 is said from this probability on. By default the larger score wins, at a
            tie the lower class.
        scale: what the scores are; by default probabilities if all rows are non-negative and sum to 1 (``[n]``: lie
            between 0 and 1), else logits.

    Raises:
        LucidaError: nothing to score, scores that are not finite, labels out of range, or lengths that differ.
    """
    s, y = _checked(scores, labels)
    if clusters is not None and len(clusters) != len(y):
        raise LucidaError(f"{len(clusters)} clusters for {len(y)} rows", where=_WHERE)
    is_probability = _is_probability(s) if scale is None else scale == "probabilities"
    if is_probability and scale is not None and not _is_probability(s):
        raise LucidaError("probabilities must lie between 0 and 1 and each row must sum to 1", where=_WHERE)
    two = s if s.ndim == 2 else np.stack([1 - s if is_probability else np.zeros_like(s), s], axis=1)
    ranking, log_p = _probability_terms(two) if is_probability else _logit_terms(two)
    predicted = two.argmax(axis=1)
    if threshold is not None:
        if two.shape[1] != 2:
            raise LucidaError(f"a threshold needs two classes, not {two.shape[1]}", where=_WHERE)
        predicted = ((two[:, 1] if is_probability else expit(ranking[:, 1])) >= threshold).astype(np.int64)
    order = np.argsort(y, kind="stable")
    every = np.arange(len(y))
    return LabelledScores(
        labels=y[order],
        predicted=predicted[order],
        ranking=ranking[order],
        log_likelihood=log_p[every, y][order],
        confidence=np.exp(log_p[every, predicted])[order],
        clusters=cluster_codes(clusters, len(y))[order],
    )


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if s.ndim not in (1, 2) or (s.ndim == 2 and s.shape[1] < 2):
        raise LucidaError(f"scores must be [n] or [n, C] with C of at least 2, not {list(s.shape)}", where=_WHERE)
    if y.shape != (len(s),):
        raise LucidaError(f"labels {list(y.shape)} for scores {list(s.shape)}", where=_WHERE)
    if len(s) == 0:
        raise LucidaError("no row to score", where=_WHERE)
    bad = ~np.isfinite(s.reshape(len(s), -1)).all(axis=1)
    if bad.any():
        raise LucidaError(
            f"scores of {int(bad.sum()):,} of {len(s):,} rows are not finite", where=f"row {int(bad.argmax())}"
        )
    classes = 2 if s.ndim == 1 else s.shape[1]
    if not np.issubdtype(y.dtype, np.integer) and not (y.dtype == bool or np.array_equal(y, np.round(y))):
        raise LucidaError(f"labels must be whole numbers, not {y.dtype}", where=_WHERE)
    out = (y < 0) | (y >= classes)
    if out.any():
        row = int(out.argmax())
        raise LucidaError(f"label {y[row]} is not one of the {classes} classes 0 to {classes - 1}", where=f"row {row}")
    return s, y.astype(np.int64)


def _is_probability(scores: NDArray[np.float64]) -> bool:
    inside = scores.min() >= 0 and scores.max() <= 1
    return bool(inside and (scores.ndim == 1 or np.abs(scores.sum(axis=1) - 1).max() <= 1e-4))


def _probability_terms(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How strongly each class is meant, and log probabilities; a zero counts as the smallest step from 1."""
    return p, np.log(np.clip(p / p.sum(axis=1, keepdims=True), np.finfo(np.float64).eps, 1))


def _logit_terms(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - logsumexp(z, axis=1, keepdims=True)
    if z.shape[1] == 2:
        gap = z[:, 1] - z[:, 0]
        return np.stack([-gap, gap], axis=1), log_p
    # log(1 - p) by the sum of the others where p is nearly 1: 1 - p would be 0 for logits 40 apart.
    top = z.argmax(axis=1)
    others = z.copy()
    others[np.arange(len(z)), top] = -np.inf
    rest = np.log1p(-np.minimum(np.exp(log_p), 0.5))
    every = np.arange(len(z))
    rest[every, top] = logsumexp(others, axis=1) - logsumexp(z, axis=1)
    # Below a half the branch above is exact; the most likely class is the only one that may lie above.
    return log_p - rest, log_p
