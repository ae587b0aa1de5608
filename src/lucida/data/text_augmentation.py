"""Other words for the same caption: equal nouns, another frame, another order; what the text says stays.

Everything here is a rule that refuses where it is not sure: a noun is replaced only where it stands alone between words
that cannot be part of a compound ("a red car on the road", not "a cable car park"), and no rule touches numbers,
colours, negations, sides, names, or anything else it does not know. A text may therefore have few other wordings, or
none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lucida.core.errors import LucidaError
from lucida.data.captions import NUMBERS, enumerate_words
from lucida.data.equivalents import equivalents
from lucida.data.kinds import article, plural

_MEDIA = {"photo": ("photo", "photograph"), "picture": ("picture", "image")}
_MEDIUM_OF = {word: words for words in _MEDIA.values() for word in words}
_MEDIUM = "|".join(_MEDIUM_OF)


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set_of("a an the this that these those some no each every his her its their")
_ADJECTIVES = _set_of(
    "red orange yellow green blue purple pink brown black white grey gray golden silver beige "
    "big large small little tiny huge old new young"
)
_BEFORE = _DETERMINERS | _ADJECTIVES | {*NUMBERS, "and", "or", "of", "with"}
_PREPOSITIONS = _set_of(
    "with without in on at by near next beside under beneath behind above below over to from into onto against across "
    "along through between inside outside of that which who is are was were has have"
)
_QUANTIFIERS = "few|little|lot|couple|pair|dozen|hundred|thousand|million|group|bunch|number|half|bit"
_SINGULAR = re.compile(rf"(?:a|an)\s+(?!(?:{_QUANTIFIERS})\b)(?=\w)", re.IGNORECASE)
_COUNTED = rf"(?:{'|'.join(sorted({*NUMBERS, *_DETERMINERS} - {'that'}))}|\d+)\s+\w"  # "shows that it rains"
_LAST_WORD, _NEXT_WORD = re.compile(r"([\w'-]+)\s+$"), re.compile(r"\s*(?:$|[.,;:!?)]|\s([\w'-]+))")

_FRAMES = (
    re.compile(rf"(?:an?|the) (?P<medium>{_MEDIUM}) of (?P<body>.+)", re.IGNORECASE),
    re.compile(rf"the (?P<medium>{_MEDIUM}) shows (?P<body>{_COUNTED}.*)", re.IGNORECASE),
    re.compile(rf"there (?P<verb>is|are) (?P<body>{_COUNTED}.*?)(?: in the (?P<medium>{_MEDIUM}))?", re.IGNORECASE),
    re.compile(rf"i can see (?P<body>{_COUNTED}.*)", re.IGNORECASE),
)


@dataclass(frozen=True)
class _Framed:
    """A sentence as what it shows and the words around that.

    Attributes:
        body: what is shown.
        medium: ``"photo"`` or another word of :data:`_MEDIA` if the text names one.
        verb: ``"is"`` or ``"are"`` if the text says it.
        known: whether ``body`` is a list of things; else it may be a sentence of its own.
    """

    body: str
    medium: str | None = None
    verb: str | None = None
    known: bool = True


def rephrased(
    text: str, generator: np.random.Generator, n: int, *, nouns: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, ...]:
    """Other wordings of a caption, each at most once and none of them ``text`` itself.

    Args:
        text: one or several sentences in English.
        generator: draws the wordings.
        n: at most so many.
        nouns: by noun, singular, those that may be put in its place;
            :func:`~lucida.data.equivalents.equivalents` unless given.

    Returns:
        Up to ``n``, in the order in which they were drawn; fewer, if the rules know no more.

    Raises:
        LucidaError: ``n`` is negative.

    >>> for wording in rephrased("A photo of a red car.", np.random.default_rng(0), 4):
    ...     print(wording)
    A photo of a red automobile.
    There is a red car in the photograph.
    In the photograph: a red automobile.
    A photograph of a red automobile.
    """
    if n < 0:
        raise LucidaError(f"{n} wordings of a text", remedy="use at least 0")
    own, known = " ".join(text.split()), _known_nouns(equivalents() if nouns is None else nouns)
    found: dict[str, None] = {}
    for _ in range(8 * n + 8):  # draws repeat; where there are few wordings, most of them do
        if len(found) >= n:
            break
        wording = _reworded(own, generator, known)
        if wording not in (own, text):
            found.setdefault(wording)
    return tuple(found)[:n]


def class_phrasings(
    name: str, generator: np.random.Generator, n: int, *, nouns: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, ...]:
    """Texts for a class by its name: the name and its equals, with an article or in the plural, in short frames.

    A class is a kind, not a count, so its name may stand in the plural here.

    Args:
        name: singular, in lower case unless it is a name.
        generator: draws the texts behind the first.
        n: so many if there are as many.
        nouns: as of :func:`rephrased`.

    Returns:
        Distinct texts; the first is ``"a picture of a {name}"``.

    Raises:
        LucidaError: there is no name, or ``n`` is less than 1.

    >>> class_phrasings("automobile", np.random.default_rng(0), 4)
    ('a picture of an automobile', 'automobile', 'cars', 'automobiles')
    """
    if n < 1 or not name.strip():
        raise LucidaError(f"{n} texts for the class {name!r}", remedy="give a name, and ask for at least 1 text")
    known = equivalents() if nouns is None else nouns
    texts: dict[str, None] = {}
    for noun in (name, *known.get(name, ())):
        single, many = f"{article(noun)} {noun}", plural(noun)
        frames = (f"a picture of {single}", f"an image of {single}", single, noun, many)
        texts |= dict.fromkeys((*frames, f"a picture of the {noun}", f"pictures of {many}", f"{noun}, picture"))
    first, *others = texts
    return (first, *(others[i] for i in generator.permutation(len(others))[: n - 1]))


@dataclass(frozen=True)
class _Nouns:
    """What may be put in place of each noun and of its plural, and the pattern that finds them in a text."""

    forms: Mapping[str, tuple[str, ...]]
    pattern: re.Pattern[str]


def _known_nouns(nouns: Mapping[str, Sequence[str]]) -> _Nouns:
    return _compiled(tuple((noun, tuple(others)) for noun, others in nouns.items()))


@lru_cache(maxsize=8)
def _compiled(nouns: tuple[tuple[str, tuple[str, ...]], ...]) -> _Nouns:
    forms: dict[str, tuple[str, ...]] = {}
    for noun, others in nouns:
        forms[noun] = others
        forms.setdefault(plural(noun), tuple(plural(other) for other in others))
    longest_first = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)) or r"(?!)"
    return _Nouns(forms, re.compile(rf"(?<![\w'-])(?:(an?)\s)?((?i:{longest_first}))(?![\w'-])", re.IGNORECASE))


def _reworded(text: str, generator: np.random.Generator, nouns: _Nouns) -> str:
    stop = "." if text.endswith(".") else ""
    body = text.removesuffix(".")
    if re.search(r"[.!?:;]", body):  # several sentences, or one that a frame does not fit
        return _renamed(text, generator, nouns)
    framed = _framed(_lowered(body))
    shown = _renamed(framed.body, generator, nouns)
    if framed.known and generator.random() < 0.5:
        shown = _turned_round(shown)
    said = _in_a_frame(framed, shown, generator)
    return (said[:1].upper() + said[1:] if body[:1].isupper() else said) + stop


def _lowered(sentence: str) -> str:
    """Without the capital of the first word, where that cannot be a name."""
    first, space, rest = sentence.partition(" ")
    known = {*_DETERMINERS, *_ADJECTIVES, *NUMBERS, "there"}
    return first.lower() + space + rest if first.lower() in known else sentence


def _framed(sentence: str) -> _Framed:
    for frame in _FRAMES:
        found = frame.fullmatch(sentence)
        if found:
            parts = found.groupdict()
            return _Framed(parts["body"], parts.get("medium"), parts.get("verb"))
    return _Framed(sentence, known=False)


def _in_a_frame(framed: _Framed, shown: str, generator: np.random.Generator) -> str:
    """One of the ways to say that this is shown; a medium that the text names stays named."""
    media = _MEDIUM_OF.get((framed.medium or "picture").lower(), _MEDIA["picture"])
    medium = media[int(generator.integers(len(media)))]
    if not framed.known:
        ways = [shown, f"in the {medium}: {shown}", f"{medium}: {shown}"]
        return ways[int(generator.integers(len(ways)))]
    single = _SINGULAR.match(shown) if " and " not in shown and "," not in shown else None
    rest = shown[single.end() :] if single else ""
    ways = [
        f"{article(medium)} {medium} of {shown}",
        f"{article(medium)} {medium} of {f'the {rest}' if rest else shown}",
        f"the {medium} shows {shown}",
        f"in the {medium}: {shown}",
        f"{rest or shown}, {medium}",
    ]
    verb = _verb(shown) or framed.verb
    if verb:
        ways.append(f"there {verb} {shown} in the {medium}")
        if framed.medium is None:
            ways.append(f"there {verb} {shown}")
    if framed.medium is None:
        ways.append(f"I can see {shown}")
    return ways[int(generator.integers(len(ways)))]


def _verb(shown: str) -> str | None:
    """``"is"`` or ``"are"`` where the first words tell which."""
    if _SINGULAR.match(shown) or shown.startswith("one "):
        return "is"
    return "are" if shown.partition(" ")[0] in NUMBERS[2:] else None


def _turned_round(shown: str) -> str:
    """``"a cat and two dogs"`` as ``"two dogs and a cat"``, where nothing hangs on the order."""
    parts = re.split(r",\s+|\s+and\s+", shown)
    words = {word.lower() for word in re.findall(r"[\w'-]+", shown)}
    listed = all(re.match(_COUNTED, part, re.IGNORECASE) and len(part.split()) <= 4 for part in parts)
    if not listed or words & (_PREPOSITIONS | {"or", "but"}) or enumerate_words(parts) != shown:
        return shown
    return enumerate_words(parts[::-1])


def _renamed(text: str, generator: np.random.Generator, nouns: _Nouns) -> str:
    """Nouns that stand alone, each replaced by an equal one with a chance of a half."""

    def replace(found: re.Match[str]) -> str:
        leading, noun = found[1], found[2]
        starts = found.start() == 0  # of the text: a capital there says nothing, elsewhere it makes a name
        entry = noun[:1].lower() + noun[1:] if starts and noun not in nouns.forms else noun
        choices = nouns.forms.get(entry, ())
        if not choices or not _stands_alone(text, found.start(2), found.end(2)) or generator.random() < 0.5:
            return found[0]
        chosen = choices[int(generator.integers(len(choices)))]
        if leading:
            own = article(chosen)
            return f"{own.capitalize() if leading[0].isupper() else own} {chosen}"
        return chosen[:1].upper() + chosen[1:] if starts and noun[:1].isupper() else chosen

    return nouns.pattern.sub(replace, text)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether the words around a noun cannot be part of a compound with it."""
    before, behind = _LAST_WORD.search(text[:start]), _NEXT_WORD.match(text[end:])
    opens = text[:start].rstrip().endswith((",", "(", ":", ".")) or not text[:start].strip()
    if behind is None or not (before[1].lower() in _BEFORE if before else opens):
        return False
    return behind[1] is None or behind[1].lower() in _PREPOSITIONS | {"and", "or"}
