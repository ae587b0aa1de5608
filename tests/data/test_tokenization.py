from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.kinds import all_kinds
from lucida.data.tokenization import IMAGE, add_image_token, load_tokenizer, save_tokenizer, train_tokenizer

NAMES = [kind.name for kind in all_kinds()]
TEXTS = [f"Is there a {name} in the picture?\n" for name in NAMES] + ["yes", "no", "There are two of them."] * 20
TOKENIZER = train_tokenizer(TEXTS, words=NAMES)


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@given(st.text())
def test_any_text_decodes_to_itself(text):
    decoded = TOKENIZER.decode(ids(text))
    assert decoded == text or decoded == " " + text


def test_names_are_few_tokens():
    lengths = [len(ids(name)) for name in NAMES]
    assert max(lengths) <= 3
    assert lengths.count(1) > 0.8 * len(NAMES)
    assert ids("dog") == ids("There is a dog")[-1:]


def test_special_tokens_are_single_and_never_added_alone():
    assert [TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id] == [0, 1, 2]
    assert add_image_token(TOKENIZER) == 4
    assert TOKENIZER("yes")["input_ids"] == ids("yes")
    assert len(ids("yes")) == 1
    assert len(TOKENIZER) <= 2048


def test_a_saved_tokenizer_comes_back(tmp_path):
    save_tokenizer(TOKENIZER, tmp_path)
    again = load_tokenizer(tmp_path)
    assert all(again(text, add_special_tokens=False)["input_ids"] == ids(text) for text in TEXTS)
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert again.convert_tokens_to_ids(IMAGE) == add_image_token(again) == 4
    assert again.eos_token == TOKENIZER.eos_token


def test_a_tokenizer_without_an_image_token_gets_one():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
    assert add_image_token(plain) == add_image_token(plain) == 2


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(LucidaError, match="too small"):
        train_tokenizer(TEXTS, vocab_size=100)
    with pytest.raises(LucidaError, match="no text"):
        train_tokenizer([])
    with pytest.raises(LucidaError, match="no tokenizer"):
        load_tokenizer(tmp_path / "nowhere")
