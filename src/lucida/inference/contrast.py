"""Contrastive decoding as logits processors, for Hugging Face's ``generate`` and for ours.

What a model would say of a picture it can hardly see is what its language expects; taking that away leaves what the
picture adds. The same conversation is read twice, once with a distorted picture (VCD: Leng et al. 2023,
arXiv:2311.16922) or with none, and the second reading follows what is said, a token a step, in a cache of its own. One
reading is enough where the contrast is an early layer of the same one (DoLa: Chuang et al. 2023, arXiv:2309.03883).

Processors are stateful: make new ones for each ``generate`` call. They come first, before temperature or top-p, and do
not go with beam search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor

from lucida.core.errors import LucidaError

NOISE_STEPS = 1000
"""Of the diffusion whose noise distorts pictures."""


def contrasted(logits: Tensor, other: Tensor, *, alpha: float = 1.0, beta: float = 0.1) -> Tensor:
    r"""``(1 + α) logits − α other`` among the plausible tokens (VCD, equations 3 and 4).

    Plausible is what has at least ``β`` times the probability of the likeliest token by ``logits``; all else is
    ``-inf``, so that a token which both readings find absurd is never said for being a little less absurd here.

    Args:
        logits: ``[B, V]``, of the picture as it is.
        other: ``[B, V]``, of the contrast.
        alpha: how much is taken away; 0 changes nothing but the cut, infinity leaves ``logits - other`` (DoLa).
        beta: 0 keeps every token, 1 the likeliest alone.

    >>> contrasted(torch.tensor([[2.0, 1.9, -9.0]]), torch.tensor([[2.0, 0.0, 0.0]])).argmax().item()
    1
    """
    cut = math.log(beta) + logits.amax(dim=-1, keepdim=True) if beta else -math.inf
    difference = logits - other if math.isinf(alpha) else (1 + alpha) * logits - alpha * other
    return difference.masked_fill(logits < cut, -math.inf)


def noised(pixel_values: Tensor, step: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Pictures with the noise of a diffusion step: :math:`\sqrt{\bar\alpha_t} x + \sqrt{1 - \bar\alpha_t} \epsilon`.

    The schedule is the sigmoid one between :math:`10^{-5}` and :math:`5 \cdot 10^{-3}` over 1,000 steps, as in VCD: the
    noise is 0.6 times as strong as the picture at step 500, and 3.4 times at 999.

    Args:
        pixel_values: normalised, any shape.
        step: 0 to 999.
        generator: of the noise.

    Raises:
        LucidaError: there is no such step.
    """
    if not 0 <= step < NOISE_STEPS:
        raise LucidaError(f"there is no noise step {step}", remedy=f"use 0 to {NOISE_STEPS - 1}")
    betas = torch.linspace(-6, 6, NOISE_STEPS, dtype=torch.float64).sigmoid() * (5e-3 - 1e-5) + 1e-5
    kept = float((1 - betas).cumprod(dim=0)[step])
    noise = torch.randn(pixel_values.shape, generator=generator).to(pixel_values)
    return math.sqrt(kept) * pixel_values + math.sqrt(1 - kept) * noise


class Contrast(Protocol):
    """Where the other logits come from."""

    def logits(self, said: Tensor | None) -> Tensor:
        """Of the next token, ``[B, V]``; ``said [B]`` is the token before, None at the beginning."""


class OtherReading:
    """The same conversation read a second time, with something else in it, kept in step with what is said.

    Args:
        model: of Hugging Face; runs as it is called (evaluation mode, no gradients: inside ``generate``).
        inputs: of its forward pass: ``input_ids`` or ``inputs_embeds``, ``attention_mask`` (padding on the left),
            perhaps ``pixel_values`` and what else the processor makes; ``past_key_values`` if the cache is to be one
            of the caller's.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any]):
        self.model, self.inputs = model, dict(inputs)
        self.mask = self.inputs["attention_mask"]
        self._cache: Any = self.inputs.pop("past_key_values", None)

    def logits(self, said: Tensor | None) -> Tensor:
        """Of the next token, ``[B, V]``.

        Raises:
            LucidaError: another number of conversations than were read.
        """
        if said is None:
            places = (self.mask.long().cumsum(dim=1) - 1).clamp(min=0)
            given = self.inputs | {"position_ids": places}
        else:
            if len(said) != len(self.mask):
                raise LucidaError(
                    f"{len(said)} answers to {len(self.mask)} conversations", where="contrastive decoding"
                )
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(said), 1)], dim=1)
            places = self.mask.long().sum(dim=1, keepdim=True) - 1
            given = {"input_ids": said[:, None], "attention_mask": self.mask, "position_ids": places}
        out = self.model(**given, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = out.past_key_values
        logits: Tensor = out.logits[:, -1]
        return logits


class EarlyLayer:
    """What an early layer of the same reading would say: its state through the last norm and the output layer.

    Costs one more product with the vocabulary a token, no second reading.

    Args:
        model: of Hugging Face, with a decoder of ``layers`` and a last ``norm``.
        layer: whose output is taken, from 0.

    Raises:
        LucidaError: the model has no such layer.
    """

    def __init__(self, model: Any, layer: int):
        decoder = model.get_decoder()
        layers, norm = getattr(decoder, "layers", None), getattr(decoder, "norm", None)
        if layers is None or norm is None or not 0 <= layer < len(layers):
            found = "no layers and norm" if layers is None or norm is None else f"layers 0 to {len(layers) - 1}"
            raise LucidaError(f"no layer {layer} to contrast with", where=f"the decoder has {found}")
        self.norm, self.head = norm, model.get_output_embeddings()
        self._state: Tensor | None = None
        self._watching = layers[layer].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, given: Any, out: Any) -> None:
        self._state = (out[0] if isinstance(out, tuple) else out)[:, -1]

    def logits(self, said: Tensor | None) -> Tensor:
        """Of the next token, ``[B, V]``."""
        assert self._state is not None, "the model has not been read"
        found: Tensor = self.head(self.norm(self._state))
        return found

    def close(self) -> None:
        """Stop watching the layer."""
        self._watching.remove()


class ContrastProcessor(LogitsProcessor):
    """Takes a contrast away from every token's logits, see :func:`contrasted`.

    Args:
        other: the contrast; for one ``generate`` call.
        alpha, beta: as there.
    """

    def __init__(self, other: Contrast, *, alpha: float = 1.0, beta: float = 0.1):
        if alpha < 0 or not 0 <= beta <= 1:
            raise LucidaError(f"alpha {alpha} and beta {beta}", remedy="use alpha from 0 and beta from 0 to 1")
        self.other, self.alpha, self.beta = other, alpha, beta
        self._begun = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        said = input_ids[:, -1] if self._begun else None
        self._begun = True
        other = self.other.logits(said).to(scores)
        if isinstance(self.other, EarlyLayer):  # of another scale: probabilities are what compares (DoLa, equation 3)
            return contrasted(scores.log_softmax(dim=-1), other.log_softmax(dim=-1), alpha=self.alpha, beta=self.beta)
        return contrasted(scores, other, alpha=self.alpha, beta=self.beta)
