"""Naming places: tower and projector learn which of the language model's words each place of a picture shows.

A :class:`~lucida.models.projectors.WordProjector` says so itself. Of an
:class:`~lucida.models.projectors.MlpProjector` the tokens are brought near the words (:class:`PlaceReader`), where a
language model finds them that looks for what resembles a word. For other ways a reader is made and thrown away, and the
tower alone has learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.losses.language_modeling import IGNORE_INDEX
from lucida.models.projectors import MAX_SCALE, MlpProjector, WordProjector
from lucida.models.vision_language_model import LanguageOutput, VisionLanguageModel


class PlaceReader(nn.Module):
    """Which word a place shows, by the cosine of its token with the words' embeddings and with one for the ground.

    Args:
        projector: places to tokens; it is trained, the rest is thrown away.
        hidden_size: of the language model.
    """

    def __init__(self, projector: nn.Module, hidden_size: int):
        super().__init__()
        self.projector = projector
        self.ground = nn.Parameter(torch.randn(hidden_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def logits(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """As of :meth:`~lucida.models.projectors.WordProjector.logits`, ``[B, T, V + 1]``."""
        shown = F.normalize(self.projector(grid, word_embeddings), dim=-1)
        scale = self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()
        return scale * shown @ F.normalize(torch.cat([word_embeddings, self.ground[None]]), dim=-1).T


def reader_of(projector: nn.Module, tower: Any, hidden_size: int) -> nn.Module:
    """What says which word a place shows, for any way to join pictures by a tower."""
    if isinstance(projector, WordProjector):
        return projector
    if not isinstance(projector, MlpProjector):
        projector = MlpProjector(tower.hidden_size, hidden_size, tower.grid_tokens)
    return PlaceReader(projector, hidden_size)


class PlaceNaming(nn.Module):
    """A warm-up for a vision-language model: every place of a picture is classified by the words of its name.

    Args:
        model: the vision-language model, with a tower.
        name_ids: the token ids of each of K names; a name of several tokens shares its mass between them.
        ground_weight: of places that show nothing; they are most of a picture.
    """

    share: Tensor
    weight: Tensor

    def __init__(self, model: VisionLanguageModel, name_ids: Sequence[Sequence[int]], *, ground_weight: float = 0.2):
        super().__init__()
        self.model = model
        vocabulary, hidden_size = model.language_model.get_input_embeddings().weight.shape
        self.reader = reader_of(model.multi_modal_projector, model.vision_tower, hidden_size)
        share = torch.zeros(len(name_ids) + 1, vocabulary + 1)
        for row, ids in enumerate(name_ids):
            for token in ids:
                share[row, int(token)] += 1 / len(ids)
        share[-1, -1] = 1
        self.register_buffer("share", share, persistent=False)
        self.register_buffer("weight", torch.tensor([1.0] * len(name_ids) + [ground_weight]), persistent=False)

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Which word each place shows, ``[B, T, V + 1]``; the last is the ground."""
        assert self.model.vision_tower is not None
        grid = self.model.vision_tower(pixel_values).grid
        words = self.model.language_model.get_input_embeddings().weight
        return self.reader.logits(grid, words)  # type: ignore[operator]  # a module of the project: its method

    def forward(self, pixel_values: Tensor, targets: Tensor) -> LanguageOutput:
        """The summed loss of the places; ``targets [B, T]`` hold a name, K for the ground, or ``IGNORE_INDEX``."""
        counted = targets != IGNORE_INDEX
        log_share = self.logits(pixel_values).log_softmax(dim=-1)[counted]
        wanted = targets[counted]
        loss = -(self.weight[wanted] * (self.share[wanted] * log_share).sum(dim=-1)).sum()
        return LanguageOutput(loss, counted.sum())
