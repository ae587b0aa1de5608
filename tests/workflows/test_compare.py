"""``lucida compare``: what got worse is told from noise, and from what merely differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lucida.cli import main
from lucida.core.results import write_json
from lucida.workflows.compare import compare

PICTURES = 60


def audited(
    folder: Path, *, right: Callable[[int], bool], invented: Callable[[int], int], questions: str = "q"
) -> Path:
    """An audit of two questions and one caption a picture, right by number of the question."""
    folder.mkdir()
    write_json(folder / "results.json", {"metrics": {}, "details": {"question_set": questions}})
    asked, answered, captions, twins = [], [], [], []
    for i in range(2 * PICTURES):
        label, other = ("yes", "no") if i % 2 else ("no", "yes")
        own = {"question_id": i, "image": f"{i // 2}.png"}
        asked.append(own | {"text": "?", "label": label, "category": "random"})
        answered.append(own | {"answer": "", "read": label if right(i) else other, "p_yes": 0.5})
    for i in range(PICTURES):
        names = {"mentioned": ["dog"] * 4, "hallucinated": ["dog"] * invented(i), "present": ["cat"]}
        captions.append({"image": f"{i}.png", "caption": "", **names})
        twins.append({"image": f"{i}.png", "object": "cat", "said": ["yes", "no" if right(i) else "yes", "yes"]})
    for name, rows in (("questions", asked), ("answers", answered), ("captions", captions), ("twins", twins)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return audited(tmp_path / "first", right=lambda i: i % 5 > 0, invented=lambda i: i % 2)


def test_the_same_is_no_worse(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", str(first), str(first)])
    assert "nothing got worse" in capsys.readouterr().out


def test_a_regression_ends_with_an_error(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = audited(tmp_path / "second", right=lambda i: i % 2 > 0, invented=lambda i: 2 + i % 2)
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(first), str(second), "--json"])
    assert stop.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert {"pope/random/accuracy", "pope/random/false_yes_ratio", "chair/chair_i", "chair/chair_s"} <= {
        *found["regressions"]
    }
    measured = found["measures"]["pope/random/accuracy"]
    assert (measured["first"], measured["second"]) == (pytest.approx(0.8), 0.5)
    assert measured["difference"] == pytest.approx(-0.3)
    assert found["measures"]["chair/chair_i"]["difference"] == pytest.approx(0.5)
    assert not found["measures"]["pope/random/yes_ratio"]["regression"]  # more yes is neither better nor worse
    with pytest.raises(SystemExit):
        main(["compare", str(first), str(second)])
    assert "WORSE" in capsys.readouterr().out
    main(["compare", str(second), str(first)])  # the other way round it is better


def test_noise_and_what_lies_within_the_margin_are_none(first: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    noisy = generator.random(2 * PICTURES) > 0.23
    second = audited(tmp_path / "noisy", right=lambda i: bool(noisy[i]), invented=lambda i: i % 2)
    assert "pope/random/accuracy" not in [row.name for row in compare(first, second, margin=0.0).regressions]
    worse = audited(tmp_path / "worse", right=lambda i: i % 3 > 0, invented=lambda i: i % 2)
    assert not compare(first, worse, margin=0.2).regressions


def test_what_was_put_in_is_held_apart_from_what_was_taken_out(first: Path, tmp_path: Path) -> None:
    second = audited(tmp_path / "second", right=lambda i: i % 5 > 0, invented=lambda i: i % 2)
    for folder, seen in ((first, "yes"), (second, "no")):
        rows = [json.loads(line) for line in (folder / "twins.jsonl").read_text().splitlines()]
        rows += [row | {"edit": "put in", "said": ["no", seen, "no"]} for row in rows]
        (folder / "twins.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))  # the first name no edit
    found = {row.name: row for row in compare(first, second).rows}
    assert found["twins/flip_rate"].difference.value == 0
    pasted = found["twins/pasted/flip_rate"]
    assert (pasted.first, pasted.second, pasted.regressed(0.02)) == (1, 0, True)
    assert found["twins/pasted/control_flip_rate"].second == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["first"], "needs two audits"),
        (["first", "nowhere"], "nowhere"),
        (["first", "other"], "the questions differ"),
        (["first", "first", "--margin", "wide"], "is no share"),
        (["first", "first", "--margin", "-1"], "margin cannot be"),
        (["first", "first", "--strict"], "needs two audits"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audited(tmp_path / "other", right=bool, invented=lambda i: 0, questions="others")
    paths = {name: str(tmp_path / name) for name in ("first", "other", "nowhere")}
    with pytest.raises(SystemExit) as stop:
        main(["compare", *(paths.get(word, word) for word in words)])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
