"""Chats with what a model answered, as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lucida.core.run_folder import RunFolder
from lucida.data.chats import Chat
from lucida.data.decoding import FileSource
from lucida.data.pixels import as_square
from lucida.report.material import Example, save_thumbnail
from lucida.workflows.chat_measures import Replies

_SHOWN = 12  # chats


def chat_examples(folder: RunFolder, chats: Sequence[Chat], replies: Mapping[str, Replies]) -> tuple[Example, ...]:
    """The first chats with their last question and its answers, one group of examples after the other.

    Args:
        folder: gets a thumbnail of each.
        chats: that were asked.
        replies: to all of them, by the title of a group.
    """
    shown = [(chat, _question(chat), _thumbnail(folder, chat, i)) for i, chat in enumerate(chats[:_SHOWN])]
    return tuple(
        Example(
            thumbnail, said.said[i] or "(nothing)", said.true[i], said.right[i], question, group=group, id=chat.id
        )
        for group, said in replies.items()
        for i, (chat, question, thumbnail) in enumerate(shown)
    )  # fmt: skip


def _question(chat: Chat) -> str:
    return next(message.text for message in reversed(chat.messages) if message.role == "user").strip()


def _thumbnail(folder: RunFolder, chat: Chat, number: int) -> str:
    if not chat.pictures:
        return ""
    pixels = as_square(FileSource(str(chat.pictures[-1])).open(), 160)
    return save_thumbnail(folder, f"chat-{number}", np.asarray(pixels))
