"""The book of the lab: a static site, an index of the questions and a page each, made from results files alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results, write_text
from lucida.report.grids import grid_plot, is_wide, numbers_of, table
from lucida.report.lab_page import (
    Drawing,
    EffectsFigure,
    ExperimentPage,
    GridFigure,
    LinesFigure,
    Ruling,
    TableFigure,
    Word,
    read_page,
)
from lucida.report.plots import Row, effects_plot, interval_mark, interval_rows, lines_plot
from lucida.report.sourced import filled, shown, shown_interval, shown_metric, with_formulas
from lucida.report.wording import is_share, left_out_name

WORDS: tuple[Word, ...] = ("supported", "refuted", "depends", "inconclusive")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PAGE = "details/page"


@dataclass(frozen=True)
class Question:
    """A page of the book: what its results file holds."""

    page: ExperimentPage
    results: Results
    where: str

    @property
    def claims(self) -> list[Claim]:
        """All claims, primary ones first."""
        found = [Claim(self, ruling, f"{_PAGE}/rulings/{k}") for k, ruling in enumerate(self.page.rulings)]
        return sorted(found, key=lambda claim: not claim.ruling.primary)

    @property
    def environment(self) -> Mapping[str, Any]:
        """Machine, commit and versions; empty if the file does not say."""
        recorded = self.results.details.get("environment")
        return recorded if isinstance(recorded, Mapping) else {}


@dataclass(frozen=True)
class Claim:
    """A claim as the templates show it; ``path`` is its place in the results file."""

    question: Question
    ruling: Ruling
    path: str

    @property
    def name(self) -> str:
        """Of the metric that holds the effect."""
        return f"claim/{self.ruling.name}/effect"

    @property
    def form(self) -> str:
        """How its effect is written."""
        return "points +" if self.ruling.share else "+"

    @property
    def metric(self) -> Metric | None:
        """The effect; ``None`` if it was not measured."""
        return self.question.results.metrics.get(self.name)

    @property
    def value(self) -> Markup:
        """The effect alone."""
        return shown(self.metric.value, f"metrics/{self.name}/value", self.form) if self.metric else Markup("–")

    @property
    def interval(self) -> Markup:
        """Its interval in brackets."""
        return shown_interval(self.name, self.metric, self.form) if self.metric else Markup("")

    @property
    def mark(self) -> Markup:
        """A drawing of the interval for the index."""
        title = f"{self.ruling.word}: effect with its interval, zero, and the smallest effect that matters"
        effect = self.metric or Metric(math.nan)
        return interval_mark(effect, self.ruling.smallest_effect, self.ruling.word, title)

    @property
    def drawing(self) -> Markup:
        """A drawing of the interval, and of one for each level, on one scale with numbers."""
        ruling, metrics = self.ruling, self.question.results.metrics
        rows = [Row("All levels" if ruling.levels else "", self.name, self.metric, ruling.word)]
        rows += [
            Row(level, f"{self.name}/{level}", metrics.get(f"{self.name}/{level}"), word, f"{self.path}/levels")
            for level, word in ruling.levels.items()
        ]
        title = f"Effect and interval of the claim: {ruling.statement}"
        smallest = (ruling.smallest_effect, f"{self.path}/smallest_effect")
        return interval_rows(title, rows, form=self.form, smallest=smallest, x_label=ruling.measure)


@dataclass(frozen=True)
class Shown:
    """A drawing with its frame."""

    title: str
    caption: str
    body: Markup
    path: str
    wide: bool = False
    numbers: Markup | None = None
    predicted: bool = False
    band: bool = False


@dataclass(frozen=True)
class Part:
    """A section of the page that the experiment wrote."""

    id: str
    title: str
    title_path: str
    text: Markup
    drawings: Sequence[Shown]


def write_book(results_files: Sequence[Path], out_folder: Path) -> Path:
    """Write ``index.html``, a page for each results file, and ``book.css``.

    Args:
        results_files: ``results.json`` of pages of the lab, in the order of the index.
        out_folder: is made if it is missing; other files in it stay.

    Returns:
        The path of the index.

    Raises:
        LucidaError: a file is missing or is no lab page, two are of the same page, a text names an unknown metric, or
            the folder cannot be written.
    """
    questions = _read(results_files)
    pages = {f"{question.page.name}.html": render_page(question, questions) for question in questions}
    pages["index.html"] = render_index(questions)
    try:
        out_folder.mkdir(parents=True, exist_ok=True)
        write_text(out_folder / "book.css", style())
        for name, text in pages.items():
            write_text(out_folder / name, text)
    except OSError as error:
        raise LucidaError(f"cannot write the book: {error.strerror}", where=out_folder) from None
    return out_folder / "index.html"


def _read(results_files: Sequence[Path]) -> list[Question]:
    if not results_files:
        raise LucidaError("no results files to make a book of", remedy="lucida lab run NAME makes one")
    questions: dict[str, Question] = {}
    for path in results_files:
        results = Results.load(path)
        page = read_page(results, path)
        if not _NAME.fullmatch(page.name) or page.name == "index":
            raise LucidaError(f"{page.name!r} cannot be the name of a page", where=path)
        if page.name in questions:
            other = questions[page.name].where
            raise LucidaError(f"two results files are of the page {page.name!r}", where=path, remedy=f"other: {other}")
        questions[page.name] = Question(page, results, str(path))
    return list(questions.values())


def style() -> str:
    """The style sheet: that of the report, and what the book adds."""
    folder = Path(__file__).parent / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in ("page.css", "book.css"))


def _templates() -> Environment:
    # Every template escapes: arms, captions and reasons are other people's text.
    templates = Environment(
        loader=PackageLoader("lucida.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"shown": shown, "words": WORDS, "root": _PAGE}
    templates.filters["formulas"] = with_formulas
    return templates


# The index


def render_index(questions: Sequence[Question]) -> str:
    """The index as text."""
    topics: dict[str, list[Question]] = {}
    for question in questions:
        topics.setdefault(question.page.topic, []).append(question)
    topics |= {"": topics.pop("")} if "" in topics else {}  # what has no topic comes last
    primary = [claim.ruling.word for question in questions for claim in question.claims if claim.ruling.primary]
    return (
        _templates()
        .get_template("book_index.html")
        .render(
            topics=topics,
            counts={word: primary.count(word) for word in WORDS},
            total=len(primary),
            scales=sorted({question.page.scale for question in questions}),
            machines=_machines(questions),
        )
    )


def _machines(questions: Sequence[Question]) -> list[tuple[str, Question, list[Question]]]:
    """Where the numbers were measured: (commit and machine, one question that names them, all of them)."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        facts = question.environment
        if facts.get("processor") or facts.get("commit"):
            key = f"{facts.get('processor')} {facts.get('commit')} {facts.get('uncommitted_changes')}"
            found.setdefault(key, []).append(question)
    return [(key, of[0], of) for key, of in found.items()]


