"""Links and groups on DuckDB against plain twins that compare all pairs."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lucida.data.construction import links
from lucida.data.construction.caption_hashes import jaccard, normal
from lucida.data.construction.database import database
from lucida.data.construction.links import group, link_captions, link_pictures, load_keys, load_texts, write_keys
from lucida.data.construction.pair_audit import audit_pairs, find_rows, sample_rows
from lucida.data.construction.rows import RowWriter

EVERYTHING = "SELECT number, text_digest, 0 AS scope FROM keys"
TWICE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shade(value: int) -> bytes:
    return bytes([value]) * 192


def keys_of(tmp_path, rows):
    """Rows as keys, through a shard."""
    with RowWriter(tmp_path / "shard.parquet") as writer:
        for i, row in enumerate(rows):
            writer.add({"id": f"r{i}", "identity": f"p{i}", "caption": "", **row})
    return tmp_path / write_keys((0, tmp_path / "shard.parquet"), folder=tmp_path).name


def links_of(connection, table):
    return {(a, b) for a, b, _ in connection.execute(f"SELECT * FROM {table}").fetchall()}


@st.composite
def hashes(draw):
    """Hashes around a few centres, so that many are near each other."""
    centres = draw(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 2), min_size=1, max_size=3))
    made = []
    for _ in range(draw(st.integers(1, 14))):
        across, down = draw(st.sampled_from(centres))
        for bit in draw(st.lists(st.integers(0, 127), max_size=5)):
            across, down = (across ^ (1 << bit), down) if bit < 64 else (across, down ^ (1 << (bit - 64)))
        made.append((across, down))
    return made


@given(hashes(), st.integers(0, 7))
@TWICE
def test_no_near_picture_is_missed(tmp_path, pictures, radius):
    rows = [{"across": a, "down": d, "look": shade(100), "digest": str(i)} for i, (a, d) in enumerate(pictures)]
    with database(tmp_path) as connection:
        load_keys(connection, [keys_of(tmp_path, rows)])
        assert link_pictures(connection, radius, 0.9) == 0
        group(connection, "picture_links", "picture_groups")
        found = dict(connection.execute("SELECT node, head FROM picture_groups").fetchall())
    parents = list(range(len(pictures)))
    for (i, (a, b)), (j, (c, d)) in combinations(enumerate(pictures), 2):
        if (a ^ c).bit_count() + (b ^ d).bit_count() <= radius:
            old, new = max(parents[i], parents[j]), min(parents[i], parents[j])
            parents = [new if parent == old else parent for parent in parents]
    assert [found.get(i, i) for i in range(len(pictures))] == parents


def test_hashes_alike_and_looks_not_are_two_pictures(tmp_path):
    rows = [{"across": 0, "down": 0, "look": shade(v), "digest": str(v)} for v in (10, 200, 11)]
    with database(tmp_path) as connection:
        load_keys(connection, [keys_of(tmp_path, rows)])
        link_pictures(connection, 7, 0.9)
        assert links_of(connection, "picture_links") == {(0, 2)}


def test_a_crowded_bucket_is_counted_and_neighbours_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "_CROWD", 10)
    rows = [{"across": i << 40, "down": 0, "look": shade(100), "digest": str(i)} for i in range(40)]
    with database(tmp_path) as connection:
        load_keys(connection, [keys_of(tmp_path, rows)])
        assert link_pictures(connection, 7, 0.9) > 0
        group(connection, "picture_links", "g")
        assert connection.execute("SELECT DISTINCT head FROM g").fetchall() == [(0,)]


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda e: e[0] < e[1]), max_size=20))
@TWICE
def test_groups_are_those_of_all_links_followed(tmp_path, edges):
    with database(tmp_path) as connection:
        edges_table = pa.table({"a": [a for a, _ in edges], "b": [b for _, b in edges]}, schema=pa.schema(
            [("a", pa.int64()), ("b", pa.int64())]))  # fmt: skip
        connection.register("links_table", edges_table)
        group(connection, "links_table", "groups")
        found = dict(connection.execute("SELECT node, head FROM groups").fetchall())
    parents = list(range(16))
    for a, b in edges:
        old, new = max(parents[a], parents[b]), min(parents[a], parents[b])
        parents = [new if parent == old else parent for parent in parents]
    linked = {node for edge in edges for node in edge}
    assert found == {node: parents[node] for node in linked}


def test_a_long_chain_is_one_group(tmp_path):
    nodes = np.random.default_rng(0).permutation(300)
    pairs = [sorted((int(a), int(b))) for a, b in pairwise(nodes)]
    with database(tmp_path) as connection:
        table = pa.table({"a": [a for a, _ in pairs], "b": [b for _, b in pairs]})
        connection.register("chain", table)
        group(connection, "chain", "g")
        assert connection.execute("SELECT count(*), max(head) FROM g").fetchall() == [(300, 0)]


def test_captions_that_are_linked_are_alike_and_planted_ones_are_found(tmp_path):
    generator = np.random.default_rng(1)
    words = ["".join(generator.choice(list("abcdefghij"), 6)) for _ in range(300)]
    texts = [" ".join(generator.choice(words, 12)) for _ in range(300)]
    near = [f"{text} x" for text in texts]
    with database(tmp_path) as connection:
        load_keys(connection, [keys_of(tmp_path, [{"caption": text.upper()} for text in [*texts, *near]])])
        load_texts(connection, EVERYTHING)
        link_captions(connection, 0.9)
        found = links_of(connection, "text_links")
    planted = {(i, 300 + i) for i in range(300)}
    assert len(planted & found) >= 298  # each with a probability of 0.9995 or so
    everything = [normal(text) for text in [*texts, *near]]
    assert (jaccard([everything[a] for a, _ in found], [everything[b] for _, b in found]) >= 0.9).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_a_bucket_links_with_its_first_and_with_the_one_before(tmp_path, order):
    """Of three captions that share a band alone two are alike: the first and the last, or the last two."""
    said = ["a brown dog runs along the sand", "something else altogether is here", "a brown dog runs along the sand x"]
    texts = pa.table(
        {
            "scope": [0, 0, 0, 1],
            "node": [0, 1, 2, 3],
            "text": [said[k] for k in (*order, 2)],
            "bands": pa.array([[7, 100 + k] for k in range(4)], pa.list_(pa.uint64())),
        }
    )
    with database(tmp_path) as connection:
        connection.register("made", texts)
        connection.execute("CREATE TABLE texts AS SELECT * FROM made")
        link_captions(connection, 0.9)
        assert links_of(connection, "text_links") == {(order.index(0), 2)}


def test_the_audit_finds_what_is_planted(tmp_path):
    rows = [
        {
            "caption": f"a caption that is like no other, number {'abcdefghij'[i] * 9}",
            "across": 3**40 * (i + 1) % 2**64,
            "down": 5**27 * (i + 1) % 2**64,
            "look": bytes([i * 20 + k % (i + 2) for k in range(192)]),
            "digest": str(i),
            "split": "train",
        }
        for i in range(10)
    ]
    rows += [{**rows[0], "digest": "x", "split": "test", "caption": "other words for the first picture"}]
    rows += [
        {"caption": rows[1]["caption"].upper(), "split": "train"},
        {"caption": rows[1]["caption"], "split": "test"},
    ]
    rows += [{**rows[2], "identity": "p2", "caption": rows[2]["caption"]}]
    keys_of(tmp_path, rows)
    found = audit_pairs([tmp_path / "shard.parquet"], tmp_path / "work")
    listed = {(d.kind, d.first, d.second, d.leaks) for d in found.listed if d.likeness >= 0.9}
    assert listed == {("picture", "r0", "r10", True), ("caption", "r1", "r11", False), ("caption", "r1", "r12", True)}
    assert found.pictures == 1
    assert found.leaks == 2
    assert found.same_caption_rows == 3  # the fourth pair of one caption is of the same picture
    assert found.collisions == 3.0  # all rows fit into one batch
    assert found.splits == {"train": 12, "test": 2}


def test_rows_are_sampled_for_each_reason_and_found_by_id(tmp_path):
    from lucida.data.construction.rows import DROPPED

    with RowWriter(tmp_path / "d.parquet", DROPPED) as writer:
        for i in range(30):
            writer.add({"id": f"it's {i}", "reason": "ab"[i % 2]})
        writer.add({"reason": "c"})
    rows = sample_rows([tmp_path / "d.parquet"], tmp_path / "w", each=3, reasons=True)
    assert [row["reason"] for row in rows] == list("aaabbbc")
    assert rows == sample_rows([tmp_path / "d.parquet"], tmp_path / "w", each=3, reasons=True)
    assert set(find_rows([tmp_path / "d.parquet"], tmp_path / "w", ["it's 3", "none"])) == {"it's 3"}
    assert find_rows([tmp_path / "d.parquet"], tmp_path / "w", []) == {}


@pytest.mark.parametrize("memory", ["64MB"])
def test_a_small_memory_is_enough(tmp_path, memory):
    rows = [{"caption": f"caption of row {i} with {i % 50} words"} for i in range(20_000)]
    with database(tmp_path, memory=memory) as connection:
        load_keys(connection, [keys_of(tmp_path, rows)])
        load_texts(connection, EVERYTHING)
        link_captions(connection, 0.9)
        assert connection.execute("SELECT count(*) FROM texts").fetchall() == [(20_000,)]
    assert not (tmp_path / ".duckdb").exists()
