"""Prompts behind one interface: what a frozen model is shown of an example, and how its scores become an answer.

A :class:`Prompt` turns an :class:`Example` into one or more :class:`Dialogue` s and combines the scores of the answers
that a model gives in them. :func:`choose_answers` does the rest and knows neither kind of prompt nor kind of model, so
that all ways to adapt a model are asked alike:

===================  ======================================================  =======================================
way                  prompt                                                  model, reader
===================  ======================================================  =======================================
hard prompt          :class:`HardPrompt`, the wording found by               frozen
                     :func:`~lucida.inference.prompt_search.search_prompts`
ensemble             :class:`PromptEnsemble`                                 frozen
in-context examples  :class:`InContextPrompt`                                frozen
soft prompt          :class:`HardPrompt`                                     ``with_soft_prompt``, ``soft_chat``
LoRA                 :class:`HardPrompt`, the wording it was trained with    with adapters
no label at all      :class:`HardPrompt`, a grammar's first template         frozen
===================  ======================================================  =======================================
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.prompt_grammar import fill
from lucida.inference.answer_scores import Model, OpenConversation, PictureFeatures, answer_log_probabilities


@dataclass(frozen=True)
class Example:
    """A picture and what is asked about it.

    Attributes:
        picture: its number.
        values: for the slots of a template (:func:`~lucida.data.prompt_grammar.slot_values`).
        answer: the true one; empty where it is not known.
    """

    picture: int
    values: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""


class Shot(NamedTuple):
    """A question about a picture that has been answered."""

    picture: int
    question: str
    answer: str


class Dialogue(NamedTuple):
    """What a model is shown: answered questions in order, then the open one.

    Attributes:
        shots: perhaps none.
        picture: the number of the last picture.
        question: about it.
    """

    shots: tuple[Shot, ...]
    picture: int
    question: str


class Prompt(Protocol):
    """A way to ask."""

    def dialogues(self, example: Example) -> tuple[Dialogue, ...]:
        """The K dialogues in which a model is asked about an example; K is the same for all examples."""

    def choose(self, log_likelihoods: Tensor) -> Tensor:
        """Log-probabilities of the answers ``[…, A]`` from their log-likelihoods in each dialogue ``[…, K, A]``."""


@dataclass(frozen=True)
class HardPrompt:
    """One template.

    Attributes:
        template: with slots, see :mod:`lucida.data.prompt_grammar`.
    """

    template: str

    def dialogues(self, example: Example) -> tuple[Dialogue, ...]:
        """The question alone."""
        return (Dialogue((), example.picture, fill(self.template, example.values)),)

    def choose(self, log_likelihoods: Tensor) -> Tensor:
        """Normalised over the answers."""
        return log_likelihoods[..., 0, :].log_softmax(dim=-1)


@dataclass(frozen=True, eq=False)
class InContextPrompt:
    """A template behind labelled examples in the same template, each with its picture.

    Of the answers, each occurs as often as the others or once more, as far as there are examples of it. An example of
    the picture that is asked about is never shown.

    Attributes:
        template: with slots.
        pool: labelled examples to choose from.
        k: how many are shown.
        seed: of the choice and the order, one for all questions.
        picture_features: ``[N, D]`` by number of the picture: those examples are shown then whose picture is most
            like the one that is asked about, the most alike last (RICES in Flamingo, Alayrac et al. 2022).

    Raises:
        LucidaError: more examples are asked for than there are, one has no answer, or its picture no features.
    """

    template: str
    pool: Sequence[Example]
    k: int
    seed: int = 0
    picture_features: Tensor | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= len(self.pool):
            raise LucidaError(f"{self.k} examples to show, {len(self.pool)} are labelled", where="k")
        for row, example in enumerate(self.pool):
            if not example.answer:
                raise LucidaError("an example without an answer cannot be shown", where=f"row {row}")
            if self.picture_features is not None and not 0 <= example.picture < len(self.picture_features):
                raise LucidaError(f"picture {example.picture} has no features", where=f"row {row}")

    def dialogues(self, example: Example) -> tuple[Dialogue, ...]:
        """The examples and the question."""
        shown = [self.pool[i] for i in self._rows(example)]
        shots = tuple(Shot(each.picture, fill(self.template, each.values), each.answer) for each in shown)
        return (Dialogue(shots, example.picture, fill(self.template, example.values)),)

    def choose(self, log_likelihoods: Tensor) -> Tensor:
        """Normalised over the answers."""
        return log_likelihoods[..., 0, :].log_softmax(dim=-1)

    def _rows(self, example: Example) -> list[int]:
        """The examples to show, in order."""
        others = [i for i, each in enumerate(self.pool) if each.picture != example.picture]
        if self.picture_features is None:
            keys, places = self._drawn
        else:
            places = self._likeness(example.picture)
            keys = -places
        order = balanced_order([self.pool[i].answer for i in others], keys[others])
        return sorted((others[i] for i in order[: self.k]), key=lambda i: places[i])

    @cached_property
    def _drawn(self) -> NDArray[np.float64]:
        """For each example two numbers: who is shown, and in what order."""
        return stream(self.seed, "in-context examples").random((2, len(self.pool)))

    def _likeness(self, picture: int) -> NDArray[np.float64]:
        """Cosines of the examples' pictures with this one, ``[pool]``."""
        features = self.picture_features
        assert features is not None
        if not 0 <= picture < len(features):
            raise LucidaError(f"picture {picture} has no features", where="the question")
        rows = F.normalize(features[[picture, *(each.picture for each in self.pool)]].double(), dim=-1)
        return (rows[1:] @ rows[0]).cpu().numpy()


