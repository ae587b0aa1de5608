"""Soft prompts against PEFT's prompt tuning: the same logits, the same files; nothing else learns."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.data.collation import ChatFormat, collate, separate
from lucida.data.conversations import Turn
from lucida.data.tokenization import train_tokenizer
from lucida.inference.generate import answer, answer_yes_no
from lucida.models.image_text_models import ImageTextModel, in_one_row
from lucida.models.language_models import SmallLlama
from lucida.models.projectors import WordProjector
from lucida.models.soft_prompts import (
    SOFT_TOKEN_ID,
    SoftPrompt,
    load_soft_prompt,
    save_soft_prompt,
    soft_chat,
    with_soft_prompt,
)
from lucida.models.vision_language_model import VisionLanguageModel, block_mask
from lucida.training.tasks import LanguageTask

sys.path.insert(0, str(Path(__file__).parent))
from tiny_vlms import IMAGE, VOCABULARY, tiny_llava, tiny_smolvlm

CONVERSATIONS = [
    [Turn("exists", "Is there a cat?", "yes"), Turn("count", "How many dogs are there?", "2")],
    [Turn("describe", "Describe the picture.", "There is a cat and a red dog.")],
]
TEXTS = [text for turns in CONVERSATIONS for turn in turns for text in (turn.question, turn.answer)]
TOKENIZER: PreTrainedTokenizerFast = train_tokenizer(TEXTS, vocab_size=300, words=("yes", "no", "cat", "dog"))
T, D, SOFT = 4, 6, 3


def build(seed: int = 0):
    torch.manual_seed(seed)
    chat = ChatFormat(TOKENIZER, T)
    words = SmallLlama(hidden_size=32, layers=2, head_size=16, heads=2).build(TOKENIZER)
    return VisionLanguageModel(WordProjector(D, 32, T), words, chat.image_token_id).eval(), chat, torch.randn(2, T, D)


def prompted(seed: int = 0):
    model, chat, features = build(seed)
    words = model.language_model.get_input_embeddings()
    prompt = SoftPrompt.from_vocabulary(words, TOKENIZER, SOFT, seed)
    return with_soft_prompt(model, prompt), soft_chat(chat, prompt), features


def logits(model, chat, features):
    """Of separate rows, padded on the right, as the model's own generation would compute them."""
    plain = separate(collate(CONVERSATIONS, chat), pad_token_id=chat.pad_token_id)
    embedded = model.embed(plain["input_ids"], features[plain["picture_index"]])
    with torch.no_grad():
        own = model.language_model(inputs_embeds=embedded, attention_mask=plain["attention_mask"]).logits
    return own[plain["attention_mask"].bool()]


def peft_logits(peft, model, chat, features):
    """PEFT's own forward pass from embeddings of pictures and words."""
    plain = separate(collate(CONVERSATIONS, chat), pad_token_id=chat.pad_token_id)
    embedded = model.embed(plain["input_ids"], features[plain["picture_index"]])
    with torch.no_grad():
        found = peft.eval()(inputs_embeds=embedded, attention_mask=plain["attention_mask"]).logits
    places = torch.ones(len(found), SOFT, dtype=torch.long)
    return found[torch.cat([places, plain["attention_mask"]], dim=1).bool()]


def test_peft_reads_what_is_saved_and_says_the_same(tmp_path):
    model, chat, features = prompted()
    save_soft_prompt(tmp_path, model.soft_prompt, model, "some/base")
    base, plain_chat, _ = build()
    peft = PeftModel.from_pretrained(base.language_model, tmp_path)
    assert peft.active_peft_config.base_model_name_or_path == "some/base"
    ours, theirs = logits(model, chat, features), peft_logits(peft, base, plain_chat, features)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, logits(*prompted(seed=1)[:2], features), atol=1e-2)


def test_what_peft_saves_is_read_and_says_the_same(tmp_path):
    base, plain_chat, features = build()
    settings = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=SOFT, prompt_tuning_init="SAMPLE_VOCAB", base_model_name_or_path="b"
    )
    peft = get_peft_model(base.language_model, settings)
    peft.save_pretrained(tmp_path)
    theirs = peft_logits(peft, base, plain_chat, features)
    other, chat, _ = build()
    model = load_soft_prompt(tmp_path, other)
    torch.testing.assert_close(
        logits(model, soft_chat(chat, model.soft_prompt), features), theirs, rtol=1e-5, atol=1e-5
    )


