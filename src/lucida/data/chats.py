"""Chats about pictures: what was said in turn, where the pictures stand in it, and which chats are held out."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed
from lucida.data.pictures import Skipped

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
"""The roles; an answer is a message of the assistant."""


@dataclass(frozen=True)
class Message:
    """What one side says.

    Attributes:
        role: "system", "user" or "assistant".
        parts: in the author's order; a text, or the number of a picture in the chat's ``pictures``.
    """

    role: str
    parts: tuple[str | int, ...]

    @property
    def text(self) -> str:
        """All of its texts, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Chat:
    """Questions and answers about pictures, or about none.

    Attributes:
        messages: perhaps one of the system, then user and assistant in turn.
        pictures: files, in the order in which the messages show them.
        where: the file and the row within it, for a person to find.
        id: short, for the list of what was left out.

    Raises:
        LucidaError: the roles do not alternate, a message or an answer is empty, an answer shows a picture, or not
            every picture has its place.

    >>> question = Message("user", (0, "What is it?"))
    >>> Chat((question, Message("assistant", ("A cat.",))), (Path("cat.png"),)).as_hugging_face()[0]
    {'role': 'user', 'content': [{'type': 'image'}, {'type': 'text', 'text': 'What is it?'}]}
    """

    messages: tuple[Message, ...]
    pictures: tuple[Path, ...] = ()
    where: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        reason = _fault(self.messages, len(self.pictures))
        if reason:
            raise LucidaError(reason, where=self.where or None)

    @property
    def n_answers(self) -> int:
        """How many messages are the assistant's."""
        return sum(message.role == ASSISTANT for message in self.messages)

    def first_turns(self, n: int) -> Chat:
        """The chat up to its ``n``-th answer, with the pictures that it shows until there."""
        answers = [i for i, message in enumerate(self.messages) if message.role == ASSISTANT]
        kept = self.messages[: answers[n - 1] + 1] if n else ()
        return dataclasses.replace(self, messages=kept, pictures=self.pictures[: len(_numbers(kept))])

    def as_hugging_face(self) -> list[dict[str, Any]]:
        """The messages for a processor's ``apply_chat_template``; the pictures themselves are not among them."""
        return [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in message.parts
                ],
            }
            for message in self.messages
        ]


def _numbers(messages: Sequence[Message]) -> list[int]:
    """The numbers of the pictures that messages show, in order."""
    return [part for message in messages for part in message.parts if isinstance(part, int)]


def _fault(messages: Sequence[Message], n_pictures: int) -> str | None:
    """Why these messages are no chat."""
    if not messages:
        return "there is no message"
    turns = messages[1:] if messages[0].role == SYSTEM else messages
    if any(message.role != (ASSISTANT if i % 2 else USER) for i, message in enumerate(turns)):
        return f"user and assistant do not alternate: {', '.join(message.role for message in messages)}"
    if not all(message.parts for message in messages):
        return "a message is empty"
    if any(re.search("[\ud800-\udfff]", message.text) for message in messages):
        return "a text holds half a character (a lone surrogate)"
    answers = [message for message in messages if message.role == ASSISTANT]
    if _numbers(answers):
        return "a picture stands in an answer"
    if not all(answer.text.strip() for answer in answers):
        return "an answer is empty"
    numbers = _numbers(messages)
    if numbers != list(range(n_pictures)):
        return f"{len(numbers)} places for {n_pictures} pictures"
    return None


