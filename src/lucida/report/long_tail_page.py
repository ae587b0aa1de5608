"""The page of ``lucida evaluate long-tail``: drawn from ``results.json`` alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lucida.core.results import Metric
from lucida.core.run_folder import RunFolder
from lucida.report.classification_tables import confusion_table
from lucida.report.figures import Dot, Tone, dot_plot
from lucida.report.page import Run, Section, closing_sections, facts_of, write_page
from lucida.report.sections import Cell, Figure, Headline, Row, Table, cell, drawn
from lucida.report.wording import capitalised, duration, interval, number

KEY = "long_tail"  # of Results.details
COLUMNS = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "accuracy_many": "many",
    "accuracy_medium": "medium",
    "accuracy_few": "few",
}
FURTHER = {"f1_macro": "F1, macro", "mcc": "MCC", "pr_auc": "PR-AUC", "calibration_error": "calibration error"}
HEAD_LOSS = 0.08  # points that the most frequent third may lose for a method to be called careful
_MOST_CLASSES = 40  # of the figure by class and of the confusion matrix


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: in the names of metrics.
        title: in words.
        baseline: it needs no training.
        settings: what tuning chose, in words; empty where nothing was tuned.
        to_the_best: "best", "noise" where the difference to the best may be one, "clear"; "" for what is not compared.
    """

    name: str
    title: str
    baseline: bool = False
    settings: str = ""
    to_the_best: str = ""


@dataclass(frozen=True)
class LongTail:
    """What the page says besides metrics.

    Attributes:
        methods: the best first, baselines last.
        classes: by name, the most frequent first.
        train_counts, test_counts: pictures of each of them, means over seeds.
        metric: what methods are ranked by.
        plain: the method that does nothing about imbalance.
        chosen: the method that is recommended.
        careful: the best method that takes at most ``head_loss`` from the most frequent third; empty if none does.
        recommendation, warning: in words; the warning is empty where accuracy does not mislead.
        varies: what differs from seed to seed.
        seeds: how many.
        head_loss: what a careful method may take from the most frequent third.
        limited: whether somebody asked for that limit, so that the careful method is the one that is chosen.
        confusion: of the recommended method, sums over seeds, rows are the truth.
    """

    methods: tuple[Method, ...]
    classes: tuple[str, ...]
    train_counts: tuple[float, ...]
    test_counts: tuple[float, ...]
    metric: str
    plain: str
    chosen: str
    careful: str
    recommendation: str
    warning: str
    varies: str
    seeds: int
    head_loss: float = HEAD_LOSS
    limited: bool = False
    confusion: tuple[tuple[int, ...], ...] = ()


def write_long_tail_page(folder: RunFolder) -> Path:
    """Rebuild ``report.html`` of a run folder from its ``results.json``.

    Raises:
        LucidaError: there are no results of ``lucida evaluate long-tail``.
    """
    run = Run.read(folder)
    facts = run.results.detail(LongTail, KEY, folder.results, missing="no results of lucida evaluate long-tail")
    return write_page(run, _sections(run, facts), headlines=_headlines(run, facts), facts=facts_of(run))


def _headlines(run: Run, facts: LongTail) -> list[Headline]:
    metrics = run.results.metrics
    shown = []
    for measure in (facts.metric, "accuracy_few", "accuracy_many"):
        best, plain = (metrics.get(f"{name}/{measure}") for name in (facts.chosen, facts.plain))
        if best is None or plain is None:
            continue
        small = f"{interval(best, share=True)} with {_title(facts, facts.chosen)}"
        beside = (f"{number(plain.value, share=True)} {_title(facts, facts.plain)}",)
        shown.append(
            Headline(_WORDS.get(measure) or capitalised(_words(measure)), number(best.value, share=True), small, beside)
        )
    return shown


_WORDS = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy_few": "Accuracy of the rarest third of the classes",
    "accuracy_many": "Accuracy of the most frequent third",
}


def _words(measure: str) -> str:
    return (COLUMNS | FURTHER)[measure]


