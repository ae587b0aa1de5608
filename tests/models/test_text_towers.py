"""Text towers: pooling without padding, order and duplicates, what is frozen."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lucida.core.errors import LucidaError
from lucida.data.tokenization import train_tokenizer
from lucida.models.text_towers import MiniLM, SmallTextTransformer, encode_texts, masked_mean
from lucida.models.towers import TextTower

TEXTS = ["a red apple", "two dogs on the left of a large house", "", "a red apple", "a cat"]


@pytest.fixture(scope="module")
def minilm():
    return MiniLM()


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return SmallTextTransformer(train_tokenizer(TEXTS, vocab_size=300), hidden_size=32, layers=2)


def test_both_are_text_towers(minilm, small):
    assert isinstance(minilm, TextTower)
    assert isinstance(small, TextTower)


def test_minilm_is_the_mean_of_its_own_tokens(minilm):
    one = minilm.tokenize(["a red apple"])
    with torch.no_grad():
        states = minilm.model(**one).last_hidden_state
    assert torch.allclose(minilm(**one), states.mean(dim=1), atol=1e-6)


def test_minilm_knows_what_words_mean(minilm):
    dog, puppy, bridge = (x / np.linalg.norm(x) for x in encode_texts(minilm, ["a dog", "a puppy", "a bridge"]))
    assert dog @ puppy > 0.6 > dog @ bridge


def test_minilm_is_frozen_and_has_no_dropout_in_training(minilm):
    assert not any(p.requires_grad for p in minilm.parameters())
    minilm.train()
    assert not minilm.training
    assert not minilm.model.training


def test_minilm_can_train():
    tower = MiniLM(frozen=False).train()
    assert tower.training
    tower(**tower.tokenize(["a dog"])).sum().backward()
    assert all(p.grad is not None for p in tower.parameters())


def test_importing_and_loading_minilm_needs_no_sentence_transformers_and_prints_nothing():
    code = (
        "import sys; from lucida.models.text_towers import MiniLM; MiniLM();"
        "assert not [m for m in sys.modules if m.startswith('sentence_transformers')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("which", ["minilm", "small"])
def test_encoding_keeps_order_whatever_the_batch(which, request):
    tower = request.getfixturevalue(which)
    together = encode_texts(tower, TEXTS, batch_size=2)
    assert together.shape == (5, tower.hidden_size)
    assert together.dtype == np.float32
    assert (together[0] == together[3]).all()
    for text, row in zip(TEXTS, together, strict=True):
        assert np.allclose(encode_texts(tower, [text])[0], row, atol=1e-5)


def test_equal_texts_are_encoded_once(small, monkeypatch):
    seen = []
    tokenize = small.tokenize
    monkeypatch.setattr(small, "tokenize", lambda texts: seen.extend(texts) or tokenize(texts))
    encode_texts(small, TEXTS)
    assert sorted(seen) == sorted(set(TEXTS))


def test_encoding_leaves_the_mode_as_it_was(small):
    small.train()
    small.layers.eval()
    encode_texts(small, TEXTS)
    assert small.training
    assert not small.layers.training
    small.eval()


def test_no_texts_and_one_string(small):
    assert encode_texts(small, []).shape == (0, 32)
    with pytest.raises(LucidaError, match="not one string"):
        encode_texts(small, "a dog")
    with pytest.raises(LucidaError, match="batch of 0"):
        encode_texts(small, TEXTS, batch_size=0)


def test_small_tower_cuts_long_texts_and_ends_each(small):
    batch = small.tokenize(["a red apple " * 100, ""])
    assert batch["input_ids"].shape == (2, small.max_tokens)
    assert batch["input_ids"][0, -1] == small.end
    assert batch["attention_mask"].sum(dim=1).tolist() == [small.max_tokens, 1]
    assert small(**batch).isfinite().all()


def test_small_tower_does_not_see_padding(small):
    small.eval()
    batch = small.tokenize(["a cat", "two dogs on the left of a large house"])
    changed = batch["input_ids"].clone()
    changed[batch["attention_mask"] == 0] = 7
    assert torch.allclose(small(**batch), small(changed, batch["attention_mask"]), atol=1e-6)


def test_small_tower_reads_the_order_of_words(small):
    a, b = encode_texts(small, ["a dog left of a cat", "a cat left of a dog"])
    assert not np.allclose(a, b, atol=1e-5)


def test_every_parameter_of_the_small_tower_trains(small):
    small(**small.tokenize(TEXTS)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())


def test_small_tower_refuses_sizes_that_do_not_fit(small):
    with pytest.raises(LucidaError, match="no multiple of 4 heads"):
        SmallTextTransformer(small.tokenizer, hidden_size=30)


def test_the_mean_of_nothing_is_zero():
    assert masked_mean(torch.ones(1, 2, 3), torch.zeros(1, 2)).tolist() == [[0, 0, 0]]
