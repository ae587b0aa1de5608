"""Learned context: what a text says, said by vectors; nothing else learns; what cannot take one refuses."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    SiglipTextConfig,
    SiglipTextModel,
)

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.data.tokenization import train_tokenizer
from lucida.models.dual_encoder import HeadConfig, seeded_heads
from lucida.models.learned_context import LearnedContext, context_logits
from lucida.models.text_features import TextFeatures
from lucida.models.text_towers import PretrainedText, SmallTextTransformer

NAMES = ["cat", "fire engine", "red apple", "dog", "old house"]
TEXT = "a photo of a"
TOWERS = ("bert", "clip", "siglip", "small")


def tokenizer(kind: str):
    """With the special tokens that such a tower sees around a text."""
    made = train_tokenizer([*NAMES, TEXT] * 5, vocab_size=300, words=NAMES)
    around = {"bert": "<s> $A </s>", "clip": "<s> $A <end>", "siglip": "$A </s>", "small": "$A"}[kind]
    if kind == "clip":  # the token that ends a text is padding too, and found as that with the largest number
        made.add_special_tokens({"eos_token": "<end>", "pad_token": "<end>"})
    ids = [(token, made.convert_tokens_to_ids(token)) for token in ("<s>", "</s>", made.eos_token)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    return made


def tower(kind: str, max_tokens: int = 24):
    torch.manual_seed(0)
    words = tokenizer(kind)
    if kind == "small":
        return SmallTextTransformer(words, hidden_size=32, layers=2, max_tokens=max_tokens).eval()
    sizes = {"vocab_size": len(words), "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": max_tokens}
    if kind == "bert":
        return PretrainedText(BertModel(BertConfig(**sizes)), words, name="bert", max_tokens=max_tokens)
    if kind == "clip":
        model = CLIPTextModel(CLIPTextConfig(**sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0))
        return PretrainedText(model, words, name="clip", max_tokens=max_tokens, pooling="model")
    model = SiglipTextModel(SiglipTextConfig(**sizes, projection_size=32))
    return PretrainedText(model, words, name="siglip", max_tokens=max_tokens, pooling="model", pad_to_max=True)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_context_from_a_text_says_what_the_text_says(kind):
    read = tower(kind)
    context = LearnedContext(read, text=TEXT).eval()
    with torch.no_grad():
        plain = read(**read.tokenize([f"{TEXT} {name}" for name in NAMES]))
        torch.testing.assert_close(context(NAMES), plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(context(NAMES[:1]), plain[:1], rtol=1e-5, atol=1e-5)
        again = read(**read.tokenize([f"{TEXT} {name}" for name in NAMES]))
    assert torch.equal(plain, again)  # the tower is as it was


@pytest.mark.parametrize("kind", TOWERS)
def test_only_the_context_learns_and_the_loss_falls(kind):
    read = tower(kind)
    read.train()
    context = LearnedContext(read, 4).train()
    encoder = seeded_heads(10, 32, HeadConfig(16, 16, 0.0), seed=0).eval().requires_grad_(False)
    pictures = torch.nn.functional.normalize(torch.randn(40, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    labels = torch.arange(40) % len(NAMES)
    before = {name: p.detach().clone() for name, p in read.named_parameters()}
    optimizer = torch.optim.Adam([p for p in context.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(context_logits(encoder, context, NAMES, pictures), labels)
        loss.backward()
        learned = [name for name, p in context.named_parameters() if p.grad is not None]
        assert learned == ["context.vectors"]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    assert not read.training
    assert all(torch.equal(p, before[name]) for name, p in read.named_parameters())
    assert all(p.grad is None for p in encoder.parameters())


def test_saved_and_loaded_it_says_the_same(tmp_path):
    context = LearnedContext(tower("bert"), 5, seed=3)
    context.save(tmp_path / "context.safetensors")
    other = LearnedContext(tower("bert"), 2).load(tmp_path / "context.safetensors")
    assert torch.equal(other(NAMES), context(NAMES))
    assert not torch.equal(other(NAMES), LearnedContext(tower("bert"), 5)(NAMES))
    assert LearnedContext(tower("bert")).context.n_tokens == 16


def test_what_does_not_fit_is_one_line(tmp_path):
    read = tower("small")
    with pytest.raises(LucidaError, match=r"TextFeatures does not show its word embeddings.*not features computed"):
        LearnedContext(TextFeatures(read), 4)
    for kind in TOWERS:
        with pytest.raises(LucidaError, match=r"5 \+ \d+ tokens, the tower reads 9 \('old fire engine house'\)"):
            LearnedContext(tower(kind, max_tokens=9), 5)(["dog", "old fire engine house"])
        assert LearnedContext(tower(kind, max_tokens=9), 5)(["dog"]).shape == (1, 32)  # nothing but padding is cut
    with pytest.raises(LucidaError, match="no class name"):
        LearnedContext(read, 4)([])
    with pytest.raises(LucidaError, match="no class name"):
        LearnedContext(read, 4)([""])
    context = LearnedContext(read, 4)
    with pytest.raises(LucidaError, match="no such learned context"):
        context.load(tmp_path / "none")
    (tmp_path / "broken").write_bytes(b"nothing")
    with pytest.raises(LucidaError, match="broken"):
        context.load(tmp_path / "broken")
    save_file({"context": torch.zeros(2, 8)}, tmp_path / "other", metadata={"tower": "bert"})
    with pytest.raises(LucidaError, match=r"a context \[2, 8\] of the tower 'bert', this is 'small-text-transformer'"):
        context.load(tmp_path / "other")
    with torch.no_grad():
        context.context.vectors[0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="not finite"):
        context.save(tmp_path / "never")
    assert not (tmp_path / "never").exists()
