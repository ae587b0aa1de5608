"""A small network that knows upright digits is adapted, by low-rank adapters, to digits that lie on their side.

What the pages on adapters train on: a shift that is the same for every width, far enough that the network is at chance
before, and of known rank (turning permutes the 64 pixels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.core.seeds import stream
from lucida.lab.datasets import load, split
from lucida.lab.low_rank import LowRank, adapted
from lucida.lab.networks import perceptron_for
from lucida.lab.stack import Stack, StackTrainer, Updates
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask

DATA, DEPTH, CLASSES = "digits", 3, 10
READ_STEPS, READ_RATE, BATCH = 200, 1e-3, 64
LAST = 0.1  # the share of the steps that is the end
_FEATURES = f"blocks.{DEPTH - 1}"  # what the head reads, before the activation


class Member(NamedTuple):
    """One network of a stack: whose seed, at which rate, with which adapters."""

    seed: int
    rate: float
    adapters: LowRank


@dataclass(frozen=True)
class Course:
    """How adapters are trained.

    Attributes:
        width: of the network.
        examples: lying digits; 0 for all of the training part.
        steps: with 64 examples each.
        looks: steps at which more is looked at than the loss, the last is the end.
    """

    width: int
    examples: int
    steps: int
    looks: tuple[int, ...]


def lying(seeds: Sequence[int], part: str, examples: int = 0) -> Batch:
    """Digits on their side of a part, ``[M, n, …]``; the first ``examples`` of it."""
    batch = upright(seeds, part)
    turned = torch.rot90(batch["inputs"], 1, (-2, -1))
    return {"inputs": turned[:, : examples or None], "labels": batch["labels"][:, : examples or None]}


def upright(seeds: Sequence[int], part: str) -> Batch:
    """Digits as they are, ``[M, n, …]``."""
    data = load(DATA)
    return data.examples(torch.stack([getattr(split(data, seed), part) for seed in seeds]))


def bases(width: int, seeds: Sequence[int]) -> dict[str, NDArray]:
    """Parameters ``[seeds, …]`` of networks that have read upright digits, and ``accuracy`` of those ``[seeds]``."""
    stack = Stack([perceptron_for(DATA, DEPTH, width).build(seed) for seed in seeds]).train()
    trainer = StackTrainer(stack, ClassificationTask, [READ_RATE] * len(seeds), Updates("adam"))
    train, order = (
        upright(seeds, "train"),
        _order(seeds, "upright", READ_STEPS, len(upright(seeds, "train")["labels"][0])),
    )
    for step in range(READ_STEPS):
        trainer.step(_rows(train, order[:, step]))
    known = {name: tensor.detach().numpy().copy() for name, tensor in stack.stacked_parameters().items()}
    return known | {"accuracy": _accuracy(stack, upright(seeds, "test")).numpy()}


def adapt(
    known: Mapping[str, NDArray], of: Sequence[int], members: Sequence[Member], course: Course
) -> dict[str, NDArray]:
    """Train adapters, all members at once.

    Args:
        known: :func:`bases` of the seeds ``of``.
        of: those seeds.
        members: adapters of one rank and one dropout.
        course: how.

    Returns:
        ``losses [M, steps]`` of each batch before its step, NaN once a member has diverged; ``validation`` and
        ``test`` ``[M, 2]``, accuracies before and after; at the looks and the end, ``[M, looks + 1]``, ``grad_a`` and
        ``grad_b`` (norms of the gradients), ``moved_a`` and ``moved_b`` (norms of the change over the norm of a random
        start), ``features`` (change of what the head reads, over its size before); ``values [M, 2 r]``, singular
        values of what was added to the middle layer, and ``upright [M]``, accuracy on upright digits after.
    """
    seeds = [member.seed for member in members]
    stack = Stack([_member(known, of, member, course.width) for member in members]).train()
    trainer = StackTrainer(stack, ClassificationTask, [member.rate for member in members], Updates("adam"))
    train = lying(seeds, "train", course.examples)
    order = _order(seeds, "lying", course.steps, len(train["labels"][0]))
    looks, losses = _Looks(stack, course, seeds, train), []
    for step in range(course.steps):
        torch.manual_seed(step)  # dropout's draws depend on the step alone
        if step in course.looks:
            looks.moved(stack)
        trainer.step(_rows(train, order[:, step]))
        losses.append(torch.where(trainer.alive, trainer.losses, torch.nan))
        if step in course.looks:
            looks.gradients(trainer)
    looks.moved(stack)
    looks.gradients(trainer)
    looks.right(stack)
    return looks.found(stack) | {"losses": torch.stack(losses, dim=1).double().numpy()}


def borne(losses: NDArray) -> NDArray:
    """Whether training went well: finite, and better at its end than guessing all classes alike, ``[…]``."""
    last = max(1, round(LAST * losses.shape[-1]))
    ends = losses[..., -last:].mean(axis=-1)
    return np.asarray(np.nan_to_num(ends, nan=np.inf) < np.log(CLASSES))


def _member(known: Mapping[str, NDArray], of: Sequence[int], member: Member, width: int) -> nn.Module:
    network, place = perceptron_for(DATA, DEPTH, width).build(member.seed), list(of).index(member.seed)
    network.load_state_dict({k: torch.from_numpy(v[place]) for k, v in known.items() if k != "accuracy"})
    return adapted(network, member.adapters, member.seed)


def _order(seeds: Sequence[int], what: str, steps: int, count: int) -> Tensor:
    """Rows of every batch, ``[M, steps, B]``: shuffled epochs one after another, the same for all members of a seed."""
    needed, orders = steps * BATCH, {}
    for seed in {*seeds}:
        generator = stream(seed, "lab", "order of digits", what)
        epochs = [generator.permutation(count) for _ in range(-(-needed // count))]
        orders[seed] = np.concatenate(epochs)[:needed].reshape(steps, BATCH)
    return torch.from_numpy(np.stack([orders[seed] for seed in seeds]))


def _rows(batch: Batch, rows: Tensor) -> Batch:
    members = torch.arange(len(rows))[:, None]
    return {name: tensor[members, rows] for name, tensor in batch.items()}


@torch.no_grad()
def _accuracy(stack: Stack, batch: Batch) -> Tensor:
    was = stack.training
    stack.eval()
    right = (stack(batch["inputs"]).argmax(dim=-1) == batch["labels"]).double().mean(dim=1)
    stack.train(was)
    return right


class _Looks:
    """What is seen of a stack along its course."""

    def __init__(self, stack: Stack, course: Course, seeds: Sequence[int], train: Batch):
        self.parts = {part: lying(seeds, part) for part in ("validation", "test")}
        self.upright = upright(seeds, "test")
        self.probed = _rows(train, torch.arange(min(BATCH, train["labels"].shape[1])).expand(len(seeds), -1))
        self.start = {name: tensor.detach().clone() for name, tensor in stack.stacked_parameters().items()}
        self.features = self._features(stack)
        self.seen: dict[str, list[Tensor]] = {}
        self.right(stack)

    @torch.no_grad()
    def _features(self, stack: Stack) -> Tensor:
        stack.eval()
        features: Tensor = stack(self.probed["inputs"], trace=True)[_FEATURES]
        stack.train()
        return features.flatten(1)

    def right(self, stack: Stack) -> None:
        """Accuracies on lying digits."""
        for part, batch in self.parts.items():
            self._keep(part, _accuracy(stack, batch))

    @torch.no_grad()
    def moved(self, stack: Stack) -> None:
        """How far everything has moved, before a step."""
        change = (self._features(stack) - self.features).norm(dim=1) / self.features.norm(dim=1)
        self._keep("features", change)
        for kind in ("a", "b"):
            moved, random = torch.zeros(stack.members), 0.0
            for name, tensor in stack.stacked_parameters().items():
                if name.endswith(f".{kind}"):
                    moved = moved + (tensor - self.start[name]).flatten(1).square().sum(dim=1)
                    random += tensor.shape[1] / 3  # of entries uniform with a bound of 1 / sqrt(inputs)
            self._keep(f"moved_{kind}", (moved / random).sqrt())

    def gradients(self, trainer: StackTrainer) -> None:
        """Of the step just taken."""
        parts = trainer.rows.parted(trainer.grads)
        for kind in ("a", "b"):
            squares = torch.zeros(len(trainer.grads))
            for name, part in zip(trainer.stack.stacked_parameters(), parts, strict=True):
                if name.endswith(f".{kind}"):
                    squares = squares + part.flatten(1).square().sum(dim=1)
            self._keep(f"grad_{kind}", squares.sqrt())

    def _keep(self, name: str, values: Tensor) -> None:
        self.seen.setdefault(name, []).append(values.detach().double())

    @torch.no_grad()
    def found(self, stack: Stack) -> dict[str, NDArray]:
        """All of it."""
        found = {name: torch.stack(values, dim=1).numpy() for name, values in self.seen.items()}
        return found | {"values": self._values(stack).numpy(), "upright": _accuracy(stack, self.upright).numpy()}

    def _values(self, stack: Stack) -> Tensor:
        """Singular values ``[M, 2 r]`` of what training added to the middle layer, from its factors."""
        layer, now = f"blocks.{DEPTH - 2}.linear", stack.stacked_parameters()
        left = torch.cat([now[f"{layer}.b"], -self.start[f"{layer}.b"]], dim=2)
        right = torch.cat([now[f"{layer}.a"], self.start[f"{layer}.a"]], dim=1).transpose(1, 2)
        inner = [
            torch.linalg.qr(torch.nan_to_num(m, posinf=0.0, neginf=0.0).double(), mode="r").R for m in (left, right)
        ]
        values = torch.linalg.svdvals(inner[0] @ inner[1].transpose(1, 2))
        return values * stack.stacked_buffers()[f"{layer}.scale"][:, None]
