"""Ways to join pictures and words in the lab: true questions, models that are alike but for the way, counted costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lucida.lab.experiment import Bench
from lucida.lab.experiments.joining_modalities import (
    ALL,
    DUAL,
    EARLY,
    EQUAL,
    FLOPS,
    GATED,
    KEPT,
    MLP,
    MORE,
    PARAMETERS,
    RESAMPLER,
    TOKENS,
    cost,
    taught,
    tower,
)
from lucida.lab.experiments.joining_modalities_page import EXPERIMENT, SETTINGS, present
from lucida.lab.joined_answerers import DEPTH, PIXELS, answerer, tokens_of
from lucida.lab.strip_questions import (
    ANSWERS,
    ASKS,
    COUNT,
    EXISTS,
    SLOTS,
    WHAT,
    WHERE,
    WORDS,
    questions_about,
    statements,
)
from lucida.lab.strips import FEWEST, PLACES, Habits, draw


@pytest.mark.parametrize("part", ["train 3", "test"])
def test_answers_are_true(part: str) -> None:
    batch, kinds = questions_about(5, part, 200, 1.0), draw(5, part, 200, Habits(), 1.0).kinds
    assert batch["pictures"].shape == (200, PLACES, PIXELS)
    no, yes = ANSWERS[EXISTS]
    said = set()
    for row in range(200):
        for slot, ask in enumerate(SLOTS):
            first, second = batch["tokens"][row, slot].tolist()
            answer = int(batch["labels"][row, slot])
            assert first == ASKS[ask]
            assert answer in ANSWERS[ask]
            said.add(answer)
            if ask == EXISTS:
                assert answer == (yes if second in kinds[row] else no)
            elif ask == WHERE:
                assert kinds[row, answer - ANSWERS[WHERE].start] == second
            elif ask == WHAT:
                assert kinds[row, second - ANSWERS[WHERE].start] == answer
            else:
                assert answer - ANSWERS[COUNT].start + FEWEST == (kinds[row] >= 0).sum()
    assert {no, yes} < said
    share = (batch["labels"][:, :2] == yes).float().mean()
    assert 0.4 < float(share) < 0.6


def test_every_answer_to_every_question_has_its_statement() -> None:
    said, batch = statements(), questions_about(0, "test", 100, 1.0)
    for slot, ask in enumerate(SLOTS):
        numbers = said.of[ask][batch["tokens"][:, slot, 1]]
        place = batch["labels"][:, slot] - ANSWERS[ask].start
        words = said.words[numbers.gather(1, place[:, None])[:, 0]]
        assert torch.equal(words[:, :2], batch["tokens"][:, slot])
        assert torch.equal(words[:, 2], batch["labels"][:, slot])


@pytest.mark.parametrize("way", DEPTH)
def test_an_answer_depends_on_its_own_question_and_picture_alone(way) -> None:
    model, batch = answerer(way, 0, sees=True).eval(), questions_about(0, "test", 4, 1.0)
    with torch.no_grad():
        whole = model(batch["pictures"], batch["tokens"])
        assert whole.shape == (4, len(SLOTS), WORDS)
        other = batch["tokens"].clone()
        other[:, 1:] = other[:, 1:].roll(1, 0)
        torch.testing.assert_close(model(batch["pictures"], other)[:, 0], whole[:, 0])
        assert (model(batch["pictures"].roll(1, 0), batch["tokens"]) - whole).abs().amax() > 1e-3 or way == GATED
        torch.testing.assert_close(model(batch["pictures"][:2], batch["tokens"][:2]), whole[:2], atol=1e-4, rtol=1e-4)
    model(batch["pictures"], batch["tokens"]).square().sum().backward()
    assert model.get_parameter("words").grad is not None


def test_gated_layers_start_blind_and_learn_to_look() -> None:
    model, batch = answerer(GATED, 0, sees=True), questions_about(0, "test", 4, 1.0)
    logits = model(batch["pictures"], batch["tokens"])
    torch.testing.assert_close(model(batch["pictures"].roll(1, 0), batch["tokens"]), logits)
    logits.square().sum().backward()
    assert model.get_parameter("join.layers.0.attention_gate").grad.abs() > 0


def test_ways_have_about_as_many_parameters_and_the_costs_they_should() -> None:
    costs = {way: cost(way) for way in DEPTH}
    sizes = [own[PARAMETERS] for own in costs.values()]
    assert max(sizes) / min(sizes) < 1.15
    assert [costs[way][TOKENS] for way in (DUAL, EARLY, MLP, RESAMPLER, GATED)] == [0, 6, 6, 3, 1]
    assert [costs[way][TOKENS] for way in DEPTH] == [tokens_of(way) for way in DEPTH]
    assert costs[RESAMPLER][FLOPS] < costs[MLP][FLOPS] < costs[EARLY][FLOPS]
    assert costs[DUAL][MORE] < 0.01 * costs[MLP][MORE]
    assert costs[RESAMPLER][KEPT] < costs[MLP][KEPT]


def test_a_tower_that_knows_is_trained_once_and_stays() -> None:
    own = tower(0, 60, 1.0)
    assert own is tower(0, 60, 1.0)
    assert not any(parameter.requires_grad for parameter in own.parameters())


def test_members_are_taught_together_as_alone() -> None:
    settings = replace(SETTINGS["quick"], steps=4, looks=2, strips=16, tower_steps=3)
    both = taught(settings, MLP, True, [(0, 1e-3), (1, 1e-3)], "validation")
    alone = taught(settings, MLP, True, [(1, 1e-3)], "validation")
    assert both["steps"].tolist() == [[2, 4], [2, 4]]
    assert both["loss"][1] == pytest.approx(alone["loss"][0], rel=1e-4)
    for way in (DUAL, GATED):
        assert np.isfinite(taught(settings, way, True, [(0, 1e-3)], "validation")["loss"]).all()


def test_the_page_is_measured_and_drawn(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    settings = replace(SETTINGS["quick"], steps=2, looks=1, strips=8, tower_steps=2, batch=4, rates=(2e-3, 4e-3))
    found = EXPERIMENT.measure(Bench(EXPERIMENT, (0, 1, 2), (1000,)), settings)
    for claim in EXPERIMENT.design.claims:
        assert all(np.isfinite(values).all() for values in found.differences(claim).values()), claim.name
    assert f"{EQUAL}, {ALL}/{MLP}" in found.metrics()
    assert [section.title for section in present(found)]
