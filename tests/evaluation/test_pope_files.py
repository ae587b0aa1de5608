"""POPE's files: rows find each other by number, and what does not fit together is refused in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lucida.core.errors import LucidaError
from lucida.evaluation.pope_files import PARSERS, QuestionRow, read_answer_rows, read_questions, score_answers

QUESTIONS = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there a traffic light in the image?", "label": "no"},
    {"question_id": 3, "image": "b.jpg", "text": "Is there a bus in the image?", "label": "yes"},
    {"question_id": 4, "image": "b.jpg", "text": "Is there an apple in the image?", "label": "no"},
]
ANSWERS = [{"question_id": i, "answer": a} for i, a in ((1, "Yes."), (2, "No"), (3, "cannot tell"), (4, "Nope"))]


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def changed(rows: Sequence[dict[str, Any]], at: int, **values: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in (row | values if i == at else row).items() if v is not ...} for i, row in enumerate(rows)]


def test_answers_in_any_order_and_under_either_name(tmp_path: Path) -> None:
    questions = read_questions(lines(tmp_path / "q.jsonl", QUESTIONS))
    expected = [row["answer"] for row in ANSWERS]
    assert read_answer_rows(lines(tmp_path / "a.jsonl", ANSWERS[::-1]), questions) == expected
    as_text = [{"question_id": str(row["question_id"]), "text": row["answer"]} for row in ANSWERS]
    assert read_answer_rows(lines(tmp_path / "t.jsonl", ["", *as_text]), questions) == expected


def test_scores_by_hand(tmp_path: Path) -> None:
    questions = read_questions(lines(tmp_path / "q.jsonl", QUESTIONS))
    found = score_answers(questions, [row["answer"] for row in ANSWERS])
    values = {name: metric.value for name, metric in found.metrics.items()}
    assert values == {"accuracy": 0.75, "precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "yes_ratio": 0.25,
                      "abstain_ratio": 0.25}  # fmt: skip
    assert found.n == 4
    assert found.sets == {}
    for parser in PARSERS:
        assert score_answers(questions, ["yes"] * 4, parser).metrics["accuracy"].value == 0.5
    silent = score_answers(questions, ["no"] * 4, "pope").metrics
    assert math.isnan(silent["precision"].value)


def test_a_label_that_a_script_would_misread_is_refused_there(tmp_path: Path) -> None:
    questions = read_questions(lines(tmp_path / "q.jsonl", changed(QUESTIONS, 1, label="No")))
    for parser in ("lucida", "vcd", "lmms-eval"):
        assert score_answers(questions, ["yes", "no", "yes", "no"], parser).metrics["accuracy"].value == 1
    for parser in ("pope", "llava", "opera"):
        with pytest.raises(LucidaError, match="takes the label 'No' for yes"):
            score_answers(questions, ["yes"] * 4, parser)


def test_sets_are_scored_together_and_apart(tmp_path: Path) -> None:
    rows = [row | {"category": "random" if i < 2 else "popular"} for i, row in enumerate(QUESTIONS)]
    found = score_answers(read_questions(lines(tmp_path / "q.jsonl", rows)), ["yes", "no", "no", "no"])
    assert found.metrics["accuracy"].value == 0.75
    assert {name: metrics["accuracy"].value for name, metrics in found.sets.items()} == {"random": 1, "popular": 0.5}


@pytest.mark.parametrize(
    ("text", "object"),
    [
        ("Is there a traffic light in the image?", "traffic light"), ("is there an apple in the picture?", "apple"),
        ("Is there a bus in the image?", "bus"), ("Are there any skis in this photo?", "skis"), ("What is it?", ""),
    ],
)  # fmt: skip
def test_what_is_asked_for(text: str, object: str) -> None:
    assert QuestionRow("1", "a.jpg", text, "yes", "").object == object


def test_an_answer_about_something_else_abstains() -> None:
    rows = [QuestionRow("1", "a.jpg", "Is there a dog in the image?", "yes", "")]
    assert score_answers(rows, ["There is a cat."]).metrics["abstain_ratio"].value == 1
    assert score_answers(rows, ["There is a puppy."]).metrics["yes_ratio"].value == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (changed(QUESTIONS, 1, image=...), "without a picture"),
        (changed(QUESTIONS, 1, image=" "), "without a picture"),
        (changed(QUESTIONS, 1, text=...), "without a text"),
        (changed(QUESTIONS, 1, label=...), "without a label"),
        (changed(QUESTIONS, 1, label="maybe"), "neither yes nor no"),
        (changed(QUESTIONS, 1, question_id=...), "no question_id"),
        (changed(QUESTIONS, 1, question_id=1), "question_id 1 stands there twice"),
        (changed(QUESTIONS, 1, text=QUESTIONS[0]["text"]), "the other label"),
        ([], "no questions in the file"),
        (["[1]"], "not a JSON object"),
        (["{"], "not a JSON object"),
    ],
)
def test_questions_that_cannot_be_scored(rows: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match=said):
        read_questions(lines(tmp_path / "q.jsonl", rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (changed(ANSWERS, 2, question_id=9), "no question 9"),
        (changed(ANSWERS, 2, question_id=1), "question_id 1 is answered twice"),
        (ANSWERS[:2], "2 of 4 questions have no answer, the first is question_id 3"),
        (changed(ANSWERS, 2, answer=...), "no answer"),
        (changed(ANSWERS, 2, answer=None), "no answer"),
        (changed(ANSWERS, 2, answer=1), "is no text"),
        (QUESTIONS, "the answer is the question itself"),
        (changed(ANSWERS, 2, image="c.jpg"), "is about b.jpg, not c.jpg"),
        (changed(ANSWERS, 2, question="Is there a cat in the image?"), "another question set"),
        (changed(ANSWERS, 2, prompt="Is there a cat in the image?"), "another question set"),
    ],
)
def test_answers_that_do_not_fit(rows: list[Any], said: str, tmp_path: Path) -> None:
    questions = read_questions(lines(tmp_path / "q.jsonl", QUESTIONS))
    with pytest.raises(LucidaError, match=said):
        read_answer_rows(lines(tmp_path / "a.jsonl", rows), questions)


def test_a_prompt_may_say_more_than_the_question(tmp_path: Path) -> None:
    questions = read_questions(lines(tmp_path / "q.jsonl", QUESTIONS))
    more = [row | {"prompt": f"{q['text']}\nAnswer with one word.", "image": f"val2014/{q['image']}"}
            for row, q in zip(ANSWERS, QUESTIONS, strict=True)]  # fmt: skip
    assert len(read_answer_rows(lines(tmp_path / "a.jsonl", more), questions)) == 4


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match="no such file of questions"):
        read_questions(tmp_path / "q.jsonl")
