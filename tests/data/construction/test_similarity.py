"""Filtering by an encoder's features, and hard negatives, against plain twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.construction.engines import Engine
from lucida.data.construction.hard_negatives import NegativeSettings, add_negatives, hard_negatives
from lucida.data.construction.reading import ReadSettings, read_source
from lucida.data.construction.rows import read_rows
from lucida.data.construction.similarity import SimilaritySettings, filter_by_similarity
from lucida.data.construction.sources import find_parts


@pytest.fixture
def source(pair_sources, tmp_path):
    for name in "ab":
        captions = [f"a caption {name}{i}" for i in range(6)]
        pair_sources.write_samples(tmp_path / "s" / f"{name}.tar", captions, first=ord(name))
    return read_source(find_parts(tmp_path / "s"), tmp_path / "read", ReadSettings(rows_each=4), Engine())


def angles(captions):
    """The last digit of a caption turns its text away from the picture."""
    turn = np.array([int(caption[-1]) for caption in captions]) * np.pi / 12
    return np.stack([np.cos(turn), np.sin(turn)], axis=1) * 7


def encode(sources, captions):
    assert all(source.stream().read() for source in sources)
    return np.tile([2.0, 0.0], (len(captions), 1)), angles(captions)


def kept(stage):
    return [(row["id"], row["similarity"]) for path in stage.paths for rows in read_rows(path) for row in rows]


def test_a_threshold_keeps_what_reaches_it(source, tmp_path):
    settings = SimilaritySettings("angles", threshold=float(np.cos(2.5 * np.pi / 12)))
    done = filter_by_similarity(source, tmp_path / "f", tmp_path / "s", encode, settings, Engine())
    assert [id for id, _ in kept(done)] == [f"{name}.tar:000{i}" for name in "ab" for i in range(3)]
    assert [value for _, value in kept(done)] == pytest.approx([np.cos(i * np.pi / 12) for i in (0, 1, 2)] * 2)
    assert done.manifest.dropped == {"unlike its caption": 6}


@pytest.mark.parametrize(("share", "ids"), [(0.25, "a0 a1 b0"), (1.0, None), (0.001, "a0")])
def test_a_share_keeps_the_nearest_and_of_equal_ones_the_first(source, tmp_path, share, ids):
    settings = SimilaritySettings("angles", share=share)
    done = filter_by_similarity(source, tmp_path / "f", tmp_path / "s", encode, settings, Engine(workers=2))
    found = " ".join(id[0] + id[-1] for id, _ in kept(done))
    assert found == (ids or " ".join(f"{name}{i}" for name in "ab" for i in range(6)))


@pytest.mark.parametrize("nearness", [{"share": 0.5}, {"threshold": float(np.cos(2.5 * np.pi / 12))}])
def test_what_is_held_out_stays_and_does_not_count(pair_sources, tmp_path, nearness):
    for split, digits in (("train", range(6)), ("test", (0, 0, 9, 9))):
        pair_sources.write_samples(tmp_path / "s" / f"{split}.tar", [f"a caption {digit}" for digit in digits])
    source = read_source(find_parts(tmp_path / "s"), tmp_path / "read", ReadSettings(), Engine())
    settings = SimilaritySettings("angles", **nearness)
    done = filter_by_similarity(source, tmp_path / "f", tmp_path / "s", encode, settings, Engine())
    ids = [id for id, _ in kept(done)]
    assert [id for id in ids if "test" in id] == [f"test.tar:000{i}" for i in range(4)]
    assert [id for id in ids if "train" in id] == [f"train.tar:000{i}" for i in range(3)]
    assert kept(done)[ids.index("test.tar:0003")][1] == pytest.approx(np.cos(9 * np.pi / 12), abs=1e-6)


def test_an_encoder_that_gives_nonsense_is_one_line(source, tmp_path):
    settings = SimilaritySettings("bad", threshold=0.1)
    for features, message in ((np.zeros((1, 2)), "features of shape"), (None, "not finite, or zero")):
        made = lambda s, c, f=features: (np.zeros((len(c), 2)), angles(c)) if f is None else (f, f)  # noqa: E731
        with pytest.raises(LucidaError, match=message):
            filter_by_similarity(source, tmp_path / "f", tmp_path / "s", made, settings, Engine())
    assert not (tmp_path / "f").exists()
    with pytest.raises(LucidaError, match="either"):
        SimilaritySettings("x")


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 6))
def test_hard_negatives_are_the_nearest_of_another_identity(seed, count, k):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 5)).astype(np.float32)
    identities = generator.integers(0, max(2, count // 3), count)
    found = hard_negatives(features, identities, k=k, too_near=0.9)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    for i in range(count):
        allowed = np.flatnonzero((identities != identities[i]) & (cosines[i] <= 0.9))
        best = np.sort(cosines[i, allowed])[::-1][:k]
        there = found.rows[i] >= 0
        assert there.sum() == len(best)
        assert found.cosines[i, there] == pytest.approx(best, abs=1e-5)
        assert set(found.rows[i, there]) <= set(allowed)
        assert len(set(found.rows[i, there])) == len(best)


def test_hard_negatives_cross_blocks(monkeypatch):
    monkeypatch.setattr("lucida.data.construction.hard_negatives._BLOCK", 3)
    features = np.array([[1, 0], [1, 0.1], [1, 0.3], [0, 1], [0.1, 1], [-1, 0], [1, 0.001]], np.float32)
    found = hard_negatives(features, ["a", "b", "c", "d", "e", "f", "g"], k=2, too_near=0.9999)
    assert found.rows[0].tolist() == [1, 2]  # row 6 is too near: the same thing under another name
    captions = ["one", "two", "one", "x", "y", "z", "w"]
    assert hard_negatives(features, range(7), captions=captions, k=2, too_near=0.9999).rows[0].tolist() == [1, 4]
    splits = ["train", "test", "train", "train", "test", "test", "test"]
    assert hard_negatives(features, range(7), splits=splits, k=3, too_near=0.9999).rows[0].tolist() == [2, 3, -1]
    with pytest.raises(LucidaError, match="row 3"):
        hard_negatives(np.where(np.arange(7)[:, None] == 3, 0, features), range(7))


def test_a_stage_notes_hard_negatives_with_each_pair(source, tmp_path):
    """All rows stay; the neighbours are those of the plain function on both features, and no caption's own."""
    done = add_negatives(source, tmp_path / "n", tmp_path / "s", encode, NegativeSettings("angles", each=2), Engine())
    rows = [row for path in done.paths for rows in read_rows(path) for row in rows]
    before = [row for path in source.paths for rows in read_rows(path) for row in rows]
    assert [{**row, "negatives": None} for row in rows] == before
    captions = [row["caption"] for row in rows]
    unit = angles(captions) / 7
    features = np.concatenate([np.tile([1.0, 0.0], (len(rows), 1)), unit], axis=1)
    plain = hard_negatives(features, captions, k=2).rows
    assert [row["negatives"] for row in rows] == [[rows[i]["id"] for i in near if i >= 0] for near in plain]
    assert len(rows[0]["negatives"]) == 2
    assert done.manifest.facts == {"without_negatives": 0}
    assert not (tmp_path / "n" / "features.npy").exists()
    again = add_negatives(source, tmp_path / "n", tmp_path / "s", encode, NegativeSettings("angles", each=2), Engine())
    assert again.resumed


