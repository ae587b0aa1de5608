"""Sources of pairs: every kind gives the same rows, and what is no pair is counted by reason."""

from __future__ import annotations

import json
import os
from collections import Counter

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lucida.core.errors import LucidaError
from lucida.data.arrow import ArrowSource
from lucida.data.construction import rows as rows_module
from lucida.data.construction.engines import Engine
from lucida.data.construction.reading import ReadSettings, read_source
from lucida.data.construction.rows import read_picture, read_rows, source_of
from lucida.data.construction.sources import find_pairs, find_parts
from lucida.data.construction.tar_files import TarSource
from lucida.data.decoding import FileSource
from lucida.data.parquet import ParquetSource
from lucida.data.pictures import BadPicture

CAPTIONS = ["a red cat", "a blue dog", 'a "green", bird\nand more']


def found(path, **options):
    parts = find_parts(path, **options)
    rows = [pair for part in parts for pair in find_pairs(part)]
    return [row for row, reason in rows if not reason], Counter(reason for _, reason in rows if reason), parts[0].root


def write_source(kind, folder, pair_sources):
    """The same three pairs, one way after another, with one more row that is none."""
    pictures = [pair_sources.picture(i) for i in range(4)]
    if kind == "tar":
        members = [m for i, c in enumerate(CAPTIONS) for m in ((f"{i}.jpg", pictures[i]), (f"{i}.txt", c.encode()))]
        pair_sources.write_tar(folder / "train" / "a.tar", [*members, ("9.jpg", pictures[3])])
        return folder, TarSource
    if kind == "parquet":
        cells = [{"bytes": data, "path": None} for data in pictures]
        table = pa.table({"image": cells, "caption": [*CAPTIONS, None]})
        (folder / "train").mkdir(parents=True)
        pq.write_table(table, folder / "train" / "a.parquet")
        return folder, ParquetSource
    if kind == "arrow":
        columns = {"image": [{"bytes": data, "path": None} for data in pictures], "caption": [*CAPTIONS, None]}
        features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
        made = datasets.Dataset.from_dict(columns, features=features)
        datasets.DatasetDict({"train": made}).save_to_disk(folder)
        (folder / "train" / "cache-0123.arrow").write_bytes(b"what datasets computed")
        return folder, ArrowSource
    (folder / "images").mkdir(parents=True)
    for i, data in enumerate(pictures):
        (folder / "images" / f"{i}.jpg").write_bytes(data)
    if kind == "texts":
        for i, caption in enumerate(CAPTIONS):
            (folder / "images" / f"{i}.txt").write_text(caption, encoding="utf-8")
        return folder / "images", FileSource
    rows = [{"file_name": f"{i}.jpg", "caption": caption} for i, caption in enumerate([*CAPTIONS, ""])]
    if kind == "jsonl":
        path = folder / "train.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        path = folder / "train.csv"
        lines = ['"{}","{}"'.format(r["file_name"], r["caption"].replace('"', '""')) for r in rows]
        path.write_text("\n".join(["file_name,caption", *lines]) + "\n", encoding="utf-8")
    elif kind == "paths":
        path = folder / "train.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path = folder / "captions_train.json"
        images = [{"id": i, "file_name": row["file_name"]} for i, row in enumerate(rows)]
        notes = [{"image_id": i, "caption": row["caption"]} for i, row in enumerate(rows)]
        path.write_text(json.dumps({"images": images, "annotations": notes}), encoding="utf-8")
    return path, FileSource


@pytest.mark.parametrize("kind", ["tar", "parquet", "arrow", "texts", "jsonl", "csv", "paths", "coco"])
def test_every_kind_of_source_gives_the_same_pairs(pair_sources, tmp_path, kind):
    path, source_kind = write_source(kind, tmp_path / "source", pair_sources)
    rows, refused, root = found(path)
    assert [" ".join(row["caption"].split()) for row in rows] == [" ".join(c.split()) for c in CAPTIONS]
    assert refused == {"a picture without a caption": 1}
    assert {row["split"] for row in rows} == ({None} if kind == "texts" else {"train"})
    assert len({row["id"] for row in rows}) == len({row["identity"] for row in rows}) == 3
    for i, row in enumerate(rows):
        source = source_of(row, root)
        assert isinstance(source, source_kind)
        assert source.stream().read() == pair_sources.picture(i)
        assert not row["file"].startswith("/")


