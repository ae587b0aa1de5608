"""Whole chains of stages: what is planted is dropped for its reason, engines agree, stops do no harm."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest

from lucida.core.errors import LucidaError
from lucida.data.construction import engines
from lucida.data.construction.balancing import BalanceSettings, balance
from lucida.data.construction.cleaning import CleanSettings, clean
from lucida.data.construction.duplicates import DuplicateSettings, deduplicate
from lucida.data.construction.engines import Engine
from lucida.data.construction.pair_files import WriteSettings, write_pairs
from lucida.data.construction.reading import ReadSettings, read_source
from lucida.data.construction.rows import read_rows
from lucida.data.construction.sources import find_parts
from lucida.data.construction.stages import Manifest
from lucida.data.parquet import open_parquet
from lucida.data.readers import read_pictures


def chain(source: Path, out: Path, engine: Engine, *, format="webdataset"):
    """All stages on a folder."""
    parts = find_parts(source)
    root = parts[0].root
    done = [read_source(parts, out / "read", ReadSettings(rows_each=7), engine)]
    done.append(clean(done[-1], out / "clean", root, CleanSettings(), engine))
    done.append(deduplicate(done[-1], out / "deduplicate", DuplicateSettings(same_caption=1), engine))
    done.append(balance(done[-1], out / "balance", BalanceSettings(cap=4, min_count=2), engine))
    done.append(write_pairs(done[-1], out / "write", root, WriteSettings(format), engine))
    return done


def rows_of(stage):
    return [row for path in stage.paths for rows in read_rows(path) for row in rows]


@pytest.fixture
def source(pair_sources, tmp_path):
    """Two archives: pictures again, captions again, boilerplate, broken and extreme pictures."""
    picture = pair_sources.picture
    pairs = [
        (picture(i), f"the {'dog' if i % 2 else 'cat'} numbered {'xyzuvwabcdef'[i]}{i} sits there") for i in range(12)
    ]
    odd = [
        (picture(0), "the very same picture with other words"),
        (picture(1, size=(128, 96), quality=60), "a larger save of a picture"),
        (picture(50), "The DOG numbered y1, sits there!"),
        (picture(51), "the dog numbered y1 sits there a"),
        (picture(52)[:400], "a broken file of something"),
        (picture(53, size=(20, 20)), "a tiny picture of something"),
        (picture(54, size=(600, 40)), "a strip of something long"),
        (picture(55), "IMG_0042.jpg"),
        (picture(56), "click here"),
        (picture(57), "mojibake \ufffd in here"),
        (picture(58), "word"),
        (picture(59), "long " * 300),
    ]
    folder = tmp_path / "source"
    for name, part in (("a", pairs), ("b", odd)):
        members = [m for i, (d, c) in enumerate(part) for m in ((f"{i:03d}.jpg", d), (f"{i:03d}.txt", c.encode()))]
        pair_sources.write_tar(folder / f"{name}.tar", members)
    return folder


def test_what_is_planted_is_dropped_for_its_reason(source, tmp_path):
    _, cleaned, unique, balanced, written = chain(source, tmp_path / "out", Engine())
    assert cleaned.manifest.dropped == {
        "boilerplate": 2, "a caption that is too long": 1, "a caption that is too short": 1,
        "a caption with broken characters": 1, "a picture of extreme shape": 1, "a picture that cannot be read": 1,
        "a tiny picture": 1,
    }  # fmt: skip
    assert unique.manifest.dropped == {
        "a near-copy of a picture": 1, "almost the same caption": 1, "the same caption again": 1,
        "the same picture again": 1,
    }  # fmt: skip
    twins = {row["id"]: row["twin"] for path in unique.dropped_paths for rows in read_rows(path) for row in rows}
    assert twins == {
        "b.tar:000": "a.tar:000",
        "b.tar:001": "a.tar:001",
        "b.tar:002": "a.tar:001",
        "b.tar:003": "a.tar:001",
    }
    assert [row["id"] for row in rows_of(unique)] == [f"a.tar:{i:03d}" for i in range(12)]
    assert balanced.manifest.rows_out <= 12
    assert written.manifest.rows_out == balanced.manifest.rows_out


def test_nothing_is_lost_and_nothing_is_twice(source, tmp_path):
    """At every stage rows in = rows out + rows dropped, and ids are those that came in."""
    before = None
    for stage in chain(source, tmp_path / "out", Engine())[:-1]:
        dropped = [row["id"] for path in stage.dropped_paths for rows in read_rows(path) for row in rows]
        ids = [row["id"] for row in rows_of(stage)]
        assert len(ids) == stage.manifest.rows_out
        assert len(dropped) == sum(stage.manifest.dropped.values())
        assert stage.manifest.rows_in == len(ids) + len(dropped)
        if before is not None:
            assert sorted(ids + dropped) == sorted(before)
        before = ids


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_what_is_written_is_read_again(source, tmp_path, format):
    *_, balanced, written = chain(source, tmp_path / "out", Engine(), format=format)
    parts = find_parts(tmp_path / "out" / "write" / "shards")
    again = read_source(parts, tmp_path / "again", ReadSettings(), Engine())
    assert not again.manifest.dropped
    assert [row["caption"] for row in rows_of(again)] == [row["caption"] for row in rows_of(balanced)]
    looked = clean(again, tmp_path / "looked", parts[0].root, CleanSettings(), Engine())
    assert [row["digest"] for row in rows_of(looked)] == [row["digest"] for row in rows_of(balanced)]
    assert written.manifest.rows_out > 0
    corpus = read_pictures(tmp_path / "out" / "write" / "shards")  # as `lucida run` reads it
    assert [picture.captions for picture in corpus] == [(row["caption"],) for row in rows_of(balanced)]


def kept_of(pair_sources, tmp_path, pairs, **settings):
    """What deduplicating leaves of (seed of the picture, caption)."""
    members = [
        m
        for i, (seed, c) in enumerate(pairs)
        for m in ((f"{i}.jpg", pair_sources.picture(seed)), (f"{i}.txt", c.encode()))
    ]
    parts = find_parts(pair_sources.write_tar(tmp_path / "s" / "a.tar", members))
    read = read_source(parts, tmp_path / "r", ReadSettings(rows_each=3), Engine())
    cleaned = clean(read, tmp_path / "c", parts[0].root, CleanSettings(), Engine())
    done = deduplicate(cleaned, tmp_path / "d", DuplicateSettings(**settings), Engine())
    return [int(row["id"].rpartition(":")[2]) for row in rows_of(done)]


@pytest.mark.parametrize(("most", "kept"), [(1, [0, 2]), (2, [0, 1, 2]), (3, [0, 1, 2, 3]), (0, [0, 1, 2, 3, 4])])
def test_so_many_pairs_of_a_caption_stay(pair_sources, tmp_path, most, kept):
    captions = ["one caption", "One caption.", "quite another one", "one caption", "one caption!"]
    pairs = list(enumerate(captions))
    assert kept_of(pair_sources, tmp_path, pairs, same_caption=most) == kept


def test_a_caption_counts_only_where_its_picture_stays(pair_sources, tmp_path):
    """The second pair goes for its picture, so it must not take the third with it."""
    pairs = [(0, "some first words"), (0, "a caption for two"), (1, "a caption for two"), (2, "a caption for two")]
    assert kept_of(pair_sources, tmp_path, pairs, same_caption=1) == [0, 2]


def test_a_caption_is_a_duplicate_only_with_its_picture(pair_sources, tmp_path):
    """ "A dog" is true of many pictures: unless somebody caps it, every one of them keeps it."""
    pairs = [(0, "a dog"), (1, "a dog"), (2, "A dog!"), (1, "a dog"), (0, "a cat")]
    assert kept_of(pair_sources, tmp_path, pairs) == [0, 1, 2]
    assert kept_of(pair_sources, tmp_path, pairs, same_caption=2) == [0, 1]


def table_of(tmp_path, rows, **settings):
    """What deduplicating captions alone drops of (address, caption), and for what reason."""
    lines = [json.dumps({"url": url, "caption": caption}) for url, caption in rows]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    parts = find_parts(tmp_path / "t.jsonl", captions_only=True)
    read = read_source(parts, tmp_path / "r", ReadSettings(rows_each=2, captions_only=True), Engine())
    done = deduplicate(read, tmp_path / "d", DuplicateSettings(**settings), Engine())
    return [
        (int(row["id"].rpartition(":")[2]), row["reason"], int(row["twin"].rpartition(":")[2]))
        for path in done.dropped_paths for rows in read_rows(path) for row in rows
    ]  # fmt: skip


def test_one_address_is_one_picture(tmp_path):
    """Its captions stay, unless they are almost one; another address may have the same."""
    first = "a brown dog that runs along the beach in the sun"
    almost = f"{first} x"
    rows = [("u", first), ("v", first), ("u", "sand and sea"), ("u", almost), ("u", first.upper()), ("w", almost)]
    found = [(4, "almost the same pair", 1), (5, "the same pair again", 1)]
    assert table_of(tmp_path, rows) == found
    capped = [(2, "the same caption again", 1), (6, "almost the same caption", 1)]
    assert sorted(table_of(tmp_path, rows, same_caption=1)) == sorted(found + capped)
    assert [number for number, *_ in table_of(tmp_path, rows, caption_likeness=1.0)] == [5]


def test_captions_without_any_picture_are_compared_as_such(tmp_path):
    """Nothing else is known of them; beside them a row with an address is another pair."""
    rows = [("", "a dog on a hill"), ("", "A dog on a hill."), ("u", "a dog on a hill"), ("", "a cat")]
    assert table_of(tmp_path, rows) == [(2, "the same caption again", 1)]


def manifests(out: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text(encoding="utf-8") for path in out.glob("*/manifest.json")}


def test_processes_write_the_same_bytes(source, tmp_path):
    chain(source, tmp_path / "one", Engine())
    chain(source, tmp_path / "two", Engine(workers=2))
    assert manifests(tmp_path / "one") == manifests(tmp_path / "two")
    assert len(manifests(tmp_path / "one")) == 5


def test_ray_writes_the_same_bytes(source, tmp_path):
    """Manifests have the hashes of all that was written."""
    if importlib.util.find_spec("ray") is None:
        print("skipped: Ray is not installed (pip install 'camera-lucida[ray]')")
        pytest.skip("Ray is not installed")
    import ray

    try:
        chain(source, tmp_path / "one", Engine())
        chain(source, tmp_path / "ray", Engine("ray", 1))
        with pytest.raises(LucidaError, match="not a readable Parquet file"):
            Engine("ray", 1).map(open_parquet, [tmp_path / "gone.parquet"], "items")
    finally:
        ray.shutdown()
    assert manifests(tmp_path / "one") == manifests(tmp_path / "ray")
    assert len(manifests(tmp_path / "one")) == 5


def test_an_engine_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(LucidaError, match="Ray is not installed"):
        Engine("ray")


def test_a_finished_stage_is_not_done_again_unless_something_changed(source, tmp_path):
    out = tmp_path / "out"
    assert not any(stage.resumed for stage in chain(source, out, Engine()))
    assert all(stage.resumed for stage in chain(source, out, Engine(workers=2)))
    parts = find_parts(source)
    read = read_source(parts, out / "read", ReadSettings(rows_each=7), Engine())
    assert not clean(read, out / "clean", parts[0].root, CleanSettings(min_words=3), Engine()).resumed
    done = chain(source, out, Engine())  # back to the settings of before: cleaned anew, to the same bytes
    assert [stage.resumed for stage in done] == [True, False, True, True, True]
    shard = done[2].paths[0]
    shard.write_bytes(shard.read_bytes()[:-1])  # damaged on disk
    assert [stage.resumed for stage in chain(source, out, Engine())] == [True, True, False, True, True]
    (out / "balance" / "manifest.json").write_text("{", encoding="utf-8")
    assert [stage.resumed for stage in chain(source, out, Engine())] == [True, True, True, False, True]


def test_a_stage_that_fails_leaves_the_last_good_one(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    done = chain(source, out, Engine())
    before = manifests(out)
    monkeypatch.setattr("lucida.data.construction.cleaning.clean_shard", _fail_shard)
    with pytest.raises(LucidaError):
        clean(done[0], out / "clean", source, CleanSettings(min_words=3), Engine())
    assert manifests(out) == before
    assert not list(out.glob(".*"))


def _fail_shard(item, **_):
    raise LucidaError("stopped")


def test_a_manifest_has_no_times_and_no_places(source, tmp_path):
    """Two folders, two copies of the source, at two times: the same manifests."""
    chain(source, tmp_path / "one", Engine())
    source.rename(tmp_path / "moved")
    chain(tmp_path / "moved", tmp_path / "elsewhere" / "two", Engine())
    assert manifests(tmp_path / "one") == manifests(tmp_path / "elsewhere" / "two")
    content = json.loads(next(iter(manifests(tmp_path / "one").values())))
    assert set(content) == set(Manifest.__dataclass_fields__)
    assert str(tmp_path) not in "".join(manifests(tmp_path / "one").values())


def test_map_keeps_the_order():
    assert Engine(workers=2).map(partial(pow, 2), list(range(6)), "powers") == [1, 2, 4, 8, 16, 32]
