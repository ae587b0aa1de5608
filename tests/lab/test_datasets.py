"""Data sets of the lab: parts that are apart, and a user's own pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.lab.datasets import DATASETS, OWN_FEATURES, OWN_PICTURES, Dataset, load, pictures_from, split


def check_parts(data: Dataset) -> None:
    assert len(data.labels) == len(data.groups) == len(data.inputs["inputs"])
    assert data.labels.unique().tolist() == list(range(data.classes))
    parts = [split(data, seed) for seed in (0, 1, 2000)]
    sizes = {(len(p.train), len(p.validation), len(p.test)) for p in parts}
    assert len(sizes) == 1
    for p in parts:
        groups = [set(data.groups[part.numpy()].tolist()) for part in (p.train, p.validation, p.test)]
        assert not groups[0] & groups[1]
        assert not groups[1] & groups[2]
        assert not groups[0] & groups[2]
    assert not torch.equal(parts[0].test, parts[1].test)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {OWN_PICTURES, OWN_FEATURES}))
def test_splits_are_apart_and_of_equal_size(name: str) -> None:
    check_parts(load(name))


def paint(folder: Path, each: int, classes: int = 2) -> Path:
    """Pictures of one colour and some noise, a folder for each class."""
    generator = np.random.default_rng(0)
    for k in range(classes):
        (folder / f"colour {k}").mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(generator.normal(60 + 120 * k, 20, size=(20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"colour {k}" / f"{i}.png")
    return folder


def test_own_pictures_are_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))
    with pictures_from(paint(tmp_path / "mine", 120)):
        data = load(OWN_PICTURES)
        check_parts(data)
        assert data.inputs["inputs"].shape == (240, 3, 16, 16)
        assert data.labels.bincount().tolist() == [120, 120]
        assert abs(float(data.inputs["inputs"].mean())) < 1e-3
        assert "mine" in data.note
    with pytest.raises(LucidaError, match="no pictures were named"):
        load(OWN_PICTURES)


def test_too_few_own_pictures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))
    with pictures_from(paint(tmp_path / "few", 20)), pytest.raises(LucidaError, match="40 labelled pictures"):
        load(OWN_PICTURES)


def test_an_unknown_data_set_is_an_error() -> None:
    with pytest.raises(LucidaError, match="no data set"):
        load("imagenet")
