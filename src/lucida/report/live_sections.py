"""The sections of the live picture: lists of lines that fit the width.

A terminal that is too low for all of them gets the most important ones, and the gradients of neighbouring layers in one
bar.
"""

from __future__ import annotations

import math
import re
import statistics
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from lucida.report.live_rows import Course, Found, Stage, dead, gradients
from lucida.report.strokes import (
    BAD,
    NOT_FINITE,
    QUIET,
    Marks,
    brief,
    decades,
    log_bar,
    shortened,
    sparkline,
)

LABEL, NUMBER = 15, 10
BARS = (6, 8, 40)
"""Bars that a picture has at least, that it has before findings get their evidence, and at most."""

_TEMPERATURE = re.compile(r"(scale|temperature|temp|tau)$")


@dataclass(frozen=True)
class Section:
    """Lines that can be drawn in fewer: ``lines(n)`` gives at most ``n``; ``sizes``: at least, better, at best."""

    lines: Callable[[int], list[Text]]
    sizes: tuple[int, int, int]


def _fixed(lines: list[Text], least: int | None = None) -> Section:
    return Section(lambda n: lines[:n], (len(lines) if least is None else least, len(lines), len(lines)))


def _heading(words: str, width: int, marks: Marks) -> Text:
    line = Text(f"{marks.rule} ", QUIET, no_wrap=True)
    line.append(_cut(words, width - 4, marks), "not dim").append(" ")
    line.append(marks.rule * max(0, width - len(line)))
    return line


def _cut(words: str, width: int, marks: Marks) -> str:
    return words if len(words) <= width else words[: max(0, width - len(marks.dots))] + marks.dots


# What is known of the latest step ---------------------------------------------------------------------------------


def facts(stage: Stage, width: int, marks: Marks) -> list[Section]:
    """The stage and the courses, which always stay, and further facts."""
    where = [_stage_line(stage, width, marks)]
    if stage.latest is None:
        model = stage.header.get("model")
        words = f"{model} is watched, " if model else ""
        where.append(Text(_cut(f"{words}no probed step yet", width, marks), QUIET))
        return [_fixed(where + _end(stage, width, marks))]
    courses = [
        _course("loss", stage.loss, width, marks),
        _course("gradient norm", stage.gradient, width, marks),
        _course("update/weight", stage.update, width, marks),
    ]
    more = [_fact(*words, width, marks) for words in _further(stage)]
    return [_fixed(where + _end(stage, width, marks) + [x for x in courses if x is not None]), _fixed(more, 0)]


def _stage_line(stage: Stage, width: int, marks: Marks) -> Text:
    line = Text(no_wrap=True)
    if stage.name != ".":
        line.append(stage.name, "bold").append("  ")
    if stage.latest is not None:
        rates = sorted({rate for rate in stage.latest.get("rates", ()) if isinstance(rate, int | float)})
        line.append(f"step {stage.latest['step']:,}", "bold").append(f", {_count(stage.probes, 'probe')}")
        line.append(f", rate {' to '.join(brief(x) for x in {*rates[:1], *rates[-1:]})}" if rates else "")
    verdict, style = _verdict(stage)
    if len(line) + len(verdict) + 2 <= width:
        line.pad_right(width - len(line) - len(verdict))
        line.append(verdict, style)
    else:
        line.truncate(width)
    return line


def _verdict(stage: Stage) -> tuple[str, str]:
    """What the rules say in a word or two, and its colour."""
    if stage.judged is None or stage.latest is None:
        return "", ""
    if stage.judged.findings:
        return _count(len(stage.judged.findings), "finding"), BAD
    if stage.error is not None:
        return "stopped", BAD
    return ("healthy so far", "green") if stage.judged.healthy else ("too early to judge", QUIET)


def _end(stage: Stage, width: int, marks: Marks) -> list[Text]:
    lines = [Text(_cut(stage.note, width, marks), "yellow")] if stage.note else []
    if stage.error is not None:
        words = f"ended with {stage.error.get('error')}: {stage.error.get('message')}"
        lines += [Text(line, BAD) for line in _wrapped(words, width, "", marks, most=3)]
    return lines


def _course(name: str, course: Course, width: int, marks: Marks) -> Text | None:
    """A number's first value, its way, and its latest value; nothing where it was never recorded.

    The way is by powers of ten, unless the number falls below 0: most of a run happens long after the first steps.
    """
    if course.last is None:
        return None
    line = Text(name.ljust(LABEL), no_wrap=True)
    line.append(f"{brief(course.first):>{NUMBER}} ", QUIET)
    room = max(4, width - LABEL - 2 * NUMBER - 2)
    values = course.values(room)
    log = not any(x is not None and x < 0 for x in values)
    line.append_text(sparkline(values, room, log=log, marks=marks)).append(" ")
    bad = not math.isfinite(course.last)
    line.append(brief(course.last), BAD if bad else "bold")
    return line


