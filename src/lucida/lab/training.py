"""Training the members of an experiment at once: batches by seed, what is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.core.seeds import derive_seed, stream
from lucida.lab.datasets import Dataset, Split, load, split
from lucida.lab.networks import NetworkConfig
from lucida.lab.penalties import Penalised
from lucida.lab.skew import Order, Parts, Skew, draw_order, towards, with_new_head
from lucida.lab.stack import SingleTrainer, Stack, StackTrainer, Updates
from lucida.losses.imbalance import ClassLoss, ScheduledLoss
from lucida.training.batches import Batch
from lucida.training.imbalance import Remedy
from lucida.training.tasks import ClassificationTask, Task

SEEN = 512  # training examples in an evaluation


@dataclass(frozen=True)
class Member:
    """One network of an experiment: its seed (weights, split, order of the examples), its rate, its settings."""

    seed: int
    rate: float
    network: NetworkConfig


@dataclass(frozen=True)
class Training:
    """What the members of a stack have in common.

    Attributes:
        data: name of the data set.
        batch_size: examples in a step; 0 for all of them.
        steps: how many.
        every: an evaluation each so many steps, besides before the first and after the last.
        updates: optimizer and clipping.
        l1, l2: penalties on the weights, added to the loss: ``l1 · Σ|w|`` and ``l2/2 · Σw²``.
        before: an earlier training and its rate, with which the networks start instead of fresh ones.
        skew: how many examples of each class the parts have; by default a seed's split as it is.
        remedy: what is done about the skew in loss and sampling.
        head_alone: after ``before`` the head is drawn anew, and nothing else trains (classifier re-training).

    Raises:
        LucidaError: a remedy without a skew: members of one stack must have the same examples of each class.
    """

    data: str
    batch_size: int
    steps: int
    every: int
    updates: Updates = field(default_factory=Updates)
    l1: float = 0.0
    l2: float = 0.0
    before: tuple[Training, float] | None = None
    skew: Skew | None = None
    remedy: Remedy | None = None
    head_alone: bool = False

    def __post_init__(self) -> None:
        if self.remedy is not None and self.skew is None:
            raise LucidaError("a remedy without a skew", where="lab", remedy="say how many examples each class has")


@dataclass(frozen=True)
class Moment:
    """What an observer sees.

    Attributes:
        stack: the networks, in training mode.
        batch: the first batch of the run, ``[M, B, …]``: the same at every evaluation.
        train, test: up to 512 training examples, and all test examples, ``[M, n, …]``.
        step: how many steps are done.
        rates: of the members, ``[M]``.
        validation: all validation examples, ``[M, n, …]``.
    """

    stack: Stack
    batch: Batch
    train: Batch
    test: Batch
    step: int
    rates: Tensor
    validation: Batch = field(default_factory=dict)


Observer = Callable[[Moment], Tensor]
"""Looks, changes nothing, returns ``[M, …]``."""


@dataclass(frozen=True)
class Outcome:
    """What was recorded, a row a member.

    Attributes:
        steps: of the evaluations, ``[E]``.
        loss: of training examples, in evaluation mode, ``[M, E]``.
        train_accuracy, validation_accuracy, test_accuracy: ``[M, E]``.
        batch_loss: of every step's batch before the step, penalties with it, ``[M, steps]``; NaN once a member has
            diverged.
        grad_norm: of every step before clipping, ``[M, steps]``.
        alive: whether loss and gradient were finite to the end, ``[M]``.
        observed: of each observer, ``[M, E, …]``.
        seconds_per_step: of the processor, of all members together: the fastest step.
    """

    steps: NDArray
    loss: NDArray
    train_accuracy: NDArray
    validation_accuracy: NDArray
    test_accuracy: NDArray
    batch_loss: NDArray
    grad_norm: NDArray
    alive: NDArray
    observed: dict[str, NDArray]
    seconds_per_step: float

    def steps_to(self, target: float, *, window: int = 10) -> NDArray:
        """First step at which the mean loss of the last ``window`` batches is at most ``target``, ``[M]``.

        A member that never gets there (see :meth:`reached`) has the number of steps it was given: its true number is
        larger.
        """
        low = self._low(target, window)
        return np.where(low.any(axis=1), low.argmax(axis=1) + window, self.batch_loss.shape[1]).astype(float)

    def reached(self, target: float, *, window: int = 10) -> NDArray:
        """Whether the mean loss of some ``window`` batches in a row was at most ``target``, ``bool [M]``."""
        return np.asarray(self._low(target, window).any(axis=1))

    def _low(self, target: float, window: int) -> NDArray:
        """Whether the mean loss of the batches of a window is at most ``target``, ``bool [M, windows]``."""
        losses = np.where(np.isfinite(self.batch_loss), self.batch_loss, np.inf)
        if losses.shape[1] < window:
            return np.zeros((len(losses), 1), dtype=bool)
        # Window by window: differences of running sums would lose small losses behind a large one.
        means: NDArray = np.lib.stride_tricks.sliding_window_view(losses, window, axis=1).mean(axis=-1)
        return np.asarray(means <= target)

    def stable(self) -> NDArray:
        """Whether a member stayed finite and ended below the loss it began with, ``bool [M]``."""
        last = np.nan_to_num(self.loss[:, -1], nan=np.inf, posinf=np.inf)
        return self.alive & (last < self.loss[:, 0])

    def final(self, name: str) -> NDArray:
        """The last value of a record, ``[M]``; a member that is not stable is at chance level or worse as it stands."""
        return getattr(self, name)[:, -1]


def train_members(
    training: Training,
    members: Sequence[Member],
    *,
    observers: Mapping[str, Observer] | None = None,
    what: str = "networks trained",
    stacked: bool = True,
) -> Outcome:
    """Train networks of one structure, each on its own split and with its own order of examples.

    Members of one seed see the same batches and, where their shapes are equal, start from the same draws: arms are
    compared in pairs. What networks draw while they train depends on the members and the step alone. Nothing depends on
    how fast the machine is: the same members give the same numbers.

    Args:
        stacked: all members at once; one by one is the plain twin, whose sums are rounded otherwise, and whose networks
            draw other numbers where they draw any.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's stream goes on as if nothing had been drawn
        networks = [member.network.build(member.seed) for member in members]
        if training.before is not None:
            earlier, rate = training.before
            slow = [replace(m, rate=rate) for m in members]
            _, networks = _train(earlier, slow, networks, {}, f"{what}, before", stacked)
        if training.head_alone:
            networks = [with_new_head(n, m.network.build(m.seed)) for n, m in zip(networks, members, strict=True)]
        return _train(training, members, networks, observers or {}, what, stacked)[0]


