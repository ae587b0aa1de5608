"""The dirty crawl, what the stages leave of it, and the encoders that are trained on that."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lucida.core.seeds import stream
from lucida.lab import dirty_pairs, pair_learners
from lucida.lab.dirty_pairs import FAULTS, STEPS, Construction, Crawl, Dirt, Kept, chain_of, construct, crawl, world
from lucida.lab.experiment import Bench
from lucida.lab.experiments import data_construction
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments.data_construction import (
    ACCURACY,
    ALL,
    ARMS,
    COUNTS,
    FALSE,
    LEVELS,
    LOSS,
    NONE,
    SOUND_RATE,
    TESTS,
    VALIDATION,
)
from lucida.lab.pair_learners import Course, trained
from lucida.models.dual_encoder import HeadConfig
from tests.lab.drawn_bench import whole_page

SEED = 1000  # one of those for tuning
DIRT = Dirt(pairs=150, wrong=0.3, empty=0.2, copied=0.2, viral=3, leaked=0.1, skew=1.0)
COURSE = Course(8, HeadConfig(16, 16, 0.0), batch=16, steps=30, rates=(3e-3,), starts=1)


@pytest.fixture(scope="module")
def found() -> Crawl:
    return crawl(SEED, DIRT)


def place(name: str) -> int:
    return FAULTS.index(name)


def plainly(rows: NDArray[np.int64]) -> Kept:
    """Pairs without negatives."""
    return Kept(rows, np.zeros((len(rows), 0), np.int64))


def told(crawl: Crawl):
    """An encoder that knows: wrong captions and empty ones point away."""
    right = np.isin(crawl.faults, [place("wrong"), place("empty")])
    turn = np.where(right, np.pi, 0.0) + 0.3 * stream(0, "test").random(len(right))

    def encode(sources, captions):
        rows = [dirty_pairs.row_of_place(source.path.rpartition("/")[2], source.row, crawl.tests) for source in sources]
        angles = np.stack([np.cos(turn), np.sin(turn)], axis=1)[rows]
        return np.tile([1.0, 0.0], (len(rows), 1)), angles

    return encode


def test_a_world_keeps_base_glyphs_together_and_unseen_concepts_out() -> None:
    from lucida.data.emoji import concepts

    own = world(SEED)
    assert not {concepts()[i].group for i in own.known} & {concepts()[i].group for i in own.unseen}
    parts = [{concepts()[i].group for i in part} for part in (own.known, own.unseen, own.validation)]
    assert not parts[0] & parts[2] | parts[1] & parts[2]
    assert set(own.second) <= set(own.known)
    assert len(own.second) == len(own.known) // 2
    assert not np.array_equal(own.known, world(SEED + 1).known)


def test_a_crawl_has_the_faults_it_was_given(found: Crawl) -> None:
    own = world(SEED)
    counts = np.bincount(found.faults + 1, minlength=6)
    assert counts[0] == found.tests == len(own.second)
    assert counts[1:5].sum() == DIRT.pairs
    assert counts[1 + place("leaked")] == round(DIRT.leaked * len(own.second))
    assert not np.isin(found.concepts, own.unseen).any()
    copies = [found.files[k] for k in np.flatnonzero(found.faults == place("copied"))]
    assert len(set(copies)) <= DIRT.viral
    again = crawl(SEED, DIRT)
    assert again.files == found.files
    assert again.captions == found.captions


def test_each_step_takes_out_what_it_is_for(found: Crawl) -> None:
    settings = Construction(trusted=20, keep_share=0.7, cap=2, negatives=3)
    chains = [chain_of(steps) for steps in ((), ("clean",), ("deduplicate",), ("filter",), ("balance",), STEPS)]
    nothing, clean, unique, near, balanced, everything = construct(found, chains, settings, told(found))

    def left(kept: Kept, name: str) -> int:
        return int((found.faults[kept.rows] == place(name)).sum())

    assert sorted(nothing.rows) == list(range(found.tests, len(found.files)))
    assert left(clean, "empty") == 0 < left(nothing, "empty")
    assert left(unique, "leaked") < 0.3 * left(nothing, "leaked")  # saved smaller and coarser: some look too different
    assert left(unique, "copied") < 0.3 * left(nothing, "copied")
    assert left(near, "wrong") < left(nothing, "wrong")
    assert len(balanced.rows) < len(nothing.rows)
    assert len(everything.rows) < min(len(one.rows) for one in (clean, unique, near, balanced))
    assert nothing.negatives.shape == (len(nothing.rows), 0)
    assert everything.negatives.shape == (len(everything.rows), 3)
    assert set(everything.negatives[everything.negatives >= 0].tolist()) <= set(everything.rows.tolist())


def test_a_batch_with_hard_negatives_holds_them_beside_their_pair() -> None:
    kept = Kept(np.arange(10, 40), np.stack([10 + (np.arange(30) + 1) % 30, np.full(30, -1)], axis=1))
    for step in range(20):
        rows = pair_learners._batch(kept, 8, stream(step, "test"))
        assert len(set(rows)) == len(rows) == 8
        assert rows[1] == 10 + (rows[0] - 10 + 1) % 30
    plain = pair_learners._batch(plainly(np.arange(10, 40)), 8, stream(0, "test"))
    assert len(set(plain)) == 8


def test_a_dual_encoder_learns_what_its_pairs_say() -> None:
    generator = torch.Generator().manual_seed(0)
    shown = torch.randn(60, 8, generator=generator)
    material = pair_learners.Material(shown, shown @ torch.randn(8, 12, generator=generator), torch.zeros(2, 1, 8))
    model, losses = trained(SEED, 0, material, plainly(np.arange(50)), COURSE, 3e-3)
    assert losses[-1] < 0.5 * losses[0]
    with torch.inference_mode():
        scores = model.encode_image(features=shown[50:]) @ model.encode_text(features=material.texts[50:]).T
    assert (scores.argmax(dim=1) == torch.arange(10)).float().mean() >= 0.7


def test_the_same_seed_trains_the_same_encoder() -> None:
    generator = torch.Generator().manual_seed(0)
    material = pair_learners.Material(
        torch.randn(60, 8, generator=generator), torch.randn(60, 12, generator=generator), torch.zeros(2, 1, 8)
    )
    course = dataclasses.replace(COURSE, head=HeadConfig(16, 16, 0.5), steps=3)
    one, two = (trained(SEED, 0, material, plainly(np.arange(50)), course, 3e-3)[1] for _ in range(2))
    assert one == two


def test_every_arm_is_a_chain_in_order() -> None:
    assert len(ARMS) == 2 + 2 * len(STEPS)
    assert ARMS[NONE] == ()
    assert ARMS[ALL] == STEPS
    for steps in ARMS.values():
        chain = chain_of(steps)
        assert chain[0] in ("clean", "look")
        assert set(chain) - {"look"} == set(steps)
    assert data_construction.without("filter") in ARMS


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left and what is named right, drawn instead of measured."""

    def left(bench: Any, settings: Any, seed: int) -> dict[str, NDArray]:
        generator = stream(seed, "test")
        return {f"{arm}/{name}": np.asarray(generator.random()) for arm in ARMS for name in (*COUNTS, FALSE)}

    def asked(bench: Any, settings: Any, arm: str, seed: int, rate: float) -> dict[str, NDArray]:
        generator = stream(seed, "test", arm, str(rate))
        found = {name: np.asarray(generator.random()) for name in (*TESTS, LOSS)}
        return found | {VALIDATION: np.asarray(0.9 - abs(np.log(rate / best(arm)))), SOUND_RATE: np.ones(())}

    monkeypatch.setattr(data_construction, "_constructed", left)
    monkeypatch.setattr(data_construction, "_asked", asked)


