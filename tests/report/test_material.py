"""Material: what is saved is read back, thumbnails are small files with safe names."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.core.results import write_json
from lucida.core.run_folder import RunFolder
from lucida.report.material import Example, Material, _file_stem, data_uri, material_path, save_thumbnail


def test_material_comes_back_as_it_was(full_run: RunFolder) -> None:
    material = Material.load(full_run)
    assert len(material.examples) == 13
    assert material.corpora[1].n_available == 50_000
    material.save(full_run)
    assert Material.load(full_run) == material


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(material_path(folder), {"exampels": []})
    with pytest.raises(LucidaError, match=r"'exampels'.*'examples'"):
        Material.load(folder)


def test_a_thumbnail_is_small_upright_and_in_colour(tmp_path: Path) -> None:
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[:100, :, 0] = 255
    folder = RunFolder(tmp_path)
    uri = data_uri(folder, save_thumbnail(folder, "photos/a b.jpg", pixels, size=100))
    assert uri is not None
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert picture.size == (100, 50)
    top, bottom = np.asarray(picture.convert("RGB"))[[5, 45], 50]
    assert top[0] > 240
    assert bottom.max() < 15


def test_a_grey_picture_and_noise_are_stored_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert save_thumbnail(folder, "flat", np.full((64, 64), 9, np.uint8)).endswith(".png")
    assert save_thumbnail(folder, "noise", noise).endswith(".jpg")


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        save_thumbnail(RunFolder(tmp_path), "x", pixels)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "notes.txt", "a/b.png", ""])
def test_only_thumbnails_are_put_into_the_page(tmp_path: Path, name: str) -> None:
    with pytest.raises(LucidaError, match="not a thumbnail"):
        data_uri(RunFolder(tmp_path), name)


def test_a_lost_thumbnail_is_no_error(tmp_path: Path) -> None:
    assert data_uri(RunFolder(tmp_path), "gone.png") is None


@settings(deadline=None)
@given(st.lists(st.text(), unique=True, max_size=20))
def test_file_names_are_safe_and_differ(names: list[str]) -> None:
    stems = [_file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert all(s.isascii() and len(s) < 60 and s.replace("-", "").isalnum() for s in stems)


def test_defaults_show_nothing() -> None:
    assert Material().examples == ()
    assert Example("a.png", "yes").right is None
