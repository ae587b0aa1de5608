"""Greedy answers with shared beginnings: the same as one conversation after another, whatever shares a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.inference.answer_scores import OpenConversation, answer_log_probabilities
from lucida.inference.prompting import Dialogue, Shot
from lucida.inference.shared_answers import GreedyAnswer, plain_answers, shared_answers
from tests.inference.prompted_models import ANSWERS, QUESTIONS, TOKENIZER, N, build

SURE = 1e-4


def dialogues(pictures: list[int]) -> list[Dialogue]:
    return [Dialogue((), picture, question) for picture in pictures for question in QUESTIONS]


def agree(own: list[GreedyAnswer], plain: list[GreedyAnswer]) -> None:
    """Up to where two best tokens were closer than rounding."""
    for one, other in zip(own, plain, strict=True):
        assert one.log_odds == pytest.approx(other.log_odds, abs=1e-3, nan_ok=True)
        if min(one.margin, other.margin) < SURE:
            continue
        assert one.tokens == other.tokens
        assert one.ended == other.ended
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)
        assert one.margin == pytest.approx(other.margin, abs=1e-3)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("soft", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 48])
def test_answers_are_those_of_one_after_another(kind: str, soft: int, batch_size: int) -> None:
    model, reader, features = build(kind, soft)
    shot = Shot(2, QUESTIONS[1], ANSWERS[2])
    asked = [*dialogues([3, 0, 5]), Dialogue((shot,), 3, QUESTIONS[0]), Dialogue((shot,), 1, QUESTIONS[2])]
    conversations = [reader.read(one, ("yes",)) for one in asked]
    # A token that is said by a random model, now and then.
    said = plain_answers(model, features, conversations, end_of_turn_id=0, max_new_tokens=9)
    end = said[0].tokens[2]
    plain = plain_answers(model, features, conversations, end_of_turn_id=end, max_new_tokens=9)
    own = shared_answers(model, features, conversations, end_of_turn_id=end, batch_size=batch_size, max_new_tokens=9)
    agree(own, plain)
    assert plain[0].ended
    assert end not in plain[0].tokens


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, 2)), min_size=1, max_size=12), st.integers(1, 7))
def test_no_answer_depends_on_its_company(asked: list[tuple[int, int]], batch_size: int) -> None:
    model, reader, features = build()
    conversations = [reader.read(Dialogue((), picture, QUESTIONS[k]), ("yes",)) for picture, k in asked]
    alone = [shared_answers(model, features, [c], end_of_turn_id=1, max_new_tokens=4)[0] for c in conversations]
    agree(
        shared_answers(model, features, conversations, end_of_turn_id=1, batch_size=batch_size, max_new_tokens=4), alone
    )


def test_a_picture_is_read_once_for_all_its_questions() -> None:
    model, reader, features = build()
    rows: list[tuple[int, ...]] = []
    decoder = model.language_model.get_decoder()
    watching = decoder.register_forward_pre_hook(
        lambda _, inputs, options: rows.append(tuple(options["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    conversations = [reader.read(one, ("yes",)) for one in dialogues([0, 1])]
    shared_answers(model, features, conversations, end_of_turn_id=1, max_new_tokens=1)
    watching.remove()
    beginnings, questions = rows
    assert beginnings[0] == 2  # pictures
    assert questions[0] == 6
    assert beginnings[1] + questions[1] <= max(len(one.input_ids) for one in conversations) + 3


def test_the_first_tokens_of_two_answers_are_compared_on_the_way() -> None:
    model, reader, features = build()
    rows = [reader.read(one, ("yes", "no")) for one in dialogues([0, 3])]
    found = shared_answers(model, features, rows, end_of_turn_id=1, max_new_tokens=2)
    ends = [one._replace(answers=tuple(answer[:1] for answer in one.answers)) for one in rows]
    scores = answer_log_probabilities(model, features, ends)
    expected = (scores[:, 0] - scores[:, 1]).tolist()
    assert [one.log_odds for one in found] == pytest.approx(expected, abs=1e-4)
    alone = shared_answers(model, features, [rows[0]._replace(answers=())], end_of_turn_id=1)[0]
    assert np.isnan(alone.log_odds)


class Asked:
    """Features that say how often they were asked for."""

    def __init__(self, features: Tensor):
        self.features, self.numbers = features, list[int]()

    def __getitem__(self, numbers: list[int]) -> Tensor:
        self.numbers += numbers
        return self.features[numbers]


def test_features_of_a_picture_are_asked_for_once() -> None:
    model, reader, features = build()
    asked = Asked(features)
    conversations = [reader.read(one, ("yes",)) for one in dialogues([4, 2, 6])]
    shared_answers(model, asked, conversations, end_of_turn_id=1, max_new_tokens=3)
    assert sorted(asked.numbers) == [2, 4, 6]


def test_conversations_without_anything_in_common() -> None:
    model, _, features = build()
    word = TOKENIZER.convert_tokens_to_ids("cat")
    alone = [
        OpenConversation(np.array([word], np.int64), (), (), ()),
        OpenConversation(np.array([word + 1]), (), (), ()),
    ]
    own = shared_answers(model, features, alone, end_of_turn_id=1, max_new_tokens=3)
    agree(own, plain_answers(model, features, alone, end_of_turn_id=1, max_new_tokens=3))


def test_bad_input_is_one_line() -> None:
    model, reader, features = build()
    one = reader.read(Dialogue((), 0, QUESTIONS[0]), ("yes",))
    with pytest.raises(LucidaError, match="batch of 0"):
        shared_answers(model, features, [one], end_of_turn_id=1, batch_size=0)
    empty = OpenConversation(one.input_ids[:0], (), (), ())
    with pytest.raises(LucidaError, match="no token"):
        shared_answers(model, features, [empty], end_of_turn_id=1)
    assert shared_answers(model, features, [], end_of_turn_id=1) == []
