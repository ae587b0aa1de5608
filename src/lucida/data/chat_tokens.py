"""Chats as tokens of a Hugging Face processor, with labels on what the model must say and nowhere else.

Labels come from characters. The chat template writes a chat's beginning as it writes the whole, so the text up to the
generation prompt ends where an answer starts, and the text of the chat cut behind an answer ends where its turn ends.
These places are mapped to tokens by the tokenizer's offsets. No token is ever searched for: what a text is split into
depends on its surroundings, and a search that fails masks every label.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.chats import ASSISTANT, USER, Chat
from lucida.data.collation import IGNORE_INDEX
from lucida.data.decoding import PIXEL_LIMIT, FileSource
from lucida.data.pictures import BadPicture

_PROBE = "\ue000"  # a character that no template writes
_TEMPLATE = "give a chat template whose text for the first messages begins its text for all of them"


@dataclass(frozen=True, eq=False)
class EncodedChat:
    """A chat as tokens.

    Attributes:
        input_ids: ``int64 [L]``, as the processor gives them for the chat's text and pictures.
        labels: ``int64 [L]``, of each token itself; -100 but for answers and the token that ends each.
        spans: ``int64 [P, 2]``, where each picture's tokens start and end, with those that frame it.
        image_tokens: ``int64 [P]``, how many of them give way to a feature of the picture.
        pictures: the files of these pictures, in order.
        where: the file and row.
        left_out: how many turns (question and answer) at the end did not fit.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    spans: np.ndarray
    image_tokens: np.ndarray
    pictures: tuple[Path, ...]
    where: str
    left_out: int = 0


class _Turn(NamedTuple):
    """Places in a chat's text: where an answer starts and ends, and where its turn ends."""

    start: int
    stop: int
    end: int


