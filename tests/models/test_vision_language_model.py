"""The packed model against its plain twin: one row a turn through Hugging Face's own loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from lucida.core.errors import LucidaError
from lucida.data.collation import ChatFormat, collate, separate
from lucida.data.conversations import Turn
from lucida.data.tokenization import train_tokenizer
from lucida.inference.generate import answer, answer_yes_no
from lucida.models.language_models import SmallLlama
from lucida.models.projectors import WordProjector
from lucida.models.vision_language_model import VisionLanguageModel

CONVERSATIONS = [
    [
        Turn("exists", "Is there a cat?", "yes"),
        Turn("count", "How many dogs are there?", "2"),
        Turn("exists", "Is there a dog?", "no"),
    ],
    [Turn("describe", "Describe the picture.", "There is a cat and a red dog.")],
]
TEXTS = [text for conversation in CONVERSATIONS for turn in conversation for text in (turn.question, turn.answer)]
TOKENIZER = train_tokenizer(TEXTS, vocab_size=300, words=("yes", "no", "cat", "dog"))
T, D = 4, 6


def language_model(kind: str):
    vocabulary = len(TOKENIZER)
    if kind == "llama":
        return SmallLlama(hidden_size=32, layers=2, head_size=16, heads=2).build(TOKENIZER)
    if kind == "qwen2":
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=vocabulary,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
            )
        )
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **sizes, **dropouts))


def build(kind: str = "llama"):
    torch.manual_seed(0)
    chat = ChatFormat(TOKENIZER, T)
    model = VisionLanguageModel(WordProjector(D, 32, T), language_model(kind), chat.image_token_id)
    return model.eval(), chat, torch.randn(2, T, D)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_packed_loss_and_gradients_equal_those_of_separate_rows(kind):
    model, chat, features = build(kind)
    batch = collate(CONVERSATIONS, chat)
    output = model(**batch, vision_features=features)
    output.loss_sum.backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    plain = separate(batch, pad_token_id=chat.pad_token_id)
    embedded = model.embed(plain["input_ids"], features[plain["picture_index"]])
    reference = model.language_model(
        inputs_embeds=embedded,
        attention_mask=plain["attention_mask"],
        position_ids=plain["position_ids"],
        labels=plain["labels"],
    )
    n = int((plain["labels"] != -100).sum())
    assert n == int(output.n_supervised)
    (reference.loss * n).backward()
    torch.testing.assert_close(output.loss_sum, reference.loss * n, rtol=1e-5, atol=1e-4)
    assert len(packed) > 10
    for name, parameter in model.named_parameters():
        if name in packed and parameter.grad is not None:
            torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-4, atol=2e-5, msg=name)


def test_another_number_of_features_than_image_tokens_is_refused():
    model, _, features = build()
    with pytest.raises(LucidaError, match="10 image tokens for 8 picture features"):
        model(**collate(CONVERSATIONS, ChatFormat(TOKENIZER, T + 1)), vision_features=features)


def test_answers_of_batch_1_and_16_agree_and_sampling_is_seeded():
    model, chat, features = build()
    asked = [(i % 2, turn.question) for i in range(6) for turn in CONVERSATIONS[0]]
    one = answer(model, chat, features, asked, batch_size=1, max_new_tokens=8)
    many = answer(model, chat, features, asked, batch_size=16, max_new_tokens=8)
    ties = sum(a.margin < 1e-4 for a in one)
    assert sum(a.text != b.text for a, b in zip(one, many, strict=True)) <= ties
    assert ties < len(one)
    sampled = [answer(model, chat, features, asked[:3], temperature=2.0, max_new_tokens=8, seed=s) for s in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_yes_or_no_in_one_pass_is_what_generation_says():
    model, chat, features = build()
    asked = [(1, "Is there a cat?"), (0, "Is there a dog?"), (1, "Describe the picture."), (0, "Is there a cat?")]
    yes, no = (int(chat.encode([word])[0][0]) for word in ("yes", "no"))
    head = torch.nn.Linear(32, len(TOKENIZER))
    for lifted, expected in (([yes, no], {"yes", "no"}), ([5], {""})):  # an untrained model says neither by itself
        with torch.no_grad():
            head.weight.copy_(model.language_model.get_input_embeddings().weight)
            head.bias.zero_()
            head.bias[lifted] = 20.0
        model.language_model.set_output_embeddings(head)
        together = answer_yes_no(model, chat, features, asked)
        many = answer_yes_no(model, chat, features, asked * 20)  # more than fit a row
        assert many.p_yes == pytest.approx(np.tile(together.p_yes, 20), abs=1e-6)
        alone = [answer_yes_no(model, chat, features, [one]) for one in asked]
        assert together.p_yes == pytest.approx([float(one.p_yes[0]) for one in alone], abs=1e-6)
        generated = [one.text for one in answer(model, chat, features, asked, max_new_tokens=1)]
        assert set(together.texts) <= expected
        for said, text in zip(together.texts, generated, strict=True):
            assert said == (text if expected != {""} else "")