def test_why_pefts_own_wrapper_will_not_do():
    """Should this fail one day, PEFT may do what is done here."""
    base, chat, features = build()
    peft = get_peft_model(
        base.language_model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=SOFT)
    ).eval()
    plain = separate(collate(CONVERSATIONS, chat), pad_token_id=chat.pad_token_id)
    embedded, mask = base.embed(plain["input_ids"], features[plain["picture_index"]]), plain["attention_mask"]
    assert peft(inputs_embeds=embedded, attention_mask=mask).logits.shape[1] == embedded.shape[1] + SOFT
    states = peft.get_decoder()(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    assert states.shape[1] == embedded.shape[1]  # without the prompt, unsaid
    with pytest.raises(RuntimeError):
        peft(inputs_embeds=embedded, attention_mask=block_mask(plain["segment_ids"]))
    with pytest.raises(ValueError, match="inputs_embeds"):
        peft.generate(inputs_embeds=embedded, attention_mask=mask, max_new_tokens=1)


def test_a_saved_prompt_gives_identical_logits(tmp_path):
    model, chat, features = prompted()
    with torch.no_grad():
        model.soft_prompt.vectors.add_(torch.randn(SOFT, 32))
    save_soft_prompt(tmp_path, model.soft_prompt, model, "base")
    again = load_soft_prompt(tmp_path, build()[0])
    assert torch.equal(logits(again, chat, features), logits(model, chat, features))
    assert [name for name, p in again.named_parameters() if p.requires_grad] == ["soft_prompt.vectors"]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "PROMPT_TUNING"


def test_packed_turns_all_see_the_prompt():
    """The packed loss is that of separate rows, which is Hugging Face's own."""
    model, chat, features = prompted()
    batch = collate(CONVERSATIONS, chat)
    output = model(**batch, vision_features=features)
    plain = separate(batch, pad_token_id=chat.pad_token_id)
    embedded = model.embed(plain["input_ids"], features[plain["picture_index"]])
    own = model.language_model(inputs_embeds=embedded, attention_mask=plain["attention_mask"], labels=plain["labels"])
    assert int(output.n_supervised) == int((plain["labels"] >= 0).sum())
    torch.testing.assert_close(output.loss_sum, own.loss * output.n_supervised, rtol=1e-5, atol=1e-4)


def test_only_the_prompt_learns_and_the_loss_falls():
    model, chat, features = prompted()
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if name != "soft_prompt.vectors"}
    task, batch = LanguageTask(model.train()), {**collate(CONVERSATIONS, chat), "vision_features": features}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        output = task.loss(batch)
        (output.loss_sum / output.weight).backward()
        assert [name for name, p in model.named_parameters() if p.grad is not None] == ["soft_prompt.vectors"]
        assert bool((model.soft_prompt.vectors.grad.norm(dim=1) > 0).all())
        optimizer.step()
        losses.append(output.loss_sum.item() / int(output.weight))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.15  # a model of random weights cannot be talked into much
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


def test_it_answers_in_any_batch():
    model, chat, features = prompted()
    asked = [(i % 2, turn.question) for i in range(4) for turn in CONVERSATIONS[0]]
    one = answer(model, chat, features, asked, batch_size=1, max_new_tokens=6)
    many = answer(model, chat, features, asked, batch_size=8, max_new_tokens=6)
    assert all(a.text == b.text or a.margin < 1e-4 for a, b in zip(one, many, strict=True))
    together = answer_yes_no(model, chat, features, asked).p_yes
    base, plain_chat, _ = build()
    assert not np.allclose(together, answer_yes_no(base, plain_chat, features, asked).p_yes, atol=1e-4)


@pytest.mark.parametrize(("make", "tokens"), [(tiny_llava, 16), (tiny_smolvlm, 4)])
def test_models_of_others_read_it_too(make, tokens):
    own = make()
    vectors = torch.randn(SOFT, 32)
    model = with_soft_prompt(ImageTextModel(own), SoftPrompt(vectors))
    generator = torch.Generator().manual_seed(0)
    chats, features = [], torch.randn(2 * tokens, 32, generator=generator)
    for n in (5, 9):
        words = torch.randint(5, VOCABULARY, (n,), generator=generator)
        ids = torch.cat([torch.full((SOFT,), SOFT_TOKEN_ID), words[:2], torch.full((tokens,), IMAGE), words[2:]])
        chats.append((ids, torch.where(torch.arange(len(ids)) >= len(ids) - 2, ids, -100)))
    output = model(**in_one_row(chats), image_tokens=features)
    total = torch.zeros(())
    for (ids, labels), part in zip(chats, features.split(tokens), strict=True):
        words = own.get_input_embeddings()(ids[SOFT:]).masked_scatter((ids[SOFT:] == IMAGE)[:, None], part)
        plain = own(inputs_embeds=torch.cat([vectors, words])[None], labels=labels[None])
        total = total + 2 * plain.loss
    assert int(output.n_supervised) == 4
    torch.testing.assert_close(output.loss_sum, total, rtol=1e-5, atol=1e-5)
    output.loss_sum.backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["soft_prompt.vectors"]


