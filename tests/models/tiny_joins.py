"""Small multimodal LLMs that join pictures to words in each of the ways, with fresh weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.data.collation import ChatFormat
from lucida.models.gated_cross_attention import GatedCrossAttention
from lucida.models.joining import WAYS, Join, join_to
from lucida.models.vision_language_model import VisionLanguageModel

JOINS = WAYS
QUERIES = 3


def open_gates(model: VisionLanguageModel) -> None:
    """Let gated layers say something: at the start they are closed."""
    if isinstance(model.multi_modal_projector, GatedCrossAttention):
        for name, parameter in model.multi_modal_projector.named_parameters():
            if name.endswith("_gate"):
                parameter.data.fill_(0.8)


def joined(join: Join, tokenizer: Any, language_model: Any, *, vision_size: int, tokens: int) -> tuple[Any, ChatFormat]:
    """A model and its chat format; gates are open."""
    part: Any = join_to(language_model, join, vision_size=vision_size, tokens=tokens, queries=QUERIES)
    chat = ChatFormat(tokenizer, part.image_tokens)
    model = VisionLanguageModel(part, language_model, chat.image_token_id).eval()
    open_gates(model)
    return model, chat


def plain_logits(
    model: VisionLanguageModel, chat: ChatFormat, picture: Tensor, question: str, said: list[int]
) -> Tensor:
    """Of the token after a prompt and what was said, by the whole language model, nothing cached: ``[V]``."""
    ids = np.concatenate([chat.prefix_ids, chat.prompt_ids(question), np.array(said, np.int64)])
    embedded = model.embed(torch.from_numpy(ids)[None], picture[None])
    own = model.language_model(inputs_embeds=embedded, past_key_values=model.cache(picture[None]))
    logits: Tensor = own.logits[0, -1]
    return logits
