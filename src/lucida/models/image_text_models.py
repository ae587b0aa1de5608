"""Anyone's vision-language model (Hugging Face image-text-to-text), with its pictures' features apart from its text.

A picture is seen once and its features are kept (:mod:`lucida.models.seen_pictures`); a batch of conversations is one
row without padding (:mod:`lucida.models.packed_attention`), and the vocabulary is met by answer tokens alone
(:func:`~lucida.losses.language_modeling.language_modeling_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from lucida.core.errors import LucidaError
from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss, shift_labels
from lucida.models.checkpoint_folders import load_model, one_line, refuse_missing
from lucida.models.lean_decoder import is_lean, lean_states
from lucida.models.packed_attention import packed_states
from lucida.models.text_towers import quiet_loading
from lucida.models.vision_language_model import LanguageOutput

FAMILIES: Mapping[str, str] = {
    "llava": "multi_modal_projector",
    "idefics3": "connector",
    "smolvlm": "connector",
}
"""Model types of transformers, with the name of the part between tower and language model."""

Seen = Literal["tower", "projected"]
"""What is kept of a picture: what the tower says of it, or what the language model is given."""

_LOGIT_SETTINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


def load_image_text_model(source: str | Path) -> tuple[ImageTextModel, Any]:
    """A model and its processor, from a folder or the hub; no code of the checkpoint runs, no pickle is read.

    Raises:
        LucidaError: there is no such model, it is broken, of a family that is not in :data:`FAMILIES`, or has no
            processor.
    """
    model, missing = load_model(source, kind=AutoModelForImageTextToText)
    refuse_missing(missing, source)
    try:
        with quiet_loading():
            processor = AutoProcessor.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise LucidaError(f"no processor: {one_line(error)}", where=source) from None
    if processor.tokenizer.pad_token is None:  # what it is padded with is masked
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return ImageTextModel(model, where=source), processor


class ImageTextModel(nn.Module):
    """A vision-language model of transformers, whose parts are called one by one.

    Args:
        hugging_face: of a family in :data:`FAMILIES`; adapters may stand in it.
        where: it comes from, for errors.

    Raises:
        LucidaError: a family that is not known here, or logits that are more than a product with the vocabulary.
    """

    def __init__(self, hugging_face: Any, *, where: str | Path = "the model"):
        super().__init__()
        self.hugging_face = hugging_face
        self.family = str(hugging_face.config.model_type)
        if self.family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise LucidaError(
                f"a {self.family} model cannot be adapted here", where=where, remedy=f"use one of: {known}"
            )
        text = hugging_face.config.get_text_config()
        unlike = [name for name in _LOGIT_SETTINGS if getattr(text, name, None) not in (None, 1, 1.0)]
        if getattr(hugging_face.get_output_embeddings(), "bias", None) is not None:
            unlike.append("a bias of the output layer")
        if unlike:
            raise LucidaError(f"this model's logits need {unlike[0]}, which training here leaves out", where=where)

    @property
    def image_token_id(self) -> int:
        """The token whose embedding gives way to a picture's."""
        return int(self.hugging_face.config.image_token_id)

    @property
    def projector(self) -> nn.Module:
        """The part between tower and language model."""
        return self._part(FAMILIES[self.family])

    @property
    def decoder(self) -> Any:
        """The language model without its output layer."""
        return self.hugging_face.get_decoder()

    def _part(self, name: str) -> nn.Module:
        found = [module for path, module in self.hugging_face.named_modules() if path.rsplit(".", 1)[-1] == name]
        return found[0]

    def see(self, pixels: Mapping[str, Tensor], what: Seen = "projected") -> tuple[Tensor, list[int]]:
        """Features of pictures.

        Args:
            pixels: what the processor makes of one or more pictures (``pixel_values``, perhaps masks or sizes).
            what: ``"tower"`` for what :meth:`project` takes, ``"projected"`` for what it returns.

        Returns:
            ``[pieces, T, D]`` (a large picture may come in several pieces) or ``[tokens, H]``, and the image tokens of
            each picture.
        """
        given: list[Tensor] = []
        watching = self.projector.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            out = self.hugging_face.get_image_features(**pixels).pooler_output
        finally:
            watching.remove()
        counts = [len(tokens) for tokens in out]
        return (given[0] if what == "tower" else torch.cat(list(out))), counts

    def project(self, features: Tensor) -> Tensor:
        """What the tower says of pictures, ``[pieces, T, D]``, as image tokens, ``[tokens, H]``."""
        return self.projector(features).flatten(0, -2)

    def embed(self, input_ids: Tensor, image_tokens: Tensor) -> Tensor:
        """Embeddings of tokens, ``[…, H]``, with pictures written in.

        Raises:
            LucidaError: not as many image tokens as features.
        """
        embedded = self.hugging_face.get_input_embeddings()(input_ids)
        at = input_ids == self.image_token_id
        if int(at.sum()) != len(image_tokens):
            raise LucidaError(
                f"{int(at.sum())} image tokens for {len(image_tokens)} picture features", where="input_ids"
            )
        return embedded.masked_scatter(at[..., None], image_tokens.to(embedded.dtype))

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        lengths: Tensor,
        image_tokens: Tensor | None = None,
        tower_features: Tensor | None = None,
    ) -> LanguageOutput:
        """The loss of conversations in one row without padding.

        Args:
            input_ids: ``int64 [N]``, conversations one behind the other.
            labels: ``int64 [N]``, of each token itself; ``-100`` for what is not supervised.
            lengths: ``int64 [B]`` of the conversations.
            image_tokens: ``[tokens, H]`` of all pictures in their order, or
            tower_features: ``[pieces, T, D]``, to be projected here.
        """
        if image_tokens is None:
            if tower_features is None:
                image_tokens = self.hugging_face.get_input_embeddings().weight[:0]
            else:
                image_tokens = self.project(tower_features)
        embedded, targets = self.embed(input_ids, image_tokens), packed_labels(labels, lengths)
        supervised = (targets != IGNORE_INDEX).nonzero()[:, 0]
        if is_lean(self.decoder) and len(supervised):
            states = lean_states(self.decoder, embedded, lengths, supervised)
        else:
            states = packed_states(self.decoder, embedded[None], lengths)[0, supervised]
        vocabulary = self.hugging_face.get_output_embeddings().weight
        loss = language_modeling_loss(states, vocabulary, targets[supervised], reduction="sum")
        return LanguageOutput(loss, torch.tensor(len(supervised), device=labels.device))


def packed_labels(labels: Tensor, lengths: Tensor) -> Tensor:
    """Labels ``[N]`` at the states that predict them; the last token of a conversation predicts nothing.

    >>> packed_labels(torch.tensor([1, 2, 3, 4]), torch.tensor([3, 1])).tolist()
    [2, 3, -100, -100]
    """
    shifted = shift_labels(labels).clone()
    shifted[lengths.cumsum(0) - 1] = IGNORE_INDEX
    return shifted


def in_one_row(conversations: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Token ids and labels ``[n]`` of conversations as the row that :class:`ImageTextModel` takes."""
    ids, labels = zip(*conversations, strict=True)
    return {
        "input_ids": torch.cat(ids),
        "labels": torch.cat(labels),
        "lengths": torch.tensor([len(one) for one in ids]),
    }
