"""A frozen Llama on one row of sequences, where only some of its last states are asked for.

The same numbers as :func:`~lucida.models.packed_attention.packed_states` gives, with less work: the last layer's
queries, its output and its MLP, and the last norm, are computed for the rows that are asked for (the tokens that
predict an answer: a tenth of a conversation about a picture), and what lies between the matrix products are the single
steps of :mod:`lucida.models.frozen_layers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel, LlamaRMSNorm

from lucida.models.frozen_layers import project, rms_norm, rotate, take
from lucida.models.packed_attention import PackedLayout


def is_lean(decoder: Any) -> bool:
    """Whether a decoder is one that :func:`lean_states` computes: Llama, in float32, norms frozen, nobody looking in.

    Whoever hooks into a layer must see it called, so that a watched model goes the usual way; and so does one in mixed
    precision, which casts in every operation.
    """
    if torch.is_autocast_enabled(decoder.device.type):
        return False
    if type(decoder) is not LlamaModel or (decoder.gradient_checkpointing and decoder.training):
        return False
    if decoder.training and decoder.config.attention_dropout:
        return False
    for module in decoder.modules():
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
            return False
        if isinstance(module, LlamaRMSNorm) and (module.weight.requires_grad or module.weight.dtype != torch.float32):
            return False
    return all(type(layer) is LlamaDecoderLayer for layer in decoder.layers)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where rows stand.

    Attributes:
        all: the tokens in a padded batch.
        asked: the asked for rows in a padded batch of their own.
        seen: ``bool [B, 1, Q, L]``, the tokens that each of those may see.
        rows: ``int64 [n]`` of the asked for.
        cos, sin: ``[N, 1, d]``.
    """

    all: PackedLayout
    asked: PackedLayout
    seen: Tensor
    rows: Tensor
    cos: Tensor
    sin: Tensor


def lean_states(decoder: Any, embedded: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
    """The last hidden states of some rows.

    Args:
        decoder: one that :func:`is_lean`.
        embedded: ``[N, H]`` of sequences one behind the other, each from position 0.
        lengths: ``int64 [B]``.
        rows: ``int64 [n]``, ascending.

    Returns:
        ``[n, H]``.
    """
    places, x = _places(decoder, embedded, lengths, rows), embedded
    for layer in decoder.layers[:-1]:
        x = _layer(layer, x, places, last=False)
    x = _layer(decoder.layers[-1], x, places, last=True)
    return _norm(decoder.norm, x)


def _places(decoder: Any, embedded: Tensor, lengths: Tensor, rows: Tensor) -> _Places:
    everyone = PackedLayout.of(lengths)
    longest = len(everyone.spread) // everyone.rows
    position = everyone.gather % longest
    cos, sin = decoder.rotary_emb(embedded, position_ids=position[None])
    sequence = everyone.gather[rows] // longest
    asked = PackedLayout.of(torch.bincount(sequence, minlength=len(lengths)))
    until = torch.zeros(len(asked.spread), dtype=torch.int64, device=rows.device)  # padding sees the first token
    until[asked.gather] = position[rows]
    seen = torch.arange(longest, device=rows.device) <= until.view(asked.rows, 1, -1, 1)
    return _Places(everyone, asked, seen, rows, cos[0, :, None], sin[0, :, None])


def _norm(norm: Any, x: Tensor) -> Tensor:
    return rms_norm(x, norm.weight, norm.variance_epsilon)


def _layer(layer: Any, x: Tensor, places: _Places, *, last: bool) -> Tensor:
    """``[N, H]`` to ``[N, H]``, or of the last layer to the rows asked for."""
    attention, normed = layer.self_attn, _norm(layer.input_layernorm, x)
    if last:
        (query,) = project(normed[places.rows], [attention.q_proj])
        key, value = project(normed, [attention.k_proj, attention.v_proj])
        x = x[places.rows]
    else:
        query, key, value = project(normed, [attention.q_proj, attention.k_proj, attention.v_proj])
    x = x + project(_attended(attention, query, key, value, places, last=last), [attention.o_proj])[0]
    gate, up = project(_norm(layer.post_attention_layernorm, x), [layer.mlp.gate_proj, layer.mlp.up_proj])
    return x + project(layer.mlp.act_fn(gate) * up, [layer.mlp.down_proj])[0]


def _attended(attention: Any, query: Tensor, key: Tensor, value: Tensor, places: _Places, *, last: bool) -> Tensor:
    """Each sequence on itself: ``[n, heads · d]``."""
    query, key, value = (part.unflatten(1, (-1, attention.head_dim)) for part in (query, key, value))
    cos, sin, asked = places.cos, places.sin, places.asked if last else places.all
    query = rotate(query, *((part[places.rows] for part in (cos, sin)) if last else (cos, sin)))
    key = rotate(key, cos, sin)
    out = F.scaled_dot_product_attention(
        _padded(query, asked),
        _padded(key, places.all),
        _padded(value, places.all),
        attn_mask=places.seen if last else None,
        is_causal=not last,
        scale=attention.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return take(out.transpose(1, 2).flatten(0, 1), asked.gather, asked.gather, padded=False).flatten(1)


def _padded(x: Tensor, layout: PackedLayout) -> Tensor:
    """``[N, heads, d]`` as ``[B, heads, L, d]``."""
    return take(x, layout.spread, layout.gather, padded=True).unflatten(0, (layout.rows, -1)).transpose(1, 2)
