"""Prompt templates by a grammar: all wordings of a question, counted, drawn by seed, changed one rule at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import NamedTuple

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.kinds import article, plural

SLOTS = ("name", "names", "a", "options")
"""What an example fills in: an object, its plural, its article, and the answers to choose from."""

LANGUAGE_LIMIT = 200_000
"""So many templates a grammar may make: they are listed, so that none comes twice."""

_BRACES = re.compile(r"\{(\w+)\}")


class _Node(NamedTuple):
    """How a template came about: which alternative of a rule was taken, and the same for the symbols in it."""

    symbol: str
    choice: int
    children: tuple[_Node, ...]


@dataclass(frozen=True)
class PromptGrammar:
    """Rules that write prompt templates.

    An alternative is text with symbols of other rules and slots in braces: ``"{ask} {object}? {format}"``. Slots stay
    in the template until :func:`fill`. Runs of blanks become one, and blanks at the ends go, so that an alternative may
    be empty. The order of templates is that of the alternatives, the first symbol of a rule turning slowest: the first
    template takes every first alternative.

    Args:
        rules: alternatives by symbol.
        start: the symbol that stands for a whole template.
        slots: names in braces that are no symbols.
        needs: slots of which every template must have one; empty for none.

    Raises:
        LucidaError: a rule without alternatives or without use, an unknown symbol, a rule that leads back to itself, a
            brace alone, a template without a slot that it needs, or more than :data:`LANGUAGE_LIMIT` templates.

    >>> grammar = PromptGrammar({"prompt": ("{ask} {name}? {format}",), "ask": ("Any", "Is there a"),
    ...     "format": ("", "Yes or no.")}, needs=("name",))
    >>> len(grammar), grammar.templates[0], grammar.templates[-1]
    (4, 'Any {name}?', 'Is there a {name}? Yes or no.')
    >>> grammar.neighbours("Any {name}?")
    ['Is there a {name}?', 'Any {name}? Yes or no.']
    """

    rules: Mapping[str, Sequence[str]]
    start: str = "prompt"
    slots: tuple[str, ...] = SLOTS
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.start not in self.rules:
            raise LucidaError(f"there is no rule {self.start!r} to start from", where="the grammar")
        for symbol, alternatives in self.rules.items():
            self._check_rule(symbol, alternatives)
        used = self._reached(self.start, ())
        unused = [symbol for symbol in self.rules if symbol not in used]
        if unused:
            raise LucidaError(f"nothing uses the rule {unused[0]!r}", where="the grammar", remedy="leave it out")
        bare = self._without_slot(self.start) if self.needs else None
        if bare is not None:
            slots = " or ".join(f"{{{slot}}}" for slot in self.needs)
            raise LucidaError(f"a template without {slots}", where=repr(_tidy(bare)), remedy="add the slot to its rule")
        if self._derivations(self.start) > LANGUAGE_LIMIT:
            raise LucidaError(
                f"more than {LANGUAGE_LIMIT:,} templates", where="the grammar", remedy="use fewer alternatives"
            )

    def __len__(self) -> int:
        """How many different templates there are."""
        return len(self.templates)

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """All templates in order, each once."""
        return tuple(self._trees)

    def sample(self, n: int, seed: int) -> list[str]:
        """``n`` different templates at random, all of them if there are fewer."""
        order = stream(seed, "prompts").permutation(len(self))[:n]
        return [self.templates[i] for i in order]

    def neighbours(self, template: str) -> list[str]:
        """Templates that differ in one choice: another alternative of one rule.

        Symbols that the two alternatives have in common stay as they were written, new ones take their first
        alternative.

        Raises:
            LucidaError: the grammar does not write this template.
        """
        if template not in self._trees:
            raise LucidaError("the grammar does not write this template", where=repr(template))
        changed = dict.fromkeys(_tidy(self._text(tree)) for tree in self._changed(self._trees[template]))
        return [text for text in changed if text != template]

    @cached_property
    def _trees(self) -> dict[str, _Node]:
        found: dict[str, _Node] = {}
        for tree in self._all(self.start):
            found.setdefault(_tidy(self._text(tree)), tree)
        return found

    def _check_rule(self, symbol: str, alternatives: Sequence[str]) -> None:
        where = f"rule {symbol!r}"
        if symbol in self.slots:
            raise LucidaError(f"{{{symbol}}} is a slot and cannot be a rule too", where=where)
        if isinstance(alternatives, str) or not alternatives:
            raise LucidaError("a rule needs a list of alternatives", where=where)
        for alternative in alternatives:
            if set("{}") & set(_BRACES.sub("", alternative)):
                raise LucidaError("a brace stands alone", where=f"{where}: {alternative!r}")
            for name in _BRACES.findall(alternative):
                if name not in self.rules and name not in self.slots:
                    near = nearest(name, [*self.rules, *self.slots])
                    remedy = f"did you mean {{{near}}}?" if near else f"the slots are: {', '.join(self.slots)}"
                    raise LucidaError(f"unknown symbol {{{name}}}", where=f"{where}: {alternative!r}", remedy=remedy)

    def _symbols(self, alternative: str) -> list[str]:
        return [name for name in _BRACES.findall(alternative) if name in self.rules]

    def _reached(self, symbol: str, above: tuple[str, ...]) -> set[str]:
        """The symbols that one leads to, itself among them.

        Raises:
            LucidaError: one of them leads back to itself.
        """
        if symbol in above:
            circle = " → ".join([*above[above.index(symbol) :], symbol])
            raise LucidaError(f"a rule without end: {circle}", where="the grammar", remedy="write the repetition out")
        found = {symbol}
        for name in {name for alternative in self.rules[symbol] for name in self._symbols(alternative)}:
            found |= self._reached(name, (*above, symbol))
        return found

    def _without_slot(self, symbol: str) -> str | None:
        """A text of this symbol without any of the slots that are needed; None if there is none."""
        for alternative in self.rules[symbol]:
            if set(self.needs) & set(_BRACES.findall(alternative)):
                continue
            inner = {name: self._without_slot(name) for name in self._symbols(alternative)}
            if None not in inner.values():
                return _replaced(alternative, {slot: f"{{{slot}}}" for slot in self.slots} | inner)
        return None

    def _derivations(self, symbol: str) -> int:
        return sum(prod(map(self._derivations, self._symbols(each))) for each in self.rules[symbol])

    def _all(self, symbol: str) -> Iterator[_Node]:
        for choice, alternative in enumerate(self.rules[symbol]):
            for children in product(*map(self._all, self._symbols(alternative))):
                yield _Node(symbol, choice, children)

    def _text(self, tree: _Node) -> str:
        children = iter(tree.children)

        def written(found: re.Match[str]) -> str:
            return self._text(next(children)) if found[1] in self.rules else found[0]

        return _BRACES.sub(written, self.rules[tree.symbol][tree.choice])

    def _changed(self, tree: _Node) -> Iterator[_Node]:
        kept = {child.symbol: child for child in tree.children}
        for choice, alternative in enumerate(self.rules[tree.symbol]):
            if choice != tree.choice:
                children = (kept.get(name) or next(self._all(name)) for name in self._symbols(alternative))
                yield _Node(tree.symbol, choice, tuple(children))
        for place, child in enumerate(tree.children):
            for other in self._changed(child):
                yield tree._replace(children=(*tree.children[:place], other, *tree.children[place + 1 :]))


def _tidy(text: str) -> str:
    return re.sub(" +", " ", text).strip(" ")


def slot_values(name: str = "", options: Sequence[str] = ()) -> dict[str, str]:
    """What the slots stand for in questions about an object, about names to choose from, or both.

    >>> slot_values("apple", ["yes", "no"])
    {'name': 'apple', 'names': 'apples', 'a': 'an', 'options': 'yes or no'}
    """
    values = {"name": name, "names": plural(name), "a": article(name)} if name else {}
    if options:
        values["options"] = " or ".join([", ".join(options[:-1]), options[-1]] if len(options) > 1 else options)
    return values


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with a value in each slot.

    Raises:
        LucidaError: a slot has no value, or a brace stands alone.

    >>> fill("Is there {a} {name}?", slot_values("owl"))
    'Is there an owl?'
    """
    if set("{}") & set(_BRACES.sub("", template)):
        raise LucidaError("a brace stands alone", where=repr(template))
    missing = [slot for slot in _BRACES.findall(template) if slot not in values]
    if missing:
        raise LucidaError(f"nothing is given for {{{missing[0]}}}", where=repr(template))
    return _replaced(template, values)


