"""Remedies on models of strips: in decoding, as ways to say; in training, as more of it or as preferences."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import stream
from lucida.inference.contrast import contrasted, noised
from lucida.inference.grounding import GroundedOdds, GroundedWords, Known, fit_odds
from lucida.lab.stack import Stack, StackTrainer, Updates
from lucida.lab.strip_exam import Examined, Say, described, leaning, plainly
from lucida.lab.strip_learners import CLIPPED, Learner, exam_of, teach
from lucida.lab.strips import (
    ASKED,
    END,
    IGNORED,
    KINDS,
    NO,
    PLACES,
    ROW,
    SAID,
    TOLD,
    YES,
    Habits,
    draw,
    questions,
    row,
    said,
    world,
)
from lucida.losses.preference import AnswerLogs, PreferenceSettings, preference_loss
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput

_PAIRS, _POOL = 32, 512  # pairs a batch; strips that are described for pairs


def contrast(stack: Stack, pictures: Tensor, other: Tensor) -> Say:
    """The plain reading, with what is said of other strips taken away."""
    own, taken = plainly(stack, pictures), plainly(stack, other)
    return lambda tokens: contrasted(own(tokens), taken(tokens))


def distorted(stack: Stack, pictures: Tensor, step: int) -> Say:
    """Contrast with strips under the noise of a diffusion step, which is for pixels that vary by 1."""
    spread = pictures.std()
    return contrast(stack, pictures, spread * noised(pictures / spread, step, torch.Generator().manual_seed(0)))


def cut(stack: Stack, pictures: Tensor) -> Say:
    """What is implausible beside the likeliest word is never said, as contrasts have it; nothing is taken away."""
    own = plainly(stack, pictures)

    def say(tokens: Tensor) -> Tensor:
        logits = own(tokens)
        return contrasted(logits, logits, alpha=0.0)

    return say


def early(stack: Stack, pictures: Tensor) -> Say:
    """Contrast with the first block of the same reading."""

    def say(tokens: Tensor) -> Tensor:
        whole, first = (stack(pictures, tokens, early=own)[1].log_softmax(dim=-1) for own in (False, True))
        return contrasted(whole, first, alpha=float("inf"))

    return say


def support(stack: Stack, pictures: Tensor) -> Tensor:
    """Log-share of each kind at the place that says it most, ``[M, N, KINDS]``."""
    short = torch.full((*pictures.shape[:2], PLACES + 1), END)
    named: Tensor = stack(pictures, short)[0]
    return named.log_softmax(dim=-1)[..., :KINDS].amax(dim=2)


def grounded(stack: Stack, pictures: Tensor) -> Say:
    """Names are said as far as a place of the strip stands for them."""
    own, supported = plainly(stack, pictures), support(stack, pictures)
    words = F.pad(supported.flatten(0, 1), (0, END + 2 - KINDS))
    taken = GroundedWords(Known(words), torch.arange(KINDS))(torch.zeros(0), torch.zeros_like(words))
    taken = taken.view(*supported.shape[:2], 1, -1)
    return lambda tokens: own(tokens) + taken


def fitted(stack: Stack, exam: Examined) -> list[GroundedOdds]:
    """How each model's yes and no are weighed with the support, learned on other strips."""
    odds, own = leaning(plainly(stack, exam.pictures), exam.asked), _asked_support(stack, exam)
    there = np.take_along_axis(exam.there, exam.asked.numpy(), axis=2)
    return [fit_odds(*(each[m].ravel() for each in (odds, own, there))) for m in range(len(odds))]


def grounded_odds(stack: Stack, exam: Examined, weights: Sequence[GroundedOdds]) -> NDArray[np.float64]:
    """Log-odds of yes with the support, ``[M, N, ASKED]``."""
    odds, own = leaning(plainly(stack, exam.pictures), exam.asked), _asked_support(stack, exam)
    return np.stack([weigh(odds[m], own[m]) for m, weigh in enumerate(weights)])


@torch.no_grad()
def _asked_support(stack: Stack, exam: Examined) -> NDArray[np.float64]:
    return np.asarray(support(stack, exam.pictures).gather(2, exam.asked).double())


