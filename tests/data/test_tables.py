"""Tables: Parquet, CSV and JSON lines named by the user."""

from __future__ import annotations

import io
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.data.columns import find_columns, read_facts
from lucida.data.listing import Listing
from lucida.data.parquet import ParquetSource
from lucida.data.pictures import BadPicture, Picture, Skipped
from lucida.data.tables import list_table


def png(shade: int, size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def shade(source: Any) -> int:
    return int(np.asarray(source.open())[0, 0, 0])


def read(listing: Listing) -> list[Picture | Skipped]:
    return listing.pictures(range(len(listing)))


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = options.pop("class_names", None)
    table = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, **options)
    return path


def test_none_may_be_asked_of_a_table(tmp_path):
    """A sample of many files takes nothing out of some."""
    path = write_parquet(tmp_path / "a.parquet", {"image": [png(1)], "label": ["cat"]})
    assert list_table(path).pictures([]) == []


def test_parquet_with_pictures_inside(tmp_path):
    cells = [{"bytes": png(i), "path": f"{i}.png"} for i in range(5)]
    path = write_parquet(
        tmp_path / "a.parquet",
        {
            "image": cells,
            "label": [0, 1, 0, -1, None],
            "caption": ["x", "y", "", None, "z"],
            "split": ["train"] * 4 + ["val"],
        },
        class_names=["cat", "dog"],
    )
    listing = list_table(path)
    assert list(listing.labels) == ["cat", "dog", "cat", None, None]
    assert list(listing.splits) == ["train"] * 4 + ["validation"]
    rows = read(listing)
    assert [p.id for p in rows] == [f"a.parquet:{i}" for i in range(5)]
    assert [p.captions for p in rows] == [("x",), ("y",), (), (), ("z",)]
    assert [shade(p.source) for p in rows] == list(range(5))
    assert [p.id for p in listing.pictures([3, 1])] == ["a.parquet:3", "a.parquet:1"]
    assert rows[2].source.where == f"{path}, row 2"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_parquet_with_plain_bytes(tmp_path, kind):
    path = write_parquet(
        tmp_path / "a.parquet", {"img": pa.array([png(7), b"", None, b"text"], kind), "text": list("abcd")}
    )
    first, *bad = read(list_table(path))
    assert shade(first.source) == 7
    for row, reason in zip(bad, ("holds no picture", "holds no picture", "not a picture"), strict=True):
        with pytest.raises(BadPicture, match=reason):
            row.source.open()


