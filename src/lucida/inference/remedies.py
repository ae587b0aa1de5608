"""Decoding remedies against making things up, behind one interface: logits processors of a prompt as it is read.

They go into Hugging Face's ``generate`` and into ours, one or several (in their order, before temperature and top-p)::

    with processors([Grounded(names)], HuggingFaceReading(model, inputs)) as chosen:
        model.generate(**inputs, logits_processor=chosen)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from lucida.core.errors import LucidaError
from lucida.inference.contrast import ContrastProcessor, EarlyLayer, OtherReading, noised
from lucida.inference.grounding import FLOOR, WEIGHT, GroundedWords, Supported
from lucida.models.picture_words import ImageTokenWords, ProjectorWords
from lucida.models.vision_language_model import VisionLanguageModel


class Reading(Protocol):
    """A prompt that ``generate`` is about to read, ``B`` conversations padded on the left."""

    @property
    def model(self) -> Any:
        """Whose ``generate`` reads it."""

    def distorted(self, step: int) -> Mapping[str, Tensor]:
        """The inputs of the same prompt with noise of a diffusion step over the picture."""

    def unseen(self) -> Mapping[str, Tensor]:
        """The inputs of the same prompt without the picture."""

    def words(self, cleanup: ExitStack) -> Supported:
        """What the picture supports; ``cleanup`` ends what it takes."""


class Remedy(Protocol):
    """A way to make up less."""

    def processor(self, reading: Reading, cleanup: ExitStack) -> LogitsProcessor:
        """For one ``generate`` call; ``cleanup`` ends what it takes."""


@contextmanager
def processors(remedies: Sequence[Remedy], reading: Reading) -> Iterator[LogitsProcessorList]:
    """Of one ``generate`` call; after it the model is as it was.

    Raises:
        LucidaError: an early layer is contrasted behind a remedy that reads the prompt again.
    """
    with ExitStack() as cleanup:
        made = [remedy.processor(reading, cleanup) for remedy in remedies]
        _check_order(made)
        yield LogitsProcessorList(made)


def _check_order(made: Sequence[LogitsProcessor]) -> None:
    """A model that was read again has left the state of that reading in the early layer.

    Refused rather than mended: the order of remedies is part of what they say.
    """
    contrasts = [one.other for one in made if isinstance(one, ContrastProcessor)]
    again = [isinstance(other, OtherReading) for other in contrasts]
    if any(isinstance(other, EarlyLayer) and any(again[:k]) for k, other in enumerate(contrasts)):
        raise LucidaError(
            "an early layer behind a contrast that reads again would be that reading's",
            where="remedies",
            remedy="put the contrast with the early layer first",
        )


@dataclass(frozen=True)
class Distorted:
    """Contrast with a distorted picture (VCD: Leng et al. 2023, arXiv:2311.16922).

    Attributes:
        step: of the noise, 0 to 999.
        alpha, beta: see :func:`~lucida.inference.contrast.contrasted`.
    """

    step: int = 500
    alpha: float = 1.0
    beta: float = 0.1

    def processor(self, reading: Reading, cleanup: ExitStack) -> LogitsProcessor:
        """Reads the prompt a second time, and every token that is said."""
        other = OtherReading(reading.model, reading.distorted(self.step))
        return ContrastProcessor(other, alpha=self.alpha, beta=self.beta)


@dataclass(frozen=True)
class Unseen:
    """Contrast with the same conversation without the picture; attributes as of :class:`Distorted`."""

    alpha: float = 1.0
    beta: float = 0.1

    def processor(self, reading: Reading, cleanup: ExitStack) -> LogitsProcessor:
        """Reads the prompt a second time, and every token that is said."""
        return ContrastProcessor(OtherReading(reading.model, reading.unseen()), alpha=self.alpha, beta=self.beta)


@dataclass(frozen=True)
class Early:
    """Contrast with an early layer of the same reading (DoLa: Chuang et al. 2023, arXiv:2309.03883).

    It comes before contrasts that read the prompt again.

    Attributes:
        layer: from 0.
        alpha, beta: as of :class:`Distorted`; infinite for DoLa's own difference.
    """

    layer: int = 0
    alpha: float = float("inf")
    beta: float = 0.1

    def processor(self, reading: Reading, cleanup: ExitStack) -> LogitsProcessor:
        """Reads nothing twice."""
        early = EarlyLayer(reading.model, self.layer)
        cleanup.callback(early.close)
        return ContrastProcessor(early, alpha=self.alpha, beta=self.beta)


@dataclass(frozen=True)
class Grounded:
    """Names are said as far as the picture's own tokens support them (:mod:`lucida.inference.grounding`).

    Attributes:
        names: the tokens of all names that may be made up.
        weight, floor: as there.
    """

    names: tuple[int, ...]
    weight: float = WEIGHT
    floor: float = FLOOR

    def processor(self, reading: Reading, cleanup: ExitStack) -> LogitsProcessor:
        """Reads nothing twice."""
        names = torch.tensor(self.names, dtype=torch.int64)
        return GroundedWords(reading.words(cleanup), names, weight=self.weight, floor=self.floor)


@dataclass(frozen=True)
class OwnReading:
    """Of a model of lucida.

    Attributes:
        owner: the model.
        input_ids, attention_mask: of the prompts, ``int64 [B, L]``.
        features: grid features of their pictures, ``[B, T, D]``.
        noisy: the same of distorted pictures, where a remedy asks for them; the step they were distorted by is that of
            who made them.
    """

    owner: VisionLanguageModel
    input_ids: Tensor
    attention_mask: Tensor
    features: Tensor
    noisy: Tensor | None = None

    @property
    def model(self) -> Any:
        """The language model."""
        return self.owner.language_model

    def inputs(self, features: Tensor) -> dict[str, Any]:
        """With these features in the pictures' places."""
        embedded = self.owner.embed(self.input_ids, features)
        cache = {"past_key_values": self.owner.cache(features)} if self.owner.gated else {}
        return {"inputs_embeds": embedded, "attention_mask": self.attention_mask, **cache}

    def distorted(self, step: int) -> Mapping[str, Any]:
        """With the features of noisy pictures.

        Raises:
            LucidaError: there are none.
        """
        if self.noisy is None:
            raise LucidaError("the distorted pictures have not been seen", where="contrastive decoding")
        return self.inputs(self.noisy)

    def unseen(self) -> Mapping[str, Tensor]:
        """The picture's tokens are taken out of attention; gated layers have nothing to look at."""
        seen = self.attention_mask * (self.input_ids != self.owner.image_token_id)
        return {"inputs_embeds": self.owner.embed(self.input_ids, self.features), "attention_mask": seen}

    def words(self, cleanup: ExitStack) -> Supported:
        """As the projector writes the picture.

        Raises:
            LucidaError: it does not write pictures in words.
        """
        found = ProjectorWords(self.owner, self.features)
        cleanup.callback(found.close)
        return found


