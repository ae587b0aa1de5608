"""Answers grounded in the picture: the formula, Hugging Face's ``generate`` and ours, and what is left as it was."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.inference.answerer import Answerer
from lucida.inference.contrast import ContrastProcessor, OtherReading, noised
from lucida.inference.generate import answer, answer_yes_no, leanings
from lucida.inference.grounding import (
    GroundedOdds,
    GroundedWords,
    GroundedYesNo,
    Grounding,
    Known,
    fit_doubt,
    fit_odds,
)
from lucida.inference.remedies import Distorted, Early, Grounded, HuggingFaceReading, Unseen, processors
from lucida.models.picture_words import ImageTokenWords, name_support, place_words, word_support
from tests.inference.test_contrast import LONGEST, asked, generate  # noqa: F401  # a fixture
from tests.inference.tiny_answerers import tiny_answerer

numbers = st.floats(-20, 0)


@given(st.lists(numbers, min_size=6, max_size=6), st.floats(0, 5), st.floats(-5, 0))
def test_names_lose_what_they_lack_and_other_words_nothing(support: list[float], weight: float, floor: float) -> None:
    scores, names = torch.zeros(1, 6), torch.tensor([1, 4])
    found = GroundedWords(Known(torch.tensor([support])), names, weight=weight, floor=floor)(torch.zeros(1, 1), scores)
    for token in range(6):
        lacking = weight * max(0.0, floor - support[token]) if token in (1, 4) else 0.0
        assert found[0, token].item() == pytest.approx(-lacking, abs=1e-4)


def test_the_leaning_of_the_first_token_is_that_of_the_odds() -> None:
    odds = GroundedOdds(0.5, 2.0, 1.0)
    processor = GroundedYesNo(odds, [-1.5, -0.5], yes=2, no=0)
    scores = torch.tensor([[1.0, 9.0, 3.0], [0.0, 9.0, -1.0]])
    found = processor(torch.zeros(2, 4), scores)
    leaning = odds([2.0, -1.0], [-1.5, -0.5])
    np.testing.assert_allclose((found[:, 2] - found[:, 0]).numpy(), leaning, rtol=1e-5)
    assert torch.equal(found[:, 1], scores[:, 1])
    assert torch.equal(processor(torch.zeros(2, 5), scores), scores)


def test_fitted_odds_find_which_of_both_tells_the_truth() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(2000) < 0.5
    support, odds = np.where(truth, -0.5, -4.0) + generator.normal(size=2000), generator.normal(size=2000)
    fitted = fit_odds(odds, support, truth)
    assert fitted.support > 10 * abs(fitted.odds)
    assert ((fitted(odds, support) > 0) == truth).mean() > 0.93
    with pytest.raises(LucidaError, match="all answers are alike"):
        fit_odds(odds, support, np.ones(2000))


@given(st.lists(st.tuples(numbers, st.booleans()), min_size=2, max_size=40))
def test_doubt_is_the_best_cut_between_what_is_there_and_what_is_not(names: list[tuple[float, bool]]) -> None:
    support, there = np.array([value for value, _ in names]), np.array([own for _, own in names])
    if there.all() or not there.any():
        with pytest.raises(LucidaError, match="nothing can be fitted"):
            fit_doubt(support, there)
        return

    def gap(cut: float) -> float:
        return float((support[there] >= cut).mean() - (support[~there] >= cut).mean())

    assert gap(fit_doubt(support, there)) == pytest.approx(max(map(gap, support[there])))


def test_image_tokens_are_read_as_they_would_be_said(asked: Any) -> None:  # noqa: F811
    model, inputs = asked
    images = inputs["input_ids"] == model.config.image_token_id
    watching = ImageTokenWords(model, images, layers=[0, 1])
    generate(model, inputs)
    watching.close()
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    decoder, head, rows = model.get_decoder(), model.get_output_embeddings(), []
    for row, own in enumerate(images):
        # The last state of Hugging Face's has been through the norm already.
        said = [head(decoder.norm(states[1][row][own])), head(states[2][row][own])]
        rows.append(torch.cat([each.log_softmax(dim=-1) for each in said]).amax(dim=0))
    torch.testing.assert_close(watching.support, torch.stack(rows), rtol=1e-4, atol=1e-4)


def test_remedies_compose_in_transformers_and_leave_the_model_as_it_was(asked: Any) -> None:  # noqa: F811
    model, inputs = asked
    before, hooks = generate(model, inputs), [len(module._forward_hooks) for module in model.modules()]
    reading = HuggingFaceReading(model, inputs)
    every = tuple(range(model.get_output_embeddings().weight.shape[0]))
    remedies = [Early(0), Distorted(900), Unseen(), Grounded(every, weight=3.0)]
    with processors(remedies, reading) as chosen:
        assert generate(model, inputs, *chosen).shape == (2, LONGEST)
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(generate(model, inputs), before)


def test_an_early_layer_behind_a_second_reading_is_refused_and_alone_it_is_its_own(asked: Any) -> None:  # noqa: F811
    model, inputs = asked
    hooks, reading = [len(module._forward_hooks) for module in model.modules()], HuggingFaceReading(model, inputs)
    for again in (Distorted(900), Unseen()):
        with (
            pytest.raises(LucidaError, match="put the contrast with the early layer first"),
            processors([again, Early(0)], reading),
        ):
            pass
        assert [len(module._forward_hooks) for module in model.modules()] == hooks
        with processors([Early(0), again], reading) as chosen:
            generate(model, inputs, *chosen)
            early = chosen[0].other.logits(None)  # of the last token; a reading behind it has left its own state
    with processors([Early(0)], reading) as chosen:
        generate(model, inputs, *chosen)
        assert not torch.equal(early, chosen[0].other.logits(None))


def test_behind_one_interface_they_are_what_they_are_alone(asked: Any) -> None:  # noqa: F811
    model, inputs = asked
    noise = noised(inputs["pixel_values"], 900, torch.Generator().manual_seed(0))
    alone = generate(model, inputs, ContrastProcessor(OtherReading(model, inputs | {"pixel_values": noise})))
    with processors([Distorted(900)], HuggingFaceReading(model, inputs)) as chosen:
        assert torch.equal(generate(model, inputs, *chosen), alone)


def test_a_name_without_support_is_not_said(asked: Any) -> None:  # noqa: F811
    model, inputs = asked
    said = generate(model, inputs)
    banned = sorted({*said.flatten().tolist()})
    with processors([Grounded(tuple(banned), weight=1e6, floor=-0.0)], HuggingFaceReading(model, inputs)) as chosen:
        assert not {*generate(model, inputs, *chosen).flatten().tolist()} & {*banned}


@pytest.fixture(scope="module")
def own() -> tuple[Answerer, Tensor]:
    answerer = tiny_answerer()
    generator = torch.Generator().manual_seed(0)
    tower = answerer.tower
    return answerer, torch.randn(3, tower.grid_tokens, tower.hidden_size, generator=generator)


def test_the_words_of_a_picture_are_those_of_its_projector(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    model, words = answerer.model, answerer.model.language_model.get_input_embeddings().weight
    shares = model.multi_modal_projector.logits(features, words).softmax(dim=-1)
    torch.testing.assert_close(place_words(model, features).exp(), shares[..., :-1])
    support = word_support(model, features, batch_size=2)
    torch.testing.assert_close(support.exp(), shares[..., :-1].amax(dim=1))
    names = name_support(model, features, [[5], [6, 7]], batch_size=2)
    torch.testing.assert_close(names[:, 0], support[:, 5])
    both = shares[..., [6, 7]].log().mean(dim=-1).amax(dim=1)
    torch.testing.assert_close(names[:, 1], both)


def test_in_our_generate_support_is_read_while_the_picture_is_embedded(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    reading = _reading(answerer, features)
    with ExitStack() as cleanup:
        words = reading.words(cleanup)
        reading.inputs(features.flip(0))  # a contrast may embed another picture before
        reading.inputs(features)
        torch.testing.assert_close(words.support, word_support(answerer.model, features))
        later = reading.words(cleanup)
        torch.testing.assert_close(later.support, word_support(answerer.model, features))
    assert not answerer.projector.share._forward_hooks


def test_in_our_generate_a_contrast_is_its_formula(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    questions = [(i, f"Is there a {name} in the picture?") for i, name in enumerate(answerer.names[:3])]
    noisy = features.flip(0)
    plain, other = (leanings(answerer.model, answerer.chat, each, questions) for each in (features, noisy))
    found = leanings(
        answerer.model, answerer.chat, features, questions, remedies=[Distorted(beta=0.0)], noisy_features=noisy
    )
    np.testing.assert_allclose(found, 2 * plain - other, atol=1e-4)
    packed = answer_yes_no(answerer.model, answerer.chat, features, questions).p_yes
    np.testing.assert_allclose(np.log(packed / (1 - packed)), plain, atol=1e-4)
    with pytest.raises(LucidaError, match="have not been seen"):
        leanings(answerer.model, answerer.chat, features, questions, remedies=[Distorted()])


def test_a_tokenizer_that_does_not_tell_yes_from_no_is_refused(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    for ask in (leanings, answer_yes_no):
        with pytest.raises(LucidaError, match="'yes' and 'yes' start with the same token"):
            ask(answerer.model, answerer.chat, features, [(0, "Is there a dog in the picture?")], no="yes")


def test_without_a_picture_the_picture_does_not_matter(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    blind = [Unseen(alpha=math.inf, beta=0.0)]
    scores, ids = torch.zeros(3, len(answerer.chat.tokenizer)), torch.zeros(3, 0, dtype=torch.int64)
    with processors(blind, _reading(answerer, features)) as chosen:
        one = chosen(ids, scores)
    with processors(blind, _reading(answerer, features.flip(0))) as chosen:
        torch.testing.assert_close(one, chosen(ids, scores))


def _reading(answerer: Answerer, features: Tensor) -> Any:
    from lucida.inference.generate import _reading

    return _reading(answerer.model, answerer.chat, features, [(i, "What is this?") for i in range(3)], None)


def test_a_grounding_is_kept_with_the_model(own: tuple[Answerer, Tensor], tmp_path: Path) -> None:
    answerer, features = own
    grounding = Grounding(GroundedOdds(0.5, 1.5, 2.0), sure=0.9, doubt=-1.5)
    answerer.grounding = grounding
    answerer.save(tmp_path / "model")
    again = Answerer.load(tmp_path / "model")
    answerer.grounding = None
    assert again.grounding == grounding
    asked_of = [(0, answerer.names[0]), (1, "zeppelin")]
    plain, grounded = (again.ask_yes_no(features, asked_of, grounded=own) for own in (False, True))
    odds = np.log(plain.p_yes / (1 - plain.p_yes))
    support = [again.support(features)[0, 0].item(), grounding.floor]
    np.testing.assert_allclose(grounded.p_yes, 1 / (1 + np.exp(-grounding.odds(odds, support))), rtol=1e-5)


def test_what_the_picture_does_not_support_is_named(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    name, support = answerer.names[0], answerer.support(features)
    found = answerer.unsupported(features[:1], [f"There are two {name}s and nothing else."])
    assert found == [(name,) if support[0, 0] < -1.0 else ()]


def test_greedy_answers_are_the_same_with_a_remedy_of_no_weight(own: tuple[Answerer, Tensor]) -> None:
    answerer, features = own
    questions = [(i, "Describe the picture.") for i in range(3)]
    nothing = Grounded(tuple(range(40)), weight=0.0)
    plain, same = (
        answer(answerer.model, answerer.chat, features, questions, max_new_tokens=5, remedies=own)
        for own in ([], [nothing])
    )
    assert plain == same


def test_bad_settings_are_said() -> None:
    with pytest.raises(LucidaError, match="weight -1"):
        GroundedWords(Known(torch.zeros(1, 2)), torch.tensor([0]), weight=-1.0)


def test_a_picture_that_was_not_read_says_so(asked: Any) -> None:  # noqa: F811
    model, inputs = asked
    with ExitStack() as cleanup, pytest.raises(LucidaError, match="has not been read"):
        _ = HuggingFaceReading(model, inputs).words(cleanup).support
    with pytest.raises(LucidaError, match="cannot be read"):
        ImageTokenWords(model, inputs["input_ids"] == 0, layers=[7])