def best(arm: str) -> float:
    """The rate an arm is drawn best at: for some beyond the grid."""
    return (1e-3, 3e-3, 3e-2)[len(arm) % 3]


@pytest.mark.usefixtures("drawn")
def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_page(monkeypatch, load_experiment("data-construction"), "quick", 100)


@pytest.mark.usefixtures("drawn")
def test_every_arm_has_the_rate_that_is_best_for_validation_on_other_seeds() -> None:
    experiment = load_experiment("data-construction")
    settings = experiment.settings["quick"]
    bench = Bench(experiment, (0, 1, 2))
    found = data_construction.measure(bench, settings)
    for arm in ARMS:
        assert bench.chosen[arm] == pytest.approx(best(arm), rel=0.2)
        assert arm not in bench.reservations
        for level in LEVELS:
            asked = [data_construction._asked(bench, settings, arm, seed, bench.chosen[arm]) for seed in (0, 1, 2)]
            assert found.numbers[ACCURACY, arm, level].tolist() == [float(one[level]) for one in asked]


def test_hard_negatives_that_show_the_same_are_counted(found: Crawl) -> None:
    kept = Kept(np.arange(found.tests, found.tests + 40), np.full((40, 2), -1))
    kept.negatives[:, 0] = kept.rows[::-1]
    described = data_construction._described(kept, found)
    same = np.mean(found.concepts[kept.rows] == found.concepts[kept.rows[::-1]])
    assert described[FALSE] == pytest.approx(same)
    assert described[COUNTS[0]] == 40
    assert FALSE not in data_construction._described(plainly(kept.rows), found)
