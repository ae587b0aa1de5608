"""A task whose loss has a penalty on the weights: L1 and L2 as textbooks write them, in the loss and its gradient."""

from __future__ import annotations

from torch import Tensor, nn

from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput, Task


class Penalised:
    """``loss + l1 · Σ|w| + l2/2 · Σw²`` over all matrices; biases and gains go free.

    Unlike AdamW's decay the penalty is in the gradient, so that an adaptive optimizer rescales it with the rest.
    """

    def __init__(self, task: Task, l1: float, l2: float):
        self.model: nn.Module = task.model
        self.task, self.l1, self.l2 = task, l1, l2

    def loss(self, batch: Batch) -> LossOutput:
        """The task's loss, the penalty counted once for each unit, so that the mean has it once."""
        output = self.task.loss(batch)
        penalty: Tensor | float = 0.0
        for weight in (parameter for parameter in self.model.parameters() if parameter.ndim >= 2):
            penalty = penalty + self.l1 * weight.abs().sum() + self.l2 / 2 * weight.square().sum()
        return LossOutput(output.loss_sum + penalty * output.weight, output.weight, output.metrics)