@dataclass(frozen=True)
class Chats:
    """The chats of a file.

    Attributes:
        name: for the reader of a report.
        chats: in the file's order.
        root: the folder from which the file names its pictures.
        skipped: rows that could not be used, and why; see :func:`lucida.data.pixels.write_skipped`.
    """

    name: str
    chats: tuple[Chat, ...]
    root: Path
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.chats)

    def __iter__(self) -> Iterator[Chat]:
        return iter(self.chats)

    def __getitem__(self, i: int) -> Chat:
        return self.chats[i]

    @property
    def pictures(self) -> tuple[Path, ...]:
        """Each picture once, in order of appearance."""
        return tuple(dict.fromkeys(picture for chat in self.chats for picture in chat.pictures))

    def sift(self, problem: Callable[[Chat], str | None]) -> Chats:
        """Only the chats without a problem; the others join the skipped ones.

        Args:
            problem: why a chat cannot be used, None if it can.

        Raises:
            LucidaError: no chat is left.
        """
        reasons = [problem(chat) for chat in self.chats]
        bad = [
            Skipped(chat.id, chat.where, reason)
            for chat, reason in zip(self.chats, reasons, strict=True)
            if reason is not None
        ]
        kept = tuple(chat for chat, reason in zip(self.chats, reasons, strict=True) if reason is None)
        return dataclasses.replace(self, chats=kept, skipped=(*self.skipped, *bad)).check()

    def check(self) -> Chats:
        """These chats, if there is any.

        Raises:
            LucidaError: there is none; it says why most rows were left out.
        """
        if self.chats:
            return self
        reasons = Counter(row.reason for row in self.skipped).most_common(1)
        raise LucidaError(
            f"no row can be used, most often: {reasons[0][0]}" if reasons else "there is no row",
            where=self.name,
            remedy="each row needs 'conversations' or 'messages' with an answer, and its pictures in their folder",
        )

    def split(self, share: float, seed: int) -> tuple[Chats, Chats]:
        """Chats to train on and chats to validate with.

        Chats that share a picture, directly or through others, stay together, and so do chats of equal text without a
        picture. Which ones are held out depends on the seed and the pictures' names below ``root`` alone, not on the
        order of the rows or on where the folder lies.

        Args:
            share: of the chats that are held out: that many at most, but one group of chats in any case; 0 for none.
            seed: of the draw.

        Raises:
            LucidaError: the share is not in [0, 1), or all chats belong together, so that none can be held out.
        """
        if not 0 <= share < 1:
            raise LucidaError(f"a share of {share} cannot be held out", where="share", remedy="use one in [0, 1)")
        held_out = self._draw(share, seed) if share else frozenset()
        parts = [tuple(chat for i, chat in enumerate(self.chats) if (i in held_out) == side) for side in (False, True)]
        return dataclasses.replace(self, chats=parts[0]), dataclasses.replace(self, chats=parts[1], skipped=())

    def _draw(self, share: float, seed: int) -> frozenset[int]:
        groups = self._groups()
        if len(groups) < 2:
            raise LucidaError(
                "all chats show the same picture, so none can be held out"
                if groups
                else "there is no chat to hold out",
                where=self.name,
                remedy="add chats about other pictures, or hold out a share of 0",
            )
        drawn: list[int] = []
        order = sorted(groups, key=lambda name: (derive_seed(seed, "chats", name), name))
        for name in order:
            if len(drawn) + len(groups[name]) <= share * len(self.chats):
                drawn += groups[name]
        smallest = min(order, key=lambda name: len(groups[name]))
        return frozenset(drawn or groups[smallest])

    def _groups(self) -> dict[str, list[int]]:
        """Numbers of the chats that must stay together, by the least of their pictures' names."""
        least: dict[str, str] = {}

        def find(name: str) -> str:
            while (above := least.setdefault(name, name)) != name:
                least[name] = least[above]
                name = above
            return name

        names = [self._names(chat) for chat in self.chats]
        for those in names:
            tops = {find(name) for name in those}
            least.update(dict.fromkeys(tops, min(tops)))
        groups: dict[str, list[int]] = {}
        for i, those in enumerate(names):
            groups.setdefault(find(those[0]), []).append(i)
        return groups

    def _names(self, chat: Chat) -> list[str]:
        """What a chat must share with no chat of the other side."""
        if not chat.pictures:
            return [f"text {content_hash([[message.role, message.text] for message in chat.messages])}"]
        return [Path(os.path.relpath(picture, self.root)).as_posix() for picture in chat.pictures]
