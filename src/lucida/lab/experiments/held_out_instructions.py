"""Does tuning on more kinds of instruction help with kinds that were held out, at equal examples?

Tiny multimodal models (:mod:`lucida.lab.instruction_answerer`) are tuned on some of twenty kinds of instruction about
strips (:mod:`lucida.lab.strip_instructions`) and asked four that they never met. From five kinds on all words of the
held-out kinds were trained on; what grows beyond is in how many combinations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lucida.core.seeds import stream
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.instruction_answerer import InstructionAnswerer, InstructionTask, Shape
from lucida.lab.observations import Observations
from lucida.lab.stack import Stack, StackTrainer, Updates
from lucida.lab.strip_instructions import (
    ASKED,
    ASKS,
    INSTRUCTIONS,
    MEANT,
    WORDINGS,
    answer_words,
    covering,
    instruct,
    lesson,
    strips_of,
)
from lucida.lab.strips import world
from lucida.training.batches import Batch

HELD_OUT, SHARED = 4, 5  # kinds that are held out; kinds that all but the first two arms have in common


class Arm(NamedTuple):
    """What a model is tuned on: so many kinds in so many wordings, with the strips or without them."""

    kinds: int
    wordings: int = 1
    blind: bool = False


ONE, TWO, FIVE, TEN, SIXTEEN = "one kind", "two kinds", "five kinds", "ten kinds", "sixteen kinds"
ONE_WORDED, FIVE_WORDED, BLIND = "one kind, all wordings", "five kinds, all wordings", "sixteen kinds, no strips"
BY_NUMBER = {ONE: 1, TWO: 2, FIVE: SHARED, TEN: 10, SIXTEEN: len(INSTRUCTIONS) - HELD_OUT}
ARMS: dict[str, Arm] = {name: Arm(kinds) for name, kinds in BY_NUMBER.items()} | {
    ONE_WORDED: Arm(1, WORDINGS),
    FIVE_WORDED: Arm(SHARED, WORDINGS),
    BLIND: Arm(len(INSTRUCTIONS) - HELD_OUT, blind=True),
}
TUNED = (FIVE, FIVE_WORDED, SIXTEEN)  # the arms of the primary claims have rates of their own
TUNED_LIKE = {ONE: FIVE, TWO: FIVE, FIVE: FIVE, TEN: SIXTEEN, SIXTEEN: SIXTEEN, BLIND: SIXTEEN} | {
    ONE_WORDED: FIVE_WORDED,
    FIVE_WORDED: FIVE_WORDED,
}
CONSTANT = "always the most frequent answer"

HELD, TRAINED, FIRST = "right, held-out kinds", "right, own kinds", "right, the five kinds"
IN_FORM, KNOWN = "in the form asked for, held-out kinds", "held-out kinds all whose words were trained on"
EARLY, LATE = "a third of the examples", "all examples"
NAMED = "places named"

Outcome = dict[str, NDArray]
"""By measure ``[seeds, arms]``; ``held course`` and ``trained course`` ``[seeds, arms, looks]``."""


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        steps, batch_size: of tuning; a step has so many strips with six instructions each.
        rates: Adam's that are tried.
        strips: on which each model is examined.
        looks: how often it is looked at on the way; a multiple of three.
        shape: of the models.
    """

    steps: int
    batch_size: int
    rates: tuple[float, ...]
    strips: int = 200
    looks: int = 6
    shape: Shape = field(default_factory=Shape)


class Learner(NamedTuple):
    """A model and what it is tuned on."""

    seed: int
    arm: Arm
    rate: float

    @property
    def kinds(self) -> list[int]:
        """Trained on."""
        return covering(self.seed, HELD_OUT)[1][: self.arm.kinds]

    @property
    def held_out(self) -> list[int]:
        """Never trained on, by any arm of the seed."""
        return covering(self.seed, HELD_OUT)[0]


