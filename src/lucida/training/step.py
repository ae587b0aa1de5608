"""One training step: exact gradients of the global batch, whatever its parts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.losses.ring import Ring
from lucida.training.batches import Batch
from lucida.training.distributed import Accelerator, random_state, set_random_state, sum_over_processes
from lucida.training.sharding import gradient_norm, gradients, local_part, synchronised
from lucida.training.tasks import Features, FeatureTask, LossOutput, Task


class StepOutput(NamedTuple):
    """What a step did: the mean loss of the global batch, its number of units, the gradient's norm before clipping."""

    loss: float
    weight: float
    grad_norm: float
    metrics: dict[str, float]

    def row(self) -> dict[str, float]:
        """The numbers of a row of ``metrics.jsonl``."""
        return {"loss": self.loss, "grad_norm": self.grad_norm, **self.metrics}


def train_step(
    task: Task | FeatureTask,
    module: nn.Module,
    micro_batches: list[Batch],
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    *,
    max_grad_norm: float | None,
    step: int = 0,
) -> StepOutput:
    """One update of the parameters from one global batch.

    Args:
        task: says how features or losses are made.
        module: the task's :class:`~lucida.training.distributed.TaskModule`, ready for the processes
            (:func:`~lucida.training.sharding.place`).
        micro_batches: this process' share of the batch, on its device.
        max_grad_norm: the gradient is scaled down to this norm; ``None`` to leave it.
        step: for the message of an error.

    Raises:
        NonFiniteError: the loss or a gradient is NaN or infinite; the parameters are as they were before the step.
        LucidaError: nothing in the batch is supervised, or batch norm is trained on parts of a batch that has to be
            seen whole.
    """
    optimizer.zero_grad(set_to_none=True)
    if isinstance(task, FeatureTask):
        loss, weight, metrics = cached_gradients(task, module, micro_batches, accelerator)
    else:
        loss, weight, metrics = summed_gradients(task, module, micro_batches, accelerator)
    if not torch.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss.item()} at step {step}", where=_first_bad(task.model, micro_batches))
    grad_norm = gradient_norm(task.model, accelerator)
    if not torch.isfinite(grad_norm):
        raise NonFiniteError(f"the gradient is not finite at step {step}", where=_first_bad(task.model, micro_batches))
    if max_grad_norm is not None:
        torch._foreach_mul_(gradients(task.model), (max_grad_norm / (grad_norm + 1e-6)).clamp(max=1.0))
    optimizer.step()
    return StepOutput(loss.item(), weight, grad_norm.item(), metrics)


Gradients = tuple[Tensor, float, dict[str, float]]


def summed_gradients(task: Task, module: nn.Module, micro_batches: list[Batch], accelerator: Accelerator) -> Gradients:
    """Gradients of a loss that adds up over examples: sums first, then one division by the global weight.

    A mean of the micro-batches' means would weigh their units unequally.
    """
    outputs = []
    for k, batch in enumerate(micro_batches):
        with synchronised(module, accelerator, last=k == len(micro_batches) - 1):
            output: LossOutput = module(batch)
            output.loss_sum.backward()
        outputs.append(output)
    totals = sum_over_processes(torch.stack([_totals(output) for output in outputs]).sum(dim=0), accelerator)
    weight = totals[1].item()
    if weight == 0:
        raise LucidaError("nothing in this batch is supervised", where="labels", remedy="check the answer masks")
    torch._foreach_mul_(gradients(task.model), accelerator.num_processes / weight)  # they were averaged over processes
    means = (totals / weight).tolist()
    return totals[0] / weight, weight, dict(zip(outputs[0].metrics, means[2:], strict=True))


def _totals(output: LossOutput) -> Tensor:
    """Loss, weight and weighted metrics of a micro-batch as one vector."""
    loss = output.loss_sum.detach().float()
    weight, *metrics = (torch.as_tensor(x).to(loss).detach() for x in (output.weight, *output.metrics.values()))
    return torch.stack([loss, weight, *(weight * metric for metric in metrics)])


