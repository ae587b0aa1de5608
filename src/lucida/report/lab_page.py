"""What a page of the lab is drawn from: the part of its ``results.json`` that is neither metric nor measurement.

The lab fills an :class:`ExperimentPage` and saves it as ``details["page"]`` of :class:`~lucida.core.results.Results`;
the book is rebuilt from that file alone. A number that has a name lives in ``metrics``, and the page names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lucida.core.config import from_dict, to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import Results

Word = Literal["supported", "refuted", "depends", "inconclusive"]


@dataclass(frozen=True)
class Ruling:
    """A claim and what the measurements say of it.

    Attributes:
        name: of the claim; its metrics are ``claim/<name>/effect``, and ``claim/<name>/effect/<level>`` for each level.
        statement: what is claimed, in English.
        statement_zh: the same in Chinese.
        prediction: what would be seen if it held.
        measure: what is compared, with its unit.
        smallest_effect: the smallest difference that matters, with the sign of the prediction.
        word: the verdict.
        primary: whether it is one of the at most three claims the experiment is judged by.
        power: share of simulated experiments with the measured spread and an effect of 1.5 times the smallest in which
            the claim is found supported.
        levels: verdict by level of the expected interaction, where there is one.
        moderator: what the levels are levels of (``"data"``, ``"batch size"``).
        arms: the two arms that are compared, for the reader: first the one the claim speaks of.
        confidence: of the effect's interval: more than 0.95 where Holm's correction asks for it.
        interaction: p-value of the difference between the levels.
        false_support: the share of ``power``, with no effect at all.
        share: whether the effect is a difference of shares, shown in percentage points.
        censored: runs of each arm that are known only to be at least their number: the budget ended first.
    """

    name: str
    statement: str
    statement_zh: str
    prediction: str
    measure: str
    smallest_effect: float
    word: Word
    primary: bool = True
    power: float | None = None
    levels: Mapping[str, Word] = field(default_factory=dict)
    moderator: str = ""
    arms: tuple[str, str] = ("", "")
    confidence: float | None = None
    interaction: float | None = None
    false_support: float | None = None
    share: bool = False
    censored: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Series:
    """A curve with its band: ``low`` and ``high`` are the ends of the 95 % interval over seeds, or empty."""

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    dashed: bool = False  # a prediction, a bound: not measured


@dataclass(frozen=True)
class LinesFigure:
    """Curves on common axes; on a logarithmic axis all values are positive."""

    title: str
    series: tuple[Series, ...]
    x_label: str
    y_label: str
    caption: str = ""
    log_x: bool = False
    log_y: bool = False
    share: bool = False
    section: str = ""
    kind: Literal["lines"] = "lines"


@dataclass(frozen=True)
class EffectRow:
    """A row of an :class:`EffectsFigure`: a metric, by name."""

    label: str
    metric: str


@dataclass(frozen=True)
class EffectsFigure:
    """Metrics with their intervals on one scale; ``smallest_effect`` marks the difference that matters."""

    title: str
    rows: tuple[EffectRow, ...]
    x_label: str
    caption: str = ""
    smallest_effect: float | None = None
    share: bool = False
    section: str = ""
    kind: Literal["effects"] = "effects"


@dataclass(frozen=True)
class GridFigure:
    """A table coloured by value: ``values[row][column]``, ``None`` where nothing was measured."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    row_label: str
    column_label: str
    value_label: str
    caption: str = ""
    share: bool = False
    section: str = ""
    kind: Literal["grid"] = "grid"


@dataclass(frozen=True)
class TableFigure:
    """A table whose cells are names of metrics; ``shares`` says of each column whether it is shown in percent."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # (label, one metric's name for each column; "" for a blank)
    caption: str = ""
    shares: tuple[bool, ...] = ()
    section: str = ""
    kind: Literal["table"] = "table"


Drawing = LinesFigure | EffectsFigure | GridFigure | TableFigure
_KINDS = {"lines": LinesFigure, "effects": EffectsFigure, "grid": GridFigure, "table": TableFigure}


@dataclass(frozen=True)
class ExperimentPage:
    """A question, its answer and the evidence.

    Attributes:
        name: of the page, as on the command line.
        title: of the page.
        question, question_zh: what is asked.
        answer, answer_zh: the short answer: paragraphs (an empty line between them) in which ``{metric}`` stands for a
            metric by name (and ``{metric:%}`` for a share in percent, ``{metric:ci}`` for its value with its interval,
            see :func:`lucida.report.sourced.filled`): no number is written by hand.
        rulings: primary claims first.
        design: (what, how) in the order of the page: networks, data, factors, held fixed, seeds, learning rates.
        drawings: figures and tables, in the order of the page; drawings of one ``section`` stand together.
        sections: (title, text) by name of the section, in the order of the page; the text may hold ``{metric}``.
        would_change: what would change the answer.
        sources: (text, address) of the papers.
        scale: ``"quick"`` or ``"full"``.
        seeds: how many.
        design_hash: of everything that was declared before the run.
        rerun: the command.
        topic: the heading under which the index lists the page.
    """

    name: str
    title: str
    question: str
    question_zh: str
    answer: str
    answer_zh: str
    rulings: tuple[Ruling, ...]
    design: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]
    sections: Mapping[str, tuple[str, str]]
    would_change: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    scale: str
    seeds: int
    design_hash: str
    rerun: str
    topic: str = ""


def page_values(page: ExperimentPage) -> dict[str, Any]:
    """The page as JSON values, for ``details["page"]``."""
    return to_dict(page)


def read_page(results: Results, where: str | Path) -> ExperimentPage:
    """The page a results file holds.

    Raises:
        LucidaError: the file is not that of a page of the lab.
    """
    content = results.details.get("page")
    if not isinstance(content, Mapping):
        raise LucidaError("not the results of a lab page", where=where, remedy="lucida lab run NAME makes one")
    content = dict(content)
    drawings = tuple(_drawing(drawing, str(where)) for drawing in content.pop("drawings", ()))
    page: ExperimentPage = from_dict(ExperimentPage, content | {"drawings": ()}, where=f"{where}: page")
    return ExperimentPage(**{**page.__dict__, "drawings": drawings})


def _drawing(content: Mapping[str, Any], where: str) -> Drawing:
    kind = _KINDS.get(content.get("kind", ""))
    if kind is None:
        raise LucidaError(f"unknown kind of drawing {content.get('kind')!r}", where=where)
    return from_dict(kind, content, where=f"{where}: {content.get('title')}")
