"""Captions as tokens, for a decoder that learns to say them: each token's label is the one after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.collation import IGNORE_INDEX
from lucida.data.tokenization import train_tokenizer


class CaptionTokens(NamedTuple):
    """Texts as tokens.

    Attributes:
        input_ids: ``int64 [T, L]``: the start, then the words.
        labels: ``int64 [T, L]``: the words, then the end; ``IGNORE_INDEX`` behind it.
        vocabulary: number of different tokens.
    """

    input_ids: Tensor
    labels: Tensor
    vocabulary: int

    def rows(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``labels`` of some texts, as long as the longest of them."""
        labels = self.labels[chosen]
        longest = max(1, int((labels != IGNORE_INDEX).sum(dim=1).max()))
        return self.input_ids[chosen, :longest], labels[:, :longest]


def caption_tokens(texts: Sequence[str], *, vocab_size: int = 2048, most: int = 32) -> CaptionTokens:
    """Tokens of texts, by a vocabulary of their own.

    Args:
        texts: of training; what is not trained on must not be among them.
        vocab_size: of the tokenizer, at most.
        most: longer texts are cut; a text that was cut has no end.

    Raises:
        LucidaError: there is no text, or the vocabulary is too small.

    >>> tokens = caption_tokens(["a red cat", "a cat"])
    >>> tokens.input_ids.shape == tokens.labels.shape
    True
    >>> bool((tokens.input_ids[:, 1:] == tokens.labels[:, :-1])[tokens.labels[:, 1:] != IGNORE_INDEX].all())
    True
    """
    if most < 1:
        raise LucidaError(f"captions cannot be cut to {most} tokens", remedy="use at least 1")
    tokenizer = train_tokenizer(texts, vocab_size=vocab_size)
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = [[start, *tokenizer(text)["input_ids"], end][: most + 1] for text in texts]
    longest = max(len(row) for row in rows) - 1
    ids = torch.full((len(rows), longest), pad, dtype=torch.int64)
    labels = torch.full((len(rows), longest), IGNORE_INDEX, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row) - 1] = torch.tensor(row[:-1])
        labels[i, : len(row) - 1] = torch.tensor(row[1:])
    return CaptionTokens(ids, labels, len(tokenizer))
