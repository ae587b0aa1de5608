"""Chats: what is none, their shape for Hugging Face, and splits that keep a picture on one side."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.chats import Chat, Chats, Message
from lucida.data.pictures import Skipped

ROOT = Path("/photos")


def said(role: str, *parts: str | int) -> Message:
    return Message(role, parts)


def chat(*names: str, text: str = "What?", id: str = "") -> Chat:
    question = said("user", *range(len(names)), text)
    return Chat((question, said("assistant", "That.")), tuple(ROOT / name for name in names), id=id)


def chats(*rows: Chat) -> Chats:
    return Chats("rows.json", rows, ROOT)


def test_pictures_stand_where_the_author_put_them():
    messages = (said("system", "Be brief."), said("user", "Is ", 0, " like ", 1, "?"), said("assistant", "No."))
    found = Chat(messages, (ROOT / "a.png", ROOT / "b.png")).as_hugging_face()
    assert [message["role"] for message in found] == ["system", "user", "assistant"]
    assert found[1]["content"] == [
        {"type": "text", "text": "Is "},
        {"type": "image"},
        {"type": "text", "text": " like "},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ]


@pytest.mark.parametrize(
    ("messages", "n", "reason"),
    [
        ([], 0, "no message"),
        ([said("assistant", "Hi.")], 0, "do not alternate"),
        ([said("user", "a"), said("user", "b")], 0, "do not alternate"),
        ([said("user", "a"), said("system", "b")], 0, "do not alternate"),
        ([said("user"), said("assistant", "b")], 0, "a message is empty"),
        ([said("user", "a"), said("assistant", " \n")], 0, "an answer is empty"),
        ([said("user", "a"), said("assistant", "b", 0)], 1, "stands in an answer"),
        ([said("user", "a", 0), said("assistant", "b")], 2, "1 places for 2 pictures"),
        ([said("user", 1, 0), said("assistant", "b")], 2, "2 places for 2 pictures"),
        ([said("user", "a\ud800"), said("assistant", "b")], 0, "half a character"),
    ],
)
def test_what_is_no_chat(messages, n, reason):
    with pytest.raises(LucidaError, match=reason):
        Chat(tuple(messages), tuple(ROOT / f"{i}.png" for i in range(n)), "rows.json, row 1")


def test_first_turns_leave_out_later_pictures():
    turns = (said("user", 0, "a"), said("assistant", "b"), said("user", "c", 1), said("assistant", "d"))
    whole = Chat(turns, (ROOT / "a.png", ROOT / "b.png"), "here")
    assert whole.n_answers == 2
    assert whole.first_turns(2) == whole
    assert whole.first_turns(1) == Chat(turns[:2], (ROOT / "a.png",), "here")


def test_sifting_lists_what_it_leaves_out():
    rows = Chats("rows.json", (chat("a", id="1"), chat("b", id="2")), ROOT, (Skipped("0", "row 0", "broken"),))
    found = rows.sift(lambda one: "ugly" if one.id == "1" else None)
    assert [one.id for one in found] == ["2"]
    assert [(row.id, row.reason) for row in found.skipped] == [("0", "broken"), ("1", "ugly")]
    with pytest.raises(LucidaError, match=r"no row can be used, most often: ugly \(rows.json\)"):
        rows.sift(lambda one: "ugly")


def test_pictures_are_listed_once():
    assert chats(chat("b", "a"), chat(), chat("a")).pictures == (ROOT / "b", ROOT / "a")


names = st.lists(st.sampled_from("abcdefghij"), max_size=2, unique=True)
many = st.lists(st.builds(lambda those, i: chat(*those, id=str(i)), names, st.integers()), min_size=2, max_size=30)


def is_split(rows: list[Chat]) -> bool:
    """Whether there is more than one group."""
    groups: list[set] = []
    for row in rows:
        shown = set(row.pictures) or {row.messages}
        touching = [group for group in groups if group & shown]
        groups = [group for group in groups if not group & shown] + [shown.union(*touching)]
    return len(groups) > 1


@given(many, st.floats(0.01, 0.9), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_split_keeps_pictures_together_whatever_the_order(rows, share, seed, random):
    if not is_split(rows):
        with pytest.raises(LucidaError, match="none can be held out"):
            chats(*rows).split(share, seed)
        return
    train, validation = chats(*rows).split(share, seed)
    assert Counter(train.chats + validation.chats) == Counter(rows)
    assert len(train) > 0
    assert len(validation) > 0
    assert not {*train.pictures} & {*validation.pictures}
    assert not {one.messages for one in train if not one.pictures} & {
        one.messages for one in validation if not one.pictures
    }
    mixed = random.sample(rows, len(rows))
    assert Counter(chats(*mixed).split(share, seed)[1].chats) == Counter(validation.chats)


def test_a_split_has_its_share_and_its_seed():
    rows = chats(*(chat(f"{i // 2}.png", text=str(i)) for i in range(200)))
    train, validation = rows.split(0.1, 0)
    assert (len(train), len(validation)) == (180, 20)
    assert rows.split(0.1, 0) == (train, validation)
    assert rows.split(0.1, 1)[1] != validation
    assert [len(part) for part in rows.split(0, 0)] == [200, 0]
    with pytest.raises(LucidaError, match=r"a share of 1"):
        rows.split(1, 0)


def test_a_split_is_the_same_in_another_folder():
    rows = chats(*(chat(f"{i}.png", id=str(i)) for i in range(40)))
    moved = [dataclasses.replace(row, pictures=(Path("/elsewhere") / row.pictures[0].name,)) for row in rows]
    there = Chats("rows.json", tuple(moved), Path("/elsewhere"))
    assert [row.id for row in there.split(0.2, 3)[1]] == [row.id for row in rows.split(0.2, 3)[1]]


def test_what_was_left_out_stays_on_the_training_side():
    rows = Chats("rows.json", (chat("a"), chat("b")), ROOT, (Skipped("0", "row 0", "broken"),))
    train, validation = rows.split(0.5, 0)
    assert (len(train.skipped), len(validation.skipped)) == (1, 0)
