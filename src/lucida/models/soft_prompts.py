"""Learned vectors in front of the words of a frozen model: prompt tuning (Lester et al. 2021, arXiv:2104.08691).

PEFT's own wrapper adds them in its dense forward pass alone. Packed rows (a mask of four dimensions) and generation
from embeddings it refuses, and whoever asks it for the decoder gets the states of a model without them, unsaid: that is
how pictures and cached features come in here. So the vectors are written where the pictures are, in ``embed``: places
for them stand first in a conversation (:class:`SoftChatFormat`), and all that is built on ``embed`` (training,
generation, scores of answers) goes on as it was. The files are PEFT's, and its logits the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.core.results import read_json, write_json
from lucida.core.seeds import derive_seed
from lucida.data.chat_tokens import EncodedChat
from lucida.data.collation import IGNORE_INDEX, ChatFormat
from lucida.models.image_text_models import ImageTextModel
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.models.weights import broken_file

SOFT_TOKEN_ID = -1
"""Holds the place of a learned vector among token ids; no token has this id."""

CONFIG, WEIGHTS, _TENSOR = "adapter_config.json", "adapter_model.safetensors", "prompt_embeddings"
_BASE, _SAMPLE = "base", 4  # values of each weight of the base that a file keeps


class SoftPrompt(nn.Module):
    """Learned vectors.

    Args:
        vectors: where they start, ``[n, H]``; at least one.
    """

    def __init__(self, vectors: Tensor):
        super().__init__()
        if vectors.ndim != 2 or not len(vectors):
            raise LucidaError(f"a soft prompt of shape {list(vectors.shape)}", remedy="use at least one token")
        self.vectors = nn.Parameter(vectors.detach().float().clone())

    @property
    def n_tokens(self) -> int:
        """How many there are."""
        return len(self.vectors)

    @classmethod
    def from_text(cls, words: nn.Module, tokenizer: Any, text: str, n_tokens: int | None = None) -> SoftPrompt:
        """Starts as the word embeddings of a text, repeated or cut to ``n_tokens`` (as PEFT does).

        Args:
            words: the frozen model's word embeddings.
            tokenizer: of that model; special tokens are left out.
            text: an instruction, for example.
            n_tokens: as many as the text has unless given.

        Raises:
            LucidaError: the text has no token, or ``n_tokens`` is below one.
        """
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not len(ids):
            raise LucidaError("the text has no token to start a soft prompt from", where=repr(text))
        n = len(ids) if n_tokens is None else n_tokens
        return cls(_embedded(words, np.resize(np.array(ids, np.int64), max(n, 0))))

    @classmethod
    def from_vocabulary(cls, words: nn.Module, tokenizer: Any, n_tokens: int, seed: int = 0) -> SoftPrompt:
        """Starts as words drawn from the vocabulary, special tokens left out, each at most once where there are enough.

        Raises:
            LucidaError: ``n_tokens`` is below one.
        """
        rows = next(words.parameters()).shape[0]
        kept = np.setdiff1d(np.arange(min(len(tokenizer), rows)), tokenizer.all_special_ids)
        generator = np.random.default_rng(derive_seed(seed, "soft prompt"))
        return cls(_embedded(words, generator.choice(kept, max(n_tokens, 0), replace=n_tokens > len(kept))))


def _embedded(words: nn.Module, ids: np.ndarray) -> Tensor:
    with torch.no_grad():
        return words(torch.from_numpy(ids).to(next(words.parameters()).device))


@dataclass
class SoftChatFormat(ChatFormat):
    """A chat format whose conversations begin with places for a soft prompt; see :func:`soft_chat`.

    Args:
        soft_tokens: how many.
    """

    soft_tokens: int = 0

    @property
    def prefix_ids(self) -> np.ndarray:
        """Places of the soft prompt, BOS and the image tokens, ``int64 [n + P]``."""
        return np.concatenate([np.full(self.soft_tokens, SOFT_TOKEN_ID), super().prefix_ids])


def soft_chat(chat: ChatFormat, prompt: SoftPrompt) -> SoftChatFormat:
    """The same format with places for a soft prompt: for training on and asking a model that has it."""
    return SoftChatFormat(chat.tokenizer, chat.image_tokens, soft_tokens=prompt.n_tokens)


def with_places(chat: EncodedChat, prompt: SoftPrompt) -> EncodedChat:
    """A chat for anyone's model with places for a soft prompt in front, none of them supervised."""
    n = prompt.n_tokens
    return replace(
        chat,
        input_ids=np.concatenate([np.full(n, SOFT_TOKEN_ID), chat.input_ids]),
        labels=np.concatenate([np.full(n, IGNORE_INDEX), chat.labels]),
        spans=chat.spans + n,
    )


