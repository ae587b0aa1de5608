"""A dual encoder of one's own on labelled pictures: templates are searched where nothing is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucida.cli import main
from lucida.core.errors import LucidaError
from lucida.core.results import Results, read_json
from lucida.evaluation.zero_shot import TEMPLATES
from lucida.workflows.evaluate_zero_shot import EvaluateZeroShotConfig, evaluate_zero_shot, template_sets

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny_encoders import clip, siglip

COLOURS = {"red": (220, 30, 30), "dark_green": (20, 110, 30), "blue": (30, 30, 220)}


def pictures(path: Path, n: int = 20) -> Path:
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (path / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.clip(np.array(colour) + generator.normal(0, 40, (36, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


@pytest.mark.parametrize("make", [clip, siglip])
def test_sets_are_measured_and_the_search_keeps_its_word(make, tmp_path, capsys):
    make(tmp_path / "model")
    own = tmp_path / "templates.txt"
    own.write_text("a flat {} square\n\nnothing but {}\n")
    out = tmp_path / "run"
    given = ["--model", str(tmp_path / "model"), "--pictures", str(pictures(tmp_path / "pictures")), "--out", str(out)]
    main(["evaluate", "zero-shot", *given, "--templates", str(own)])
    results = Results.load(out / "results.json")
    value = {name: metric.value for name, metric in results.metrics.items()}
    sets = results.details["templates"]
    assert {*sets} == {*TEMPLATES, "yours", "best_single", "found"}
    assert sets["yours"] == ["a flat {} square", "nothing but {}"]
    searched = {name: value[f"zero_shot/searched/{name}/top1"] for name in sets}
    assert searched["found"] >= searched["best_single"] >= max(searched["name"], searched["single"])
    n = results.metrics["zero_shot/test/found/top1"].n
    assert n + results.metrics["zero_shot/searched/found/top1"].n == 60  # no picture in both
    gain = value["zero_shot/test/found/top1"] - value["zero_shot/test/best_single/top1"]
    assert value["zero_shot/test/found/gain_over_best_single"] == pytest.approx(gain)
    assert value["zero_shot/test/found/chance_top1"] == pytest.approx(1 / 3)
    printed = capsys.readouterr().out
    assert all(template in printed for template in sets["found"])
    assert read_json(out / "config.json")["by"] == "accuracy"


def test_what_cannot_be_measured_is_one_line(tmp_path):
    with pytest.raises(LucidaError, match="no model was named"):
        evaluate_zero_shot(EvaluateZeroShotConfig())
    with pytest.raises(LucidaError, match="no pictures were named"):
        evaluate_zero_shot(EvaluateZeroShotConfig(model="somewhere"))
    with pytest.raises(LucidaError, match="cannot be read"):
        template_sets(tmp_path / "missing.txt")
    (tmp_path / "bad.txt").write_text("a photo of it\n")
    with pytest.raises(LucidaError, match="exactly one"):
        template_sets(tmp_path / "bad.txt")
    clip(tmp_path / "model")
    (tmp_path / "one").mkdir()
    for i in range(20):
        Image.new("RGB", (8, 8)).save(tmp_path / "one" / f"{i}.png")
    (tmp_path / "one" / "metadata.csv").write_text(
        "file_name,caption\n" + "\n".join(f"{i}.png,number {i}" for i in range(20)) + "\n"
    )
    config = EvaluateZeroShotConfig(str(tmp_path / "model"), tmp_path / "one", out=tmp_path / "out")
    with pytest.raises(LucidaError, match="0 classes: nothing to tell apart"):
        evaluate_zero_shot(config)
    assert not (tmp_path / "out").exists()
