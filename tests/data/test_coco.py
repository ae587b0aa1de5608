"""COCO's files: objects with boxes, captions, crowds, and pictures wherever people put them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.data.coco import list_coco, uncounted
from lucida.data.listing import Listing
from lucida.data.pictures import Picture
from lucida.data.readers import read_pictures
from lucida.data.truth import Facts

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 18, "name": "dog"}]


def images(*names: str) -> list[dict[str, Any]]:
    return [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names)]


def box(image: int, category: int, *sides: float, crowd: int = 0) -> dict[str, Any]:
    outline = {"counts": [1], "size": [1, 1]} if crowd else [[0.0, 1.0, 2.0]]
    note = {"id": 1, "image_id": image, "category_id": category, "iscrowd": crowd, "segmentation": outline}
    return {**note, "bbox": list(sides)} if sides else note


def write(path: Path, **content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def draw(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (40, 30)).save(folder / name)


def read(listing: Listing) -> dict[str, Picture]:
    return {p.id: p for p in listing.pictures(range(len(listing))) if isinstance(p, Picture)}


def test_instances(tmp_path):
    draw(tmp_path / "images", "a.jpg", "b.jpg")
    notes = [box(0, 3, 1, 2, 10, 12.5), box(0, 3, 5, 5, 0, 0), box(0, 18)]
    path = write(
        tmp_path / "instances.json",
        images=images("a.jpg", "b.jpg", "gone.jpg"),
        annotations=notes,
        categories=CATEGORIES,
    )
    listing = list_coco(path)
    pictures = read(listing)
    cat, flat, dog = pictures["a.jpg"].objects
    assert (cat.name, cat.box.width, cat.box.height) == ("cat", 10, 12.5)
    assert (flat.name, flat.box, dog.name, dog.box) == ("cat", None, "dog", None)
    assert pictures["b.jpg"].objects == ()  # it is known to show none
    assert listing.exhaustive_objects
    assert [(row.id, row.reason) for row in listing.skipped] == [("gone.jpg", "no such file")]
    assert pictures["a.jpg"].source.open().size == (40, 30)


def test_a_crowd_is_there_but_not_counted(tmp_path):
    draw(tmp_path, "a.jpg")
    notes = [box(0, 3, 1, 1, 9, 9), box(0, 3, 0, 0, 40, 30, crowd=1), box(0, 18, 2, 2, 5, 5)]
    listing = list_coco(write(tmp_path / "i.json", images=images("a.jpg"), annotations=notes, categories=CATEGORIES))
    picture = read(listing)["a.jpg"]
    facts = Facts(picture.objects, 40, 30, exhaustive=True)
    assert set(facts.counts) == {"cat", "dog"}
    assert facts.only("cat") is None  # one cat and a crowd of cats: "the cat" has no place
    assert uncounted(picture) == {"cat"}


def test_captions_alone(tmp_path):
    draw(tmp_path / "val2017", "a.jpg")
    notes = [{"image_id": 0, "id": i, "caption": text} for i, text in enumerate(["A cat.\n", "A cat.", "One cat."])]
    path = write(tmp_path / "annotations" / "captions_val2017.json", images=images("a.jpg"), annotations=notes)
    listing = list_coco(path)
    assert read(listing)["a.jpg"].captions == ("A cat.", "One cat.")
    assert not listing.exhaustive_objects
    assert listing.splits == ["validation"]


@pytest.mark.parametrize("named", ["instances_train2017.json", "captions_train2017.json", ".", ".."])
def test_captions_beside_instances_are_joined(tmp_path, named):
    draw(tmp_path / "images" / "train2017", "a.jpg")
    notes = [{"image_id": 0, "id": 1, "caption": "A cat."}]
    folder = tmp_path / "annotations"
    write(folder / "captions_train2017.json", images=images("a.jpg"), annotations=notes)
    write(folder / "instances_train2017.json", images=images("a.jpg"), annotations=[box(0, 3)], categories=CATEGORIES)
    write(folder / "person_keypoints_train2017.json", images=[], annotations=[], categories=CATEGORIES)
    listing = list_coco((folder / named).resolve())
    picture = read(listing)["a.jpg"]
    assert (picture.captions, picture.objects[0].name) == (("A cat.",), "cat")
    assert listing.exhaustive_objects


def test_a_folder_with_both_splits(tmp_path):
    for part in ("train2017", "val2017"):
        draw(tmp_path / part, "a.jpg")
        write(
            tmp_path / "annotations" / f"instances_{part}.json",
            images=images("a.jpg"),
            annotations=[],
            categories=CATEGORIES,
        )
    listing = list_coco(tmp_path)
    assert dict(zip(read(listing), listing.splits, strict=True)) == {
        "train2017/a.jpg": "train",
        "val2017/a.jpg": "validation",
    }


def test_the_layout_of_roboflow(tmp_path):
    for part in ("train", "valid", "test"):
        draw(tmp_path / part, "a.jpg")
        write(tmp_path / part / "_annotations.coco.json", images=images("a.jpg"), annotations=[], categories=CATEGORIES)
    listing = list_coco(tmp_path)
    assert dict(zip(read(listing), listing.splits, strict=True)) == {
        "train/a.jpg": "train", "valid/a.jpg": "validation", "test/a.jpg": "test"
    }  # fmt: skip


def test_lvis_does_not_list_everything(tmp_path):
    draw(tmp_path, "a.jpg")
    shown = [{**images("a.jpg")[0], "neg_category_ids": [18]}]
    assert not list_coco(
        write(tmp_path / "i.json", images=shown, annotations=[], categories=CATEGORIES)
    ).exhaustive_objects


def test_one_file_twice_is_no_corpus(tmp_path):
    draw(tmp_path, "a.jpg")
    path = write(tmp_path / "i.json", images=images("a.jpg", "a.jpg"), annotations=[box(0, 3)], categories=CATEGORIES)
    with pytest.raises(LucidaError, match=r"two pictures have the id 'a\.jpg'"):
        read_pictures(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"images": []}, "it needs the lists 'images' and 'annotations'"),
        ({"images": [{"id": 1}], "annotations": []}, "'file_name' is missing"),
        ({"images": images("a.jpg"), "annotations": [box(0, 99)], "categories": CATEGORIES}, "99 is missing"),
        ({"images": images("a.jpg"), "annotations": [box(7, 3)], "categories": CATEGORIES}, "7 is missing"),
        (
            {"images": images("a.jpg"), "annotations": [box(0, 3, 1, 2)], "categories": CATEGORIES},
            "not a COCO annotation",
        ),
        (
            {"images": images("gone.jpg"), "annotations": []},
            r"none of its 1 pictures is there; the first is 'gone\.jpg'",
        ),
        ({"images": [], "annotations": []}, "none of its 0 pictures"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, error):
    draw(tmp_path, "a.jpg")
    with pytest.raises(LucidaError, match=error):
        list_coco(write(tmp_path / "i.json", **content))
    for text in ("[1]", "{", ""):
        (tmp_path / "i.json").write_text(text)
        with pytest.raises(LucidaError, match=r"not (valid JSON|a COCO annotation file)"):
            list_coco(tmp_path / "i.json")


def test_128_photographs(shared_data):
    listing = list_coco(shared_data / "coco_boxes" / "instances.json")
    pictures = read(listing)
    assert len(pictures) == 128
    assert sum(len(p.objects) for p in pictures.values()) == 929
    assert listing.exhaustive_objects
    assert not listing.skipped
