"""Answers of anyone's vision-language model in its own chat format: batched, greedy, with its own processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from lucida.models.features import device_of, evaluating
from lucida.models.image_text_models import ImageTextModel


class Asked(NamedTuple):
    """A conversation that ends with a question.

    Attributes:
        messages: in Hugging Face's chat format; pictures are parts ``{"type": "image"}``.
        pictures: in their order.
    """

    messages: Sequence[dict[str, Any]]
    pictures: Sequence[Image.Image]


def answer_chats(
    model: ImageTextModel,
    processor: Any,
    asked: Sequence[Asked],
    *,
    end_of_turn_id: int,
    batch_size: int = 8,
    max_new_tokens: int = 64,
) -> list[str]:
    """One greedy answer to each conversation, without special tokens.

    Args:
        model: runs in eval mode where its weights lie.
        processor: of the model.
        asked: conversations with their pictures.
        end_of_turn_id: where an answer ends (:class:`~lucida.data.chat_tokens.ChatTokens` knows): the checkpoint's own
            settings of generation may name another token.
        batch_size: conversations that run together, alike in length; padding is on the left and masked.
        max_new_tokens: longest answer.
    """
    texts = [processor.apply_chat_template([*one.messages], add_generation_prompt=True) for one in asked]
    order = sorted(range(len(asked)), key=lambda i: (len(asked[i].pictures), len(texts[i])))
    answers = [""] * len(asked)
    own = model.hugging_face
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            pictures = [list(asked[i].pictures) for i in rows]
            inputs = processor(
                text=[texts[i] for i in rows],
                images=pictures if any(pictures) else None,
                padding=True,
                padding_side="left",
                return_tensors="pt",
            ).to(device_of(model))
            ids = own.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=processor.tokenizer.pad_token_id,
                eos_token_id=end_of_turn_id,
            )
            said = processor.tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(rows, said, strict=True):
                answers[i] = text.strip()
    return answers