def _title(facts: LongTail, name: str) -> str:
    return next(method.title for method in facts.methods if method.name == name)


def _sections(run: Run, facts: LongTail) -> Iterable[Section]:
    metrics = run.results.metrics
    said = [*advice(metrics, facts), *filter(None, [facts.warning])]
    yield Section("advice", "What to do", "tables.html", drawn(said, figures=_ranking(metrics, facts)))
    yield Section("methods", "All methods", "tables.html", drawn(tables=_tables(metrics, facts)))
    yield Section("against-plain", "Against doing nothing", "tables.html", drawn(tables=[_against(metrics, facts)]))
    if len(facts.classes) <= _MOST_CLASSES:
        yield Section("classes", "Class by class", "tables.html", _by_class(metrics, facts))
    yield from closing_sections(run, _WHAT_WORDS_MEAN)


def advice(metrics: Mapping[str, Metric], facts: LongTail) -> list[str]:
    """What to use, in sentences: first what was asked for."""
    said = [facts.recommendation, _careful(metrics, facts)]
    return [sentence for sentence in (reversed(said) if facts.limited else said) if sentence]


def _careful(metrics: Mapping[str, Metric], facts: LongTail) -> str:
    """What to use where the frequent classes matter, with what it gains and costs in points."""
    limit = f"Where the most frequent classes may lose at most {100 * facts.head_loss:.3g} points"
    if not facts.careful:
        plain = _title(facts, facts.plain)
        return f"{limit}, no method is better than {plain} beyond doubt." if facts.limited else ""
    gains = {m: metrics[f"difference/{facts.careful}/{m}"] for m in (facts.metric, "accuracy_few", "accuracy_many")}
    every, few, many = (_points(gain).text for gain in gains.values())
    metric = _words(facts.metric)
    return (
        f"{limit}: {_title(facts, facts.careful)} ({every} points of {metric}, {few} on the rarest third, "
        f"{many} on the most frequent)."
    )


def _ranking(metrics: Mapping[str, Metric], facts: LongTail) -> list[Figure]:
    figures = []
    for measure, title in (
        (facts.metric, _words(facts.metric)),
        ("accuracy_few", "the rarest third"),
    ):
        dots = [
            Dot(method.title, metrics[f"{method.name}/{measure}"], _tone(method, facts))
            for method in facts.methods
            if f"{method.name}/{measure}" in metrics
        ]
        caption = f"The best first by {_words(facts.metric)}; lines are 95 % intervals over seeds."
        figures.append(Figure(title[:1].upper() + title[1:], dot_plot(title, dots, share=True), caption))
    return figures


def _tone(method: Method, facts: LongTail) -> Tone:
    return "baseline" if method.baseline else "start" if method.name == facts.plain else "own"


def _tables(metrics: Mapping[str, Metric], facts: LongTail) -> list[Table]:
    """Accuracies of all methods; further metrics, costs and the settings that were chosen."""
    return [
        Table(
            "Accuracies",
            (*_measured(metrics, facts, COLUMNS).values(), "to the best"),
            tuple(
                _row(metrics, facts, method, COLUMNS, [_TO_THE_BEST[method.to_the_best]]) for method in facts.methods
            ),
            f"Means over {facts.seeds} seeds with 95 % intervals; {facts.varies} Many, medium, few: thirds of the "
            "classes by training pictures.",
        ),
        Table(
            "Further metrics and cost",
            (*_measured(metrics, facts, FURTHER).values(), "training"),
            tuple(_row(metrics, facts, method, FURTHER, [_seconds(metrics, method.name)]) for method in facts.methods),
            "Seconds of one training on this machine, without the search for settings.",
        ),
        Table(
            "Settings",
            ("chosen",),
            tuple(Row(method.title, (Cell(method.settings),)) for method in facts.methods if method.settings),
            "As the search chose them, over seeds.",
        ),
    ]


_TO_THE_BEST = {"": "", "best": "the best", "noise": "may be noise", "clear": "clear"}


