"""Weights, gradients and optimizer state spread over the processes, each holding its part (FSDP, arXiv:2304.11277).

accelerate starts and joins the processes; the model is taken apart by :func:`torch.distributed.fsdp.fully_shard`, which
accelerate calls as well, but on accelerators alone: called here, it works between processes on CPUs, too.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Protocol

import torch
from accelerate.utils import DistributedType  # type: ignore[import-untyped]  # it ships no py.typed
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lucida.core.errors import LucidaError
from lucida.training.batches import Batch
from lucida.training.distributed import Accelerator, Precision, TaskModule, sum_over_processes
from lucida.training.tasks import FeatureTask, Task

Sharding = Literal["none", "full"]


class Placed(Protocol):
    """A task as its processes train it, and the whole model that it goes back to.

    Attributes:
        task: the task to train: its model's parameters are what the optimizer has.
        module: its :class:`~lucida.training.distributed.TaskModule`, ready for several processes.
        optimizer: of those parameters.
    """

    task: Any
    module: nn.Module
    optimizer: torch.optim.Optimizer

    def whole(self) -> Any:
        """A context in which the model that was given has the weights of now; entered by all processes together."""

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's whole state, as one process alone would have it; asked for by all processes together."""


class Replicas:
    """Every process has the whole model; gradients are averaged (DDP), where there are several."""

    def __init__(
        self,
        task: Task | FeatureTask,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        *,
        precision: Precision = "float32",
    ):
        self.task, self.optimizer = task, optimizer
        self.module = accelerator.prepare(TaskModule(task, device=accelerator.device, precision=precision))

    def whole(self) -> Any:
        return nullcontext()

    def optimizer_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()


class Shards:
    """Every process has a part of each weight, its gradient and its optimizer state.

    What is trained is a twin of the model, of which a block (a module in a ``ModuleList``) is whole only while it
    computes. The model that was given stays whole, on the CPU, and gets the weights when somebody asks for them: for
    validation, a checkpoint, the end. So a process' memory is one set of weights on the CPU and, for each of the ``W``
    processes, a ``W``-th of weights, gradients and AdamW's moments on its device.

    A scalar (``log_logit_scale``) cannot be cut: every process has it, and its gradient is averaged.

    Args:
        task: its model is whole and on the accelerator's device.
        optimizer: AdamW over that model, with groups of :func:`~lucida.training.parameter_groups.parameter_groups`;
            its state, if there is any, moves over, and is empty here afterwards.

    Raises:
        LucidaError: the model cannot be taken apart, or the launcher wants to do it itself.
    """

    def __init__(
        self,
        task: Task | FeatureTask,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        *,
        precision: Precision = "float32",
    ):
        if accelerator.distributed_type == DistributedType.FSDP:
            remedy = "leave FSDP out of the launcher's settings"
            raise LucidaError("the launcher shards the model already", where="sharding", remedy=remedy)
        self.task = copy.deepcopy(task)
        self.module: nn.Module = _ShardedModule(self.task, device=accelerator.device, precision=precision)
        _shard(self.module, accelerator)
        self.optimizer: torch.optim.Optimizer = _with_parts(optimizer, dict(self.task.model.named_parameters()))
        self._model, self._whole_optimizer, self._device = task.model, optimizer, accelerator.device
        self._main = accelerator.is_main_process
        self._model.to("cpu")

    @contextmanager
    def whole(self) -> Generator[None, None, None]:
        own = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        with torch.no_grad():
            for name, part in [*self.task.model.named_parameters(), *self.task.model.named_buffers()]:
                if part.requires_grad or not isinstance(part, nn.Parameter):  # what is frozen is as it was
                    own[name].copy_(_whole(part))
        self._model.to(self._device)
        try:
            yield
        finally:
            self._model.to("cpu")

    def optimizer_state(self) -> dict[str, Any]:
        parts = dict(self.task.model.named_parameters())
        rates = {name: group["lr"] for group in self.optimizer.param_groups for name in group["names"]}
        for group in self._whole_optimizer.param_groups:
            group["lr"] = rates[group["names"][0]]
        content = self._whole_optimizer.state_dict()
        names = [name for group in self._whole_optimizer.param_groups for name in group["names"]]
        for place, name in enumerate(names):
            state = {key: _whole(value) for key, value in self.optimizer.state[parts[name]].items()}
            if self._main and state:
                content["state"][place] = {key: value.cpu().clone() for key, value in state.items()}
        return content


