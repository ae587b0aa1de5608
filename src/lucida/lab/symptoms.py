"""How a model of strips errs, in numbers from which the cause may be told: what an auditor can ask of a black box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.data.statistics import NEGATIVES
from lucida.lab.stack import Stack, StackTask
from lucida.lab.strip_answerer import StripTask
from lucida.lab.strip_exam import AT_LEAST, Examined, described, leaning, made, plainly, rates_of_yes
from lucida.lab.strip_learners import Learner, batch, teach
from lucida.lab.strips import DESCRIBE, END, KINDS, PLACES, coarse

COARSE = 3  # pixels a side of the blurred strips
MIST = 5.0  # noise of a misty strip's pixels, in standard deviations of all pixels


def symptoms(stack: Stack, exam: Examined, misty: Examined) -> dict[str, NDArray[np.float64]]:
    """By name, ``[M]`` each: errors as the strips are, as it says more or less likely things, blurred, and blind.

    Args:
        stack: the models.
        exam: what they are asked.
        misty: the same under noise of :data:`MIST`.
    """
    say, shape = plainly(stack, exam.pictures), exam.shape
    told, sampled = described(say, shape), described(say, shape, temperature=1.0)
    forced = made(described(say, shape, at_least=AT_LEAST), exam)
    own, hot = made(told, exam), made(sampled, exam)
    odds = leaning(say, exam.asked)
    yes = rates_of_yes(odds)
    made_up = np.maximum(forced.made_up, 1)
    found = {
        "made up": own.chair,
        "left out": 1 - own.recall,
        "made up, sampled": hot.chair,
        "left out, sampled": 1 - hot.recall,
        "made up, forced on": forced.chair,
        "company among them": forced.company / made_up,
        "frequent ones among them": forced.frequent / made_up,
        "missed": 1 - yes["there"],
        **{f"false yes, {how}": yes[how] for how in NEGATIVES},
        "undecided": (np.abs(odds) < 2).mean(axis=(1, 2)),
        "leans to yes": odds.mean(axis=(1, 2)),
        "false yes over missed": np.log((yes[NEGATIVES[0]] + 0.01) / (1 - yes["there"] + 0.01)),
    }
    return found | _texts(exam, told, odds) | _blurred(stack, exam, told) | _misty(stack, misty) | _blind(stack, exam)


def _texts(exam: Examined, told: NDArray[np.int64], odds: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """How descriptions are made, beyond what they name: who sees badly still says as many names as there are things."""
    things = np.stack([(one.kinds >= 0).sum(axis=1) for one in exam.strips])
    named = np.zeros((*told.shape[:2], END + 1), bool)
    np.put_along_axis(named, told, True, axis=2)
    names, different = (told < KINDS).sum(axis=2), named[..., :KINDS].sum(axis=2)
    there, rare = exam.there, np.stack([own.rank >= KINDS // 3 for own in exam.own])[:, None]
    left_out = [
        (there & ~named[..., :KINDS] & of).sum(axis=(1, 2)) / (there & of).sum(axis=(1, 2)) for of in (rare, ~rare)
    ]
    also_named = np.take_along_axis(named, exam.asked.numpy(), axis=2)
    return {
        "too many or too few names": np.abs(names - things).mean(axis=1),
        "named twice": (names - different).mean(axis=1),
        "rare ones left out, more than frequent ones": left_out[0] - left_out[1],
        "answers against the description": (also_named != (odds > 0)).mean(axis=(1, 2)),
    }


def _blurred(stack: Stack, exam: Examined, told: NDArray) -> dict[str, NDArray[np.float64]]:
    """What changes in a description when the strip is blurred: nothing for who sees no better."""
    blurred = described(plainly(stack, coarse(exam.pictures, COARSE)), exam.shape)
    return {"words changed by blur": (blurred != told).mean(axis=(1, 2))}


def _misty(stack: Stack, misty: Examined) -> dict[str, NDArray[np.float64]]:
    """What it names and answers where little is to be seen: what it expects."""
    say = plainly(stack, misty.pictures)
    told, odds = described(say, misty.shape), leaning(say, misty.asked)
    yes, of = rates_of_yes(odds), made(told, misty)
    frequent = np.stack([own.rank < KINDS // 3 for own in misty.own])
    named = told < KINDS
    places = np.where(named, told, 0)
    often = np.stack([of[own] for of, own in zip(frequent, places, strict=True)]) & named
    counted = np.maximum(named.sum(axis=(1, 2)), 1)
    return {
        "mist: made up": of.chair,
        "mist: names": named.sum(axis=2).mean(axis=1),
        "mist: frequent ones among them": often.sum(axis=(1, 2)) / counted,
        "mist: company among the made up": of.company / np.maximum(of.made_up, 1),
        "mist: missed": 1 - yes["there"],
        **{f"mist: false yes, {how}": yes[how] for how in NEGATIVES},
        "mist: leans to yes": odds.mean(axis=(1, 2)),
    }


@torch.no_grad()
def _blind(stack: Stack, exam: Examined) -> dict[str, NDArray[np.float64]]:
    """Without a strip: how sure it is of a first word, and of company and frequent kinds as the next ones."""
    models, pictures = exam.shape[0], exam.pictures.shape[2:]
    say = plainly(stack, torch.zeros(models, KINDS, *pictures))  # one strip for each kind that was said
    begun = torch.full((models, KINDS, PLACES + 2), DESCRIBE)
    begun[..., -1] = torch.arange(KINDS)
    logits = say(begun)
    first, after = (_names(logits[:, :, place]) for place in (-2, -1))
    company = torch.from_numpy(np.stack([own.company for own in exam.own]))
    frequent = torch.from_numpy(np.stack([own.rank < KINDS // 3 for own in exam.own]))[:, None]
    mean = first.mean(dim=1)
    return {
        "blind: entropy of the first word": np.asarray(-(mean * mean.clamp(min=1e-9).log()).sum(dim=-1)),
        "blind: company as the next word": np.asarray((after * company).sum(dim=-1).mean(dim=-1)),
        "blind: frequent as the next word": np.asarray((after * frequent).sum(dim=-1).mean(dim=-1)),
        "blind: ends": np.asarray(logits[:, :, -1].softmax(dim=-1)[..., END].mean(dim=-1).double()),
    }


def _names(logits: Tensor) -> Tensor:
    """Chances of the names alone, ``[…, KINDS]``."""
    return logits[..., :KINDS].double().softmax(dim=-1)


def lessened(stack: Stack, learners: Sequence[Learner], steps: range, n: int) -> dict[str, NDArray[np.float64]]:
    """How much a little more training lessens the loss on ``n`` other strips, as a logarithm; it changes the stack."""
    held_out = batch(learners, "validation", n)
    task = StackTask(stack, StripTask)
    with torch.no_grad():
        before = task.member_losses(held_out)
    teach(stack, learners, steps)
    with torch.no_grad():
        after = task.member_losses(held_out)
    stack.eval()
    return {"lessened by more training": np.asarray((before / after).log().double())}


def told_apart(known: NDArray[np.float64], causes: NDArray[np.int64], found: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which cause each model's symptoms speak of: logistic regression on symptoms in units of their spread.

    Shares go in as log-odds, so that one per cent and three differ as much as ten and thirty.

    Args:
        known: symptoms of models whose cause is known, ``[K, S]``.
        causes: of these, ``[K]``.
        found: symptoms of others, ``[M, S]``.
    """
    from sklearn.linear_model import LogisticRegression

    shares = (known.min(axis=0) >= 0) & (known.max(axis=0) <= 1)

    def stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = values.clip(0.005, 0.995)
        return np.asarray(np.where(shares, np.log(kept / (1 - kept)), values))

    known, found = stretched(known), stretched(found)
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-3
    fitted = LogisticRegression(C=1.0, max_iter=5000).fit((known - mean) / spread, causes)
    return np.asarray(fitted.predict((found - mean) / spread))