def measure(bench: Bench, settings: Settings) -> Observations:
    """All arms, at rates that are chosen by kinds trained on."""
    rates = {name: _rate(bench, settings, name) for name in TUNED}
    outcome = outcomes(bench, settings, [rates[TUNED_LIKE[name]] for name in ARMS], bench.seeds, [*ARMS.values()])
    found = Observations()
    third = settings.looks // 3 - 1
    for k, name in enumerate(ARMS):
        found.record(HELD, name, outcome["held course"][:, k, third], EARLY)
        found.record(HELD, name, outcome["held course"][:, k, -1], LATE)
        found.record(HELD, name, outcome["held course"][:, k, -1])
        for measured in (TRAINED, IN_FORM, KNOWN):
            found.record(measured, name, outcome[measured][:, k])
        if ARMS[name].kinds >= SHARED:
            found.record(FIRST, name, outcome[FIRST][:, k])
        if not ARMS[name].blind:
            found.record(NAMED, name, outcome[NAMED][:, k])
        steps = np.arange(1, settings.looks + 1) * (settings.steps // settings.looks)
        found.draw(f"course/held/{name}", steps, outcome["held course"][:, k])
        found.draw(f"course/trained/{name}", steps, outcome["trained course"][:, k])
    found.record(HELD, CONSTANT, outcome[CONSTANT][:, 0])
    numbers = list(BY_NUMBER.values())
    columns = [list(ARMS).index(name) for name in BY_NUMBER]
    found.draw("by number/held", numbers, outcome["held course"][:, columns, -1])
    found.draw("by number/trained", numbers, outcome[TRAINED][:, columns])
    found.draw("by number/constant", numbers, np.repeat(outcome[CONSTANT][:, :1], len(numbers), axis=1))
    _by_part(found, outcome)
    found.facts |= {f"rate/{name}": rates[TUNED_LIKE[name]] for name in ARMS}
    found.facts["examples"] = settings.steps * settings.batch_size * ASKED
    return found


def _by_part(found: Observations, outcome: Outcome) -> None:
    """Held-out kinds by what is asked and by which thing is meant, over all seeds that held such a kind out."""
    for name in (FIVE, SIXTEEN, FIVE_WORDED):
        right, asked = (outcome[key][:, list(ARMS).index(name)].sum(axis=0) for key in ("right by kind", "asked"))
        for part, words in ((0, ASKS), (1, MEANT)):
            for number, word in enumerate(words):
                rows = [k for k, kind in enumerate(INSTRUCTIONS) if kind[part] == number]
                if asked[rows].sum():
                    found.facts[f"right by part/{name}/{word}"] = float(right[rows].sum() / asked[rows].sum())


def _rate(bench: Bench, settings: Settings, name: str) -> float:
    """What is best on the tuning seeds' validation strips, by the arm's own kinds."""

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        found = {}
        for rate in rates:
            outcome = outcomes(bench, settings, [rate], bench.tuning_seeds, [ARMS[name]], part="validation")
            score, loss = 1 - float(outcome[TRAINED].mean()), float(outcome["loss"].mean())
            found[rate] = Tried(score, loss, bool(np.isfinite(loss)))
        return found

    return bench.chosen_from(name, settings.rates, tried)


def outcomes(
    bench: Bench,
    settings: Settings,
    rates: Sequence[float],
    seeds: Sequence[int],
    arms: Sequence[Arm],
    part: str = "test",
) -> Outcome:
    """Models of all arms, each at its rate, and all seeds, tuned and examined."""
    key = (repr(settings), list(rates), tuple(seeds), repr(list(arms)), part, load("emoji").content_key)
    told = f"{len(seeds)} seeds, {len(arms)} arms, {part}, rates from {min(rates):.2g} to {max(rates):.2g}"
    return bench.remember(told, key, partial(_measured, settings, rates, seeds, arms, part))


def _measured(
    settings: Settings, rates: Sequence[float], seeds: Sequence[int], arms: Sequence[Arm], part: str
) -> Outcome:
    learners = [Learner(seed, arm, rate) for seed in seeds for arm, rate in zip(arms, rates, strict=True)]
    stack = Stack([InstructionAnswerer(settings.shape, one.seed) for one in learners]).train()
    trainer = StackTrainer(stack, InstructionTask, [one.rate for one in learners], Updates("adam", max_grad_norm=1.0))
    exams = {"held course": Exam(learners, part, settings.strips, _held_out),
             "trained course": Exam(learners, part, settings.strips, _kinds)}  # fmt: skip
    courses: dict[str, list[NDArray]] = {name: [] for name in exams}
    losses = []
    for step in range(settings.steps):
        trainer.step(batch(learners, f"train {step}", settings.batch_size, _kinds))
        losses.append(trainer.losses)
        if (step + 1) % (settings.steps // settings.looks) == 0 and len(courses["held course"]) < settings.looks:
            for name, exam in exams.items():
                courses[name].append(exam.right(stack).mean(axis=(1, 2)))
    flat = examined(stack.eval(), learners, part, settings.strips)
    flat |= {name: np.stack(course, axis=1) for name, course in courses.items()}
    flat["loss"] = np.asarray(torch.stack(losses[-10:]).mean(dim=0))
    return {name: values.reshape(len(seeds), len(arms), *values.shape[1:]) for name, values in flat.items()}


def _held_out(one: Learner) -> list[int]:
    return one.held_out


def _kinds(one: Learner) -> list[int]:
    return one.kinds


def batch(learners: Sequence[Learner], part: str, n: int, kinds: Callable[[Learner], list[int]]) -> Batch:
    """Rows to learn from for each learner, ``[M, n, …]``: of one seed all see the same strips."""
    return _stacked(_rows(learners, part, n, kinds, worded=True)[0])


def _stacked(rows: Sequence[Mapping[str, torch.Tensor]]) -> Batch:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _rows(
    learners: Sequence[Learner], part: str, n: int, kinds: Callable[[Learner], list[int]], *, worded: bool
) -> tuple[list[Batch], list[NDArray[np.int64]]]:
    """Of each learner a lesson, and the kinds of its instructions ``[n, ASKED]``."""
    strips = {seed: strips_of(seed, part, n) for seed in {one.seed for one in learners}}
    lessons, asked = [], []
    for one in learners:
        own, generator = np.array(kinds(one)), stream(one.seed, "lab", "instructions", part)
        which = own[generator.integers(len(own), size=(n, ASKED))]
        told = instruct(strips[one.seed], world(one.seed), which, generator, one.arm.wordings if worded else 1)
        lessons.append(lesson(strips[one.seed], told, one.arm.blind))
        asked.append(which)
    return lessons, asked


class Exam:
    """Instructions of some kinds about strips that are not trained on, in the first wording.

    Args:
        learners: ``M``.
        part: of the strips.
        n: strips.
        kinds: that each learner is asked.
    """

    def __init__(self, learners: Sequence[Learner], part: str, n: int, kinds: Callable[[Learner], list[int]]):
        lessons, asked = _rows(learners, part, n, kinds, worded=False)
        self.batch, self.asked = _stacked(lessons), np.stack(asked)
        self.answers = self.batch["answers"].numpy()

    @torch.no_grad()
    def said(self, stack: Stack) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What places are taken for ``[M, n, PLACES]``, and the answers ``[M, n, ASKED]``."""
        named, logits = stack(self.batch["pictures"], self.batch["tokens"])
        return named.argmax(dim=-1).numpy(), logits.argmax(dim=-1).numpy()

    def right(self, stack: Stack) -> NDArray[np.float64]:
        """Which answers are right, ``[M, n, ASKED]``."""
        return np.asarray(self.said(stack)[1] == self.answers, dtype=float)


def examined(stack: Stack, learners: Sequence[Learner], part: str, n: int) -> Outcome:
    """Everything that is measured at the end, ``[M, …]``."""
    held, own, first = (
        Exam(learners, part, n, kinds)
        for kinds in (_held_out, _kinds, lambda one: covering(one.seed, HELD_OUT)[1][:SHARED])
    )
    named, said = held.said(stack)
    places = held.batch["places"].numpy()
    allowed = answer_words()[np.array(INSTRUCTIONS)[held.asked, 0]]  # [M, n, ASKED, WORDS]
    right = said == held.answers
    by_kind = [[(held.asked == k)[m].astype(float) for k in range(len(INSTRUCTIONS))] for m in range(len(learners))]
    counted = np.array([[at.sum() for at in rows] for rows in by_kind])
    return {
        TRAINED: own.right(stack).mean(axis=(1, 2)),
        FIRST: first.right(stack).mean(axis=(1, 2)),
        IN_FORM: np.take_along_axis(allowed, said[..., None], axis=3)[..., 0].mean(axis=(1, 2)),
        KNOWN: np.array([_known(one) for one in learners]),
        CONSTANT: np.array([_constant(*each) for each in zip(held.asked, held.answers, strict=True)]),
        NAMED: ((named == places) & (places >= 0)).sum(axis=(1, 2)) / np.maximum((places >= 0).sum(axis=(1, 2)), 1),
        "right by kind": np.array([[(at * right[m]).sum() for at in rows] for m, rows in enumerate(by_kind)]),
        "asked": counted,
    }


def _known(one: Learner) -> float:
    """Of the held-out kinds the share whose words were all trained on."""
    asks, meant = ({INSTRUCTIONS[k][part] for k in one.kinds} for part in (0, 1))
    return float(np.mean([INSTRUCTIONS[k][0] in asks and INSTRUCTIONS[k][1] in meant for k in one.held_out]))


def _constant(asked: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """How often the best answer that is always the same is right, kind by kind and with hindsight."""
    counts = [np.bincount(answers[asked == kind]).max() for kind in np.unique(asked)]
    return float(np.sum(counts) / asked.size)
