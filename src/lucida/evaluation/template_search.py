"""Which prompt templates to name classes with: greedy search on validation pictures.

Starting from the best single template, the one that helps the validation score most is added, until none does. What is
found is at least as good *there* as the best single template; whether it is elsewhere, other pictures must say: the
best of many scores is too good by the luck it was chosen for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import normalize

from lucida.core.errors import LucidaError
from lucida.evaluation.zero_shot import TIE, unit_rows

Measure = Literal["accuracy", "margin"]


class Score(NamedTuple):
    """How good a set of templates is on labelled pictures.

    Attributes:
        accuracy: share of the pictures whose class is nearest; ties count against it.
        margin: the mean over pictures of the cosine with their class less the highest of the others.
    """

    accuracy: float
    margin: float

    def key(self, measure: Measure) -> tuple[float, float]:
        """What sets are compared by: ``measure`` first, the other among equals."""
        return (self.accuracy, self.margin) if measure == "accuracy" else (self.margin, self.accuracy)


@dataclass(frozen=True)
class FoundTemplates:
    """What a search found.

    Attributes:
        chosen: numbers of the templates, in the order in which they were added.
        scores: of the set after each of them.
        singles: of every template alone.
    """

    chosen: tuple[int, ...]
    scores: tuple[Score, ...]
    singles: tuple[Score, ...]


def margins(image_features: Tensor | NDArray, class_features: Tensor | NDArray, labels: ArrayLike) -> NDArray:
    """The cosine of each picture with its own class less the highest with another, float64 ``[N]``.

    Args:
        image_features: ``[N, d]``, of any length.
        class_features: ``[K, d]``, of any length, of two classes or more.
        labels: index of the class of each picture, ``[N]``.

    >>> margins(np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]]), [0, 1]).round(2).tolist()
    [0.4, 0.8]
    """
    images, classes = unit_rows(image_features, "image_features"), unit_rows(class_features, "class_features")
    return _margins(images @ classes.T, torch.as_tensor(np.asarray(labels, np.int64))).numpy()


def _margins(cosines: Tensor, labels: Tensor) -> Tensor:
    own = cosines.gather(1, labels[:, None])[:, 0]
    return own - cosines.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def score_of(margin: ArrayLike) -> Score:
    """The score of pictures with these margins."""
    values = np.asarray(margin, np.float64)
    return Score(float((values > TIE).mean()), float(values.mean()))


def greedy_templates(
    count: int, score: Callable[[tuple[int, ...]], Score], *, by: Measure = "accuracy"
) -> FoundTemplates:
    """Greedy forward selection among ``count`` templates, by whatever ``score`` says of a set of their numbers.

    The first of equals is taken. At most ``count * (count + 1) / 2`` sets are scored.

    Raises:
        LucidaError: no template, or an unknown measure.

    >>> worth = {0: 0.2, 1: 0.5, 2: 0.4}
    >>> found = greedy_templates(3, lambda some: Score(sum(worth[i] for i in some) - 0.3 * (len(some) - 1), 0.0))
    >>> found.chosen, [round(each.accuracy, 2) for each in found.scores]
    ((1, 2), [0.5, 0.6])
    """
    if by not in get_args(Measure):
        raise LucidaError(f"templates are not searched by {by!r}", remedy=f"use one of {', '.join(get_args(Measure))}")
    if count < 1:
        raise LucidaError("no prompt template to choose from")
    singles = tuple(score((i,)) for i in range(count))
    best = max(range(count), key=lambda i: (singles[i].key(by), -i))
    chosen: tuple[int, ...] = (best,)
    scores: tuple[Score, ...] = (singles[best],)
    while rest := [i for i in range(count) if i not in chosen]:
        tried = {i: score((*chosen, i)) for i in rest}
        best = max(rest, key=lambda i: (tried[i].key(by), -i))
        if tried[best].key(by) <= scores[-1].key(by):
            break
        chosen, scores = (*chosen, best), (*scores, tried[best])
    return FoundTemplates(chosen, scores, singles)


def search_templates(
    image_features: Tensor | NDArray,
    template_features: Tensor,
    labels: ArrayLike,
    *,
    by: Measure = "accuracy",
) -> FoundTemplates:
    """The templates whose ensemble names these pictures best.

    Args:
        image_features: ``[N, d]`` of labelled validation pictures, which no result is measured on.
        template_features: ``[K, T, d]``, of :func:`~lucida.evaluation.zero_shot.template_embeddings`; the class of a
            set is the mean of its rows, normalised, as :func:`~lucida.evaluation.zero_shot.class_embeddings` has it.
        labels: index of the class of each picture, ``[N]``.
        by: ``"accuracy"``, among equals the larger margin; ``"margin"``, which changes with every template and so
            says more where pictures are few, among equals the higher accuracy.

    Returns:
        Numbers into ``T``. On these pictures the set scores at least as high as every single template.

    Raises:
        LucidaError: no picture, fewer than two classes, a feature is not finite, or shapes do not fit.

    >>> pictures = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> one, other = torch.tensor([[1.0, 0.2], [1.0, 0.9]]), torch.tensor([[0.9, 1.0], [0.2, 1.0]])
    >>> search_templates(pictures, torch.stack([one, other], dim=1), [0, 1]).chosen  # each alone is right once
    (0, 1)
    """
    own = torch.as_tensor(np.asarray(labels, np.int64))
    if template_features.ndim != 3 or len(template_features) < 2 or len(own) == 0:
        shape = list(template_features.shape)
        raise LucidaError(f"templates are searched on pictures of two classes or more, not {len(own)} of {shape}")
    images = unit_rows(image_features, "image_features")
    if len(images) != len(own) or images.shape[1] != template_features.shape[2]:
        raise LucidaError(f"pictures {list(images.shape)} do not fit templates {list(template_features.shape)}")
    if not (int(own.min()) >= 0 and int(own.max()) < len(template_features)):
        raise LucidaError(
            f"labels from {int(own.min())} to {int(own.max())} do not fit {len(template_features)} classes"
        )
    each = template_features.detach().to("cpu", torch.float64)
    if not bool(each.isfinite().all()):
        raise LucidaError("NaN or infinite features", where="template_features")
    each = normalize(each, dim=-1)

    def score(some: tuple[int, ...]) -> Score:
        classes = normalize(each[:, list(some)].mean(dim=1), dim=-1)
        return score_of(_margins(images @ classes.T, own))

    return greedy_templates(each.shape[1], score, by=by)
