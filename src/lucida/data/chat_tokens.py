"""Chats as tokens of a Hugging Face processor, with labels on what the model must say and nowhere else.

Labels come from characters: the chat template tells where answers stand in a chat's text
(:mod:`lucida.data.chat_templates`), the tokenizer's offsets tell which tokens these are. No token is ever searched for:
what a text is split into depends on its surroundings, and a search that fails masks every label.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.chat_templates import Answer, ChatTemplate
from lucida.data.chats import Chat
from lucida.data.collation import IGNORE_INDEX
from lucida.data.decoding import PIXEL_LIMIT, FileSource
from lucida.data.pictures import BadPicture

Size = tuple[int, int]
"""Width and height in pixels."""


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
        LucidaError: the tokenizer is a slow one, the processor has no image token, nothing can end an answer, or the
            chat template will not do, see :class:`~lucida.data.chat_templates.ChatTemplate`.
    """

    processor: Any
    max_length: int | None = None
    chat_template: str | None = None
    end_of_turn_id: int = field(init=False)
    _template: ChatTemplate = field(init=False, repr=False)
    # From an answer's text to behind the token that ends it, in characters; 0 if the template writes none.
    _closing: int = field(init=False, repr=False)
    _control: re.Pattern[str] = field(init=False, repr=False)
    _expansions: dict[Size, np.ndarray] = field(init=False, default_factory=dict, repr=False)
    _sizes: dict[Path, Size] = field(init=False, default_factory=dict, repr=False)
    _compared: set[Size | int] = field(init=False, default_factory=set, repr=False)

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise LucidaError(
                "a slow tokenizer cannot say which characters a token stands for",
                where=type(tokenizer).__name__,
                remedy="save the processor with its fast tokenizer (tokenizer.json)",
            )
        if getattr(self.processor, "image_token", None) is None:
            raise LucidaError("the processor has no image token", where=type(self.processor).__name__)
        self._template = ChatTemplate(self.processor, self.chat_template)
        control = self._control_tokens()
        self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))))
        closing = self._control.search(self._template.closing)
        if closing is None and tokenizer.eos_token_id is None:
            raise LucidaError(
                "neither the chat template nor the tokenizer has a token that ends an answer",
                remedy="set the tokenizer's eos_token",
            )
        self._closing = closing.end() if closing else 0
        self.end_of_turn_id = control[closing.group()] if closing else int(tokenizer.eos_token_id)

    @property
    def image_token_id(self) -> int:
        """The token that gives way to a picture's feature."""
        return int(self.processor.tokenizer.convert_tokens_to_ids(self.processor.image_token))

    def problem(self, chat: Chat) -> str | None:
        """Why a chat cannot be encoded: for :meth:`lucida.data.chats.Chats.sift`; None if it can."""
        return self._special_text(chat) or self._unreadable(chat)

    def encode(self, chat: Chat, images: Sequence[Image.Image] | None = None) -> EncodedChat:
        """The tokens and labels of a chat, up to its last answer.

        Args:
            chat: its answers are what the model has to say.
            images: its pictures, upright, if they are at hand; else their sizes are read from the files.

        Raises:
            LucidaError: the chat has a :meth:`problem` or no answer; not even one turn fits into ``max_length``; its
                text has not one place for each picture, or the processor makes other tokens of it.
        """
        where = chat.where or None
        reason = self._special_text(chat) or (self._unreadable(chat) if images is None else None)
        if reason:
            raise LucidaError(reason, where=where, remedy="leave the chat out, as Chats.sift does")
        sizes = [self._sizes[picture] for picture in chat.pictures] if images is None else [i.size for i in images]
        if len(sizes) != len(chat.pictures):
            raise LucidaError(f"{len(sizes)} images for {len(chat.pictures)} pictures", where=where)
        n = chat.n_answers
        if not n:
            raise LucidaError("there is no answer to learn from", where=where)
        encoded = {n: self._encode(chat.first_turns(n), sizes)}

        def too_long(turns: int) -> bool:
            if turns not in encoded:
                encoded[turns] = self._encode(chat.first_turns(turns), sizes)
            return self.max_length is not None and len(encoded[turns].input_ids) > self.max_length

        kept = n if not too_long(n) else bisect_left(range(1, n), True, key=too_long)
        if not kept:
            raise self._too_long(encoded[1])
        return replace(encoded[kept], left_out=n - kept)

    def image_tokens(self, picture: Path) -> int:
        """How many image tokens a picture has in any chat.

        Raises:
            LucidaError: the picture cannot be read.
        """
        try:
            size = self._size(picture)
        except BadPicture as error:
            raise LucidaError(f"the picture cannot be read: {error}", where=picture) from None
        return self._count(self._expansion(size))

    def note_size(self, picture: Path, size: Size) -> None:
        """Of a picture that is no file, under the name that chats have for it."""
        self._sizes[picture] = size

    def pixels(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """What the vision tower takes of pictures, each by itself (``pixel_values``, perhaps masks or sizes).

        A picture that the processor cuts into pieces stays one row: ``pixel_values`` are ``[P, 3, H, W]`` or
        ``[P, pieces, 3, H, W]``.
        """
        found = self.processor.image_processor([[image] for image in images], return_tensors="pt")
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def _special_text(self, chat: Chat) -> str | None:
        for number, message in enumerate(chat.messages, start=1):
            found = self._control.search(message.text)
            if found:
                return f"message {number} contains {found.group()!r}, which the model would read as a special token"
        return None

    def _unreadable(self, chat: Chat) -> str | None:
        for picture in chat.pictures:
            try:
                self._expansion(self._size(picture))
            except (BadPicture, LucidaError) as error:
                return f"the picture {picture} cannot be read: {error}"
        return None

    def _size(self, picture: Path) -> Size:
        """Width and height of what :meth:`~lucida.data.decoding.FileSource.open` gives.

        Raises:
            BadPicture: the picture cannot be read.
        """
        if picture not in self._sizes:
            source = FileSource(str(picture))
            _, stored = source.open_reduced(1)
            large = stored[0] * stored[1] > PIXEL_LIMIT  # such a picture is opened smaller than it is stored
            self._sizes[picture] = source.open().size if large else stored
        return self._sizes[picture]

    def _encode(self, chat: Chat, sizes: Sequence[Size]) -> EncodedChat:
        """The whole chat; ``sizes`` may be of more pictures than it has."""
        expansions = [self._expansion(size) for size in sizes[: len(chat.pictures)]]
        text, answers = self._written(chat)
        ids, offsets = self._tokenized(text)
        labels, behind = self._labels(ids, offsets, answers, chat)
        places = np.flatnonzero(ids == self.image_token_id)
        if len(places) != len(expansions):
            raise LucidaError(
                f"the chat's text has {len(places)} places for {len(expansions)} pictures",
                where=chat.where or None,
                remedy=f"use a chat template that writes {self.processor.image_token} once for each picture",
            )
        lengths = np.ones(len(ids), np.int64)
        lengths[places] = [len(expansion) for expansion in expansions]
        ends = np.cumsum(lengths)[places]
        spans = np.stack([ends - lengths[places], ends], axis=1)
        ids, labels = np.repeat(ids, lengths), np.repeat(labels, lengths)
        for (start, end), expansion in zip(spans, expansions, strict=True):
            ids[start:end] = expansion
            labels[start + 1 : end] = IGNORE_INDEX
        self._compare(text, ids, sizes[: len(chat.pictures)], chat)
        if behind:
            ids, labels = (np.append(tokens, self.end_of_turn_id) for tokens in (ids, labels))
        counts = np.array([self._count(expansion) for expansion in expansions], np.int64)
        return EncodedChat(ids, labels, spans, counts, chat.pictures, chat.where)

    def _labels(
        self, ids: np.ndarray, offsets: np.ndarray, answers: Sequence[Answer], chat: Chat
    ) -> tuple[np.ndarray, bool]:
        """Labels of text without pictures' tokens, and whether end-of-text must follow the last token."""
        labels = np.full(len(ids) + 1, IGNORE_INDEX)
        # Some tokenizers leave the space in front of a word out of its offsets: it belongs to the token all the same.
        starts = offsets[:, 0].copy()
        starts[1:] = np.minimum(starts[1:], np.maximum.accumulate(offsets[:, 1])[:-1])
        for answer in answers:
            inside = np.flatnonzero((offsets[:, 1] > answer.start) & (starts < answer.stop + self._closing))
            if not len(inside):
                continue  # the tokenizer drops all of its characters
            first, behind = inside[0], inside[-1] + 1
            labels[first:behind] = ids[first:behind]
            if not self._closing:
                labels[behind] = self.end_of_turn_id
            elif ids[behind - 1] != self.end_of_turn_id:
                raise LucidaError("an answer's last token is not the end of its turn", where=chat.where or None)
        return labels[:-1], bool(labels[-1] != IGNORE_INDEX)

    def _tokenized(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``int64 [n]`` and the characters of each, ``int64 [n, 2]``."""
        found = self.processor.tokenizer(
            text, return_offsets_mapping=True, add_special_tokens=self._adds_special_tokens(text), verbose=False
        )
        return np.array(found["input_ids"], np.int64), np.array(found["offset_mapping"], np.int64).reshape(-1, 2)

    def _adds_special_tokens(self, text: str) -> bool:
        """As ``processor.apply_chat_template``: not where the template has begun the text already."""
        bos = self.processor.tokenizer.bos_token
        return not (bos and text.startswith(bos))

    def _expansion(self, size: Size) -> np.ndarray:
        """The tokens that stand for a picture of this size."""
        if size not in self._expansions:
            blank = Image.new("RGB", size)
            self._expansions[size] = self._processed(self.processor.image_token, [blank], add_special_tokens=False)
        return self._expansions[size]

    def _count(self, expansion: np.ndarray) -> int:
        return int((expansion == self.image_token_id).sum())

    def _compare(self, text: str, ids: np.ndarray, sizes: Sequence[Size], chat: Chat) -> None:
        """Hold tokens put together against the processor's own, whenever a size or a number of pictures is new.

        Raises:
            LucidaError: they differ.
        """
        new: set[Size | int] = {*sizes, len(sizes)}
        new -= self._compared
        if not new:
            return
        blanks = [Image.new("RGB", size) for size in sizes]
        made = self._processed(text, blanks, add_special_tokens=self._adds_special_tokens(text))
        if not np.array_equal(made, ids):
            raise LucidaError(
                "the processor makes other tokens of this chat than of its text and its pictures apart",
                where=chat.where or type(self.processor).__name__,
                remedy="use a processor that writes a picture's tokens between special tokens",
            )
        self._compared |= new

    def _processed(self, text: str, images: list[Image.Image], *, add_special_tokens: bool) -> np.ndarray:
        try:
            found = self.processor(text=[text], images=images or None, add_special_tokens=add_special_tokens)
        except ValueError as error:
            reason = (str(error).strip().splitlines() or ["ValueError"])[0]
            raise LucidaError(f"the processor refuses it: {reason}", where=type(self.processor).__name__) from None
        return np.array(found["input_ids"][0], np.int64)

    def _too_long(self, encoded: EncodedChat) -> LucidaError:
        """Of a chat with one answer that does not fit."""
        limit, needed = self.max_length, len(encoded.input_ids)
        cut = [end for start, end in encoded.spans.tolist() if limit is not None and start < limit < end]
        what = f"max_length {limit} would cut " + (
            f"a picture, whose tokens end at {cut[0]}" if cut else f"the first answer, which ends at {needed}"
        )
        return LucidaError(
            what, where=encoded.where or None, remedy=f"raise max_length to {needed} or more, or use smaller pictures"
        )

    def _written(self, chat: Chat) -> tuple[str, list[Answer]]:
        """A chat's text and where its answers lie in it.

        Raises:
            LucidaError: the template cannot write it.
        """
        try:
            return self._template.answers(chat.as_hugging_face())
        except LucidaError as error:
            raise LucidaError(error.what, where=chat.where or error.where, remedy=error.remedy) from None

    def _control_tokens(self) -> dict[str, int]:
        """Special tokens, and added ones that the template writes, with their ids."""
        written = self._template.source
        added = self.processor.tokenizer.added_tokens_decoder
        found = {
            token.content: int(number)
            for number, token in added.items()
            if token.special or (token.content in written and not token.content.isspace())
        }
        return {**found, self.processor.image_token: self.image_token_id}


def check_encoded(encoded: EncodedChat, features_per_picture: Sequence[int]) -> None:
    """Stop before step 1 what would train on nothing, or on pictures in the wrong places.

    Args:
        encoded: the chat.
        features_per_picture: how many features the model has for each of its pictures.

    Raises:
        LucidaError: no token is supervised, or a picture has other image tokens than features.
    """
    if (encoded.labels == IGNORE_INDEX).all():
        raise LucidaError(
            "no supervised token: every label is ignored, the loss would be 0 and nothing be learned",
            where=encoded.where or None,
            remedy="leave the chat out",
        )
    if encoded.image_tokens.tolist() != list(features_per_picture):
        raise LucidaError(
            f"{_list(encoded.image_tokens)} image tokens for {_list(features_per_picture)} picture features",
            where=encoded.where or None,
            remedy="use the processor that belongs to the model",
        )


def _list(numbers: Sequence[int] | np.ndarray) -> str:
    return " + ".join(str(int(number)) for number in numbers) or "no"
