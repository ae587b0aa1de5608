"""Layers between those of a language model that look at a picture, through gates that are closed at the start.

Flamingo (Alayrac et al. 2022, arXiv:2204.14198, section 3.1.2): before each block of the language model its states
attend to the picture's places, then pass through a perceptron, and both are added times the tanh of a learned number
that starts at 0. The picture takes no places in the sequence (one token marks that there is one), and at the start the
model is the language model it was.

What the layers read of the pictures (keys and values, computed once) goes with a call: as ``pictures=`` to the
decoder, or inside its key-value cache (:class:`PictureCache`), where every other memory of a row is kept, so that a
conversation that goes on token by token, or beside others, goes on about its own picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

from lucida.core.errors import LucidaError
from lucida.models.projectors import place_directions
from lucida.models.starts import pass_on, read_alike

HEAD_SIZE = 64
_GATES = "lucida_gates"  # where a decoder and its layers keep what they belong to


class PictureCache(DynamicCache):
    """A key-value cache of rows that look at pictures.

    Args:
        pictures: of :class:`GatedCrossAttention`, one a row.
    """

    def __init__(self, pictures: Tensor):
        super().__init__()
        self.pictures = pictures


class GatedCrossAttention(nn.Module):
    """The layers, and what they read of pictures.

    Args:
        vision_size: channels of a place.
        hidden_size: of the language model.
        tokens: places.
        layers: blocks of the language model; one gated layer stands before each.
        eps: of the norms.
    """

    image_tokens = 1  # the mark of a picture in the sequence, a word like others

    def __init__(self, vision_size: int, hidden_size: int, tokens: int, *, layers: int, eps: float = 1e-6):
        super().__init__()
        self.norm = nn.LayerNorm(vision_size)
        self.linear = nn.Linear(vision_size, hidden_size)
        self.places = nn.Parameter(math.sqrt(hidden_size) / 2 * place_directions(tokens, hidden_size))
        self.layers = nn.ModuleList(GatedLayer(hidden_size, eps=eps) for _ in range(layers))
        self._shown: Tensor | None = None  # while a decoder runs

    def start_alike(self, *, match: float, copy: float) -> None:
        """Let the first layer's words look at places that resemble them, and all layers pass on what they find.

        Where places were named (:mod:`lucida.models.naming`) they lie near words; Flamingo's layers find that out in
        training, for which a laptop has no time (:mod:`lucida.models.starts`).
        """
        layers: list[GatedLayer] = [*self.layers]
        first = layers[0]
        read_alike(first.q_proj.weight, first.k_proj.weight, heads=first.heads, strength=match)
        for layer in layers:
            pass_on(layer.v_proj.weight, layer.o_proj.weight, strength=copy)

    def shown(self, grid: Tensor) -> Tensor:
        """What each place of ``[B, T, vision_size]`` shows, in the language model's width: ``[B, T, H]``."""
        return self.linear(self.norm(grid))

    def forward(self, grid: Tensor) -> Tensor:
        """Keys and values of each layer for pictures ``[B, T, vision_size]``: ``[B, layers, 2, heads, T, d]``."""
        states = self.shown(grid) + self.places
        return torch.stack([layer.read(states) for layer in self.layers], dim=1)  # type: ignore[operator]

    def attach(self, language_model: Any) -> None:
        """Stand before the blocks of a language model, in place of gated layers that stood there.

        Raises:
            LucidaError: it has no list of as many blocks as there are gated layers.
        """
        decoder = language_model.get_decoder()
        blocks = getattr(decoder, "layers", getattr(decoder, "h", None))
        if blocks is None or len(blocks) != len(self.layers):
            found = "no list of blocks" if blocks is None else f"{len(blocks)} blocks"
            raise LucidaError(
                f"the language model has {found} for {len(self.layers)} gated layers",
                where=type(language_model).__name__,
                remedy="join by words, mlp or resampler",
            )
        if not hasattr(decoder, _GATES):  # a copy of a model has its hooks already
            decoder.register_forward_pre_hook(_before, with_kwargs=True)
            decoder.register_forward_hook(_after, always_call=True)
            for block in blocks:
                block.register_forward_pre_hook(_look, with_kwargs=True)
        setattr(decoder, _GATES, _Place(self, 0))
        for number, block in enumerate(blocks):
            setattr(block, _GATES, _Place(self, number))


class GatedLayer(nn.Module):
    """States look at pictures, then a gated perceptron; each is added times the tanh of its gate.

    Args:
        size: of the states.
        eps: of the norms.
    """

    def __init__(self, size: int, *, eps: float = 1e-6):
        super().__init__()
        self.heads = max(1, size // HEAD_SIZE)
        inner, middle = self.heads * (size // self.heads), max(16, 8 * size // 3 // 16 * 16)
        self.attention_norm, self.mlp_norm = nn.RMSNorm(size, eps=eps), nn.RMSNorm(size, eps=eps)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(size, inner, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(inner, size, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(size, middle, bias=False), nn.Linear(size, middle, bias=False)
        self.down_proj = nn.Linear(middle, size, bias=False)
        self.attention_gate, self.mlp_gate = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def read(self, states: Tensor) -> Tensor:
        """Keys and values of places ``[B, T, size]``: ``[B, 2, heads, T, d]``."""
        return torch.stack([self._heads(proj(states)) for proj in (self.k_proj, self.v_proj)], dim=1)

    def forward(self, x: Tensor, pictures: Tensor) -> Tensor:
        """States ``[B, L, size]`` that have looked at what :meth:`read` gave."""
        key, value = pictures.to(x.dtype).unbind(dim=1)
        looked = F.scaled_dot_product_attention(self._heads(self.q_proj(self.attention_norm(x))), key, value)
        x = x + self.attention_gate.tanh() * self.o_proj(looked.transpose(1, 2).flatten(2))
        normed = self.mlp_norm(x)
        return x + self.mlp_gate.tanh() * self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


@dataclass(eq=False)
class _Place:
    """What a decoder, or one of its blocks, belongs to; an object of its own, so that no block owns the gated layers.

    Hooks are plain functions that find it at the module they are called with: who copies a language model copies its
    hooks, and :meth:`GatedCrossAttention.attach` tells the copy whose it is.
    """

    owner: GatedCrossAttention
    number: int


def _before(decoder: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A decoder is called: the pictures come with the call, or in its cache."""
    pictures = options.pop("pictures", None)
    cached = getattr(options.get("past_key_values"), "pictures", None)
    getattr(decoder, _GATES).owner._shown = cached if pictures is None else pictures
    return args, options


def _after(decoder: Any, args: Any, output: Any) -> None:
    getattr(decoder, _GATES).owner._shown = None


def _look(block: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The states that go into a block look at the pictures first; where there are none they stay as they are."""
    place: _Place = getattr(block, _GATES)
    if place.owner._shown is None:
        return None
    pictures, layer = place.owner._shown[:, place.number], place.owner.layers[place.number]
    if args:
        return (layer(args[0], pictures), *args[1:]), options
    return args, options | {"hidden_states": layer(options["hidden_states"], pictures)}
