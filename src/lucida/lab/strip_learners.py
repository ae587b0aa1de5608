"""Models of strips in the making: all that differ in what they learn from, trained as one stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lucida.lab.stack import Stack, StackTrainer, Updates
from lucida.lab.strip_answerer import Shape, StripAnswerer, StripTask
from lucida.lab.strip_exam import Examined, examined
from lucida.lab.strips import GRAIN, Habits, draw, lesson, world
from lucida.training.batches import Batch

BATCH = 64
CLIPPED = 1.0  # longest gradient


@dataclass(frozen=True)
class Learner:
    """A model and what it learns from.

    Attributes:
        seed: of its weights, its world and its lessons.
        habits: of what it learns from.
        shape: its own.
        rate: Adam's.
    """

    seed: int
    rate: float
    habits: Habits = field(default_factory=Habits)
    shape: Shape = field(default_factory=Shape)


def taught(learners: Sequence[Learner], steps: int) -> Stack:
    """All of them after ``steps`` batches, each in lessons of its own."""
    stack = Stack([StripAnswerer(one.shape, one.seed) for one in learners]).train()
    teach(stack, learners, range(steps))
    return stack.eval()


def teach(stack: Stack, learners: Sequence[Learner], steps: range) -> torch.Tensor:
    """Some more steps; the mean loss of the last ten, ``[M]``."""
    updates = Updates("adam", max_grad_norm=CLIPPED)
    trainer = StackTrainer(stack.train(), StripTask, [one.rate for one in learners], updates)
    losses = []
    for step in steps:
        trainer.step(batch(learners, f"train {step}", BATCH))
        losses.append(trainer.losses)
    return torch.stack(losses[-10:]).mean(dim=0)


def batch(learners: Sequence[Learner], part: str, n: int) -> Batch:
    """Rows of a part for each learner, ``[M, n, …]``."""
    rows = [lesson(one.seed, part, n, one.habits) for one in learners]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def exam_of(learners: Sequence[Learner], part: str, n: int, grain: float = GRAIN) -> Examined:
    """What the learners are examined on: as every one of its seed, but at the resolution at which it sees."""
    strips = [draw(one.seed, part, n, Habits(pixels=one.habits.pixels), grain) for one in learners]
    seeds = [one.seed for one in learners]
    return examined(strips, [world(seed) for seed in seeds], seeds)
