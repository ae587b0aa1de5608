"""Likelihoods of answers against one plain pass an answer: shared beginnings, padding, soft prompts, bad input."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.inference.answer_scores import answer_log_probabilities, plain_answer_log_probabilities
from lucida.inference.prompting import Dialogue, Shot

sys.path.insert(0, str(Path(__file__).parent))
from prompted_models import ANSWERS, QUESTIONS, TOKENIZER, N, T, build

SHOTS = tuple(Shot(i, QUESTIONS[i % 2], ANSWERS[i]) for i in range(3))


def dialogues() -> list[Dialogue]:
    """Alone, about one picture, behind shots that are alike, behind others."""
    alone = [Dialogue((), picture, question) for picture in range(4) for question in QUESTIONS]
    behind = [Dialogue(SHOTS, picture, QUESTIONS[picture % 3]) for picture in range(3, N)]
    return [*alone, *behind, Dialogue(SHOTS[::-1], 6, QUESTIONS[0]), Dialogue(SHOTS[:1], 5, QUESTIONS[1])]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("soft", [0, 3])
def test_scores_are_those_of_one_pass_an_answer(kind, soft):
    model, reader, features = build(kind, soft)
    read = [reader.read(dialogue, ANSWERS) for dialogue in dialogues()]
    plain = plain_answer_log_probabilities(model, features, read)
    assert plain.shape == (len(read), len(ANSWERS))
    for batch_size in (1, 3, 32):
        scores = answer_log_probabilities(model, features, read, batch_size=batch_size)
        torch.testing.assert_close(scores, plain, rtol=1e-5, atol=1e-5)


@given(rows=st.lists(st.integers(0, len(dialogues()) - 1), min_size=1, max_size=9), batch_size=st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_no_score_depends_on_what_else_is_in_the_batch(rows, batch_size):
    model, reader, features = build()
    read = [reader.read(dialogue, ANSWERS[:3]) for dialogue in dialogues()]
    together = answer_log_probabilities(model, features, [read[i] for i in rows], batch_size=batch_size)
    alone = torch.cat([answer_log_probabilities(model, features, [read[i]]) for i in rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_they_are_probabilities_of_whole_answers():
    """Of an answer of any one token and its end, and of those that go on, the probabilities sum to one."""
    model, reader, features = build()
    read = reader.read(Dialogue((), 0, QUESTIONS[0]), ["yes", "no"])
    words = tuple(np.array([token]) for token in range(len(TOKENIZER)))
    scores = answer_log_probabilities(model, features, [read._replace(answers=words)])
    assert float(scores.exp().sum()) == pytest.approx(1, abs=1e-5)
    longer = answer_log_probabilities(model, features, [reader.read(Dialogue((), 0, QUESTIONS[0]), ANSWERS)])
    assert len(set(longer[0].tolist())) == len(ANSWERS)


def tokens_read(model, run) -> int:
    """How many tokens the decoder sees."""
    seen = []
    layer = model.language_model.get_decoder().layers[0]
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[0] * args[0].shape[1]))
    run()
    hook.remove()
    return sum(seen)


def test_what_is_alike_is_read_once():
    model, reader, features = build()
    shots = SHOTS * 3
    read = [reader.read(Dialogue(shots, picture, QUESTIONS[0]), ANSWERS[:2]) for picture in range(N)]
    shared = len(read[0].input_ids) - len(reader.chat.prompt_ids(QUESTIONS[0])) - T
    rest = sum(one.tokens - shared for one in read)
    assert tokens_read(model, lambda: answer_log_probabilities(model, features, read)) == shared + rest
    in_twos = tokens_read(model, lambda: answer_log_probabilities(model, features, read[:6], batch_size=2))
    assert in_twos == shared + rest * 6 // 7  # the cache of one batch serves the next
    plain = tokens_read(model, lambda: plain_answer_log_probabilities(model, features, read))
    assert plain > 9 * (shared + rest)
    # Others in between do not make everything be read anew.
    other = [reader.read(Dialogue((), picture, QUESTIONS[0]), ANSWERS[:2]) for picture in range(N)]
    mixed = [one for pair in zip(read, other, strict=True) for one in pair]
    most = shared + rest + sum(one.tokens for one in other)
    assert tokens_read(model, lambda: answer_log_probabilities(model, features, mixed)) <= 2 * most


def test_nothing_learns_and_modes_return():
    model, reader, features = build()
    model.train()
    scores = answer_log_probabilities(model, features, [reader.read(dialogues()[0], ANSWERS)])
    assert model.training
    assert not scores.requires_grad
    assert not scores.is_inference()
    assert answer_log_probabilities(model, features, []).shape == (0, 0)


def test_bad_input_is_one_line():
    model, reader, features = build()
    good = reader.read(dialogues()[0], ANSWERS)
    cases = {
        "0 answers to choose from": [good._replace(answers=())],
        r"1 answers to choose from \(conversation 1\)": [good, good._replace(answers=good.answers[:1])],
        "has no token": [good._replace(answers=(np.zeros(0, np.int64),))],
        "4 image tokens for 2 pictures": [good._replace(pictures=(0, 1), image_tokens=(4, 4))],
        "tokens, the language model attends to 512.*fewer in-context examples": [
            reader.read(Dialogue(SHOTS * 18, 0, QUESTIONS[0]), ANSWERS)
        ],
    }
    for said, conversations in cases.items():
        with pytest.raises(LucidaError, match=said):
            answer_log_probabilities(model, features, conversations)
    with pytest.raises(LucidaError, match="a batch of 0 conversations"):
        answer_log_probabilities(model, features, [good], batch_size=0)
    prompted, _, _ = build(soft=3)
    with pytest.raises(LucidaError, match="0 places for a soft prompt of 3 tokens"):
        answer_log_probabilities(prompted, features, [good])
