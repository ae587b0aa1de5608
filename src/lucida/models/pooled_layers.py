"""A CLIP's pooled features without what nobody reads: its last layer computes the pooled token alone.

CLIP takes a picture's vector from the class token and a text's from its end. In the last layer the other tokens are
asked for keys and values; their queries, outputs and perceptrons (10 of 12 parts of a layer's products) go nowhere.
Nothing is approximated: values and gradients are those of the whole layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPEncoderLayer


class _PooledLayer(CLIPEncoderLayer):
    """A layer that computes one token of each sequence, where it is told which."""

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, *, places: Any = None, **options: Any) -> Any:
        if places is None:
            return super().forward(hidden_states, attention_mask, **options)
        rows = torch.arange(len(places), device=places.device)
        states, attention = self.layer_norm1(hidden_states), self.self_attn
        heads = (*states.shape[:2], attention.num_heads, attention.head_dim)
        keys, values = (each(states).view(heads).transpose(1, 2) for each in (attention.k_proj, attention.v_proj))
        queries = attention.q_proj(states[rows, places]).view(len(rows), 1, *heads[2:]).transpose(1, 2)
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=attention_mask,
            dropout_p=attention.dropout if self.training else 0.0,
            scale=attention.scale,
        )
        pooled = hidden_states[rows, places] + attention.out_proj(attended.flatten(1))
        return pooled + self.mlp(self.layer_norm2(pooled))


def pool_last_layer(model: Any) -> bool:
    """Let the last layer of a CLIP's vision or text model compute one token alone where :func:`pooled_picture` asks.

    Returns:
        Whether it can: the model is a CLIP's, with nothing around its last layer.
    """
    layers = getattr(getattr(model, "encoder", None), "layers", None)
    if str(model.config.model_type) not in ("clip_vision_model", "clip_text_model") or not layers:
        return False
    if type(layers[-1]) is CLIPEncoderLayer:
        layers[-1].__class__ = _PooledLayer  # the same module, with its weights, hooks and name
    return isinstance(layers[-1], _PooledLayer)


def pooled_picture(model: Any, pixel_values: Tensor, **options: Any) -> Tensor:
    """What a ``CLIPVisionModel`` pools, ``[B, D]``, of ``pixel_values [B, 3, H, W]``.

    Args:
        model: prepared by :func:`pool_last_layer`.
        options: of its embeddings.
    """
    states = model.pre_layrnorm(model.embeddings(pixel_values, **options))
    for layer in model.encoder.layers[:-1]:
        states = layer(states, None)
    places = torch.zeros(len(states), dtype=torch.long, device=states.device)
    return model.post_layernorm(model.encoder.layers[-1](states, None, places=places))


def pooled_text(model: Any, input_ids: Tensor) -> Tensor:
    """What a ``CLIPTextModel`` pools, ``[B, D]``, of ``input_ids [B, L]``, padded on the right.

    A text is read from left to right: what follows its end, padding above all, changes nothing, and needs no mask.

    Args:
        model: prepared by :func:`pool_last_layer`.
    """
    end = int(model.eos_token_id)
    ends = input_ids.int().argmax(dim=-1) if end == 2 else (input_ids == end).int().argmax(dim=-1)
    states = model.embeddings(input_ids=input_ids)
    for layer in model.encoder.layers[:-1]:
        states = layer(states, None, is_causal=True)
    seen = torch.arange(input_ids.shape[1], device=input_ids.device) <= ends[:, None]
    return model.final_layer_norm(model.encoder.layers[-1](states, seen[:, None, None], places=ends))