@dataclass(frozen=True)
class HuggingFaceReading:
    """Of an image-text-to-text model of Hugging Face.

    Attributes:
        model: the model.
        inputs: as its processor makes them: ``input_ids`` and ``attention_mask`` (padding on the left),
            ``pixel_values`` and what else there is.
        seed: of the noise.
        layers: of the decoder, whose image tokens are read as words; the last unless given.
    """

    model: Any
    inputs: Mapping[str, Tensor]
    seed: int = 0
    layers: Sequence[int] | None = None

    def distorted(self, step: int) -> Mapping[str, Tensor]:
        """With noise over the pixels."""
        generator = torch.Generator().manual_seed(self.seed)
        return {**self.inputs, "pixel_values": noised(self.inputs["pixel_values"], step, generator)}

    def unseen(self) -> Mapping[str, Tensor]:
        """Without the picture and its tokens."""
        image = self._images()
        rows = [
            ids[~own & seen.bool()]
            for ids, own, seen in zip(self.inputs["input_ids"], image, self.inputs["attention_mask"], strict=True)
        ]
        longest = max(len(row) for row in rows)
        ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0)) for row in rows])
        mask = torch.stack([(torch.arange(longest) >= longest - len(row)).long() for row in rows])
        return {"input_ids": ids, "attention_mask": mask.to(ids.device)}

    def words(self, cleanup: ExitStack) -> Supported:
        """As the decoder ends up reading the picture's tokens."""
        found = ImageTokenWords(self.model, self._images(), self.layers)
        cleanup.callback(found.close)
        return found

    def _images(self) -> Tensor:
        token = getattr(self.model.config, "image_token_id", None)
        if token is None:
            raise LucidaError("this model has no token that stands for a picture", where=type(self.model).__name__)
        images: Tensor = self.inputs["input_ids"] == token
        return images
