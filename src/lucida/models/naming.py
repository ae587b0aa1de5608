"""Naming places: the projector learns to say what each place shows in the language model's own word embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.models.vision_language_model import LanguageOutput, VisionLanguageModel

IGNORE = -100


class PlaceNaming(nn.Module):
    """A warm-up for a vision-language model: every place of a picture is classified by name.

    The class vectors are the language model's input embeddings of the names (the mean over a name's tokens), so that
    what is learned here is where its attention will look: a word finds the places that show it. One more vector stands
    for the ground.

    Args:
        model: the vision-language model, with a tower and a :class:`~lucida.models.projectors.GridProjector`.
        name_ids: the token ids of each of K names.
        ground_weight: of places that show nothing; they are most of a picture.
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, model: VisionLanguageModel, name_ids: Sequence[Sequence[int]], *, ground_weight: float = 0.2):
        super().__init__()
        self.model = model
        vocabulary = model.language_model.get_input_embeddings().weight.shape[0]
        mean = torch.zeros(len(name_ids), vocabulary)
        for row, ids in enumerate(name_ids):
            for token in ids:
                mean[row, int(token)] += 1 / len(ids)
        self.register_buffer("mean", mean, persistent=False)
        self.ground = nn.Parameter(torch.randn(model.language_model.config.hidden_size) * 0.05)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.register_buffer("weight", torch.tensor([1.0] * len(name_ids) + [ground_weight]), persistent=False)

    def logits(self, pixel_values: Tensor) -> Tensor:
        """``[B, T, K + 1]``; the last class is the ground."""
        tower, projector = self.model.vision_tower, self.model.multi_modal_projector
        assert tower is not None
        seen = projector.content(tower(pixel_values).grid)  # type: ignore[operator]  # a module of the project: its method
        words = self.mean @ self.model.language_model.get_input_embeddings().weight
        classes = F.normalize(torch.cat([words, self.ground[None]]), dim=-1)
        return self.log_scale.clamp(max=math.log(50.0)).exp() * seen @ classes.T

    def forward(self, pixel_values: Tensor, targets: Tensor) -> LanguageOutput:
        """The summed loss of the places; ``targets [B, T]`` hold a class, K for the ground, or ``IGNORE``."""
        logits = self.logits(pixel_values).flatten(0, 1)
        flat = targets.flatten()
        loss = F.cross_entropy(logits, flat, self.weight, ignore_index=IGNORE, reduction="sum")
        return LanguageOutput(loss, (flat != IGNORE).sum())


def trainable_rows(model: nn.Module) -> list[tuple[str, int, int]]:
    """(block, trainable, all) numbers of parameters, by the first part of their name.

    >>> trainable_rows(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).requires_grad_(False)))
    [('0', 9, 9), ('1', 0, 4)]
    """
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        some, total = counts.get(name.split(".")[0], (0, 0))
        size = parameter.numel()
        counts[name.split(".")[0]] = (some + size * parameter.requires_grad, total + size)
    return [(name, some, total) for name, (some, total) in counts.items()]
