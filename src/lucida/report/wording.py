"""Words and numbers as the report prints them: one format for every share, interval and count."""

from __future__ import annotations

import math

from lucida.core.results import Metric

_SHARES = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "top1",
    "top5",
    "ratio",
    "chair_i",
    "chair_s",
    "class_mean",
    "share",
    "flip_rate",
    "count_error",
    "place_error",
    "relation_error",
)
_NAMES = {
    "openmoji": "OpenMoji",
    "twemoji": "Twemoji",
    "vlm": "multimodal LLM",
    "zero_shot": "zero-shot",
    "f1": "F1",
    "auroc": "AUROC",
    "top1": "top-1",
    "top5": "top-5",
}
_LEFT_OUT = {
    "pope": "POPE",
    "chair": "CHAIR",
    "zero_shot": "zero-shot",
    "retrieval": "retrieval",
    "blind": "blind-picture probe",
    "twins": "twin pictures",
    "caption_facts": "numbers, places and relations in captions",
}


def is_share(name: str) -> bool:
    """Whether a metric of this name is a share, shown in percent.

    >>> [is_share(n) for n in ("pope/random/accuracy", "retrieval/test/image_to_text/recall_at_5", "pope/random/auroc")]
    [True, True, False]
    """
    last = name.rsplit("/", 1)[-1]
    return last.endswith(_SHARES) or "recall_at_" in last or last.startswith(("accuracy", "top1", "top5", "gap"))


def number(value: float, *, share: bool = False, unit: bool = True) -> str:
    r"""A measured number; its sign of percent never stands alone on the next line.

    >>> number(0.9236, share=True), number(0.96712), number(12.3456), number(1234.5), number(float("nan"))
    ('92.4\xa0%', '0.967', '12.3', '1,234', '–')
    """
    if not math.isfinite(value):
        return "–"
    if share:
        return f"{100 * value:.1f}" + ("\N{NO-BREAK SPACE}%" if unit else "")
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.1e}"
    decimals = 3 if size <= 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{decimals}f}"


def interval(metric: Metric, *, share: bool = False) -> str:
    """The 95 % interval in brackets; empty if there is none.

    >>> interval(Metric(0.924, (0.91, 0.936), 1200), share=True)
    '[91.0, 93.6]'
    """
    if metric.ci95 is None or not all(map(math.isfinite, metric.ci95)):
        return ""
    low, high = (number(bound, share=share, unit=False) for bound in metric.ci95)
    return f"[{low}, {high}]"


def full(metric: Metric, *, share: bool = False) -> str:
    r"""Value, interval and n in one line.

    >>> full(Metric(0.924, (0.91, 0.936), 1200), share=True)
    '92.4\xa0% [91.0, 93.6], n = 1,200'
    """
    text = f"{number(metric.value, share=share)} {interval(metric, share=share)}".strip()
    return text if metric.n is None else f"{text}, n = {metric.n:,}"


def humanised(name: str) -> str:
    """A part of a metric's name in words.

    >>> humanised("unseen_concepts/openmoji"), humanised("second_artist")
    ('unseen concepts, OpenMoji', 'second artist')
    """
    return ", ".join(_NAMES.get(part, part.replace("_", " ")) for part in name.split("/"))


def capitalised(text: str) -> str:
    """First letter large, the rest as it is.

    >>> capitalised("unseen concepts, OpenMoji")
    'Unseen concepts, OpenMoji'
    """
    return text[:1].upper() + text[1:]


def left_out_name(name: str) -> str:
    """What a key of ``Results.left_out`` is about.

    >>> left_out_name("pope"), left_out_name("pope/second_artist"), left_out_name("second_artist")
    ('POPE', 'POPE, second artist', 'second artist')
    """
    first, _, rest = name.partition("/")
    return ", ".join(filter(None, (_LEFT_OUT.get(first, humanised(first)), humanised(rest))))


def duration(seconds: float) -> str:
    """Seconds for a reader.

    >>> duration(4.27), duration(75), duration(3720), duration(59.7)
    ('4.3 s', '1 min 15 s', '1 h 02 min', '1 min 00 s')
    """
    if not math.isfinite(seconds):
        return "–"
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if round(seconds, 1) < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def cut(text: str, length: int) -> str:
    """A label that fits; what does not is marked by an ellipsis.

    >>> cut("a very long name of a thing", 12)
    'a very long…'
    """
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
