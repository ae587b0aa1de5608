"""LLaVA's JSON and JSON lines: both forms, bad rows of every kind, files that are none."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.data.chat_files import read_chats
from lucida.data.chats import Chats, Message
from lucida.data.pixels import write_skipped

NAMES = ("a.png", "b.png", "sub/c.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    return tmp_path


def llava(image: Any, *values: str) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"id": "x", **({} if image is None else {"image": image}), "conversations": turns}


def messages(images: Any, *contents: Any) -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return {**({} if images is None else {"images": images}), "messages": turns}


GOOD = llava("a.png", "<image>\nWhat is it?", "A cat.")


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def listed(path: Path, *rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


def reasons(chats: Chats) -> list[str]:
    return [row.reason for row in chats.skipped]


def test_llava_json(folder):
    rows = read_chats(
        listed(
            folder / "chats.json",
            GOOD,
            llava(["b.png", "sub/c.png"], "Is <image> like <image>?", "No.", "Why?", "One is red."),
            llava(None, "Hello", "Hello."),
        )
    )
    assert rows.name == "chats.json"
    assert rows.skipped == ()
    first, second, third = rows
    assert first.messages == (Message("user", (0, "What is it?")), Message("assistant", ("A cat.",)))
    assert first.pictures == (folder / "a.png",)
    assert first.where == f"{folder / 'chats.json'}, row 1"
    assert second.messages[0].parts == ("Is ", 0, " like ", 1, "?")
    assert second.pictures == (folder / "b.png", folder / "sub" / "c.png")
    assert third.pictures == ()


def test_json_lines_with_messages(folder):
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "What is it?"}]
    named = [{"type": "image", "path": "b.png"}, {"type": "image_url", "image_url": {"url": "sub/c.png"}}, "Both?"]
    rows = read_chats(
        lines(
            folder / "chats.jsonl",
            messages(["a.png"], parts, "A cat."),
            "",
            messages(None, named, [{"type": "text", "text": "Yes."}]),
            messages([{"path": "a.png", "bytes": None}], "What is it?\n<image>", "A cat."),
            {"messages": [{"role": "system", "content": "Be brief."}, *messages(None, "Hello", "Hi.")["messages"]]},
        )
    )
    assert rows.skipped == ()
    assert [row.where[-6:] for row in rows] == ["line 1", "line 3", "line 4", "line 5"]
    assert rows[0].messages[0].parts == (0, "What is it?")
    assert rows[1].messages == (Message("user", (0, 1, "Both?")), Message("assistant", ("Yes.",)))
    assert rows[1].pictures == (folder / "b.png", folder / "sub" / "c.png")
    assert rows[2].messages[0].parts == ("What is it?", 0)
    assert rows[3].messages[0] == Message("system", ("Be brief.",))


def test_content_tells_the_form_not_the_name(folder):
    as_lines, as_list = (
        lines(folder / "chats.json", GOOD),
        listed(folder / "chats.txt", messages("a.png", "<image>", "A")),
    )
    assert len(read_chats(as_lines)) == len(read_chats(as_list)) == 1


def test_a_byte_order_mark_is_none_of_the_text(folder):
    for name, text in (("chats.json", json.dumps([GOOD])), ("chats.jsonl", json.dumps(GOOD))):
        (folder / name).write_text(text, encoding="utf-8-sig")
        assert len(read_chats(folder / name)) == 1


def test_pictures_lie_in_another_folder(folder, tmp_path_factory):
    path = listed(tmp_path_factory.mktemp("rows") / "chats.json", GOOD, llava("./sub/../a.png", "<image>", "A cat."))
    rows = read_chats(path, pictures=folder)
    assert rows.pictures == (folder / "a.png",)  # one picture, however it is named
    assert rows.root == folder
    with pytest.raises(LucidaError, match=r"most often: there is no picture 'a.png'"):
        read_chats(path)
    with pytest.raises(LucidaError, match="no such folder"):
        read_chats(path, pictures=folder / "nowhere")


BAD = {
    "no picture 'gone.png'": llava("gone.png", "<image>", "A cat."),
    "no picture 'sub'": llava("sub", "<image>", "A cat."),
    "no picture 'a\\x00.png'": llava("a\0.png", "<image>", "A cat."),
    "not named by its file": llava([3], "<image>", "A cat."),
    "do not alternate": {"messages": [{"role": "user", "content": "a"}] * 2 + messages(None, "a", "b")["messages"]},
    "0 places for 1 pictures": llava("a.png", "What?", "A cat."),
    "1 places for 0 pictures": llava(None, "<image>", "A cat."),
    "2 places for 1 pictures": llava("a.png", "<image><image>", "A cat."),
    "the last message has no answer": llava("a.png", "<image>", "A cat.", "Sure?"),
    "an answer is empty": llava("a.png", "<image>", " "),
    "a message is empty": llava(None, "", "A cat."),
    "stands in an answer": llava("a.png", "What?", "<image>"),
    "neither 'conversations' nor 'messages'": {"id": 3, "text": "hello"},
    "not a JSON object": [1, 2],
    "a message is not a JSON object": {"messages": ["hello", "hi"]},
    "nobody knows the role 'tool'": {"messages": [{"role": "tool", "content": "a"}]},
    "a message has no text": {"messages": [{"role": "user", "content": 3}]},
    "neither text nor image": messages(None, [{"type": "video"}], "A cat."),
    "half a character": llava(None, "\ud83d", "A cat."),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_skipped_and_named(folder, reason):
    rows = read_chats(listed(folder / "chats.json", GOOD, BAD[reason], GOOD))
    assert [row.id for row in rows] == ["chats.json:1", "chats.json:3"]
    assert [row.where for row in rows.skipped] == [f"{folder / 'chats.json'}, row 2"]
    assert reason in rows.skipped[0].reason


def test_a_broken_line_is_skipped(folder):
    (folder / "chats.jsonl").write_bytes(b"{}}\n" + json.dumps(GOOD).encode() + b'\n{"messages": "\xff"}\n')
    rows = read_chats(folder / "chats.jsonl")
    assert [row.id for row in rows] == ["chats.jsonl:2"]
    assert reasons(rows) == ["not valid JSON", "not valid JSON"]
    assert [row.id for row in rows.skipped] == ["chats.jsonl:1", "chats.jsonl:3"]


def test_skipped_rows_are_written_as_those_of_a_corpus(folder):
    rows = read_chats(listed(folder / "chats.json", GOOD, *BAD.values()))
    write_skipped(folder, rows.skipped)
    written = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
    assert len(written) == len(BAD)
    assert {*written[0]} == {"id", "where", "reason"}


@given(st.lists(st.sampled_from([*BAD, None]), min_size=1, max_size=12), st.booleans())
def test_skipping_loses_nothing_else(kinds, as_lines):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        Image.new("RGB", (4, 3)).save(root / "a.png")
        rows = [GOOD if kind is None else BAD[kind] for kind in kinds]
        path = (lines if as_lines and rows[0] != [1, 2] else listed)(root / "chats", *rows)
        if None not in kinds:
            with pytest.raises(LucidaError, match="no row can be used, most often: "):
                read_chats(path)
            return
        read = read_chats(path)
    numbers = {row.id: None for row in read} | {row.id: row.reason for row in read.skipped}
    assert len(read) == kinds.count(None)
    assert len(numbers) == len(kinds)
    for i, kind in enumerate(kinds, start=1):
        assert (kind or "") in (numbers[f"chats:{i}"] or "")
        assert (numbers[f"chats:{i}"] is None) == (kind is None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file is empty"),
        ("id,image\n1,a.png\n", "not JSON"),
        ("[{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "there is no row"),
        ("{}\n", "neither 'conversations' nor 'messages'"),
        ("{\n  'a': 1\n}", "most often: not valid JSON"),
    ],
)
def test_a_file_without_chats(folder, text, what):
    (folder / "chats").write_text(text)
    with pytest.raises(LucidaError, match=what) as error:
        read_chats(folder / "chats")
    assert "chats" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_none(folder):
    for path in (folder / "gone.json", folder / "sub"):
        with pytest.raises(LucidaError, match="cannot read the chats"):
            read_chats(path)
