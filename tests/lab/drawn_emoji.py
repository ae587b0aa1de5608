"""Pictures by two artists in the emoji's place: drawn at random, at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lucida.lab import datasets, strips
from lucida.lab.datasets import Dataset

CONCEPTS = 40


@pytest.fixture
def drawn_emoji(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Strips are made of them, and nothing is remembered."""
    pixels = torch.randn(2 * CONCEPTS, 3, strips.SIDE, strips.SIDE, generator=torch.Generator().manual_seed(0))
    groups = np.tile(np.arange(CONCEPTS), 2)
    data = Dataset("emoji", {"inputs": pixels}, torch.zeros(2 * CONCEPTS, dtype=torch.int64), 2, groups, "made")
    monkeypatch.setitem(datasets.DATASETS, "emoji", lambda: data)
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    strips.world.cache_clear()
    yield
    strips.world.cache_clear()
