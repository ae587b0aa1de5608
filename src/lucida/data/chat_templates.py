"""What a model's own chat template writes, and where in that text the answers stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jinja2 import TemplateError

from lucida.core.errors import LucidaError
from lucida.data.chats import ASSISTANT, USER

_PROBE = "\ue000"  # a character that no template writes


class Answer(NamedTuple):
    """The characters of an answer: from the end of the generation prompt to the end of what the answer's author wrote.

    Attributes:
        start: of the first one.
        stop: behind the last one.
    """

    start: int
    stop: int


@dataclass
class ChatTemplate:
    """Writes chats as a processor's template does, and finds their answers in the text without a search.

    The template must write a chat's first messages as it begins the whole chat. Then the text up to the generation
    prompt ends where an answer starts, and the text up to the answer ends where its turn does.

    Args:
        processor: of a Hugging Face model.
        own: a template instead of the processor's.

    Attributes:
        closing: what the template writes behind every answer.

    Raises:
        LucidaError: there is no template, it cannot write messages whose content is a list of parts, or it writes a
            message in another way when others follow.
    """

    processor: Any
    own: str | None = None
    closing: str = field(init=False)

    def __post_init__(self) -> None:
        question = _message(USER, "a")
        _, found, self.closing = self.write([question, _message(ASSISTANT, f"a{_PROBE}")]).partition(_PROBE)
        if not found:
            raise LucidaError("the chat template does not write the answer", where="chat_template")
        self.answers([question, _message(ASSISTANT, "a")] * 2)  # a template that will not do is known before any chat

    @property
    def source(self) -> str:
        """The template's text, of all of them where the processor has several."""
        return str(self.own or self.processor.chat_template)

    def write(self, messages: Sequence[Mapping[str, Any]], *, prompt: bool = False) -> str:
        """The text of messages in Hugging Face's format, pictures as their placeholders.

        Args:
            messages: see :meth:`lucida.data.chats.Chat.as_hugging_face`.
            prompt: end with what asks the model for its answer.

        Raises:
            LucidaError: the template refuses them.
        """
        try:
            return str(
                self.processor.apply_chat_template(
                    list(messages), chat_template=self.own, tokenize=False, add_generation_prompt=prompt
                )
            )
        except (TemplateError, TypeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LucidaError(
                f"the chat template cannot write this chat: {reason}",
                where="chat_template",
                remedy="give a chat template for messages whose content is a list of parts",
            ) from None

    def answers(self, messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Answer]]:
        """The text of messages, and where the assistant's stand in it.

        Raises:
            LucidaError: the template refuses them, or writes the first ones in another way when others follow.
        """
        text = self.write(messages)
        found = []
        for i, message in enumerate(messages):
            if message["role"] != ASSISTANT:
                continue
            before = self.write(messages[:i], prompt=True)
            through = text if i + 1 == len(messages) else self.write(messages[: i + 1])
            stop = len(through) - len(self.closing)
            begins = text.startswith(through) and through.startswith(before)
            if not (begins and through.endswith(self.closing) and len(before) <= stop):
                raise LucidaError(
                    "what the chat template writes of a chat's first messages does not begin what it writes of all",
                    where="chat_template",
                    remedy="give a chat template that writes a message alike, whatever follows it",
                )
            found.append(Answer(len(before), stop))
        return text, found


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
