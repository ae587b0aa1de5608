"""Balancing: concepts as whole words, the cap on average, draws that depend on nothing but seed, id and concept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.construction.balancing import (
    CONCEPTS_FILE,
    BalanceSettings,
    Matcher,
    balance,
    read_concepts,
    uniform,
)
from lucida.data.construction.caption_hashes import normal
from lucida.data.construction.engines import Engine
from lucida.data.construction.rows import RowWriter, ShardFile, ShardReport, read_rows
from lucida.data.construction.stages import Work, run_stage


def stage_of(folder, shards):
    """Rows as a finished stage, one list a shard."""

    def work(beside):
        reports = []
        for number, rows in enumerate(shards):
            path = beside / "shards" / f"{number:05d}.parquet"
            with RowWriter(path) as writer:
                for row in rows:
                    writer.add(row)
            reports.append(ShardReport(number, len(rows), len(rows), shards=[ShardFile.of(path, len(rows), beside)]))
        return Work(reports)

    return run_stage("made", {"n": len(shards)}, [], folder, work)


def rows_of(stage):
    return [row for path in stage.paths for rows in read_rows(path) for row in rows]


WORDS = st.lists(st.sampled_from(["dog", "hot", "cat", "a", "dogs", "x"]), max_size=8)


@given(WORDS, st.lists(WORDS.filter(bool).map(" ".join), min_size=1, max_size=4))
def test_a_concept_is_found_where_its_words_stand_in_a_row(caption, concepts):
    text = f" {' '.join(caption)} "
    expected = sorted({concept for concept in concepts if f" {concept} " in text})
    assert Matcher.of(concepts).match(" ".join(caption)) == expected


def test_punctuation_and_case_make_no_difference():
    assert Matcher.of(["Fire-Truck", "St. Bernard"]).match("a FIRE TRUCK, and a st bernard's bowl") == [
        "fire truck", "st bernard",
    ]  # fmt: skip
    assert Matcher.of(["cat"]).match("a catalogue of cats") == []


def test_frequent_concepts_are_thinned_and_rare_ones_stay(tmp_path):
    """A pair stays with probability 1 - (1 - p1)(1 - p2): several seeds, within what the binomial allows."""
    rows = [{"id": f"d{i}", "caption": "a dog"} for i in range(2000)]
    rows += [{"id": f"b{i}", "caption": "a dog and a cat"} for i in range(400)]
    rows += [{"id": f"r{i}", "caption": "a dog and an okapi"} for i in range(30)]
    rows += [{"id": f"n{i}", "caption": "nothing known"} for i in range(10)]
    source = stage_of(tmp_path / "made", [rows[:1000], rows[1000:]])
    concepts = ("dog", "cat", "okapi", "unicorn")
    kept = []
    for seed in range(8):
        settings = BalanceSettings(cap=200, concepts=concepts, seed=seed)
        done = balance(source, tmp_path / f"b{seed}", settings, Engine())
        assert done.manifest.dropped["no concept"] == 10
        ids = [row["id"] for row in rows_of(done)]
        kept.append([sum(id[0] == kind for id in ids) for kind in "dbr"])
    dog = 200 / 2430
    means = np.mean(kept, axis=0)
    assert means[2] == 30
    assert means[0] == pytest.approx(2000 * dog, abs=4 * np.sqrt(2000 * dog / 8))
    either = 1 - (1 - dog) * (1 - 0.5)
    assert means[1] == pytest.approx(400 * either, abs=4 * np.sqrt(400 * either * (1 - either) / 8))


def test_counts_before_and_after_are_written(tmp_path):
    source = stage_of(tmp_path / "made", [[{"id": f"{i}", "caption": f"a dog and {i % 2} cats"} for i in range(50)]])
    done = balance(source, tmp_path / "b", BalanceSettings(cap=10, concepts=("dog", "cats", "owl")), Engine())
    rows = [row for rows in read_rows(done.folder / CONCEPTS_FILE) for row in rows]
    assert [(r["concept"], r["before"], r["after"], r["probability"]) for r in rows] == [
        ("cats", 50, done.manifest.rows_out, 0.2), ("dog", 50, done.manifest.rows_out, 0.2),
    ]  # fmt: skip
    assert all(row["concepts"] == ["cats", "dog"] for row in rows_of(done))


def test_what_is_held_out_stays_and_does_not_count(tmp_path):
    rows = [{"id": f"t{i}", "caption": "a dog", "split": "train"} for i in range(200)]
    rows += [{"id": f"u{i}", "caption": "a dog", "split": None} for i in range(200)]
    rows += [{"id": f"h{i}", "caption": "a dog", "split": "test"} for i in range(300)]
    rows += [{"id": "other", "caption": "nothing known", "split": "validation"}]
    done = balance(
        stage_of(tmp_path / "m", [rows]), tmp_path / "b", BalanceSettings(cap=100, concepts=("dog",)), Engine()
    )
    kept = [row["id"] for row in rows_of(done)]
    assert [id for id in kept if id[0] in "ho"] == [row["id"] for row in rows if row["id"][0] in "ho"]
    (frequency,) = (row for rows in read_rows(done.folder / CONCEPTS_FILE) for row in rows)
    assert (frequency["before"], frequency["probability"]) == (400, 0.25)
    assert frequency["after"] == sum(id[0] in "tu" for id in kept) < 200


def test_the_words_of_the_corpus_are_concepts_by_default(tmp_path):
    captions = ["the dog runs", "the dog sits", "a dog 12", "the cat", "the cat sits"]
    source = stage_of(tmp_path / "made", [[{"id": c, "caption": c} for c in captions]])
    done = balance(source, tmp_path / "b", BalanceSettings(cap=99, min_count=2), Engine())
    rows = [row for rows in read_rows(done.folder / CONCEPTS_FILE) for row in rows]
    assert [row["concept"] for row in rows] == ["dog", "cat", "sits"]


def test_a_draw_does_not_depend_on_the_order_or_the_shards(tmp_path):
    rows = [{"id": f"{i}", "caption": "a dog"} for i in range(300)]
    settings = BalanceSettings(cap=100, concepts=("dog",))
    one = balance(stage_of(tmp_path / "m1", [rows]), tmp_path / "b1", settings, Engine())
    two = balance(stage_of(tmp_path / "m2", [rows[150:][::-1], rows[:150]]), tmp_path / "b2", settings, Engine())
    assert {row["id"] for row in rows_of(one)} == {row["id"] for row in rows_of(two)}
    assert 60 < one.manifest.rows_out < 140


def test_draws_are_uniform():
    values = np.array([uniform(0, str(i), "dog") for i in range(4000)])
    assert ((values >= 0) & (values < 1)).all()
    assert np.histogram(values, 10, (0, 1))[0].tolist() == pytest.approx([400] * 10, abs=80)


def test_draws_of_two_concepts_know_nothing_of_each_other():
    draws = np.array([[uniform(0, str(i), name) for name in ("dog", "cat")] for i in range(4000)])
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.08


def test_a_list_of_concepts_is_read(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("Dog # a comment\n\n hot-dog\ndog\n", encoding="utf-8")
    assert read_concepts(path) == ("dog", "hot dog")
    path.write_text("# none\n", encoding="utf-8")
    with pytest.raises(LucidaError, match="names no concept"):
        read_concepts(path)
    with pytest.raises(LucidaError, match="cannot read"):
        read_concepts(tmp_path / "gone.txt")
    assert normal("Hot-Dog") == "hot dog"