# A page


def render_page(question: Question, questions: Sequence[Question] = ()) -> str:
    """A question's page as text.

    Args:
        question: which.
        questions: of the book, for the links to the one before and the one after.
    """
    place = next((k for k, other in enumerate(questions) if other.page.name == question.page.name), 0)
    neighbours = {
        "before": questions[place - 1] if place > 0 else None,
        "after": questions[place + 1] if place + 1 < len(questions) else None,
    }
    page = question.page
    claims = question.claims
    return (
        _templates()
        .get_template("book_page.html")
        .render(
            question=question,
            page=page,
            primary=[claim for claim in claims if claim.ruling.primary],
            secondary=[claim for claim in claims if not claim.ruling.primary],
            answer=_paragraphs(question, page.answer, f"{_PAGE}/answer"),
            answer_zh=_paragraphs(question, page.answer_zh, f"{_PAGE}/answer_zh", "zh"),
            parts=list(_parts(question)),
            would_change=[filled(text, question.results, question.where) for text in page.would_change],
            numbers=list(_all_numbers(question.results.metrics)),
            seconds=[(name, f"seconds/{name}", value) for name, value in question.results.seconds.items()],
            left_out=[(key, left_out_name(key), reason) for key, reason in question.results.left_out.items()],
            versions=_versions(question.environment),
            **neighbours,
        )
    )


def _paragraphs(question: Question, text: str, path: str, language: str = "en") -> Markup:
    """Paragraphs with their numbers filled in; a digit that is written by hand in them counts as untraced."""
    whole = (part for part in re.split(r"\n\s*\n", text) if part.strip())
    return Markup("\n").join(
        Markup('<p data-words="{}" data-prose>{}</p>').format(
            path, filled(part, question.results, question.where, language)
        )
        for part in whole
    )


def _parts(question: Question) -> Iterable[Part]:
    page = question.page
    drawn: dict[str, list[Shown]] = {}
    for index, drawing in enumerate(page.drawings):
        key = drawing.section if drawing.section in page.sections else ""
        drawn.setdefault(key, []).append(_shown(question, drawing, f"{_PAGE}/drawings/{index}"))
    for number, (key, (title, text)) in enumerate(page.sections.items(), 1):
        path = f"{_PAGE}/sections/{key}"
        if drawn.get(key) or text.strip():
            body = _paragraphs(question, text, f"{path}/1")
            yield Part(f"part-{number}", title, f"{path}/0", body, drawn.get(key, []))
    if "" in drawn:
        yield Part("more", "More measurements", "", Markup(""), drawn[""])


def _shown(question: Question, drawing: Drawing, path: str) -> Shown:
    metrics = question.results.metrics
    caption = filled(drawing.caption, question.results, question.where)
    if isinstance(drawing, LinesFigure):
        return Shown(
            drawing.title,
            caption,
            lines_plot(drawing, path),
            path,
            numbers=numbers_of(drawing, path),
            predicted=any(series.dashed for series in drawing.series),
            band=any(series.low for series in drawing.series),
        )
    if isinstance(drawing, EffectsFigure):
        return Shown(drawing.title, caption, effects_plot(drawing, metrics, path), path)
    if isinstance(drawing, GridFigure):
        return Shown(drawing.title, caption, grid_plot(drawing, path), path, is_wide(drawing))
    assert isinstance(drawing, TableFigure)
    return Shown(drawing.title, caption, table(drawing, metrics, path), path, is_wide(drawing))


def _all_numbers(metrics: Mapping[str, Metric]) -> Iterable[tuple[str, Markup, Markup]]:
    """(name, value with interval, number of cases) of each metric."""
    for name, metric in metrics.items():
        share = is_share(name) and not name.startswith("claim/")
        n = shown(metric.n, f"metrics/{name}/n", "count") if metric.n is not None else Markup("")
        yield name, shown_metric(name, metric, "%" if share else ""), n


def _versions(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = environment.get("versions")
    return [(n, str(v)) for n, v in versions.items() if v] if isinstance(versions, Mapping) else []
