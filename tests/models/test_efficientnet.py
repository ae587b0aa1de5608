"""The built-in vision tower beside the network of its package: folding batch norms changes nothing but rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lucida.models.efficientnet import EfficientNetLite0, _pretrained


@pytest.fixture(scope="module")
def network() -> Any:
    return _pretrained()


@pytest.mark.parametrize("image_size", [64, 224])
def test_features_are_those_of_the_package(network: Any, image_size: int) -> None:
    """The package pads "same" by the size it is told; at both sizes every layer's input is even."""
    tower = EfficientNetLite0(image_size, grid="stride32")
    pixels = torch.randint(0, 256, (2, image_size, image_size, 3), generator=torch.Generator().manual_seed(0))
    x = tower.preprocess(pixels.to(torch.uint8))
    with torch.no_grad():
        expected = network.extract_features(x)
        found = tower(x)
    grid = found.grid.mT.reshape(expected.shape)
    off = float((grid - expected).abs().max())
    print(f"{image_size} pixels: largest difference {off:.1e} of values up to {float(expected.max()):.1f}")
    assert float(expected.std()) > 0.1
    assert off <= 1e-4
    torch.testing.assert_close(found.pooled, expected.mean((2, 3)), rtol=0, atol=1e-4)
