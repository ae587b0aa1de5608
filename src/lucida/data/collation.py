"""Batches for a multimodal language model: one picture, many questions, the picture encoded and stored once.

An example is a picture and several turns. Its row is a shared prefix followed by the turns::

    [BOS] <image> × T | question 1, answer 1, EOS | question 2, answer 2, EOS | ...

A token attends to earlier tokens of the prefix and of its own turn, and positions restart at the prefix' end with
every turn: each turn sees exactly what it would see alone, as at test time. :func:`separate` makes the plain rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.conversations import Turn
from lucida.data.tokenization import add_image_token

IGNORE_INDEX = -100
"""The label of a token that is not supervised."""

Batch = dict[str, Tensor]
"""``input_ids``, ``labels``, ``segment_ids``, ``position_ids``: ``int64 [B, L]``."""

_CACHED_TEXTS = 200_000


@dataclass
class ChatFormat:
    """How a conversation becomes tokens: the only place that knows, for training and for answering.

    A turn reads ``question + "\\n"``, then ``answer``, then EOS; both parts are tokenised on their own, so that a
    question has the same tokens with and without an answer after it.

    Args:
        tokenizer: a Hugging Face tokenizer; ``<image>`` is added if it has none.
        image_tokens: how many features a picture has.

    Raises:
        LucidaError: the tokenizer has no end-of-text token.
    """

    tokenizer: Any
    image_tokens: int
    image_token_id: int = field(init=False)
    eos_token_id: int = field(init=False)
    pad_token_id: int = field(init=False)
    _ids: dict[str, np.ndarray] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise LucidaError("the tokenizer has no end-of-text token", remedy="set its eos_token")
        self.image_token_id = add_image_token(self.tokenizer)
        self.eos_token_id = int(self.tokenizer.eos_token_id)
        pad = self.tokenizer.pad_token_id
        self.pad_token_id = self.eos_token_id if pad is None else int(pad)

    @property
    def prefix_ids(self) -> np.ndarray:
        """BOS (if the tokenizer has one) and the image tokens, ``int64 [P]``."""
        bos = self.tokenizer.bos_token_id
        start = [] if bos is None else [int(bos)]
        return np.array(start + [self.image_token_id] * self.image_tokens, np.int64)

    def prompt_ids(self, question: str) -> np.ndarray:
        """The tokens of a question, up to where its answer starts, ``int64 [n]``."""
        return self.encode([question + "\n"])[0].copy()

    def answer_ids(self, answer: str) -> np.ndarray:
        """The tokens of an answer and EOS, ``int64 [n]``."""
        return np.append(self.encode([answer])[0], self.eos_token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of an answer, up to its EOS, without special tokens."""
        kept: list[int] = []
        for token in ids:
            if int(token) == self.eos_token_id:
                break
            kept.append(int(token))
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of texts; each distinct text is tokenised once.

        A special token that someone wrote into a text (``<image>``, ``</s>``) is text like any other.
        """
        new = list(dict.fromkeys(text for text in texts if text not in self._ids))
        if new:
            if len(self._ids) + len(new) > _CACHED_TEXTS:
                self._ids.clear()
                new = list(dict.fromkeys(texts))
            found = self.tokenizer(new, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            self._ids.update(zip(new, (np.array(ids, np.int64) for ids in found), strict=True))
        return [self._ids[text] for text in texts]


def collate(conversations: Sequence[Sequence[Turn]], chat: ChatFormat, *, max_length: int | None = None) -> Batch:
    """Pack the turns of each picture into one row.

    Args:
        conversations: the turns of each picture; at least one picture.
        chat: the format.
        max_length: longest row; turns that do not fit are left out (a picture is never cut), the first always stays.

    Raises:
        LucidaError: a picture has no turn, or its first turn does not fit.
    """
    if not conversations or not all(conversations):
        raise LucidaError("a picture without any turn cannot be trained on", remedy="leave it out of the batch")
    turns = [turn for conversation in conversations for turn in conversation]
    prompts = chat.encode([turn.question + "\n" for turn in turns])
    answers = chat.encode([turn.answer for turn in turns])
    prefix = chat.prefix_ids
    n_prompt = np.array([len(ids) for ids in prompts])
    n_answer = np.array([len(ids) for ids in answers]) + 1
    row = np.repeat(np.arange(len(conversations)), [len(conversation) for conversation in conversations])
    kept = _fitting(row, n_prompt + n_answer, len(prefix), max_length)
    return _pack(
        [prompts[i] for i in kept], [answers[i] for i in kept], row[kept], n_prompt[kept], n_answer[kept], prefix, chat
    )


def _fitting(row: np.ndarray, lengths: np.ndarray, prefix: int, max_length: int | None) -> np.ndarray:
    """Indices of the turns that stay."""
    if max_length is None:
        return np.arange(len(row))
    end = prefix + _within(row, np.cumsum(lengths), lengths)
    first = np.r_[True, row[1:] != row[:-1]]
    if (end[first] > max_length).any():
        need = int(end[first].max())
        raise LucidaError(
            f"a picture and one turn need {need} tokens, max_length is {max_length}",
            remedy="raise max_length or use fewer image tokens",
        )
    return np.nonzero(end <= max_length)[0]


def _within(group: np.ndarray, running: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The running sums counted anew in each group of equal neighbours."""
    first = np.r_[True, group[1:] != group[:-1]]
    before = (running - lengths)[first]
    return running - before[np.cumsum(first) - 1]


