"""Answers of all methods under all seeds to metrics, a ranking and a recommendation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lucida.core.results import Metric, Results
from lucida.core.statistics import mean_interval
from lucida.evaluation.baselines import always_majority, chance, warning_of
from lucida.evaluation.classification import classification_metrics, confusion
from lucida.evaluation.comparison import Ranked, ranked
from lucida.report.long_tail_page import COLUMNS, FURTHER, HEAD_LOSS, KEY, LongTail, Method
from lucida.report.wording import is_share
from lucida.workflows.long_tail_features import Part
from lucida.workflows.long_tail_methods import CHANCE, MAJORITY, PLAIN, TITLES, Answered

_AREAS = ("roc_auc", "pr_auc", "calibration_error")
_SHOWN = 40  # classes of which the numbers by class are kept


@dataclass
class Comparison:
    """Collects what every method says of every part.

    Attributes:
        names: of the classes.
        score: that settings are tuned by and methods ranked.
        overlap: of the seeds' splits; see :func:`~lucida.evaluation.comparison.ranked`.
        head_loss: what a method may take from the most frequent third, if somebody set a limit.
        values: by method and metric, one a seed.
        settings: by method, what tuning chose under each seed.
        confusions: by method, ``int64 [C, C]``, sums over seeds.
        warning: of plain cross-entropy under the first seed.
    """

    names: tuple[str, ...]
    score: str
    overlap: float = 0.0
    head_loss: float | None = None
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    settings: dict[str, list[Mapping[str, float]]] = field(default_factory=dict)
    confusions: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    supports: list[NDArray[np.int64]] = field(default_factory=list)
    warning: str = ""

    def add(self, part: Part, name: str, answered: Answered) -> None:
        """A method's answers about a part's test pictures."""
        labels, classes = part.test_labels, part.classes
        metrics = classification_metrics(
            answered.logits, labels, train_counts=part.counts, names=self.names, resamples=0
        )
        if name == PLAIN:
            self._begin(part, answered)
        self._note(
            name, metrics | {"seconds": Metric(answered.seconds), "tuning_seconds": Metric(answered.tuning_seconds)}
        )
        self.settings.setdefault(name, []).append(dict(answered.settings))
        table = confusion(labels, answered.logits.argmax(axis=1), classes)
        self.confusions[name] = self.confusions.get(name, 0) + table

    def _begin(self, part: Part, answered: Answered) -> None:
        """What needs no model, and whether accuracy misleads."""
        self.counts.append(part.counts)
        self.supports.append(np.bincount(part.test_labels, minlength=part.classes))
        silent = always_majority(part.test_labels, part.classes, part.counts, names=self.names, resamples=0)
        self._note(MAJORITY, silent)
        self._note(CHANCE, chance(part.test_labels, part.classes, part.counts, names=self.names))
        if len(self.counts) == 1:
            own = classification_metrics(answered.logits, part.test_labels, train_counts=part.counts, names=self.names)
            said = warning_of(own, silent)
            self.warning = f"Under the first seed, with {TITLES[PLAIN]}: {said}" if said else ""

    def _note(self, name: str, metrics: Mapping[str, Metric]) -> None:
        for metric, value in metrics.items():
            self.values.setdefault(name, {}).setdefault(metric, []).append(value.value)

    @property
    def _limit(self) -> float:
        return HEAD_LOSS if self.head_loss is None else self.head_loss

    def ranking(self) -> Ranked:
        """Of the methods that train, listed from the simplest, by the metric that settings were tuned by."""
        methods = [name for name in TITLES if name in self.values and name not in (MAJORITY, CHANCE)]
        measured = [self.values[name][self.score] for name in methods]
        return ranked([TITLES[name] for name in methods], measured, overlap=self.overlap)

    def add_to(self, results: Results, varies: str) -> LongTail:
        """Every number to ``results``, and what the page says."""
        ranking = self.ranking()
        order, chosen = self._ranked_methods(ranking)
        careful, limited = self._careful(order), self.head_loss is not None
        if limited:
            chosen = careful or PLAIN
        for name, metrics in self.values.items():
            for metric, values in metrics.items():
                if not metric.startswith("class/") or self._by_class(name, chosen):
                    results.add(
                        f"{name}/{metric}",
                        _share(self._over_seeds(values))
                        if is_share(metric) or metric in _AREAS
                        else self._over_seeds(values),
                    )
        for method in order:
            if method.name not in (PLAIN, MAJORITY, CHANCE):
                self._add_differences(results, method.name)
        largest = np.argsort(-np.mean(self.counts, axis=0), kind="stable")
        facts = LongTail(
            methods=tuple(order),
            classes=tuple(self.names[k] for k in largest),
            train_counts=tuple(np.mean(self.counts, axis=0)[largest].tolist()),
            test_counts=tuple(np.mean(self.supports, axis=0)[largest].tolist()),
            metric=self.score,
            plain=PLAIN,
            chosen=chosen,
            careful=careful,
            head_loss=self._limit,
            limited=limited,
            recommendation=ranking.recommendation.sentence,
            warning=self.warning,
            varies=varies,
            seeds=len(self.counts),
            confusion=self._confusion(chosen, largest),
        )
        results.details[KEY] = facts
        results.details["values"] = {
            name: {metric: values for metric, values in metrics.items() if not metric.startswith("class/")}
            for name, metrics in self.values.items()
        }
        results.details["settings"] = self.settings
        return facts

    def _over_seeds(self, values: list[float]) -> Metric:
        """The mean over the seeds in which there is a number, with Student's interval."""
        stretch = float(np.sqrt(1 + len(self.counts) * self.overlap))
        return mean_interval([value for value in values if np.isfinite(value)], stretch=stretch)

    def _by_class(self, name: str, chosen: str) -> bool:
        return name in (PLAIN, chosen) and len(self.names) <= _SHOWN

    def _add_differences(self, results: Results, name: str) -> None:
        for metric in (*COLUMNS, *FURTHER):
            own, plain = (self.values[method].get(metric) for method in (name, PLAIN))
            if own is not None and plain is not None:
                results.add(f"difference/{name}/{metric}", self._over_seeds(np.subtract(own, plain).tolist()))

    def _ranked_methods(self, ranking: Ranked) -> tuple[list[Method], str]:
        """The rows of the table, and the name of the method that is recommended."""
        by_title = {title: name for name, title in TITLES.items()}
        best = ranking.recommendation.best
        rows = []
        for place in ranking.places:
            to_the_best = "best" if place.name == best else "noise" if place.noise else "clear"
            name = by_title[place.name]
            rows.append(Method(name, place.name, settings=_words(self.settings[name]), to_the_best=to_the_best))
        rows += [Method(name, TITLES[name], baseline=True) for name in (MAJORITY, CHANCE)]
        return rows, by_title[ranking.recommendation.choice]

    def _careful(self, order: list[Method]) -> str:
        """The best method whose frequent third loses little against plain cross-entropy and that gains beyond doubt."""
        plain, limit = self.values[PLAIN], self._limit
        for name in [method.name for method in order if not method.baseline]:
            if name == PLAIN:
                break
            lost = np.mean(plain["accuracy_many"]) - np.mean(self.values[name]["accuracy_many"])
            gain = self._over_seeds(np.subtract(self.values[name][self.score], plain[self.score]).tolist())
            if lost <= limit and gain.ci95 is not None and gain.ci95[0] > 0:
                return name
        return ""

    def _confusion(self, name: str, order: NDArray[np.intp]) -> tuple[tuple[int, ...], ...]:
        if len(self.names) > _SHOWN:
            return ()
        return tuple(tuple(row) for row in self.confusions[name][order][:, order].tolist())


def _share(metric: Metric) -> Metric:
    """Student's interval of few seeds may leave the scale of shares and areas."""
    if metric.ci95 is None:
        return metric
    low, high = metric.ci95
    return replace(metric, ci95=(max(low, 0.0), min(high, 1.0)))


def _words(settings: list[Mapping[str, float]]) -> str:
    """What tuning chose, all seeds in one line.

    >>> _words([{"tau": 1.0}, {"tau": 0.5}, {"tau": 1.0}]), _words([{}])
    ('tau 0.5, 1', '')
    """
    names = dict.fromkeys(name for chosen in settings for name in chosen)
    found = {name: sorted({chosen[name] for chosen in settings if name in chosen}) for name in names}
    return "; ".join(
        f"{name.replace('_', ' ')} {', '.join(f'{v:g}' for v in values)}" for name, values in found.items()
    )
