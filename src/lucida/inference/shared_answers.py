"""Greedy answers to many questions about a picture: the picture is seen once, and what its questions begin with is read
once.

One ``generate`` call a question encodes the picture and reads its tokens again for each of them. Here the conversations
about a picture (:class:`~lucida.inference.answer_scores.OpenConversation`) are told apart after their common beginning:
that is read once, its keys and values are handed to every question, and the questions of several pictures are answered
in one batch, a token a step. :func:`plain_answers` is the same, one conversation after another, nothing shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from lucida.core.errors import LucidaError
from lucida.inference.answer_scores import (
    Model,
    OpenConversation,
    PictureFeatures,
    beginning_codes,
    common_length,
    empty_cache,
    language_model_of,
    pictures_shown,
)
from lucida.models.features import device_of, evaluating
from lucida.models.gated_cross_attention import PictureCache
from lucida.models.soft_prompts import SoftPromptedImageTextModel, SoftPromptedModel


class GreedyAnswer(NamedTuple):
    """What a model says.

    Attributes:
        tokens: without the one that ends the answer.
        log_probability: of all of them and of the end, if it came.
        margin: the smallest distance between the two best tokens' logits on the way: where it is below 1e-4, rounding
            may decide, and another batch may have another answer.
        ended: whether the end came before the longest answer.
        log_odds: of the first tokens of the conversation's first two ``answers``, at the place where the answer begins:
            how much likelier the first one is; NaN where it has no two, or both begin alike.
    """

    tokens: tuple[int, ...]
    log_probability: float
    margin: float
    ended: bool
    log_odds: float = float("nan")


def shared_answers(
    model: Model,
    features: PictureFeatures,
    conversations: Sequence[OpenConversation],
    *,
    end_of_turn_id: int,
    batch_size: int = 48,
    max_new_tokens: int = 64,
) -> list[GreedyAnswer]:
    """One greedy answer to each conversation, with what they begin with read once.

    Args:
        model: runs in evaluation mode where its weights lie; adapters and soft prompts may be in it.
        features: of the pictures, as the model's ``embed`` takes them; asked for once for each batch of pictures.
        conversations: in any order. Those about the same pictures share a beginning; of their ``answers`` only the
            first tokens are compared.
        end_of_turn_id: the token that ends an answer.
        batch_size: conversations that are answered together, and pictures that are read together.
        max_new_tokens: longest answer.

    Raises:
        LucidaError: a conversation without tokens, or ``batch_size`` or ``max_new_tokens`` below 1.
    """
    if min(batch_size, max_new_tokens) < 1:
        raise LucidaError(f"a batch of {batch_size} and answers of {max_new_tokens} tokens", remedy="use at least 1")
    found: dict[int, GreedyAnswer] = {}
    with evaluating(model):
        for groups in _batches(model, conversations, batch_size):
            rows = [row for group in groups for row in group.rows]
            begun = _Begun.read(model, features, conversations, groups)
            odds = _log_odds(begun.logits, [conversations[row] for row in rows])
            said = begun.answers(end_of_turn_id, max_new_tokens)
            found |= {row: one._replace(log_odds=own) for row, one, own in zip(rows, said, odds, strict=True)}
    return [found[i] for i in range(len(conversations))]


def _log_odds(logits: Tensor, conversations: Sequence[OpenConversation]) -> list[float]:
    """Of the first tokens of two answers, from the logits ``[B, V]`` of what comes first."""
    rows = []
    for row, one in zip(logits, conversations, strict=True):
        first = [int(answer[0]) for answer in one.answers[:2] if len(answer)]
        rows.append(float(row[first[0]] - row[first[1]]) if len({*first}) == 2 else float("nan"))
    return rows


def plain_answers(
    model: Model,
    features: PictureFeatures,
    conversations: Sequence[OpenConversation],
    *,
    end_of_turn_id: int,
    max_new_tokens: int = 64,
) -> list[GreedyAnswer]:
    """The same by the whole language model, one conversation after another, every token read anew."""
    own, device, found = language_model_of(model), device_of(model), []
    with evaluating(model):
        for one in conversations:
            embedded = model.embed(
                torch.from_numpy(one.input_ids)[None].to(device), features[list(one.pictures)].to(device)
            )
            told, odds = _Told.start(1, device), float("nan")
            for step in range(max_new_tokens):
                cache = empty_cache(model, features, [one])
                logits = own(inputs_embeds=embedded, past_key_values=cache).logits[:, -1].float()
                odds = odds if step else _log_odds(logits, [one])[0]
                chosen = told.step(logits, end_of_turn_id)
                if told.ended.all():
                    break
                embedded = torch.cat([embedded, own.get_input_embeddings()(chosen)[:, None]], dim=1)
            found += [each._replace(log_odds=odds) for each in told.answers(end_of_turn_id)]
    return found


class _Group(NamedTuple):
    """Conversations (by number) that begin alike, and for how many tokens."""

    rows: list[int]
    shared: int


def _batches(model: Model, conversations: Sequence[OpenConversation], size: int) -> Iterator[list[_Group]]:
    """Groups about the same pictures, those with beginnings of like length together."""
    codes = beginning_codes(model, conversations)
    by_pictures: dict[tuple[int, ...], list[int]] = {}
    for number, one in enumerate(conversations):
        if not len(one.input_ids):
            raise LucidaError("there is no token", where=f"conversation {number}")
        by_pictures.setdefault(one.pictures, []).append(number)
    groups = []
    for rows in by_pictures.values():
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            shared = min(common_length(codes[some[0]], codes[row]) for row in some)
            groups.append(_Group(some, min(shared, min(len(codes[row]) for row in some) - 1)))
    batch: list[_Group] = []
    for group in sorted(groups, key=lambda group: group.shared):
        if sum(len(each.rows) for each in batch) + len(group.rows) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


class _Told:
    """What has been said so far in each row."""

    def __init__(self, ids: Tensor, log_probability: Tensor, margin: Tensor, ended: Tensor):
        self.ids, self.log_probability, self.margin, self.ended = ids, log_probability, margin, ended

    @classmethod
    def start(cls, rows: int, device: torch.device) -> _Told:
        """Nothing."""
        zeros = torch.zeros(rows, device=device)
        ids = torch.empty(rows, 0, dtype=torch.long, device=device)
        return cls(ids, zeros, torch.full_like(zeros, torch.inf), torch.zeros(rows, dtype=torch.bool, device=device))

    def step(self, logits: Tensor, end: int) -> Tensor:
        """Say the best token of ``float [B, V]`` in every row that has not ended; the tokens ``[B]``."""
        best = logits.topk(2, dim=-1)
        chosen, going = torch.where(self.ended, end, best.indices[:, 0]), ~self.ended
        self.log_probability = self.log_probability + torch.where(
            going, best.values[:, 0] - logits.logsumexp(dim=-1), 0.0
        )
        distance = best.values[:, 0] - best.values[:, 1]
        self.margin = torch.where(going, torch.minimum(self.margin, distance), self.margin)
        self.ids = torch.cat([self.ids, chosen[:, None]], dim=1)
        self.ended = self.ended | (chosen == end)
        return chosen

    def answers(self, end: int) -> list[GreedyAnswer]:
        """All of it."""
        rows = zip(
            self.ids.tolist(), self.log_probability.tolist(), self.margin.tolist(), self.ended.tolist(), strict=True
        )
        return [
            GreedyAnswer(tuple(ids[: ids.index(end)] if done else ids), log, margin, done)
            for ids, log, margin, done in rows
        ]


class _Begun(NamedTuple):
    """Conversations that have been read to their end.

    Attributes:
        model: the language model.
        cache: keys and values of all that was read, padded.
        seen: ``bool [B, n]``, which places of the cache are tokens.
        lengths: ``int64 [B]`` in tokens.
        logits: ``float [B, V]`` of the first token of each answer.
    """

    model: Any
    cache: DynamicCache
    seen: Tensor
    lengths: Tensor
    logits: Tensor

    @classmethod
    def read(
        cls,
        model: Model,
        features: PictureFeatures,
        conversations: Sequence[OpenConversation],
        groups: Sequence[_Group],
    ) -> _Begun:
        """Beginnings, one row a group, then what follows them, one row a conversation."""
        device, own = device_of(model), language_model_of(model)
        first = [conversations[group.rows[0]] for group in groups]
        heads = _read(model, features, first, [(0, group.shared) for group in groups], None, None)
        each = torch.tensor([len(group.rows) for group in groups], device=device)
        cache = _repeated(heads.cache, each)
        seen = heads.seen.repeat_interleave(each, dim=0)
        some = [conversations[row] for group in groups for row in group.rows]
        parts = [(group.shared, len(conversations[row].input_ids)) for group in groups for row in group.rows]
        rests = _read(model, features, some, parts, cache, seen)
        last = rests.states[torch.arange(len(some), device=device), rests.seen[:, seen.shape[1] :].sum(dim=1) - 1]
        lengths = torch.tensor([end for _, end in parts], device=device)
        return cls(own, rests.cache, rests.seen, lengths, own.get_output_embeddings()(last).float())

    def answers(self, end: int, longest: int) -> list[GreedyAnswer]:
        """A token a step, in all rows, until all have ended."""
        told, logits, seen = _Told.start(len(self.lengths), self.logits.device), self.logits, self.seen
        words, decoder = self.model.get_input_embeddings(), self.model.get_decoder()
        for step in range(longest):
            chosen = told.step(logits, end)
            if told.ended.all() or step + 1 == longest:
                break
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
            embedded = words(chosen)[:, None]
            output = decoder(
                inputs_embeds=embedded,
                attention_mask=_additive(seen[:, None, None], embedded.dtype),
                position_ids=(self.lengths + step)[:, None],
                past_key_values=self.cache,
                use_cache=True,
            )
            logits = self.model.get_output_embeddings()(output.last_hidden_state[:, -1]).float()
        return told.answers(end)


class _ReadRows(NamedTuple):
    """What a pass over padded rows leaves: states ``[B, R, H]``, the cache, and which of its places are tokens."""

    states: Tensor
    cache: DynamicCache
    seen: Tensor


def _read(
    model: Model,
    features: PictureFeatures,
    some: Sequence[OpenConversation],
    parts: Sequence[tuple[int, int]],
    cache: DynamicCache | None,
    before: Tensor | None,
) -> _ReadRows:
    """Read a part ``(start, stop)`` of each conversation, behind what is in the cache; rows are padded on the right.

    Args:
        cache: of what comes before, ``before`` saying which of its places are tokens, ``bool [B, n]``.
    """
    device, widest = device_of(model), max(stop - start for start, stop in parts)
    cache = empty_cache(model, features, some) if cache is None else cache
    if not widest:  # nothing is shared
        return _ReadRows(torch.empty(len(some), 0), cache, torch.empty(len(some), 0, dtype=torch.bool, device=device))
    ids = torch.full((len(some), widest), 0 if model.image_token_id else 1)
    own = torch.zeros(len(some), widest, dtype=torch.bool)
    pictures: list[int] = []
    for row, (one, (start, stop)) in enumerate(zip(some, parts, strict=True)):
        ids[row, : stop - start], own[row, : stop - start] = torch.from_numpy(one.input_ids[start:stop]), True
        pictures += one.pictures[pictures_shown(model, one, start) : pictures_shown(model, one, stop)]
    given = (ids.to(device), features[pictures].to(device))
    behind = before is not None and before.shape[1] > 0
    if behind and isinstance(model, SoftPromptedModel | SoftPromptedImageTextModel):
        embedded = model.embed_rest(*given)
    else:
        embedded = model.embed(*given)
    own = own.to(device)
    starts = torch.tensor([start for start, _ in parts], device=device)[:, None]
    causal = torch.ones(widest, widest, dtype=torch.bool, device=device).tril()
    mask = causal & own[:, None, :]
    if before is not None:
        mask = torch.cat([before[:, None, :].expand(-1, widest, -1), mask], dim=2)
    mask = mask | ~own[:, :, None]  # padding sees everything, so that its states are finite; nobody sees it
    states = language_model_of(model).get_decoder()(
        inputs_embeds=embedded,
        attention_mask=_additive(mask[:, None], embedded.dtype),
        position_ids=(starts + torch.arange(widest, device=device)).clamp(max=_last_place(model)),
        past_key_values=cache,
        use_cache=True,
    )
    return _ReadRows(states.last_hidden_state, cache, own if before is None else torch.cat([before, own], dim=1))


def _last_place(model: Model) -> int:
    """The last position that the language model knows: padding stands there at most."""
    limit = getattr(language_model_of(model).config.get_text_config(), "max_position_embeddings", None)
    return int(limit) - 1 if limit else torch.iinfo(torch.int64).max


def _repeated(cache: DynamicCache, times: Tensor) -> DynamicCache:
    """Each row of a cache, ``times [B]`` times."""
    looks = isinstance(cache, PictureCache)
    repeated = PictureCache(cache.pictures.repeat_interleave(times, dim=0)) if looks else DynamicCache()
    for layer, own in enumerate(cache.layers):
        repeated.update(own.keys.repeat_interleave(times, dim=0), own.values.repeat_interleave(times, dim=0), layer)
    return repeated


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where something is seen and the smallest number elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
