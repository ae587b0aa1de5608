"""CHAIR: how many of the objects that captions name are not in the picture (Rohrbach et al. 2018, arXiv 1809.02156).

A score alone says little: a model that names less invents less. Every score here comes with how much of what is there
was named (recall) and how long captions were; :func:`chair_curve` gives the scores at several lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster
from lucida.evaluation.vocabulary import Vocabulary


@dataclass(frozen=True)
class CaptionReading:
    """What one caption names.

    Attributes:
        mentioned: names in the order of the text, repeated where it repeats them.
        hallucinated: those of them that are not there.
        present: what is there, of the vocabulary.
        words: how many the caption has.
    """

    mentioned: tuple[str, ...]
    hallucinated: tuple[str, ...]
    present: frozenset[str]
    words: int


@dataclass(frozen=True)
class HallucinatedName:
    """How often captions name one kind of object.

    Attributes:
        name: the kind.
        hallucinated: mentions in captions of pictures that do not show it.
        mentioned: all mentions.
        pictures: pictures that show it.
    """

    name: str
    hallucinated: int
    mentioned: int
    pictures: int


def read_captions(
    captions: Sequence[str], present: Sequence[Collection[str]], vocabulary: Vocabulary
) -> list[CaptionReading]:
    """What each caption names, against what its picture shows.

    Args:
        captions: one text each.
        present: the objects of each caption's picture; the list must be complete, or true mentions count as invented.
        vocabulary: finds the objects.

    Raises:
        LucidaError: not one list of objects a caption, or an object that the vocabulary does not know.
    """
    if len(captions) != len(present):
        raise LucidaError(f"{len(captions)} captions for {len(present)} lists of objects", where="CHAIR")
    readings = []
    for caption, objects in zip(captions, present, strict=True):
        there = frozenset(_known(name, vocabulary) for name in objects)
        mentioned = tuple(vocabulary.mentions(caption))
        invented = tuple(name for name in mentioned if name not in there)
        readings.append(CaptionReading(mentioned, invented, there, len(caption.split())))
    return readings


def _known(noun: str, vocabulary: Vocabulary) -> str:
    name = vocabulary.canonical(noun)
    if name is None:
        raise LucidaError(f"the vocabulary does not know {noun!r}", where="CHAIR", remedy="add it or leave it out")
    return name


def chair_metrics(
    captions: Sequence[str],
    present: Sequence[Collection[str]],
    vocabulary: Vocabulary,
    *,
    pictures: Sequence[object] | None = None,
    prefix: str = "chair",
) -> dict[str, Metric]:
    """How much captions invent and how much they tell.

    Args:
        captions, present, vocabulary: see :func:`read_captions`.
        pictures: the picture of each caption, if some share one; intervals keep them together.
        prefix: of the names.

    Returns:
        ``chair_i``: invented mentions / mentions (repeated ones count, as in the authors' script); NaN if nothing is
        named. ``chair_s``: captions with an invented object / captions. ``recall``: kinds of object named / kinds
        there. ``mean_words`` and ``mean_objects`` (different kinds named) a caption.
    """
    readings = read_captions(captions, present, vocabulary)
    clusters = list(range(len(readings))) if pictures is None else list(pictures)
    return _metrics(readings, clusters, prefix)


def _metrics(readings: Sequence[CaptionReading], clusters: Sequence[object], prefix: str) -> dict[str, Metric]:
    named = [len(r.present & {*r.mentioned}) for r in readings]
    shares: dict[str, tuple[list[int], list[int]]] = {
        "chair_i": ([len(r.hallucinated) for r in readings], [len(r.mentioned) for r in readings]),
        "chair_s": ([int(bool(r.hallucinated)) for r in readings], [1] * len(readings)),
        "recall": (named, [len(r.present) for r in readings]),
    }
    means = {
        "mean_words": [r.words for r in readings],
        "mean_objects": [len({*r.mentioned}) for r in readings],
    }
    return {
        **{f"{prefix}/{name}": share_by_cluster(hits, trials, clusters) for name, (hits, trials) in shares.items()},
        **{f"{prefix}/{name}": mean_by_cluster(values, clusters) for name, values in means.items()},
    }


def hallucinated_names(readings: Sequence[CaptionReading]) -> list[HallucinatedName]:
    """Every kind that a caption names, the most often invented first."""
    mentioned = Counter(name for r in readings for name in r.mentioned)
    invented = Counter(name for r in readings for name in r.hallucinated)
    shown = Counter(name for r in readings for name in r.present)
    rows = [HallucinatedName(name, invented[name], mentioned[name], shown[name]) for name in mentioned]
    return sorted(rows, key=lambda row: (-row.hallucinated, -row.mentioned, row.name))


def first_words(caption: str, n: int, *, keep_unfinished: bool) -> str:
    """The caption's first ``n`` words; a sentence that is cut off stays or goes.

    The policy decides scores (OPERA at 64 tokens: CHAIR_i 14.2 without, 19.4 with the unfinished sentence), so that it
    has no default.

    >>> first_words("A cat sits. A dog runs away.", 5, keep_unfinished=True)
    'A cat sits. A dog'
    >>> first_words("A cat sits. A dog runs away.", 5, keep_unfinished=False)
    'A cat sits.'
    """
    every = caption.split()
    kept = every[:n]
    if not keep_unfinished and len(every) > n:
        while kept and not kept[-1].rstrip("\"')").endswith((".", "!", "?")):
            kept.pop()
    return " ".join(kept)


def chair_curve(
    captions: Sequence[str],
    present: Sequence[Collection[str]],
    vocabulary: Vocabulary,
    lengths: Sequence[int] = (8, 16, 32, 64),
    *,
    keep_unfinished: bool,
    pictures: Sequence[object] | None = None,
    prefix: str = "chair",
) -> dict[str, Metric]:
    """The scores of the captions' first words, ``{prefix}/first_{n}_words/{name}``, for every length.

    A caption that ends earlier counts as it is: two models compare at equal recall, not at equal length.
    """
    metrics: dict[str, Metric] = {}
    for n in lengths:
        cut = [first_words(caption, n, keep_unfinished=keep_unfinished) for caption in captions]
        where = f"{prefix}/first_{n}_words"
        metrics |= chair_metrics(cut, present, vocabulary, pictures=pictures, prefix=where)
    return metrics
