"""Small heads that a dual encoder's picture features are trained with beside the contrastive loss.

A captioner says the caption word by word (as in CoCa, Yu et al. 2022, arXiv:2205.01917), a class head names the class.
Neither is asked for anything in zero-shot use: what they are for is what they make of the picture features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss


class CaptionLoss(NamedTuple):
    """The summed loss of the supervised words and their number."""

    loss_sum: Tensor
    n_supervised: Tensor


class Captioner(nn.Module):
    """A causal decoder that reads the words so far and looks at the picture.

    The picture's vector becomes a few vectors that every word attends to, as CoCa's decoder attends to its picture
    tokens; the words' embedding is the output's too.

    Args:
        embedding_size: of the picture features.
        vocabulary: number of tokens.
        hidden_size: of the decoder, a multiple of ``heads``.
        layers, heads: of the decoder.
        looks: vectors that are made of a picture.
        longest: words of a caption, at most.
        dropout: in the decoder.
    """

    def __init__(
        self,
        embedding_size: int,
        vocabulary: int,
        *,
        hidden_size: int = 128,
        layers: int = 1,
        heads: int = 4,
        looks: int = 4,
        longest: int = 64,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.looks = looks
        self.norm = nn.LayerNorm(embedding_size, elementwise_affine=False)
        self.look = nn.Linear(embedding_size, looks * hidden_size)
        self.embedding = nn.Embedding(vocabulary, hidden_size)
        self.place = nn.Embedding(longest, hidden_size)
        for table in (self.embedding, self.place):
            nn.init.normal_(table.weight, std=hidden_size**-0.5)
        layer = nn.TransformerDecoderLayer(
            hidden_size, heads, 4 * hidden_size, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(hidden_size))

    def forward(self, image_features: Tensor, input_ids: Tensor, labels: Tensor) -> CaptionLoss:
        """The loss of saying each picture's caption.

        Args:
            image_features: ``[B, embedding_size]``.
            input_ids: ``int64 [B, L]``, the start and the words.
            labels: ``int64 [B, L]``, the word behind each; ``IGNORE_INDEX`` does not count.
        """
        states = self.states(image_features, input_ids)
        loss = language_modeling_loss(states.flatten(0, 1), self.embedding.weight, labels.flatten(), reduction="sum")
        return CaptionLoss(loss, (labels != IGNORE_INDEX).sum())

    def states(self, image_features: Tensor, input_ids: Tensor) -> Tensor:
        """What the next word is told from, ``[B, L, hidden_size]``."""
        length = input_ids.shape[1]
        memory = self.look(self.norm(image_features)).unflatten(-1, (self.looks, -1))
        words = self.embedding(input_ids) + self.place.weight[:length]
        later = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).triu(1)
        return self.decoder(words, memory, tgt_mask=later)


class ClassHead(nn.Module):
    """Logits of classes by one matrix on a picture's vector, brought to variance one.

    Args:
        embedding_size: of the picture features.
        classes: how many.
    """

    def __init__(self, embedding_size: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(embedding_size, elementwise_affine=False)
        self.linear = nn.Linear(embedding_size, classes)

    def forward(self, image_features: Tensor) -> Tensor:
        """``[B, embedding_size]`` to ``[B, classes]``."""
        return self.linear(self.norm(image_features))
