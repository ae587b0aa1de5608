"""Naming places: the projector learns which of the language model's words each place of a picture shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lucida.losses.language_modeling import IGNORE_INDEX
from lucida.models.vision_language_model import LanguageOutput, VisionLanguageModel


class PlaceNaming(nn.Module):
    """A warm-up for a vision-language model: every place of a picture is classified by the words of its name.

    Args:
        model: the vision-language model, with a tower and a :class:`~lucida.models.projectors.WordProjector`.
        name_ids: the token ids of each of K names; a name of several tokens shares its mass between them.
        ground_weight: of places that show nothing; they are most of a picture.
    """

    share: Tensor
    weight: Tensor

    def __init__(self, model: VisionLanguageModel, name_ids: Sequence[Sequence[int]], *, ground_weight: float = 0.2):
        super().__init__()
        self.model = model
        vocabulary = model.language_model.get_input_embeddings().weight.shape[0]
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
        projector = self.model.multi_modal_projector
        words = self.model.language_model.get_input_embeddings().weight
        return projector.logits(grid, words)  # type: ignore[operator]  # a module of the project: its method

    def forward(self, pixel_values: Tensor, targets: Tensor) -> LanguageOutput:
        """The summed loss of the places; ``targets [B, T]`` hold a name, K for the ground, or ``IGNORE_INDEX``."""
        counted = targets != IGNORE_INDEX
        log_share = self.logits(pixel_values).log_softmax(dim=-1)[counted]
        wanted = targets[counted]
        loss = -(self.weight[wanted] * (self.share[wanted] * log_share).sum(dim=-1)).sum()
        return LanguageOutput(loss, counted.sum())
