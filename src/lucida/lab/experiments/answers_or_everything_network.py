"""A small multimodal language model that is trained as a stack, and its loss with a weight for each token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed
from lucida.lab.networks import initialise
from lucida.lab.questions import VOCABULARY
from lucida.lab.sequence_networks import Transformer, TransformerBlock
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput


class CausalBlock(TransformerBlock):
    """The lab's block in which a position looks at itself and what is before it."""

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.query_key_value(x).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        mixed = torch.where(mask, scores, torch.finfo(scores.dtype).min).softmax(dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def draw_weights(network: nn.Module, seed: int) -> torch.Generator:
    """The first weights of a model with ``words``, ``places`` and a projector; returns the generator."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
    with torch.no_grad():
        for name in ("words.weight", "places"):
            table = network.get_parameter(name)
            table.copy_(torch.randn(table.shape, generator=generator) * 0.5)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2 and not name.startswith(("words", "places")):
            initialise(parameter, "xavier", 1.0, generator)
    nn.init.zeros_(network.get_parameter("multi_modal_projector.bias"))
    return generator


class Answerer(nn.Module):
    """A picture's features through a projector, then words, through causal blocks.

    Args:
        features: numbers of each picture.
        width, depth: of the language model.
        tokens: of question and answer.
        seed: of the weights.
    """

    def __init__(self, features: int, width: int, depth: int, tokens: int, seed: int):
        super().__init__()
        config = Transformer(len(VOCABULARY), len(VOCABULARY), width, depth)
        self.multi_modal_projector = nn.Linear(features, width)
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.places = nn.Parameter(torch.zeros(tokens, width))
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(VOCABULARY), bias=False)
        draw_weights(self, seed)

    def states(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """The states that predict each of ``tokens``, ``[B, T, D]``, of pictures ``[B, F]`` and ``int64 [B, T]``."""
        x = torch.cat([self.multi_modal_projector(pictures)[:, None], self.words(tokens[:, :-1])], dim=1) + self.places
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)

    def forward(self, pictures: Tensor, tokens: Tensor, at: int | None = None) -> Tensor:
        """Logits of each of ``tokens``, ``[B, T, V]``, or of the one at a place, ``[B, V]``."""
        states = self.states(pictures, tokens)
        logits: Tensor = self.head(states if at is None else states[:, at])
        return logits


class TextTask:
    """Cross-entropy with a weight for each token; see :class:`~lucida.training.tasks.Task`.

    A batch holds ``pictures``, ``tokens`` and ``token_weights`` ``[B, T]``. The mean is that of
    :func:`~lucida.losses.language_modeling.language_modeling_loss`, whose chunks :func:`torch.vmap` cannot map.
    """

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        logits = self.model(batch["pictures"], batch["tokens"])
        losses = F.cross_entropy(logits.flatten(0, 1), batch["tokens"].flatten(), reduction="none")
        weights = batch["token_weights"].flatten()
        return LossOutput((losses * weights).sum(), weights.sum())