def cached_gradients(
    task: FeatureTask, module: nn.Module, micro_batches: list[Batch], accelerator: Accelerator
) -> Gradients:
    """Gradients of a loss over the whole batch, in the memory of one micro-batch (GradCache, Gao et al. 2021).

    First the features of all micro-batches without a graph; then the loss and its gradient at the features; then each
    micro-batch once more, with the random state of its first pass, to carry that gradient on to the parameters. A
    single micro-batch keeps its graph and needs no second pass. Processes score their own rows against those of all,
    which go round a ring: the sum over processes is the exact gradient.
    """
    once = len(micro_batches) == 1
    if not once or accelerator.num_processes > 1:
        _refuse_batch_norm(task.model)
    parts, states = [], []
    with nullcontext() if once else torch.no_grad():
        for batch in micro_batches:
            states.append(random_state(accelerator.device))
            parts.append(module(batch))
    cached = Features(_all_rows(parts), {k: _leaf(v) for k, v in parts[0].shared.items()})
    output = task.loss_of_features(cached, _ring(_count(cached), accelerator))
    weight = float(output.weight)
    mean = output.loss_sum / weight
    if torch.isfinite(mean):
        mean.backward()
        for k, (batch, state) in enumerate(zip(micro_batches, states, strict=True)):
            with synchronised(module, accelerator, last=k == len(micro_batches) - 1):
                part = parts[0] if once else _replayed(module, batch, state, accelerator.device)
                offset = sum(_count(p) for p in parts[:k])
                _carry_on(part, cached, offset, accelerator.num_processes, last=k == len(micro_batches) - 1)
    metrics = {name: float(value) for name, value in output.metrics.items()}
    return mean.detach(), weight, metrics


def _refuse_batch_norm(model: nn.Module) -> None:
    """A batch norm that takes its mean from a part of the batch computes other features than from the batch.

    Raises:
        LucidaError: there is one that is in training mode.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise LucidaError(
                "batch norm would take its statistics from a part of the batch: another gradient than the batch's",
                where=name,
                remedy="freeze it, use layer norm, or take the batch at once (one process, no micro_batch_size)",
            )


def _all_rows(parts: list[Features]) -> dict[str, Tensor]:
    return {name: _leaf(torch.cat([part.rows[name] for part in parts])) for name in parts[0].rows}


def _ring(rows: int, accelerator: Accelerator) -> Ring:
    """Of the processes that share the batch."""
    group = distributed.group.WORLD if accelerator.num_processes > 1 else None
    return Ring(rows, group, accelerator.device)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _count(part: Features) -> int:
    return len(next(iter(part.rows.values())))


def _carry_on(part: Features, cached: Features, offset: int, num_processes: int, *, last: bool) -> None:
    """Back-propagate the cached gradient of a micro-batch's features; that of shared scalars once, with the last.

    Gradients are averaged over processes: rows are each process' own and need the factor back, shared scalars are the
    same in all.
    """
    tensors, grads = [], []
    for name, rows in part.rows.items():
        whole = cached.rows[name].grad
        if rows.requires_grad and whole is not None:
            tensors.append(rows)
            grads.append(whole[offset : offset + len(rows)] * num_processes)
    for name, scalar in part.shared.items() if last else ():
        if scalar.requires_grad and (grad := cached.shared[name].grad) is not None:
            tensors.append(scalar)
            grads.append(grad)
    if tensors:
        torch.autograd.backward(tensors, grads)


def _replayed(module: nn.Module, batch: Batch, state: tuple[Tensor, ...], device: torch.device) -> Features:
    """A micro-batch once more, with the dropout of its first pass."""
    set_random_state(state, device)
    return module(batch)


def _first_bad(model: nn.Module, micro_batches: list[Batch]) -> str:
    """The first non-finite tensor among parameters, inputs and gradients: in the order of cause and effect."""
    parameters = dict(model.named_parameters())
    candidates = [(f"parameter {name}", local_part(p)) for name, p in parameters.items()]
    candidates += [(f"batch{name}", tensor) for name, tensor in _named_tensors(micro_batches)]
    candidates += [(f"gradient of {name}", local_part(p.grad)) for name, p in parameters.items() if p.grad is not None]
    for name, tensor in candidates:
        if not torch.isfinite(tensor).all():
            return f"first bad tensor: {name}"
    return "parameters, batch and gradients are finite one by one: the loss or the norm overflowed"


def _named_tensors(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [pair for key, item in items for pair in _named_tensors(item, f"{name}[{key!r}]")]
