"""The whole life on pictures that a user brings: with captions, with labels, with boxes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from transformers import BertConfig, BertModel, Qwen2Config, Qwen2ForCausalLM, ViTConfig, ViTModel

from lucida.cli import main
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.tokenization import train_tokenizer

COLOURS = ("red", "green", "blue", "yellow")


def run(pictures: Path, out: Path, *more: str) -> RunFolder:
    main(["run", "--recipe", "tiny", "--pictures", str(pictures), "--out", str(out), *more])
    return RunFolder(out)


def check(folder: RunFolder) -> Results:
    """A report that speaks of these pictures alone."""
    page = folder.report.read_text(encoding="utf-8").lower()
    assert len(page) > 20_000
    assert "emoji" not in page
    prose = re.sub("<pre.*?</pre>", "", page, flags=re.DOTALL)  # the recorded settings name what else a run could do
    for word in ("artist", "artwork", "scene"):
        assert word not in prose, prose[max(0, prose.find(word) - 80) : prose.find(word) + 80]
    return Results.load(folder.results)


def shown_folder(path: Path, n: int = 48) -> Path:
    """Squares and discs of four colours with captions, and files that are no pictures."""
    path.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for i in range(n):
        image, colour = Image.new("RGB", (90, 60), "white"), COLOURS[i % 4]
        x, y = generator.integers(5, 25, size=2).tolist()
        draw = ImageDraw.Draw(image)
        (draw.rectangle if i % 2 else draw.ellipse)((x, y, x + 25, y + 25), fill=colour)
        image.save(path / f"{i}.png")
        rows.append((f"{i}.png", f"a {colour} {'square' if i % 2 else 'disc'} on white"))
    (path / "text.png").write_text("no picture at all")
    (path / "empty.jpg").write_bytes(b"")
    rows += [("text.png", "a text"), ("empty.jpg", "nothing")]
    with (path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])
    return path


def test_a_folder_with_captions(tmp_path):
    results = check(folder := run(shown_folder(tmp_path / "shown"), tmp_path / "run"))
    assert results.metrics["retrieval/test/text_to_image/recall_at_1"].n > 1
    assert {"zero_shot", "pope/random", "chair", "count"} <= set(results.left_out)
    skipped = [json.loads(line) for line in folder.skipped.read_text().splitlines()]
    assert sorted(Path(row["where"]).name for row in skipped) == ["empty.jpg", "text.png"]
    page = folder.report.read_text(encoding="utf-8")
    assert "Writing captions" in page
    assert "text.png" in page


def test_a_sample_of_labelled_pictures(tmp_path):
    folder = tmp_path / "classes"
    for colour in COLOURS[:3]:
        (folder / f"very_{colour}").mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (40, 40), colour).save(folder / f"very_{colour}" / f"{i}.png")
    results = check(made := run(folder, tmp_path / "run", "--max-pictures", "45"))
    assert results.metrics["zero_shot/test/top1"].n == results.metrics["zero_shot/test/frozen_start_top1"].n > 2
    assert {"pope/adversarial", "retrieval", "chair"} <= set(results.left_out)
    assert "pope/random/accuracy" in results.metrics
    assert "classify/accuracy" in results.metrics
    page = made.report.read_text(encoding="utf-8")
    assert "45 of 60 pictures were sampled" in page
    assert "very red" in page


def test_photographs_with_boxes(shared_data, tmp_path):
    results = check(run(shared_data / "coco_boxes" / "instances.json", tmp_path / "run"))
    for name in ("pope/random/accuracy", "pope/adversarial/auroc", "chair/chair_s", "count/accuracy", "blind/gap"):
        assert results.metrics[name].n, name
    assert "zero_shot" in results.left_out


def test_photographs_in_parquet(shared_data, tmp_path):
    results = check(run(shared_data / "cifar10" / "train.parquet", tmp_path / "run", "--max-pictures", "120"))
    assert results.metrics["zero_shot/test/chance_top1"].value == pytest.approx(0.1)


def table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A folder whose metadata tells a caption, a label, or both of each picture."""
    path.mkdir()
    for i, row in enumerate(rows):
        Image.new("RGB", (40, 40), COLOURS[i % 4]).save(path / row[0])
    with (path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "caption", "label"), *rows])
    return path


def test_pictures_of_which_different_things_are_known(tmp_path):
    rows = [(f"{i}.png", f"number {i}", COLOURS[i % 4] if i % 3 else "") for i in range(45)]
    results = check(run(table(tmp_path / "mixed", rows), tmp_path / "run"))
    assert "pope/random/accuracy" in results.metrics
    assert "retrieval/test/text_to_image/recall_at_1" in results.metrics


