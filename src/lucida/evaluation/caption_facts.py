"""What captions say about how many, where and how things stand to each other, held against what is true of a scene.

CHAIR asks whether what a caption names is there. A caption that names the right things may still count them wrong, put
them in the wrong place, or swap left and right: the attribute and relation errors that AMBER (Wang et al. 2023, arXiv
2311.07397) asks about one by one are read here from the captions themselves. Scenes have no attribute but their place;
it stands for all of them. Only statements that the truth decides are checked: one about an object that is not there is
a made-up object, which CHAIR counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.data.captions import NUMBERS
from lucida.data.kinds import article
from lucida.data.truth import Facts, Relation
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster
from lucida.evaluation.vocabulary import Mention, Vocabulary, words

FAMILIES = ("count", "place", "relation")
"""What statements are about."""

_AMOUNTS: Mapping[str, int] = {
    **{word: value for value, word in enumerate(NUMBERS) if value},
    "a": 1,
    "an": 1,
    "single": 1,
}
_ADJECTIVE_WORDS = """
red green blue yellow orange purple pink brown black white grey gray golden silver dark light bright colourful colorful
small little tiny big large huge tall short long round old young new
"""
_ADJECTIVES = frozenset(_ADJECTIVE_WORDS.split())
_MORE_OF_A_KIND = frozenset(("another", "other", "more", "second", "third"))
_SENTENCE_ENDS = frozenset((".", "!", "?", "\n"))

_VERB_WORDS = "is are sits sit lies lie stands stand sitting lying standing located placed positioned"
_VERBS = frozenset(_VERB_WORDS.split())
_ADVERBS = frozenset(("directly", "just", "slightly", "far", "right"))
_SIDES = frozenset(("side", "corner", "part", "area"))
_PICTURES = frozenset(("picture", "image", "photo", "photograph", "scene", "frame"))
# What may follow a place: "on the right foot" is none.
_AFTER_PLACE = _SENTENCE_ENDS | frozenset((",", ";", ":", "and", "or", "but", "with", "while", "there", "is", "are"))


def _place_wordings() -> dict[tuple[str, ...], str]:
    middles = ("middle", "center", "centre")
    found: dict[tuple[str, ...], str] = {(word,): "middle" for word in middles}
    found |= {(side,): side for side in ("left", "right")}
    for row, wordings in (("top", ("top", "upper")), ("bottom", ("bottom", "lower"))):
        for word in wordings:
            found |= {(word,): row} | {(word, middle): row for middle in middles}
            found |= {(word, side): f"{row} {side}" for side in ("left", "right")}
    return found | {(middle, side): side for middle in middles for side in ("left", "right")}


_PLACES = _place_wordings()
_RELATIONS: Mapping[tuple[str, ...], str] = {
    **{
        (*start, side, *rest): f"{side} of"
        for side in ("left", "right")
        for start in ((), ("to", "the"), ("on", "the"), ("at", "the"))
        for rest in (("of",), ("side", "of"))
    },
    **{("above",): "above"},
    **{(word,): "below" for word in ("below", "under", "beneath", "underneath")},
}
_LONGEST_RELATION = max(map(len, _RELATIONS))


@dataclass(frozen=True)
class CaptionFacts:
    """What a caption states.

    Attributes:
        counts: (name, how many).
        places: (name, one of :data:`lucida.data.truth.PLACES`).
        relations: between two names.
    """

    counts: tuple[tuple[str, int], ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    relations: tuple[Relation, ...] = ()


def read_statements(caption: str, vocabulary: Vocabulary) -> CaptionFacts:
    """The statements of a caption, in the wordings of :func:`lucida.data.captions.describe` and common others.

    A count is a number word, digits or an indefinite article before a noun, summed over a sentence; "some" and "the"
    count nothing, and a name that is counted in several sentences, or with "another", is left out: it is not clear
    whether the same ones are meant. A place follows its noun and is a ninth of the picture: "on the left" is the middle
    row.

    >>> vocabulary = Vocabulary(["cat", "dog", "cup"])
    >>> found = read_statements("Two cats and a dog at the top. The dog is left of the cup.", vocabulary)
    >>> found.counts, found.places
    ((('cat', 2), ('dog', 1)), (('dog', 'top'),))
    >>> found.relations
    (Relation(subject='dog', word='left of', other='cup'),)
    """
    tokens = words(caption)
    mentions = vocabulary.located(tokens)
    places, relations = [], []
    for i, mention in enumerate(mentions):
        if place := _place(tokens, mention.stop):
            places.append((mention.name, place))
        if i + 1 < len(mentions) and (word := _relation(tokens[mention.stop : mentions[i + 1].start])):
            relations.append(Relation(mention.name, word, mentions[i + 1].name))
    return CaptionFacts(_counts(tokens, mentions), tuple(places), tuple(relations))


def _counts(tokens: Sequence[str], mentions: Sequence[Mention]) -> tuple[tuple[str, int], ...]:
    sums: dict[str, dict[int, int]] = {}
    unclear = set()
    for mention in mentions:
        sentence = sum(token in _SENTENCE_ENDS for token in tokens[: mention.start])
        amount = _amount(tokens, mention)
        if amount is not None:
            by_sentence = sums.setdefault(mention.name, {})
            by_sentence[sentence] = by_sentence.get(sentence, 0) + amount
        elif mention.start and tokens[mention.start - 1] in _MORE_OF_A_KIND:
            unclear.add(mention.name)
    return tuple(
        (name, sum(by_sentence.values()))
        for name, by_sentence in sums.items()
        if len(by_sentence) == 1 and name not in unclear
    )


def _amount(tokens: Sequence[str], mention: Mention) -> int | None:
    """How many a caption says there are, by what stands before the noun."""
    at = mention.start - 1
    while at >= 0 and tokens[at] in _ADJECTIVES:
        at -= 1
    if at < 0:
        return None
    before = tokens[at]
    if before == "of" and at and tokens[at - 1] in ("pair", "couple"):
        return 1 if article(" ".join(tokens[mention.start : mention.stop])) == "a pair of" else 2
    return int(before) if before.isascii() and before.isdecimal() else _AMOUNTS.get(before)


def _place(tokens: Sequence[str], at: int) -> str | None:
    """The place that is told from ``at`` on: "in the top left", "is at the bottom of the picture"."""
    while at < len(tokens) and tokens[at] in _VERBS:
        at += 1
    if at + 2 >= len(tokens) or tokens[at] not in ("in", "at", "on") or tokens[at + 1] != "the":
        return None
    at += 2 + (tokens[at + 2] == "far")
    for length in (2, 1):
        place = _PLACES.get((*tokens[at : at + length],))
        if place:
            end = at + length + (tokens[at + length : at + length + 1] in [[side] for side in _SIDES])
            after = tokens[end : end + 3]
            of_picture = len(after) == 3 and after[0] == "of" and after[2] in _PICTURES
            return place if not after or after[0] in _AFTER_PLACE or of_picture else None
    return None


def _relation(between: Sequence[str]) -> str | None:
    """The relation that the words between two nouns tell, if they tell nothing else."""
    at = 0
    while at < len(between):
        for length in range(_LONGEST_RELATION, 0, -1):
            word = _RELATIONS.get((*between[at : at + length],))
            if word:
                rest = between[at + length :]
                return word if all(t == "the" or t in _AMOUNTS or t in _ADJECTIVES for t in rest) else None
        if between[at] not in _VERBS | _ADVERBS:
            return None
        at += 1
    return None


def wrong_statements(said: CaptionFacts, facts: Facts) -> dict[str, list[bool]]:
    """Whether each statement that the truth decides is wrong, by :data:`FAMILIES`.

    Not decided: how many there are of what is listed in unknown number; where one of several is; a place near a border
    of two; a relation that is not clear, or one that holds although another direction is the clearer one ("left of",
    of what is above and a little to the left).

    Args:
        said: by a caption.
        facts: what is true; names as in the vocabulary that the caption was read with.
    """
    clear = {(true.subject, true.other): true.word for true in facts.relations}
    return {
        "count": [
            facts.counts[name] != n
            for name, n in said.counts
            if facts.exhaustive and name in facts.counts and name not in facts.uncounted
        ],
        "place": [facts.places[name] != place for name, place in said.places if name in facts.places],
        "relation": [
            clear[one.subject, one.other] != one.word
            for one in said.relations
            if (one.subject, one.other) in clear
            and (clear[one.subject, one.other] == one.word or not _holds(one, facts))
        ],
    }


def _holds(said: Relation, facts: Facts) -> bool:
    """Whether a relation holds by however little."""
    things = [facts.only(name) for name in (said.subject, said.other)]
    boxes = [thing.box for thing in things if thing and thing.box]
    (x, y), (other_x, other_y) = ((box.x + box.width / 2, box.y + box.height / 2) for box in boxes)
    return {"left of": x < other_x, "right of": x > other_x, "above": y < other_y, "below": y > other_y}[said.word]


def caption_fact_metrics(
    captions: Sequence[str],
    facts: Sequence[Facts],
    vocabulary: Vocabulary,
    *,
    pictures: Sequence[object] | None = None,
    prefix: str = "caption_facts",
) -> dict[str, Metric]:
    """How many of the statements in captions are wrong.

    Args:
        captions: one text each.
        facts: what is true of each caption's picture.
        vocabulary: finds the objects; its names are those of ``facts``.
        pictures: the picture of each caption, if some share one; intervals keep them together.
        prefix: of the names.

    Returns:
        For each of :data:`FAMILIES`: ``count_error``, the share of the checked statements that is wrong, NaN if none
        was checked, ``n`` the pictures with one; ``count_statements``, how many were checked a caption: a model that
        says nothing says nothing wrong.

    Raises:
        LucidaError: not one picture's facts a caption.
    """
    if len(captions) != len(facts):
        raise LucidaError(f"{len(captions)} captions for the facts of {len(facts)} pictures", where="caption facts")
    checked = [wrong_statements(read_statements(c, vocabulary), one) for c, one in zip(captions, facts, strict=True)]
    clusters = list(range(len(captions))) if pictures is None else list(pictures)
    metrics: dict[str, Metric] = {}
    for family in FAMILIES:
        wrong, tried = [sum(row[family]) for row in checked], [len(row[family]) for row in checked]
        metrics[f"{prefix}/{family}_error"] = share_by_cluster(wrong, tried, clusters)
        metrics[f"{prefix}/{family}_statements"] = mean_by_cluster(tried, clusters)
    return metrics
