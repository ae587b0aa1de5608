"""The live picture of a run's probes: a pure function from what was read to something ``rich`` can draw."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lucida.report.live_rows import Stage
from lucida.report.live_sections import Section, facts, findings, gradient_bars, others
from lucida.report.strokes import BLOCKS, QUIET, Marks, shortened

TWO_COLUMNS = 120
"""From this width on the gradients stand beside the rest."""


def picture(
    stages: Sequence[Stage],
    *,
    title: str,
    status: str,
    width: int,
    height: int | None = None,
    current: str | None = None,
    marks: Marks = BLOCKS,
) -> RenderableType:
    """The picture of a run.

    Args:
        stages: what was read of it, in the order in which they train.
        title: the run; status: whether it is being followed, and what ended that.
        width, height: of the terminal, in characters and lines; without a height it is as high as it needs to be.
        current: the stage that is shown in full, by default the last one.
        marks: the characters to draw with.
    """
    head = _title(title, status, width, marks)
    if not stages:
        return Group(head, Text("no probed step yet", QUIET))
    shown = next((stage for stage in stages if stage.name == current), stages[-1])
    rest = [stage for stage in stages if stage is not shown]
    room = None if height is None else max(1, height - 1)
    if width < TWO_COLUMNS:
        sections = [*facts(shown, width, marks), findings(shown, rest, width, marks)]
        sections += [others(rest, width, marks), gradient_bars(shown, width, marks)]
        return Group(head, *_fitted(sections, room))
    half = (width - 2) // 2
    sections = [*facts(shown, half, marks), findings(shown, rest, half, marks), others(rest, half, marks)]
    left = _fitted(sections, room)
    bars = gradient_bars(shown, width - 2 - half, marks)
    right = bars.lines(bars.sizes[2] if room is None else min(room, bars.sizes[2]))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=half, no_wrap=True)
    table.add_column(width=width - 2 - half, no_wrap=True)
    table.add_row(Group(*left), Group(*right))
    return Group(head, table)


def _fitted(sections: Sequence[Section], room: int | None) -> list[Text]:
    """The lines of all sections in their order; where room is short, the first get theirs before the last."""
    given = [0] * len(sections)
    for level in range(3):
        for k, section in enumerate(sections):
            wanted = section.sizes[level] - given[k]
            if room is not None:
                wanted = min(wanted, room)
                room -= max(0, wanted)
            given[k] += max(0, wanted)
    return [line for section, count in zip(sections, given, strict=True) if count for line in section.lines(count)]


def _title(title: str, status: str, width: int, marks: Marks) -> Text:
    name = title if len(title) <= (most := max(8, width - len(status) - 8)) else shortened(title, most, marks)
    line = Text(f"{marks.rule} ", QUIET, no_wrap=True, overflow="crop")
    line.append(name, "bold not dim").append(" ")
    line.append(marks.rule * max(1, width - len(line) - len(status) - 3)).append(f" {status} ", "not dim")
    line.append(marks.rule)
    line.truncate(width)
    return line
