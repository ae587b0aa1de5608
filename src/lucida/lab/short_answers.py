"""The short answer of a page, for every outcome that it was written for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from lucida.lab.verdict import Word
from lucida.report.lab_page import Ruling
from lucida.report.sourced import quoted


@dataclass(frozen=True)
class Answer:
    """The short answer that goes with the verdicts it was written for; with others the page says what was measured.

    Attributes:
        words: verdicts of the primary claims, in their order.
        text, text_zh: with ``{metric}`` where a number stands.
        also: further verdicts that the text states as facts: by secondary claim, or by ``claim/level``.
    """

    words: tuple[Word, ...]
    text: str
    text_zh: str
    also: Mapping[str, Word] = field(default_factory=dict)

    def fits(self, rulings: Sequence[Ruling]) -> bool:
        """Whether these are the verdicts it was written for.

        Raises:
            KeyError: it speaks of a claim or a level that there is none of.
        """
        words: dict[str, Word] = {ruling.name: ruling.word for ruling in rulings}
        for ruling in rulings:
            words |= {f"{ruling.name}/{level}": word for level, word in ruling.levels.items()}
        primary = tuple(ruling.word for ruling in rulings if ruling.primary)
        return self.words == primary and all(words[name] == word for name, word in self.also.items())


Told = Mapping[Word, tuple[str, str]]
"""What is said of a claim by its verdict, in English and in Chinese."""


def answers_from(*parts: Told | tuple[str, str], settings: bool = False) -> tuple[Answer, ...]:
    """An answer for every combination of verdicts: what is said of each primary claim, one after the other.

    Args:
        parts: of each primary claim in their order, and between them what is said whatever they are.
        settings: digits outside placeholders are names of settings, and get backticks.
    """
    told = [part for part in parts if not isinstance(part, tuple)]
    found = []
    for words in product(*told):
        verdicts = iter(words)
        said = [part if isinstance(part, tuple) else part[next(verdicts)] for part in parts]
        text, text_zh = ("".join(one[language] for one in said) for language in (0, 1))
        found.append(Answer(words, quoted(text), quoted(text_zh)) if settings else Answer(words, text, text_zh))
    return tuple(found)
