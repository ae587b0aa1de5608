"""Learned words in front of a class name, for the text side of a dual encoder (CoOp, Zhou et al. 2022, 2109.01134)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.models.dual_encoder import DualEncoder
from lucida.models.prototypes import prototype_logits
from lucida.models.soft_prompts import SoftPrompt
from lucida.models.text_towers import PretrainedText, SmallTextTransformer
from lucida.models.weights import broken_file

_TENSOR = "context"


class LearnedContext(nn.Module):
    """Class names behind learned word vectors, the same for all classes; the text tower is frozen.

    The vectors take the place of ordinary tokens behind the token that begins a text (if there is one), so that the
    tower's positions, its mask and its pooling are as for any text, and a context that starts from a text says at first
    exactly what that text says. Supported are towers that show their word embeddings: any Hugging Face text encoder
    (:class:`~lucida.models.text_towers.PretrainedText`, so MiniLM, CLIP, SigLIP) and
    :class:`~lucida.models.text_towers.SmallTextTransformer`. Features that are computed already
    (:class:`~lucida.models.text_features.TextFeatures`) cannot take a context.

    Args:
        tower: the text tower; it is frozen and stays in evaluation mode.
        n_tokens: how many vectors; as many as ``text`` has tokens unless given, CoOp's 16 without a text.
        text: where they start (``"a photo of a"``); words drawn from the vocabulary without it.
        seed: of that draw.

    Raises:
        LucidaError: a tower that does not show its word embeddings, or not one token.
    """

    def __init__(self, tower: Any, n_tokens: int | None = None, *, text: str = "", seed: int = 0):
        super().__init__()
        words = _word_embeddings(tower)
        tower.requires_grad_(False)
        self.tower = tower.eval()
        self.context = (
            SoftPrompt.from_text(words, tower.tokenizer, text, n_tokens)
            if text
            else SoftPrompt.from_vocabulary(words, tower.tokenizer, 16 if n_tokens is None else n_tokens, seed)
        )

    def train(self, mode: bool = True) -> LearnedContext:
        """The frozen tower has no dropout, whatever the mode."""
        super().train(mode)
        self.tower.eval()
        return self

    def forward(self, names: Sequence[str]) -> Tensor:
        """Features of the tower for each name behind the context, ``[C, hidden_size]``.

        Raises:
            LucidaError: context and name are longer than the tower reads.
        """
        batch, start = self._tokenize(names)
        with self._written_at(start):
            return self.tower(**batch)

    def _tokenize(self, names: Sequence[str]) -> tuple[dict[str, Tensor], int]:
        """Tokens of the names with places for the context, and where these start."""
        device, n, most = self.context.vectors.device, self.context.n_tokens, self.tower.max_tokens
        batch = {key: value.to(device) for key, value in self.tower.tokenize(names).items()}
        ids, mask = batch["input_ids"], batch["attention_mask"]
        special = torch.isin(ids, torch.tensor(self.tower.tokenizer.all_special_ids, device=device))
        if not len(names) or special.all():
            raise LucidaError("there is no class name to set a context in front of", where="names")
        for name, length in zip(names, self._lengths(names, mask), strict=True):
            if length + n > most:
                raise LucidaError(f"{n} + {length} tokens, the tower reads {most}", where=repr(name))
        start = int(special[:, 0].all())
        places = ids[~special][:1].expand(len(ids), n)  # any word: its embedding gives way
        ids = torch.cat([ids[:, :start], places, ids[:, start:]], dim=1)
        mask = torch.cat([mask[:, :start], torch.ones_like(places), mask[:, start:]], dim=1)
        return {"input_ids": ids[:, :most], "attention_mask": mask[:, :most]}, start  # nothing but padding is cut

    def _lengths(self, names: Sequence[str], mask: Tensor) -> list[int]:
        """The tokens of each name, special ones too."""
        if getattr(self.tower, "pad_to_max", False):
            return [len(ids) for ids in self.tower.tokenizer([*names], verbose=False)["input_ids"]]
        return mask.sum(dim=1).tolist()

    @contextmanager
    def _written_at(self, start: int) -> Iterator[None]:
        """While this lasts, the tower reads the context at these places of every text."""
        end = start + self.context.n_tokens

        def write(_: nn.Module, __: Any, embedded: Tensor) -> Tensor:
            vectors = self.context.vectors.to(embedded.dtype).expand(len(embedded), -1, -1)
            return torch.cat([embedded[:, :start], vectors, embedded[:, end:]], dim=1)

        hook = _word_embeddings(self.tower).register_forward_hook(write)
        try:
            yield
        finally:
            hook.remove()

    def save(self, path: Path) -> None:
        """Write the vectors as safetensors with the tower's name; there is no format of others for them.

        Raises:
            NonFiniteError: a vector is not finite; nothing is written.
        """
        vectors = self.context.vectors.detach().cpu().contiguous()
        if not torch.isfinite(vectors).all():
            raise NonFiniteError("a learned context is not finite: not saved", where=_TENSOR)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({_TENSOR: vectors}, path, metadata={"format": "pt", "tower": str(self.tower.name)})

    def load(self, path: Path) -> LearnedContext:
        """Take the vectors of a file, as many as there are in it.

        Raises:
            LucidaError: the file is missing or broken, or was learned for another tower.
        """
        try:
            with safe_open(path, framework="pt") as file:
                vectors, name = file.get_tensor(_TENSOR), (file.metadata() or {}).get("tower", "")
        except FileNotFoundError:
            raise LucidaError("no such learned context", where=path) from None
        except (SafetensorError, OSError) as error:
            raise broken_file(path, error) from None
        width = self.context.vectors.shape[1]
        if name != self.tower.name or vectors.ndim != 2 or vectors.shape[1] != width:
            what = f"a context {list(vectors.shape)} of the tower {name!r}"
            raise LucidaError(f"{what}, this is {self.tower.name!r} with words of {width}", where=path)
        self.context = SoftPrompt(vectors).to(self.context.vectors.device)
        return self


def _word_embeddings(tower: Any) -> nn.Embedding:
    """Where a tower looks up its words."""
    if isinstance(tower, SmallTextTransformer):
        return tower.embedding
    if isinstance(tower, PretrainedText):
        words = tower.model.get_input_embeddings()
        if isinstance(words, nn.Embedding):
            return words
    raise LucidaError(
        f"{type(tower).__name__} does not show its word embeddings, so there is no place for a learned context",
        remedy="use the text tower itself (PretrainedText, SmallTextTransformer), not features computed before",
    )


def context_logits(
    encoder: DualEncoder, context: LearnedContext, names: Sequence[str], image_features: Tensor
) -> Tensor:
    """Logits of pictures and classes named behind a learned context, ``[N, C]``, as of any classifier.

    Args:
        encoder: whose text head reads the tower of ``context``; freeze it (``requires_grad_(False)``).
        context: the learned words.
        names: of the C classes.
        image_features: in the common space, ``[N, d]``.
    """
    return prototype_logits(image_features, encoder.encode_text(features=context(names)), encoder.logit_scale)
