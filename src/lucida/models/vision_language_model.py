"""The multimodal LLM: vision tower, projector, language model (as LLaVA, Liu et al. 2023), many turns a picture.

The part in the middle decides how pictures are joined to words (:mod:`lucida.models.joining`): it writes them into the
sequence as tokens, or lets layers of its own look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from lucida.core.errors import LucidaError
from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss, shift_labels
from lucida.models.gated_cross_attention import GatedCrossAttention, PictureCache


@dataclass
class LanguageOutput:
    """The summed cross-entropy over ``n_supervised`` answer tokens."""

    loss_sum: Tensor
    n_supervised: Tensor


def block_mask(segment_ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Who attends to whom in a packed row: 0 where allowed, the lowest number elsewhere, ``[B, 1, L, L]``.

    A token sees itself and earlier tokens of the shared prefix (segment 0) and of its own turn; padding (-1) is seen
    by itself alone.

    >>> (block_mask(torch.tensor([[0, 1, 2, -1]]))[0, 0] == 0).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 0, 1, 0],
            [0, 0, 0, 1]], dtype=torch.int32)
    """
    length = segment_ids.shape[1]
    query, key = segment_ids[:, :, None], segment_ids[:, None, :]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segment_ids.device).tril()
    seen = ((key == 0) | (key == query)) & (key >= 0) & (query >= 0) & earlier
    seen = seen | torch.eye(length, dtype=torch.bool, device=segment_ids.device)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


class VisionLanguageModel(nn.Module):
    """Answers questions about pictures.

    Args:
        multi_modal_projector: grid features ``[B, T, D]`` and the language model's word embeddings ``[V, H]`` to image
            tokens ``[B, n, H]`` (:class:`~lucida.models.projectors.WordProjector` and others), or a
            :class:`~lucida.models.gated_cross_attention.GatedCrossAttention`, which is attached to the language model.
        language_model: a Hugging Face causal language model.
        image_token_id: the token whose embedding is replaced by a picture's features; before gated layers it is a word
            like others, one for each picture.
        vision_tower: pictures to grid features; may be left out where features are precomputed.

    Raises:
        LucidaError: there are gated layers, and the language model has not as many blocks.
    """

    def __init__(
        self,
        multi_modal_projector: nn.Module,
        language_model: Any,
        image_token_id: int,
        *,
        vision_tower: nn.Module | None = None,
    ):
        super().__init__()
        self.vision_tower = vision_tower
        self.multi_modal_projector = multi_modal_projector
        self.language_model = language_model
        self.image_token_id = image_token_id
        if isinstance(multi_modal_projector, GatedCrossAttention):
            multi_modal_projector.attach(language_model)

    @property
    def gated(self) -> bool:
        """Whether layers look at pictures, none of which is in the sequence."""
        return isinstance(self.multi_modal_projector, GatedCrossAttention)

    def cache(self, vision_features: Tensor | None = None) -> DynamicCache:
        """An empty key-value cache for rows that are about these pictures, ``[B, T, D]``: one each.

        Before gated layers it holds what they read; else pictures are in the sequence and the cache is a plain one.
        """
        if vision_features is None or not self.gated:
            return DynamicCache()
        return PictureCache(self._looked_at(vision_features)["pictures"])

    def _looked_at(self, vision_features: Tensor) -> dict[str, Tensor]:
        """What goes to the decoder beside the sequence."""
        if not self.gated:
            return {}
        dtype = self.language_model.get_input_embeddings().weight.dtype
        return {"pictures": self.multi_modal_projector(vision_features.to(dtype))}

    def _seen(self, vision_features: Tensor | None, pixel_values: Tensor | None) -> Tensor:
        if vision_features is not None:
            return vision_features
        if pixel_values is None or self.vision_tower is None:
            raise LucidaError("the model needs vision_features, or pixel_values and a vision tower")
        grid: Tensor = self.vision_tower(pixel_values).grid
        return grid

    def embed(
        self, input_ids: Tensor, vision_features: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> Tensor:
        """Token embeddings with the pictures' tokens written in, ``[B, L, H]``; before gated layers there are none.

        Raises:
            LucidaError: neither features nor pixels with a tower, or another number of features than image tokens.
        """
        features = self._seen(vision_features, pixel_values)
        words = self.language_model.get_input_embeddings()
        embedded: Tensor = words(input_ids)
        at = input_ids == self.image_token_id
        if self.gated:
            _check_count(int(at.sum()), len(features))
            return embedded
        tokens = self.multi_modal_projector(features.to(embedded.dtype), words.weight)
        _check_count(int(at.sum()), tokens.shape[0] * tokens.shape[1])
        return embedded.masked_scatter(at[..., None], tokens)

    def hidden_states(
        self,
        input_ids: Tensor,
        segment_ids: Tensor,
        position_ids: Tensor,
        vision_features: Tensor | None = None,
        pixel_values: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states of packed rows, ``[B, L, H]``; before gated layers a row is about one picture.

        Raises:
            LucidaError: as :meth:`embed`.
        """
        features = self._seen(vision_features, pixel_values)
        embedded = self.embed(input_ids, features)
        body = self.language_model.get_decoder()
        if self.gated:
            _check_count(len(features), len(input_ids), "pictures for {} rows: gated layers look at one a row")
        return body(
            inputs_embeds=embedded,
            attention_mask=block_mask(segment_ids, embedded.dtype),
            position_ids=position_ids,
            use_cache=False,
            **self._looked_at(features),
        ).last_hidden_state

    def forward(
        self,
        input_ids: Tensor,
        segment_ids: Tensor,
        position_ids: Tensor,
        labels: Tensor,
        vision_features: Tensor | None = None,
        pixel_values: Tensor | None = None,
    ) -> LanguageOutput:
        """The loss of a packed batch (:func:`lucida.data.collation.collate`)."""
        states = self.hidden_states(input_ids, segment_ids, position_ids, vision_features, pixel_values)
        targets = shift_labels(labels).flatten()
        weight = self.language_model.get_output_embeddings().weight
        loss = language_modeling_loss(states.flatten(0, 1), weight, targets, reduction="sum")
        return LanguageOutput(loss, (targets != IGNORE_INDEX).sum())


def _check_count(found: int, wanted: int, what: str = "image tokens for {} picture features") -> None:
    if found != wanted:
        raise LucidaError(
            f"{found} {what.format(wanted)}", remedy="use the same image_tokens in ChatFormat and in the model"
        )