def test_names_that_read_alike_or_have_no_letters(tmp_path):
    names = ("dog", "Dog", "C++", "C#", "दिन", "ガラス", "_", "<image>")
    rows = [(f"{i}.png", "", names[i % len(names)]) for i in range(48)]
    results = check(run(table(tmp_path / "odd", rows), tmp_path / "run"))
    assert "pope/random/accuracy" in results.metrics


def test_ten_pictures_of_one_kind_and_few_boxes(tmp_path):
    folder = tmp_path / "coco"
    folder.mkdir()
    images, annotations = [], []
    for i in range(10):
        Image.new("RGB", (60, 40), COLOURS[i % 4]).save(folder / f"{i}.jpg")
        images.append({"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 40})
        if i != 3:  # one picture shows nothing of the vocabulary
            annotations.append(
                {"id": i, "image_id": i, "category_id": 1 + (i == 5), "bbox": [5, 5, 20, 20], "iscrowd": 0}
            )
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "_"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    results = check(run(folder / "instances.json", tmp_path / "run", "--language.captions", "2"))
    assert "blind" in results.left_out


def test_a_folder_goes_on_with_the_same_settings_and_pictures_alone(tmp_path, capsys):
    shown = shown_folder(tmp_path / "shown", 24)
    folder = run(shown, tmp_path / "run")
    before = folder.config.read_bytes()
    Image.new("RGB", (50, 50), "red").save(shown / "0.png")
    for more, message in (
        (["--split-seed", "1"], "split_seed = 0, not 1"),
        (["--encoder.image-size", "64"], "encoder.image_size = 32, not 64"),
        ([], "on other pictures"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(shown, tmp_path / "run", *more)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
        assert folder.config.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "no picture"),
        (lambda path: path.with_suffix(".csv").write_text("name,words\na.png,a dog\n"), "column"),
        (lambda path: _bare(path), "caption"),
    ],
    ids=["empty folder", "missing column", "nothing known"],
)
def test_pictures_that_will_not_do_are_one_line_and_leave_nothing(tmp_path, capsys, make, message):
    path = tmp_path / "pictures"
    make(path)
    path = path if path.exists() else path.with_suffix(".csv")
    with pytest.raises(SystemExit) as stop:
        run(path, tmp_path / "run")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def _bare(path: Path) -> None:
    path.mkdir()
    for i in range(3):
        Image.new("RGB", (30, 30)).save(path / f"{i}.png")


def test_towers_and_language_models_of_hugging_face(tmp_path):
    """Random weights, from folders: they load, train and are measured."""
    tokenizer = train_tokenizer(["Is there a cat in the picture?", "yes", "no", "a red disc on white"], vocab_size=400)
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes)).save_pretrained(
        tmp_path / "llm"
    )
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "text")
    for folder in ("llm", "text"):
        tokenizer.save_pretrained(tmp_path / folder)
    ViTModel(ViTConfig(image_size=64, patch_size=16, **sizes)).save_pretrained(tmp_path / "vit")
    recipe = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 64, "width": 64}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(recipe))
    towers = ["--encoder.vision-tower", str(tmp_path / "vit"), "--encoder.text-tower", str(tmp_path / "text")]
    language = ["--language.vision-tower", str(tmp_path / "vit"), "--language.language-model", str(tmp_path / "llm")]
    results = check(made := run(shown_folder(tmp_path / "shown"), tmp_path / "run", *towers, *language))
    assert "retrieval/test/text_to_image/recall_at_1" in results.metrics
    main(["ask", str(made.path), str(tmp_path / "shown" / "0.png"), "Write a caption."])


@pytest.mark.parametrize(
    ("setting", "content", "message"),
    [
        ("--language.language-model", None, "cannot load the language model"),
        ("--language.language-model", b"\x80\x04K\x01.", "cannot load the language model"),
        ("--encoder.vision-tower", None, "config.json"),
    ],
    ids=["no model", "pickle", "no tower"],
)
def test_a_model_that_will_not_do_is_one_line(tmp_path, capsys, setting, content, message):
    folder = tmp_path / "model"
    folder.mkdir()
    if content:
        train_tokenizer(["yes", "no"], vocab_size=300).save_pretrained(folder)
        Qwen2Config(hidden_size=48, num_attention_heads=4, num_key_value_heads=2).save_pretrained(folder)
        (folder / "pytorch_model.bin").write_bytes(content)
    elif setting.startswith("--language"):
        train_tokenizer(["yes", "no"], vocab_size=300).save_pretrained(folder)
    with pytest.raises(SystemExit) as stop:
        run(shown_folder(tmp_path / "shown", 12), tmp_path / "run", setting, str(folder))
    assert stop.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("lucida: ")
    assert message in last
