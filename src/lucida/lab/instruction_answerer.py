"""A tiny multimodal language model that follows instructions about strips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed
from lucida.lab.experiments.answers_or_everything_network import CausalBlock
from lucida.lab.sequence_networks import Transformer
from lucida.lab.strip_instructions import ASKED, LENGTH, WORDS, tokens_seen
from lucida.lab.strips import IGNORED, PLACES, SIDE
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput

_SCALE = 10.0
_NAMING = 0.5  # weight of naming the places in the loss


@dataclass(frozen=True)
class Shape:
    """Of a model: ``width``, ``depth`` and ``heads`` of the language model, ``units`` of the vision tower."""

    width: int = 32
    depth: int = 3
    heads: int = 2
    units: int = 64


class InstructionAnswerer(nn.Module):
    """Every place of a strip is a mixture of the model's own words, as in the default model; then causal blocks.

    Args:
        shape: of the model.
        seed: of its weights.
    """

    def __init__(self, shape: Shape, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
        width = shape.width
        self.look = nn.Linear(3 * SIDE * SIDE, shape.units)
        self.name = nn.Linear(shape.units, width)
        self.words = nn.Parameter(F.normalize(torch.randn(WORDS, width, generator=generator), dim=-1))
        self.places = nn.Parameter(0.25 * torch.randn(PLACES + LENGTH, width, generator=generator))
        config = Transformer(WORDS, WORDS, width, shape.depth, shape.heads, norm="rms")
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(shape.depth))
        self.norm = nn.RMSNorm(width)
        self.register_buffer("seen", tokens_seen())
        numbers = torch.cat([torch.arange(PLACES), PLACES + torch.arange(LENGTH).repeat(ASKED)])
        self.register_buffer("numbers", numbers)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.ndim == 2 and name not in ("words", "places"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)

    def forward(self, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the places ``[B, PLACES, WORDS]`` and of the answers ``[B, ASKED, WORDS]``.

        Args:
            pictures: ``[B, PLACES, 3, SIDE, SIDE]``.
            tokens: ``int64 [B, ROW]``; in the strip's places they mean nothing.
        """
        units = F.gelu(self.look(pictures.flatten(-3)))
        named = _SCALE * F.normalize(self.name(units), dim=-1) @ F.normalize(self.words, dim=-1).T
        x = torch.cat([named.softmax(dim=-1) @ self.words, self.words[tokens[..., PLACES:]]], dim=-2)
        x = x + self.places[self.get_buffer("numbers")]
        for block in self.blocks:
            x = block(x, self.get_buffer("seen"))
        states = self.norm(x[..., PLACES + LENGTH - 1 :: LENGTH, :])
        return named, _SCALE * states @ self.words.T / x.shape[-1] ** 0.5


class InstructionTask:
    """Names of places and answers; a batch is a :func:`~lucida.lab.strip_instructions.lesson`."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        named, logits = self.model(batch["pictures"], batch["tokens"])
        truth = batch["places"].flatten()
        naming = F.cross_entropy(named.flatten(0, 1), truth, reduction="none", ignore_index=IGNORED)
        answering = F.cross_entropy(logits.flatten(0, 1), batch["answers"].flatten())
        return LossOutput(_NAMING * naming.sum() / (truth != IGNORED).sum().clamp(min=1) + answering, torch.ones(()))
