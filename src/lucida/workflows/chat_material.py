"""Chats of a file, ready for a model: read, split, in tokens, their pictures seen once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.data.chat_files import read_chats
from lucida.data.chat_tokens import ChatTokens, EncodedChat
from lucida.data.chats import Chats
from lucida.data.collation import IGNORE_INDEX
from lucida.data.decoding import FileSource
from lucida.models.image_text_models import ImageTextModel, Seen
from lucida.models.seen_pictures import SeenPictures, see_pictures
from lucida.training.chats import ChatData


@dataclass(frozen=True, eq=False)
class ChatMaterial:
    """Chats to train on and chats to validate with, and all their pictures as a model sees them.

    Attributes:
        train, validation: the chats.
        train_data, validation_data: the same in tokens; validation is always on answers alone.
        tokens: how chats become tokens.
    """

    train: Chats
    validation: Chats
    train_data: ChatData
    validation_data: ChatData
    tokens: ChatTokens


def load_chats(path: Path, pictures: Path | None, tokens: ChatTokens) -> Chats:
    """The chats of a file that a processor can encode; the others are listed in ``skipped``.

    Raises:
        LucidaError: the file cannot be read, or no chat of it can be used.
    """
    chats = read_chats(path, pictures=pictures).sift(tokens.problem)
    if chats.skipped:
        first = chats.skipped[0]
        say(f"{len(chats.skipped):,} rows left out, listed in skipped.jsonl; the first: {first.where}: {first.reason}")
    return chats


def chat_material(
    model: ImageTextModel, tokens: ChatTokens, train: Chats, validation: Chats, *, what: Seen, everything: bool = False
) -> ChatMaterial:
    """Both parts in tokens, their pictures seen by the model as it is now.

    Args:
        model: whose tower stays as it is.
        tokens: of its processor.
        train, validation: chats.
        what: is kept of pictures; see :meth:`~lucida.models.image_text_models.ImageTextModel.see`.
        everything: train on all text, questions too; else on answers alone.

    Raises:
        LucidaError: a chat does not fit, or has another number of image tokens than its pictures have features.
    """
    encoded = [[tokens.encode(chat) for chat in part] for part in (train, validation)]
    paths = list(dict.fromkeys(path for part in encoded for chat in part for path in chat.pictures))
    numbers = {path: i for i, path in enumerate(paths)}
    seen = _seen(model, tokens, paths, what)
    if everything:
        encoded[0] = [_all_text(chat) for chat in encoded[0]]
    data = [
        ChatData(part, [[numbers[path] for path in chat.pictures] for chat in part], seen, what) for part in encoded
    ]
    left_out = sum(chat.left_out for chat in encoded[0])
    if left_out:
        say(f"{left_out:,} turns at the ends of long chats do not fit into {tokens.max_length} tokens: left out")
    return ChatMaterial(train, validation, data[0], data[1], tokens)


def _all_text(chat: EncodedChat) -> EncodedChat:
    """Every token supervised but those of pictures and the first, which nothing predicts."""
    labels = chat.input_ids.copy()
    for start, end in chat.spans:
        labels[start:end] = IGNORE_INDEX
    labels[0] = IGNORE_INDEX
    return replace(chat, labels=np.where(chat.labels != IGNORE_INDEX, chat.labels, labels))


def _seen(model: ImageTextModel, tokens: ChatTokens, paths: Sequence[Path], what: Seen) -> SeenPictures:
    sources = [FileSource(str(path)) for path in paths]

    def pixels(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        return tokens.pixels([sources[i].open() for i in numbers])

    key = content_hash(repr(tokens.processor.image_processor), [source.content_key() for source in sources])
    return see_pictures(model, pixels, [tokens.image_tokens(path) for path in paths], key=key, what=what)


def check_lengths(data: ChatData, longest: int | None) -> None:
    """Stop where a chat is longer than what the language model was made for.

    Raises:
        LucidaError: one is.
    """
    lengths = [len(chat.input_ids) for chat in data.chats]
    if longest is not None and max(lengths, default=0) > longest:
        row = int(np.argmax(lengths))
        raise LucidaError(
            f"a chat of {lengths[row]} tokens, the language model was made for {longest}",
            where=getattr(data.chats[row], "where", f"chat {row}"),
            remedy=f"use --max-length {longest}",
        )
