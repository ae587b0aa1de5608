"""Answers: batched greedy or sampled generation, and the probability of "yes" for many questions at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.collation import Batch, ChatFormat
from lucida.inference.remedies import OwnReading, Remedy, processors
from lucida.models.vision_language_model import VisionLanguageModel

QUESTIONS_IN_A_ROW = 32
"""Of one picture, so many questions share a row: attention grows with the square of a row's length."""


class Answer(NamedTuple):
    """What the model said.

    Attributes:
        text: its words.
        confidence: the geometric mean of its tokens' probabilities, 0 to 1.
        margin: the smallest distance between the log-probabilities of the two best tokens on the way: where it is
            below 1e-4, rounding may decide.
    """

    text: str
    confidence: float
    margin: float


@torch.inference_mode()
def answer(
    model: VisionLanguageModel,
    chat: ChatFormat,
    vision_features: Tensor,
    asked: Sequence[tuple[int, str]],
    *,
    batch_size: int = 16,
    max_new_tokens: int = 48,
    temperature: float = 0.0,
    seed: int = 0,
    remedies: Sequence[Remedy] = (),
    noisy_features: Tensor | None = None,
) -> list[Answer]:
    """One answer a question.

    Args:
        model: in evaluation mode.
        chat: the format the model was trained with.
        vision_features: grid features of N pictures, ``[N, T, D]``.
        asked: (picture, question) for each question.
        batch_size: questions that run together; answers do not depend on it but for ties (see :class:`Answer`).
        max_new_tokens: longest answer.
        temperature: 0 takes the best token; above 0 tokens are sampled.
        seed: of sampling.
        remedies: against making things up, in their order.
        noisy_features: of the same pictures, distorted, for a remedy that asks for them.

    Raises:
        LucidaError: a question asks about a picture that is not there.
    """
    how = _How(max_new_tokens, temperature, tuple(remedies), noisy_features)
    for picture, _ in asked:
        if not 0 <= picture < len(vision_features):
            raise LucidaError(f"there is no picture {picture}", where=f"{len(vision_features)} pictures")
    order = sorted(range(len(asked)), key=lambda i: len(chat.prompt_ids(asked[i][1])))
    answers: list[Answer | None] = [None] * len(asked)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            made = _generate(model, chat, vision_features, [asked[i] for i in rows], how)
            for i, one in zip(rows, made, strict=True):
                answers[i] = one
    return [one for one in answers if one is not None]


class _How(NamedTuple):
    """How answers are made, see :func:`answer`."""

    max_new_tokens: int
    temperature: float
    remedies: tuple[Remedy, ...]
    noisy_features: Tensor | None


