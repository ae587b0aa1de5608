"""Dialogues as tokens: in lucida's own chat format, and in the chat template of anyone's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.data.chat_tokens import ChatTokens
from lucida.data.chats import ASSISTANT, USER, Chat, Message
from lucida.data.collation import IGNORE_INDEX, ChatFormat
from lucida.inference.answer_scores import OpenConversation
from lucida.inference.prompting import Dialogue
from lucida.models.soft_prompts import SOFT_TOKEN_ID


@dataclass(frozen=True)
class ChatReader:
    """For a model of lucida: every question behind the tokens of its picture, every answer with its EOS.

    Attributes:
        chat: the format the model was trained with; :func:`~lucida.models.soft_prompts.soft_chat` for a soft prompt.
    """

    chat: ChatFormat

    def read(self, dialogue: Dialogue, answers: Sequence[str]) -> OpenConversation:
        """The tokens of a dialogue, and of the answers it may have."""
        chat, parts = self.chat, [self.chat.prefix_ids]
        picture = np.full(chat.image_tokens, chat.image_token_id)
        for shot in dialogue.shots:
            parts += [chat.prompt_ids(shot.question), chat.answer_ids(shot.answer), picture]
        parts.append(chat.prompt_ids(dialogue.question))
        pictures = (*(shot.picture for shot in dialogue.shots), dialogue.picture)
        counts = (chat.image_tokens,) * len(pictures)
        return OpenConversation(np.concatenate(parts), pictures, counts, tuple(map(chat.answer_ids, answers)))


@dataclass(frozen=True, eq=False)
class ChatTokensReader:
    """For anyone's model: a dialogue as its chat template writes it, an answer up to the token that ends its turn.

    Attributes:
        tokens: of the model's processor.
        pictures: the files of the pictures by number.
        soft_tokens: how many places of a soft prompt stand in front.

    Raises:
        LucidaError: a picture has no file; the tokenizer joins an answer with the text before it.
    """

    tokens: ChatTokens
    pictures: Sequence[Path]
    soft_tokens: int = 0
    _known: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(init=False, default_factory=dict, repr=False)

    def read(self, dialogue: Dialogue, answers: Sequence[str]) -> OpenConversation:
        """The tokens of a dialogue, and of the answers it may have."""
        numbers = (*(shot.picture for shot in dialogue.shots), dialogue.picture)
        for number in numbers:
            if not 0 <= number < len(self.pictures):
                raise LucidaError(f"there is no picture {number}", where=f"{len(self.pictures)} pictures")
        messages: list[Message] = []
        for place, shot in enumerate(dialogue.shots):
            messages += [Message(USER, (place, shot.question)), Message(ASSISTANT, (shot.answer,))]
        messages += [Message(USER, (len(dialogue.shots), dialogue.question)), Message(ASSISTANT, (answers[0],))]
        chat = Chat(tuple(messages), tuple(self.pictures[number] for number in numbers))
        encoded = self.tokens.encode(chat)
        if encoded.left_out:
            raise LucidaError(f"a dialogue is longer than {self.tokens.max_length} tokens", where="max_length")
        before, _ = _apart(encoded.input_ids, encoded.labels)
        ids = np.concatenate([np.full(self.soft_tokens, SOFT_TOKEN_ID), before])
        found = tuple(self._answer(answer, answers[0]) for answer in answers)
        return OpenConversation(ids, numbers, tuple(encoded.image_tokens.tolist()), found)

    def _answer(self, answer: str, first: str) -> NDArray[np.int64]:
        """The tokens of an answer; what comes before it has the same tokens as before the first answer."""
        for text in (answer, first):
            if text not in self._known:
                encoded = self.tokens.encode(Chat((Message(USER, ("?",)), Message(ASSISTANT, (text,)))))
                self._known[text] = _apart(encoded.input_ids, encoded.labels)
        if not np.array_equal(self._known[answer][0], self._known[first][0]):
            raise LucidaError("the tokenizer joins an answer with the text before it", where=repr(answer))
        return self._known[answer][1]


def _apart(ids: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens before the last answer, and what has to be said."""
    said = labels != IGNORE_INDEX
    end = int(np.flatnonzero(said)[-1]) + 1  # a template may write more behind it
    start = int(np.flatnonzero(~said[:end])[-1]) + 1
    return ids[:start], labels[start:end]
