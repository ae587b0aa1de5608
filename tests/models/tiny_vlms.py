"""Vision-language models of two families with random weights, small enough to be made for each test."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

IMAGE, VOCABULARY, SIDE = 4, 60, 32
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny_llava(seed: int = 0) -> Any:
    """16 image tokens a picture of 32 x 32."""
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, image_size=SIDE, patch_size=8),
        text_config=LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        vision_feature_layer=-2,
    )
    return LlavaForConditionalGeneration(config).eval()


def tiny_smolvlm(seed: int = 0) -> Any:
    """4 image tokens a piece of 32 x 32, several pieces a picture."""
    torch.manual_seed(seed)
    config = SmolVLMConfig(
        vision_config={**VISION, "image_size": SIDE, "patch_size": 8},
        text_config=LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=0,
    )
    return SmolVLMForConditionalGeneration(config).eval()