def test_the_negatives_of_a_pair_are_of_its_split(pair_sources, tmp_path):
    for split, captions in (("train", ["a dog 0", "a dog 4"]), ("test", ["a dog 2", "a dog 6"])):
        pair_sources.write_samples(tmp_path / "s" / f"{split}.tar", captions)
    read = read_source(find_parts(tmp_path / "s"), tmp_path / "read", ReadSettings(), Engine())
    done = add_negatives(read, tmp_path / "n", tmp_path / "s", encode, NegativeSettings("angles", each=3), Engine())
    rows = {row["id"]: row for path in done.paths for rows in read_rows(path) for row in rows}
    assert {row["split"] for row in rows.values()} == {"train", "test"}
    for row in rows.values():
        assert row["negatives"]
        assert {rows[one]["split"] for one in row["negatives"]} == {row["split"]}


def test_pairs_of_one_caption_are_no_negatives_of_each_other(pair_sources, tmp_path):
    pair_sources.write_samples(tmp_path / "s" / "a.tar", ["a dog 0", "A dog, 0", "a dog 1", "a dog 5"])
    read = read_source(find_parts(tmp_path / "s"), tmp_path / "read", ReadSettings(), Engine())
    done = add_negatives(read, tmp_path / "n", tmp_path / "s", encode, NegativeSettings("angles", each=1), Engine())
    rows = [row for path in done.paths for rows in read_rows(path) for row in rows]
    assert [row["negatives"] for row in rows[:2]] == [[rows[3]["id"]]] * 2  # "a dog 1" is too near
    with pytest.raises(LucidaError, match="each cannot be 0"):
        NegativeSettings("x", each=0)
