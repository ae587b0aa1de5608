"""``lucida audit``: anyone's model on anyone's pictures, and the files that are scored again without it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lucida.cli import main
from lucida.core.results import Results
from lucida.workflows import audit as audit_module
from lucida.workflows.audit import AuditConfig, audit
from lucida.workflows.compare import compare
from lucida.workflows.subjects import load_subject
from tests.workflows.test_adapt import save_model

KNOWN = ("red", "blue")
NAMES = {1: "dog", 2: "cat", 3: "bird", 4: "traffic light"}


def coco(folder: Path, n: int = 8) -> Path:
    """Pictures of 64 x 48 with one or two objects."""
    generator, images, notes = np.random.default_rng(0), [], []
    for i in range(n):
        pixels = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
        for k in {1 + i % 3, 4 if i % 2 else 1 + i % 3}:
            box = [4 + 20 * (k == 4), 6, 16, 14]
            notes.append({"id": len(notes), "image_id": i, "category_id": k, "bbox": box, "iscrowd": 0})
    categories = [{"id": k, "name": name} for k, name in NAMES.items()]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module", params=["llava", "smolvlm"])
def done(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    model = save_model(request.param, folder / "model")
    config = AuditConfig(pictures, out=folder / "run", k=1, answer_tokens=3, caption_tokens=6)
    with pytest.MonkeyPatch.context() as patch:  # two words that the tiny tokenizer knows
        patch.setattr(audit_module, "load_subject", lambda *a, **o: replace(load_subject(*a, **o), yes_no=KNOWN))
        assert audit(str(model), config) == folder / "run" / "report.html"
    return folder / "run"


def test_everything_is_measured(done: Path) -> None:
    found = Results.load(done / "results.json")
    values = {name: metric.value for name, metric in found.metrics.items()}
    for name in (
        "pope/random/accuracy", "pope/adversarial/auroc", "pope/popular/abstain_ratio", "pope/random/calibration_error",
        "pope/question_only/accuracy", "blind/gap", "chair/chair_i", "chair/first_8_words/recall", "twins/recall",
        "twins/flip_rate", "twins/drop", "twins/pasted/no_ratio", "twins/pasted/flip_rate", "twins/pasted/rise",
        "pope/close_calls",
    ):  # fmt: skip
        assert name in values, name
    assert values["pope/chance/accuracy"] == values["pope/majority/accuracy"] == 0.5  # balanced
    assert found.metrics["twins/recall"].n == 8
    report = (done / "report.html").read_text(encoding="utf-8")
    assert "Taking an object out" in report
    assert "Putting an object into" in report
    rows = [json.loads(line) for line in (done / "twins.jsonl").read_text(encoding="utf-8").splitlines()]
    edits = [row["edit"] for row in rows]
    assert edits == ["taken out"] * 8 + ["put in"] * found.metrics["twins/pasted/no_ratio"].n
    assert compare(done, done).rows[-1].name == "twins/pasted/control_flip_rate"


def test_its_files_score_the_same_without_the_model(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--questions", str(done / "questions.jsonl"), "--answers", str(done / "answers.jsonl")]
    main(["evaluate", "pope", *files, "--json"])
    found, recorded = json.loads(capsys.readouterr().out), Results.load(done / "results.json").metrics
    for how in ("random", "popular", "adversarial"):
        for name in ("accuracy", "yes_ratio", "abstain_ratio"):
            assert found["sets"][how][name] == pytest.approx(recorded[f"pope/{how}/{name}"].value), (how, name)


def test_a_vocabulary_of_ones_own(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_model("llava", tmp_path / "model")
    words = tmp_path / "words.txt"
    words.write_text("hound: dog\ncat\n\nowl: bird\n")
    options = ["--vocabulary", str(words), "--k", "1", "--answer-tokens", "2", "--captions", "0", "--twins", "0"]
    main(["audit", str(model), "--pictures", str(pictures), "--out", str(tmp_path / "run"), *options])
    assert "report:" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "run" / "questions.jsonl").read_text().splitlines()]
    asked = {row["text"] for row in rows}
    assert "Is there a hound in the image?" in asked
    assert not any("traffic" in text or "dog" in text for text in asked)
    assert "chair/chair_i" not in Results.load(tmp_path / "run" / "results.json").metrics


def test_what_the_pictures_do_not_support_is_left_out_with_the_reason(tmp_path: Path) -> None:
    path = coco(tmp_path, 3)
    content = json.loads(path.read_text())
    for note in content["annotations"]:  # one kind, in every picture and all over it: nothing is absent
        note |= {"category_id": 1, "bbox": [0, 0, 64, 48]}
    path.write_text(json.dumps(content | {"categories": content["categories"][:1]}))
    model = save_model("llava", tmp_path / "model")
    audit(str(model), AuditConfig(path, out=tmp_path / "run", captions=0))
    found = Results.load(tmp_path / "run" / "results.json")
    assert {"pope/random", "pope/popular", "pope/adversarial", "blind", "chair", "twins", "twins/pasted"} <= {
        *found.left_out
    }
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_tokenizer_that_tells_yes_from_no_by_nothing_has_no_scores(pictures: Path, tmp_path: Path) -> None:
    model = save_model("llava", tmp_path / "model")
    with pytest.MonkeyPatch.context() as patch:
        same = ("Yes", "Yes")
        patch.setattr(audit_module, "load_subject", lambda *a, **o: replace(load_subject(*a, **o), yes_no=same))
        audit(str(model), AuditConfig(pictures, out=tmp_path / "run", k=1, answer_tokens=2, captions=0))
    found = Results.load(tmp_path / "run" / "results.json")
    assert "the same tokens" in found.left_out["pope/scores"]
    assert "pope/random/accuracy" in found.metrics
    assert "pope/random/auroc" not in found.metrics
    assert "twins/drop" not in found.metrics


def test_bad_input_is_one_line(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    for name in ("cats", "dogs"):  # labels are no lists of objects
        (tmp_path / "folder" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "folder" / name / "a.png")
    cases: list[tuple[list[Any], str]] = [
        ([], "no pictures were named"),
        (["--pictures", pictures, "--vocabulary", empty], "the vocabulary is empty"),
        (["--pictures", pictures, "--vocabulary", tmp_path / "nowhere.txt"], "cannot read the vocabulary"),
        (["--pictures", tmp_path / "nowhere.json"], "nowhere.json"),
        (["--pictures", tmp_path / "folder"], "not complete"),
        (["--pictures", pictures, "--k", "0"], "k cannot be 0"),
        (["--pictures", pictures, "--exists", "Is it there?"], "no place for the object"),
        (["--pictures", pictures], "there is no such folder"),
    ]
    for options, said in cases:
        with pytest.raises(SystemExit) as stop:
            main(["audit", str(tmp_path / "model"), *map(str, options), "--out", str(tmp_path / "run")])
        assert stop.value.code == 2
        err = capsys.readouterr().err.strip().splitlines()[-1]
        assert said in err, (said, err)
        assert not (tmp_path / "run").exists()
