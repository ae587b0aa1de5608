"""CLIP and SigLIP with random weights in folders as transformers writes them, processor files included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import pre_tokenizers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from lucida.data.tokenization import train_tokenizer

TEXTS = ["a red hat", "two dogs, the big one left of a house with a roof", "a cat"]  # the second is too long: it is cut
TINY = {"num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TINY, "hidden_size": 32, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
LENGTH = 32


def clip_tokenizer(*, end_last: bool = True) -> Any:
    """CLIP's own kind: every byte, alone and at the end of a word, some pairs, start and end of text.

    The end is the highest token, as pooling at the highest one needs it, or else the start is.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["a t</w>", "t h", "th e</w>", "d o", "do g", "dog s</w>"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate([*words, *(special if end_last else reversed(special))])}
    return hf.CLIPTokenizer(vocab=vocabulary, merges=[tuple(m.split()) for m in merges], model_max_length=LENGTH)


def _perturbed(model: Any) -> Any:
    """Weights that differ from each other and from zero, norms and biases too: a swap of two would be seen."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("logit"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def clip(
    folder: Path, *, legacy: bool = False, act: str = "quick_gelu", scale: float | None = None, **sight: Any
) -> Any:
    """A ``CLIPModel`` saved into ``folder``; ``legacy`` pools at the highest token, as old checkpoints say."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(end_last=legacy)
    text = {**TINY, "hidden_size": 24, "intermediate_size": 96, "vocab_size": len(tokenizer), "hidden_act": act}
    text |= {"max_position_embeddings": LENGTH, "eos_token_id": 2 if legacy else tokenizer.eos_token_id}
    text |= {"bos_token_id": tokenizer.bos_token_id}
    vision = {**VISION, "hidden_act": act, **sight}
    model = _perturbed(hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)))
    if scale is not None:
        model.logit_scale.data.fill_(scale).log_()
    model.save_pretrained(folder)
    size = vision["image_size"]
    image = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    hf.CLIPProcessor(image, tokenizer).save_pretrained(folder)
    return model


def siglip(folder: Path, *, scale: float = 117.3, bias: float = -12.9, **reading: Any) -> Any:
    """A ``SiglipModel`` saved into ``folder``, its multiplier and bias as those of the published ones."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    tokenizer.model_max_length = LENGTH
    text = {**TINY, "hidden_size": 32, "intermediate_size": 48, "vocab_size": 300, "max_position_embeddings": LENGTH}
    text |= {"bos_token_id": 1, "eos_token_id": 2, **reading}
    model = _perturbed(hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=VISION)))
    model.logit_scale.data.fill_(scale).log_()
    model.logit_bias.data.fill_(bias)
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
