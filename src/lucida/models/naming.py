"""Naming places: tower and projector learn which of the language model's words each place of a picture shows.

A :class:`~lucida.models.projectors.WordProjector` says so itself. Of the other ways to join pictures by a tower, what
each place shows is brought near the words (:class:`PlaceReader`), where a language model, or a layer that looks at
places, finds them when it looks for what resembles a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.losses.language_modeling import IGNORE_INDEX
from lucida.models.projectors import WordProjector
from lucida.models.resampler import Resampler
from lucida.models.vision_language_model import LanguageOutput, VisionLanguageModel

_SCALE = 12.0  # of cosines; were it learned and large, what places show would stop halfway to the words


class PlaceReader(nn.Module):
    """Which word a place shows, by the cosine of what it shows with the words' embeddings and with one for the ground.

    Args:
        projector: its ``shown`` says what places show; that is trained, the rest of the reader is thrown away.
        hidden_size: of the language model.
    """

    def __init__(self, projector: Any, hidden_size: int):
        super().__init__()
        self.projector = projector
        self.ground = nn.Parameter(torch.randn(hidden_size))

    def shown(self, grid: Tensor) -> Tensor:
        """What is named: of each place, ``[B, T, H]``."""
        shown: Tensor = self.projector.shown(grid)
        return shown

    def logits(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """As of :meth:`~lucida.models.projectors.WordProjector.logits`, ``[B, T, V + 1]``."""
        shown = F.normalize(self.shown(grid), dim=-1)
        return _SCALE * shown @ F.normalize(torch.cat([word_embeddings, self.ground[None]]), dim=-1).T


class RegionReader(PlaceReader):
    """Beside each place, each query of a resampler says what its region shows: after the places, in their order."""

    @property
    def regions(self) -> Tensor:
        """Of which places each query speaks, ``bool [queries, T]``; wherever the resampler lies."""
        regions: Tensor = self.projector.regions
        return regions

    def shown(self, grid: Tensor) -> Tensor:
        """Of places and queries, ``[B, T + queries, H]``."""
        shown = self.projector.shown(grid)
        return torch.cat([shown, self.projector.resample(shown + self.projector.places)], dim=1)


def reader_of(projector: Any, hidden_size: int) -> nn.Module:
    """What says which word a place shows, for any way to join pictures by a tower."""
    if isinstance(projector, WordProjector):
        return projector
    return (RegionReader if isinstance(projector, Resampler) else PlaceReader)(projector, hidden_size)


class PlaceNaming(nn.Module):
    """A warm-up for a vision-language model: every place of a picture is classified by the words of its name.

    A query of a resampler is classified by the names in its region, each as often as places show it; by the ground
    where no place there shows anything.

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
        self.reader = reader_of(model.multi_modal_projector, hidden_size)
        share = torch.zeros(len(name_ids) + 1, vocabulary + 1)
        for row, ids in enumerate(name_ids):
            for token in ids:
                share[row, int(token)] += 1 / len(ids)
        share[-1, -1] = 1
        self.register_buffer("share", share, persistent=False)
        self.register_buffer("weight", torch.tensor([1.0] * len(name_ids) + [ground_weight]), persistent=False)

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Which word each place shows, ``[B, T, V + 1]``; the last is the ground. Queries come after the places."""
        assert self.model.vision_tower is not None
        grid = self.model.vision_tower(pixel_values).grid
        words = self.model.language_model.get_input_embeddings().weight
        return self.reader.logits(grid, words)  # type: ignore[operator]  # a module of the project: its method

    def forward(self, pixel_values: Tensor, targets: Tensor) -> LanguageOutput:
        """The summed loss of the places; ``targets [B, T]`` hold a name, K for the ground, or ``IGNORE_INDEX``."""
        log_share = self.logits(pixel_values).log_softmax(dim=-1)
        places = log_share[:, : targets.shape[1]]
        counted = targets != IGNORE_INDEX
        wanted = targets[counted]
        loss = -(self.weight[wanted] * (self.share[wanted] * places[counted]).sum(dim=-1)).sum()
        if isinstance(self.reader, RegionReader):
            loss = loss + self._of_regions(log_share[:, targets.shape[1] :], targets)
        return LanguageOutput(loss, counted.sum())

    def _of_regions(self, log_share: Tensor, targets: Tensor) -> Tensor:
        """The summed loss of queries, times labelled places a labelled region, so that both count alike."""
        labelled = targets != IGNORE_INDEX
        shows = F.one_hot(targets.clamp(min=0), len(self.share)) * labelled[..., None]
        regions: Tensor = self.reader.regions  # type: ignore[assignment]  # a reader of regions, as asked for above
        found = regions.float() @ shows.float()  # [B, queries, K + 1], places of each name
        told = (found.sum(dim=-1) > 0).sum()
        found[..., -1] *= (found[..., :-1].sum(dim=-1) == 0).float()  # the ground, where there is nothing else
        named = found / found.sum(dim=-1, keepdim=True).clamp(min=1)
        each = -((named * self.weight) @ self.share * log_share).sum()
        return each * labelled.sum() / told.clamp(min=1)
