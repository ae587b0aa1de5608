"""Numbers that carry their source: every one a page of the book shows names the place in ``results.json`` it came from.

A place is a path: ``metrics/<name>/value`` (or ``n``, ``ci95/low``, ``ci95/high``), ``details/page/…``, ``seconds/…``.
How a number is written is a few words kept beside it, so that a test can look it up and write it again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.report.wording import duration, number

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_FORMULA = re.compile(r"`([^`]+)`")
_FORM_WORDS = r"(?:%|ci|\+|points|n|\d)"
_FORM = re.compile(rf"\s*{_FORM_WORDS}(?:\s*{_FORM_WORDS})*\s*")
_HUGE = 1e7


def formatted(value: float | None, form: str = "") -> str:
    r"""A number as the book writes it.

    Args:
        value: the number; ``None`` and NaN become a dash.
        form: words apart: ``%`` a share in percent, ``points`` a difference of shares in percentage points, ``+`` with
            its sign, a digit for so many decimals, ``bare`` without unit, ``brief`` three significant digits,
            ``count``, ``seconds``, ``zh`` for the unit in Chinese, ``least`` for a lower bound.

    >>> formatted(-0.25), formatted(0.621, "% +"), formatted(0.621, "points 0"), formatted(2.5e-7), formatted(1234, "n")
    ('−0.250', '+62.1\xa0%', '62\xa0points', '2.5×10⁻⁷', '1,234')
    """
    words = form.split()
    if value is None or not math.isfinite(value):
        return "–"
    if "seconds" in words:
        return duration(value)
    share = "%" in words or "points" in words
    text = _digits(value, words, share=share)
    if not re.search(r"[1-9]", text):
        text = text.lstrip("-")  # what rounds to zero has no sign
    elif "+" in words and value > 0:
        text = f"+{text}"
    text = text.replace("-", "−")
    if "least" in words:
        text = f"≥\N{NO-BREAK SPACE}{text}"
    if "bare" in words or not share:
        return text
    unit = "%" if "%" in words else "个百分点" if "zh" in words else "points"
    return f"{text}\N{NO-BREAK SPACE}{unit}"


def _digits(value: float, words: list[str], *, share: bool) -> str:
    decimals = next((int(word) for word in words if word.isdigit()), None)
    if decimals is not None:
        return f"{100 * value if share else value:,.{decimals}f}"
    if isinstance(value, int) or "count" in words:
        return f"{round(value):,}"
    if "brief" in words:
        return powers(f"{100 * value if share else value:.3g}")
    if share:
        return number(value, share=True, unit=False)
    return powers(f"{value:.2e}" if abs(value) >= _HUGE else number(value))


def powers(text: str) -> str:
    """Powers of ten as they are written by hand.

    >>> powers("1.2e-05"), powers("1e+09"), powers("12")
    ('1.2×10⁻⁵', '10⁹', '12')
    """
    size, e, power = text.partition("e")
    if not e:
        return text
    raised = "10" + str(int(power)).translate(_SUPERSCRIPTS)
    return {"1": raised, "-1": f"-{raised}"}.get(size, f"{size}×{raised}")


def shown(value: float | None, path: str, form: str = "", tag: str = "span") -> Markup:
    """A number that names its source.

    >>> print(shown(0.25, "metrics/a/value"))
    <span data-from="metrics/a/value" data-as="">0.250</span>
    """
    return Markup('<{0} data-from="{1}" data-as="{2}">{3}</{0}>').format(tag, path, form, formatted(value, form))


def shown_metric(name: str, metric: Metric, form: str = "", tag: str = "span") -> Markup:
    """A metric's value with its interval, each naming its source."""
    value = shown_value(name, metric, form, tag)
    bounds = shown_interval(name, metric, form, tag)
    return Markup("{} {}").format(value, bounds) if bounds else value


def shown_value(name: str, metric: Metric, form: str = "", tag: str = "span") -> Markup:
    """A metric's value alone, marked where it is a lower bound."""
    return shown(metric.value, f"metrics/{name}/value", value_form(metric, form), tag)


def value_form(metric: Metric, form: str = "") -> str:
    """How a metric's value is written: what is only a lower bound says so.

    >>> value_form(Metric(300.0, censored=2), "n"), value_form(Metric(300.0), "n")
    ('n least', 'n')
    """
    return f"{form} least".strip() if metric.censored else form


def shown_interval(name: str, metric: Metric, form: str = "", tag: str = "span") -> Markup:
    """A metric's interval in brackets; empty if there is none."""
    if metric.ci95 is None or not all(map(math.isfinite, metric.ci95)):
        return Markup("")
    low, high = (
        shown(bound, f"metrics/{name}/ci95/{end}", f"{form} bare".strip(), tag)
        for end, bound in zip(("low", "high"), metric.ci95, strict=True)
    )
    if metric.censored:  # of a lower bound, the upper end is none
        return Markup('<{0} class="bounds">[{1}, …)</{0}>').format(tag, low)
    return Markup('<{0} class="bounds">[{1}, {2}]</{0}>').format(tag, low, high)


