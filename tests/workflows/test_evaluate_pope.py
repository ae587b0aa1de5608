"""``lucida evaluate pope``: one JSON object alone, a table for people, one line for what cannot be scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from lucida.cli import main
from lucida.evaluation.peer_scripts import PEER_METRICS
from lucida.evaluation.pope_files import PARSERS
from lucida.workflows.evaluate_pope import Parser


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    asked = [("dog", "yes", "random"), ("cat", "no", "random"), ("cow", "no", "popular"), ("hen", "yes", "popular")]
    said = ["There is one.", "Nope", "", "yes"]
    questions = [
        {
            "question_id": i,
            "image": f"{i}.jpg",
            "text": f"Is there a {name} in the image?",
            "label": label,
            "category": c,
        }
        for i, (name, label, c) in enumerate(asked)
    ]
    answers = [{"question_id": i, "text": text} for i, text in enumerate(said)]
    paths = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    for path, rows in zip(paths, (questions, answers), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ["evaluate", "pope", "--questions", str(paths[0]), "--answers", str(paths[1])]


def test_json_stands_alone(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main([*files, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {*PEER_METRICS, "n"} <= {*found}
    assert (found["accuracy"], found["abstain_ratio"], found["yes_ratio"], found["n"]) == (0.75, 0.25, 0.5, 4)
    assert found["sets"]["random"]["accuracy"] == 1
    main([*files, "--json", "--parser", "pope"])
    assert json.loads(capsys.readouterr().out)["yes_ratio"] == 1


def test_a_table_for_people(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(files)
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert "random" in said
    assert "4 questions" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--answers", "nowhere.jsonl"], "no such file of answers"),
        (["--parser", "mine"], "--parser"),
        (["--parsers", "pope"], "did you mean --parser?"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    change: list[str], said: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*files, *change])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_files_that_are_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "pope"])
    assert "no questions were named" in capsys.readouterr().err


def test_the_command_knows_every_parser() -> None:
    assert get_args(Parser) == PARSERS
