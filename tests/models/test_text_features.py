"""Features of texts with a memory and a cache."""

from __future__ import annotations

import torch
from torch import nn

from lucida.models.text_features import TextFeatures


class CountingTower(nn.Module):
    """Lengths of texts; counts what it reads."""

    name, hidden_size, max_tokens = "counting", 1, 8

    def __init__(self):
        super().__init__()
        self.texts_read = 0
        self.weight = nn.Parameter(torch.ones(1))

    def tokenize(self, texts):
        ids = torch.tensor([[len(text)] for text in texts])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def forward(self, input_ids, attention_mask):
        self.texts_read += len(input_ids)
        return input_ids.float()


def test_each_text_is_read_once():
    read = TextFeatures(CountingTower())
    assert read(["a", "bcd", "a"]).tolist() == [[1.0], [3.0], [1.0]]
    assert read(["bcd"]).tolist() == [[3.0]]
    assert read.tower.texts_read == 2


def test_remembered_texts_come_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    TextFeatures(CountingTower()).remember(["ab", "c", "ab"])
    again = TextFeatures(CountingTower())
    again.remember(["ab", "c", "ab"])
    assert again(["c", "ab"]).tolist() == [[1.0], [2.0]]
    assert again.tower.texts_read == 0
