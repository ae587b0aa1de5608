"""What can be done about imbalance after the training: on any logits, those of zero-shot prototypes too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.losses.imbalance import Counts, log_prior

OFFSETS = 4096
"""At most so many offsets of a class are compared."""

Score = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From true positives ``[…, C]``, predictions ``[…, C]`` and examples ``[C]`` of each class to a score ``[…]``."""


def adjusted_logits(logits: Tensor | NDArray, counts: Counts, tau: float = 1.0) -> Tensor:
    r"""Logits minus :math:`\tau \log \pi_c` (post-hoc logit adjustment; Menon et al. 2021, eq. 8).

    With probabilities that are right for the training data and ``tau = 1`` the largest is the best answer for the
    balanced error. It costs nothing and may be undone.

    Args:
        logits: ``[n, C]``, natural logarithms of probabilities up to a constant a row: cosines need their scale.
        counts: the examples of each class in the data that the logits were trained on.
        tau: 0 changes nothing.

    Raises:
        LucidaError: a class without an example, or counts that do not fit.

    >>> adjusted_logits(torch.zeros(1, 2), [3, 1]).softmax(dim=1)
    tensor([[0.2500, 0.7500]])
    """
    scores, prior = torch.as_tensor(logits), log_prior(counts)
    if scores.ndim != 2 or scores.shape[1] != len(prior):
        raise LucidaError(f"logits {list(scores.shape)} do not fit {len(prior)} classes", where="counts")
    return scores - tau * prior.to(scores)


def balanced_accuracy(true_positives: Tensor, predictions: Tensor, examples: Tensor) -> Tensor:
    """The mean recall over the classes that have examples."""
    return (true_positives / examples.clamp_min(1)).sum(-1) / (examples > 0).sum()


def accuracy(true_positives: Tensor, predictions: Tensor, examples: Tensor) -> Tensor:
    """The share of right answers."""
    return true_positives.sum(-1) / examples.sum()


def f1_macro(true_positives: Tensor, predictions: Tensor, examples: Tensor) -> Tensor:
    """The mean F1 over the classes that have examples."""
    f1 = 2 * true_positives / (predictions + examples).clamp_min(1)
    return (f1 * (examples > 0)).sum(-1) / (examples > 0).sum()


def f1_rarest(true_positives: Tensor, predictions: Tensor, examples: Tensor) -> Tensor:
    """F1 of the rarest class, the last of equals: of two classes, the positive one."""
    c = len(examples) - 1 - int(examples.flip(0).argmin())
    return 2 * true_positives[..., c] / (predictions[..., c] + examples[c]).clamp_min(1)


SCORES: Mapping[str, Score] = {
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "f1_macro": f1_macro,
    "f1_rarest": f1_rarest,
}
"""Scores that thresholds and settings can be chosen by."""


def score(logits: Tensor | NDArray, labels: Tensor | NDArray, metric: str = "balanced_accuracy") -> float:
    """A score of :data:`SCORES` of the largest logits.

    >>> score(torch.eye(2), torch.tensor([0, 0]))
    0.5
    """
    scores, truth = torch.as_tensor(logits), torch.as_tensor(labels).long()
    if metric not in SCORES:
        raise LucidaError(f"there is no score {metric!r}", remedy=f"use {', '.join(SCORES)}")
    answers, classes = scores.argmax(dim=1), scores.shape[1]
    counts = [torch.bincount(rows, minlength=classes).double() for rows in (truth[answers == truth], answers, truth)]
    return float(SCORES[metric](*counts))


def moved_thresholds(
    logits: Tensor | NDArray, labels: Tensor | NDArray, *, metric: str = "balanced_accuracy", rounds: int = 10
) -> Tensor:
    """Offsets ``float32 [C]`` to add to logits so that a score of their largest is best: threshold moving.

    For two classes that is one threshold, the best of all. For more, one class's offset after another is put to its
    best value, all others kept, until nothing changes: a local optimum.

    Args:
        logits: ``[n, C]`` of examples that were not trained on.
        labels: ``int64 [n]``.
        metric: one of :data:`SCORES`.
        rounds: at most so many times through all classes.

    Raises:
        LucidaError: an unknown score.
    """
    if metric not in SCORES:
        raise LucidaError(f"there is no score {metric!r}", remedy=f"use {', '.join(SCORES)}")
    scores, truth = torch.as_tensor(logits).double(), torch.as_tensor(labels).long()
    offsets = torch.zeros(scores.shape[1], dtype=torch.float64)
    for _ in range(rounds):
        before = offsets.clone()
        for c in range(1 if scores.shape[1] == 2 else 0, scores.shape[1]):
            offsets[c] = _best_offset(scores + offsets, truth, c, SCORES[metric]) + offsets[c]
        if torch.equal(before, offsets):
            break
    return (offsets - offsets.mean()).float()


def _best_offset(scores: Tensor, truth: Tensor, c: int, measure: Score) -> Tensor:
    """What to add to class ``c``; of the offsets that are best, the one nearest to no change."""
    others = scores.clone()
    others[:, c] = -torch.inf
    best, instead = others.max(dim=1)
    margins = best - scores[:, c]  # a row's answer is c once the offset is above its margin, else `instead`
    offsets = _between(margins)
    n, classes = len(offsets), scores.shape[1]
    first = torch.searchsorted(offsets, margins, right=True)  # the first offset at which the row's answer is c

    def changed(rows: Tensor, of: Tensor) -> Tensor:
        """How many of these rows have changed to c at each offset, by class, ``[n, C]``."""
        counts = torch.bincount(first[rows] * classes + of[rows], minlength=(n + 1) * classes)
        return counts.view(n + 1, classes)[:n].cumsum(0).double()

    everything, hit = torch.ones_like(truth, dtype=torch.bool), truth == instead
    predicted = torch.bincount(instead, minlength=classes) - changed(everything, instead)
    right = torch.bincount(truth[hit], minlength=classes) - changed(hit, instead)
    predicted[:, c] = changed(everything, instead).sum(1)
    right[:, c] = changed(everything, truth)[:, c]
    values = measure(right, predicted, torch.bincount(truth, minlength=classes).double())
    return offsets[torch.where(values >= values.max() - 1e-12, offsets.abs(), torch.inf).argmin()]


def _between(margins: Tensor) -> Tensor:
    """An offset between any two neighbouring margins and one beyond each end, ascending; 0 where it lies between.

    Of more than :data:`OFFSETS` every so many: what is kept grows with classes, not with rows.
    """
    edges = margins.unique()
    offsets = torch.cat([edges[:1] - 1, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 1])
    zero = int(torch.searchsorted(edges, 0.0))
    if zero == len(edges) or edges[zero] != 0:
        offsets[zero] = 0
    if len(offsets) <= OFFSETS:
        return offsets
    kept = torch.linspace(0, len(offsets) - 1, OFFSETS).long()
    return offsets[torch.cat([kept, torch.tensor([zero])]).unique()]
