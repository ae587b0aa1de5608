"""Tables of the lab: numbers by row and column, plain or coloured by value, readable without the colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from lucida.core.results import Metric
from lucida.report.lab_page import GridFigure, LinesFigure, TableFigure
from lucida.report.sourced import formatted, shown, shown_interval, shown_value

SHADES = 9  # of the scale, from the least value to the largest
_WIDE_RANGE = 100.0
_MOST_ROWS = 40  # of the numbers below a drawing


def grid_plot(figure: GridFigure, path: str = "") -> Markup:
    """A heat map: a table whose cells are shaded by value and hold the value.

    A table rather than a drawing, so that labels wrap, columns scroll sideways below their fixed row names on a phone,
    and a screen reader reads it cell by cell.
    """
    finite = [v for row in figure.values for v in row if v is not None and math.isfinite(v)]
    form = cell_form(finite, share=figure.share)
    log = _log(finite)
    head = Markup("").join(
        Markup('<th scope="col" data-words="{}">{}</th>').format(f"{path}/columns/{k}", column)
        for k, column in enumerate(figure.columns)
    )
    body = Markup("").join(_grid_row(figure, i, finite, form, path, log=log) for i in range(len(figure.rows)))
    table = Markup(
        '<div class="table" tabindex="0" role="region" aria-label="{title}"><table class="heat">'
        '<thead><tr><td></td><th scope="colgroup" colspan="{n}" data-words="{path}/column_label">{over}</th>'
        '</tr><tr><th scope="col" class="corner" data-words="{path}/row_label">{corner}</th>{head}</tr></thead>'
        "<tbody>{body}</tbody></table></div>"
    )
    return table.format(
        title=figure.title, n=max(1, len(figure.columns)), over=figure.column_label, corner=figure.row_label,
        head=head, body=body, path=path,
    ) + _key(finite, figure, form, path, log=log)  # fmt: skip


def _grid_row(figure: GridFigure, i: int, finite: Sequence[float], form: str, path: str, *, log: bool) -> Markup:
    cells = Markup("").join(
        Markup('<td class="{}">{}</td>').format(
            _shade_class(value, finite, log=log), shown(value, f"{path}/values/{i}/{k}", form)
        )
        for k, value in enumerate(figure.values[i])
    )
    return Markup('<tr><th scope="row" data-words="{}">{}</th>{}</tr>').format(
        f"{path}/rows/{i}", figure.rows[i], cells
    )


def cell_form(values: Sequence[float], *, share: bool) -> str:
    """One way to write all cells: as many decimals as tell them apart.

    >>> cell_form([0.11, 0.97], share=True), cell_form([0.981, 0.985], share=True), cell_form([-11.6, 0.2], share=False)
    ('% bare 0', '% bare 1', '1')
    """
    if not values:
        return ""
    sizes = [abs(v) for v in values if v]
    most, least, span = max(sizes, default=1.0), min(sizes, default=1.0), max(values) - min(values)
    if share:
        return f"% bare {0 if span >= 0.2 else 1}"
    if most >= 1e5 or most < 0.01 or (least < 0.005 and _log(values)):
        return "brief"
    return f"{0 if most >= 100 and span >= 10 else 1 if most >= 10 else 2 if most >= 0.1 else 3}"


def _log(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > _WIDE_RANGE


def shade(value: float, values: Sequence[float], *, log: bool) -> int:
    """Which of the :data:`SHADES`.

    >>> [shade(v, [0.0, 10.0], log=False) for v in (0.0, 5.0, 10.0)]
    [0, 4, 8]
    """
    low, high = min(values), max(values)
    if log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    part = (value - low) / (high - low) if high > low else 0.5
    return min(SHADES - 1, int(part * SHADES))


def _shade_class(value: float | None, values: Sequence[float], *, log: bool) -> str:
    if value is None or not math.isfinite(value):
        return "unmeasured"
    return f"q{shade(value, values, log=log)}"


def _key(values: Sequence[float], figure: GridFigure, form: str, path: str, *, log: bool) -> Markup:
    """The scale below a heat map: least and largest value with the shades between them."""
    if not values:
        return Markup("")
    swatches = Markup("").join(Markup('<i class="q{}"></i>').format(k) for k in range(SHADES))
    places = {
        v: f"{path}/values/{i}/{k}" for i, row in enumerate(figure.values) for k, v in enumerate(row) if v is not None
    }
    low, high = (shown(v, places[v], form.replace(" bare", "")) for v in (min(values), max(values)))
    note = ", equal ratios are equal steps of shade" if log else ""
    return Markup(
        '<p class="key"><span data-words="{path}/value_label">{label}</span>: {low} '
        '<span class="shades" aria-hidden="true">{swatches}</span> {high}{note}</p>'
    ).format(path=path, label=figure.value_label, low=low, swatches=swatches, high=high, note=note)


def table(figure: TableFigure, metrics: Mapping[str, Metric], path: str = "") -> Markup:
    """A table of metrics, each with its interval below it."""
    head = Markup("").join(
        Markup('<th scope="col" data-words="{}">{}</th>').format(f"{path}/columns/{k}", column)
        for k, column in enumerate(figure.columns)
    )
    rows = Markup("").join(
        Markup('<tr><th scope="row" data-words="{}">{}</th>{}</tr>').format(
            f"{path}/rows/{i}/0",
            label,
            Markup("").join(_cell(figure, k, name, metrics) for k, name in enumerate(names)),
        )
        for i, (label, names) in enumerate(figure.rows)
    )
    return Markup(
        '<div class="table" tabindex="0" role="region" aria-label="{}"><table class="numbers">'
        "<thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(figure.title, head, rows)


def _cell(figure: TableFigure, column: int, name: str, metrics: Mapping[str, Metric]) -> Markup:
    if not name:
        return Markup("<td></td>")
    if name not in metrics:
        return Markup('<td class="unmeasured">not measured</td>')
    form = "%" if column < len(figure.shares) and figure.shares[column] else ""
    value = shown_value(name, metrics[name], form)
    bounds = shown_interval(name, metrics[name], form)
    return (
        Markup("<td>{}<small>{}</small></td>").format(value, bounds) if bounds else Markup("<td>{}</td>").format(value)
    )


def numbers_of(figure: LinesFigure, path: str = "") -> Markup:
    """The numbers a drawing of curves is made of, as a table: a row for each place on the axis.

    Of long curves every so many rows; the results file has them all.
    """
    xs = sorted({x for series in figure.series for x in series.x})
    step = math.ceil(len(xs) / _MOST_ROWS) if xs else 1
    chosen = sorted({*xs[::step], *xs[-1:]})
    places = [{x: k for k, x in enumerate(series.x)} for series in figure.series]
    head = Markup("").join(
        Markup('<th scope="col" data-words="{}">{}</th>').format(f"{path}/series/{i}/label", series.label)
        for i, series in enumerate(figure.series)
    )
    body = Markup("").join(_numbers_row(figure, x, places, path) for x in chosen)
    return Markup(
        '<div class="table" tabindex="0" role="region" aria-label="{title}"><table class="numbers data"><thead><tr>'
        '<th scope="col" class="tick">{x}</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    ).format(title=f"{figure.title}: numbers", x=figure.x_label, head=head, body=body)


def _numbers_row(figure: LinesFigure, x: float, places: Sequence[Mapping[float, int]], path: str) -> Markup:
    form = "%" if figure.share else "brief"
    owner = next(i for i, known in enumerate(places) if x in known)
    cells = Markup("").join(
        Markup("<td>{}</td>").format(
            shown(figure.series[i].y[known[x]], f"{path}/series/{i}/y/{known[x]}", form) if x in known else ""
        )
        for i, known in enumerate(places)
    )
    first = shown(x, f"{path}/series/{owner}/x/{places[owner][x]}", "count" if x == round(x) and x < 1e7 else "brief")
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(first, cells)


def is_wide(figure: GridFigure | TableFigure) -> bool:
    """Whether a table needs the whole width of a wide screen, in about as many letters as half of one takes."""
    if isinstance(figure, TableFigure):
        names = min(20, max((len(label) for label, _ in figure.rows), default=0))
        return names + sum(max(15, len(column)) + 2 for column in figure.columns) > 50
    form = cell_form([v for row in figure.values for v in row if v is not None], share=figure.share)
    widest = max((len(formatted(v, form)) for row in figure.values for v in row), default=6)
    return len(figure.columns) * (max(widest, 4) + 2) > 36