def test_starts_are_words():
    words = build()[0].language_model.get_input_embeddings()
    ids = TOKENIZER("a red dog", add_special_tokens=False)["input_ids"]
    assert torch.equal(SoftPrompt.from_text(words, TOKENIZER, "a red dog").vectors, words.weight[ids])
    longer = SoftPrompt.from_text(words, TOKENIZER, "a red dog", len(ids) + 2)
    assert torch.equal(longer.vectors, words.weight[[*ids, *ids[:2]]])
    assert torch.equal(SoftPrompt.from_text(words, TOKENIZER, "a red dog", 1).vectors, words.weight[ids[:1]])
    drawn = SoftPrompt.from_vocabulary(words, TOKENIZER, 40)
    at = (drawn.vectors[:, None] == words.weight).all(dim=-1).nonzero()[:, 1].tolist()
    assert len(set(at)) == 40
    assert not set(at) & set(TOKENIZER.all_special_ids)
    assert torch.equal(drawn.vectors, SoftPrompt.from_vocabulary(words, TOKENIZER, 40).vectors)
    assert not torch.equal(drawn.vectors, SoftPrompt.from_vocabulary(words, TOKENIZER, 40, seed=1).vectors)


def test_what_does_not_fit_is_one_line(tmp_path):
    model, _, features = prompted()
    _, plain_chat, _ = build()
    with pytest.raises(LucidaError, match=r"0 places for a soft prompt of 3 tokens.*soft_chat"):
        model(**collate(CONVERSATIONS, plain_chat), vision_features=features)
    with pytest.raises(LucidaError, match="0 places for a soft prompt"):
        answer(model, plain_chat, features, [(0, "Is there a cat?")])
    with pytest.raises(LucidaError, match="8 places for a soft prompt of 3 tokens"):
        model(**collate(CONVERSATIONS, soft_chat(plain_chat, SoftPrompt(torch.zeros(4, 32)))), vision_features=features)
    with pytest.raises(LucidaError, match="a soft prompt of size 8 for words of size 32"):
        with_soft_prompt(build()[0], SoftPrompt(torch.zeros(2, 8)))
    words = model.language_model.get_input_embeddings()
    for wrong in (
        lambda: SoftPrompt(torch.zeros(0, 4)),
        lambda: SoftPrompt.from_vocabulary(words, TOKENIZER, 0),
        lambda: SoftPrompt.from_text(words, TOKENIZER, "cat", 0),
    ):
        with pytest.raises(LucidaError, match="use at least one token"):
            wrong()
    with pytest.raises(LucidaError, match="no token to start"):
        SoftPrompt.from_text(words, TOKENIZER, "")

    save_soft_prompt(tmp_path / "a", model.soft_prompt, model, "base")
    with pytest.raises(LucidaError, match="learned for another model"):
        load_soft_prompt(tmp_path / "a", build(seed=1)[0])
    half = build()[0]
    half.language_model.to(torch.bfloat16)
    load_soft_prompt(tmp_path / "a", half)  # the same model in another precision
    with pytest.raises(LucidaError, match="file not found"):
        load_soft_prompt(tmp_path / "b", build()[0])
    settings = tmp_path / "a" / "adapter_config.json"
    settings.write_text(settings.read_text().replace("PROMPT_TUNING", "LORA"))
    with pytest.raises(LucidaError, match="no prompt tuning, but 'LORA'"):
        load_soft_prompt(tmp_path / "a", build()[0])
    settings.write_text(settings.read_text().replace("LORA", "PROMPT_TUNING"))
    save_file({"other": torch.zeros(1)}, tmp_path / "a" / "adapter_model.safetensors")
    with pytest.raises(LucidaError, match="broken"):
        load_soft_prompt(tmp_path / "a", build()[0])
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    with pytest.raises(LucidaError, match="no such weights"):
        load_soft_prompt(tmp_path / "a", build()[0])
    with torch.no_grad():
        model.soft_prompt.vectors[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="not finite"):
        save_soft_prompt(tmp_path / "c", model.soft_prompt, model, "base")
    assert not (tmp_path / "c").exists()