@dataclass(frozen=True)
class PromptEnsemble:
    """Several prompts, each with the same weight.

    Attributes:
        prompts: that ask once each.
        mean: of log-probabilities (a product of experts: one prompt can veto an answer), or of probabilities (a
            mixture).

    Raises:
        LucidaError: there is no prompt.
    """

    prompts: Sequence[Prompt]
    mean: Literal["log_probability", "probability"] = "log_probability"

    def __post_init__(self) -> None:
        if not self.prompts:
            raise LucidaError("an ensemble of no prompt")

    def dialogues(self, example: Example) -> tuple[Dialogue, ...]:
        """One of each prompt.

        Raises:
            LucidaError: a prompt asks more than once.
        """
        asked = [prompt.dialogues(example) for prompt in self.prompts]
        if any(len(each) != 1 for each in asked):
            raise LucidaError("a prompt of an ensemble asks more than once", remedy="put its parts into the ensemble")
        return tuple(each[0] for each in asked)

    def choose(self, log_likelihoods: Tensor) -> Tensor:
        """The mean over prompts, normalised over the answers."""
        parts = [p.choose(log_likelihoods[..., i : i + 1, :]) for i, p in enumerate(self.prompts)]
        each = torch.stack(parts, dim=-2)
        if self.mean == "probability":
            return each.logsumexp(dim=-2) - math.log(len(parts))
        return each.mean(dim=-2).log_softmax(dim=-1)


def balanced_order(answers: Sequence[str], keys: ArrayLike) -> NDArray[np.int64]:
    """An order of which every beginning holds each answer as often as the others or once more, while there are any.

    Args:
        answers: of N examples.
        keys: ``[N]``; of one answer the examples with smaller keys come first.

    Returns:
        ``int64 [N]``.

    >>> balanced_order(["yes", "yes", "yes", "no"], [0.1, 0.2, 0.3, 0.4]).tolist()
    [0, 3, 1, 2]
    """
    by_key = np.argsort(np.asarray(keys), kind="stable")
    before: Counter[str] = Counter()
    turn = np.zeros(len(by_key), np.int64)  # the how-manieth of its answer
    for i in by_key:
        turn[i] = before[answers[i]]
        before[answers[i]] += 1
    return by_key[np.argsort(turn[by_key], kind="stable")]


class Reader(Protocol):
    """Writes dialogues as tokens: :mod:`lucida.inference.dialogue_readers`."""

    def read(self, dialogue: Dialogue, answers: Sequence[str]) -> OpenConversation:
        """The tokens of a dialogue, and of the answers it may have."""


class Scored(NamedTuple):
    """Answers in dialogues, and what they cost.

    Attributes:
        log_likelihoods: ``[C, A]``.
        pictures: shown in each dialogue, ``int64 [C]``.
        tokens: of each dialogue and the answers behind it, ``int64 [C]``; what is shared counts every time.
    """

    log_likelihoods: Tensor
    pictures: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AnswerScorer:
    """A model as something that scores answers in dialogues.

    Attributes:
        model: frozen, adapted or with a soft prompt.
        reader: how it reads.
        features: of the pictures by number, as the model's ``embed`` takes them.
        answers: to choose from.
        batch_size: dialogues that run together.

    Raises:
        LucidaError: fewer than two answers, or one twice.
    """

    model: Model
    reader: Reader
    features: PictureFeatures
    answers: tuple[str, ...]
    batch_size: int = 16

    def __post_init__(self) -> None:
        if len(set(self.answers)) != len(self.answers) or len(self.answers) < 2:
            raise LucidaError("two different answers to choose from are needed", where=f"{', '.join(self.answers)}")

    def __call__(self, dialogues: Sequence[Dialogue]) -> Scored:
        """Scores of all answers in each dialogue."""
        read = [self.reader.read(dialogue, self.answers) for dialogue in dialogues]
        return Scored(
            answer_log_probabilities(self.model, self.features, read, batch_size=self.batch_size),
            np.array([len(each.pictures) for each in read], np.int64),
            np.array([each.tokens for each in read], np.int64),
        )


class ChosenAnswers(NamedTuple):
    """What a model answers under a prompt, and what asking costs.

    Attributes:
        log_probabilities: of the answers, ``[N, A]``.
        texts: the most probable one of each, the first of equals.
        pictures: shown for a question, on average.
        tokens: read for a question, on average, if nothing is shared.
    """

    log_probabilities: Tensor
    texts: list[str]
    pictures: float
    tokens: float


def choose_answers(prompt: Prompt, scorer: AnswerScorer, examples: Sequence[Example]) -> ChosenAnswers:
    """Ask about examples, in whatever way.

    Raises:
        LucidaError: there is no example.
    """
    if not examples:
        raise LucidaError("there is no example to ask about")
    asked = [prompt.dialogues(example) for example in examples]
    scored = scorer([dialogue for each in asked for dialogue in each])
    chosen = prompt.choose(scored.log_likelihoods.unflatten(0, (len(asked), -1)))
    texts = [scorer.answers[i] for i in chosen.argmax(dim=-1).tolist()]
    n = len(examples)
    return ChosenAnswers(chosen, texts, float(scored.pictures.sum() / n), float(scored.tokens.sum() / n))
