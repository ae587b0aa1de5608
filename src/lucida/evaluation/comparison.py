"""Two models on the same rows, and many methods over the same seeds: which differences are noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.core.statistics import mean_interval
from lucida.evaluation.classification import AREAS, Measures, checked_counts
from lucida.evaluation.drawn_intervals import area_difference, percentile_metric
from lucida.evaluation.labelled_scores import Scale, labelled_scores
from lucida.evaluation.resampling import draws, plain

_ALPHA = 0.05
_NAMED = 3  # methods in a sentence; the others are counted


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    labels: ArrayLike,
    metric: str,
    *,
    train_counts: ArrayLike | None = None,
    clusters: Sequence[object] | NDArray | None = None,
    thresholds: tuple[float | None, float | None] = (None, None),
    scale: Scale | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """A metric of model ``a`` minus that of model ``b`` on the same rows, both weighed by the same draws.

    Args:
        a, b: scores of both models, see :func:`~lucida.evaluation.labelled_scores.labelled_scores`.
        labels: the true classes, ``int [n]``.
        metric: a name that :func:`~lucida.evaluation.classification.classification_metrics` returns, without prefix;
            classes by number.
        train_counts, clusters, scale, resamples, seed: as there.
        thresholds: of both models.

    Returns:
        The difference with the middle 95 % of its draws; of areas under curves, with a normal interval that is mended
        for few positives.

    Raises:
        LucidaError: bad input, or a metric of another name.
    """
    pair = [
        labelled_scores(scores, labels, clusters=clusters, threshold=threshold, scale=scale)
        for scores, threshold in zip((a, b), thresholds, strict=True)
    ]
    if pair[0].classes != pair[1].classes:
        raise LucidaError(f"{pair[0].classes} classes against {pair[1].classes}", where="paired difference")
    counts = checked_counts(train_counts, pair[0].classes)
    first, second = (Measures(scored, counts, model) for model, scored in enumerate(pair))
    rows = plain(pair[0])
    known, other = first(rows), second(rows)
    if metric not in known:
        raise LucidaError(f"no metric {metric!r}", where="paired difference", remedy=f"use one of {', '.join(known)}")
    n = int(pair[0].clusters.max()) + 1
    drawn = [first(draw)[metric] - second(draw)[metric] for draw in draws(pair[0], resamples if n > 1 else 0, seed)]
    together = np.concatenate([known[metric][..., :0], *drawn], axis=-1)
    if metric in AREAS:
        return area_difference((known[metric][:, 0], other[metric][:, 0]), together, first.positives, n)
    return percentile_metric(float(known[metric][0] - other[metric][0]), together, n)


@dataclass(frozen=True)
class Place:
    """A method in a ranking.

    Attributes:
        name: of the method.
        mean: over seeds, with Student's interval.
        behind: how far behind the best, with Student's interval over paired seeds; the best itself is 0 behind.
        p_value: of that difference, allowing for all pairs of methods (Tukey); 1 for the best.
        noise: whether it cannot be told from the best.
        cost: as given; the position in the list without costs.
    """

    name: str
    mean: Metric
    behind: Metric
    p_value: float
    noise: bool
    cost: float


@dataclass(frozen=True)
class Recommendation:
    """What to use.

    Attributes:
        best: the method with the best mean.
        choice: the cheapest method that cannot be told from the best.
        noise: the methods that cannot be told from the best, without it, best first.
        sentence: the same for a reader.
    """

    best: str
    choice: str
    noise: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Ranked:
    """Methods from best to worst, and what follows."""

    places: tuple[Place, ...]
    recommendation: Recommendation


def ranked(
    names: Sequence[str],
    values: ArrayLike,
    *,
    costs: Sequence[float] | Mapping[str, float] | None = None,
    larger_is_better: bool = True,
    overlap: float = 0.0,
) -> Ranked:
    """Rank methods by their mean over seeds and say which differences to the best are noise.

    The best is chosen by the same numbers, so all pairs of methods have to be allowed for: Tukey's studentized range on
    seeds as blocks, which takes the methods to spread alike (a test measures how often it tells twelve equal methods
    apart, and how often a t-test with the best alone does).

    Args:
        names: of the methods, ``[M]``; without ``costs`` from the simplest to the most elaborate.
        values: of each method under each seed, the same seeds for all, ``[M, S]``.
        costs: of the methods, by position or name; what is cheapest and not told from the best is recommended.
        larger_is_better: False for losses and errors.
        overlap: rows tested for each row trained on, where the seeds draw both from one pool; 0 where they do not. Such
            seeds share rows, and standard errors grow by ``sqrt(1 + S · overlap)`` (Nadeau & Bengio 2003).

    Raises:
        LucidaError: no method, fewer than two seeds, a value that is not finite, or names that repeat.

    >>> one = ranked(["plain", "focal", "adjusted"], [[0.70, 0.71, 0.69], [0.70, 0.72, 0.69], [0.80, 0.81, 0.80]])
    >>> one.recommendation.sentence
    'adjusted is best by more than noise.'
    """
    x = _seed_values(names, values)
    price = np.arange(len(names), dtype=float) if costs is None else _costs(names, costs)
    means = x.mean(axis=1) * (1 if larger_is_better else -1)
    order = np.lexsort((price, -means))
    best = int(order[0])
    stretch = float(np.sqrt(1 + x.shape[1] * overlap))
    p_values = _p_of_behind(x, best, stretch)
    places = []
    for i in order.tolist():
        difference = (x[best] - x[i]) * (1 if larger_is_better else -1)
        behind = mean_interval(difference, stretch=stretch) if i != best else Metric(0.0, None, x.shape[1])
        p = float(p_values[i])
        places.append(Place(names[i], mean_interval(x[i], stretch=stretch), behind, p, p >= _ALPHA, float(price[i])))
    return Ranked(tuple(places), _recommendation(places, x.shape[1]))


def _seed_values(names: Sequence[str], values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(names) or len(x) == 0:
        raise LucidaError(f"values {list(x.shape)} for {len(names)} methods", where="ranking")
    if len(set(names)) < len(names):
        raise LucidaError("two methods have one name", where="ranking")
    if x.shape[1] < 2:
        raise LucidaError("one seed cannot tell a difference from noise", where="ranking", remedy="use at least two")
    if not np.isfinite(x).all():
        method = names[int((~np.isfinite(x)).any(axis=1).argmax())]
        raise LucidaError(f"a value of {method!r} is not finite", where="ranking")
    return x


def _costs(names: Sequence[str], costs: Sequence[float] | Mapping[str, float]) -> NDArray[np.float64]:
    missing = [name for name in names if name not in costs] if isinstance(costs, Mapping) else []
    if missing or len(costs) < len(names):
        raise LucidaError(f"{len(costs)} costs for {len(names)} methods", where="ranking")
    return np.asarray([costs[name] for name in names] if isinstance(costs, Mapping) else costs, dtype=np.float64)


def _p_of_behind(x: NDArray[np.float64], best: int, stretch: float) -> NDArray[np.float64]:
    """Tukey's p-values of every method against the best, ``[M]``; 1 for the best and for methods that do the same.

    Seeds are blocks of a two-way layout: what all methods share under a seed is taken out, and what is left of all of
    them makes one estimate of the spread, with (M - 1)(S - 1) degrees of freedom.
    """
    methods, seeds = x.shape
    if methods < 2:
        return np.ones(methods)
    rest = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0, keepdims=True) + x.mean()
    freedom = (methods - 1) * (seeds - 1)
    # Equal differences under every seed leave rounding as their only spread.
    spread = max(float(np.sqrt((rest**2).sum() / freedom / seeds)), 1e-12 * float(np.abs(x).max()))
    behind = np.abs(x[best].mean() - x.mean(axis=1))
    if spread == 0:
        return np.ones(methods)
    return np.where(behind > 0, stats.studentized_range.sf(behind / (spread * stretch), methods, freedom), 1.0)


def _recommendation(places: Sequence[Place], seeds: int) -> Recommendation:
    best, noise = places[0], [place for place in places[1:] if place.noise]
    choice = min([best, *noise], key=lambda place: place.cost)
    if len(places) == 1:
        sentence = f"{best.name} is the only method."
    elif not noise:
        sentence = f"{best.name} is best by more than noise."
    elif choice is best:
        sentence = f"{best.name} is best and cheapest; {seeds} seeds do not tell it from {_listed(noise)}."
    else:
        sentence = (
            f"{best.name} has the best mean, but {seeds} seeds do not tell it from {_listed(noise)}: "
            f"use {choice.name}, the cheapest of these."
        )
    return Recommendation(best.name, choice.name, tuple(place.name for place in noise), sentence)


def _listed(places: Sequence[Place]) -> str:
    *front, last = [place.name for place in places[:_NAMED]]
    if len(places) > _NAMED:
        front, last = [*front, last], f"{len(places) - _NAMED} others"
    return f"{', '.join(front)} or {last}" if front else last
