"""Made questions, the weighted loss in a stack, and the page on what a multimodal language model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lucida.lab import datasets
from lucida.lab.datasets import Dataset, load, split
from lucida.lab.experiment import Bench
from lucida.lab.experiments import answers_or_everything as page
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments.answers_or_everything import (
    ALL,
    ANSWERS,
    ARMS,
    DISPUTED,
    FORMS,
    MEASURES,
    PLACES,
    QUESTION_WEIGHT,
    Material,
    Place,
    Settings,
    gradient_parts,
    overconfidence,
    token_weights,
)
from lucida.lab.experiments.answers_or_everything_network import Answerer, TextTask
from lucida.lab.questions import ANY, CATEGORIES, DRAWN_BY, FEATURES, NO, VOCABULARY, WHAT, WHO, YES, Form, ask
from lucida.lab.stack import Stack, StackTask
from lucida.losses.language_modeling import language_modeling_loss
from tests.lab.drawn_bench import whole_page

SMALL = Settings(24, 96, 48, 16, 1, 8, 20, 12, 0.01, (0.003, 0.01))
WIDTH = 6
ANY_FORM = st.sampled_from([Form(q, a) for q in ("short", "long") for a in ("short", "long")])


def pictures() -> Dataset:
    """Two artists' pictures of a hundred concepts; a concept is a group."""
    generator = torch.Generator().manual_seed(5)
    concepts = 160
    labels = torch.arange(concepts) % len(CATEGORIES)
    centres = torch.randn(len(CATEGORIES), WIDTH, generator=generator)
    inputs = torch.cat([centres[labels] + 0.3 * torch.randn(concepts, WIDTH, generator=generator) for _ in DRAWN_BY])
    groups = np.tile(np.arange(concepts), len(DRAWN_BY))
    return Dataset(FEATURES, {"inputs": inputs}, labels.repeat(2), len(CATEGORIES), groups, "made")


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dataset:
    data = pictures()
    monkeypatch.setitem(datasets.DATASETS, FEATURES, lambda: data)
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    return data


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10_000), ANY_FORM)
def test_answers_are_true_of_pictures_of_their_part(seed: int, form: Form) -> None:
    data = pictures()
    own, asked = split(data, seed).validation, ask(seed, "validation", 60, form)
    assert set(asked.pictures.tolist()) <= set(own.tolist())
    assert asked.tokens.shape == (60, form.tokens)
    for picture, tokens, kind in zip(asked.pictures.tolist(), asked.tokens.tolist(), asked.kinds.tolist(), strict=True):
        words, category = [VOCABULARY[token] for token in tokens], CATEGORIES[int(data.labels[picture])]
        question, answer = words[: form.question_tokens], words[form.key]
        assert question[-1] == "?"
        assert words[-1] == "."
        if kind == WHAT:
            assert answer == category
        elif kind == WHO:
            assert answer == DRAWN_BY[picture >= len(data.labels) // 2]
        else:
            about = question[question.index("any") + 1]
            assert answer == ("yes" if about == category else "no")


def test_what_is_asked_does_not_depend_on_how_long_the_texts_are_or_how_many() -> None:
    long, short, fewer = ask(3, "train", 80, FORMS[0]), ask(3, "train", 80, FORMS[1]), ask(3, "train", 30, FORMS[0])
    assert torch.equal(long.pictures, short.pictures)
    assert torch.equal(long.tokens[:, FORMS[0].key], short.tokens[:, FORMS[1].key])
    assert torch.equal(long.tokens[:30], fewer.tokens)
    answers = ask(0, "train", 3000, FORMS[0])
    yes = (answers.tokens[answers.kinds == ANY, FORMS[0].key] == YES).double().mean()
    assert float(yes) == pytest.approx(0.5, abs=0.05)


def test_the_wording_has_the_entropy_that_is_told() -> None:
    asked = ask(1, "train", 4000, FORMS[0]).tokens[:, : FORMS[0].question_tokens]
    entropies = [_entropy(asked[:, k]) for k in range(asked.shape[1]) if len(asked[:, k].unique()) == 8]
    assert sum(entropies) == pytest.approx(FORMS[0].wording_bits[0], rel=0.01)
    assert FORMS[0].wording_bits[1] == FORMS[1].wording_bits[0] == 0
    assert FORMS[1].wording_bits[1] > 20


def _entropy(tokens: torch.Tensor) -> float:
    shares = tokens.unique(return_counts=True)[1].double() / len(tokens)
    return float(-(shares * shares.log2()).sum())


def material(members: int, form: Form, count: int = 10) -> Material:
    return page._material(range(members), "train", count, form)


@pytest.mark.parametrize("arm", ARMS)
def test_the_stacked_loss_is_that_of_the_workbench(arm: str) -> None:
    form = FORMS[0]
    networks = [Answerer(WIDTH, 16, 2, form.tokens, seed) for seed in range(3)]
    stack = Stack(networks)
    batch = material(3, form).batch(token_weights(form, QUESTION_WEIGHT[arm]))
    losses = StackTask(stack, TextTask).member_losses(batch)
    grads = torch.autograd.grad(losses.sum(), list(stack.stacked_parameters().values()))
    for k, network in enumerate(networks):
        states = network.states(batch["pictures"][k], batch["tokens"][k]).flatten(0, 1)
        labels, weights = batch["tokens"][k].flatten(), batch["token_weights"][k].flatten()
        if arm == ANSWERS:  # a weight of 0 is as good as not being supervised
            labels = labels.where(weights > 0, torch.tensor(-100))
        loss = language_modeling_loss(states, network.head.weight, labels, token_weights=weights)
        torch.testing.assert_close(losses[k], loss)
        own = torch.autograd.grad(loss, list(network.parameters()))
        torch.testing.assert_close([grad[k] for grad in grads], list(own), atol=1e-6, rtol=1e-4)


def test_a_token_is_predicted_from_the_picture_and_what_is_before_it() -> None:
    form = FORMS[1]
    network, asked = Answerer(WIDTH, 16, 2, form.tokens, 0), material(1, form, 4)
    tokens, seen = asked.tokens[0], asked.pictures[0]
    logits, changed = network(seen, tokens), tokens.clone()
    changed[:, form.key] = (changed[:, form.key] + 1) % len(VOCABULARY)
    other = network(seen, changed)
    assert torch.equal(logits[:, : form.key + 1], other[:, : form.key + 1])
    assert not torch.allclose(logits[:, form.key + 1], other[:, form.key + 1])
    assert not torch.allclose(logits[:, 0], network(seen + 1, tokens)[:, 0])
    torch.testing.assert_close(network(seen, tokens, at=form.key), logits[:, form.key])


def test_both_parts_of_the_gradient_make_the_whole() -> None:
    form = FORMS[0]
    stack, asked = Stack([Answerer(WIDTH, 16, 1, form.tokens, seed) for seed in range(2)]), material(2, form)
    loss = StackTask(stack, TextTask).member_losses(asked.batch(torch.ones(form.tokens)))
    whole = torch.autograd.grad(loss.sum(), list(stack.stacked_parameters().values()))
    norm = sum(grad.flatten(1).square().sum(dim=1) for grad in whole) ** 0.5 * form.tokens
    share, cosine = gradient_parts(stack, asked, form, 1.0)
    # |q + a|² = |q|² + |a|² + 2 |q||a| cos, with |q| = share · (|q| + |a|)
    total = norm / (share**2 + (1 - share) ** 2 + 2 * share * (1 - share) * cosine) ** 0.5
    answers = StackTask(stack, TextTask).member_losses(asked.batch(token_weights(form, 0.0)))
    own = torch.autograd.grad(answers.sum(), list(stack.stacked_parameters().values()))
    of_answers = sum(grad.flatten(1).square().sum(dim=1) for grad in own) ** 0.5 * form.answer_tokens
    torch.testing.assert_close((1 - share) * total, of_answers, rtol=1e-4, atol=1e-4)
    tenth, _ = gradient_parts(stack, asked, form, 0.1)
    torch.testing.assert_close(tenth, 0.1 * share / (0.1 * share + 1 - share))


def test_overconfidence_is_confidence_less_accuracy() -> None:
    logits = torch.zeros(1, 4, len(VOCABULARY))
    logits[0, :, YES] = torch.tensor([3.0, 3.0, 3.0, 9.0]).log()  # 3 : 1 for yes
    truth = torch.tensor([[YES, NO, NO, YES]])
    found = overconfidence(logits, truth, torch.tensor([[True, True, True, False]]))
    assert float(found) == pytest.approx(0.75 - 1 / 3)


def test_models_learn_from_pictures() -> None:
    bench = Bench(load_experiment("answers-or-everything"), (0, 1, 2))
    form = Form("short", "short")
    place, trained = Place(form, "many"), Settings(24, 400, 96, 16, 1, 16, 60, 12, 0.01, (0.02,))
    found = {arm: page.train(bench, arm, trained, place, arm, bench.seeds, (0.02,), "test") for arm in (ANSWERS, ALL)}
    for arm, outcome in found.items():
        assert outcome["test"].shape == outcome["validation"].shape == outcome["share"].shape == (3, 6)
        assert outcome["losses"].shape == (3, 60)
        assert set(MEASURES) <= set(outcome), arm
        np.testing.assert_array_equal(outcome["test"][:, -1], outcome["answer accuracy"])
    blind = np.mean([page.blind_accuracy(seed, trained) for seed in bench.seeds])
    assert 0.2 < blind < 0.55
    assert found[ANSWERS]["answer accuracy"].mean() > blind + 0.05
    assert found[ANSWERS]["accuracy, picture blanked"].mean() < found[ANSWERS]["answer accuracy"].mean()
    assert found[ALL]["question loss"].mean() < found[ANSWERS]["question loss"].mean()
    assert (found[ANSWERS]["share"] == 0).all()
    assert (found[ALL]["share"] > 0.2).all()
    assert bench.measured == 3  # one language model for both arms


def test_a_member_trains_as_alone_and_tuning_never_sees_the_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = Bench(load_experiment("answers-or-everything"), (0,), tuning_seeds=(7, 8))
    tuned = page.train(bench, "tuning", SMALL, DISPUTED, ALL, bench.tuning_seeds, SMALL.rates, "validation")
    assert tuned["validation"].shape == (4, 1)
    assert "test" not in tuned
    assert not set(MEASURES) & set(tuned)
    own = split(load(FEATURES), 7)
    assert not set(own.test.tolist()) & set(ask(7, "validation", 100, FORMS[0]).pictures.tolist())
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "another"))
    alone = page.train(bench, "alone", SMALL, DISPUTED, ALL, (8,), SMALL.rates[1:], "validation")
    assert alone["losses"][0] == pytest.approx(tuned["losses"][3], rel=1e-3)


def drawn(
    bench: Any, what: str, settings: Any, place: Any, arm: str, seeds: Sequence[int], rates: Sequence[float], part: str
) -> dict[str, NDArray]:
    draw, m = np.random.default_rng(len(what)), len(seeds) * len(rates)
    looks = 6 if part == "test" else 1
    each = {name: draw.random((m, looks)) for name in ("validation", "test", "share", "cosine")}
    found = each | {name: draw.random(m) for name in MEASURES}
    return found | {"losses": draw.random((m, 40)), "steps": np.arange(looks), "alive": np.ones(m, dtype=bool)}


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "train", drawn)
    shown = whole_page(monkeypatch, load_experiment("answers-or-everything"), "quick", 150)
    figures = [d for d in shown.drawings if d.kind == "effects"]
    assert [figure.title for figure in figures] == [f"Right answers, {place}" for place in PLACES]