def test_parquet_with_paths(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(png(9))
    path = write_parquet(tmp_path / "a.parquet", {"image": ["1.png", "1.png", "2.png"], "caption": ["a", "b", "c"]})
    listing = list_table(path)
    (picture,) = read(listing)
    assert (picture.captions, shade(picture.source)) == (("a", "b"), 9)
    assert [row.id for row in listing.skipped] == ["2.png"]
    cells = [{"bytes": None, "path": "images/1.png"}]
    path = write_parquet(tmp_path / "b.parquet", {"image": cells, "caption": ["a"]})
    assert shade(read(list_table(path))[0].source) == 9


def test_lists_of_captions_and_labels_in_parquet(tmp_path):
    path = write_parquet(
        tmp_path / "a.parquet",
        {
            "image": [png(1)] * 2,
            "sentences": [[{"raw": "a cat", "id": 1}, {"raw": "cat", "id": 2}], []],
            "labels": [["cat", "mat"], []],
        },
    )
    first, second = read(list_table(path))
    assert first.captions == ("a cat", "cat")
    assert [thing.name for thing in first.objects] == ["cat", "mat"]
    assert (first.label, second.captions, second.objects) == (None, (), ())


def test_a_number_beyond_the_names_is_that_row_s_fault(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": [png(1)] * 2, "label": [0, 7]}, class_names=["cat"])
    good, bad = read(list_table(path))
    assert good.label == "cat"
    assert isinstance(bad, Skipped)
    assert "label 7 of 1 names" in bad.reason


def test_rows_are_found_in_any_order_and_by_several_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("lucida.data.parquet._BATCH_ROWS", 4)
    path = write_parquet(tmp_path / "a.parquet", {"image": [png(i) for i in range(100)]}, row_group_size=30)
    sources = [ParquetSource(str(path), "image", i) for i in range(100)]
    order = np.random.default_rng(0).permutation(100)
    assert [shade(sources[i]) for i in order] == order.tolist()
    seen: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda k=k: seen.update({i: shade(sources[i]) for i in range(k, 100, 2)}))
        for k in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {i: i for i in range(100)}


def test_a_parquet_source_is_small_and_knows_its_file(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": [png(1), png(2)]})
    source = ParquetSource(str(path), "image", 1)
    assert shade(pickle.loads(pickle.dumps(source))) == 2
    keys = {source.content_key(), ParquetSource(str(path), "image", 0).content_key()}
    write_parquet(path, {"image": [png(3), png(4), png(5)]})
    assert len(keys | {source.content_key()}) == 3
    assert shade(source) == 4


def test_parquet_that_cannot_be_used(tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("text.parquet", "empty.parquet"):
        with pytest.raises(LucidaError, match="not a readable Parquet file"):
            list_table(tmp_path / name)
    path = write_parquet(tmp_path / "a.parquet", {"image": [[1, 2]], "label": ["x"]})
    with pytest.raises(LucidaError, match=r"column 'image' holds list.*not encoded pictures"):
        list_table(path)


def test_a_damaged_parquet_file_costs_its_rows_only(tmp_path):
    path = write_parquet(
        tmp_path / "a.parquet", {"image": [os.urandom(200) for _ in range(40)]}, row_group_size=20, compression="zstd"
    )
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 4] = bytes(len(data) // 4 - 4)
    path.write_bytes(data)
    with pytest.raises(BadPicture, match="damaged here"):
        ParquetSource(str(path), "image", 3).open()
    with pytest.raises(BadPicture, match="not a picture"):
        ParquetSource(str(path), "image", 30).open()


def test_csv_in_the_form_of_flickr(tmp_path):
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "1.jpg").write_bytes(png(5))
    path = tmp_path / "captions.csv"
    path.write_text('image;caption\n1.jpg;"A dog; running."\n1.jpg;A dog.\n\n')
    (picture,) = read(list_table(path))
    assert picture.captions == ("A dog; running.", "A dog.")


def test_rows_that_contradict_each_other_are_skipped(tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(png(1))
    path = tmp_path / "a.csv"
    path.write_text("file,class\n1.png,cat\n1.png,dog\n1.png,cat\n2.png,cat\n,dog\n")
    listing = list_table(path)
    assert [p.id for p in read(listing)] == ["2.png"]
    assert {row.id: row.reason for row in listing.skipped} == {
        "1.png": "rows of the table give it different labels",
        "a.csv:6": "the row has no 'file'",
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "the table is empty"),
        ("fil_name,caption\n1.png,x\n", r"'fil_name', 'caption' .*name one .* 'file_name' \(nearest: 'fil_name'\)"),
        ("file_name,captoin\n1.png,x\n", r"no column with captions.*'file_name', 'captoin'.*\(nearest: 'captoin'\)"),
        ("file_name,caption\ngone.png,x\n", r"none of the 1 files .*'file_name' is there; the first is 'gone\.png'"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(tmp_path, text, error):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(LucidaError, match=error):
        list_table(path)


def test_text_that_is_not_utf_8(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("file_name,caption\n1.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(LucidaError, match="not UTF-8 text"):
        list_table(path)


FACTS = find_columns(["image", "caption", "label", "objects", "split"], Path("a.csv"))
CELLS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["[1", '["a"]', "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bbox", "name", "raw", "x"]), inner),
    max_leaves=6,
)


@given(st.fixed_dictionaries({name: CELLS for name in ("caption", "label", "objects", "split")}))
def test_any_cell_is_understood_or_a_value_error(row):
    try:
        facts = read_facts(row, FACTS, {})
    except (ValueError, TypeError):
        return
    assert all(isinstance(text, str) and text for text in facts.captions)
    assert facts.label is None or facts.label.strip()
    assert all(thing.name for thing in facts.objects)
