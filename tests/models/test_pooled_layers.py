"""The last layer for one token alone: the features and the gradients of the whole layer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lucida.models.imported_encoders import load_dual_encoder
from lucida.models.pooled_layers import pool_last_layer, pooled_picture, pooled_text

sys.path.insert(0, str(Path(__file__).parent))
from tiny_encoders import clip, siglip


def both_ways(model: Any, given: Tensor, whole: Callable[[], Tensor], pooled: Callable[[], Tensor]) -> None:
    """Values and gradients, each as the model's own forward pass has them."""
    found = []
    for way in (whole, pooled):
        model.zero_grad()
        features = way()
        weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).reshape(features.shape)
        (features * weights).sum().backward()
        found.append(
            (features.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        )
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-10, atol=1e-12)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("legacy", [True, False])
def test_texts(legacy: bool, tmp_path: Path) -> None:
    """Padded, of different length, with the end found in both ways that CLIP has."""
    model = clip(tmp_path, legacy=legacy).text_model.double()
    tower = load_dual_encoder(tmp_path).text_tower
    tokens = tower.tokenize(["a cat", "the dogs that the cat saw", "dogs"])
    assert tokens["attention_mask"].sum(dim=1).unique().numel() == 3
    assert pool_last_layer(model)
    both_ways(
        model,
        tokens["input_ids"],
        lambda: model(**tokens).pooler_output,
        lambda: pooled_text(model, tokens["input_ids"]),
    )


def test_pictures(tmp_path: Path) -> None:
    model = clip(tmp_path).vision_model.double()
    pixels = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    assert pool_last_layer(model)
    both_ways(model, pixels, lambda: model(pixel_values=pixels).pooler_output, lambda: pooled_picture(model, pixels))


def test_padding_changes_no_feature(tmp_path: Path) -> None:
    clip(tmp_path)
    encoder = load_dual_encoder(tmp_path)
    tokens = encoder.text_tower.tokenize(["a cat", "the dogs that the cat saw"])
    first = int(tokens["attention_mask"][0].sum())
    with torch.inference_mode():
        padded = encoder.encode_text(**tokens)[:1]
        alone = encoder.encode_text(**{name: tensor[:1, :first] for name, tensor in tokens.items()})
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-6)


def test_whoever_looks_at_a_layer_still_sees_it(tmp_path: Path) -> None:
    clip(tmp_path)
    encoder, seen = load_dual_encoder(tmp_path), []
    for tower in (encoder.vision_tower, encoder.text_tower):
        for layer in tower.model.encoder.layers:
            layer.register_forward_hook(lambda module, given, output: seen.append(output.ndim))
    encoder.encode_image(torch.randn(2, 3, 32, 32))
    encoder.encode_text(**encoder.text_tower.tokenize(["a cat", "dogs"]))
    assert seen == [3, 2, 3, 2]  # all tokens, then one
    with torch.inference_mode():
        grid = encoder.vision_tower(torch.randn(2, 3, 32, 32)).grid  # who asks for places gets them
    assert grid.shape == (2, 16, 32)


def test_other_models_are_left_as_they_are(tmp_path: Path) -> None:
    model = siglip(tmp_path)
    assert not pool_last_layer(model.vision_model)
    assert not pool_last_layer(model.text_model)