@dataclass
class ChatTokens:
    """Turns chats into tokens and labels, and pictures into pixels, as a processor does.

    An answer is supervised from the end of the generation prompt to the special token that the template writes behind
    it. A template that writes none (LLaVA-1.5's) would leave a model that never stops: there the label of the token
    behind each answer is end-of-text, while the token itself stays, so that training reads what asking will read.

    A text with a special token in it (``<image>``, ``</s>``) is refused, see :meth:`problem`: the processor, and anyone
    who asks the model through it, would take it for the real one.

    Args:
        processor: with a fast tokenizer, an image processor and a chat template.
        max_length: longest chat in tokens; whole turns at the end are left out until it fits.
        chat_template: instead of the processor's own.

    Attributes:
        end_of_turn_id: what a model has to say behind an answer; generation stops there.

    Raises:
        LucidaError: the processor has no image token, its tokenizer no offsets or no end-of-text token that is needed;
            the chat template is missing, or the text of a chat's beginning is not the beginning of the chat's text.
    """

    processor: Any
    max_length: int | None = None
    chat_template: str | None = None
    end_of_turn_id: int = field(init=False)
    _suffix: str = field(init=False, repr=False)
    _closing: int | None = field(init=False, repr=False)
    _control: re.Pattern[str] = field(init=False, repr=False)
    _expansions: dict[tuple[int, int], np.ndarray] = field(init=False, default_factory=dict, repr=False)
    _sizes: dict[Path, tuple[int, int]] = field(init=False, default_factory=dict, repr=False)
    _compared: set[Any] = field(init=False, default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if not getattr(self.processor.tokenizer, "is_fast", False):
            raise LucidaError(
                "this tokenizer is a slow one and cannot say which characters a token stands for",
                where=type(self.processor.tokenizer).__name__,
                remedy="save the model's processor with its fast tokenizer (tokenizer.json)",
            )
        if getattr(self.processor, "image_token", None) is None:
            raise LucidaError("the processor has no image token", where=type(self.processor).__name__)
        self._suffix = self._behind_an_answer()
        control = self._control_tokens()
        self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")
        closing = self._control.search(self._suffix)
        self._closing = closing.end() if closing else None
        eos = self._tokenizer.eos_token_id
        if closing is None and eos is None:
            raise LucidaError(
                "neither the chat template nor the tokenizer has a token that ends an answer",
                remedy="set the tokenizer's eos_token",
            )
        self.end_of_turn_id = int(eos) if closing is None else control[closing.group()]

    @property
    def _tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def image_token_id(self) -> int:
        """The token that gives way to a picture's feature."""
        return int(self._tokenizer.convert_tokens_to_ids(self.processor.image_token))

    def problem(self, chat: Chat) -> str | None:
        """Why a chat cannot be encoded: for :meth:`lucida.data.chats.Chats.sift`; None if it can."""
        for number, message in enumerate(chat.messages, start=1):
            found = self._control.search(message.text)
            if found:
                return f"message {number} contains {found.group()!r}, which the model would read as a special token"
        for picture in chat.pictures:
            try:
                self._size(picture)
            except BadPicture as error:
                return f"the picture {picture} cannot be read: {error}"
        return None

    def encode(self, chat: Chat, images: Sequence[Image.Image] | None = None) -> EncodedChat:
        """The tokens and labels of a chat.

        Args:
            chat: its answers are what the model has to say.
            images: its pictures, upright, if they are at hand; else their sizes are read from the files.

        Raises:
            LucidaError: the chat has a :meth:`problem`; it does not fit into ``max_length`` with one answer; its text
                has not one place for each picture, or the processor makes other tokens of it.
        """
        reason = self.problem(chat)
        if reason:
            raise LucidaError(reason, where=chat.where or None, remedy="leave the chat out (Chats.sift)")
        sizes = [self._size(picture) for picture in chat.pictures] if images is None else [i.size for i in images]
        if len(sizes) != len(chat.pictures):
            raise LucidaError(f"{len(sizes)} images for {len(chat.pictures)} pictures", where=chat.where or None)
        whole, ends = self._encode(chat, sizes)
        if self.max_length is None or len(whole.input_ids) <= self.max_length:
            return whole
        for n in range(min(int((ends <= self.max_length).sum()), len(ends) - 1), 0, -1):
            shorter = chat.first_turns(n)
            encoded, _ = self._encode(shorter, sizes[: len(shorter.pictures)])
            if len(encoded.input_ids) <= self.max_length:  # cut text may be split into other tokens than whole text
                return replace(encoded, left_out=len(ends) - n)
        raise self._too_long(whole, int(ends[0]) if len(ends) else len(whole.input_ids))

    def image_tokens(self, picture: Path) -> int:
        """How many image tokens a picture has in any chat.

        Raises:
            LucidaError: the picture cannot be read.
        """
        try:
            return int((self._expansion(self._size(picture)) == self.image_token_id).sum())
        except BadPicture as error:
            raise LucidaError(f"the picture cannot be read: {error}", where=picture) from None

    def pixels(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """What the model's vision tower takes (``pixel_values``, perhaps masks or sizes), as of one chat's pictures."""
        return dict(self.processor.image_processor(list(images), return_tensors="pt"))

    def _size(self, picture: Path) -> tuple[int, int]:
        """Width and height as :meth:`~lucida.data.decoding.FileSource.open` gives them.

        Raises:
            BadPicture: it cannot be read.
        """
        if picture not in self._sizes:
            source = FileSource(str(picture))
            _, stored = source.open_reduced(1)
            large = stored[0] * stored[1] > PIXEL_LIMIT  # such a picture is opened smaller than it is stored
            self._sizes[picture] = source.open().size if large else stored
        return self._sizes[picture]

    def _encode(self, chat: Chat, sizes: Sequence[tuple[int, int]]) -> tuple[EncodedChat, np.ndarray]:
        """The whole chat, and after how many tokens each of its turns ends."""
        text, turns = self._written(chat)
        ids, offsets = self._tokenized(text)
        ids, labels = self._labelled(ids, offsets, turns, chat)
        places = np.flatnonzero(ids == self.image_token_id)
        if len(places) != len(sizes):
            raise LucidaError(
                f"the chat's text has {len(places)} places for {len(sizes)} pictures",
                where=chat.where or None,
                remedy=f"use a chat template that writes {self.processor.image_token} once for each picture",
            )
        expansions = [self._expansion(size) for size in sizes]
        repeats = np.ones(len(ids), np.int64)
        repeats[places] = [len(expansion) for expansion in expansions]
        last = np.cumsum(repeats)
        spans = np.stack([last[places] - repeats[places], last[places]], axis=1)
        ids, labels = np.repeat(ids, repeats), np.repeat(labels, repeats)
        for (start, end), expansion in zip(spans, expansions, strict=True):
            ids[start:end] = expansion
            labels[start + 1 : end] = IGNORE_INDEX
        self._compare(text, ids[: last[len(offsets) - 1]], sizes, chat)
        ends = [int(last[np.flatnonzero(offsets[:, 0] < turn.end)[-1]]) for turn in turns]
        counts = [int((expansion == self.image_token_id).sum()) for expansion in expansions]
        encoded = EncodedChat(ids, labels, spans, np.array(counts, np.int64), chat.pictures, chat.where)
        return encoded, np.array(ends, np.int64)

    def _labelled(
        self, ids: np.ndarray, offsets: np.ndarray, turns: Sequence[_Turn], chat: Chat
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of unexpanded text and their labels; end-of-text is appended if nothing stands behind the last answer."""
        labels = np.full(len(ids) + 1, IGNORE_INDEX)
        # Some tokenizers leave the space in front of a word out of its offsets: it belongs to the token all the same.
        starts = np.minimum(offsets[:, 0], np.r_[0, np.maximum.accumulate(offsets[:, 1])[:-1]])
        for turn in turns:
            inside = np.flatnonzero((offsets[:, 1] > turn.start) & (starts < turn.stop))
            if not len(inside):
                continue  # nothing is left of the answer; where that is so of all, the chat is refused
            first, behind = inside[0], inside[-1] + 1
            labels[first:behind] = ids[first:behind]
            if self._closing is None:
                labels[behind] = self.end_of_turn_id
            elif ids[behind - 1] != self.end_of_turn_id:
                raise LucidaError("an answer does not end with the end of its turn", where=chat.where or None)
        if labels[-1] == IGNORE_INDEX:
            return ids, labels[:-1]
        return np.append(ids, self.end_of_turn_id), labels

    def _tokenized(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``int64 [n]`` and the characters of each, ``int64 [n, 2]``, as the processor asks for them."""
        bos = self._tokenizer.bos_token
        found = self._tokenizer(
            text,
            return_offsets_mapping=True,
            add_special_tokens=not (bos and text.startswith(bos)),
            verbose=False,  # the tokenizer would warn of a length that max_length is there for
        )
        return np.array(found["input_ids"], np.int64), np.array(found["offset_mapping"], np.int64).reshape(-1, 2)