class SoftPromptedModel(VisionLanguageModel):
    """A vision-language model that reads a soft prompt in front of each conversation; use :func:`with_soft_prompt`."""

    def __init__(self, model: VisionLanguageModel, prompt: SoftPrompt):
        super().__init__(
            model.multi_modal_projector, model.language_model, model.image_token_id, vision_tower=model.vision_tower
        )
        self.soft_prompt = prompt

    def embed(
        self, input_ids: Tensor, vision_features: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> Tensor:
        """As :meth:`~lucida.models.vision_language_model.VisionLanguageModel.embed`, with the soft prompt written in.

        Raises:
            LucidaError: there are no places for it, too.
        """
        at, ids = _places(input_ids, self.soft_prompt, self.image_token_id)
        return _written(super().embed(ids, vision_features, pixel_values), at, self.soft_prompt)

    def embed_rest(self, input_ids: Tensor, vision_features: Tensor | None = None) -> Tensor:
        """Embeddings of what follows a conversation's beginning, ``[B, L, H]``: nothing of the soft prompt."""
        return super().embed(input_ids, vision_features)


class SoftPromptedImageTextModel(ImageTextModel):
    """The same for :class:`~lucida.models.image_text_models.ImageTextModel`; use :func:`with_soft_prompt`."""

    def __init__(self, model: ImageTextModel, prompt: SoftPrompt):
        super().__init__(model.hugging_face)
        self.soft_prompt = prompt

    def embed(self, input_ids: Tensor, image_tokens: Tensor) -> Tensor:
        """As :meth:`~lucida.models.image_text_models.ImageTextModel.embed`, with the soft prompt written in.

        Raises:
            LucidaError: there are no places for it, too.
        """
        at, ids = _places(input_ids, self.soft_prompt, self.image_token_id)
        return _written(super().embed(ids, image_tokens), at, self.soft_prompt)

    def embed_rest(self, input_ids: Tensor, image_tokens: Tensor) -> Tensor:
        """Embeddings of what follows a conversation's beginning, ``[…, H]``: nothing of the soft prompt."""
        return super().embed(input_ids, image_tokens)


SoftPrompted = SoftPromptedModel | SoftPromptedImageTextModel


def with_soft_prompt(model: VisionLanguageModel | ImageTextModel, prompt: SoftPrompt) -> SoftPrompted:
    """The model with a soft prompt, everything else frozen; its parts are shared with ``model``.

    Raises:
        LucidaError: the vectors are of another size than the model's words.
    """
    words = _base(model).get_input_embeddings().weight
    if prompt.vectors.shape[1] != words.shape[1]:
        raise LucidaError(f"a soft prompt of size {prompt.vectors.shape[1]} for words of size {words.shape[1]}")
    model.requires_grad_(False)
    prompt.to(words.device).requires_grad_(True)
    if isinstance(model, ImageTextModel):
        return SoftPromptedImageTextModel(model, prompt)
    return SoftPromptedModel(model, prompt)


def _base(model: VisionLanguageModel | ImageTextModel) -> Any:
    return model.hugging_face if isinstance(model, ImageTextModel) else model.language_model


def _places(input_ids: Tensor, prompt: SoftPrompt, image_token_id: int) -> tuple[Tensor, Tensor]:
    """Where vectors go, and ids that can be looked up, with no image token among those of the places.

    Raises:
        LucidaError: there is no place, or not one for every vector.
    """
    at = input_ids == SOFT_TOKEN_ID
    found = int(at.sum())
    if not found or found % prompt.n_tokens:
        raise LucidaError(
            f"{found} places for a soft prompt of {prompt.n_tokens} tokens",
            where="input_ids",
            remedy="let every conversation begin with its places: soft_chat or with_places",
        )
    return at, input_ids.masked_fill(at, 0 if image_token_id else 1)


def _written(embedded: Tensor, at: Tensor, prompt: SoftPrompt) -> Tensor:
    vectors = prompt.vectors.to(embedded.dtype)
    return embedded.masked_scatter(at[..., None], vectors.repeat(int(at.sum()) // prompt.n_tokens, 1))


def save_soft_prompt(folder: Path, prompt: SoftPrompt, model: VisionLanguageModel | ImageTextModel, base: str) -> None:
    """Write a soft prompt as PEFT writes prompt tuning, with a few values of the model that it was learned for.

    Args:
        folder: gets ``adapter_config.json`` and ``adapter_model.safetensors``.
        prompt: the vectors.
        model: with or without the prompt.
        base: name or folder of the language model (of the whole model, for one of Hugging Face).

    Raises:
        NonFiniteError: a vector is not finite; nothing is written.
    """
    from peft import PromptTuningConfig

    vectors = prompt.vectors.detach().cpu().contiguous()
    if not torch.isfinite(vectors).all():
        raise NonFiniteError("a soft prompt is not finite: not saved", where=_TENSOR)
    text = _base(model).config.get_text_config()
    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
        num_virtual_tokens=len(vectors),
        token_dim=vectors.shape[1],
        num_transformer_submodules=1,
        num_attention_heads=text.num_attention_heads,
        num_layers=text.num_hidden_layers,
    )
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", _BASE: json.dumps(_sampled(_base(model)))}
    save_file({_TENSOR: vectors}, folder / WEIGHTS, metadata=metadata)
    write_json(folder / CONFIG, config.to_dict())


def load_soft_prompt(folder: Path, model: VisionLanguageModel | ImageTextModel) -> SoftPrompted:
    """The model with a soft prompt that lucida or PEFT has written, everything else frozen.

    Args:
        folder: with PEFT's two files.
        model: the one it was learned for; of PEFT's own files only the size can be checked.

    Raises:
        LucidaError: there is no prompt tuning in the folder, it is broken, or it was learned for another model.
    """
    settings = read_json(folder / CONFIG)
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind != "PROMPT_TUNING":
        raise LucidaError(f"no prompt tuning, but {kind!r}", where=folder / CONFIG)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            vectors, learned_for = file.get_tensor(_TENSOR), json.loads((file.metadata() or {}).get(_BASE, "null"))
    except FileNotFoundError:
        raise LucidaError("no such weights", where=folder / WEIGHTS) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise broken_file(folder / WEIGHTS, error) from None
    if learned_for is not None and not _alike(learned_for, _sampled(_base(model))):
        raise LucidaError(
            "the soft prompt was learned for another model", where=folder, remedy="load the model it was learned for"
        )
    return with_soft_prompt(model, SoftPrompt(vectors))


def _sampled(base: nn.Module) -> dict[str, list[float]]:
    """A few values of each weight, spread over it."""
    found = {}
    for name, weight in base.named_parameters():
        flat = weight.detach().flatten()
        places = torch.linspace(0, max(0, len(flat) - 1), min(_SAMPLE, len(flat)), dtype=torch.float64).long()
        found[name] = flat[places.to(flat.device)].float().tolist()
    return found


def _alike(one: dict[str, list[float]], other: dict[str, list[float]]) -> bool:
    """The same weights, perhaps in another precision."""
    return one.keys() == other.keys() and all(
        len(values) == len(other[name]) and np.allclose(values, other[name], rtol=0.02, atol=1e-6)
        for name, values in one.items()
    )
