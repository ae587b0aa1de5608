"""The dirty crawl, what the stages leave of it, and the encoders that are trained on that."""

from __future__ import annotations

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
from lucida.lab.experiments.data_construction import ACCURACY, ALL, ARMS, COUNTS, LEVELS, NONE, TESTS, VALIDATION
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
    assert not nothing.negatives
    assert len(everything.negatives) == len(everything.rows)
    assert {row for near in everything.negatives for row in near} <= set(everything.rows.tolist())


def test_a_batch_with_hard_negatives_holds_them_beside_their_pair() -> None:
    kept = Kept(np.arange(10, 40), tuple((10 + (k + 1) % 30,) for k in range(30)))
    for step in range(20):
        rows = pair_learners._batch(kept, 8, stream(step, "test"))
        assert len(set(rows)) == len(rows) == 8
        assert rows[1] == 10 + (rows[0] - 10 + 1) % 30
    plain = pair_learners._batch(Kept(np.arange(10, 40)), 8, stream(0, "test"))
    assert len(set(plain)) == 8


def test_a_dual_encoder_learns_what_its_pairs_say() -> None:
    generator = torch.Generator().manual_seed(0)
    shown = torch.randn(60, 8, generator=generator)
    material = pair_learners.Material(shown, shown @ torch.randn(8, 12, generator=generator), torch.zeros(2, 1, 8))
    model = trained(SEED, 0, material, Kept(np.arange(50)), COURSE, 3e-3)
    with torch.inference_mode():
        scores = model.encode_image(features=shown[50:]) @ model.encode_text(features=material.texts[50:]).T
    assert (scores.argmax(dim=1) == torch.arange(10)).float().mean() >= 0.7


def test_every_arm_is_a_chain_in_order() -> None:
    assert len(ARMS) == 2 + 2 * len(STEPS)
    assert ARMS[NONE] == ()
    assert ARMS[ALL] == STEPS
    for steps in ARMS.values():
        chain = chain_of(steps)
        assert chain[0] in ("clean", "look")
        assert set(chain) - {"look"} == set(steps)
    assert data_construction.without("filter") in ARMS


def drawn(bench: Any, settings: Any, seed: int) -> dict[str, NDArray]:
    generator = stream(seed, "test")
    tests = {f"{arm}/{name}": generator.random(len(settings.course.rates)) for arm in ARMS for name in TESTS}
    return tests | {f"{arm}/{name}": np.asarray(generator.random()) for arm in ARMS for name in COUNTS}


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_construction, "_of_seed", drawn)
    whole_page(monkeypatch, load_experiment("data-construction"), "quick", 100)


def test_every_arm_has_the_rate_that_is_best_for_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_construction, "_of_seed", drawn)
    experiment = load_experiment("data-construction")
    settings = experiment.settings["quick"]
    bench = Bench(experiment, (0, 1, 2))
    found = data_construction.measure(bench, settings)
    parts = [drawn(bench, settings, seed) for seed in (0, 1, 2)]
    for arm in ARMS:
        at = int(np.mean([part[f"{arm}/{VALIDATION}"] for part in parts], axis=0).argmax())
        assert bench.chosen[arm] == settings.course.rates[at]
        for level in LEVELS:
            assert found.numbers[ACCURACY, arm, level].tolist() == [part[f"{arm}/{level}"][at] for part in parts]
