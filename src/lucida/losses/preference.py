"""Preferences between answers: DPO, with mDPO's two terms that make the picture count.

An answer's log-likelihood is the sum over its tokens. With the policy's minus the reference's written as a log-ratio
``r(answer | picture, question)``, a pair of answers costs

- ``-log σ(β r(chosen | picture) - β r(rejected | picture))``: direct preference optimisation (DPO, Rafailov et al.
  2023, arXiv 2305.18290, eq. 7);
- ``-log σ(β r(chosen | picture) - β r(chosen | other picture))``: the same answer is preferred where it is true (mDPO,
  Wang et al. 2024, arXiv 2406.11839, its conditional term). DPO alone can be satisfied by the words, whatever is shown;
- ``-log σ(β r(chosen | picture))``: mDPO's anchor (its δ = 0). DPO alone lets both answers become unlikely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lucida.core.errors import LucidaError
from lucida.losses.language_modeling import CHUNK_BYTES, IGNORE_INDEX


@dataclass(frozen=True)
class PreferenceSettings:
    """What a pair of answers costs.

    Attributes:
        beta: how much a log-ratio counts: the larger, the nearer the policy stays to the reference.
        conditional_weight: of the term that compares pictures; 0 leaves it out.
        anchor_weight: of the term that keeps the chosen answer likely; 0 leaves it out.
        label_smoothing: chance that a pair is the wrong way round (conservative DPO, Mitchell 2023); below 0.5.
    """

    beta: float = 0.1
    conditional_weight: float = 1.0
    anchor_weight: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        allowed = {
            "beta": self.beta > 0,
            "conditional_weight": self.conditional_weight >= 0,
            "anchor_weight": self.anchor_weight >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 0.5,
        }
        for name, fine in allowed.items():
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)!r}", where="PreferenceSettings")


class AnswerLogs(NamedTuple):
    """Log-likelihoods of the answers of N pairs, each ``[N]``.

    Attributes:
        chosen: of the better answer to a question about a picture.
        rejected: of the worse one.
        distorted: of the better one, where another picture is shown.
    """

    chosen: Tensor
    rejected: Tensor
    distorted: Tensor


class PreferenceTerms(NamedTuple):
    """The three terms, each ``[N]``, not yet weighted."""

    preference: Tensor
    conditional: Tensor
    anchor: Tensor


def preference_terms(policy: AnswerLogs, reference: AnswerLogs, settings: PreferenceSettings) -> PreferenceTerms:
    """The terms of each pair; ``log 2`` all where the policy is the reference.

    Args:
        policy: of the model that is trained, with a graph.
        reference: of the model it started as.
        settings: see there.

    Raises:
        ValueError: log-likelihoods of different numbers of pairs.

    >>> even = AnswerLogs(*torch.zeros(3, 1))
    >>> terms = preference_terms(AnswerLogs(*torch.tensor([[2.0], [-8.0], [2.0]])), even, PreferenceSettings())
    >>> [round(term.item(), 4) for term in terms]  # log(1 + exp(-1)), log 2, log(1 + exp(-0.2))
    [0.3133, 0.6931, 0.5981]
    """
    shapes = {tuple(logs.shape) for logs in (*policy, *reference)}
    if len(shapes) != 1:
        raise ValueError(f"log-likelihoods of different numbers of pairs: {sorted(shapes)}")
    chosen, rejected, distorted = (settings.beta * (new - old) for new, old in zip(policy, reference, strict=True))
    smooth = settings.label_smoothing
    margin = chosen - rejected
    preference = -(1 - smooth) * F.logsigmoid(margin) - smooth * F.logsigmoid(-margin)
    return PreferenceTerms(preference, -F.logsigmoid(chosen - distorted), -F.logsigmoid(chosen))


def weighted(terms: PreferenceTerms, settings: PreferenceSettings) -> Tensor:
    """What each pair costs: the terms as the settings weigh them, ``[N]``."""
    return terms.preference + settings.conditional_weight * terms.conditional + settings.anchor_weight * terms.anchor


def preference_loss(policy: AnswerLogs, reference: AnswerLogs, settings: PreferenceSettings) -> Tensor:
    """What each pair costs, ``[N]``; arguments and errors of :func:`preference_terms`."""
    return weighted(preference_terms(policy, reference, settings), settings)


def answer_log_likelihoods(
    hidden_states: Tensor,
    weight: Tensor,
    labels: Tensor,
    answers: Tensor,
    count: int,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """The log-likelihood of each of some answers: the sum over its tokens.

    Rows that are not supervised are dropped before the vocabulary. The others meet it in parts of ``chunk_bytes`` of
    logits; where there are several, the logits are computed again on the way back instead of being kept.

    Args:
        hidden_states: ``[N, D]``, the state that predicts the label of its row.
        weight: ``[V, D]``, the output embedding.
        labels: ``int64 [N]``, aligned with the states (:func:`~lucida.losses.language_modeling.shift_labels`).
        answers: ``int64 [N]``, which answer a supervised row belongs to; the others' numbers do not matter.
        count: how many answers there are.
        chunk_bytes: of logits at one time, at least one row's.

    Returns:
        ``[count]``, ``float32`` or wider.

    Raises:
        ValueError: an answer's number is out of range.
    """
    supervised = labels != IGNORE_INDEX
    states, targets, owner = hidden_states[supervised], labels[supervised], answers[supervised]
    if len(owner) and (int(owner.min()) < 0 or int(owner.max()) >= count):
        raise ValueError(f"answers must be numbered from 0 to {count - 1}")
    size = max(1, chunk_bytes // (len(weight) * 4))
    starts = range(0, len(targets), size)
    parts = [
        _token_logs(states[at : at + size], weight, targets[at : at + size])
        if len(starts) == 1
        else checkpoint(_token_logs, states[at : at + size], weight, targets[at : at + size], use_reentrant=False)
        for at in starts
    ]
    wide = torch.float64 if hidden_states.dtype == torch.float64 else torch.float32
    sums = torch.zeros(count, dtype=wide, device=hidden_states.device)
    return sums.index_add(0, owner, torch.cat(parts)) if parts else sums + hidden_states.sum() * 0.0


def _token_logs(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Of each row's target, ``[n]``."""
    logits = states @ weight.T
    return -F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), targets, reduction="none")


def plain_answer_log_likelihoods(
    hidden_states: Tensor, weight: Tensor, labels: Tensor, answers: Tensor, count: int
) -> Tensor:
    """The same, the formula as it stands: every row meets the vocabulary, and answers are summed one by one."""
    logs = (hidden_states @ weight.T).log_softmax(dim=-1)
    own = logs.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return torch.stack([own[(labels != IGNORE_INDEX) & (answers == i)].sum() for i in range(count)])
