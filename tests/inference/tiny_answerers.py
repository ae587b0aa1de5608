"""A small multimodal LLM of lucida with fresh weights."""

from __future__ import annotations

import torch

from lucida.data.tokenization import add_image_token, train_tokenizer
from lucida.inference.answerer import Answerer, build
from lucida.models.language_models import SmallLlama

NAMES = ("apple", "dog", "cat", "fire engine")
TEXTS = [
    "Is there an apple in the picture?", "Is there a dog in the picture?", "Describe the picture.", "What is this?",
    "There are two dogs and a cat.", "A fire engine.", "yes", "no", "How many cats are there?", "2",
]  # fmt: skip


def tiny_answerer(seed: int = 0) -> Answerer:
    """Of four names; 64 pixels a side."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = train_tokenizer(TEXTS * 4, vocab_size=400, words=[*NAMES, "yes", "no"])
        add_image_token(tokenizer)
        llama = SmallLlama(hidden_size=32, layers=2, head_size=16, heads=2).build(tokenizer)
        answerer = build(tokenizer, llama, size=64, tower_size=64, names=NAMES, forms=("exists", "describe", "count"))
    answerer.model.eval().requires_grad_(False)
    return answerer
