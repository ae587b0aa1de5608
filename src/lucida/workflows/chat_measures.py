"""What a model makes of held-out chats: the loss of its answers, and how many of them it gives word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lucida.core.progress import counted
from lucida.core.results import Metric
from lucida.data.chat_tokens import ChatTokens
from lucida.data.chats import ASSISTANT, Chat
from lucida.data.decoding import FileSource
from lucida.evaluation.intervals import share_by_cluster
from lucida.inference.chat_answers import Asked, answer_chats
from lucida.models.features import evaluating
from lucida.models.image_text_models import ImageTextModel
from lucida.training.chats import ChatData


class Replies(NamedTuple):
    """Answers to the last questions of some chats: what was said, what is true, what the chats show."""

    said: list[str]
    true: list[str]
    pictures: list[str]

    @property
    def right(self) -> list[bool]:
        """Word for word, but for case, blanks and the full stop."""
        return [same_words(said, true) for said, true in zip(self.said, self.true, strict=True)]


def same_words(said: str, true: str) -> bool:
    """Whether two answers are the same but for case, blanks and punctuation at the end.

    >>> same_words("A cat. ", "a  cat"), same_words("a cat", "a car")
    (True, False)
    """
    return _plain(said) == _plain(true)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".!").strip().casefold()


def chat_loss(model: ImageTextModel, data: ChatData, *, batch_size: int = 8) -> tuple[float, float]:
    """The mean loss of a supervised token over all chats, and its perplexity."""
    total = weight = 0.0
    with evaluating(model):
        for start in range(0, len(data), batch_size):
            output = model(**data.batch(range(start, min(start + batch_size, len(data)))))
            total, weight = total + float(output.loss_sum), weight + float(output.n_supervised)
    mean = total / weight
    return mean, float(np.exp(min(mean, 700.0)))


def reply_to(model: ImageTextModel, tokens: ChatTokens, chats: Sequence[Chat], *, max_new_tokens: int) -> Replies:
    """Greedy answers to the last question of each chat."""
    said: list[str] = []
    for start in counted(range(0, len(chats), 8), "answers", each=8):
        asked = [_asked(chat) for chat in chats[start : start + 8]]
        said += answer_chats(
            model, tokens.processor, asked, end_of_turn_id=tokens.end_of_turn_id, max_new_tokens=max_new_tokens
        )
    shown = ["\n".join(map(str, chat.pictures)) or chat.where for chat in chats]
    return Replies(said, [chat.messages[-1].text for chat in chats], shown)


def _asked(chat: Chat) -> Asked:
    last = max(i for i, message in enumerate(chat.messages) if message.role == ASSISTANT)
    return Asked(chat.as_hugging_face()[:last], [FileSource(str(path)).open() for path in chat.pictures])


def chat_metrics(name: str, loss: tuple[float, float], n: int, replies: Replies | None) -> dict[str, Metric]:
    """``{name}/loss``, ``{name}/perplexity`` and, of the answers that were asked for, ``{name}/exact_match``, its
    interval over pictures."""
    found = {f"{name}/loss": Metric(loss[0], None, n), f"{name}/perplexity": Metric(loss[1], None, n)}
    if replies is not None and replies.said:
        found[f"{name}/exact_match"] = share_by_cluster(replies.right, clusters=replies.pictures)
    return found


def trainable_count(model: torch.nn.Module) -> tuple[int, int]:
    """Trained parameters, and all."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