def taught_on(stack: Stack, learners: Sequence[Learner], steps: range) -> Stack:
    """A copy after more lessons, of the learners' own habits."""
    own = copy.deepcopy(stack)
    teach(own, learners, steps)
    return own.eval()


class Pairs(NamedTuple):
    """Better and worse answers of one model.

    Attributes:
        pictures: ``[P, …]``; ``other``: of strips for which the better answer is false.
        tokens, labels: of the better (0) and the worse one (1), ``int64 [P, 2, ROW]``.
    """

    pictures: Tensor
    other: Tensor
    tokens: Tensor
    labels: Tensor


def pairs_of(stack: Stack, learners: Sequence[Learner]) -> list[Pairs]:
    """What each model makes up about strips of its own kind, beside what would have been true.

    Descriptions that name what is not there (greedy ones and sampled ones) against the true one; false yes and missed
    ones against the right answer, as many of either.
    """
    strips = [draw(one.seed, "preference", _POOL, one.habits) for one in learners]
    pictures = torch.stack([one.pictures for one in strips])
    say = plainly(stack, pictures)
    told = [described(say, (len(strips), _POOL), temperature=temperature) for temperature in (0.0, 1.0)]
    generators = [stream(one.seed, "lab", "strips", "pairs") for one in learners]
    asked = [
        questions(own, world(one.seed), 0.5, generator)
        for own, one, generator in zip(strips, learners, generators, strict=True)
    ]
    odds = leaning(say, torch.from_numpy(np.stack([kinds for kinds, _ in asked])))
    found = []
    for m, (own, generator) in enumerate(zip(strips, generators, strict=True)):
        true = said(own, 0.0, generator)
        rows = [_description(own.there, true, each[m]) for each in told] + [_answers(*asked[m], odds[m], generator)]
        which, tokens, labels = _gathered(rows)
        others = own.pictures[_false_elsewhere(own.there, which, tokens, labels, generator)]
        found.append(Pairs(own.pictures[which], others, torch.from_numpy(tokens), torch.from_numpy(labels)))
    return found


