"""A checkpoint tuned on one's own pictures: what is locked stays, and the base task is measured again."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lucida.cli import main
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.models.hugging_face import HuggingFaceVision
from lucida.models.imported_encoders import load_dual_encoder
from lucida.models.interpolation import interpolated
from lucida.models.new_encoders import NewEncoderConfig
from lucida.training.loop import TrainConfig
from lucida.training.objectives import ObjectiveConfig
from lucida.workflows.exported_encoders import export_encoder
from lucida.workflows.labelled_zero_shot import Encoding
from lucida.workflows.tune_encoder import BaseTask, OwnPictures, TuneEncoderConfig, read_for, tune_encoder

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny_encoders import clip, siglip

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}


def pictures(path: Path, names: list[str], n: int = 12, seed: int = 0) -> Path:
    """Noisy squares, a folder for each colour."""
    generator = np.random.default_rng(seed)
    for name in names:
        (path / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.clip(np.array(COLOURS[name]) + generator.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


def config(tmp_path: Path, **changes) -> TuneEncoderConfig:
    training = TrainConfig(
        Duration(30, "steps"), batch_size=16, micro_batch_size=8, learning_rate=1e-3, probe_every=None
    )
    given = {"model": str(tmp_path / "base"), "pictures": tmp_path / "own", "out": tmp_path / "run", "train": training}
    return TuneEncoderConfig(**given | changes)


@pytest.mark.parametrize("locked", ["none", "vision", "text", "both"])
def test_what_is_locked_stays_and_the_rest_moves(locked, tmp_path):
    clip(tmp_path / "base", scale=10.0)
    pictures(tmp_path / "own", ["red", "green"])
    few = TrainConfig(Duration(2, "steps"), batch_size=8, learning_rate=1e-3, probe_every=None)
    tune_encoder(config(tmp_path, locked=locked, shares=(0.0, 1.0), train=few))
    base, tuned = (load_dual_encoder(tmp_path / name).state_dict() for name in ("base", "run/model"))
    moved = {name.split(".")[0] for name, tensor in tuned.items() if not torch.equal(tensor, base[name])}
    frozen = {"none": set(), "vision": {"vision_tower"}, "text": {"text_tower"}, "both": {"vision_tower", "text_tower"}}
    assert moved == {"vision_tower", "text_tower", "image_head", "text_head", "log_logit_scale"} - frozen[locked]


@pytest.mark.parametrize("locked", ["vision", "text", "both"])
def test_what_a_locked_tower_finds_is_found_once_and_changes_nothing(locked, tmp_path, monkeypatch):
    clip(tmp_path / "base", scale=10.0)
    pictures(tmp_path / "own", ["red", "green"])
    few = TrainConfig(Duration(4, "steps"), batch_size=8, learning_rate=1e-3, probe_every=None)
    seen = []
    tune_encoder(config(tmp_path, locked=locked, shares=(0.0, 1.0), train=few, out=tmp_path / "once"))
    asked = []
    preprocess = HuggingFaceVision.preprocess
    monkeypatch.setattr(HuggingFaceVision, "preprocess", lambda self, x: asked.append(len(x)) or preprocess(self, x))
    tune_encoder(config(tmp_path, locked=locked, shares=(0.0, 0.5, 1.0), train=few, out=tmp_path / "more"))
    of_one_share = sum(asked)
    own = OwnPictures.looked_at

    def anew(self, data, encoding):
        data = own(self, data, encoding)
        seen.append((data.picture_features is not None, data.text_features is not None))
        encoding.sees_the_same = encoding.reads_the_same = False
        return dataclasses.replace(data, picture_features=None, text_features=None)

    monkeypatch.setattr(OwnPictures, "looked_at", anew)
    tune_encoder(config(tmp_path, locked=locked, shares=(0.0, 1.0), train=few, out=tmp_path / "anew"))
    assert seen == [(locked != "text", locked != "vision")]
    if locked != "text":  # each picture once, at however many shares
        assert of_one_share == 22  # none of the validation split
        assert sum(asked) - of_one_share > 22
    measured = [Results.load(tmp_path / name / "results.json").metrics for name in ("once", "anew")]
    for name, metric in measured[0].items():
        assert metric.value == pytest.approx(measured[1][name].value, abs=1e-3)
    once, again = (load_dual_encoder(tmp_path / name / "model").state_dict() for name in ("once", "anew"))
    for name, tensor in once.items():
        torch.testing.assert_close(tensor, again[name], rtol=1e-4, atol=1e-6)


def test_own_pictures_are_learned_and_the_base_task_is_measured_again(tmp_path, capsys):
    clip(tmp_path / "base", scale=10.0)
    pictures(tmp_path / "own", ["red", "green", "blue"])
    pictures(tmp_path / "old", ["blue", "white"], seed=1)
    paths = {"--model": "base", "--pictures": "own", "--base-pictures": "old", "--out": "run"}
    named = [word for option, name in paths.items() for word in (option, str(tmp_path / name))]
    training = ["--train.duration", "40 steps", "--train.batch-size", "16", "--train.learning-rate", "1e-3"]
    asked = ["--locked", "none", "--objective.captioning", "0.5", "--shares", "0", "0.5", "1"]
    main(["train", *named, *training, *asked, "--train.micro-batch-size", "8"])
    metrics = Results.load(tmp_path / "run/results.json").metrics
    own = [metrics[f"own/zero_shot/top1/at_{share}"].value for share in ("0", "0.5", "1")]
    assert own[-1] == 1.0 > own[0]
    base, tuned, between = (load_dual_encoder(tmp_path / name) for name in ("base", "run/model", "base"))
    between.load_state_dict(interpolated(base.state_dict(), tuned.state_dict(), 0.5))
    exam = BaseTask(read_for(base, tmp_path / "old", limit=100, split_seed=0))
    for share, encoder in (("0", base), ("0.5", between), ("1", tuned)):
        again = exam(Encoding(encoder)).metrics["zero_shot/top1"]
        assert metrics[f"base/zero_shot/top1/at_{share}"].value == pytest.approx(again.value)
        assert again.n == 24
    change = metrics["base/zero_shot/top1_change/at_1"]
    ends = [metrics[f"base/zero_shot/top1/at_{share}"].value for share in ("1", "0")]
    assert change.value == pytest.approx(ends[0] - ends[1])
    assert "base/zero_shot/top1_change/at_0" not in metrics
    printed = capsys.readouterr().out
    assert "the base task by tuning" in printed
    assert "own/zero_shot/top1" in printed


def test_captions_are_retrieved_by_a_siglip(tmp_path):
    siglip(tmp_path / "base", scale=10.0, bias=-2.0)
    pictures(tmp_path / "made", ["red", "green"], n=20)
    (tmp_path / "own").mkdir()
    rows = []
    for path in sorted((tmp_path / "made").glob("*/*.png")):
        name = f"{path.parent.name}{path.name}"
        path.rename(tmp_path / "own" / name)
        rows.append(f"{name},a {path.parent.name} cat")
    (tmp_path / "own" / "metadata.csv").write_text("file_name,caption\n" + "\n".join(rows) + "\n")
    results = tune_encoder(config(tmp_path, locked="text", objective=ObjectiveConfig("sigmoid"), shares=(0.0, 1.0)))
    assert results.metrics["own/retrieval/image_to_text/recall_at_1/at_1"].value == 1.0
    assert not any("zero_shot" in name for name in results.metrics)


def test_what_cannot_be_tuned_is_one_line(tmp_path):
    with pytest.raises(LucidaError, match="no model was named"):
        tune_encoder(TuneEncoderConfig())
    with pytest.raises(LucidaError, match="shares"):
        TuneEncoderConfig(shares=(0.5, 1.0))
    clip(tmp_path / "base")
    pictures(tmp_path / "own", ["red", "green"])
    with pytest.raises(LucidaError, match="needs a logit_bias"):
        tune_encoder(config(tmp_path, objective=ObjectiveConfig("sigmoid")))
    assert not (tmp_path / "run").exists()


def test_a_new_one_is_trained_from_scratch(tmp_path):
    pictures(tmp_path / "own", ["red", "green", "blue", "white"], n=20)
    named = ["--pictures", str(tmp_path / "own"), "--out", str(tmp_path / "run")]
    sizes = ["--new.image-size", "32", "--new.vision-width", "64", "--new.vision-layers", "2", "--new.text-width", "64"]
    large = ["--duration", "30 steps", "--train.batch-size", "16", "--effective-batch", "32"]
    main(["train", "--model", "new", *named, *sizes, "--new.text-layers", "1", *large])
    metrics = Results.load(tmp_path / "run/results.json").metrics
    before, after = (metrics[f"own/zero_shot/top1/at_{share}"].value for share in (0, 1))
    assert after == 1.0 > before
    assert json.loads((tmp_path / "run/config.json").read_text())["train"]["effective_batch"] == 32
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["step"], rows[-1]["examples"]) == (30, 30 * 32)
    encoder = load_dual_encoder(tmp_path / "run/model")  # another program would find a whole CLIP
    assert encoder.vision_tower.image_size == 32
    assert len(encoder.text_tower.model.encoder.layers) == 1


def test_a_new_tower_cannot_be_locked(tmp_path):
    with pytest.raises(LucidaError, match="a new tower that is locked learns nothing"):
        TuneEncoderConfig("new", locked="vision")


def test_a_folder_goes_on_with_the_same_alone(tmp_path):
    clip(tmp_path / "base", scale=10.0)
    pictures(tmp_path / "own", ["red", "green"])
    few = TrainConfig(Duration(2, "steps"), batch_size=8, learning_rate=1e-3, probe_every=None)
    tune_encoder(config(tmp_path, shares=(0.0, 1.0), train=few))
    tune_encoder(config(tmp_path, shares=(0.0, 0.5, 1.0), train=few))  # what is measured may be more
    before = (tmp_path / "run/config.json").read_bytes()
    pictures(tmp_path / "others", ["red", "green"], seed=1)
    others = {"split_seed": 5, "pictures": tmp_path / "others", "objective": ObjectiveConfig(label_smoothing=0.5)}
    for name, value in others.items():
        with pytest.raises(LucidaError, match="was started"):
            tune_encoder(config(tmp_path, shares=(0.0, 1.0), train=few, **{name: value}))
    clip(tmp_path / "second", scale=20.0)
    (tmp_path / "base").rename(tmp_path / "first")
    (tmp_path / "second").rename(tmp_path / "base")
    with pytest.raises(LucidaError, match="from another model"):
        tune_encoder(config(tmp_path, shares=(0.0, 1.0), train=few))
    assert (tmp_path / "run/config.json").read_bytes() == before


def test_a_new_one_with_a_bias_is_written_for_open_clip(tmp_path):
    pictures(tmp_path / "own", ["red", "green"])
    few = TrainConfig(Duration(2, "steps"), batch_size=8, learning_rate=1e-3, probe_every=None)
    small = NewEncoderConfig(vision_width=64, vision_layers=1, text_width=64, text_layers=1, vocabulary=300)
    objective = ObjectiveConfig(loss="sigmoid")
    tune_encoder(
        config(tmp_path, model="new", new=small, locked="none", shares=(0.0, 1.0), train=few, objective=objective)
    )
    assert load_dual_encoder(tmp_path / "run/model").logit_bias is not None


def test_what_was_tuned_beside_captions_is_exported(tmp_path):
    clip(tmp_path / "base", scale=10.0)
    pictures(tmp_path / "own", ["red", "green"])
    few = TrainConfig(Duration(2, "steps"), batch_size=8, learning_rate=1e-3, probe_every=None)
    objective = ObjectiveConfig(captioning=0.5, classification=0.5)
    tune_encoder(config(tmp_path, locked="none", shares=(0.0, 1.0), train=few, objective=objective))
    export_encoder(str(tmp_path / "run"), tmp_path / "out", base=str(tmp_path / "base"))
    tuned, exported = (load_dual_encoder(tmp_path / name).state_dict() for name in ("run/model", "out"))
    assert tuned.keys() == exported.keys()
    for name, tensor in tuned.items():
        torch.testing.assert_close(exported[name], tensor, rtol=0, atol=1e-6)


def test_what_is_not_measured_is_said(tmp_path, capsys):
    clip(tmp_path / "base", scale=10.0)
    own, named = pictures(tmp_path / "own", ["red", "green"], n=6), []
    images = sorted(str(path.relative_to(own)) for path in own.rglob("*.png"))
    for i, name in enumerate(images):
        named.append({"id": i, "image_id": i, "category_id": name.startswith("red") + 1, "bbox": [0, 0, 9, 9]})
    instances = {
        "images": [{"id": i, "file_name": name, "width": 32, "height": 32} for i, name in enumerate(images)],
        "annotations": named,
        "categories": [{"id": 1, "name": "leaf"}, {"id": 2, "name": "rose"}],
    }
    (own / "instances.json").write_text(json.dumps(instances))  # objects alone: no labels, no captions
    paths = {"--model": tmp_path / "base", "--pictures": own / "instances.json", "--out": tmp_path / "run"}
    asked = [str(word) for option in paths.items() for word in option]
    main(["train", *asked, "--train.duration", "2 steps", "--shares", "0", "1"])
    said = capsys.readouterr().out
    assert "not measured: your test pictures have neither" in said
    assert f"model: {tmp_path / 'run' / 'model'}" in said
    assert "own" in Results.load(tmp_path / "run/results.json").left_out