def _train(
    training: Training,
    members: Sequence[Member],
    networks: Sequence[nn.Module],
    observers: Mapping[str, Observer],
    what: str,
    stacked: bool,
) -> tuple[Outcome, list[nn.Module]]:
    """What was recorded, and the trained networks."""
    course = _Course(training, members, observers)
    runner = _Stacked(course, networks) if stacked else _OneByOne(course, networks)
    for step in counted(range(training.steps), f"{what}: steps of {len(members)} networks"):
        if step % training.every == 0:
            course.evaluate(runner.stack(), step)
        torch.manual_seed(derive_seed(members[0].seed, "lab", "draws", step))
        course.set_progress(step)
        batch, began = course.batch(step), time.process_time()  # what else the machine does must not count
        runner.step(batch)
        course.seconds_per_step = min(course.seconds_per_step, time.process_time() - began)
        course.batch_losses.append(runner.losses())
        course.grad_norms.append(runner.norms())
    stack = runner.stack()
    course.evaluate(stack, training.steps)
    trained = [stack.member(k) for k in range(len(members))]
    return course.outcome(runner.alive()), trained


class _Course:
    """The batches of all members by step, and the records of what happened."""

    def __init__(self, training: Training, members: Sequence[Member], observers: Mapping[str, Observer]):
        self.training, self.members, self.observers = training, members, observers
        self.data: Dataset = load(training.data)
        parts = {m.seed: self._parts(m.seed) for m in members}
        self.splits: dict[int, Split] = {seed: part.split for seed, part in parts.items()}
        self.names = torch.stack([parts[m.seed].names for m in members])  # [M, classes of the data]
        self.class_loss = self._class_loss()
        self.size = training.batch_size or len(self.splits[members[0].seed].train)
        orders = {seed: self._order(seed, part) for seed, part in parts.items()}
        # [M, steps, B] each; a remedy alone moves examples towards others
        self.order = Order(*(torch.stack(each) for each in zip(*(orders[m.seed] for m in members), strict=True)))
        self.records: dict[str, list[Tensor]] = {}
        self.batch_losses: list[Tensor] = []
        self.grad_norms: list[Tensor] = []
        self.steps: list[int] = []
        self.seconds_per_step = float("inf")

    def make_task(self, network: nn.Module) -> Task:
        task = ClassificationTask(network, self.class_loss)
        return Penalised(task, self.training.l1, self.training.l2) if self.training.l1 or self.training.l2 else task

    def _parts(self, seed: int) -> Parts:
        if self.training.skew is not None:
            return self.training.skew.parts(self.data, seed)
        return Parts(split(self.data, seed), torch.arange(self.data.classes))

    def _class_loss(self) -> ClassLoss | None:
        skew, remedy = self.training.skew, self.training.remedy
        return None if skew is None or remedy is None else remedy.make_loss(skew.train)

    def set_progress(self, step: int) -> None:
        """Tell a loss that changes along the training where that is."""
        if isinstance(self.class_loss, ScheduledLoss):
            self.class_loss.progress = step / self.training.steps

    def _order(self, seed: int, parts: Parts) -> Order:
        """What every batch shows: shuffled epochs one after another, or as the remedy draws them."""
        if self.training.remedy is not None:
            return draw_order(self.data, parts, self.training.remedy, seed, self.training.steps, self.size)
        train = parts.split.train
        generator = stream(seed, "lab", "order")
        needed = self.training.steps * self.size
        epochs = [generator.permutation(len(train)) for _ in range(-(-needed // len(train)))]
        rows = train[torch.from_numpy(np.concatenate(epochs)[:needed])].reshape(self.training.steps, self.size)
        return Order(rows, rows, torch.zeros(0))

    def batch(self, step: int) -> Batch:
        batch = self._examples(self.order.rows[:, step])
        if self.training.remedy is None or not self.training.remedy.synthetic:
            return batch
        partners, ways = self._examples(self.order.partners[:, step]), self.order.ways[:, step]
        return {name: x if name == "labels" else towards(x, partners[name], ways) for name, x in batch.items()}

    def _examples(self, rows: Tensor) -> Batch:
        """The examples of rows ``[M, n]``, each class under the name it has for the member."""
        batch = self.data.examples(rows)
        return batch if self.training.skew is None else batch | {"labels": self.names.gather(1, batch["labels"])}

    def part(self, name: str, most: int | None = None) -> Batch:
        """Training, validation or test examples of every member, ``[M, n, …]``."""
        return self._examples(torch.stack([getattr(self.splits[m.seed], name)[:most] for m in self.members]))

    def evaluate(self, stack: Stack, step: int) -> None:
        """Loss and accuracies in evaluation mode, then what the observers see."""
        self.steps.append(step)
        parts = {"train": self.part("train", SEEN), "validation": self.part("validation"), "test": self.part("test")}
        stack.eval()
        with torch.no_grad():
            for name, examples in parts.items():
                logits = stack(*(examples[key] for key in self.data.inputs))
                right = logits.argmax(dim=-1) == examples["labels"]
                self._record(f"{name}_accuracy", right.double().mean(dim=1))
                if name == "train":
                    losses = nn.functional.cross_entropy(logits.transpose(1, 2), examples["labels"], reduction="none")
                    self._record("loss", losses.mean(dim=1))
        stack.train()
        rates = torch.tensor([member.rate for member in self.members])
        moment = Moment(stack, self.batch(0), parts["train"], parts["test"], step, rates, parts["validation"])
        for key, observer in self.observers.items():
            self._record(f"observed/{key}", observer(moment))

    def _record(self, name: str, values: Tensor) -> None:
        self.records.setdefault(name, []).append(values.detach().double())

    def outcome(self, alive: Tensor) -> Outcome:
        arrays = {name: torch.stack(values, dim=1).numpy() for name, values in self.records.items()}
        observed = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("observed/")}
        plain = {name: array for name, array in arrays.items() if not name.startswith("observed/")}
        return Outcome(
            steps=np.array(self.steps),
            **plain,
            batch_loss=torch.stack(self.batch_losses, dim=1).numpy(),
            grad_norm=torch.stack(self.grad_norms, dim=1).numpy(),
            alive=alive.numpy(),
            observed=observed,
            seconds_per_step=self.seconds_per_step,
        )


class _Stacked:
    """All members at once."""

    def __init__(self, course: _Course, networks: Sequence[nn.Module]):
        stack = Stack(networks).train()
        rates = [member.rate for member in course.members]
        self.trainer = StackTrainer(stack, course.make_task, rates, course.training.updates)

    def step(self, batch: Batch) -> None:
        self.trainer.step(batch)

    def stack(self) -> Stack:
        return self.trainer.stack

    def losses(self) -> Tensor:
        return torch.where(self.trainer.alive, self.trainer.losses.double(), torch.nan)

    def norms(self) -> Tensor:
        return torch.where(self.trainer.alive, self.trainer.grad_norms.double(), torch.nan)

    def alive(self) -> Tensor:
        return self.trainer.alive


class _OneByOne:
    """The workbench's own step, member after member."""

    def __init__(self, course: _Course, networks: Sequence[nn.Module]):
        self.networks = networks
        self.trainers = [
            SingleTrainer(network.train(), course.make_task, member.rate, course.training.updates)
            for network, member in zip(networks, course.members, strict=True)
        ]

    def step(self, batch: Batch) -> None:
        for k, trainer in enumerate(self.trainers):
            trainer.step({name: tensor[k] for name, tensor in batch.items()})

    def stack(self) -> Stack:
        return Stack(self.networks).train()

    def losses(self) -> Tensor:
        return torch.tensor([t.loss if t.alive else float("nan") for t in self.trainers], dtype=torch.float64)

    def norms(self) -> Tensor:
        return torch.tensor([t.grad_norm if t.alive else float("nan") for t in self.trainers], dtype=torch.float64)

    def alive(self) -> Tensor:
        return torch.tensor([trainer.alive for trainer in self.trainers])