def _fact(name: str, words: str, layer: str, width: int, marks: Marks) -> Text:
    """A name, words, and the layer they are about, of which the end is kept."""
    line = Text(name.ljust(LABEL), no_wrap=True)
    if layer:
        room = max(8, width - LABEL - len(words) - 1)
        words += " " + (layer if len(layer) <= room else shortened(layer, room, marks))
    line.append(_cut(words, width - LABEL, marks), BAD if name == NOT_FINITE else "")
    return line


def _further(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """``(name, words, layer)`` of what else the latest rows say."""
    row, measured = stage.latest or {}, stage.measured or {}
    for words in _not_finite(row["bad"]) if "bad" in row else ():
        yield NOT_FINITE, words, ""
    if units := dead(stage):
        most = max(units, key=lambda name: units[name][0])
        share, rows = units[most]
        of = f"{_count(rows, 'row')}, {share:.0%} at most"
        yield "dead units", f"{of}, in" if share else of, most if share else ""
    if entropies := {name: x for name, x in measured.get("attention", {}).items() if x is not None}:
        least = min(entropies, key=lambda name: entropies[name])
        middle = statistics.median(entropies.values())
        yield "attention", f"entropy {middle:.2f}, least {entropies[least]:.2f} in", least
    yield from _scalars(stage)
    if isinstance(row.get("supervised"), int | float):
        yield "supervised", f"{row['supervised']:.1%} of the labels", ""
    if stage.pictures is not None:
        pair = stage.pictures["pictures"]
        yield "pictures", f"loss {brief(pair['own'])} with its own, {brief(pair['other'])} with others", ""
    if stage.judged is not None and (noise := stage.judged.noise_scale) is not None:
        yield "noise scale", f"{_examples(noise.examples, noise.low, noise.high)}, batch {noise.batch:,.4g}", ""
    if stage.left_out:
        yield "not watched", ", ".join(stage.left_out), ""


def _scalars(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """The learned temperatures, by their names; of others (gates) how many there are is in the file."""
    for name, value in (stage.latest or {}).get("scalars", {}).items():
        if _TEMPERATURE.search(name):
            now = math.nan if value is None else value
            yield "temperature", f"{brief(now)}, at first {brief(stage.scalars.get(name))}:", name


def _examples(size: float | None, low: float | None, high: float | None) -> str:
    """
    >>> _examples(310.4, 240.0, 431.0), _examples(None, 240.0, None), _examples(None, None, None)
    ('310 examples (240 to 431)', 'above 240 examples', 'not known')
    """
    if size is not None and low is not None and high is not None:
        return f"{size:,.3g} examples ({low:,.3g} to {high:,.3g})"
    return "not known" if low is None else f"above {low:,.3g} examples"


def _not_finite(bad: dict[str, Any]) -> Iterator[str]:
    """
    >>> list(_not_finite({"gradients": 3, "of": 4, "weights": ["0.weight", "1.weight"]}))
    ['3 of 4 gradients, weights in 0.weight and 1 more']
    >>> list(_not_finite({"gradients": 3, "of": 4, "examples": {"where": "input 0", "bad": [3, 4], "of": 8}}))
    ['3 of 4 gradients', 'rows 3, 4 of 8 in input 0']
    """
    names = bad.get("weights") or []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    weights = f", weights in {names[0]}{more}" if names else ""
    yield f"{bad.get('gradients')} of {bad.get('of')} gradients{weights}"
    if examples := bad.get("examples"):
        yield f"rows {', '.join(map(str, examples['bad']))} of {examples['of']} in {examples['where']}"


# Gradients by layer -----------------------------------------------------------------------------------------------


def gradient_bars(stage: Stage, width: int, marks: Marks) -> Section:
    """A bar a layer as far as there is room, else one for a few neighbours; on a log scale."""
    what, sizes = gradients(stage)
    if not sizes or stage.measured is None:
        return Section(lambda n: [], (0, 0, 0))
    scale = decades(list(sizes.values()))
    ends = f", 1e{scale[0]} to 1e{scale[1]}" if scale else ""
    words = f"gradient by {what} at step {stage.measured['step']:,}, input first{ends}"
    few, usual, most = (1 + min(len(sizes), count) for count in BARS)

    def lines(count: int) -> list[Text]:
        heading = [_heading(words, width, marks)]
        return heading + (_bars(sizes, scale or (-1, 0), width, count - 1, marks) if count > 1 else [])

    return Section(lines, (few, usual, most))


def _bars(sizes: dict[str, float | None], scale: tuple[int, int], width: int, count: int, marks: Marks) -> list[Text]:
    """``count`` bars: one a layer, or one for some neighbours, from the smallest of their gradients to the largest."""
    names = list(sizes)
    count = min(count, len(names))
    groups = [names[k * len(names) // count : (k + 1) * len(names) // count] for k in range(count)]
    labels = _labels(groups, width * 2 // 5)
    wide = min(max(len(name) + len(more) for name, more in labels), width * 2 // 5)
    tail = NUMBER if count == len(names) else 2 * NUMBER - 2
    lines = []
    for group, (name, more) in zip(groups, labels, strict=True):
        line = Text(shortened(name, min(len(name), wide - len(more)), marks) + more, no_wrap=True)
        line.pad_right(wide - len(line) + 1)
        values = [sizes[one] for one in group]
        known = [x for x in values if x is not None and math.isfinite(x)]
        above = [x for x in known if x > 0]
        room = width - wide - tail - 2
        line.append_text(log_bar(min(above), max(above), scale, room, marks=marks) if above else Text(" " * room))
        bad = any(x is not None and not math.isfinite(x) for x in values)
        line.append(f" {NOT_FINITE if bad else _range(known)}", BAD if bad else "")
        lines.append(line)
    return lines


def _labels(groups: list[list[str]], width: int) -> list[tuple[str, str]]:
    """``(first layer, how far the group goes)``.

    >>> _labels([["a.0", "a.1", "a.2"], ["out"]], 20), _labels([["a.0", "a.1", "a.2"], ["out"]], 8)
    ([('a.0', ' to a.2'), ('out', '')], [('a.0', ' +2'), ('out', '')])
    """
    if all(len(group[0]) + len(group[-1]) + 4 <= width for group in groups):
        return [(group[0], f" to {group[-1]}" if len(group) > 1 else "") for group in groups]
    return [(group[0], f" +{len(group) - 1}" if len(group) > 1 else "") for group in groups]


def _range(known: list[float]) -> str:
    """
    >>> _range([]), _range([0.5, 0.5]), _range([0.0, 2.0])
    ('none', '0.5', '0 to 2')
    """
    if not known:
        return "none"
    low, high = brief(min(known)), brief(max(known))
    return low if low == high else f"{low} to {high}"


# Findings and stages ----------------------------------------------------------------------------------------------


def findings(stage: Stage, rest: Sequence[Stage], width: int, marks: Marks) -> Section:
    """Those of the stage, then of the others: names first; then evidence and remedies as far as there is room."""
    found = [(one, "") for one in (stage.judged.findings if stage.judged is not None else ())]
    found += [(one, f"{other.name}: ") for other in rest if other.judged is not None for one in other.judged.findings]
    if not found:
        return Section(lambda n: [], (0, 0, 0))
    late = stage.judged is not None and stage.latest is not None and stage.judged.last < stage.latest["step"]
    words = f"findings as of step {stage.judged.last:,}" if late and stage.judged is not None else "findings"
    heads = [_finding(one, of, width, marks) for one, of in found]
    evidence = [_wrapped(one.evidence, width, "  ", marks) for one, _ in found]
    remedies = [_wrapped(f"remedy: {one.remedy}", width, "  ", marks) for one, _ in found]

    def lines(count: int) -> list[Text]:
        left = count - 1 - len(heads)
        if left < 0:
            kept = max(0, count - 2)
            return [_heading(words, width, marks), *heads[:kept], Text(f"  and {len(heads) - kept} more", BAD)][:count]
        shown: list[list[str]] = [[] for _ in heads]
        for k, text in [*enumerate(evidence), *enumerate(remedies)]:
            if len(text) <= left:
                shown[k] += text
                left -= len(text)
        made = [_heading(words, width, marks)]
        for head, text in zip(heads, shown, strict=True):
            made += [head, *(Text(line, no_wrap=True) for line in text)]
        return made

    most = 1 + len(heads) + sum(map(len, evidence + remedies))
    return Section(lines, (1 + min(3, len(heads)), 1 + len(heads), most))


def _finding(one: Found, of: str, width: int, marks: Marks) -> Text:
    since = f", since step {one.since_step:,}"
    what = _cut(f"{of}{one.name}", width - 2 - len(since), marks)
    room = width - 2 - len(since) - len(what) - len(" in ")
    line = Text(f"{marks.point} {what}", BAD, no_wrap=True)
    if one.layer and room > len(marks.dots):
        line.append(f" in {one.layer if len(one.layer) <= room else shortened(one.layer, room, marks)}")
    line.append(since, "not bold default")
    return line


def others(stages: Sequence[Stage], width: int, marks: Marks) -> Section:
    """A line for each of the stages that are not shown in full."""
    if not stages:
        return Section(lambda n: [], (0, 0, 0))
    wide = min(max(len(stage.name) for stage in stages), width // 3)
    lines = [_heading("other stages", width, marks)]
    for stage in stages:
        line = Text(shortened(stage.name, wide, marks), no_wrap=True)
        step = "no step yet" if stage.latest is None else f"step {stage.latest['step']:,}"
        loss = "" if stage.loss.last is None else f", loss {brief(stage.loss.first)} to {brief(stage.loss.last)}"
        verdict, style = _verdict(stage)
        verdict = verdict.removesuffix(" so far")
        line.append(_cut(f"  {step}{loss}", width - wide - len(verdict) - 2, marks))
        line.pad_right(width - len(line) - len(verdict))
        line.append(verdict, style)
        lines.append(line)
    return Section(lambda n: lines[:n] if n > 1 else [], (0, len(lines), len(lines)))


def _wrapped(words: str, width: int, indent: str, marks: Marks, most: int = 4) -> list[str]:
    placeholder = f" {marks.dots}"
    return textwrap.wrap(
        words, width, initial_indent=indent, subsequent_indent=indent, max_lines=most, placeholder=placeholder
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
