"""From names in ``results.json`` to what a section shows: figures, tables, large numbers. No measuring here.

A name that no rule here knows is still printed, in the table of all numbers at the report's end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from lucida.core.results import Metric
from lucida.report.figures import Dot, Tone, dot_plot
from lucida.report.wording import capitalised, full, humanised, interval, is_share, number

Metrics = Mapping[str, Metric]

_TOP1 = re.compile(r"(?P<task>zero_shot|transfer)/(?P<split>.+?)/(?P<series>frozen_start|majority|chance)?[_/]?top1")
_POPE = re.compile(
    r"pope/(?:(?P<part>.+?)/)??(?:(?P<baseline>question_only|majority|chance)/)?"
    r"(?:(?P<set>random|popular|adversarial)/)?(?P<measure>\w+)"
)
_RETRIEVAL = re.compile(r"retrieval/(?P<split>.+)/(?P<way>image_to_text|text_to_image)/(?P<measure>\w+)")
_CHAIR = re.compile(r"chair/(?:(?P<variant>.+)/)?(?P<measure>\w+)")
_QUESTION = re.compile(
    r"(?P<form>count|where|classify)/(?:(?P<part>.+?)/)??(?:(?P<baseline>question_only|majority|chance)[/_])?accuracy"
)

_SERIES: dict[str, tuple[str, Tone]] = {
    "": ("after training", "own"),
    "frozen_start": ("frozen start", "start"),
    "majority": ("most frequent class", "baseline"),
    "chance": ("chance", "baseline"),
}
_BASELINES = {"question_only": "question only", "majority": "fixed answer", "chance": "chance"}
_POPE_COLUMNS = ("accuracy", "precision", "recall", "f1", "yes_ratio", "abstain_ratio", "auroc")
_WORDS = {
    "yes_ratio": "yes-ratio",
    "abstain_ratio": "abstains",
    "auroc": "AUROC",
    "f1": "F1",
    "chair_i": "CHAIR_i",
    "chair_s": "CHAIR_s",
    "mean_words": "words",
    "image_to_text": "words for a picture",
    "text_to_image": "pictures for words",
}


@dataclass(frozen=True)
class Figure:
    """A drawing, what it is, and one sentence on what to see."""

    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Cell:
    """A value of a table with its interval below it."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table; ``quiet`` ones are baselines, one without cells is the heading of those below it."""

    label: str
    cells: tuple[Cell, ...] = ()
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """A table of numbers; its columns are named, its rows labelled."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""


@dataclass(frozen=True)
class Headline:
    """One of the large numbers, with what stands beside it."""

    title: str
    value: str
    small: str
    beside: tuple[str, ...] = ()


def drawn(
    paragraphs: Iterable[str] = (), figures: Iterable[Figure] = (), tables: Iterable[Table] = ()
) -> dict[str, list]:
    """What the template ``tables.html`` shows: sentences, figures, then tables."""
    return {"paragraphs": list(paragraphs), "figures": list(figures), "tables": list(tables)}


def cell(name: str, metric: Metric | None) -> Cell:
    """A metric as a table shows it; a dash where nothing was measured."""
    if metric is None:
        return Cell("")
    share = is_share(name)
    return Cell(number(metric.value, share=share), interval(metric, share=share))


def column_words(measure: str) -> str:
    """A measure as the head of a column.

    >>> column_words("recall_at_5"), column_words("f1"), column_words("mean_words")
    ('R@5', 'F1', 'words')
    """
    match = re.fullmatch(r"(chance_)?recall_at_(\d+)", measure)
    return f"{'chance ' if match[1] else ''}R@{match[2]}" if match else _WORDS.get(measure, humanised(measure))


# Zero-shot


def zero_shot_groups(metrics: Metrics) -> dict[str, dict[str, Metric]]:
    """``{stem: {series: metric}}`` with the series "" (after training), "frozen_start", "majority", "chance".

    The stem is the task and the split, as in ``zero_shot/test``.
    """
    groups: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if match := _TOP1.fullmatch(name):
            groups.setdefault(f"{match['task']}/{match['split']}", {})[match["series"] or ""] = metric
    return {stem: {s: group[s] for s in _SERIES if s in group} for stem, group in groups.items() if "" in group}


def _split_title(stem: str) -> str:
    task, _, split = stem.partition("/")
    return capitalised(humanised(split)) if task == "zero_shot" else f"{capitalised(task)}: {humanised(split)}"


def zero_shot_figures(metrics: Metrics) -> list[Figure]:
    """One dot plot for each split, all on one scale."""
    groups = zero_shot_groups(metrics)
    bounds = [b for group in groups.values() for m in group.values() for b in (m.value, *(m.ci95 or ()))]
    figures = []
    for stem, group in groups.items():
        title = _split_title(stem)
        rows = [Dot(_SERIES[s][0], metric, _SERIES[s][1]) for s, metric in group.items()]
        svg = dot_plot(
            f"Zero-shot top-1 accuracy, {title}", rows, share=True, top=max(filter(math.isfinite, bounds), default=None)
        )
        figures.append(Figure(title, svg, _against(group)))
    return figures


def _against(group: Mapping[str, Metric]) -> str:
    """The sentence below a zero-shot figure, by what was measured."""
    own, start, chance = group[""], group.get("frozen_start"), group.get("chance")
    if not math.isfinite(own.value):
        return "There was nothing to name."
    size = "" if own.n is None else f" over {own.n:,} pictures"
    if start is None or not math.isfinite(start.value):
        beside = f", against {number(chance.value, share=True)} by chance" if chance else ""
        return f"{number(own.value, share=True)} are named right{size}{beside}."
    gain = 100 * (own.value - start.value)
    text = f"{abs(gain):.1f} points {'better' if gain >= 0 else 'worse'} than the frozen start{size}"
    if own.ci95 and own.ci95[0] <= start.value <= own.ci95[1]:
        return f"{text}; the interval includes the start, so this is no clear change."
    return f"{text}; the start lies outside the interval."


# Retrieval


def retrieval_table(metrics: Metrics) -> Table | None:
    """Rows are splits and directions, columns the recalls."""
    found: dict[tuple[str, str], dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if match := _RETRIEVAL.fullmatch(name):
            found.setdefault((match["split"], match["way"]), {})[match["measure"]] = metric
    columns = tuple(dict.fromkeys(measure for group in found.values() for measure in group))
    rows = tuple(
        Row(f"{capitalised(humanised(split))}: {_WORDS[way]}", tuple(cell(c, group.get(c)) for c in columns))
        for (split, way), group in found.items()
    )
    caption = "R@k: the right one is among the first k. Below each number its 95 % interval."
    return Table("Retrieval", tuple(map(column_words, columns)), rows, caption) if rows else None


# Hallucination


@dataclass(frozen=True)
class PopePart:
    """The questions "is there a …?" about one kind of pictures: numbers by question set, and the baselines."""

    title: str
    sets: dict[str, dict[str, Metric]]
    baselines: dict[str, dict[str, Metric]]


def pope_parts(metrics: Metrics) -> list[PopePart]:
    """What was asked, by kind of pictures ("" are the ordinary test pictures)."""
    parts: dict[str, PopePart] = {}
    for name, metric in metrics.items():
        match = _POPE.fullmatch(name)
        if match is None or (match["baseline"] and match["set"]):
            continue
        title = humanised(match["part"]) if match["part"] else "test pictures"
        part = parts.setdefault(match["part"] or "", PopePart(capitalised(title), {}, {}))
        group = part.baselines if match["baseline"] else part.sets
        group.setdefault(match["baseline"] or match["set"] or "all questions", {})[match["measure"]] = metric
    return [part for part in parts.values() if part.sets]


def pope_table(parts: Iterable[PopePart]) -> Table | None:
    """Question sets and baselines × measures, one block of rows for each kind of pictures."""
    parts = list(parts)
    groups = [group for part in parts for group in (*part.sets.values(), *part.baselines.values())]
    columns = tuple(c for c in _POPE_COLUMNS if any(c in group for group in groups))
    rows: list[Row] = []
    for part in parts:
        rows += [Row(part.title)] if len(parts) > 1 else []
        rows += [Row(capitalised(s), tuple(cell(c, g.get(c)) for c in columns)) for s, g in part.sets.items()]
        rows += [
            Row(capitalised(words), tuple(cell(c, group.get(c)) for c in columns), quiet=True)
            for words, group in _baseline_rows(part)
        ]
    caption = "Below each number its 95 % interval. The quiet rows need no picture."
    return Table("Yes/no answers", tuple(map(column_words, columns)), tuple(rows), caption) if rows else None


def _baseline_rows(part: PopePart) -> Iterable[tuple[str, Mapping[str, Metric]]]:
    """The baselines of a part; those that say the same share a row."""
    merged: dict[str, tuple[list[str], Mapping[str, Metric]]] = {}
    for name, words in _BASELINES.items():
        if group := part.baselines.get(name):
            key = ", ".join(f"{measure} {full(metric)}" for measure, metric in group.items())
            merged.setdefault(key, ([], group))[0].append(words)
    return [(", ".join(words), group) for words, group in merged.values()]


def pope_figure(part: PopePart) -> Figure | None:
    """Accuracy by question set with the baselines that need no picture."""
    rows = [Dot(name, g["accuracy"]) for name, g in part.sets.items() if "accuracy" in g]
    known = [(w, part.baselines.get(b, {}).get("accuracy")) for b, w in _BASELINES.items()]
    rows += [Dot(words, metric, "baseline") for words, metric in known if metric is not None]
    if not any(row.tone == "own" for row in rows):
        return None
    svg = dot_plot(f"Accuracy of yes/no answers, {part.title}", rows, share=True, top=1.0)
    return Figure(
        part.title, svg, "What lies right of the bars was seen in the picture, not guessed from the question."
    )


def chair_table(metrics: Metrics) -> Table | None:
    """Captions: rows are the kinds of pictures or remedies, columns the measures."""
    found: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if match := _CHAIR.fullmatch(name):
            found.setdefault(match["variant"] or "", {})[match["measure"]] = metric
    columns = tuple(dict.fromkeys(measure for group in found.values() for measure in group))
    rows = tuple(
        Row(capitalised(humanised(variant)) if variant else "Test pictures", tuple(cell(c, g.get(c)) for c in columns))
        for variant, g in found.items()
    )
    caption = "CHAIR_i and CHAIR_s: lower is better, but only beside the recall, since silence makes nothing up."
    return Table("Captions (CHAIR)", tuple(map(column_words, columns)), rows, caption) if rows else None


def question_figures(metrics: Metrics) -> list[Figure]:
    """Counting, telling places and classes: accuracy beside what needs no picture."""
    groups: dict[str, dict[tuple[str, str], Metric]] = {}
    for name, metric in metrics.items():
        if match := _QUESTION.fullmatch(name):
            groups.setdefault(match["form"], {})[match["part"] or "", match["baseline"] or ""] = metric
    titles = {"count": "How many?", "where": "Where is it?", "classify": "Which class?"}
    figures = []
    for form, group in groups.items():
        rows = [Dot(humanised(p) if p else "test pictures", m) for (p, b), m in group.items() if not b]
        rows += [
            Dot(", ".join(filter(None, (_BASELINES[b], humanised(p)))), m, "baseline")
            for (p, b), m in group.items()
            if b
        ]
        svg = dot_plot(f"Accuracy, {titles[form]}", rows, share=True, top=1.0)
        figures.append(Figure(titles[form], svg, "Share of exactly right answers; a dot shows its 95 % interval."))
    return figures


# Large numbers


def headlines(metrics: Metrics, chosen: Iterable[str] = (), *, most: int = 4) -> list[Headline]:
    """The chosen metrics that were measured, or the first of each kind."""
    names = [n for n in chosen if n in metrics] or list(_default_headlines(metrics))
    return [_headline(name, metrics) for name in names[:most]]


def _default_headlines(metrics: Metrics) -> Iterable[str]:
    patterns = (
        r"zero_shot/[^_]\w*(/\w+)?/top1",
        r"transfer/.+/top1",
        r"pope/adversarial/accuracy",
        r"chair/chair_i",
        r"retrieval/.+/text_to_image/recall_at_1",
        r"count/accuracy",
    )
    for pattern in patterns:
        yield from [n for n in metrics if re.fullmatch(pattern, n) and not n.endswith("start/top1")][:1]


def _headline(name: str, metrics: Metrics) -> Headline:
    share, metric = is_share(name), metrics[name]
    small = full(metric, share=share).removeprefix(number(metric.value, share=share)).lstrip(", ")
    return Headline(metric_title(name), number(metric.value, share=share), small, tuple(_beside(name, metrics)))


def metric_title(name: str) -> str:
    """A metric's name for a reader.

    >>> metric_title("pope/adversarial/accuracy"), metric_title("zero_shot/unseen_concepts/openmoji/top1")
    ('Accuracy on "is there a …?", adversarial', 'Zero-shot top-1: unseen concepts, OpenMoji')
    """
    if (top1 := _TOP1.fullmatch(name)) and not top1["series"]:
        task = "Transfer" if top1["task"] == "transfer" else "Zero-shot"
        return f"{task} top-1: {humanised(top1['split'])}"
    if (pope := _POPE.fullmatch(name)) and not pope["baseline"]:
        parts = (
            capitalised(humanised(pope["measure"])) + ' on "is there a …?"',
            pope["set"],
            humanised(pope["part"] or ""),
        )
        return ", ".join(filter(None, parts))
    if found := _RETRIEVAL.fullmatch(name):
        return f"{capitalised(_WORDS[found['way']])}, {column_words(found['measure'])}: {humanised(found['split'])}"
    if name == "chair/chair_i":
        return "Objects in captions that are not there (CHAIR_i)"
    return capitalised(humanised(name))


def _beside(name: str, metrics: Metrics) -> Iterable[str]:
    if top1 := _TOP1.fullmatch(name):
        group = zero_shot_groups(metrics).get(f"{top1['task']}/{top1['split']}", {})
        for series in ("frozen_start", "majority", "chance"):
            if series in group:
                yield f"{_SERIES[series][0]} {number(group[series].value, share=True)}"
    elif (pope := _POPE.fullmatch(name)) and pope["measure"] == "accuracy":
        stem = "pope/" + (f"{pope['part']}/" if pope["part"] else "")
        for baseline, words in _BASELINES.items():
            if metric := metrics.get(f"{stem}{baseline}/accuracy"):
                yield f"{words} {number(metric.value, share=True)}"
    elif name == "chair/chair_i":
        yield "lower is better"
        if metric := metrics.get("chair/recall"):
            yield f"recall {number(metric.value, share=True)}"
    else:
        stem = name.rpartition("/")[0]
        for baseline in ("majority", "chance"):
            metric = metrics.get(f"{stem}/{baseline}/accuracy") or metrics.get(f"{stem}/{baseline}_accuracy")
            if name.endswith("/accuracy") and metric:
                yield f"{_BASELINES[baseline]} {number(metric.value, share=True)}"
