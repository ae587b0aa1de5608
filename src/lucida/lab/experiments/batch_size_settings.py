"""Batch size: the networks, what they learn, and the numbers of each scale."""

from __future__ import annotations

from dataclasses import dataclass, field

from lucida.lab.datasets import load, split
from lucida.lab.design import Scale
from lucida.lab.networks import ConvNet, Perceptron
from lucida.lab.stack import Updates
from lucida.lab.training import Training

USUAL, WHOLE = 32, 0  # the batch size whose rate is the fixed one; all training examples
EXAMPLES, STEPS = "equal examples", "equal steps"


@dataclass(frozen=True)
class Task:
    """A network and what it learns.

    Attributes:
        name: on the page.
        data: name of the data set.
        network: settings of the network.
        steps: of batch 32, and of all in the comparison at equal steps.
        rate: the middle of the grid for batch 32.
        targets: training losses: an early and a late one.
        updates: the optimizer.
        deep: whether the speed-up and the continuation are measured too.
    """

    name: str
    data: str
    network: Perceptron | ConvNet
    steps: int
    rate: float
    targets: tuple[float, float]
    updates: Updates = field(default_factory=Updates)
    deep: bool = True

    @property
    def examples(self) -> int:
        """How many train."""
        return len(split(load(self.data), 0).train)

    def size(self, batch: int) -> int:
        """Examples in a step."""
        return batch or self.examples

    def training(self, batch: int, budget: str) -> Training:
        """As many examples, or as many steps, as batch 32 gets."""
        steps = self.steps if budget == STEPS else max(1, round(self.steps * USUAL / self.size(batch)))
        looks = self.steps // (3 if self.deep else 10)  # evaluations cost more than the steps of small batches
        return Training(self.data, batch, steps, max(1, steps // looks), self.updates)

    def longer(self, batch: int) -> str:
        """The budget that gives a batch size more of both steps and examples."""
        return EXAMPLES if 0 < batch < USUAL else STEPS


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        tasks: networks and data.
        batches: of the deep tasks, from the smallest to all examples (0).
        few_batches: of the others.
        rates: each grid: so many rates, a factor of two apart.
        moments: of the noise scale in each of two stretches of training.
        iterations: of the power iteration.
    """

    tasks: tuple[Task, ...]
    batches: tuple[int, ...]
    few_batches: tuple[int, ...]
    rates: int
    moments: int
    iterations: int


def batch_name(batch: int) -> str:
    """How the page calls a batch size.

    >>> batch_name(8), batch_name(0)
    ('batch 8', 'full batch')
    """
    return f"batch {batch}" if batch else "full batch"


_MOMENTUM = Updates("momentum")


def _tasks(steps: int, few_steps: int) -> tuple[Task, ...]:
    return (
        Task("digits, perceptron", "digits", Perceptron(64, 10, 2, 32), steps, 0.2, (0.5, 0.1)),
        Task("emoji, perceptron", "emoji", Perceptron(432, 8, 2, 32), steps, 0.1, (1.6, 1.3)),
        Task(
            "digits, convolutions", "digits", ConvNet(1, 10, 2, 12), few_steps, 0.1, (1.0, 0.5), _MOMENTUM, deep=False
        ),
    )


SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(
        _tasks(120, 80), batches=(2, 32, 128, WHOLE), few_batches=(2, USUAL, WHOLE), rates=4, moments=6,
        iterations=30,
    ),
    "full": Settings(
        _tasks(300, 200), batches=(2, 8, 32, 128, 512, WHOLE), few_batches=(2, 8, USUAL, 256, WHOLE), rates=5,
        moments=10, iterations=50,
    ),
}  # fmt: skip