def _measured(metrics: Mapping[str, Metric], facts: LongTail, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns that there are numbers for: two classes have no medium third."""
    return {measure: words for measure, words in columns.items() if f"{facts.plain}/{measure}" in metrics}


def _row(
    metrics: Mapping[str, Metric], facts: LongTail, method: Method, columns: Mapping[str, str], words: Iterable[str]
) -> Row:
    numbers = (cell(measure, metrics.get(f"{method.name}/{measure}")) for measure in _measured(metrics, facts, columns))
    return Row(method.title, (*numbers, *map(Cell, words)), quiet=method.baseline)


def _seconds(metrics: Mapping[str, Metric], name: str) -> str:
    return duration(metrics[f"{name}/seconds"].value) if f"{name}/seconds" in metrics else ""


def _against(metrics: Mapping[str, Metric], facts: LongTail) -> Table:
    measures = [
        m for m in (facts.metric, "accuracy", "accuracy_many", "accuracy_few") if f"{facts.plain}/{m}" in metrics
    ]
    rows = []
    for method in facts.methods:
        found = [metrics.get(f"difference/{method.name}/{measure}") for measure in measures]
        if method.baseline or method.name == facts.plain or any(metric is None for metric in found):
            continue
        rows.append(Row(method.title, tuple(_points(metric) for metric in found)))
    caption = "Differences in points on the same test pictures, seed by seed: means and 95 % intervals."
    return Table(f"Minus {_title(facts, facts.plain)}", tuple(_words(m) for m in measures), tuple(rows), caption)


def _points(metric: Metric | None) -> Cell:
    if metric is None or not math.isfinite(metric.value):
        return Cell("")
    low, high = metric.ci95 or (float("nan"), float("nan"))
    return Cell(f"{100 * metric.value:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]" if metric.ci95 else "")


def _by_class(metrics: Mapping[str, Metric], facts: LongTail) -> Mapping[str, list]:
    rows = []
    pair = dict.fromkeys((facts.plain, facts.chosen))
    for k, name in enumerate(facts.classes):
        recalls = [metrics.get(f"{method}/class/{name}/recall") for method in pair]
        precisions = [metrics.get(f"{method}/class/{name}/precision") for method in pair]
        counts = Cell(f"{facts.train_counts[k]:,.0f}"), Cell(f"{facts.test_counts[k]:,.0f}")
        rows.append(
            Row(name, (*counts, *(cell("recall", m) for m in recalls), *(cell("precision", m) for m in precisions)))
        )
    titles = [_title(facts, method) for method in pair]
    columns = ("in training", "in test", *(f"recall, {t}" for t in titles), *(f"precision, {t}" for t in titles))
    tables = [Table("The most frequent class first", columns, tuple(rows), "Means over seeds with 95 % intervals.")]
    if facts.confusion:
        title = f"Confusions of {_title(facts, facts.chosen)}, all seeds together"
        tables.append(confusion_table(title, facts.confusion, facts.classes))
    return drawn(tables=tables)


_WHAT_WORDS_MEAN = [
    (
        "accuracy",
        "Share of test pictures named rightly. A test as skewed as the training lets a large class hide small ones.",
    ),
    ("balanced accuracy", "Mean over classes of the share named rightly: every class counts the same."),
    (
        "many, medium, few",
        "The classes in thirds by their training pictures; the accuracy of a third is its classes' mean.",
    ),
    ("F1, macro", "Mean over classes of the harmonic mean of precision and recall."),
    ("MCC", "Matthews correlation: 1 for a perfect answer, 0 for one that knows nothing, whatever the class sizes."),
    (
        "PR-AUC",
        "Area under precision over recall, mean over classes (of two: of the rarer one); chance is the class's share.",
    ),
    ("calibration error", "Mean distance between how sure the answers are and how often they are right."),
    (
        "behind the best",
        "Paired over seeds as blocks with Tukey's correction: 'may be noise' where zero difference cannot be excluded.",
    ),
]
