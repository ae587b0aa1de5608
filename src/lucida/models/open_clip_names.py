"""Weights of a CLIP with two transformers by their names in open_clip and in Hugging Face's ``CLIPModel``.

open_clip (as OpenAI's code before it) keeps query, key and value as one matrix and the two projections transposed;
everything else only has another name. Both ways are exact: values are moved, never computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lucida.core.errors import LucidaError

_BOTH = ("weight", "bias")
_VISION, _TEXT = "vision_model", "text_model"

_PLAIN = {
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "visual.class_embedding": f"{_VISION}.embeddings.class_embedding",
    "visual.conv1.weight": f"{_VISION}.embeddings.patch_embedding.weight",
    "visual.positional_embedding": f"{_VISION}.embeddings.position_embedding.weight",
    **{f"visual.ln_pre.{kind}": f"{_VISION}.pre_layrnorm.{kind}" for kind in _BOTH},  # spelt so in transformers
    **{f"visual.ln_post.{kind}": f"{_VISION}.post_layernorm.{kind}" for kind in _BOTH},
    "token_embedding.weight": f"{_TEXT}.embeddings.token_embedding.weight",
    "positional_embedding": f"{_TEXT}.embeddings.position_embedding.weight",
    **{f"ln_final.{kind}": f"{_TEXT}.final_layer_norm.{kind}" for kind in _BOTH},
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_LAYERS = {
    "visual.transformer.resblocks": f"{_VISION}.encoder.layers",
    "transformer.resblocks": f"{_TEXT}.encoder.layers",
}
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_JOINED = tuple(f"self_attn.{part}_proj" for part in "qkv")  # in the order in which open_clip joins them


def to_hugging_face(state: Mapping[str, Tensor], *, where: str | Path | None = None) -> dict[str, Tensor]:
    """The weights of an open_clip model under the names of ``CLIPModel``; ``text.`` in front (custom text) is dropped.

    Args:
        state: of open_clip's ``CLIP`` or ``CustomTextCLIP`` with a vision transformer and open_clip's own text tower.
        where: the file, for the error.

    Raises:
        LucidaError: a weight has no place in ``CLIPModel``.
    """
    found: dict[str, Tensor] = {}
    for full, tensor in state.items():
        name = full.removeprefix("text.")
        outer, layer, inner = _in_layer(name, _LAYERS)
        part, _, kind = inner.rpartition(".")
        if name in _PLAIN:
            found[_PLAIN[name]] = tensor
        elif name in _TRANSPOSED and tensor.ndim == 2:
            found[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif outer and part in _IN_LAYER and kind in _BOTH:
            found[f"{_LAYERS[outer]}.{layer}.{_IN_LAYER[part]}.{kind}"] = tensor
        elif outer and inner in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = inner.removeprefix("attn.in_proj_")
            for joined, third in zip(_JOINED, tensor.chunk(3), strict=True):
                found[f"{_LAYERS[outer]}.{layer}.{joined}.{kind}"] = third.contiguous()
        else:
            raise LucidaError(
                f"CLIPModel has no place for {full!r} of open_clip",
                where=where,
                remedy="only a plain vision transformer with open_clip's own text transformer can be read",
            )
    return found


def to_open_clip(state: Mapping[str, Tensor], *, where: str | Path | None = None) -> dict[str, Tensor]:
    """The weights of a ``CLIPModel`` under the names of open_clip's ``CLIP``, with or without a ``logit_bias``.

    Raises:
        LucidaError: a weight has no place in open_clip.
    """
    plain, transposed = _turned(_PLAIN), _turned(_TRANSPOSED)
    layers, in_layer = _turned(_LAYERS), _turned(_IN_LAYER)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        outer, layer, inner = _in_layer(name, layers)
        part, _, kind = inner.rpartition(".")
        if name in plain:
            found[plain[name]] = tensor
        elif name in transposed:
            found[transposed[name]] = tensor.T.contiguous()
        elif outer and part in in_layer:
            found[f"{layers[outer]}.{layer}.{in_layer[part]}.{kind}"] = tensor
        elif outer and part == _JOINED[0]:
            parts = [state[f"{outer}.{layer}.{each}.{kind}"] for each in _JOINED]
            found[f"{layers[outer]}.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif not (outer and part in _JOINED):
            raise LucidaError(f"open_clip has no place for {name!r}", where=where)
    return found


def _in_layer(name: str, layers: Mapping[str, str]) -> tuple[str, str, str]:
    """The stack of layers, the number and the rest of a name; three times nothing outside of the layers.

    >>> _in_layer("transformer.resblocks.3.ln_1.weight", _LAYERS)
    ('transformer.resblocks', '3', 'ln_1.weight')
    """
    for outer in layers:
        match = re.fullmatch(rf"{re.escape(outer)}\.(\d+)\.(.+)", name)
        if match:
            return outer, match[1], match[2]
    return "", "", ""


def _turned(names: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in names.items()}
