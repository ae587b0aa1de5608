"""The one door for a user's pictures: kinds of source, samples, splits, errors, and decoding all of them."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.core.results import peak_memory_mb
from lucida.data.corpus import Corpus, draw_splits
from lucida.data.decoding import FileSource
from lucida.data.pictures import Picture, PictureObject, Skipped
from lucida.data.pixels import decode_all, map_box, write_skipped
from lucida.data.readers import _sample, read_pictures
from lucida.data.truth import Box


def draw(root: Path, *names: str, size: tuple[int, int] = (8, 6)) -> Path:
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i % 256, 90, 30)).save(path)
    return root


def classes(root: Path, n: int = 30, prefix: str = "") -> Path:
    return draw(root, *(f"{prefix}{name}/{i}.png" for name in ("cat", "dog") for i in range(n)))


def parquet(path: Path, n: int, **columns: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    pq.write_table(pa.table({"image": [{"bytes": file.getvalue(), "path": None}] * n, **columns}), path)
    return path


def test_a_folder_without_splits_gets_them(tmp_path):
    corpus = read_pictures(classes(tmp_path / "pets"))
    assert corpus.name == "pets"
    assert corpus.splits == {"train": 48, "validation": 6, "test": 6}
    assert Counter(p.label for p in corpus.split("test")) == {"cat": 3, "dog": 3}
    assert corpus.n_available is None
    assert corpus.drawn == {"test", "validation"}
    assert read_pictures(tmp_path / "pets").fingerprint() == corpus.fingerprint()
    assert read_pictures(tmp_path / "pets", split_seed=1).fingerprint() != corpus.fingerprint()


def test_validation_is_cut_out_of_train_where_only_it_is_missing(tmp_path):
    for part in ("train", "test"):
        classes(tmp_path, 20, f"{part}/")
    corpus = read_pictures(tmp_path)
    assert corpus.splits == {"test": 40, "train": 36, "validation": 4}
    assert corpus.drawn == {"validation"}
    assert all(p.id.startswith("test/") == (p.split == "test") for p in corpus)


def test_test_is_cut_out_of_train_where_only_it_is_missing(tmp_path):
    for part in ("train", "val"):
        classes(tmp_path, 20, f"{part}/")
    assert read_pictures(tmp_path).splits == {"train": 36, "test": 4, "validation": 40}


def test_one_named_split_is_none(tmp_path):
    corpus = read_pictures(parquet(tmp_path / "train.parquet", 40, label=["a", "b"] * 20))
    assert corpus.splits == {"train": 32, "test": 4, "validation": 4}


def test_a_folder_of_parquet_as_on_the_hub(tmp_path):
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", 30, label=["a", "b"] * 15)
    parquet(tmp_path / "data" / "train-00001-of-00002.parquet", 10, label=["a", "b"] * 5)
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", 8, label=["a", "b"] * 4)
    corpus = read_pictures(tmp_path)
    assert corpus.splits == {"test": 8, "train": 36, "validation": 4}
    assert "data/train-00001-of-00002.parquet:9" in {p.id for p in corpus}
    assert len(decode_all(corpus, 8).pixels) == 48


def test_splits_without_train(tmp_path):
    for part in ("val", "test"):
        classes(tmp_path, 3, f"{part}/")
    with pytest.raises(LucidaError, match=r"no split is called 'train': there are 'test', 'validation'"):
        read_pictures(tmp_path)


def test_a_sample_keeps_the_shares_and_reads_nothing_else(tmp_path):
    labels = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    path = parquet(tmp_path / "x.parquet", 1000, label=labels)
    corpus = read_pictures(path, limit=100)
    assert len(corpus) == 100
    assert corpus.n_available == 1000
    counts = Counter(p.label for p in corpus)
    assert all(abs(counts[name] - n) <= 1 for name, n in {"a": 60, "b": 30, "c": 10}.items())
    assert [p.source.row for p in corpus] == sorted(p.source.row for p in corpus)
    assert {p.id for p in read_pictures(path, limit=100, split_seed=1)} != {p.id for p in corpus}
    assert read_pictures(path, limit=1000).n_available is None


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 70), st.integers(0, 9))
def test_a_sample_has_the_size_asked_for(strata, limit, seed):
    chosen = _sample(strata, limit, seed)
    assert len(chosen) == min(limit, len(strata))
    assert chosen == sorted(set(chosen))
    assert chosen == _sample(strata, limit, seed)
    assert all(0 <= i < len(strata) for i in chosen)


def test_every_picture_is_as_likely_to_be_sampled():
    strata = ["many"] * 12 + ["few"] * 2 + ["one"]
    drawn = Counter(i for seed in range(600) for i in _sample(strata, 5, seed))
    assert all(140 < drawn[i] < 260 for i in range(15)), drawn  # 200 expected; five standard deviations are 58


@pytest.mark.parametrize("n", range(3, 40))
def test_small_corpora_have_every_split(n):
    pictures = tuple(Picture(str(i), FileSource("x"), label=str(i // 4)) for i in range(n))
    splits = draw_splits(Corpus("x", pictures), 0).splits
    assert set(splits) == {"train", "validation", "test"}
    cut = draw_splits(Corpus("x", pictures), 0, test_share=0).splits
    assert set(cut) == {"train", "validation"}


def test_pictures_of_which_nothing_is_said_are_skipped(tmp_path):
    draw(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "pets.csv").write_text("file_name,caption\na.png,a cat\nb.png,\nc.png,a dog\n")
    corpus = read_pictures(tmp_path / "pets.csv")
    assert [p.id for p in corpus] == ["a.png", "c.png"]
    assert [(row.id, row.reason) for row in corpus.skipped] == [
        ("b.png", "nothing is said about it: no caption, label or object")
    ]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("empty", r"no picture in this folder \(.*empty\); put the pictures of each class"),
        ("flat", r"nothing says what these pictures show.*flat\); put the pictures of each class"),
        ("single", "nothing says what these pictures show"),
        ("silent.csv", r"no picture can be used, most often: nothing is said about it"),
        ("same.csv", "all pictures have one label, 'cat', and no captions"),
        ("pest.csv", r"no such file or folder .*did you mean .*pets\.csv\?"),
        ("nowhere/at/all", "no such file or folder"),
        ("flat/a.png", "this is a single picture"),
        ("shards.zip", r"pictures cannot be read from a \.zip file .*; name a folder of pictures"),
        ("list.json", "not a COCO annotation file"),
    ],
)
def test_every_mistake_is_one_clear_line(tmp_path, path, error):
    (tmp_path / "empty").mkdir()
    draw(tmp_path, "flat/a.png", "flat/b.png", "single/cat/a.png")
    (tmp_path / "silent.csv").write_text("file_name,caption\nflat/a.png,\nflat/b.png, \n")
    (tmp_path / "same.csv").write_text("file_name,label\nflat/a.png,cat\nflat/b.png,cat\n")
    (tmp_path / "pets.csv").write_text("file_name,caption\nflat/a.png,a cat\n")
    (tmp_path / "shards.zip").write_bytes(b"")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(LucidaError, match=error) as caught:
        read_pictures(tmp_path / path)
    assert "\n" not in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.remedy


def bad_folder(root: Path) -> Path:
    """Good pictures, and one of each kind that is not."""
    classes(root, 5)
    whole = (root / "cat" / "0.png").read_bytes()
    (root / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "dog" / "text.png").write_text("hello")
    return root


def test_one_bad_picture_never_ends_a_run(tmp_path):
    corpus = read_pictures(bad_folder(tmp_path))
    assert len(corpus) == 13
    counted = []
    first = decode_all(corpus, 16, advance=lambda: counted.append(1))
    assert len(counted) == 13
    assert len(first.corpus) == len(first.pixels) == len(first.frames) == 10
    assert first.pixels.shape == (10, 16, 16, 3)
    for picture, pixels in zip(first.corpus, first.pixels, strict=True):
        assert pixels[5, 5].tolist() == np.asarray(picture.source.open())[2, 2].tolist()
    reasons = {row.id: row.reason for row in first.unreadable}
    assert set(reasons) == {"cat/cut.png", "cat/empty.jpg", "dog/text.png"}
    assert reasons["cat/empty.jpg"] == "the file is empty"
    assert first.corpus.skipped == first.unreadable

    second = decode_all(corpus, 16, advance=lambda: counted.append(1))
    assert len(counted) == 13  # from the cache, with what was skipped
    assert second.unreadable == first.unreadable
    assert second.corpus.pictures == first.corpus.pictures
    assert np.array_equal(second.pixels, first.pixels)

    (tmp_path / "cat" / "cut.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    assert len(decode_all(corpus, 16).corpus) == 11  # mended, and so read again


def test_the_cache_is_built_anew_without_its_list(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))
    corpus = read_pictures(bad_folder(tmp_path / "photos"))
    first = decode_all(corpus, 8)
    (record,) = (tmp_path / "cache" / "pixels").glob("*.json")
    record.unlink()
    assert decode_all(corpus, 8).unreadable == first.unreadable


def test_another_split_uses_the_same_pixels(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))
    classes(tmp_path / "photos", 5)
    for seed in (0, 1):
        decode_all(read_pictures(tmp_path / "photos", split_seed=seed), 8)
    assert len(list((tmp_path / "cache" / "pixels").glob("*.npy"))) == 1


def test_nothing_but_bad_pictures(tmp_path):
    for name in ("cat/1.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("text")
    with pytest.raises(LucidaError, match="no picture can be read; the first: not a picture"):
        decode_all(read_pictures(tmp_path), 16)


def coco(root: Path, noted: tuple[int, int], stored: tuple[int, int]) -> Corpus:
    draw(root, "a.png", size=stored)
    image = {"id": 1, "file_name": "a.png", "width": noted[0], "height": noted[1]}
    note = {"image_id": 1, "category_id": 1, "bbox": [noted[0] / 2, 0, noted[0], noted[1] / 4]}
    content = {"images": [image], "annotations": [note], "categories": [{"id": 1, "name": "cat"}]}
    (root / "i.json").write_text(json.dumps(content))
    return read_pictures(root / "i.json")


@pytest.mark.parametrize("stored", [(80, 40), (40, 20), (800, 400)])
def test_boxes_follow_the_picture_into_the_square(tmp_path, stored):
    decoded = decode_all(coco(tmp_path, (80, 40), stored), 32)
    assert decoded.frames.tolist() == [list(stored)]
    assert decoded.objects(0) == (PictureObject("cat", Box(16, 0, 16, 8)),)
    facts = decoded.facts(0)
    assert (facts.width, facts.height, facts.exhaustive) == (32, 32, True)
    assert facts.places == {"cat": "top right"}


def test_boxes_of_another_picture_are_left_out(tmp_path):
    decoded = decode_all(coco(tmp_path, (40, 80), (80, 40)), 32)
    assert decoded.objects(0) == (PictureObject("cat"),)


@given(*[st.floats(-50, 150) for _ in range(2)], *[st.floats(0.01, 100) for _ in range(2)], st.integers(1, 512))
def test_a_mapped_box_lies_in_the_square(x, y, width, height, size):
    box = map_box(Box(x, y, width, height), (100, 70), size)
    outside = x >= 100 or y >= 70 or x + width <= 0 or y + height <= 0
    if box is None:
        assert outside or min(width, height) < 0.02 * 100
    else:
        assert 0 <= box.x < box.x + box.width <= size + 1e-6
        assert 0 <= box.y < box.y + box.height <= size + 1e-6


def test_skipped_is_written_at_once(tmp_path):
    rows = [Skipped("a", "photos/a.png", "the file is empty"), Skipped("ü", "t.csv, line 3", "no such file")]
    write_skipped(tmp_path, rows)
    lines = (tmp_path / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(row) for row in rows]
    write_skipped(tmp_path, [])
    assert (tmp_path / "skipped.jsonl").read_text() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["skipped.jsonl"]


def test_50_000_photographs_are_sampled_quickly(shared_data):
    before = peak_memory_mb()
    corpus = read_pictures(shared_data / "cifar10" / "train.parquet", limit=6000)
    assert corpus.n_available == 50_000
    assert corpus.splits == {"train": 4800, "test": 600, "validation": 600}
    assert set(Counter(p.label for p in corpus).values()) == {600}
    decoded = decode_all(corpus.split("test"), 32)
    assert decoded.pixels.shape == (600, 32, 32, 3)
    assert peak_memory_mb() - before < 700


def test_128_photographs_with_boxes(shared_data):
    corpus = read_pictures(shared_data / "coco_boxes" / "instances.json")
    assert len(corpus) == 128
    decoded = decode_all(corpus, 64)
    assert not decoded.unreadable
    assert sum(len(decoded.facts(i).places) for i in range(128)) > 100
