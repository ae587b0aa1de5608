"""POPE: asking for objects that are there and objects that are not (Li et al. 2023, arXiv 2305.10355).

Negatives are random, popular (the most frequent absent objects) or adversarial (those that most often appear with what
is there). Questions are balanced within every picture. An abstention is wrong and is counted; intervals know which
questions share a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.core.seeds import stream
from lucida.data.statistics import NEGATIVES, ObjectStatistics
from lucida.evaluation.answers import YesNo, parse_yes_no
from lucida.evaluation.calibration import calibration_error
from lucida.evaluation.intervals import auroc_by_cluster, mean_by_cluster, share_by_cluster
from lucida.evaluation.vocabulary import Vocabulary

SETS: tuple[str, ...] = NEGATIVES
"""The question sets, by how their negatives are chosen."""


@dataclass(frozen=True)
class PopeQuestion:
    """One "is there a {object}?".

    Attributes:
        picture_id: the picture that is shown.
        object: the name asked for.
        label: whether it is there.
        set: "random", "popular" or "adversarial".
    """

    picture_id: str
    object: str
    label: bool
    set: str


def obstacle(
    present: Mapping[str, Collection[str]],
    how: str,
    *,
    exhaustive: bool,
    statistics: ObjectStatistics | None = None,
) -> str | None:
    """Why these labels cannot support a question set; None if they can.

    Args:
        present: the objects of each picture, by picture id.
        how: one of :data:`SETS`.
        exhaustive: an object that is not listed is truly absent.
        statistics: the vocabulary with its frequencies; counted from ``present`` by default.

    >>> obstacle({"a": ["cat"], "b": ["dog"]}, "adversarial", exhaustive=True)
    'no two objects ever share a picture, so none is likely beside another'
    """
    if how not in SETS:
        return f"there is no set {how!r}; there are {', '.join(SETS)}"
    if not exhaustive:
        return "the labels are not exhaustive: an object that is not listed may still be there"
    if not any(present.values()):
        return "no picture lists an object"
    counted = statistics or ObjectStatistics.count(present.values())
    names = frozenset(counted.names)
    if not any(listed and names - frozenset(listed) for listed in present.values()):
        return "no object is absent from any picture"
    if how == "popular" and np.ptp(counted.frequency) == 0:
        return "all objects are equally frequent, so none is popular"
    if how == "adversarial" and not counted.together.any():
        return "no two objects ever share a picture, so none is likely beside another"
    return None


def build_questions(
    present: Mapping[str, Collection[str]],
    how: str,
    *,
    exhaustive: bool,
    k: int = 3,
    statistics: ObjectStatistics | None = None,
    seed: int = 0,
) -> list[PopeQuestion]:
    """Up to ``k`` questions about present and as many about absent objects of every picture.

    A picture of fewer objects (or fewer absent ones) gets fewer of both; one without objects gets none. The present
    objects asked for are the same in every set. Each picture has a random stream of its own, so that a picture's
    questions do not depend on the others (but for the statistics).

    Args:
        present: the objects of each picture, by picture id.
        how: one of :data:`SETS`.
        exhaustive: an object that is not listed is truly absent.
        k: positives, and negatives, a picture.
        statistics: the vocabulary, frequencies and co-occurrence. Counted from ``present`` by default; hand in those of
            the training pictures to ask for what a model has learned to expect.
        seed: draws the objects.

    Raises:
        LucidaError: the labels cannot support the set (see :func:`obstacle`), or ``k`` is below 1.
    """
    if k < 1:
        raise LucidaError(f"k must be at least 1, not {k}", where="POPE questions")
    counted = statistics or ObjectStatistics.count(present.values())
    reason = obstacle(present, how, exhaustive=exhaustive, statistics=counted)
    if reason:
        raise LucidaError(reason, where=f"POPE set {how!r}")
    questions = []
    for picture_id, listed in present.items():
        here = sorted({*listed} & {*counted.names})
        n = min(k, len(here), len(counted.names) - len(here))
        order = stream(seed, "pope", "present", picture_id).permutation(len(here))[:n]
        absent = _absent(counted, how, here, n, stream(seed, "pope", how, picture_id)) if n else []
        questions += [PopeQuestion(picture_id, here[i], True, how) for i in order]
        questions += [PopeQuestion(picture_id, name, False, how) for name in absent]
    return questions


def _absent(
    counted: ObjectStatistics, how: str, here: Sequence[str], n: int, generator: np.random.Generator
) -> list[str]:
    """The ``n`` absent names that rank highest; equal ones by frequency (but in the random set), then by chance.

    :meth:`ObjectStatistics.choose` breaks ties by the alphabet, which would make some names negatives far more often.
    """
    place = {name: i for i, name in enumerate(counted.names)}
    rows = [place[name] for name in here]
    frequency = np.asarray(counted.frequency, dtype=float)
    chance = generator.random(len(place))
    keys = [chance]
    if how != "random":
        keys.append(frequency)
    if how == "adversarial":
        keys.append((counted.together[rows] / np.maximum(frequency[rows], 1e-12)[:, None]).sum(axis=0))
    absent = np.ones(len(place), bool)
    absent[rows] = False
    order = [i for i in np.lexsort(keys)[::-1] if absent[i]]  # the last key leads
    return [counted.names[i] for i in order[:n]]


class LabelledPictures(Protocol):
    """What is read of a corpus: its pictures (``id``, ``objects``, ``label``) and whether their labels are complete."""

    @property
    def pictures(self) -> Sequence[Any]: ...

    @property
    def exhaustive_objects(self) -> bool: ...


def corpus_questions(
    corpus: LabelledPictures,
    *,
    sets: Iterable[str] = SETS,
    k: int = 3,
    statistics: ObjectStatistics | None = None,
    seed: int = 0,
) -> tuple[list[PopeQuestion], dict[str, str]]:
    """Questions from a corpus' own labels, and the sets it cannot support with the reason.

    The vocabulary is that of the labels in ``statistics`` or else of the corpus. Pictures that list no objects but have
    a class count as showing that class alone, if the corpus claims that its labels are exhaustive.
    """
    present = {
        picture.id: [thing.name for thing in picture.objects] or [name for name in (picture.label,) if name]
        for picture in corpus.pictures
    }
    questions: list[PopeQuestion] = []
    reasons: dict[str, str] = {}
    counted = statistics or ObjectStatistics.count(present.values())
    for how in sets:
        reason = obstacle(present, how, exhaustive=corpus.exhaustive_objects, statistics=counted)
        if reason:
            reasons[how] = reason
        else:
            questions += build_questions(present, how, exhaustive=True, k=k, statistics=counted, seed=seed)
    return questions, reasons


def fingerprint(questions: Sequence[PopeQuestion]) -> str:
    """A short hash of a question set, to print beside its scores; the order does not matter.

    Sets of 2,910 and of 3,000 questions have been published under one name (LLaVA issue 626).
    """
    rows = sorted(repr((q.picture_id, q.object, q.label, q.set)) for q in questions)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def labels_of(questions: Sequence[PopeQuestion]) -> NDArray[np.bool_]:
    """The truth of each question, ``[Q]``."""
    return np.asarray([q.label for q in questions], dtype=bool)


def read_answers(
    questions: Sequence[PopeQuestion],
    answers: Sequence[str] | Callable[[PopeQuestion], str],
    *,
    parse: Callable[[str], YesNo] | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[YesNo]:
    """Each answer as yes, no or abstain.

    Args:
        questions: what was asked.
        answers: one text a question, or what answers a question.
        parse: another rule; by default
            :func:`lucida.evaluation.answers.parse_yes_no`, told which object was asked for (never the truth).
        vocabulary: the ways in which a text may name each object; by default that of the objects asked for.
    """
    texts = [answers(question) for question in questions] if callable(answers) else list(answers)
    _same_length(questions, texts, "answers")
    if parse is not None:
        return [parse(text) for text in texts]
    known = vocabulary or (Vocabulary({q.object: None for q in questions}) if questions else None)
    forms = known.surfaces if known else {}
    return [parse_yes_no(t, about=forms.get(q.object, (q.object,))) for q, t in zip(questions, texts, strict=True)]


def _same_length(questions: Sequence[PopeQuestion], values: Sequence[object] | NDArray, what: str) -> None:
    if len(values) != len(questions):
        raise LucidaError(f"{len(values)} {what} for {len(questions)} questions", where="POPE")


def pope_metrics(
    questions: Sequence[PopeQuestion],
    answers: Sequence[str] | Callable[[PopeQuestion], str],
    *,
    scores: ArrayLike | None = None,
    parse: Callable[[str], YesNo] | None = None,
    vocabulary: Vocabulary | None = None,
    prefix: str = "pope",
) -> dict[str, Metric]:
    """Scores of the answers to each question set, ``{prefix}/{set}/{name}``.

    ``accuracy``, ``precision``, ``recall``, ``f1``, ``yes_ratio`` and ``abstain_ratio`` from the answers; with
    ``scores`` also those of :func:`score_metrics`. Precision is NaN for a model that never says yes.

    Args:
        questions: of one or several sets.
        answers: one text a question (any text, "yes" and "no" included), or what answers a question.
        scores: P(yes) of each question, ``[Q]``, in [0, 1].
        parse, vocabulary: see :func:`read_answers`.
        prefix: of the names, as in ``pope/second_artist``.

    Raises:
        LucidaError: not one answer or score a question, or a score that is no probability.
    """
    said = np.asarray(read_answers(questions, answers, parse=parse, vocabulary=vocabulary), dtype=object)
    p_yes = None if scores is None else _probabilities(questions, scores)
    of_set = np.asarray([q.set for q in questions], dtype=object)
    metrics: dict[str, Metric] = {}
    for how in dict.fromkeys(of_set):
        rows = np.flatnonzero(of_set == how).tolist()
        chosen = [questions[i] for i in rows]
        metrics |= _named(answer_shares(chosen, said[rows]), f"{prefix}/{how}")
        if p_yes is not None:
            metrics |= score_metrics(chosen, p_yes[rows], f"{prefix}/{how}", said=said[rows])
    return metrics


def _probabilities(questions: Sequence[PopeQuestion], scores: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(scores, dtype=float)
    _same_length(questions, p, "scores")
    if not ((p >= 0) & (p <= 1)).all():  # also catches NaN
        raise LucidaError("P(yes) must lie between 0 and 1", where=f"POPE score {int(np.argmin((p >= 0) & (p <= 1)))}")
    return p


def _named(metrics: Mapping[str, Metric], prefix: str) -> dict[str, Metric]:
    return {f"{prefix}/{name}": metric for name, metric in metrics.items()}


def answer_shares(questions: Sequence[PopeQuestion], said: NDArray) -> dict[str, Metric]:
    """``accuracy``, ``precision``, ``recall``, ``f1``, ``yes_ratio`` and ``abstain_ratio`` of answers.

    Args:
        questions: of one or several sets.
        said: "yes", "no" or "abstain" (which is wrong), ``[Q]``.
    """
    there, pictures = labels_of(questions), [q.picture_id for q in questions]
    yes, no = said == "yes", said == "no"
    hit = yes & there
    ratios: dict[str, tuple[NDArray, NDArray | None]] = {
        "accuracy": (hit | (no & ~there), None),
        "precision": (hit, yes),
        "recall": (hit, there),
        "f1": (2.0 * hit, yes.astype(float) + there),
        "yes_ratio": (yes, None),
        "abstain_ratio": (~yes & ~no, None),
    }
    return {name: share_by_cluster(h, t, pictures) for name, (h, t) in ratios.items()}


def score_metrics(
    questions: Sequence[PopeQuestion], p_yes: ArrayLike, prefix: str, *, said: NDArray | None = None
) -> dict[str, Metric]:
    """What P(yes) says, whatever the threshold.

    ``auroc``; ``accuracy_at_true_yes_ratio``: the accuracy when exactly as many questions are answered yes as should
    be, so that models of different readiness to say yes compare; ``calibration_error``; ``false_yes_confidence``: the
    mean P(yes) of the wrong yes answers (absent if there are none).

    Args:
        questions: of one set.
        p_yes: ``[Q]``.
        prefix: of the names.
        said: the answers as yes, no or abstain; by default yes where P(yes) > 0.5.
    """
    p, there, pictures = np.asarray(p_yes, dtype=float), labels_of(questions), [q.picture_id for q in questions]
    matched = _share_answered_yes(p, int(there.sum()))
    metrics = {
        f"{prefix}/auroc": auroc_by_cluster(p, there, pictures),
        f"{prefix}/accuracy_at_true_yes_ratio": share_by_cluster(np.where(there, matched, 1 - matched), None, pictures),
        f"{prefix}/calibration_error": calibration_error(p, there, pictures),
    }
    wrong = np.flatnonzero((p > 0.5 if said is None else said == "yes") & ~there)
    if len(wrong):
        metrics[f"{prefix}/false_yes_confidence"] = mean_by_cluster(p[wrong], [pictures[i] for i in wrong])
    return metrics


def _share_answered_yes(p: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """How much of a yes each question gets if the ``n`` highest scores do; equal scores at the border share evenly."""
    above = len(p) - stats.rankdata(p, method="max")  # how many score higher
    equal = stats.rankdata(p, method="max") - stats.rankdata(p, method="min") + 1
    return np.clip((n - above) / equal, 0.0, 1.0)


def baseline_metrics(questions: Sequence[PopeQuestion], *, prefix: str = "pope") -> dict[str, Metric]:
    """What needs no model: ``{prefix}/chance/accuracy`` (a coin) and ``{prefix}/majority/accuracy`` (always the more
    frequent answer)."""
    share = float(labels_of(questions).mean()) if questions else float("nan")
    n = len({q.picture_id for q in questions})
    return {
        f"{prefix}/chance/accuracy": Metric(0.5, None, n),
        f"{prefix}/majority/accuracy": Metric(max(share, 1 - share), None, n),
    }


def question_only_metrics(
    questions: Sequence[PopeQuestion],
    answers: Sequence[str] | Callable[[PopeQuestion], str],
    *,
    scores: ArrayLike | None = None,
    parse: Callable[[str], YesNo] | None = None,
    vocabulary: Vocabulary | None = None,
    prefix: str = "pope",
) -> dict[str, Metric]:
    """Scores of answers given without the picture (a blank one): ``{prefix}/question_only/{name}`` over all sets, and
    ``{prefix}/question_only/{set}/{name}`` for each.

    The names alone can give answers away: the popular set asks for the same few absent objects again and again.
    """
    said = read_answers(questions, answers, parse=parse, vocabulary=vocabulary)
    where = f"{prefix}/question_only"
    metrics = _named(answer_shares(questions, np.asarray(said, dtype=object)), where)
    if scores is not None:
        p_yes = _probabilities(questions, scores)
        metrics |= score_metrics(questions, p_yes, where, said=np.asarray(said, dtype=object))
    known: dict[str, YesNo] = {"yes": "yes", "no": "no"}
    return metrics | pope_metrics(
        questions, said, scores=scores, parse=lambda word: known.get(word, "abstain"), prefix=where
    )