def _reading(
    model: VisionLanguageModel,
    chat: ChatFormat,
    vision_features: Tensor,
    asked: Sequence[tuple[int, str]],
    noisy: Tensor | None,
) -> OwnReading:
    """A batch of prompts, padded on the left."""
    prompts = [np.concatenate([chat.prefix_ids, chat.prompt_ids(question)]) for _, question in asked]
    length = max(map(len, prompts))
    ids = torch.full((len(prompts), length), chat.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.from_numpy(prompt)
        mask[row, length - len(prompt) :] = 1
    shown = [picture for picture, _ in asked]
    return OwnReading(model, ids, mask, vision_features[shown], None if noisy is None else noisy[shown])


def _generate(
    model: VisionLanguageModel,
    chat: ChatFormat,
    vision_features: Tensor,
    asked: Sequence[tuple[int, str]],
    how: _How,
) -> list[Answer]:
    """A batch through Hugging Face's ``generate`` with its key-value cache."""
    reading = _reading(model, chat, vision_features, asked, how.noisy_features)
    options: dict[str, Any] = {"do_sample": False}
    if how.temperature > 0:
        options = {"do_sample": True, "temperature": how.temperature, "top_k": 0}
    with processors(how.remedies, reading) as chosen:
        out = model.language_model.generate(
            **reading.inputs(reading.features),
            max_new_tokens=how.max_new_tokens,
            eos_token_id=chat.eos_token_id,
            pad_token_id=chat.pad_token_id,
            output_logits=True,
            return_dict_in_generate=True,
            logits_processor=chosen,
            **options,
        )
    logs = torch.stack(out.logits, dim=1).float().log_softmax(dim=-1)  # [B, new, V]
    return [_read(chat, tokens, log) for tokens, log in zip(out.sequences, logs, strict=True)]


@torch.inference_mode()
def leanings(
    model: VisionLanguageModel,
    chat: ChatFormat,
    vision_features: Tensor,
    asked: Sequence[tuple[int, str]],
    *,
    remedies: Sequence[Remedy] = (),
    noisy_features: Tensor | None = None,
    batch_size: int = 64,
    yes: str = "yes",
    no: str = "no",
) -> np.ndarray:
    """Log-odds of yes over no where the answer begins, with remedies: ``float64 [Q]``.

    :func:`answer_yes_no` is faster where there are none. A contrast keeps what is implausible from being said; where it
    leaves one of the two words, the odds are infinite.

    Args:
        model, chat, vision_features, asked, remedies, noisy_features: as of :func:`answer`.
        batch_size: questions that run together.
        yes, no: the two words.

    Raises:
        LucidaError: the two words start with the same token.
    """
    first = _first_tokens(chat, yes, no)
    found = []
    for start in range(0, len(asked), batch_size):
        reading = _reading(model, chat, vision_features, asked[start : start + batch_size], noisy_features)
        with processors(remedies, reading) as chosen:
            out = model.language_model.generate(
                **reading.inputs(reading.features),
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=chat.pad_token_id,
                output_scores=True,
                return_dict_in_generate=True,
                logits_processor=chosen,
            )
        found.append((out.scores[0][:, first[0]] - out.scores[0][:, first[1]]).double().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def _first_tokens(chat: ChatFormat, yes: str, no: str) -> tuple[int, int]:
    """What tells the two words apart where the answer begins."""
    first, other = (int(chat.encode([word])[0][0]) for word in (yes, no))
    if first == other:
        raise LucidaError(f"{yes!r} and {no!r} start with the same token", where="the tokenizer")
    return first, other


def _read(chat: ChatFormat, tokens: Tensor, logs: Tensor) -> Answer:
    ended = (tokens == chat.eos_token_id).nonzero()
    n = int(ended[0]) + 1 if len(ended) else len(tokens)
    chosen = logs[:n].gather(1, tokens[:n, None])
    best = logs[:n].topk(2, dim=-1).values
    return Answer(
        chat.decode(tokens[:n].tolist()), math.exp(chosen.mean().item()), (best[:, 0] - best[:, 1]).min().item()
    )


class YesNoAnswers(NamedTuple):
    """The first words of the answers to some questions.

    Attributes:
        p_yes: P(yes) / (P(yes) + P(no)), ``float64 [Q]``.
        texts: the word the model would say: "yes", "no", or "" where it would say neither.
    """

    p_yes: np.ndarray
    texts: list[str]

    @property
    def confidence(self) -> np.ndarray:
        """P of what was said, of the two, ``float64 [Q]``."""
        return np.maximum(self.p_yes, 1 - self.p_yes)


@torch.inference_mode()
def answer_yes_no(
    model: VisionLanguageModel,
    chat: ChatFormat,
    vision_features: Tensor,
    asked: Sequence[tuple[int, str]],
    *,
    batch_size: int = 32,
    yes: str = "yes",
    no: str = "no",
) -> YesNoAnswers:
    """Answers of one word, as greedy generation would give them.

    The questions about one picture share a row (up to :data:`QUESTIONS_IN_A_ROW`) and the picture is read once: no
    generation, one forward pass.

    Args:
        model: in evaluation mode.
        chat: the format the model was trained with.
        vision_features: ``[N, T, D]``.
        asked: (picture, question) for each question.
        batch_size: rows that run together.
        yes, no: the two words.

    Raises:
        LucidaError: the two words start with the same token.
    """
    first = _first_tokens(chat, yes, no)
    by_picture: dict[int, list[int]] = {}
    for i, (picture, _) in enumerate(asked):
        by_picture.setdefault(picture, []).append(i)
    rows = [
        (picture, listed[start : start + QUESTIONS_IN_A_ROW])
        for picture, listed in sorted(by_picture.items())
        for start in range(0, len(listed), QUESTIONS_IN_A_ROW)
    ]
    p_yes, words = np.empty(len(asked)), np.full(len(asked), "", dtype=object)
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        batch, ends = _packed_prompts(chat, [[asked[i][1] for i in listed] for _, listed in some])
        states = model.hidden_states(**batch, vision_features=vision_features[[picture for picture, _ in some]])
        for row, (_, listed) in enumerate(some):
            logits = model.language_model.get_output_embeddings()(states[row, ends[row]])
            p_yes[listed] = (logits[:, first[0]] - logits[:, first[1]]).double().sigmoid().numpy()
            best = logits.argmax(dim=-1).numpy()
            words[listed] = np.select([best == first[0], best == first[1]], [yes, no], default="")
    return YesNoAnswers(p_yes, words.tolist())


def _packed_prompts(chat: ChatFormat, questions: Sequence[Sequence[str]]) -> tuple[Batch, list[list[int]]]:
    """Rows of a prefix and several questions; where each question ends."""
    prefix = chat.prefix_ids
    prompts = [[chat.prompt_ids(question) for question in row] for row in questions]
    length = len(prefix) + max(sum(map(len, row)) for row in prompts)
    ids = torch.full((len(prompts), length), chat.pad_token_id)
    segments, positions = torch.full_like(ids, -1), torch.zeros_like(ids)
    ids[:, : len(prefix)], segments[:, : len(prefix)] = torch.from_numpy(prefix), 0
    positions[:, : len(prefix)] = torch.arange(len(prefix))
    ends: list[list[int]] = []
    for row, listed in enumerate(prompts):
        at, last = len(prefix), []
        for number, prompt in enumerate(listed, start=1):
            part = slice(at, at + len(prompt))
            ids[row, part], segments[row, part] = torch.from_numpy(prompt), number
            positions[row, part] = len(prefix) + torch.arange(len(prompt))
            at += len(prompt)
            last.append(at - 1)
        ends.append(last)
    return {"input_ids": ids, "segment_ids": segments, "position_ids": positions}, ends
