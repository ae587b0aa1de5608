"""What a picture's own tokens say: how strongly any of its places stands for a word.

The projector of lucida's model writes every place as a mixture of words, so that the share of a word there is read off.
Of anyone's model the image tokens are read through the last norm and the output layer, as words that will be said are
(the logit lens; that its largest share over places tells objects that are there from made-up ones: Jiang et al. 2024,
arXiv:2410.02762).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.models.projectors import WordProjector
from lucida.models.vision_language_model import VisionLanguageModel

_ROWS = 256  # places whose shares of the whole vocabulary are in memory at once


@torch.no_grad()
def place_words(model: VisionLanguageModel, vision_features: Tensor) -> Tensor:
    """Log-share of every word at every place of pictures ``[N, T, D]``: ``[N, T, V]``; what is left is the ground."""
    words = model.language_model.get_input_embeddings().weight
    logits = _word_projector(model).logits(vision_features.to(words.dtype), words)
    shares: Tensor = logits.log_softmax(dim=-1)[..., :-1]
    return shares


@torch.no_grad()
def word_support(model: VisionLanguageModel, vision_features: Tensor, *, batch_size: int = 16) -> Tensor:
    """Log-share of every word at the place that says it most, of pictures ``[N, T, D]``: ``[N, V]``."""
    words, best = model.language_model.get_input_embeddings().weight, []
    for part in vision_features.split(batch_size):
        logits = _word_projector(model).logits(part.to(words.dtype), words)
        best.append(logits.softmax(dim=-1).amax(dim=1)[..., :-1].log())  # logarithms of the best places alone
    return torch.cat(best)


@torch.no_grad()
def name_support(
    model: VisionLanguageModel, vision_features: Tensor, names: Sequence[Sequence[int]], *, batch_size: int = 16
) -> Tensor:
    """The same of names of one token or more, whose tokens stand at one place: their mean, ``[N, K]``.

    Args:
        names: the tokens of each.
    """
    found = []
    for part in vision_features.split(batch_size):
        said = place_words(model, part)
        found.append(torch.stack([said[..., list(name)].mean(dim=-1).amax(dim=1) for name in names], dim=1))
    return torch.cat(found)


def _word_projector(model: VisionLanguageModel) -> WordProjector:
    """Only one that writes pictures in words can say which."""
    projector = model.multi_modal_projector
    if not isinstance(projector, WordProjector):
        raise LucidaError(
            f"the pictures of this model are not written in words ({type(projector).__name__})",
            where="support of words",
            remedy="train it with --language.join words",
        )
    return projector


class ProjectorWords:
    """The support of a model's words by pictures, kept while it embeds them; asked for before, it is computed.

    Args:
        model: of lucida.
        vision_features: of the pictures, ``[B, T, D]``.

    Raises:
        LucidaError: the model's pictures are not written in words.
    """

    def __init__(self, model: VisionLanguageModel, vision_features: Tensor):
        self.model, self.features = model, vision_features
        self._support: Tensor | None = None
        self._watching = _word_projector(model).share.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, given: Any, mixture: Tensor) -> None:
        if len(mixture) == len(self.features):  # of what is embedded last: that is what is read
            self._support = mixture.amax(dim=1)[..., :-1].log()

    @property
    def support(self) -> Tensor:
        """Log-share of every word at its best place, ``[B, V]``."""
        if self._support is None:
            self._support = word_support(self.model, self.features)
        return self._support

    def close(self) -> None:
        """Stop watching."""
        self._watching.remove()


class ImageTokenWords:
    """Of a Hugging Face model: the words its image tokens stand for, kept while ``generate`` reads the prompt.

    Nothing is read twice; what is added is one product of the image tokens with the output layer.

    Args:
        model: a Hugging Face image-text-to-text model with a decoder of ``layers`` and a last ``norm``.
        images: ``bool [B, L]``: which tokens of the prompt are of a picture.
        layers: whose outputs are read, from 0; the last one unless given.

    Raises:
        LucidaError: the model has no such layers.
    """

    def __init__(self, model: Any, images: Tensor, layers: Sequence[int] | None = None):
        decoder = model.get_decoder()
        every, norm = getattr(decoder, "layers", None), getattr(decoder, "norm", None)
        chosen = [len(every) - 1] if every is not None and layers is None else list(layers or ())
        if every is None or norm is None or not chosen or not all(0 <= k < len(every) for k in chosen):
            raise LucidaError("the image tokens of this model cannot be read", where=f"layers {chosen} of its decoder")
        self.norm, self.head, self.images = norm, model.get_output_embeddings(), images
        self._support: Tensor | None = None
        self._left = len(chosen)  # to be read: a remedy may read the same prompt again, with another picture
        self._watching = [every[k].register_forward_hook(self._keep) for k in chosen]

    @torch.no_grad()
    def _keep(self, module: nn.Module, given: Any, out: Any) -> None:
        states = out[0] if isinstance(out, tuple) else out
        if not self._left or states.shape[1] != self.images.shape[1]:  # a token that is said, not the prompt
            return
        self._left -= 1
        rows = [self._read(own[seen]) for own, seen in zip(states, self.images.to(states.device), strict=True)]
        found = torch.stack(rows)
        self._support = found if self._support is None else torch.maximum(self._support, found)

    def _read(self, states: Tensor) -> Tensor:
        """``[T, H]`` to ``[V]``; without image tokens nothing has support."""
        if not len(states):
            return states.new_full((self.head.weight.shape[0],), -torch.inf)
        parts = [self.head(self.norm(part)).log_softmax(dim=-1).amax(dim=0) for part in states.split(_ROWS)]
        return torch.stack(parts).amax(dim=0)

    @property
    def support(self) -> Tensor:
        """Log-share of every word at the image token that says it most, ``[B, V]``.

        Raises:
            LucidaError: the prompt has not been read.
        """
        if self._support is None:
            raise LucidaError("the picture has not been read yet", where="ImageTokenWords")
        return self._support

    def close(self) -> None:
        """Stop watching the layers."""
        for one in self._watching:
            one.remove()
