"""A tiny multimodal language model that describes strips and answers whether a kind is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed
from lucida.lab.experiments.answers_or_everything_network import CausalBlock
from lucida.lab.sequence_networks import Transformer
from lucida.lab.strips import ASKED, IGNORED, PLACES, ROW, SAID, SIDE, WORDS
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput

_COPY, _COMMON, _SCALE = 0.4, 0.5, 10.0  # as the default model's (see docs/notes/multimodal-llm.md)
_MATCH = (
    0.6  # half the default model's: here words are few and short, and a sharper start learned late to look, or never
)
PARTS = {"naming": 1.0, "saying": 1.0, "answering": 2.0}
"""What counts how much in the loss; answers are one bit each, and names would drown them."""


@dataclass(frozen=True)
class Shape:
    """Of a model.

    Attributes:
        width, depth, heads: of the language model.
        units: of the vision tower's hidden layer.
        used: how many of these see anything; the others are always 0.
    """

    width: int = 32
    depth: int = 2
    heads: int = 1
    units: int = 64
    used: int = 64


@cache
def seen() -> Tensor:
    """Who attends to whom in a row, ``bool [ROW, ROW]``: the strip and earlier tokens of the own text."""
    text = torch.zeros(ROW, dtype=torch.int64)
    text[SAID] = 1
    text[SAID.stop :] = 2 + torch.arange(2 * ASKED) // 2
    own = (text[:, None] == text) | (text == 0)
    return own & torch.ones(ROW, ROW, dtype=torch.bool).tril()


@cache
def place_numbers() -> Tensor:
    """Of each token of a row; all questions have the same two."""
    first = torch.arange(SAID.stop)
    return torch.cat([first, SAID.stop + torch.arange(2).repeat(ASKED)])


class StripAnswerer(nn.Module):
    """A row's logits; every place of a strip is a mixture of the model's own words, as in the default model.

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
        self.register_buffer("used", (torch.arange(shape.units) < shape.used).float())
        self.words = nn.Parameter(F.normalize(torch.randn(WORDS, width, generator=generator), dim=-1))
        self.places = nn.Parameter(0.25 * torch.randn(SAID.stop + 2, width, generator=generator))
        config = Transformer(WORDS, WORDS, width, shape.depth, shape.heads, norm="rms")
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(shape.depth))
        self.norm = nn.RMSNorm(width)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.ndim == 2 and name not in ("words", "places"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)
        self._start(width, generator)

    @torch.no_grad()
    def _start(self, width: int, generator: torch.Generator) -> None:
        """Places of the strip have a direction in common; queries and keys are alike in the first block.

        All blocks start by passing on what they attend to.
        """
        common = F.normalize(torch.randn(width, generator=generator), dim=0)
        self.places[:PLACES] += _COMMON * common
        for number, block in enumerate(self.blocks):
            assert isinstance(block, CausalBlock)
            turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
            query, key, value = block.query_key_value.weight.view(3, width, width).unbind()
            if number == 0:
                query.copy_(_MATCH * turn)
                key.copy_(_MATCH * turn)
                turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
            value.add_(_COPY * turn)
            block.out.weight.add_(_COPY * turn.T)

    def read(self, pictures: Tensor) -> Tensor:
        """Which word each place shows, as logits ``[B, PLACES, WORDS]``."""
        units = F.gelu(self.look(pictures.flatten(-3))) * self.get_buffer("used")
        return _SCALE * F.normalize(self.name(units), dim=-1) @ F.normalize(self.words, dim=-1).T

    def forward(self, pictures: Tensor, tokens: Tensor, early: bool = False) -> tuple[Tensor, Tensor]:
        """Logits of the places ``[B, PLACES, WORDS]`` and of what follows each token ``[B, ROW, WORDS]``.

        Args:
            pictures: ``[B, PLACES, 3, SIDE, SIDE]``.
            tokens: ``int64 [B, ROW]``; in the strip's places they mean nothing.
            early: what the first block alone would say, through the last norm and the words.
        """
        named, length = self.read(pictures), tokens.shape[-1]
        whole = length == ROW
        places = place_numbers() if whole else torch.arange(length)
        mask = seen() if whole else seen()[:length, :length]
        shown = named.softmax(dim=-1) @ self.words
        x = torch.cat([shown, self.words[tokens[..., PLACES:]]], dim=-2) + self.places[places]
        for block in self.blocks[:1] if early else self.blocks:
            x = block(x, mask)
        return named, _SCALE * self.norm(x) @ self.words.T / x.shape[-1] ** 0.5


class StripTask:
    """Names of places, what is said, and answers; a batch is a :func:`~lucida.lab.strips.lesson`."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        named, logits = self.model(batch["pictures"], batch["tokens"])
        labels = batch["labels"]
        rows = {
            "naming": (named, labels[:, :PLACES]),
            "saying": (logits[:, SAID], labels[:, SAID]),
            "answering": (logits[:, SAID.stop + 1 :: 2], labels[:, SAID.stop + 1 :: 2]),
        }
        total = torch.zeros(())
        for part, (scores, truth) in rows.items():
            losses = F.cross_entropy(scores.flatten(0, 1), truth.flatten(), reduction="none", ignore_index=IGNORED)
            total = total + PARTS[part] * losses.sum() / (truth != IGNORED).sum().clamp(min=1)
        return LossOutput(total, torch.ones(()))
