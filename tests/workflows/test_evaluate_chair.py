"""``lucida evaluate chair``: captions made elsewhere against COCO's annotations, by hand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lucida.cli import main
from lucida.evaluation.chair_files import read_caption_rows, read_truth

CATEGORIES = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "traffic light"}]
IMAGES = [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}, {"id": 7, "file_name": "b.jpg"}]
NOTES = [{"image_id": 42, "category_id": 1}, {"image_id": 42, "category_id": 3}, {"image_id": 7, "category_id": 2}]
CAPTIONS = [
    {"image_id": 42, "caption": "A puppy at a stoplight. A cat sleeps."},  # three mentions, one of them invented
    {"image_id": 7, "caption": "A cat."},
]


def write(path: Path, content: Any, *, lines: bool = False) -> str:
    text = "\n".join(json.dumps(row) for row in content) if lines else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def objects(tmp_path: Path) -> str:
    return write(tmp_path / "instances.json", {"images": IMAGES, "annotations": NOTES, "categories": CATEGORIES})


def scores(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    main(["evaluate", "chair", *words, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_scores_by_hand(objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = write(tmp_path / "c.jsonl", CAPTIONS, lines=True)
    found = scores(capsys, "--captions", captions, "--objects", objects)
    assert found["chair_i"] == pytest.approx(1 / 4)
    assert found["chair_s"] == 1 / 2
    assert found["recall"] == 1
    assert found["n"] == 2
    assert found["first_words"]["8"]["mean_words"] == pytest.approx((8 + 2) / 2)
    as_list = write(tmp_path / "c.json", CAPTIONS)
    assert scores(capsys, "--captions", as_list, "--objects", objects) == found
    main(["evaluate", "chair", "--captions", captions, "--objects", objects])
    assert "25.0 %" in capsys.readouterr().out


def test_the_policy_of_cut_off_sentences_is_a_choice(
    objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = [{"image_id": 42, "caption": "A dog. There is also a big cat over there by the light."}]
    words = ["--captions", write(tmp_path / "c.jsonl", long, lines=True), "--objects", objects]
    assert scores(capsys, *words)["first_words"]["8"]["chair_s"] == 1
    assert scores(capsys, *words, "--no-keep-unfinished")["first_words"]["8"]["chair_s"] == 0


@pytest.mark.parametrize(
    "name",
    [42, "42", "COCO_val2014_000000000042.jpg", "val/COCO_val2014_000000000042.jpg", "000000000042.jpg"],
)
def test_a_picture_is_found_under_its_names(name: int | str, objects: str, tmp_path: Path) -> None:
    rows = read_caption_rows(Path(write(tmp_path / "c.json", [{"image": name, "text": ""}])))
    assert read_truth(Path(objects)).of(rows[0]) == {"dog", "traffic light"}


def test_what_people_named_is_there(objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = [{"image_id": 42, "caption": "A kitten under the lights"}]
    references = write(tmp_path / "r.json", {"images": IMAGES, "annotations": notes})
    captions = write(tmp_path / "c.jsonl", CAPTIONS, lines=True)
    found = scores(capsys, "--captions", captions, "--objects", objects, "--references", references)
    assert found["chair_i"] == 0


def test_a_vocabulary_of_ones_own(objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tmp_path / "words.txt"
    words.write_text("hound: dog, puppy\n")
    captions = write(tmp_path / "c.jsonl", CAPTIONS, lines=True)
    found = scores(capsys, "--captions", captions, "--objects", objects, "--vocabulary", str(words))
    assert found["chair_i"] == 0
    assert found["mean_objects"] == 0.5


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"caption": "a dog"}], "a caption without a picture"),
        ([{"image_id": 42}], "a picture without a caption"),
        ([{"image_id": 42, "caption": None}], "a picture without a caption"),
        ([{"image_id": 43, "caption": "a dog"}], "there is no picture '43' among the 2 annotated ones"),
        ([{"image": "cat_7.jpg", "caption": "a dog"}], "there is no picture"),
        ([], "no captions in the file"),
        ([3], "not a JSON object"),
    ],
)
def test_bad_captions_are_one_line(
    rows: list[Any], said: str, objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = write(tmp_path / "c.jsonl", rows, lines=True)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "chair", "--captions", captions, "--objects", objects, "--json"])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_files_that_are_missing_or_of_another_form(
    objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = write(tmp_path / "c.jsonl", CAPTIONS, lines=True)
    for words, said in (
        ([], "no captions were named"),
        (["--captions", captions], "no objects were named"),
        (["--captions", captions, "--objects", captions], "cannot read the annotations"),
        (["--captions", captions, "--objects", write(tmp_path / "o.json", {"images": []})], "not COCO's"),
        (["--captions", captions, "--objects", str(tmp_path / "nowhere")], "no such file of annotations"),
    ):
        with pytest.raises(SystemExit):
            main(["evaluate", "chair", *words])
        assert said in capsys.readouterr().err