def _pack(
    prompts: list[np.ndarray],
    answers: list[np.ndarray],
    row: np.ndarray,
    n_prompt: np.ndarray,
    n_answer: np.ndarray,
    prefix: np.ndarray,
    chat: ChatFormat,
) -> Batch:
    """All tokens of the batch in one flat array, then spread over the rows."""
    n = n_prompt + n_answer
    eos = np.array([chat.eos_token_id])
    flat = np.concatenate([part for pair in zip(prompts, answers, strict=True) for part in (*pair, eos)])
    turn_of = np.repeat(np.arange(len(n)), n)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(n) - n, n)  # within the turn
    ends = _within(row, np.cumsum(n), n)
    column = len(prefix) + np.repeat(ends - n, n) + place
    at = (row[turn_of], column)
    shape = (int(row[-1]) + 1, int(column.max()) + 1)
    number = _within(row, np.arange(1, len(n) + 1), np.ones(len(n), np.int64))

    tokens = np.full(shape, chat.pad_token_id)
    labels = np.full(shape, IGNORE_INDEX)
    segments = np.full(shape, -1)
    positions = np.zeros(shape, np.int64)
    tokens[:, : len(prefix)], segments[:, : len(prefix)] = prefix, 0
    positions[:, : len(prefix)] = np.arange(len(prefix))
    tokens[at], segments[at], positions[at] = flat, number[turn_of], len(prefix) + place
    labels[at] = np.where(place >= n_prompt[turn_of], flat, IGNORE_INDEX)
    return {
        "input_ids": torch.from_numpy(tokens),
        "labels": torch.from_numpy(labels),
        "segment_ids": torch.from_numpy(segments),
        "position_ids": torch.from_numpy(positions),
    }


def separate(batch: Batch, *, pad_token_id: int = 0) -> Batch:
    """The plain twin of a packed batch: every turn in a row of its own behind a copy of its picture's prefix.

    Returns:
        The same keys, ``int64 [turns, L']``, and ``attention_mask`` ``[turns, L']`` and ``picture_index`` ``[turns]``:
        which row of ``batch`` (and of its vision features) each turn belongs to.
    """
    rows, pictures = [], []
    for picture, segments in enumerate(batch["segment_ids"]):
        for turn in range(1, int(segments.max()) + 1):
            rows.append({key: batch[key][picture][(segments == 0) | (segments == turn)] for key in batch})
            pictures.append(picture)
    length = max(len(row["input_ids"]) for row in rows)
    padding = {"input_ids": pad_token_id, "labels": IGNORE_INDEX, "segment_ids": -1, "position_ids": 0}
    plain = {key: torch.full((len(rows), length), value) for key, value in padding.items()}
    for i, row in enumerate(rows):
        for key in plain:
            plain[key][i, : len(row[key])] = row[key]
    plain["segment_ids"].clamp_(max=1)
    return {
        **plain,
        "attention_mask": (plain["segment_ids"] >= 0).long(),
        "picture_index": torch.tensor(pictures),
    }


def check_batch(batch: Batch, image_token_id: int, image_tokens: int) -> None:
    """Stop before step 1 what would train on nothing, or on pictures in the wrong places.

    Raises:
        LucidaError: a row without supervised token, or whose image tokens are not as many as its features.
    """
    missing = [key for key in ("input_ids", "labels", "segment_ids", "position_ids") if key not in batch]
    if missing:
        raise LucidaError(f"the batch lacks {', '.join(missing)}", where="batch")
    silent = (batch["labels"] != IGNORE_INDEX).sum(dim=1) == 0
    if silent.any():
        raise LucidaError(
            "no supervised token: every label is ignored, the loss would be 0 and nothing be learned",
            where=f"row {int(silent.nonzero()[0])} of the batch",
            remedy="check that the answers are not empty and not cut off",
        )
    counts = (batch["input_ids"] == image_token_id).sum(dim=1)
    wrong = counts != image_tokens
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise LucidaError(
            f"{int(counts[at])} image tokens for {image_tokens} picture features",
            where=f"row {at} of the batch",
            remedy="use the same image_tokens in ChatFormat and in the model",
        )
