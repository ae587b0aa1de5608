"""Words that tell groups of pictures apart: what is said of a group's pictures more often than of the others.

A picture says a word or does not; how often in one caption does not count. The score is the difference of the log odds
of a word in the group and in all others, over its standard error, with the word's odds in the whole corpus as a prior
(Monroe, Colaresi & Quinn 2008, "Fightin' words", equations 15 to 22): rare words need more evidence, and a word that is
everywhere has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

if TYPE_CHECKING:
    from lucida.data.pictures import Picture

PRIOR = 10.0  # pictures that the corpus' own odds count as
LEAST_SCORE = 3.0  # standard errors: hundreds of words are looked at
LEAST_PART = 1 / 3  # of the first word's share, for a word to stand in a name beside it

_MARKS = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c)[0] == "M")  # part of a letter
_LETTERS = rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*"
_TOKEN = re.compile(rf"{_LETTERS}(?:['’-]{_LETTERS})*")
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+)")  # kana, Chinese characters, Thai
_FREQUENT = (  # and of no kind of thing
    "a about above across after against all along also am an and another any are around as at away back be been before "
    "behind being below beside between both but by can close could do does down each for from front full has have he "
    "her here him his holding how i in inside into is it its just large like little long looking made many me more "
    "most much my near next no not of off on one or other our out outside over part photo photograph picture image "
    "people's several she showing shows side sitting small so some standing than that the their them then there these "
    "they this those three through to together top towards two under up us very view was we were what when which while "
    "who whose with without you your"
)
_STOP = frozenset(_FREQUENT.split())


@dataclass(frozen=True)
class Word:
    """A word of a group.

    Attributes:
        text: the word, or a label or an object's name of several.
        score: standard errors by which its log odds exceed those in the other groups.
        share: of the group's pictures that say it.
        elsewhere: of the others.
    """

    text: str
    score: float
    share: float
    elsewhere: float


def terms(picture: Picture) -> tuple[str, ...]:
    """What is said of a picture: its label, the names of its objects, and the words of its captions, each once.

    >>> from lucida.data.pictures import Picture
    >>> terms(Picture("1", None, captions=("A red fire-engine in the street",), label="fire_truck"))
    ('fire truck', 'red', 'fire-engine', 'street')
    >>> terms(Picture("2", None, captions=("एक लाल कार", "my iphone 手机壳")))
    ('एक', 'लाल', 'कार', 'iphone', '手机', '机壳')
    """
    from lucida.data.galleries import as_words  # it reads pictures: Pillow is loaded where pictures are

    named = [as_words(picture.label or ""), *(as_words(thing.name) for thing in picture.objects)]
    captions = (unicodedata.normalize("NFC", caption).lower() for caption in picture.captions)
    runs = (run for caption in captions for token in _TOKEN.findall(caption) for run in _UNSPACED.split(token))
    said = [word for run in runs for word in (_pairs(run) if _UNSPACED.match(run) else (run,))]
    words = [word for word in said if word not in _STOP and len(word) > 1]
    return tuple(dict.fromkeys(word for word in (*(name.lower() for name in named), *words) if word))


def _pairs(text: str) -> Iterable[str]:
    """Neighbouring characters, which stand for words where a script puts no spaces between them.

    >>> list(_pairs("红色汽车"))
    ['红色', '色汽', '汽车']
    """
    return (text[i : i + 2] for i in range(max(1, len(text) - 1)))


def distinctive_words(
    said: Sequence[Iterable[str]], groups: ArrayLike, count: int, *, at_most: int = 8
) -> list[tuple[Word, ...]]:
    """For each of ``count`` groups its most distinctive words, the best first.

    Args:
        said: of each picture its terms.
        groups: the group of each picture, ``int [N]``, 0 to ``count - 1``; others belong to none.
        count: how many groups.
        at_most: words a group. A word whose parts stand in better ones already ("fire" after "fire truck") is left out.
    """
    number = np.asarray(groups, dtype=np.int64)
    vocabulary: dict[str, int] = {}
    rows, columns = [], []
    for row, words in enumerate(said):
        for word in dict.fromkeys(words):
            rows.append(row)
            columns.append(vocabulary.setdefault(word, len(vocabulary)))
    if not vocabulary:
        return [()] * count
    shape = (len(number), len(vocabulary))
    mentions = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    inside = np.flatnonzero((number >= 0) & (number < count))
    member = sparse.csr_matrix((np.ones(len(inside)), (number[inside], inside)), shape=(count, len(number)))
    counts = (member @ mentions).toarray()  # [count, V]
    sizes = np.bincount(number[inside], minlength=count).astype(float)
    scores = log_odds_scores(counts, sizes)
    texts = list(vocabulary)
    return [_best(texts, scores[k], counts, sizes, k, at_most) for k in range(count)]


def log_odds_scores(counts: NDArray, sizes: NDArray, *, prior: float = PRIOR) -> NDArray:
    """Standard errors by which a word's log odds in a group exceed those in all others, ``[K, V]``.

    Args:
        counts: pictures of each group that say each word, ``[K, V]``.
        sizes: pictures of each group, ``[K]``.
        prior: pictures that the whole corpus' odds are worth.
    """
    total, size = counts.sum(axis=0), sizes.sum()
    yes, no = prior * (total + 0.5) / (size + 1), prior * (size - total + 0.5) / (size + 1)
    here, not_here = counts + yes, sizes[:, None] - counts + no
    there = total - counts + yes
    not_there = size - sizes[:, None] - total + counts + no
    difference = np.log(here / not_here) - np.log(there / not_there)
    return difference / np.sqrt(1 / here + 1 / not_here + 1 / there + 1 / not_there)


def _best(
    texts: Sequence[str], scores: NDArray, counts: NDArray, sizes: NDArray, k: int, at_most: int
) -> tuple[Word, ...]:
    found: list[Word] = []
    others, total = sizes.sum() - sizes[k], counts.sum(axis=0)
    seen: set[str] = set()
    for v in np.argsort(-scores, kind="stable"):
        if scores[v] < LEAST_SCORE or len(found) == at_most:
            break
        parts = {_singular(part) for part in texts[v].split()}
        if parts <= seen:
            continue
        seen |= parts
        elsewhere = float((total[v] - counts[k, v]) / others) if others else 0.0
        found.append(Word(texts[v], float(scores[v]), float(counts[k, v] / sizes[k]), elsewhere))
    return tuple(found)


def _singular(word: str) -> str:
    """Near enough to tell that two words are one.

    >>> _singular("flags"), _singular("glass"), _singular("bus")
    ('flag', 'glass', 'bus')
    """
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def group_names(words: Sequence[Sequence[Word]], *, fallback: str = "cluster") -> list[str]:
    """A name for each group: up to three of its words, more where two groups would have one name; else its number.

    >>> group_names([[Word("cat", 9.0, 0.9, 0.1), Word("rug", 5.0, 0.1, 0.0)], []])
    ['cat', 'cluster 2']
    """
    names = [", ".join(word.text for word in _telling(own)) or f"{fallback} {k}" for k, own in enumerate(words, 1)]
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        for place, k in enumerate([k for k, other in enumerate(names) if other == name], 1):
            more = [word.text for word in words[k] if word.text not in name.split(", ")][:1]
            names[k] = ", ".join([name, *more]) if more else f"{name} ({place})"
    seen: dict[str, int] = {}
    for k, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[k] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def _telling(words: Sequence[Word]) -> list[Word]:
    """The first word, and of the next two those that are not much rarer than it."""
    return [word for word in words[:3] if word.share >= LEAST_PART * words[0].share]
