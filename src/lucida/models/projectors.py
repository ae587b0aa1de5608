"""Projectors: what a vision tower sees, as tokens a language model can read."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_SCALE = 50.0
_COMMON, _APART = 0.5, 0.25  # lengths of what all places share and of what tells them apart, beside a word's
_WAVES = 16


class WordProjector(nn.Module):
    """Every place of a grid as a mixture of the language model's own words, plus where it lies.

    A two-layer perceptron says which words a place shows; the token is the mean of their embeddings, weighted by the
    softmax over the vocabulary (AlignVLM, Masry et al. 2025, arXiv:2502.01341), so that a picture is written in a
    language the model already reads and a word finds the places that show it. One more "word" stands for the ground. To
    this comes a learned vector for each place (waves of row and column, and one direction in common, by which a token
    of the picture can be told from the same thing said in words), and a linear detail of what the words leave out,
    which starts at 0.

    Args:
        vision_size: channels of a place.
        hidden_size: of the language model.
        tokens: places.
        word_length: of the language model's embeddings, about.
    """

    def __init__(self, vision_size: int, hidden_size: int, tokens: int, *, word_length: float = 1.0):
        super().__init__()
        self.image_tokens = tokens
        self.norm = nn.LayerNorm(vision_size)
        self.linear_1 = nn.Linear(vision_size, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)
        self.ground = nn.Parameter(word_length * _direction(hidden_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.share = nn.Softmax(dim=-1)  # a module, so that who wants to know what places show can watch it
        self.detail = nn.Linear(vision_size, hidden_size, bias=False)
        nn.init.zeros_(self.detail.weight)
        apart = place_directions(tokens, hidden_size)
        self.places = nn.Parameter(word_length * (_APART * apart + _COMMON * _direction(hidden_size)))

    def freeze_words(self) -> None:
        """Keep what a place shows as it is; where it lies and the detail go on learning."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in ("places", "detail.weight"))

    def logits(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """Which word each place of ``[B, T, vision_size]`` shows, ``[B, T, V + 1]``; the last is the ground."""
        shown = F.normalize(self.linear_2(F.gelu(self.linear_1(self.norm(grid)))), dim=-1)
        scale = self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()
        words = torch.cat([word_embeddings, self.ground[None]])
        return scale * shown @ F.normalize(words, dim=-1).T

    def forward(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, T, H]``, given the language model's embeddings ``[V, H]``."""
        mixture = self.share(self.logits(grid, word_embeddings))
        content = mixture[..., :-1] @ word_embeddings + mixture[..., -1:] * self.ground
        return content + self.detail(self.norm(grid)) + self.places


class MlpProjector(nn.Module):
    """Every place through a two-layer perceptron (LLaVA-1.5: Liu et al. 2023, arXiv:2310.03744).

    Features come in through a layer norm, as those of a convolutional tower have no scale of their own, and a learned
    vector for each place is added, as they do not say where they lie. Without both it is LLaVA's own projector.

    Args:
        vision_size, hidden_size, tokens: as of :class:`WordProjector`.
        word_length: of the language model's embeddings, about; image tokens start about as long.
    """

    def __init__(self, vision_size: int, hidden_size: int, tokens: int, *, word_length: float = 1.0):
        super().__init__()
        self.image_tokens = tokens
        self.norm = nn.LayerNorm(vision_size)
        self.linear_1 = nn.Linear(vision_size, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)
        nn.init.normal_(self.linear_2.weight, std=2 * word_length / hidden_size)  # half of it is lost in the middle
        self.places = nn.Parameter(_APART * word_length * place_directions(tokens, hidden_size))

    def shown(self, grid: Tensor) -> Tensor:
        """What each place of ``[B, T, vision_size]`` shows, in the language model's width: ``[B, T, H]``."""
        return self.linear_2(F.gelu(self.linear_1(self.norm(grid))))

    def forward(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, T, H]``."""
        return self.shown(grid) + self.places


class PatchProjector(nn.Module):
    """Raw patches straight to the language model's width: a linear map, as in Fuyu and Chameleon (arXiv:2405.09818).

    There is nothing to see with before it (:class:`~lucida.models.patches.PatchTower` only cuts pictures up), so that
    the language model is one transformer over patches and words. It attends to patches causally, as both of those do:
    a patch sees those before it, a word sees all.

    Args:
        vision_size, hidden_size, tokens: as of :class:`WordProjector`.
        word_length: of the language model's embeddings, about; image tokens start about as long.
    """

    def __init__(self, vision_size: int, hidden_size: int, tokens: int, *, word_length: float = 1.0):
        super().__init__()
        self.image_tokens = tokens
        self.linear = nn.Linear(vision_size, hidden_size)
        nn.init.normal_(self.linear.weight, std=word_length / math.sqrt(vision_size * hidden_size))
        self.places = nn.Parameter(_APART * word_length * place_directions(tokens, hidden_size))

    def forward(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, T, H]``."""
        return self.linear(grid) + self.places


def place_directions(tokens: int, size: int) -> Tensor:
    """A direction for each place of a square grid, near places alike, ``[tokens, size]``; drawn from torch's stream."""
    return F.normalize(place_waves(tokens) @ torch.randn(_WAVES, size), dim=-1)


def place_waves(tokens: int) -> Tensor:
    """Sines and cosines of row and column of a square grid, mean zero, ``[tokens, 16]``: near places are alike.

    A grid that is no square is taken as one row.

    >>> waves = place_waves(64)
    >>> bool(torch.dist(waves[0], waves[1]) < torch.dist(waves[0], waves[4]))
    True
    """
    side = math.isqrt(tokens)
    rows, columns = (side, side) if side * side == tokens else (1, tokens)
    grid = torch.cartesian_prod((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns)
    angles = (math.pi * grid[:, :, None] * torch.arange(1, _WAVES // 4 + 1)).flatten(1)
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    return waves - waves.mean(dim=0)


def _direction(size: int) -> Tensor:
    return F.normalize(torch.randn(size), dim=0)
