"""Small random models with a reader of dialogues, made for each test."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from lucida.data.collation import ChatFormat
from lucida.data.tokenization import train_tokenizer
from lucida.inference.dialogue_readers import ChatReader
from lucida.models.language_models import SmallLlama
from lucida.models.projectors import WordProjector
from lucida.models.soft_prompts import SoftPrompt, soft_chat, with_soft_prompt
from lucida.models.vision_language_model import VisionLanguageModel

QUESTIONS = ("Is there a cat?", "How many dogs are there in the picture?", "Describe it.")
ANSWERS = ("yes", "no", "a fire engine", "a fire", "two red dogs and a cat")
TOKENIZER = train_tokenizer([*QUESTIONS, *ANSWERS] * 3, vocab_size=300, words=("yes", "no", "cat", "dog"))
T, D, N = 4, 6, 7


def language_model(kind: str) -> Any:
    sizes = {"vocab_size": len(TOKENIZER), "hidden_size": 32, "intermediate_size": 48}
    if kind == "llama":
        return SmallLlama(hidden_size=32, layers=2, head_size=16, heads=2).build(TOKENIZER, max_length=512)
    if kind == "qwen2":
        heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
        return Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, max_position_embeddings=512))
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(TOKENIZER), **shape))


def build(kind: str = "llama", soft: int = 0) -> tuple[VisionLanguageModel, ChatReader, Tensor]:
    """A model, its reader, and features of N pictures; with a soft prompt of so many tokens."""
    torch.manual_seed(0)
    chat, words = ChatFormat(TOKENIZER, T), language_model(kind)
    model = VisionLanguageModel(WordProjector(D, 32, T), words, chat.image_token_id).eval()
    features = torch.randn(N, T, D)
    if not soft:
        return model, ChatReader(chat), features
    prompt = SoftPrompt.from_vocabulary(words.get_input_embeddings(), TOKENIZER, soft)
    prompted = with_soft_prompt(model, prompt)
    assert isinstance(prompted, VisionLanguageModel)
    return prompted, ChatReader(soft_chat(chat, prompt)), features
