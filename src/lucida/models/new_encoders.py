"""A CLIP with fresh weights, of any size, to train from scratch; transformers and open_clip load what it becomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import processors
from transformers import CLIPConfig, CLIPModel

from lucida.core.config import check_settings
from lucida.data.tokenization import BOS, EOS, IMAGE, PAD, UNK, train_tokenizer
from lucida.models.dual_encoder import DualEncoder, Projection
from lucida.models.hugging_face import HuggingFaceVision
from lucida.models.text_towers import PretrainedText, quiet_loading

NEW = "new"
_HEAD = 64  # the width of an attention head, as in every CLIP
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's pictures


@dataclass(frozen=True)
class NewEncoderConfig:
    """The sizes of a CLIP: the defaults are small enough to be trained on a processor.

    Attributes:
        image_size: pixels a side, a multiple of ``patch_size``.
        patch_size: pixels a side of what becomes one token.
        vision_width, vision_layers: of the vision transformer; widths are multiples of 64.
        text_width, text_layers: of the text transformer.
        embedding_size: of the common space.
        vocabulary: tokens at most; the tokenizer is trained on the captions.
        max_tokens: longer captions are cut.
    """

    image_size: int = 64
    patch_size: int = 16
    vision_width: int = 192
    vision_layers: int = 6
    text_width: int = 128
    text_layers: int = 3
    embedding_size: int = 128
    vocabulary: int = 8192
    max_tokens: int = 77

    def __post_init__(self) -> None:
        allowed = {
            "image_size": self.image_size > 0 and self.image_size % max(1, self.patch_size) == 0,
            "patch_size": self.patch_size > 0,
            "vision_width": self.vision_width > 0 and self.vision_width % _HEAD == 0,
            "text_width": self.text_width > 0 and self.text_width % _HEAD == 0,
            "vision_layers": self.vision_layers >= 1,
            "text_layers": self.text_layers >= 1,
            "embedding_size": self.embedding_size >= 1,
            "max_tokens": self.max_tokens >= 3,
        }
        check_settings(self, allowed)


def new_dual_encoder(
    config: NewEncoderConfig, captions: Iterable[str], seed: int, *, logit_bias: float | None = None
) -> DualEncoder:
    """A dual encoder as :func:`~lucida.models.imported_encoders.load_dual_encoder` makes one, with fresh weights.

    Args:
        captions: what its tokenizer is trained on.
        seed: the weights depend on it and on nothing that ran before.
        logit_bias: where the bias of the sigmoid loss starts; ``None`` for none.

    Raises:
        LucidaError: there is no caption, or the vocabulary is too small.
    """
    tokenizer = _tokenizer(config, captions)
    vision = _transformer(config.vision_width, config.vision_layers)
    vision |= {"image_size": config.image_size, "patch_size": config.patch_size}
    text = _transformer(config.text_width, config.text_layers) | {"max_position_embeddings": config.max_tokens}
    text |= {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]), quiet_loading():
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=config.embedding_size))
    preparing: dict[str, Any] = {"image_mean": _MEAN, "image_std": _STD, "resample": 3, "crop_from": config.image_size}
    seen = HuggingFaceVision(model.vision_model, name=NEW, frozen=False, **preparing)
    seen.processor_files = {"preprocessor_config.json": _processor(config.image_size)}
    read = PretrainedText(
        model.text_model, tokenizer, name=NEW, max_tokens=config.max_tokens, pooling="model", frozen=False
    )
    heads = Projection(model.visual_projection), Projection(model.text_projection)
    return DualEncoder(*heads, vision_tower=seen, text_tower=read, logit_bias=logit_bias)


def _transformer(width: int, layers: int) -> dict[str, Any]:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return {**sizes, "num_attention_heads": width // _HEAD, "hidden_act": "gelu"}


def _tokenizer(config: NewEncoderConfig, captions: Iterable[str]) -> Any:
    """Of the captions, with a token before and one after each text."""
    # Where the end has id 2, CLIPTextModel takes the config for an old one and pools the token of the highest id.
    tokenizer = train_tokenizer(captions, vocab_size=config.vocabulary, special=(PAD, BOS, UNK, EOS, IMAGE))
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (BOS, EOS)]
    around = processors.TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=ends)
    tokenizer.backend_tokenizer.post_processor = around
    tokenizer.model_max_length = config.max_tokens
    return tokenizer


def _processor(side: int) -> dict[str, Any]:
    """How pictures are prepared, as transformers writes it."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [*_MEAN],
        "image_std": [*_STD],
        "do_convert_rgb": True,
    }