class _ShardedModule(TaskModule):
    """Says in one line what a model must not do under sharding."""

    def forward(self, batch: Batch) -> Any:
        try:
            return super().forward(batch)
        except RuntimeError as error:
            if "DTensor" not in str(error):
                raise
            raise LucidaError(
                "the model reads weights of a block while the block does not compute: they are not there",
                where="sharding",
                remedy='train it with sharding "none"',
            ) from error


def place(
    task: Task | FeatureTask,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    *,
    precision: Precision,
    sharded: bool,
) -> Placed:
    """A task in the processes of ``accelerator``; a process alone has nothing to share out.

    Raises:
        LucidaError: the model cannot be taken apart.
    """
    if sharded and accelerator.num_processes > 1:
        return Shards(task, optimizer, accelerator, precision=precision)
    return Replicas(task, optimizer, accelerator, precision=precision)


def local_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, sharing its memory; all of it where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gradients(model: nn.Module) -> list[Tensor]:
    """This process' part of the gradient of each parameter that has one; changed in place, it changes there."""
    return [local_part(p.grad) for p in model.parameters() if p.grad is not None]


def gradient_norm(model: nn.Module, accelerator: Accelerator) -> Tensor:
    """Euclidean norm of the whole gradient, wherever its parts are."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    parts = [local_part(grad) for grad in grads if isinstance(grad, DTensor)]
    norm = torch.nn.utils.get_total_norm([grad for grad in grads if not isinstance(grad, DTensor)])
    if not parts:
        return norm
    squares = sum_over_processes(torch.nn.utils.get_total_norm(parts).square(), accelerator)
    return (squares + norm.to(squares).square()).sqrt()


@contextmanager
def synchronised(module: nn.Module, accelerator: Accelerator, *, last: bool) -> Generator[None, None, None]:
    """Around the backward pass of a micro-batch: replicas exchange gradients in the last one only.

    Shards exchange after each, or every process would hold the whole gradient in between.
    """
    if not isinstance(module, FSDPModule):
        with nullcontext() if last else accelerator.no_sync(module):
            yield
        return
    yield
    if last:
        for parameter in module.parameters():
            if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
                parameter.grad = sum_over_processes(parameter.grad, accelerator) / accelerator.num_processes


def _shard(module: nn.Module, accelerator: Accelerator) -> None:
    """Take a module apart in place: each block that has weights of its own, then what is left.

    Raises:
        LucidaError: blocks share a weight, or torch refuses.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    scalars = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    blocks = [block for each in module.modules() if isinstance(each, nn.ModuleList) for block in each]
    _refuse_shared([module, *blocks])
    try:
        for block in [*reversed(blocks), module]:  # those inside others first
            if any(parameter not in scalars for parameter in block.parameters()):
                fully_shard(block, mesh=mesh, ignored_params=scalars)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise LucidaError(f"the model cannot be sharded: {reason}", remedy='train it with sharding "none"') from error


def _refuse_shared(units: list[nn.Module]) -> None:
    """A weight of two units would be taken apart by one of them, under the other's feet."""
    unit_of = {each: unit for unit in units for each in unit.modules()}  # outer ones first: the innermost stays
    owner: dict[nn.Parameter, nn.Module] = {}
    for each, unit in unit_of.items():
        for name, parameter in each.named_parameters(recurse=False):
            if parameter.ndim and owner.setdefault(parameter, unit) is not unit:
                what = f"the model cannot be sharded: two of its blocks share a weight ({type(each).__name__}.{name})"
                raise LucidaError(what, remedy='train it with sharding "none"')


def _whole(part: Tensor) -> Tensor:
    """A tensor put together from all processes' parts."""
    whole: Tensor = part.full_tensor() if isinstance(part, DTensor) else part
    return whole.detach()


def _with_parts(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> torch.optim.AdamW:
    """The optimizer over the sharded parameters of the same names, with this process' part of its state.

    One group cannot mix what is sharded with what is not: such a group becomes two.
    """
    groups = []
    for group in optimizer.param_groups:
        settings = {key: value for key, value in group.items() if key not in ("params", "names")}
        for sharded in (True, False):
            names = [name for name in group["names"] if isinstance(parameters[name], DTensor) is sharded]
            if names:
                groups.append(settings | {"params": [parameters[name] for name in names], "names": names})
    parts = torch.optim.AdamW(groups, fused=True)
    for group in optimizer.param_groups:
        for name, whole in zip(group["names"], group["params"], strict=True):
            state = optimizer.state.pop(whole, {})
            parts.state[parameters[name]] = {key: _part(value, parameters[name]) for key, value in state.items()}
    return parts


def _part(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """Cut as the parameter is, if it has its shape; every process has the whole, so nothing is sent."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
