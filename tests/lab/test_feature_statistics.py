"""Alignment, uniformity and modality gap: invariances, and values that are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from lucida.lab.feature_statistics import alignment, modality_gap, uniformity


def rows(seed: int, count: int = 40, size: int = 5) -> torch.Tensor:
    return normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@given(st.integers(0, 10_000))
def test_nothing_changes_when_the_space_is_turned(seed: int) -> None:
    images, texts = rows(seed), rows(seed + 1)
    turn, _ = torch.linalg.qr(rows(seed + 2, 5))
    assert alignment(images @ turn, texts @ turn) == pytest.approx(alignment(images, texts))
    assert uniformity(images @ turn) == pytest.approx(uniformity(images))
    assert modality_gap(images @ turn, texts @ turn) == pytest.approx(modality_gap(images, texts))


def test_values_that_are_known() -> None:
    images = rows(0)
    assert alignment(images, images) == 0
    assert alignment(images, -images) == pytest.approx(4.0)
    assert uniformity(images[:1].repeat(9, 1)) == pytest.approx(0.0)
    assert modality_gap(images, images.flip(0)) == pytest.approx(0.0, abs=1e-12)
    hemisphere = normalize(images + torch.tensor([3.0, 0, 0, 0, 0]))
    assert uniformity(hemisphere) > uniformity(images) + 0.5
    assert modality_gap(hemisphere, -hemisphere) > 1.5