def _false_elsewhere(
    there: NDArray[np.bool_],
    which: NDArray[np.int64],
    tokens: NDArray[np.int64],
    labels: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Of each pair a strip of which the better answer is not true, drawn from all such, ``int64 [P]``."""
    kind, answer = tokens[:, 0, SAID.stop + 1].clip(0, KINDS - 1), labels[:, 0, SAID.stop + 1]
    shows_other_kinds = (there[which][:, None] != there).any(axis=-1)
    elsewhere = there[:, kind].T  # strips that show the kind asked about
    false = np.where((answer == IGNORED)[:, None], shows_other_kinds, elsewhere != (answer == YES)[:, None])
    return np.asarray(np.argmax(false * (generator.random(false.shape) + 0.1), axis=1))


_Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _gathered(rows: Sequence[_Rows]) -> _Rows:
    """All of them; where there are none, one without labels, from which nothing is learned."""
    which, tokens, labels = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    if not len(which):
        return np.zeros(1, np.int64), np.full((1, 2, ROW), END), np.full((1, 2, ROW), IGNORED)
    return which, tokens, labels


def _description(there: NDArray[np.bool_], true: NDArray[np.int64], told: NDArray[np.int64]) -> _Rows:
    """Strips whose description makes something up; tokens and labels of what is true and of it."""
    named = np.zeros((len(told), END + 1), bool)
    np.put_along_axis(named, told, True, axis=1)
    which = np.flatnonzero((named[:, :KINDS] & ~there).any(axis=1))
    ended = np.where(np.cumsum(told == END, axis=1) > 1, IGNORED, told)
    tokens, labels = [], []
    for text in (true[which], ended[which]):
        tokens.append(row(text, np.zeros((len(which), ASKED), np.int64)))
        own = np.full((len(which), ROW), IGNORED)
        own[:, SAID.start : SAID.start + TOLD] = text
        labels.append(own)
    return which, np.stack(tokens, axis=1), np.stack(labels, axis=1)


def _answers(
    kinds: NDArray[np.int64], right: NDArray[np.int64], odds: NDArray[np.float64], generator: np.random.Generator
) -> _Rows:
    """Questions answered wrong, as many of those answered yes as of those answered no where there are both."""
    wrong = (odds > 0) != (right == YES)
    sides = [np.argwhere(wrong & (right == truth)) for truth in (YES, NO)]
    n = min(map(len, sides))
    chosen = np.concatenate([side[generator.permutation(len(side))[:n]] for side in sides])
    nothing = np.full((len(chosen), TOLD), END)
    asked = np.repeat(kinds[chosen[:, 0], chosen[:, 1]][:, None], ASKED, axis=1)
    tokens = np.repeat(row(nothing, asked)[:, None], 2, axis=1)
    labels = np.full((len(chosen), 2, ROW), IGNORED)
    truth = right[chosen[:, 0], chosen[:, 1]]
    labels[:, 0, SAID.stop + 1], labels[:, 1, SAID.stop + 1] = truth, np.where(truth == YES, NO, YES)
    return chosen[:, 0], tokens, labels


class PreferencePairsTask:
    """The preference loss of pairs of texts; a batch has those of :class:`Pairs` and ``reference [B, 3]``."""

    def __init__(self, model: nn.Module):
        self.model, self.settings = model, PreferenceSettings()

    def logs(self, batch: Batch) -> AnswerLogs:
        """Of the better text, of the worse one, and of the better one with another strip."""
        shown, tokens, labels = batch["pictures"], batch["tokens"], batch["labels"]
        return AnswerLogs(
            self._logs(shown, tokens[:, 0], labels[:, 0]),
            self._logs(shown, tokens[:, 1], labels[:, 1]),
            self._logs(batch["other"], tokens[:, 0], labels[:, 0]),
        )

    def _logs(self, pictures: Tensor, tokens: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(pictures, tokens)[1]
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORED)
        return -losses.view(labels.shape).sum(dim=1)

    def loss(self, batch: Batch) -> LossOutput:
        found = preference_loss(self.logs(batch), AnswerLogs(*batch["reference"].unbind(dim=1)), self.settings)
        return LossOutput(found.sum(), torch.tensor(float(len(found))))


class _Told(nn.Module):
    """The logs of a batch, to be mapped over a stack."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor, other: Tensor, tokens: Tensor, labels: Tensor) -> Tensor:
        batch = {"pictures": pictures, "other": other, "tokens": tokens, "labels": labels}
        return torch.stack(PreferencePairsTask(self.model).logs(batch), dim=1)


def preferred(stack: Stack, learners: Sequence[Learner], rates: Sequence[float], steps: int) -> Stack:
    """A copy of each model, tuned against what it makes up itself."""
    pools = pairs_of(stack, learners)
    own = copy.deepcopy(stack).train()
    reference = Stack([_Told(stack.member(m)) for m in range(stack.members)]).eval()
    trainer = StackTrainer(own, PreferencePairsTask, rates, Updates("adam", max_grad_norm=CLIPPED))
    generators = [stream(one.seed, "lab", "strips", "order of pairs") for one in learners]
    for _ in range(steps):
        rows = [
            torch.from_numpy(g.integers(len(p.tokens), size=_PAIRS)) for g, p in zip(generators, pools, strict=True)
        ]
        parts = [[each[chosen] for each in pool] for pool, chosen in zip(pools, rows, strict=True)]
        batch = {name: torch.stack([part[k] for part in parts]) for k, name in enumerate(Pairs._fields)}
        with torch.no_grad():
            batch["reference"] = reference(*batch.values())
        trainer.step(batch)
    return own.eval()


def true_and_balanced(learner: Learner) -> Learner:
    """The same learner with lessons that are neither skewed nor wrong; as many as before are read without a strip."""
    habits = Habits(pixels=learner.habits.pixels, unseen=learner.habits.unseen)
    return Learner(learner.seed, learner.rate, habits, learner.shape)


def held_out(learners: Sequence[Learner], n: int) -> Examined:
    """Other strips than those of the examination, to fit and to tune on."""
    return exam_of(learners, "validation", n)
