"""Chats as tokens: equal to the processor's own, labels on answers and nothing else, cuts between turns."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, ByT5Tokenizer, LlavaProcessor

from lucida.core.errors import LucidaError
from lucida.data.chat_tokens import ChatTokens, EncodedChat, check_encoded
from lucida.data.chats import Chat, Message
from lucida.data.collation import IGNORE_INDEX
from lucida.data.decoding import FileSource

ENDS = {
    "llava": "</s>",
    "llava_begun": "</s>",  # the template writes what the tokenizer would put in front
    "llava_open": "</s>",
    "smolvlm": "<end_of_utterance>",
    "trimmed": "<end_of_utterance>",  # a space is not in the offsets of its token, and nothing closes an answer
}
KINDS = tuple(ENDS)
SIZES = [(40, 30), (20, 70), (32, 32), (200, 50)]

# The Llama tokenizer writes a space as the first of these, and so reads it as one; special tokens start with the other.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁<"), min_size=1, max_size=20)
words = st.sampled_from(["yes", "Two  dogs", " a cat", "ASSISTANT: no", "Assistant: USER: \n", "4ü🐈", "\n\n.", "<b> "])
few = settings(deadline=None, max_examples=20)


@st.composite
def chats(draw, turns=3):
    """Any texts in any number of turns, pictures anywhere in the questions."""
    messages, n = [], 0
    if draw(st.booleans()):
        messages.append(Message("system", (draw(texts),)))
    for _ in range(draw(st.integers(1, turns))):
        parts: list[str | int] = []
        for part in draw(st.lists(st.one_of(texts, words, st.none()), min_size=1, max_size=3)):
            parts.append(n if part is None else part)
            n += part is None
        messages.append(Message("user", tuple(parts)))
        messages.append(Message("assistant", (draw(st.one_of(texts, words).filter(str.strip)),)))
    return Chat(tuple(messages), tuple(Path(f"{i}.png") for i in range(n)), "chats.json, row 7")


@pytest.fixture(scope="session")
def processors(tiny_processors: ModuleType) -> dict:
    trimmed = tiny_processors.byte_tokenizer(trim_offsets=True)
    return {
        "llava": tiny_processors.llava_processor(),
        "llava_begun": tiny_processors.llava_processor(f"<s>{tiny_processors.LLAVA_ENDED}"),
        "llava_open": tiny_processors.llava_processor(tiny_processors.LLAVA_OPEN),
        "smolvlm": tiny_processors.smolvlm_processor(),
        "trimmed": tiny_processors.smolvlm_processor(tiny_processors.LLAVA_OPEN, trimmed),
    }


@pytest.fixture(scope="session")
def tokens(processors: dict) -> dict[str, ChatTokens]:
    return {kind: ChatTokens(processor) for kind, processor in processors.items()}


def pictures(chat: Chat) -> list[Image.Image]:
    return [Image.new("RGB", SIZES[i % len(SIZES)], (i, 90, 30)) for i in range(len(chat.pictures))]


def asked(*answers: str, pictures: int = 1) -> Chat:
    """As many turns as answers, the pictures in the first question."""
    messages = [Message("user", (*range(pictures), "What is there?")), Message("assistant", answers[:1])]
    for answer in answers[1:]:
        messages += [Message("user", ("And then?",)), Message("assistant", (answer,))]
    return Chat(tuple(messages), tuple(Path(f"{i}.png") for i in range(pictures)), "chats.json, row 7")


def supervised(encoded: EncodedChat) -> np.ndarray:
    return encoded.labels[encoded.labels != IGNORE_INDEX]


@pytest.mark.parametrize("kind", KINDS)
@few
@given(chat=chats())
def test_input_ids_are_the_processors(processors, tokens, kind, chat):
    processor, images = processors[kind], pictures(chat)
    encoded = tokens[kind].encode(chat, images)
    text = processor.apply_chat_template(chat.as_hugging_face(), tokenize=False)
    begun = text.startswith(processor.tokenizer.bos_token)
    expected = processor(text=text, images=images or None, add_special_tokens=not begun)["input_ids"][0]
    assert encoded.input_ids.tolist() == list(expected)
    assert (encoded.input_ids == processor.tokenizer.bos_token_id).sum() == (kind != "trimmed")
    for (start, end), n in zip(encoded.spans, encoded.image_tokens, strict=True):
        assert (encoded.input_ids[start:end] == processor.image_token_id).sum() == n
    assert encoded.image_tokens.sum() == (encoded.input_ids == processor.image_token_id).sum()
    assert encoded.input_ids.dtype == encoded.labels.dtype == encoded.spans.dtype == np.int64


@pytest.mark.parametrize("kind", KINDS)
@few
@given(chat=chats())
def test_labels_decode_to_the_answers_and_their_ends(tokens, kind, chat):
    encoded = tokens[kind].encode(chat, pictures(chat))
    decoded = tokens[kind].processor.tokenizer.decode(supervised(encoded))
    answers = [message.text for message in chat.messages if message.role == "assistant"]
    assert decoded == "".join(f" {answer}{ENDS[kind]}" for answer in answers)
    ended = supervised(encoded) == tokens[kind].end_of_turn_id
    assert ended.sum() == len(answers)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(chat=chats())
def test_what_comes_before_an_answer_is_what_asking_for_it_gives(processors, tokens, kind, chat):
    processor, images = processors[kind], pictures(chat)
    encoded = tokens[kind].encode(chat, images)
    asking = processor.apply_chat_template(chat.as_hugging_face()[:-1], tokenize=False, add_generation_prompt=True)
    begun = asking.startswith(processor.tokenizer.bos_token)
    prompt = processor(text=asking, images=images or None, add_special_tokens=not begun)["input_ids"][0]
    assert encoded.input_ids[: len(prompt)].tolist() == list(prompt)
    labels = encoded.labels[len(prompt) :]
    last = processor.tokenizer.decode(labels[labels != IGNORE_INDEX])
    assert last == f" {chat.messages[-1].text}{ENDS[kind]}"


@pytest.mark.parametrize("kind", ["llava", "llava_begun", "smolvlm"])
@few
@given(chat=chats())
def test_labels_are_where_transformers_has_its_assistant_mask(processors, tokens, kind, chat):
    processor, images = processors[kind], pictures(chat)
    messages, given = chat.as_hugging_face(), iter(images)
    for message in messages:
        for part in message["content"]:
            if part["type"] == "image":
                part["image"] = next(given)
    found = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    encoded = tokens[kind].encode(chat, images)
    assert encoded.input_ids.tolist() == list(found["input_ids"][0])
    assert (encoded.labels != IGNORE_INDEX).tolist() == [bool(one) for one in found["assistant_masks"][0]]
    assert (supervised(encoded) == encoded.input_ids[encoded.labels != IGNORE_INDEX]).all()


@pytest.mark.parametrize("kind", ["llava_open", "smolvlm"])
@few
@given(chat=chats(), data=st.data())
def test_a_text_cannot_write_a_special_token(tokens, kind, chat, data):
    tokenizer = tokens[kind].processor.tokenizer
    special = [token.content for token in tokenizer.added_tokens_decoder.values()]
    encoded = tokens[kind].encode(chat, pictures(chat))
    plain = Chat(
        tuple(
            Message(message.role, tuple("a" if isinstance(part, str) else part for part in message.parts))
            for message in chat.messages
        ),
        chat.pictures,
    )
    ids = tokenizer.convert_tokens_to_ids(special)
    count = np.isin(encoded.input_ids, ids).sum()
    assert count == np.isin(tokens[kind].encode(plain, pictures(chat)).input_ids, ids).sum()

    at = data.draw(st.integers(0, len(chat.messages) - 1))
    word = data.draw(st.sampled_from(special))
    messages = list(chat.messages)
    half = len(word) // 2  # in two parts, which the template puts together
    messages[at] = Message(messages[at].role, (*messages[at].parts, "x" + word[:half], word[half:] + "y"))
    spoilt = Chat(tuple(messages), chat.pictures, chat.where)
    assert f"message {at + 1} contains {word!r}" in (tokens[kind].problem(spoilt) or "")
    with pytest.raises(LucidaError, match=r"special token \(chats.json, row 7\); leave the chat out"):
        tokens[kind].encode(spoilt, pictures(chat))


@pytest.mark.parametrize("kind", ["llava_open", "smolvlm"])
@few
@given(chat=chats(turns=4), cut=st.floats(0.1, 1.1))
def test_turns_that_do_not_fit_are_left_out_whole(processors, tokens, kind, chat, cut):
    images = pictures(chat)
    whole = tokens[kind].encode(chat, images)
    limit = max(1, int(cut * len(whole.input_ids)))
    short = ChatTokens(processors[kind], max_length=limit)
    one = chat.first_turns(1)
    first = tokens[kind].encode(one, images[: len(one.pictures)])
    if len(first.input_ids) > limit:
        with pytest.raises(LucidaError, match=rf"max_length {limit} would cut .*row 7.*raise max_length to"):
            short.encode(chat, images)
        return
    encoded = short.encode(chat, images)
    n = chat.n_answers - encoded.left_out
    kept = chat.first_turns(n)
    assert len(encoded.input_ids) <= limit
    assert encoded.pictures == kept.pictures
    expected = tokens[kind].encode(kept, images[: len(kept.pictures)])
    for name in ("input_ids", "labels", "spans", "image_tokens"):
        assert getattr(encoded, name).tolist() == getattr(expected, name).tolist()
    if encoded.left_out:
        more = chat.first_turns(n + 1)
        assert len(tokens[kind].encode(more, images[: len(more.pictures)]).input_ids) > limit


def test_a_cut_through_a_picture_says_so(processors):
    chat = asked("A cat.", "A dog.")
    for limit, what in ((12, "a picture, whose tokens end at 19"), (24, "the first answer, which ends at")):
        with pytest.raises(LucidaError, match=f"max_length {limit} would cut {what}"):
            ChatTokens(processors["llava"], max_length=limit).encode(chat, pictures(chat))


def test_end_of_text_is_the_label_where_the_template_closes_nothing(tokens):
    chat = asked("A cat.", "A dog.", pictures=0)
    encoded, tokenizer = tokens["llava_open"].encode(chat), tokens["llava_open"].processor.tokenizer
    unlike = (encoded.labels != IGNORE_INDEX) & (encoded.labels != encoded.input_ids)
    assert encoded.labels[unlike].tolist() == [tokenizer.eos_token_id] * 2
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids[unlike].tolist()) == ["▁USER:", "▁"]
    assert tokenizer.eos_token_id not in encoded.input_ids
    # Nothing at all behind an answer: then there is no token whose label it could be.
    bare = ChatTokens(
        tokens["llava_open"].processor,
        chat_template="{% for m in messages %}{{ m.role }}: {{ m.content[0].text }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
    ).encode(chat)
    assert bare.input_ids[-1] == bare.labels[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(supervised(bare)) == " A cat.</s> A dog.</s>"


def test_a_picture_right_behind_an_answer_is_one_end_of_text(tokens):
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text or '<image>' }}{% endfor %}{% endfor %}"
    turns = [
        Message("user", ("a",)),
        Message("assistant", ("b",)),
        Message("user", (0, "c")),
        Message("assistant", ("d",)),
    ]
    chat = Chat(tuple(turns), (Path("0.png"),))
    encoded = ChatTokens(tokens["llava"].processor, chat_template=template).encode(chat, pictures(chat))
    assert encoded.labels[slice(*encoded.spans[0])].tolist() == [2] + [IGNORE_INDEX] * 15


@pytest.mark.parametrize("kind", ["llava", "smolvlm"])
def test_pixels_are_the_processors(processors, tokens, kind):
    chat = asked("A cat.", pictures=3)
    images = pictures(chat)
    found = tokens[kind].pixels(images)
    text = processors[kind].apply_chat_template(asked("A cat.").as_hugging_face(), tokenize=False)
    for i, image in enumerate(images):
        expected = processors[kind](text=text, images=[image], return_tensors="pt")
        single = tokens[kind].pixels([image])
        assert {*single} == {*found} == {*expected} - {"input_ids", "attention_mask"}
        for name in found:
            assert torch.equal(single[name], expected[name])
            assert torch.equal(found[name][i, : single[name].shape[1]], single[name][0])


@pytest.mark.parametrize("kind", ["llava", "smolvlm"])
def test_sizes_are_read_from_the_files_upright(tokens, kind, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (70, 20)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("L", (200, 50)).save(tmp_path / "wide.png")
    files = (tmp_path / "turned.jpg", tmp_path / "wide.png")
    chat = Chat(asked("A cat.", pictures=2).messages, files, "here")
    opened = [FileSource(str(file)).open() for file in files]
    assert opened[0].size == (20, 70)
    read, given = tokens[kind].encode(chat), tokens[kind].encode(chat, opened)
    assert read.input_ids.tolist() == given.input_ids.tolist()
    assert read.image_tokens.tolist() == [tokens[kind].image_tokens(file) for file in files]
    assert tokens[kind].problem(chat) is None


def test_a_picture_that_cannot_be_read_is_a_problem(tokens, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    chat = Chat(asked("A cat.").messages, (tmp_path / "a.png",), "here")
    assert "a.png cannot be read: not a picture" in (tokens["llava"].problem(chat) or "")
    with pytest.raises(LucidaError, match="cannot be read"):
        tokens["llava"].encode(chat)
    with pytest.raises(LucidaError, match=r"cannot be read: not a picture .*a.png"):
        tokens["llava"].image_tokens(tmp_path / "a.png")


def test_a_chat_that_does_not_suit(tokens):
    with pytest.raises(LucidaError, match="2 images for 1 pictures"):
        tokens["llava"].encode(asked("A cat."), [Image.new("RGB", (9, 9))] * 2)
    with pytest.raises(LucidaError, match=r"no answer to learn from \(chats.json, row 7\)"):
        tokens["llava"].encode(Chat(asked("A cat.", pictures=0).messages[:1], (), "chats.json, row 7"))
    without = ChatTokens(
        tokens["llava"].processor, chat_template="{% for m in messages %}{{ m.content[-1].text }}</s>{% endfor %}"
    )
    with pytest.raises(LucidaError, match=r"0 places for 1 pictures \(chats.json, row 7\)"):
        without.encode(asked("A cat."), [Image.new("RGB", (9, 9))])


def test_a_last_question_without_answer_is_left_out(tokens):
    chat = asked("A cat.", pictures=0)
    longer = Chat((*chat.messages, Message("user", ("And then?",))), (), chat.where)
    assert tokens["llava"].encode(longer).input_ids.tolist() == tokens["llava"].encode(chat).input_ids.tolist()


class Framing(LlavaProcessor):
    """Writes lines around a picture, as Gemma 3's does: they melt into the text beside it."""

    def replace_image_token(self, *inputs, **kwargs):
        return f"\n\n{super().replace_image_token(*inputs, **kwargs)}\n\n"