def looked_up(results: Results, path: str) -> Any:
    """What stands at a path of a results file.

    Raises:
        KeyError: nothing does.
    """
    first, _, rest = path.partition("/")
    if first == "metrics":
        return _of_metric(results.metrics, rest)
    if first in ("seconds", "left_out"):
        return getattr(results, first)[rest]
    if path == "peak_mb":
        return results.peak_mb
    if first != "details":
        raise KeyError(path)
    return _walked(results.details, rest.split("/"), path)


def _of_metric(metrics: Mapping[str, Metric], rest: str) -> Any:
    for end in ("value", "n", "ci95/low", "ci95/high"):
        name = rest.removesuffix(f"/{end}")
        if name != rest and name in metrics:
            metric = metrics[name]
            if end in ("value", "n"):
                return getattr(metric, end)
            if metric.ci95 is not None:
                return metric.ci95[end == "ci95/high"]
    raise KeyError(rest)


def _walked(content: Any, parts: list[str], path: str) -> Any:
    """Down into mappings and lists; a key may itself hold slashes."""
    if not parts:
        return content
    if isinstance(content, Mapping):
        for length in range(len(parts), 0, -1):
            key = "/".join(parts[:length])
            if key in content:
                return _walked(content[key], parts[length:], path)
    elif isinstance(content, list | tuple) and parts[0].isdigit() and int(parts[0]) < len(content):
        return _walked(content[int(parts[0])], parts[1:], path)
    raise KeyError(path)


def filled(text: str, results: Results, where: str, language: str = "en") -> Markup:
    """A text with its placeholders replaced by numbers that name their source.

    ``{metric}`` is the value, ``{metric:%}`` a share in percent, ``{metric:ci}`` the value with its interval,
    ``{metric:n}`` the number of cases, ``{metric:2}`` two decimals, ``{metric:+}`` with its sign, ``{metric:points}``
    percentage points; they combine (``{metric:% ci}``). Beside the metrics there are ``{seeds}`` and the constants of
    the design, ``{settings/…}``. What stands between backticks is a formula, in which a digit is no measured number.

    Raises:
        LucidaError: an unknown name (the nearest known one is named).
    """
    parts = _PLACEHOLDER.split(text)
    filled_in = [
        _number_for(part, results, where, language) if index % 2 else with_formulas(part)
        for index, part in enumerate(parts)
    ]
    return Markup("").join(filled_in)


def without_placeholders(text: str) -> str:
    """The words alone.

    >>> without_placeholders("It gains {a/b:%}, not more.")
    'It gains , not more.'
    """
    return _PLACEHOLDER.sub("", text).replace("`", "")


def quoted(text: str) -> str:
    """A text whose digits are names of settings, not results: in backticks, placeholders left alone.

    >>> quoted("B = 0 against 64: {a/width 32:ci} (width 32)")
    '`B = 0` against `64`: {a/width 32:ci} (`width 32`)'
    """
    parts = re.split(r"(\{[^{}]*\})", text)
    names = re.compile(r"(?:[AB] = |width )?\d+")
    return "".join(part if part.startswith("{") else names.sub(r"`\g<0>`", part) for part in parts)


def with_formulas(text: str) -> Markup:
    """A text without numbers; what stands between backticks is a formula.

    >>> str(with_formulas("It adds `B A x`."))
    'It adds <code class="formula">B A x</code>.'
    """
    return Markup("").join(
        Markup('<code class="formula">{}</code>').format(part) if index % 2 else Markup("{}").format(part)
        for index, part in enumerate(_FORMULA.split(text))
    )


def _number_for(placeholder: str, results: Results, where: str, language: str) -> Markup:
    name, form = _name_and_form(placeholder, results)
    words = re.findall(_FORM_WORDS, form)
    plain = " ".join(word for word in words if word not in ("ci", "n"))
    if "points" in words and language == "zh":
        plain += " zh"
    if name in results.metrics:
        metric = results.metrics[name]
        if "n" in words:
            body = shown(metric.n, f"metrics/{name}/n", "count")
        elif "ci" in words:
            body = shown_metric(name, metric, plain)
        else:
            body = shown_value(name, metric, plain)
    else:
        body = _constant(name, plain, results, where)
    return Markup('<span class="number" data-number>{}</span>').format(body)


def _name_and_form(placeholder: str, results: Results) -> tuple[str, str]:
    name, colon, form = placeholder.rpartition(":")
    if placeholder in results.metrics or not colon or not _FORM.fullmatch(form):
        return placeholder, ""
    return name, form


def _constant(name: str, form: str, results: Results, where: str) -> Markup:
    path = "details/page/seeds" if name == "seeds" else f"details/{name}"
    try:
        value = looked_up(results, path) if name == "seeds" or name.startswith("settings/") else None
    except KeyError:
        value = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return shown(value, path, form)
    settings = results.details.get("settings")
    known = [*results.metrics, "seeds", *(f"settings/{key}" for key in settings or {})]
    near = nearest(name, known)
    raise LucidaError(
        f"the text names an unknown metric {name!r}",
        where=where,
        remedy=f"did you mean {near!r}?" if near else "it must be one of the metrics of the file",
    )
