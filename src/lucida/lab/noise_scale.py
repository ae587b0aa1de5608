"""How noisy a gradient is: per-example gradients, the gradient noise scale, and the batch size at which it matters.

McCandlish et al. (2018, 1812.06162): a batch of ``B`` examples estimates the gradient ``G`` with the variance
``tr Σ / B``. Below the noise scale ``tr Σ / |G|²`` (their eq. 2.9, "simple") a step is mostly noise and twice the batch
halves the steps; far above it the gradient is known already and more examples buy nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from torch import Tensor
from torch.func import functional_call, grad

from lucida.lab.stack import MakeTask, Stack
from lucida.training.batches import Batch
from lucida.training.distributed import TaskModule
from lucida.training.tasks import ClassificationTask, LossOutput


@dataclass(frozen=True)
class GradientMoments:
    """What the per-example gradients of each member say.

    Attributes:
        squared_mean: ``|ḡ|²`` of the mean gradient of the examples, ``[M]``.
        trace: ``tr Σ``, the summed variance of the gradient of one example, unbiased (``n - 1``), ``[M]``.
        examples: ``n``.
    """

    squared_mean: Tensor
    trace: Tensor
    examples: int

    def squared_gradient(self, population: int | None = None) -> Tensor:
        """``|G|²`` of the gradient over the population, unbiased, ``[M]``; it may be negative where noise prevails.

        Args:
            population: how many examples there are of which these were drawn without replacement; None for endlessly
                many (McCandlish et al., appendix A.1). Of a training set that was seen whole it is ``|ḡ|²`` itself.
        """
        rest = 0.0 if population is None else 1 / population
        return self.squared_mean - self.trace * (1 / self.examples - rest)

    def noise_scale(self, population: int | None = None) -> Tensor:
        """``tr Σ / |G|²``, ``[M]``: the ratio of the two unbiased estimates."""
        return self.trace / self.squared_gradient(population)


def gradient_moments(
    stack: Stack, batch: Batch, make_task: MakeTask = ClassificationTask, *, chunk: int = 128
) -> GradientMoments:
    """Moments of the per-example gradients of every member, with nothing but ``chunk`` of them in memory at a time.

    Args:
        batch: ``[M, n, …]``, two examples or more.
    """
    task = TaskModule(make_task(stack.template), device=torch.device("cpu"), precision="float32")

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], example: Batch) -> Tensor:
        state = {f"model.{name}": tensor for name, tensor in (parameters | buffers).items()}
        own = {name: tensor.unsqueeze(0) for name, tensor in example.items()}
        output: LossOutput = functional_call(task, state, (own,))
        return output.loss_sum / output.weight

    of_examples = torch.vmap(grad(loss), in_dims=(None, None, 0))
    of_members = torch.vmap(of_examples, in_dims=(0, 0, 0))
    parameters = {name: p.detach() for name, p in stack.stacked_parameters().items()}
    n = batch["labels"].shape[1]
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    squares = torch.zeros(stack.members)
    for first in range(0, n, chunk):
        part = {name: tensor[:, first : first + chunk] for name, tensor in batch.items()}
        for name, own in of_members(parameters, stack.stacked_buffers(), part).items():
            sums[name] += own.sum(dim=1)
            squares += own.reshape(stack.members, -1).square().sum(dim=1)
    squared_mean = sum((total / n).reshape(stack.members, -1).square().sum(dim=1) for total in sums.values())
    assert isinstance(squared_mean, Tensor)
    return GradientMoments(squared_mean, (squares - n * squared_mean) / (n - 1), n)


def critical_batch(batches: Sequence[float], steps: ArrayLike) -> tuple[float, float]:
    """The fewest steps any batch needs, and the batch size that needs twice as many, from steps to one target.

    Fits ``steps = fewest · (1 + critical / batch)``, which is McCandlish et al.'s eq. 2.11 solved for the steps, to the
    logarithms: a factor counts the same at every batch size.

    >>> fewest, critical = critical_batch([2, 8, 32, 128], [10 * (1 + 40 / b) for b in (2, 8, 32, 128)])
    >>> round(fewest, 3), round(critical, 3)
    (10.0, 40.0)
    """
    sizes, wanted = np.asarray(batches, dtype=float), np.log(np.asarray(steps, dtype=float))

    def misses(logs: NDArray) -> NDArray:
        return logs[0] + np.log1p(np.exp(logs[1]) / sizes) - wanted

    start = [wanted.min(), float(np.log(sizes).mean())]
    reach = [np.log(sizes.min()) - 3, np.log(sizes.max()) + 3]  # farther out the data say nothing
    fitted = least_squares(misses, start, bounds=([-np.inf, reach[0]], [np.inf, reach[1]])).x
    return float(np.exp(fitted[0])), float(np.exp(fitted[1]))
