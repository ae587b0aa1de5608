"""Reads a page of the book back and compares every number on it with the results file it was made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

from lucida.core.results import Results
from lucida.report.sourced import formatted, looked_up, without_placeholders

_VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}
_UNREAD = {"head", "style", "script", "code", "pre"}
_BOOK_WORDS = ("95 %", "1.5 times")  # of the rules by which verdicts are made, in the book's own sentences
# Names are no measured numbers: float32, L2, log10, ResNet-18; and an arm that is called by its batch size.
_NAME = re.compile(r"[A-Za-z][A-Za-z_]*(?:-?\d+[A-Za-z]*)+|(?:[Bb]atch|批量) \d+")


@dataclass(frozen=True)
class Traced:
    """What was found on a page.

    Attributes:
        numbers: how many numbers were looked up.
        wrong: numbers and words that are not what the results file says, with the place they name.
        untraced: texts with a digit in them that name no source.
        quoted: words taken over from the page document letter by letter that hold digits: design, claims, captions.
    """

    numbers: int
    wrong: tuple[str, ...] = ()
    untraced: tuple[str, ...] = ()
    quoted: tuple[str, ...] = ()


def trace(html: str, results: Results | Mapping[str, Results]) -> Traced:
    """Compare a page with its results.

    Args:
        html: the page.
        results: its results; for a page of several questions the results by name, which elements with ``data-page``
            choose from.
    """
    reader = _Reader(results)
    reader.feed(html)
    reader.close()
    reader.check_counts()
    return Traced(reader.numbers, tuple(reader.wrong), tuple(reader.untraced), tuple(reader.quoted))


@dataclass
class _Element:
    tag: str
    attributes: Mapping[str, str | None]
    text: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.attributes

    @property
    def words(self) -> str:
        """Where the words stand that the element takes over."""
        return self.attributes.get("data-words") or ""

    @property
    def unread(self) -> bool:
        """Code, the axes' ticks, and the titles of other pages that a link names."""
        classes = (self.attributes.get("class") or "").split()
        return self.tag in _UNREAD or "tick" in classes or self.attributes.get("rel") in ("prev", "next")


class _Reader(HTMLParser):
    def __init__(self, results: Results | Mapping[str, Results]):
        super().__init__()
        self.results = results
        self.open: list[_Element] = []
        self.numbers = 0
        self.wrong: list[str] = []
        self.untraced: list[str] = []
        self.quoted: list[str] = []
        self.verdicts: dict[str, int] = {}
        self.counts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(_Element(tag, dict(attrs)))
        if word := dict(attrs).get("data-verdict"):
            self.verdicts[word] = self.verdicts.get(word, 0) + 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content has nothing to trace."""

    def handle_data(self, data: str) -> None:
        inside = [element for element in self.open if element.has("data-from") or element.has("data-count")]
        in_number = any(element.has("data-number") for element in self.open)
        for element in self.open:
            if element in inside or (element.words and not in_number):
                element.text.append(data)
        if inside or any(element.unread for element in self.open) or not _has_number(data):
            return
        words = [element for element in self.open if element.words]
        if words and not in_number and not words[-1].has("data-prose"):
            self.quoted.append(" ".join(data.split()))
        else:
            self.untraced.append(" ".join(data.split()))

    def handle_endtag(self, tag: str) -> None:
        element = self.open.pop()
        if element.tag != tag:
            self.wrong.append(f"<{element.tag}> is closed by </{tag}>")
        text = " ".join("".join(element.text).replace("\N{NO-BREAK SPACE}", " ").split())
        if element.has("data-from"):
            self.numbers += 1
            self._compare(element, text)
        elif element.has("data-count"):
            self.counts.append((element.attributes["data-count"] or "", text))
        elif element.words:
            self._compare_words(element, text)

    def check_counts(self) -> None:
        """Compare the counts of verdicts with the verdicts that the page shows."""
        for word, text in self.counts:
            self.numbers += 1
            count = self.verdicts.get(word, 0) if word != "all" else sum(self.verdicts.values())
            if text != str(count):
                self.wrong.append(f"{text!r} verdicts {word}: there are {count}")

    def _compare(self, element: _Element, text: str) -> None:
        path, form = element.attributes["data-from"] or "", element.attributes.get("data-as") or ""
        value = self._found(element, path)
        if value is None and text == "–":
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong.append(f"{text!r}: no number at {path}")
            return
        expected = formatted(value, form).replace("\N{NO-BREAK SPACE}", " ")
        if text != expected:
            self.wrong.append(f"{text!r} instead of {expected!r}: {path}")

    def _compare_words(self, element: _Element, text: str) -> None:
        path = element.words
        value = self._found(element, path)
        if isinstance(value, Mapping):  # the words are a key
            value = "\n".join(map(str, value))
        if not isinstance(value, str) or text.removesuffix("…") not in " ".join(without_placeholders(value).split()):
            self.wrong.append(f"{text!r} is not what stands at {path}")

    def _found(self, element: _Element, path: str) -> object:
        results = self.results
        if not isinstance(results, Results):
            names = [e.attributes["data-page"] for e in [*self.open, element] if e.has("data-page")]
            if not names or names[-1] not in results:
                return None
            results = results[names[-1] or ""]
        try:
            return looked_up(results, path)
        except KeyError:
            return None


def _has_number(text: str) -> bool:
    for words in _BOOK_WORDS:
        text = text.replace("\N{NO-BREAK SPACE}", " ").replace(words, "")
    return any(letter.isdecimal() for letter in _NAME.sub("", text))