def test_tokens_that_melt_into_the_text_are_noticed(tiny_processors):
    own = tiny_processors.llava_processor(tokenizer=tiny_processors.byte_tokenizer())
    framing = Framing(own.image_processor, own.tokenizer, own.patch_size, "default", own.chat_template)
    framing.tokenizer.add_tokens("\n\n\n")
    with pytest.raises(LucidaError, match=r"other tokens of this chat .*row 7"):
        ChatTokens(framing).encode(asked("A cat."), [Image.new("RGB", (9, 9))])


def test_a_slow_tokenizer_is_refused(tiny_processors):
    with pytest.raises(LucidaError, match=r"a slow tokenizer .*ByT5Tokenizer.*; save the processor with its fast"):
        ChatTokens(tiny_processors.llava_processor(tokenizer=ByT5Tokenizer()))


def test_nothing_can_end_an_answer(tiny_processors):
    processor = tiny_processors.llava_processor(tiny_processors.LLAVA_OPEN)
    processor.tokenizer.eos_token = None
    with pytest.raises(LucidaError, match=r"a token that ends an answer.*; set the tokenizer's eos_token"):
        ChatTokens(processor)


def test_a_processor_from_a_folder_gives_the_same(processors, tokens, tmp_path):
    for kind in KINDS:
        processors[kind].save_pretrained(tmp_path / kind)
        loaded = ChatTokens(AutoProcessor.from_pretrained(tmp_path / kind))
        chat = asked("Two  cäts", "no", pictures=2)
        one, other = loaded.encode(chat, pictures(chat)), tokens[kind].encode(chat, pictures(chat))
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()


