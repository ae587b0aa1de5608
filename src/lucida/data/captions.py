"""Captions written from what is true of a picture, and the way back: which objects a text names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lucida.data.kinds import article, plural
from lucida.data.truth import RELATIONS, Facts, Relation

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
"""Number words by value."""

PLACE_PHRASES: Mapping[str, str] = {
    "top left": "in the top left",
    "top": "at the top",
    "top right": "in the top right",
    "left": "on the left",
    "middle": "in the middle",
    "right": "on the right",
    "bottom left": "in the bottom left",
    "bottom": "at the bottom",
    "bottom right": "in the bottom right",
}
"""How a place reads in a sentence, by place word."""

OPENINGS = (
    "{there} {list}.",
    "{there} {list} in the picture.",
    "A picture of {list}.",
    "The picture shows {list}.",
    "I can see {list}.",
    "{List}.",
)
"""How captions begin. {list}: the objects; {there}: "There is" or "There are"; {List}: capitalised."""

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "airplane": ("plane", "aeroplane", "jet"),
    "automobile": ("car",),
    "bathtub": ("bath", "tub"),
    "bicycle": ("bike",),
    "boot": ("hiking boot",),
    "bus": ("coach",),
    "car": ("automobile",),
    "clock": ("alarm clock",),
    "couch": ("sofa",),
    "cup": ("mug",),
    "dog": ("puppy",),
    "doughnut": ("donut",),
    "eggplant": ("aubergine",),
    "fir tree": ("pine tree", "evergreen tree", "conifer"),
    "fire engine": ("fire truck",),
    "flashlight": ("torch",),
    "floppy disk": ("diskette", "floppy"),
    "flying saucer": ("ufo",),
    "football": ("american football",),
    "hamburger": ("burger",),
    "handbag": ("purse",),
    "hippopotamus": ("hippo",),
    "ladybug": ("ladybird", "lady beetle"),
    "laptop": ("notebook computer", "laptop computer"),
    "locomotive": ("steam train", "steam engine"),
    "loudspeaker": ("speaker",),
    "mailbox": ("postbox",),
    "mobile phone": ("cell phone", "smartphone"),
    "moon": ("crescent moon", "crescent"),
    "motorcycle": ("motorbike",),
    "necktie": ("tie",),
    "piano": ("musical keyboard",),
    "planet": ("saturn",),
    "rhinoceros": ("rhino",),
    "rooster": ("cock", "cockerel"),
    "saxophone": ("sax",),
    "scooter": ("kick scooter",),
    "shell": ("seashell", "spiral shell"),
    "shirt": ("t-shirt",),
    "sled": ("sledge", "toboggan"),
    "sneaker": ("running shoe", "trainer"),
    "statue": ("moai",),
    "target": ("bullseye",),
    "taxi": ("cab",),
    "teddy bear": ("teddy",),
    "television": ("tv", "television set"),
    "truck": ("lorry", "delivery truck"),
    "turtle": ("tortoise",),
    "wrench": ("spanner",),
    "person": ("man", "woman", "boy", "girl", "child"),
}


@dataclass(frozen=True)
class Caption:
    """A text and how it departs from the truth.

    Attributes:
        text: one or two sentences.
        omitted: names of the picture that it leaves out.
        added: names it gives that the picture does not show.
    """

    text: str
    omitted: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def amount(n: int, noun: str) -> str:
    """A number of things; 0 where it is unknown.

    >>> amount(1, "apple"), amount(2, "box"), amount(13, "cat"), amount(0, "sheep")
    ('an apple', 'two boxes', '13 cats', 'some sheep')
    """
    if n == 0:
        return f"some {plural(noun)}"
    if n == 1:
        return f"{article(noun)} {noun}"
    return f"{NUMBERS[n] if n < len(NUMBERS) else n} {plural(noun)}"


def enumerate_words(parts: Sequence[str]) -> str:
    """``["a", "b", "c"]`` as ``"a, b and c"``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def describe(
    facts: Facts, generator: np.random.Generator, *, noise: float = 0.0, vocabulary: Sequence[str] = ()
) -> Caption:
    """A caption that names every object, in random words; some give places or a relation.

    Objects with known places are named from left to right: a model that looks for the next one then knows where to
    look, while in random order it would have to remember what it has said. The others follow in random order.

    Args:
        facts: what is true.
        generator: draws the words, and the order of objects without a place.
        noise: chance of each name to be omitted, replaced by another, or followed by one that is not there.
        vocabulary: the names that noise may put in.

    Raises:
        ValueError: the picture has no objects.
    """
    if not facts.counts:
        raise ValueError("nothing to describe: the picture has no objects")
    items, omitted, added = _told(facts, generator, noise, vocabulary)
    order = sorted(generator.permutation(len(items)).tolist(), key=lambda i: leftmost(facts, items[i][2]))
    style = generator.random(3).tolist()
    with_places = style[0] < 0.25
    opening = OPENINGS[int(style[1] * len(OPENINGS))]
    said = {name for _, name, true_name in items if name == true_name}
    clear = [r for r in facts.relations if r.subject in said and r.other in said] if style[2] < 0.25 else []
    relation = clear[int(generator.integers(len(clear)))] if clear else None
    text = write_caption(facts, [items[i] for i in order], opening, with_places=with_places, relation=relation)
    return Caption(text, tuple(omitted), tuple(added))


