"""The dual encoder of one's own pictures under other objectives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucida.arguments import override
from lucida.cli import main
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.data.pixels import decode_all
from lucida.data.readers import read_pictures
from lucida.models.text_features import TextFeatures
from lucida.models.text_towers import MiniLM
from lucida.training.objectives import ObjectiveConfig
from lucida.workflows import recipes
from lucida.workflows.pair_encoder import load_pair_encoder
from lucida.workflows.picture_encoder import PROMPTS, PictureEncoder
from lucida.workflows.pictures_run import gallery_of

COLOURS = ("red", "green", "blue")


def encoder(folder: Path, objective: ObjectiveConfig, *, search: bool = False, label: str = "label") -> PictureEncoder:
    """Squares of three colours, with labels or captions."""
    folder.mkdir()
    rows = []
    for i in range(48):
        Image.new("RGB", (40, 40), COLOURS[i % 3]).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{COLOURS[i % 3]}")
    (folder / "metadata.csv").write_text(f"file_name,{label}\n" + "\n".join(rows) + "\n")
    decoded = decode_all(read_pictures(folder), 32)
    stage = replace(recipes.load("tiny").encoder, objective=objective, template_search=search)
    return PictureEncoder(decoded, gallery_of(decoded, range(48)), stage, TextFeatures(MiniLM()))


def test_everything_at_once(tmp_path):
    objective = ObjectiveConfig("sigmoid", positive_weight=2.0, captioning=0.5, classification=0.5)
    made = encoder(tmp_path / "pictures", objective, search=True)
    folder = RunFolder.create(tmp_path / "run", made.stage, seed=0)
    made.fit(folder, resume=False)
    logged = json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"captioning", "classification", "logit_bias"} <= logged.keys()
    assert made.class_numbers(made.rows("train")).tolist() == [
        made.decoded.corpus.classes.index(made.decoded.corpus.pictures[i].label) for i in made.rows("train")
    ]
    assert len(made.prompts) >= 1
    labels = made.class_numbers(made.rows("validation"))
    seen = made.encode_pictures(made.rows("validation"))
    right = float(((seen @ made.classes().T).argmax(dim=1).numpy() == labels).mean())
    made.prompts = PROMPTS[:1]
    single = float(((seen @ made.classes().T).argmax(dim=1).numpy() == labels).mean())
    assert right >= single  # where it was searched
    assert made.measure()["zero_shot/test/top1"].n > 2


def test_data_construction_takes_the_encoder_of_a_run(tmp_path):
    objective = ObjectiveConfig("sigmoid", captioning=0.5)
    made = encoder(tmp_path / "pictures", objective, label="caption")
    asked = ["--pictures", str(tmp_path / "pictures"), "--out", str(tmp_path / "run")]
    asked += ["--encoder.objective.loss", "sigmoid", "--encoder.objective.captioning", "0.5"]
    main(["run", "--recipe", "tiny", *asked, "--encoder.train.duration", "40 steps"])
    name, encode = load_pair_encoder(str(tmp_path / "run"))
    assert name.startswith("run ")
    rows = made.rows("train")[:6]
    sources = [made.decoded.corpus.pictures[i].source for i in rows]
    captions = [made.decoded.corpus.pictures[i].captions[0] for i in rows]
    pictures, texts = encode(sources, captions)
    other = [next(j for j in range(6) if captions[j] != captions[i]) for i in range(6)]
    assert (pictures * texts).sum(axis=1).mean() > (pictures * texts[other]).sum(axis=1).mean() + 0.1


def test_classes_cannot_be_told_where_there_are_none(tmp_path):
    made = encoder(tmp_path / "pictures", ObjectiveConfig(classification=0.5), label="caption")
    with pytest.raises(LucidaError, match="no classes to learn to tell"):
        made.fit(RunFolder.create(tmp_path / "run", made.stage, seed=0), resume=False)


def test_without_labels_the_usual_templates_stay(tmp_path):
    made = encoder(tmp_path / "pictures", ObjectiveConfig(), search=True, label="caption")
    made.fit(RunFolder.create(tmp_path / "run", made.stage, seed=0), resume=False)
    assert made.prompts == PROMPTS
    assert np.isfinite(made.encode_pictures(made.rows("test")).numpy()).all()


def test_the_command_line_sets_the_objective():
    config = override(
        recipes.load("default"),
        ["--encoder.objective.loss", "sigmoid", "--encoder.objective.captioning", "0.5", "--encoder.template-search"],
        command="lucida run",
    )
    assert config.encoder.objective == ObjectiveConfig("sigmoid", captioning=0.5)
    assert config.encoder.template_search
    assert config.frozen_start.objective == ObjectiveConfig()
    with pytest.raises(LucidaError, match="hard_negatives is not for the sigmoid loss"):
        override(
            recipes.load("default"),
            ["--encoder.objective.loss", "sigmoid", "--encoder.objective.hard-negatives", "0.5"],
            command="lucida run",
        )
