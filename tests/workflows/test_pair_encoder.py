"""Encoders for data construction: a folder of CLIP as transformers has it, and what a run trained."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import datasets
import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from lucida.cli import main
from lucida.core.errors import LucidaError
from lucida.core.results import write_json
from lucida.data.construction.rows import read_rows
from lucida.data.decoding import FileSource
from lucida.workflows.construct_data import ConstructConfig, construct_data
from lucida.workflows.pair_encoder import load_pair_encoder

ROOT = Path(__file__).resolve().parents[1]
CAPTIONS = ["a red dogs the", "two dogs", "the cat at the dogs", "a cat in a hat"]


def load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"lucida_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    load(ROOT / "models" / "tiny_encoders.py").clip(folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    sources = load(ROOT / "data" / "construction" / "pair_sources.py")
    folder = tmp_path_factory.mktemp("source")
    for i, caption in enumerate(CAPTIONS):
        (folder / f"{i}.png").write_bytes(sources.picture(i, kind="PNG"))
        (folder / f"{i}.txt").write_text(caption, encoding="utf-8")
    return folder


def test_features_are_those_of_transformers(clip, source):
    name, encode = load_pair_encoder(str(clip))
    paths = [source / f"{i}.png" for i in range(len(CAPTIONS))]
    pictures, texts = encode([FileSource(str(path)) for path in paths], CAPTIONS)
    model, processor = hf.CLIPModel.from_pretrained(clip), hf.CLIPProcessor.from_pretrained(clip)
    images = [Image.open(io.BytesIO(path.read_bytes())).convert("RGB") for path in paths]
    with torch.inference_mode():
        found = model(**processor(text=CAPTIONS, images=images, return_tensors="pt", padding=True))
    assert texts == pytest.approx(found.text_embeds.numpy(), abs=1e-5)
    assert pictures == pytest.approx(found.image_embeds.numpy(), abs=2e-3)  # resized within a level of Pillow's
    assert name == load_pair_encoder(str(clip))[0]


def test_pairs_are_filtered_and_given_negatives_from_the_command_line(clip, source, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--encoder", str(clip), "--keep-share", "0.75", "--hard-negatives", "1", "--format", "parquet"]
    options += ["--balance.min-count", "1", "--clean.min-words", "1"]
    main(["data", "construct", "--pictures", str(source), "--out", str(out), *options])
    stages = [path.name for path in sorted((out / "stages").iterdir())]
    assert stages == ["0-read", "1-clean", "2-deduplicate", "3-filter", "4-balance", "5-negatives", "6-write"]
    (shard,) = (out / "stages" / "5-negatives" / "shards").iterdir()
    rows = [row for rows in read_rows(shard) for row in rows]
    assert len(rows) == 3
    _, encode = load_pair_encoder(str(clip))
    pictures, texts = encode([FileSource(str(source / row["file"])) for row in rows], [row["caption"] for row in rows])
    assert [row["similarity"] for row in rows] == pytest.approx((pictures * texts).sum(axis=1), abs=1e-5)
    both = np.concatenate([pictures, texts], axis=1)
    near = both @ both.T / 2
    near[near > 0.98] = -1
    wanted = [[rows[k]["id"]] if near[i, k] > -1 else [] for i, k in enumerate(near.argmax(axis=1))]
    assert [row["negatives"] for row in rows] == wanted
    assert "Filter" in (out / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    main(["data", "construct", "--pictures", str(source), "--out", str(out), *options])
    assert capsys.readouterr().err.count("(done before)") == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-similarity", "0.2"], "similarity needs an encoder"),
        (["--encoder", "{clip}"], "an encoder is for --min-similarity"),
        (["--encoder", "{clip}", "--min-similarity", "2"], "min_similarity cannot be 2"),
        (["--encoder", "{clip}", "--min-similarity", "0.1", "--keep-share", "0.5"], "either --min-similarity or"),
        (["--encoder", "{clip}", "--hard-negatives", "2", "--captions-only"], "captions alone cannot be compared"),
        (["--encoder", "gone/nowhere", "--hard-negatives", "2"], "gone/nowhere"),
        (["--encoder", "{source}", "--hard-negatives", "2"], "no config.json"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(clip, source, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    given = [word.format(clip=clip, source=source) for word in options]
    with pytest.raises(SystemExit) as stop:
        main(["data", "construct", "--pictures", str(source), *given])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_picture_that_cannot_be_read_says_what_to_do(clip, source, tmp_path):
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "1.png").write_bytes(b"x")
    config = ConstructConfig(tmp_path, tmp_path / "out", stages="", encoder=str(clip), keep_share=1.0)
    with pytest.raises(LucidaError, match="a picture cannot be read"):
        construct_data(config)


def test_a_run_without_such_an_encoder_is_one_line(tmp_path):
    (tmp_path / "stages").mkdir()
    with pytest.raises(LucidaError, match="no dual encoder of pictures and captions"):
        load_pair_encoder(str(tmp_path))


def test_a_data_set_of_the_hub_is_asked_for_and_offline_says_what_to_do(tmp_path, monkeypatch):
    """Tests run without a network."""
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LucidaError, match="hf download somebody/pictures --repo-type dataset"):
        construct_data(ConstructConfig(Path("somebody/pictures"), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_was_fetched_once_is_read_without_the_hub(source, tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cells = [{"bytes": (source / f"{i}.png").read_bytes(), "path": None} for i in range(len(CAPTIONS))]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    made = datasets.Dataset.from_dict({"image": cells, "caption": CAPTIONS}, features=features)
    made.save_to_disk(tmp_path / "fetched")
    write_json(tmp_path / "hub" / "somebody--pictures.json", {"folder": str(tmp_path / "fetched")})
    construct_data(ConstructConfig(Path("somebody/pictures"), tmp_path / "out", stages="clean"))
    (shard,) = (tmp_path / "out" / "stages" / "1-clean" / "shards").iterdir()
    assert [row["caption"] for rows in read_rows(shard) for row in rows] == CAPTIONS
