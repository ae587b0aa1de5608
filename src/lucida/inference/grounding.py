"""Words are said as far as the picture's own tokens support them: a remedy that reads nothing a second time.

Contrastive decoding asks what the model would say without the picture, and takes that away; for this the conversation
is read again. Here the picture is asked instead: its tokens stand for words (:mod:`lucida.models.picture_words`), and
a name that no place of the picture stands for is said less. The same support makes "yes" and "no" surer, and marks in
any answer the names that the picture does not support.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from transformers import LogitsProcessor

from lucida.core.errors import LucidaError

WEIGHT, FLOOR = 2.0, -1.0
_LARGEST = 12.0  # log-odds beyond which more means nothing


class Supported(Protocol):
    """Knows the support of every word when it is needed: while the first token is chosen."""

    @property
    def support(self) -> Tensor:
        """``[B, V]``, logarithms."""


@dataclass(frozen=True)
class Known:
    """A support that is there from the start."""

    support: Tensor


class GroundedWords(LogitsProcessor):
    """Takes from the logits of names what the picture's support of them lacks: ``weight · max(floor - support, 0)``.

    A name with more support than the floor is said as before, and so is every other word.

    Args:
        supported: log-share of every word at its best place, ``[B, V]``.
        names: the tokens that may be taken from, ``int64 [n]``.
        weight: 0 changes nothing.
        floor: e^-1 = 37 % of the best place, unless given.

    Raises:
        LucidaError: a negative weight, or a floor above 0.
    """

    def __init__(self, supported: Supported, names: Tensor, *, weight: float = WEIGHT, floor: float = FLOOR):
        if weight < 0 or floor > 0:
            raise LucidaError(f"weight {weight} and floor {floor}", remedy="use a weight from 0 and a floor up to 0")
        self.supported, self.names, self.weight, self.floor = supported, names, weight, floor

        self._taken: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.weight:
            return scores
        if self._taken is None:  # it is the same for every token
            lacking = self.supported.support[:, self.names.to(self.supported.support.device)] - self.floor
            self._taken = scores.new_zeros(scores.shape)
            self._taken[:, self.names.to(scores.device)] = self.weight * lacking.clamp(max=0.0).to(scores)
        return scores + self._taken


@dataclass(frozen=True)
class GroundedOdds:
    """Log-odds of yes from what the model says and what the picture supports: ``a · odds + b · support + c``.

    Attributes:
        odds, support, bias: a, b and c, fitted on pictures whose objects are known (:func:`fit_odds`).
    """

    odds: float = 1.0
    support: float = 0.0
    bias: float = 0.0

    def __call__(self, odds: ArrayLike, support: ArrayLike) -> NDArray[np.float64]:
        """Of questions about names with these supports."""
        said = np.clip(np.asarray(odds, float), -_LARGEST, _LARGEST)
        return np.asarray(self.odds * said + self.support * np.asarray(support, float) + self.bias)


def fit_odds(odds: ArrayLike, support: ArrayLike, labels: ArrayLike) -> GroundedOdds:
    """By logistic regression: the probabilities are then calibrated where such questions are asked.

    Args:
        odds: log-odds of yes as the model says it, ``[Q]``.
        support: of the names asked about, ``[Q]``.
        labels: whether they are there.

    Raises:
        LucidaError: all labels are alike.
    """
    from sklearn.linear_model import LogisticRegression

    truth = np.asarray(labels, bool)
    if len({*truth.tolist()}) < 2:
        raise LucidaError("all answers are alike: nothing can be fitted", where=f"{len(truth)} questions")
    said = np.clip(np.asarray(odds, float), -_LARGEST, _LARGEST)
    fitted = LogisticRegression(C=100.0).fit(np.stack([said, np.asarray(support, float)], axis=1), truth)
    on_odds, on_support = map(float, fitted.coef_[0])
    return GroundedOdds(on_odds, on_support, float(fitted.intercept_[0]))


def fit_doubt(support: ArrayLike, there: ArrayLike) -> float:
    """The support that tells names of what is there from others best: the largest difference of both rates (Youden).

    Args:
        support: of names in pictures whose objects are known, ``[n]``.
        there: whether each is there.

    Raises:
        LucidaError: all are alike.

    >>> fit_doubt([-0.1, -0.5, -3.0, -4.0], [True, True, False, False])
    -0.5
    """
    values, truth = np.asarray(support, float).ravel(), np.asarray(there, bool).ravel()
    if len({*truth.tolist()}) < 2:
        raise LucidaError("all names are there, or none: nothing can be fitted", where=f"{len(truth)} names")
    kept = np.sort(values[truth])
    above = 1 - np.arange(len(kept)) / len(kept)  # share of what is there at each of its own values and above
    others = np.sort(values[~truth])
    wrong = 1 - np.searchsorted(others, kept, side="left") / len(others)
    return float(kept[np.argmax(above - wrong)])


@dataclass(frozen=True)
class Grounding:
    """How a model's answers are grounded; kept with the model.

    Attributes:
        odds: of yes and no.
        sure: probability of an answer from which it is given; below it "not sure" is the answer.
        doubt: support below which a name that was said is marked (:func:`fit_doubt`).
        weight, floor: of names, see :class:`GroundedWords`.
    """

    odds: GroundedOdds
    sure: float = 0.5
    doubt: float = FLOOR
    weight: float = WEIGHT
    floor: float = FLOOR


class GroundedYesNo(LogitsProcessor):
    """The answer's first token leans to yes or no by :class:`GroundedOdds`; later tokens are as they were.

    Args:
        odds: how.
        support: of the name each question asks about, ``[B]``.
        yes, no: tokens.
    """

    def __init__(self, odds: GroundedOdds, support: Sequence[float] | NDArray, yes: int, no: int):
        self.odds, self.named, self.yes, self.no = odds, np.asarray(support, float), yes, no
        self._length: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._length = input_ids.shape[1] if self._length is None else self._length
        if input_ids.shape[1] != self._length:
            return scores
        both = scores[:, [self.yes, self.no]]
        leaning = self.odds((both[:, 0] - both[:, 1]).double().cpu().numpy(), self.named)
        half = torch.from_numpy(leaning / 2).to(scores)
        middle = both.mean(dim=1)
        changed = scores.clone()
        changed[:, self.yes], changed[:, self.no] = middle + half, middle - half
        return changed
