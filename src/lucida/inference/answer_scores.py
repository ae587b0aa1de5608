"""How likely a model finds each of a few answers: one pass, and what conversations have in common read once.

The answers of a conversation stand behind it in one row, each seeing the conversation and itself (the mask of
:func:`~lucida.models.vision_language_model.block_mask`), so the conversation is read once, not once an answer. What
neighbouring conversations begin with alike (the same picture, the same in-context examples) is read once for all of
them, and each continues from its key-value cache. :func:`plain_answer_log_probabilities` is the formula as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from lucida.core.errors import LucidaError
from lucida.losses.language_modeling import CHUNK_BYTES
from lucida.models.features import device_of, evaluating
from lucida.models.image_text_models import ImageTextModel
from lucida.models.soft_prompts import SoftPromptedImageTextModel, SoftPromptedModel
from lucida.models.vision_language_model import VisionLanguageModel, block_mask

Model = VisionLanguageModel | ImageTextModel

_PASS = 64  # tokens that a pass through the model costs besides those that are read, about


class PictureFeatures(Protocol):
    """Features of pictures by number: ``[N, T, D]``, or :class:`~lucida.models.seen_pictures.SeenPictures`."""

    def __getitem__(self, numbers: Any) -> Tensor: ...


class OpenConversation(NamedTuple):
    """A conversation in tokens that stops where an answer begins, and the answers it may have.

    Attributes:
        input_ids: ``int64 [n]``.
        pictures: numbers of the pictures whose features are written over its image tokens, in order.
        image_tokens: how many tokens give way to each of them.
        answers: ``int64 [m]`` each, at least one token; with the token that ends an answer, so that an answer that is
            the beginning of another one does not get the other's share.
    """

    input_ids: NDArray[np.int64]
    pictures: tuple[int, ...]
    image_tokens: tuple[int, ...]
    answers: tuple[NDArray[np.int64], ...]

    @property
    def tokens(self) -> int:
        """How many tokens are read to score it, if none of them is shared."""
        return len(self.input_ids) + sum(len(answer) - 1 for answer in self.answers)


def answer_log_probabilities(
    model: Model, features: PictureFeatures, conversations: Sequence[OpenConversation], *, batch_size: int = 16
) -> Tensor:
    """The log-likelihood of each answer of each conversation: the sum over its tokens.

    Rows of a batch differ in length; padding is seen by nobody and positions count tokens alone, so that no score
    depends on what else is in the batch.

    Args:
        model: runs in evaluation mode where its weights lie; adapters and soft prompts may be in it.
        features: of the pictures, as the model's ``embed`` takes them.
        conversations: C of them, all with the same number A of answers.
        batch_size: conversations that run together.

    Returns:
        ``float32 [C, A]``.

    Raises:
        LucidaError: a conversation without answers or with another number of them, an answer without tokens, no places
            for the model's soft prompt, a conversation that is longer than the model attends to, or a batch size
            below 1.
    """
    if batch_size < 1:
        raise LucidaError(f"a batch of {batch_size} conversations", remedy="use at least 1")
    _check(model, conversations)
    scores = torch.empty(len(conversations), len(conversations[0].answers) if conversations else 0)
    head = _Head()
    with evaluating(model):
        for rows, shared in _batches(
            beginning_codes(model, conversations), [c.tokens for c in conversations], batch_size
        ):
            some = [conversations[i] for i in rows]
            scores[rows] = _scored(model, features, some, head.read(model, features, some[0], shared), shared).cpu()
    return scores


def plain_answer_log_probabilities(
    model: Model, features: PictureFeatures, conversations: Sequence[OpenConversation]
) -> Tensor:
    """The same, one forward pass of the whole language model for each answer, nothing shared and nothing padded."""
    _check(model, conversations)
    own, device = language_model_of(model), device_of(model)
    rows = []
    with evaluating(model):
        for one in conversations:
            for answer in one.answers:
                ids = torch.from_numpy(np.concatenate([one.input_ids, answer]))[None].to(device)
                embedded = model.embed(ids, features[list(one.pictures)].to(device))
                cache = empty_cache(model, features, [one])
                logs = own(inputs_embeds=embedded, past_key_values=cache).logits[0].float().log_softmax(dim=-1)
                before = torch.arange(len(one.input_ids) - 1, ids.shape[1] - 1)
                rows.append(float(logs[before, ids[0, before + 1]].sum()))
    return torch.tensor(rows).view(len(conversations), -1)


class _Head:
    """What a batch begins with, in a key-value cache of one row; kept, as the next batch may begin alike."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._layers: list[tuple[Tensor, Tensor]] = []

    def read(
        self, model: Model, features: PictureFeatures, one: OpenConversation, length: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Keys and values ``[1, heads, length, d]`` of each layer for the first tokens of a conversation."""
        if not length:
            return []
        ids = torch.from_numpy(one.input_ids[:length])
        pictures = one.pictures[: pictures_shown(model, one, length)]
        key = (ids.numpy().tobytes(), pictures)
        if key != self._key:
            device, cache = device_of(model), empty_cache(model, features, [one])
            embedded = model.embed(ids[None].to(device), features[list(pictures)].to(device))
            language_model_of(model).get_decoder()(inputs_embeds=embedded, past_key_values=cache, use_cache=True)
            self._key, self._layers = key, [(layer.keys, layer.values) for layer in cache.layers]
        return self._layers


def _scored(
    model: Model,
    features: PictureFeatures,
    some: Sequence[OpenConversation],
    head: Sequence[tuple[Tensor, Tensor]],
    shared: int,
) -> Tensor:
    """Scores ``[B, A]`` of conversations whose first ``shared`` tokens are in the cache."""
    device, own = device_of(model), language_model_of(model)
    rows = _Rows.of(some, shared, 0 if model.image_token_id else 1, device)
    pictures = [number for one in some for number in one.pictures[pictures_shown(model, one, shared) :]]
    given = (rows.ids, features[pictures].to(device))
    if shared and isinstance(model, SoftPromptedModel | SoftPromptedImageTextModel):
        embedded = model.embed_rest(*given)
    else:
        embedded = model.embed(*given)
    seen = block_mask(rows.segments, embedded.dtype)
    cache = empty_cache(model, features, some)
    for layer, (keys, values) in enumerate(head):
        cache.update(*(part.expand(len(some), -1, -1, -1) for part in (keys, values)), layer)
    states = own.get_decoder()(
        inputs_embeds=embedded,
        attention_mask=torch.cat([seen.new_zeros(*seen.shape[:3], shared), seen], dim=3),
        position_ids=rows.positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return _sums(own.get_output_embeddings(), states[rows.row, rows.column], rows, len(some[0].answers))


class _Rows(NamedTuple):
    """What follows the shared tokens: the rest of each conversation, then its answers without their last token.

    Attributes:
        ids, segments, positions: ``int64 [B, R]``; segment 0 is the conversation, 1, 2, … its answers, -1 padding.
        row, column: ``int64 [S]``, the states that foretell a token of an answer.
        state, answer, target: ``int64 [n]``, for each token of each answer the state that foretells it, the answer it
            belongs to (of ``B · A``), and itself.
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    row: Tensor
    column: Tensor
    state: Tensor
    answer: Tensor
    target: Tensor

    @classmethod
    def of(cls, some: Sequence[OpenConversation], shared: int, padding: int, device: torch.device) -> _Rows:
        shape = len(some), max(one.tokens for one in some) - shared
        ids, segments, positions = np.full(shape, padding), np.full(shape, -1), np.zeros(shape, np.int64)
        places: list[tuple[int, int]] = []
        told: list[tuple[int, int, int]] = []
        for row, one in enumerate(some):
            at, n = len(one.input_ids) - shared, len(one.input_ids)
            ids[row, :at], segments[row, :at], positions[row, :at] = one.input_ids[shared:], 0, np.arange(shared, n)
            asks = len(places)  # the state of the last token before the answers
            places.append((row, at - 1))
            for number, answer in enumerate(one.answers):
                m = len(answer) - 1
                part = (row, slice(at, at + m))
                ids[part], segments[part], positions[part] = answer[:-1], number + 1, n + np.arange(m)
                states = [asks, *range(len(places), len(places) + m)]
                told += [(s, row * len(one.answers) + number, int(t)) for s, t in zip(states, answer, strict=True)]
                places += [(row, at + i) for i in range(m)]
                at += m
        columns = [*np.array(places).T, *np.array(told).T]
        return cls(
            *(torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in (ids, segments, positions, *columns))
        )


def _sums(output: Any, states: Tensor, rows: _Rows, n_answers: int) -> Tensor:
    """Log-probabilities of tokens from the states ``[S, H]`` that foretell them, summed over answers: ``[B, A]``."""
    scores = torch.zeros(len(rows.ids) * n_answers, device=states.device)
    size = max(1, CHUNK_BYTES // (4 * output.weight.shape[0]))
    for start in range(0, len(states), size):
        logits = output(states[start : start + size]).float()
        here = (rows.state >= start) & (rows.state < start + size)
        at = rows.state[here] - start
        logs = logits[at, rows.target[here]] - logits.logsumexp(dim=-1)[at]
        scores.index_add_(0, rows.answer[here], logs)
    return scores.view(len(rows.ids), n_answers)


def language_model_of(model: Model) -> Any:
    """The part with a decoder and an output layer."""
    return model.hugging_face if isinstance(model, ImageTextModel) else model.language_model


def empty_cache(model: Model, features: PictureFeatures, some: Sequence[OpenConversation]) -> DynamicCache:
    """The cache that conversations are read into, one a row; what gated layers look at is in it.

    Raises:
        LucidaError: there are gated layers, and a conversation is not about one picture.
    """
    if isinstance(model, ImageTextModel) or not model.gated or not any(one.pictures for one in some):
        return DynamicCache()
    for one in some:
        if len(one.pictures) != 1:
            raise LucidaError(
                f"a conversation about {len(one.pictures)} pictures: gated layers look at one",
                where="gated-cross-attention",
                remedy="give no in-context examples, or join in another way",
            )
    return model.cache(features[[one.pictures[0] for one in some]].to(device_of(model)))


def beginning_codes(model: Model, conversations: Sequence[OpenConversation]) -> list[list[int]]:
    """Tokens as numbers that are equal where a model reads the same: an image token is told by its picture.

    Before gated layers every token looks at the picture, so that with another picture nothing is the same.
    """
    gated = isinstance(model, VisionLanguageModel) and model.gated
    found = []
    for one in conversations:
        codes = one.input_ids.copy()
        codes[codes == model.image_token_id] = np.repeat(-2 - np.array(one.pictures, np.int64), one.image_tokens)
        if gated and one.pictures and len(codes):
            codes[0] = -2 - one.pictures[0]
        found.append(codes.tolist())
    return found


def pictures_shown(model: Model, one: OpenConversation, length: int) -> int:
    """How many pictures stand in the first tokens of a conversation; none is cut, see :func:`beginning_codes`."""
    tokens = int((one.input_ids[:length] == model.image_token_id).sum())
    return int(np.searchsorted(np.cumsum(one.image_tokens), tokens, side="right")) if tokens else 0


def _batches(codes: Sequence[list[int]], tokens: Sequence[int], batch_size: int) -> Iterator[tuple[list[int], int]]:
    """Conversations that run together, and how many of their first tokens are read once for all of them.

    In alphabetical order those that begin alike are neighbours; cuts are where the fewest tokens are read.
    """
    order = sorted(range(len(codes)), key=lambda i: codes[i])
    common = [0, *(common_length(codes[a], codes[b]) for a, b in pairwise(order))]
    best = [(0.0, 0, 0)]  # for the first conversations: what they cost, where their last batch starts, what it shares
    for end in range(1, len(order) + 1):
        shared, total, options = len(codes[order[end - 1]]), 0, []
        for start in reversed(range(max(0, end - batch_size), end)):
            total += tokens[order[start]]
            shared = min(shared, len(codes[order[start]]) - 1)  # the last token has to say how it goes on
            saved = shared * (end - start - 1) - _PASS
            cost = best[start][0] + _PASS + total - max(0, saved)
            options.append((cost, start, shared if saved > 0 else 0))
            shared = min(shared, common[start])
        best.append(min(options))
    cuts, end = [], len(order)
    while end:
        _, start, shared = best[end]
        cuts.append((order[start:end], shared))
        end = start
    return reversed(cuts)


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _check(model: Model, conversations: Sequence[OpenConversation]) -> None:
    text = language_model_of(model).config.get_text_config()
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "sliding_window")]
    limit = min((each for each in limits if each), default=None)
    for number, one in enumerate(conversations):
        where = f"conversation {number}"
        if not one.answers or len(one.answers) != len(conversations[0].answers):
            raise LucidaError(
                f"{len(one.answers)} answers to choose from", where=where, remedy="give all the same number"
            )
        if not all(len(answer) for answer in one.answers) or not len(one.input_ids):
            raise LucidaError("an answer, or what comes before it, has no token", where=where)
        longest = len(one.input_ids) + max(map(len, one.answers))
        if limit and longest > limit:
            what = f"{longest} tokens, the language model attends to {limit}"
            raise LucidaError(what, where=where, remedy="use fewer in-context examples")
        places = int((one.input_ids == model.image_token_id).sum())
        if places != sum(one.image_tokens) or len(one.image_tokens) != len(one.pictures):
            raise LucidaError(f"{places} image tokens for {len(one.pictures)} pictures", where=where)
