"""A model that can be prompted, the methods on it, and the page on LoRA and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lucida.lab import datasets
from lucida.lab.datasets import Dataset, load, split
from lucida.lab.experiment import Bench
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments import lora_or_prompts as page
from lucida.lab.experiments import lora_or_prompts_methods as methods
from lucida.lab.experiments.lora_or_prompts import likeness
from lucida.lab.experiments.lora_or_prompts_costs import costs
from lucida.lab.experiments.lora_or_prompts_methods import Trial
from lucida.lab.experiments.lora_or_prompts_settings import (
    CONTEXT,
    COSTS,
    LORA,
    METHODS,
    MOST,
    PLAINLY,
    SEARCHED,
    SOFT,
    Settings,
)
from lucida.lab.prompted_answerer import (
    COARSE,
    COARSE_OF,
    COARSE_PROMPT,
    FINE,
    GRAMMAR,
    ITEM,
    NUMBER,
    PLAIN,
    SHOTS,
    VOCABULARY,
    PromptedAnswerer,
    asked,
    drawn,
    reading,
)
from lucida.lab.questions import CATEGORIES, FEATURES
from tests.lab.drawn_bench import whole_page

WIDTH, CONCEPTS = 6, 1600
SMALL = Settings(16, 1, 30, 0.01, 12, ((SOFT, (0.03, 0.1)), (LORA, (0.003, 0.01))))


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two artists' pictures; the second's are the first's, shifted."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(CONCEPTS) % len(CATEGORIES)
    centres = torch.randn(len(CATEGORIES), WIDTH, generator=generator)
    shift = torch.randn(WIDTH, generator=generator)
    inputs = torch.cat(
        [centres[labels] + 0.3 * torch.randn(CONCEPTS, WIDTH, generator=generator) + k * shift for k in (0, 1)]
    )
    groups = np.tile(np.arange(CONCEPTS), 2)
    data = Dataset(FEATURES, {"inputs": inputs}, labels.repeat(2), len(CATEGORIES), groups, "made")
    monkeypatch.setitem(datasets.DATASETS, FEATURES, lambda: data)
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))


def test_pictures_are_of_their_part_and_artist_and_named_right() -> None:
    data, shown = load(FEATURES), drawn(3, "test", 1)
    rows = split(data, 3).test
    own = rows[rows >= CONCEPTS]
    assert len(shown.pictures) == len(own)
    scale = data.inputs["inputs"].square().mean().sqrt()
    where = [
        int((data.inputs["inputs"] / scale - picture).abs().sum(dim=1).argmin()) for picture in shown.pictures[:20]
    ]
    assert {*where} <= {*own.tolist()}
    for row, fine, coarse in zip(where, shown.fine[:20].tolist(), shown.coarse[:20].tolist(), strict=True):
        assert VOCABULARY[fine] == CATEGORIES[int(data.labels[row])]
        assert VOCABULARY[coarse] == COARSE_OF[VOCABULARY[fine]]


def test_a_question_stands_behind_its_examples() -> None:
    shown, shots = drawn(0, "test", 1).rows(range(3)), drawn(0, "train", 1).rows(range(2))
    batch = asked(shown, COARSE_PROMPT, COARSE, shots)
    assert batch["tokens"].shape == (3, 3 * ITEM - 1)
    assert batch["pictures"].shape == (3, 3, WIDTH)
    words = [VOCABULARY[token] for token in batch["tokens"][0].tolist()]
    assert " ".join(words[1 : ITEM - 1]) == PLAIN
    assert words[ITEM - 1] == VOCABULARY[int(shots.fine[0])]
    assert " ".join(words[-(ITEM - 2) :]) == COARSE_PROMPT
    assert torch.equal(batch["answers"][:, 0], shown.coarse)
    assert {len(template.split()) for template in GRAMMAR.templates} == {ITEM - 2}


def test_rows_that_are_read_are_consistent() -> None:
    batch = reading(1, 4, 3, 5)
    assert batch["tokens"].shape == (4, 5, 3 * ITEM - 1)
    assert batch["answers"].shape == (4, 5, 3)
    tokens, answers = batch["tokens"].flatten(0, 1), batch["answers"].flatten(0, 1)
    assert torch.equal(tokens[:, ITEM - 1 :: ITEM], answers[:, :2])
    coarse = {NUMBER[word] for word in COARSE_OF.values()}
    for row in answers.tolist():
        assert len({name in coarse for name in row}) == 1  # a row is asked one way


def test_an_answer_is_read_from_its_own_picture_and_what_is_before_it() -> None:
    network, batch = PromptedAnswerer(WIDTH, 16, 2, 0).eval(), reading(2, 1, SHOTS + 1, 4)
    pictures, tokens = batch["pictures"][0], batch["tokens"][0]
    logits, later = network(pictures, tokens), pictures.clone()
    later[:, -1] += 1
    changed = network(later, tokens)
    torch.testing.assert_close(changed[:, :-1], logits[:, :-1])
    assert not torch.allclose(changed[:, -1], logits[:, -1])


@pytest.fixture
def bench() -> Bench:
    return Bench(load_experiment("lora-or-prompts"), (0, 1), tuning_seeds=(7,))


def test_methods_choose_their_words_and_leave_the_model_alone(bench: Bench) -> None:
    before = methods.read(bench, SMALL, bench.seeds)
    plain, found = (methods.worded(bench, SMALL, name, 16, bench.seeds) for name in (PLAINLY, SEARCHED))
    np.testing.assert_array_equal(plain["other"], found["other"])  # other questions are asked as ever
    shown = methods.worded(bench, SMALL, CONTEXT, 16, bench.seeds)
    assert not np.array_equal(shown["said"], plain["said"])
    after = methods.read(bench, SMALL, bench.seeds)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_as_many_examples_are_shown_as_tuning_seeds_do_best_with(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {1: 0.2, 2: 0.5, 4: 0.5, 8: 0.4}
    monkeypatch.setattr(methods, "worded", lambda *given: {"validation": np.array([right[given[-1]]])})
    assert [methods.shots_for(bench, SMALL, n) for n in (1, 4, 256)] == [1, 2, 2]


@pytest.mark.parametrize("name", [SOFT, LORA])
def test_training_moves_a_method_and_a_second_start_another_way(name: str, bench: Bench) -> None:
    trial = Trial(name, 16, (0.01,), SMALL.steps)
    found = methods.trained(bench, SMALL, trial, bench.seeds)
    again = methods.trained(bench, SMALL, replace(trial, again=True), bench.seeds)
    plain = methods.worded(bench, SMALL, PLAINLY, 16, bench.seeds)
    assert found["said"].shape == plain["said"].shape
    assert np.abs(found["states"] - plain["states"]).max() > 1e-3
    assert np.abs(found["states"] - again["states"]).max() > 1e-4


@pytest.mark.parametrize("name", [SOFT, LORA])
def test_what_was_trained_can_be_taken_away_bit_for_bit(name: str, bench: Bench) -> None:
    known, trial = methods.read(bench, SMALL, bench.seeds), Trial(name, 16, (0.03,), SMALL.steps)
    *_, (stack, _) = methods._training(known, SMALL, trial, bench.seeds)
    kept = stack.stacked_buffers()
    assert {*stack.stacked_parameters()}.isdisjoint(known)
    for key, array in known.items():
        np.testing.assert_array_equal(kept[key].numpy(), array, err_msg=key)


def test_a_soft_prompt_starts_as_words_that_the_model_has_learned(bench: Bench) -> None:
    known = methods.read(bench, SMALL, bench.seeds)
    network = methods.member(known, 1, SMALL, Trial(SOFT, 16, (0.01,), 1), bench.seeds[1])
    words = torch.from_numpy(known["words.weight"][1])
    assert all((vector == words).all(dim=1).any() for vector in network.soft.detach())  # type: ignore[union-attr]


def test_each_seed_stops_where_it_is_nearest_to_its_aim(bench: Bench) -> None:
    trial = Trial(LORA, MOST, (0.01,), SMALL.steps)
    by_step = methods.traced(bench, SMALL, trial)
    assert by_step.shape == (SMALL.steps, len(bench.seeds))
    aims = by_step[[2, 5], [0, 1]]
    found = methods.stopped(bench, SMALL, 0.01, aims)
    np.testing.assert_allclose(found["validation"], aims)
    for seed, steps in enumerate(found["steps"]):
        whole = methods.trained(bench, SMALL, replace(trial, steps=int(steps)), bench.seeds)
        np.testing.assert_array_equal(found["said"][seed], whole["said"][seed])


def test_answers_are_told_apart_from_knowledge() -> None:
    logits, fine = torch.zeros(1, 2, len(VOCABULARY)), torch.tensor([[NUMBER["animal"], NUMBER["food"]]])
    logits[0, :, NUMBER[COARSE_OF["animal"]]] = 2  # both are answered coarsely,
    logits[0, 0, NUMBER["animal"]] = 1  # and the first picture is known all the same
    logits[0, 1, NUMBER["person"]] = 1
    found = methods._measured(lambda *_: logits, lambda *_: fine)
    assert [found[key].item() for key in ("test", "asked for", "recognised")] == [0, 0, 0.5]


def test_likeness_knows_turned_copies() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(50, 4))
    turn = np.linalg.qr(draw.normal(size=(4, 4)))[0]
    assert likeness(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert likeness(x, draw.normal(size=(50, 4))) < 0.3


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(seeds: Sequence[int], rates: Sequence[float] = (0.0,)) -> dict[str, NDArray]:
        draw, m = np.random.default_rng(len(seeds)), len(seeds) * len(rates)
        keys = ("validation", "test", "other", "away", "loss", "asked for", "recognised")
        found = {key: draw.random(m) for key in keys}
        return found | {"said": draw.integers(0, 3, (m, 9)), "states": draw.random((m, 9, 4))}

    def worded(bench: Any, settings: Any, name: str, n: int, seeds: Sequence[int], *_: int) -> dict[str, NDArray]:
        return outcome(seeds)

    def trained(bench: Any, settings: Any, trial: Trial, seeds: Sequence[int]) -> dict[str, NDArray]:
        return outcome(seeds, trial.rates)

    for module in (page, methods):
        monkeypatch.setattr(module, "worded", worded)
        monkeypatch.setattr(module, "trained", trained)
    monkeypatch.setattr(methods, "traced", lambda bench, *_: np.linspace(0, 1, 9 * len(bench.seeds)).reshape(9, -1))
    monkeypatch.setattr(page, "costs", lambda *_: {f"{cost}/{name}": 1.0 for cost in COSTS for name in METHODS})
    whole_page(monkeypatch, load_experiment("lora-or-prompts"), "quick", 90)


def test_costs_are_counted(bench: Bench) -> None:
    facts = costs(bench, SMALL, 2)
    assert (
        facts[f"numbers trained/{LORA}"] > facts[f"numbers trained/{SOFT}"] > facts[f"numbers trained/{PLAINLY}"] == 0
    )
    assert facts[f"tokens an answer/{CONTEXT}"] == 2 * ITEM + ITEM - 1
    assert facts[f"million operations an answer/{LORA}"] == facts[f"million operations an answer/{PLAINLY}"]
    assert all(value >= 0 for value in facts.values())
    assert MOST == 256
    assert FINE != COARSE