def write_caption(
    facts: Facts,
    items: Sequence[tuple[int, str, str]],
    opening: str,
    *,
    with_places: bool = False,
    relation: Relation | None = None,
) -> str:
    """One or two sentences.

    Args:
        facts: know the places.
        items: (how many, name told, true name or "") in the order in which they are told, at least one; 0 for "some".
        opening: one of :data:`OPENINGS`.
        with_places: say where each is whose place is clear.
        relation: told in a second sentence.

    >>> write_caption(Facts(), [(2, "cat", "cat"), (1, "owl", "owl")], OPENINGS[0])
    'There are two cats and an owl.'
    """
    parts = []
    for n, name, true_name in items:
        place = facts.places.get(true_name) if with_places else None
        parts.append(amount(n, name) + (f" {PLACE_PHRASES[place]}" if place else ""))
    listed = enumerate_words(parts)
    if with_places and opening.endswith("in the picture."):
        opening = OPENINGS[0]  # "a cat on the left in the picture" reads badly
    text = opening.format(
        list=listed, List=listed[:1].upper() + listed[1:], there="There is" if items[0][0] == 1 else "There are"
    )
    return text + (f" The {relation.subject} is {RELATIONS[relation.word]} the {relation.other}." if relation else "")


def leftmost(facts: Facts, name: str) -> float:
    """Where the leftmost object of a name has its centre; behind all others if no place is known."""
    boxes = [thing.box for thing in facts.objects if thing.name == name and thing.box]
    return min((box.x + box.width / 2 for box in boxes), default=float("inf"))


def _told(
    facts: Facts, generator: np.random.Generator, noise: float, vocabulary: Sequence[str]
) -> tuple[list[tuple[int, str, str]], list[str], list[str]]:
    """What the caption tells: (how many, name told, true name or ""), names omitted, names added."""
    items = [(0 if name in facts.uncounted else n, name, name) for name, n in facts.counts.items()]
    if noise <= 0:
        return items, [], []
    absent = [name for name in vocabulary if name not in facts.counts]
    told: list[tuple[int, str, str]] = []
    omitted: list[str] = []
    added: list[str] = []
    for n, name, _ in items:
        fault = ("omit", "replace", "add")[int(generator.integers(3))] if generator.random() < noise else ""
        if fault == "omit" and len(omitted) < len(items) - 1:  # one name at least stays
            omitted.append(name)
            continue
        if fault in ("replace", "add") and absent:
            wrong = absent.pop(int(generator.integers(len(absent))))
            added.append(wrong)
            if fault == "replace":
                omitted.append(name)
                told.append((n, wrong, name))
                continue
            told.append((1, wrong, ""))
        told.append((n, name, name))
    return told, omitted, added


def vocabulary(names: Iterable[str]) -> dict[str, str]:
    """Every way a text may name a kind: the noun, its synonyms, and their plurals, in lower case.

    A synonym that is itself one of the names stands for that one.

    >>> surfaces = vocabulary(["fire engine", "mouse"])
    >>> surfaces["mice"], surfaces["fire trucks"]
    ('mouse', 'fire engine')
    """
    names = list(names)
    surfaces: dict[str, str] = {}
    for rank in (0, 1):  # names before synonyms: the first to claim a surface keeps it
        for name in names:
            for noun in (name,) if rank == 0 else _SYNONYMS.get(name, ()):
                for form in (noun, plural(noun)):
                    surfaces.setdefault(form.lower(), name)
    return surfaces


def named_kinds(text: str, surfaces: Mapping[str, str]) -> list[str]:
    """The kinds a text names, in order, repeated if it repeats them; the longest wording wins.

    >>> named_kinds("Two hot dogs, a dog and a Hotdog.", vocabulary(["dog", "hot dog"]))
    ['hot dog', 'dog']
    """
    return [surfaces[" ".join(found.lower().split())] for found in _pattern(tuple(surfaces)).findall(text)]


@lru_cache(maxsize=16)
def _pattern(surfaces: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(surfaces, key=len, reverse=True)
    words = "|".join(re.escape(surface).replace(r"\ ", r"\s+") for surface in longest_first)
    return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])" if words else r"(?!)", re.IGNORECASE)
