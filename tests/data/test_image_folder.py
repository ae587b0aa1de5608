"""Image folders: classes as subfolders, or a metadata table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.data.image_folder import list_image_folder
from lucida.data.listing import Listing
from lucida.data.pictures import Picture, Skipped


def draw(root: Path, *names: str) -> Path:
    """Small pictures under ``root``."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (len(name) * 5 % 256, 90, 30)).save(path)
    return root


def pictures(listing: Listing) -> dict[str, Picture]:
    made = listing.pictures(range(len(listing)))
    assert not any(isinstance(one, Skipped) for one in made)
    return {one.id: one for one in made if isinstance(one, Picture)}


def test_subfolders_are_classes(tmp_path):
    draw(tmp_path, "cat/1.jpg", "cat/deep/2.PNG", "dog/1.webp", "dog/.hidden.png", ".git/x.png", "dog/._1.jpg")
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    listing = list_image_folder(tmp_path)
    assert list(zip(listing.splits, listing.labels, strict=True)) == [(None, "cat"), (None, "cat"), (None, "dog")]
    read = pictures(listing)
    assert {id: p.label for id, p in read.items()} == {"cat/1.jpg": "cat", "cat/deep/2.PNG": "cat", "dog/1.webp": "dog"}
    assert np.asarray(read["cat/deep/2.PNG"].source.open()).shape == (6, 8, 3)


def test_subfolders_called_after_splits_hold_the_classes(tmp_path):
    draw(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "test/dog/4.png")
    listing = list_image_folder(tmp_path)
    assert sorted(zip(listing.splits, listing.labels, strict=True)) == [
        ("test", "dog"), ("train", "cat"), ("train", "dog"), ("validation", "cat")
    ]  # fmt: skip


def test_a_class_may_be_called_train(tmp_path):
    listing = list_image_folder(draw(tmp_path, "bus/1.png", "train/1.png", "plane/1.png"))
    assert listing.labels == ["bus", "plane", "train"]
    assert set(listing.splits) == {None}


def test_a_folder_around_it_all_is_no_class(tmp_path):
    listing = list_image_folder(draw(tmp_path, "images/cat/1.png", "images/dog/1.png"))
    assert listing.labels == ["cat", "dog"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    draw(tmp_path / "elsewhere", "1.png")
    draw(tmp_path / "photos", "dog/1.png")
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "dog" / "again").symlink_to(tmp_path / "photos")
    assert list_image_folder(tmp_path / "photos").labels == ["cat", "dog"]


@pytest.mark.parametrize("names", [("1.png", "2.png"), ("images/1.png", "images/2.png"), ("train/1.png", "test/2.png")])
def test_pictures_of_which_nothing_is_known(tmp_path, names):
    draw(tmp_path, *names)
    with pytest.raises(
        LucidaError, match=r"no captions, no labels .*; put the pictures of each class into a subfolder"
    ):
        list_image_folder(tmp_path)


def test_a_table_that_could_help_is_named(tmp_path):
    draw(tmp_path, "1.png")
    (tmp_path / "captions.csv").write_text("file,caption\n1.png,a cat\n")
    with pytest.raises(LucidaError, match=r"name the table captions\.csv instead"):
        list_image_folder(tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(LucidaError, match=r"no picture in this folder \("):
        list_image_folder(tmp_path)
    for name in ("a.tar", "b.tar", "notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(LucidaError, match=r"no picture in this folder, but 2 files \.tar"):
        list_image_folder(tmp_path)


def test_metadata_csv(tmp_path):
    draw(tmp_path, "a.png", "sub/b.png", "not_listed.png")
    (tmp_path / "metadata.csv").write_text(
        "\ufefffile_name,caption,label,split\n"
        'a.png,"A cat, asleep.",cat,train\n'
        "a.png,A sleeping cat.,cat,train\n"
        "sub\\b.png,A dog.,dog,val\n"
        "gone.png,A cow.,cow,train\n"
        "a.png,one,field,too,many\n",
        encoding="utf-8",
    )
    listing = list_image_folder(tmp_path)
    read = pictures(listing)
    assert read["a.png"].captions == ("A cat, asleep.", "A sleeping cat.")
    assert {id: p.label for id, p in read.items()} == {"a.png": "cat", "sub\\b.png": "dog"}
    assert list(listing.splits) == ["train", "validation"]
    assert {row.id: row.reason for row in listing.skipped} == {
        "gone.png": "no such file",
        "metadata.csv:6": "the row has 5 fields, the header 4",
    }


def test_metadata_jsonl_with_lists_and_objects(tmp_path):
    draw(tmp_path, "train/a.png", "train/b.png", "test/a.png")
    cat = {"bbox": [[1, 2, 3, 4]], "categories": ["cat"]}
    rows = {
        "train": [
            {"file_name": "a.png", "captions": ["one", "two", "one"], "objects": cat},
            {"file_name": "b.png", "captions": "three", "objects": [{"name": "dog", "bbox": [0, 0, 2, 2]}, "cow"]},
        ],
        "test": [{"file_name": "a.png", "captions": []}],
    }  # fmt: skip
    for split, listed in rows.items():
        lines = [json.dumps(row) for row in listed]
        (tmp_path / split / "metadata.jsonl").write_text(
            "\n".join([*lines, "{broken"]) if split == "test" else "\n".join(lines)
        )
    listing = list_image_folder(tmp_path)
    read = pictures(listing)
    assert dict(zip(read, listing.splits, strict=True)) == {
        "test/a.png": "test",
        "train/a.png": "train",
        "train/b.png": "train",
    }
    assert read["train/a.png"].captions == ("one", "two")
    (thing,) = read["train/a.png"].objects
    assert (thing.name, thing.box.x, thing.box.height) == ("cat", 1, 4)
    assert [(thing.name, thing.box is not None) for thing in read["train/b.png"].objects] == [
        ("dog", True),
        ("cow", False),
    ]
    assert [row.where.rsplit(" ", 1)[1] for row in listing.skipped] == ["2"]


def test_the_first_folder_of_a_file_may_be_its_split(tmp_path):
    draw(tmp_path, "train/a.png", "test/b.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\ntrain/a.png,a cat\ntest/b.png,a dog\n")
    assert list(list_image_folder(tmp_path).splits) == ["train", "test"]
