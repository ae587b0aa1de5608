"""POPE's files: questions and answers as JSON lines, made here or elsewhere, and what they score.

A row of questions has ``question_id``, ``image``, ``text`` and ``label`` ("yes" or "no"), perhaps a ``category`` (the
question set); one of answers has ``question_id`` and ``answer`` or ``text``. Answers find their questions by number, in
any order. What does not fit together is refused: a score of the wrong pairs looks like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.answers import parse_yes_no
from lucida.evaluation.json_lines import json_rows
from lucida.evaluation.peer_scripts import EXACT_LABELS, PEER_METRICS, PEER_SCRIPTS
from lucida.evaluation.pope import PopeQuestion, answer_shares, fingerprint
from lucida.evaluation.vocabulary import Vocabulary

OURS: Literal["lucida"] = "lucida"
PARSERS = (OURS, *PEER_SCRIPTS)
_ASKED_FOR = re.compile(
    r"\b(?:is|are) there (?:(?:any|an?|the|some)\s+)?(.+?)(?:\s+(?:in|on|visible|present)\b|\s*[?.]|$)", re.IGNORECASE
)
_WORDING = ("prompt", "question")  # where a row of answers may repeat what was asked


@dataclass(frozen=True)
class QuestionRow:
    """A row of a file of questions.

    Attributes:
        id: its number, as text.
        image: the picture's name.
        text: the question.
        label: the truth, as it stands in the file.
        set: the question set; "" where the file names none.
    """

    id: str
    image: str
    text: str
    label: str
    set: str

    @property
    def object(self) -> str:
        """What is asked for; "" where the question is of another form.

        >>> QuestionRow("1", "a.jpg", "Is there a traffic light in the image?", "yes", "").object
        'traffic light'
        """
        found = _ASKED_FOR.search(self.text)
        return found.group(1).lower() if found else ""

    def question(self) -> PopeQuestion:
        """As one of :mod:`lucida.evaluation.pope`."""
        return PopeQuestion(self.image, self.object or self.text, self.label.lower().strip() == "yes", self.set)


@dataclass(frozen=True)
class FileScores:
    """What a file of answers scores.

    Attributes:
        parser: that read them.
        metrics: over all questions, by name (:data:`~lucida.evaluation.peer_scripts.PEER_METRICS`).
        sets: the same of each question set, where the file names several.
        n: questions.
        question_set: a hash of the questions, see :func:`~lucida.evaluation.pope.fingerprint`.
    """

    parser: str
    metrics: Mapping[str, Metric]
    sets: Mapping[str, Mapping[str, Metric]]
    n: int
    question_set: str


def read_questions(path: Path) -> list[QuestionRow]:
    """The questions of a file.

    Raises:
        LucidaError: the file is missing, empty or no JSON lines; a question has no number, picture, text or label, its
            number stands there twice, or the same question about the same picture has two truths.
    """
    rows: dict[str, QuestionRow] = {}
    truths: dict[tuple[str, str], tuple[str, str]] = {}
    for where, row in json_rows(path, "questions"):
        id = _id(row, where)
        if id in rows:
            remedy = "several question sets in one file need numbers of their own; score each file apart"
            raise LucidaError(f"question_id {id} stands there twice", where=where, remedy=remedy)
        image, text, label = (_text(row, key, what, where) for key, what in _QUESTION)
        if label.lower().strip() not in ("yes", "no"):
            raise LucidaError(f"the label {label!r} is neither yes nor no", where=where)
        first = truths.setdefault((image, text), (label.lower().strip(), where))
        if first[0] != label.lower().strip():
            raise LucidaError(f"the same question about {image} has the other label at {first[1]}", where=where)
        rows[id] = QuestionRow(id, image, text, label, str(row.get("category") or row.get("set") or ""))
    return list(rows.values())


_QUESTION = (("image", "a picture"), ("text", "a text"), ("label", "a label"))


def read_answer_rows(path: Path, questions: Sequence[QuestionRow]) -> list[str]:
    """The answers of a file, in the order of the questions.

    Raises:
        LucidaError: the file is missing, empty or no JSON lines; an answer has no number or text, its number stands
            there twice, is none of the questions', or comes with another question or picture; a question has no answer.
    """
    known, answers = {row.id: row for row in questions}, dict[str, str]()
    for where, row in json_rows(path, "answers"):
        id = _id(row, where)
        if id in answers:
            raise LucidaError(f"question_id {id} is answered twice", where=where)
        if id not in known:
            remedy = "are these the answers to another question set?"
            raise LucidaError(f"there is no question {id} among the {len(known):,}", where=where, remedy=remedy)
        _same_question(row, known[id], where)
        said = row.get("answer", row.get("text"))
        if not isinstance(said, str):
            raise LucidaError("no answer" if said is None else f"the answer {said!r} is no text", where=where)
        if _plain(said) == _plain(known[id].text):
            raise LucidaError("the answer is the question itself", where=where, remedy="give rows with answers")
        answers[id] = said
    missing = [row.id for row in questions if row.id not in answers]
    if missing:
        what = f"{len(missing):,} of {len(questions):,} questions have no answer, the first is question_id {missing[0]}"
        raise LucidaError(what, where=path, remedy='answer every question; an empty answer is ""')
    return [answers[row.id] for row in questions]


def _same_question(row: Mapping[str, Any], question: QuestionRow, where: str) -> None:
    """An answer that repeats its question or names its picture must mean this one."""
    asked = next((row[key] for key in _WORDING if isinstance(row.get(key), str)), None)
    if asked is not None and _plain(question.text) not in _plain(asked):
        what = f"question_id {question.id} is {question.text!r} there, but answers {asked!r} here"
        raise LucidaError(what, where=where, remedy="are these the answers to another question set?")
    image = row.get("image")
    if isinstance(image, str) and image and Path(image).name != Path(question.image).name:
        raise LucidaError(f"question_id {question.id} is about {question.image}, not {image}", where=where)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def score_answers(questions: Sequence[QuestionRow], answers: Sequence[str], parser: str = OURS) -> FileScores:
    """Scores of answers to questions, one each.

    Args:
        questions: of one or several sets.
        answers: in their order.
        parser: one of :data:`PARSERS`. Ours counts what is neither yes nor no as an abstention, which is wrong, and has
            intervals that know which questions share a picture; the others are their scripts.

    Raises:
        LucidaError: there is no such parser, no question, or a label whose spelling the script would misread.
    """
    if parser not in PARSERS:
        raise LucidaError(f"there is no parser {parser!r}", remedy=f"use one of {', '.join(PARSERS)}")
    if not questions:
        raise LucidaError("no questions", where="POPE")
    odd = next((row for row in questions if row.label not in ("yes", "no")), None)
    if odd is not None and parser in EXACT_LABELS:
        what = f"the {parser} script takes the label {odd.label!r} for yes"
        raise LucidaError(what, where=f"question_id {odd.id}", remedy="write labels as yes and no, in small letters")
    names = list(dict.fromkeys(row.set for row in questions))
    sets = {}
    for name in names if len(names) > 1 else ():
        chosen = [i for i, row in enumerate(questions) if row.set == name]
        sets[name or "(no category)"] = _scored([questions[i] for i in chosen], [answers[i] for i in chosen], parser)
    asked = [row.question() for row in questions]
    return FileScores(parser, _scored(questions, answers, parser), sets, len(questions), fingerprint(asked))


def _scored(questions: Sequence[QuestionRow], answers: Sequence[str], parser: str) -> dict[str, Metric]:
    if parser in PEER_SCRIPTS:
        found = PEER_SCRIPTS[parser](answers, [row.label for row in questions])
        return {name: Metric(found[name], None, len(questions)) for name in PEER_METRICS}
    objects = {row.object: None for row in questions if row.object}
    forms = Vocabulary(objects).surfaces if objects else {}
    pairs = zip(questions, answers, strict=True)
    said = [parse_yes_no(answer, about=forms[row.object] if row.object else None) for row, answer in pairs]
    return answer_shares([row.question() for row in questions], np.asarray(said, dtype=object))


def _id(row: Mapping[str, Any], where: str) -> str:
    id = row.get("question_id")
    if isinstance(id, bool) or not isinstance(id, int | str) or id == "":
        raise LucidaError("no question_id" if id is None else f"the question_id {id!r} is no number", where=where)
    return str(id)


def _text(row: Mapping[str, Any], key: str, what: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise LucidaError(f"a question without {what} ({key!r})", where=where)
    return value