def _replaced(text: str, values: Mapping[str, str | None]) -> str:
    return _BRACES.sub(lambda found: values[found[1]] or "", text)


_LOOK = ("", "Look closely.", "Look at {picture} and answer.")
_PICTURE = ("the picture", "the image", "this photo")

GRAMMARS: Mapping[str, PromptGrammar] = {
    "exists": PromptGrammar(
        {
            "prompt": ("{look} {question} {format}",),
            "look": _LOOK,
            "question": (
                "Is there {a} {name} in {picture}?",
                "Can you see {a} {name}?",
                "Does {picture} show {a} {name}?",
                "Are there any {names}?",
                "Is {a} {name} visible in {picture}?",
            ),
            "picture": _PICTURE,
            "format": ("", "Answer yes or no.", "Answer with one word, yes or no.", "Yes or no?"),
        },
        needs=("name", "names"),
    ),
    "classify": PromptGrammar(
        {
            "prompt": ("{look} {question} {format}",),
            "look": _LOOK,
            "question": ("What is this?", "What is this a picture of?", "Name this.", "What does {picture} show?"),
            "picture": _PICTURE,
            "format": ("", "Answer with the name alone.", "Choose from: {options}.", "Is it {options}?"),
        }
    ),
    "caption": PromptGrammar(
        {
            "prompt": ("{look} {question} {format}",),
            "look": ("", "Look closely."),
            "question": (
                "Write a caption.",
                "Give {picture} a caption.",
                "Describe {picture}.",
                "What is in {picture}?",
            ),
            "picture": _PICTURE,
            "format": ("", "Use one sentence.", "Be brief.", "Name only what is there."),
        }
    ),
}
"""By form of question, as :data:`~lucida.data.conversations.FORMS`; each starts with the wording of that form."""