def test_several_captions_of_one_picture_share_its_identity(pair_sources, tmp_path):
    (tmp_path / "a.jpg").write_bytes(pair_sources.picture(0))
    row = {"file_name": "a.jpg", "captions": ["one", "two"]}
    (tmp_path / "t.jsonl").write_text(json.dumps(row), encoding="utf-8")
    rows, _, _ = found(tmp_path / "t.jsonl")
    assert [(r["id"], r["caption"], r["identity"]) for r in rows] == [
        ("t.jsonl:1#0", "one", "a.jpg"), ("t.jsonl:1#1", "two", "a.jpg"),
    ]  # fmt: skip


def test_bad_rows_of_tables_are_counted(pair_sources, tmp_path):
    (tmp_path / "a.jpg").write_bytes(pair_sources.picture(0))
    lines = [
        '{"file_name": "a.jpg", "caption": "fine"}',
        "{broken",
        "[1]",
        '{"caption": "no picture"}',
        '{"file_name": "gone.jpg", "caption": "x"}',
        '{"file_name": "a.jpg", "caption": ' + "[" * 5000,
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows, refused, _ = found(tmp_path / "t.jsonl")
    assert len(rows) == 1
    assert refused == {
        "a line that is not JSON": 2, "a line that is no JSON object": 1, "a caption without a picture": 1,
        "no such file": 1,
    }  # fmt: skip
    (tmp_path / "t.csv").write_text("file_name,caption\na.jpg,fine\na.jpg\na.jpg,x,y\n", encoding="utf-8")
    rows, refused, _ = found(tmp_path / "t.csv")
    assert len(rows) == 1
    assert refused == {"a row with more or fewer fields than the header": 2}


def test_a_quote_that_is_never_closed_is_one_line(pair_sources, tmp_path):
    (tmp_path / "t.csv").write_text('file_name,caption\na.jpg,"' + "x" * 2_000_000, encoding="utf-8")
    with pytest.raises(LucidaError, match="not a table"):
        found(tmp_path / "t.csv")


def test_half_a_character_becomes_a_broken_one(pair_sources, tmp_path):
    """JSON can spell what UTF-8 cannot; it is kept, so that cleaning drops it by its reason."""
    (tmp_path / "a.jpg").write_bytes(pair_sources.picture(0))
    lines = [
        '{"file_name": "a.jpg", "caption": "is it a \\ud83d dog?"}',
        '{"file_name": "\\udcff.jpg", "caption": "x"}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = read_source(find_parts(tmp_path / "t.jsonl"), tmp_path / "out", ReadSettings(), Engine())
    rows = [row for path in done.paths for rows in read_rows(path) for row in rows]
    assert [row["caption"] for row in rows] == ["is it a \ufffd dog?"]
    assert done.manifest.dropped == {"a file name that is not UTF-8": 1}


def test_a_file_whose_name_is_no_text_is_counted(pair_sources, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    for name in (b"fine", b"bad\xff"):
        for suffix, data in ((b".jpg", pair_sources.picture(0)), (b".txt", b"a caption")):
            try:
                (folder / os.fsdecode(name + suffix)).write_bytes(data)
            except OSError:
                pytest.skip("this file system knows no such names")
    done = read_source(find_parts(folder), tmp_path / "out", ReadSettings(), Engine())
    assert done.manifest.rows_out == 1
    assert done.manifest.dropped == {"a file name that is not UTF-8": 1}


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "MEMBER_LIMIT", 100)
    (tmp_path / "a.jpg").write_bytes(b"x" * 101)
    with pytest.raises(BadPicture, match="a file above"):
        read_picture(FileSource(str(tmp_path / "a.jpg")))


def test_captions_whose_pictures_are_elsewhere(tmp_path):
    pq.write_table(pa.table({"URL": ["http://x/1.jpg", None], "TEXT": ["one", "two"]}), tmp_path / "t.parquet")
    rows, _, _ = found(tmp_path / "t.parquet", captions_only=True)
    assert [(r["caption"], r["file"], r["identity"]) for r in rows] == [
        ("one", "http://x/1.jpg", "http://x/1.jpg"), ("two", None, "t.parquet:1"),
    ]  # fmt: skip
    with pytest.raises(LucidaError, match="no column with pictures"):
        found(tmp_path / "t.parquet")


def test_parts_are_cut_into_shards_and_nothing_is_lost(pair_sources, tmp_path):
    for name, count in (("a", 5), ("b", 2), ("c", 0)):
        pair_sources.write_samples(tmp_path / "s" / f"{name}.tar", [f"a caption {name}{i}" for i in range(count)])
    done = read_source(find_parts(tmp_path / "s"), tmp_path / "out", ReadSettings(rows_each=2), Engine())
    assert [shard.rows for shard in done.manifest.shards] == [2, 2, 1, 2, 0]
    captions = [row["caption"] for path in done.paths for rows in read_rows(path) for row in rows]
    assert captions == [f"a caption a{i}" for i in range(5)] + ["a caption b0", "a caption b1"]


def test_a_changed_source_is_read_again(pair_sources, tmp_path):
    path = pair_sources.write_samples(tmp_path / "s" / "a.tar", ["a caption", "one more"])
    parts = find_parts(tmp_path / "s")
    assert not read_source(parts, tmp_path / "out", ReadSettings(), Engine()).resumed
    assert read_source(parts, tmp_path / "out", ReadSettings(), Engine()).resumed
    data = path.read_bytes()
    path.write_bytes(data.replace(b"one more", b"one less"))
    assert not read_source(parts, tmp_path / "out", ReadSettings(), Engine()).resumed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "no picture"),
        (lambda p: (p.mkdir(), (p / "a.tar").write_bytes(b"x" * 600)), "not a tar archive"),
        (lambda p: (p.mkdir(), (p / "a.tar").write_bytes(bytes(1024))), "there is no pair"),
        (lambda p: p.write_text("x"), "pairs cannot be read"),
        (lambda p: (p.mkdir(), (p / "a.arrow").write_bytes(b"x" * 600)), "not a readable Arrow file"),
    ],
)
def test_what_holds_no_pair_is_one_line(tmp_path, make, message):
    make(tmp_path / "s")
    with pytest.raises(LucidaError, match=message):
        read_source(find_parts(tmp_path / "s"), tmp_path / "out", ReadSettings(), Engine())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_picture_of_a_damaged_arrow_file_is_one_reason(tmp_path):
    (tmp_path / "a.arrow").write_bytes(b"x" * 600)
    with pytest.raises(BadPicture, match="not a readable Arrow file"):
        ArrowSource(str(tmp_path / "a.arrow"), "image", 0).stream()
    datasets.Dataset.from_dict({"image": [None]}).save_to_disk(tmp_path / "d")
    (path,) = (tmp_path / "d").glob("*.arrow")
    for column, row, message in (
        ("image", 0, "holds no picture"),
        ("image", 9, "no such row"),
        ("x", 0, "no such row"),
    ):
        with pytest.raises(BadPicture, match=message):
            ArrowSource(str(path), column, row).stream()


def test_a_table_of_addresses_says_how_it_is_read(tmp_path):
    """As LAION's are: pictures are elsewhere."""
    pq.write_table(
        pa.table({"URL": ["http://x/1.jpg", "http://x/2.jpg"], "TEXT": ["a dog", None]}), tmp_path / "a.parquet"
    )
    with pytest.raises(LucidaError, match="--captions-only"):
        found(tmp_path)
    rows, refused, _ = found(tmp_path, captions_only=True)
    assert [(row["file"], row["caption"]) for row in rows] == [("http://x/1.jpg", "a dog")]
    assert refused == {"an empty caption": 1}
