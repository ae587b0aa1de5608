from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.collation import IGNORE_INDEX, ChatFormat, check_batch, collate, separate
from lucida.data.conversations import Turn
from lucida.data.tokenization import train_tokenizer

WORDS = ["yes", "no", "top left", "2", "There are two cats and a dog.", "Is there a cat?", "How many dogs?", "ü"]
TOKENIZER = train_tokenizer([word for word in WORDS for _ in range(5)], vocab_size=400)
CHAT = ChatFormat(TOKENIZER, image_tokens=4)

turns = st.builds(Turn, st.just("exists"), st.sampled_from(WORDS), st.sampled_from(WORDS))
conversations = st.lists(st.lists(turns, min_size=1, max_size=5), min_size=1, max_size=5)


def plain_row(turn: Turn) -> list[int]:
    """What one turn is at test time, written out by hand."""
    prompt = TOKENIZER(turn.question + "\n", add_special_tokens=False)["input_ids"]
    answer = TOKENIZER(turn.answer, add_special_tokens=False)["input_ids"]
    return [TOKENIZER.bos_token_id, *[CHAT.image_token_id] * 4, *prompt, *answer, TOKENIZER.eos_token_id]


@given(conversations)
def test_separating_gives_back_every_turn_as_it_is_alone(conversations):
    batch = separate(collate(conversations, CHAT), pad_token_id=CHAT.pad_token_id)
    alone = [(i, turn) for i, conversation in enumerate(conversations) for turn in conversation]
    assert batch["picture_index"].tolist() == [i for i, _ in alone]
    for row, (_, turn) in enumerate(alone):
        n = int(batch["attention_mask"][row].sum())
        assert batch["input_ids"][row, :n].tolist() == plain_row(turn)
        assert batch["position_ids"][row, :n].tolist() == list(range(n))
        assert (batch["input_ids"][row, n:] == CHAT.pad_token_id).all()
        assert (batch["labels"][row, n:] == IGNORE_INDEX).all()


@given(conversations)
def test_separating_and_packing_again_is_the_identity(conversations):
    singles = [[turn] for conversation in conversations for turn in conversation]
    direct = collate(singles, CHAT)
    separated = separate(collate(conversations, CHAT), pad_token_id=CHAT.pad_token_id)
    assert all(torch.equal(direct[key], separated[key]) for key in direct)


@given(conversations)
def test_labels_are_exactly_the_answers(conversations):
    batch = collate(conversations, CHAT)
    for row, conversation in enumerate(conversations):
        for k, turn in enumerate(conversation, start=1):
            own = batch["segment_ids"][row] == k
            labels = batch["labels"][row][own]
            supervised = labels[labels != IGNORE_INDEX]
            assert supervised.tolist() == CHAT.answer_ids(turn.answer).tolist()
            assert CHAT.decode(supervised) == turn.answer
            prompt = batch["input_ids"][row][own][: len(own.nonzero()) - len(supervised)]
            assert prompt.tolist() == CHAT.prompt_ids(turn.question).tolist()
        assert (batch["labels"][row][batch["segment_ids"][row] <= 0] == IGNORE_INDEX).all()


@given(conversations)
def test_every_row_is_prefix_then_turns_then_padding(conversations):
    batch = collate(conversations, CHAT)
    check_batch(batch, CHAT.image_token_id, 4)
    for row, conversation in enumerate(conversations):
        segments = batch["segment_ids"][row]
        n = int((segments >= 0).sum())
        assert (segments[n:] == -1).all()
        assert (segments[:n].diff() >= 0).all()
        assert segments[:n].unique().tolist() == list(range(len(conversation) + 1))
        assert batch["input_ids"][row, :5].tolist() == CHAT.prefix_ids.tolist()
    assert all(tensor.dtype == torch.long for tensor in batch.values())
    assert (batch["segment_ids"] >= 0).any(dim=0).all()  # no column of padding alone


def test_special_tokens_written_by_people_are_text():
    turn = Turn("caption", "What is <image> here?", "an </s> or <image> sign")
    batch = collate([[turn]], CHAT)
    check_batch(batch, CHAT.image_token_id, 4)
    assert CHAT.decode(batch["labels"][0][batch["labels"][0] != IGNORE_INDEX]) == turn.answer


def test_turns_that_do_not_fit_are_left_out_whole():
    short, long = Turn("exists", "Is there a cat?", "no"), Turn("describe", "How many dogs?", "yes " * 50)
    length = collate([[short, short]], CHAT)["input_ids"].shape[1]
    batch = collate([[short, long, short], [short]], CHAT, max_length=length)
    assert batch["input_ids"].shape[1] <= length
    assert batch["segment_ids"].max(dim=1).values.tolist() == [1, 1]
    with pytest.raises(LucidaError, match="max_length is 20"):
        collate([[long]], CHAT, max_length=20)


def test_a_batch_that_would_train_on_nothing_is_stopped():
    batch = collate([[Turn("exists", "Is there a cat?", "no")]] * 2, CHAT)
    check_batch(batch, CHAT.image_token_id, 4)
    with pytest.raises(LucidaError, match="4 image tokens for 9 picture features"):
        check_batch(batch, CHAT.image_token_id, 9)
    silent = {**batch, "labels": batch["labels"].clone()}
    silent["labels"][1] = IGNORE_INDEX
    with pytest.raises(LucidaError, match=r"no supervised token.*row 1"):
        check_batch(silent, CHAT.image_token_id, 4)
    with pytest.raises(LucidaError, match="lacks labels"):
        check_batch({k: v for k, v in batch.items() if k != "labels"}, CHAT.image_token_id, 4)
    with pytest.raises(LucidaError, match="without any turn"):
        collate([[Turn("exists", "Is there a cat?", "no")], []], CHAT)


def test_a_question_has_the_same_tokens_with_and_without_its_answer():
    turn = Turn("exists", "Is there a cat?", "yes")
    row = collate([[turn]], CHAT)["input_ids"][0].tolist()
    prompt = [*CHAT.prefix_ids.tolist(), *CHAT.prompt_ids(turn.question).tolist()]
    assert row[: len(prompt)] == prompt


def test_collating_is_fast_enough_to_be_forgotten():
    batch = [[Turn("exists", WORDS[5], WORDS[i % 2])] * 10 for i in range(32)]
    collate(batch, CHAT)
    start = time.process_time()
    for _ in range(5):
        collate(batch, CHAT)
    assert 5 * 320 / (time.process_time() - start) > 2000
