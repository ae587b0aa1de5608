"""Vision and text towers behind two small protocols.

A tower turns pictures or words into features; heads, projectors and language models stand on top of it. Built in:
EfficientNet-Lite0 (photographs, ImageNet) and MiniLM (sentences), both from packages, without any download. Any
Hugging Face vision or text model comes in by a local folder or a hub name (:mod:`lucida.models.hugging_face`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class VisionFeatures(NamedTuple):
    """What a vision tower sees in a batch of pictures.

    Attributes:
        pooled: one vector a picture, ``[B, pooled_size]``.
        grid: one vector a place, row by row, ``[B, grid_tokens, hidden_size]``.
    """

    pooled: Tensor
    grid: Tensor


@runtime_checkable
class VisionTower(Protocol):
    """Pictures to features; an ``nn.Module``."""

    name: str
    image_size: int
    hidden_size: int
    pooled_size: int
    grid_tokens: int

    def preprocess(self, pixels: Tensor) -> Tensor:
        """``uint8 [B, H, W, 3]`` to normalised ``float32 [B, 3, image_size, image_size]``, where the pixels are."""

    def __call__(self, pixel_values: Tensor) -> VisionFeatures:
        """Features of preprocessed pictures."""


@runtime_checkable
class TextTower(Protocol):
    """Texts to features; an ``nn.Module``."""

    name: str
    hidden_size: int

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, ``int64 [B, L]``, padded to the longest text."""

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector a text, ``[B, hidden_size]``."""