def test_what_would_train_on_nothing_is_stopped(tokens):
    chat = asked("A cat.", pictures=2)
    encoded = tokens["smolvlm"].encode(chat, pictures(chat))
    check_encoded(encoded, [20, 12])
    check_encoded(tokens["smolvlm"].encode(asked("A cat.", pictures=0)), [])
    with pytest.raises(LucidaError, match=r"20 \+ 12 image tokens for 20 \+ 16 picture features \(chats.json, row 7\)"):
        check_encoded(encoded, [20, 16])
    with pytest.raises(LucidaError, match="for no picture features"):
        check_encoded(encoded, [])
    encoded.labels[:] = IGNORE_INDEX
    with pytest.raises(LucidaError, match=r"no supervised token.*row 7"):
        check_encoded(encoded, [20, 12])


class Choosy(LlavaProcessor):
    def replace_image_token(self, *inputs, **kwargs):
        raise ValueError("too thin\nfor me")


def test_a_picture_that_the_processor_refuses_is_a_problem(tiny_processors, tmp_path):
    own = tiny_processors.llava_processor()
    choosy = Choosy(own.image_processor, own.tokenizer, own.patch_size, "default", own.chat_template)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    chat = Chat(asked("A cat.").messages, (tmp_path / "a.png",), "here")
    assert "a.png cannot be read: the processor refuses it: too thin (Choosy)" in (
        ChatTokens(choosy).problem(chat) or ""
    )
