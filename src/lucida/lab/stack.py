"""Many small networks of one structure as one: seeds, learning rates and arms are the first dimension of every tensor.

What a small network costs on a processor is overhead: hundreds of operations of some microseconds each, whatever their
size. Stacked, there are as many operations as for one network, and each does the work of all. Nothing is defined
twice: the losses are those of the workbench's tasks, mapped over the members (:func:`torch.vmap`), the updates those of
PyTorch's optimizers. One by one, with :func:`lucida.training.step.train_step`, is the plain twin.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.training.batches import Batch
from lucida.training.distributed import Accelerator, TaskModule
from lucida.training.step import train_step
from lucida.training.tasks import LossOutput, Task

OptimizerName = Literal["sgd", "momentum", "adam", "rmsprop"]
MakeTask = Callable[[nn.Module], Task]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Updates:
    """How gradients become updates; the learning rate is each member's own.

    Attributes:
        optimizer: plain SGD, SGD with momentum 0.9, Adam or RMSprop with PyTorch's defaults.
        max_grad_norm: a member's gradient is scaled down to this norm.
        max_grad_value: every entry of the gradient is cut to ± this value.
    """

    optimizer: OptimizerName = "sgd"
    max_grad_norm: float | None = None
    max_grad_value: float | None = None

    @property
    def plain(self) -> bool:
        """Whether an update is nothing but the rate times the gradient, clipped by its norm or not."""
        return self.optimizer == "sgd" and self.max_grad_value is None

    def make(self, parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
        """The optimizer, cutting the values of the gradients before each step if asked to."""
        kinds: dict[str, Callable[[], torch.optim.Optimizer]] = {
            "sgd": lambda: torch.optim.SGD(parameters, lr=rate),
            "momentum": lambda: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
            "adam": lambda: torch.optim.Adam(parameters, lr=rate),
            "rmsprop": lambda: torch.optim.RMSprop(parameters, lr=rate),
        }
        optimizer = kinds[self.optimizer]()
        if self.max_grad_value is not None:
            largest = self.max_grad_value
            optimizer.register_step_pre_hook(lambda *_: nn.utils.clip_grad_value_(parameters, largest))
        return optimizer


class Stack(nn.Module):
    """Networks of one structure; parameters and buffers are ``[M, …]``.

    Args:
        networks: the members, equal but for their numbers; they are copied.

    Raises:
        LucidaError: they differ in structure.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        shapes = [{name: t.shape for name, t in network.state_dict().items()} for network in networks]
        if any(shape != shapes[0] for shape in shapes):
            raise LucidaError("the members of a stack differ in structure", where="lab")
        # Behind a tuple the template is no submodule: its own parameters are placeholders and must not be trained.
        self._template = (copy.deepcopy(networks[0]),)
        parameters, buffers = stack_module_state(list(networks))
        self._names = {"parameters": list(parameters), "buffers": list(buffers)}
        weights = {f"{name}.weight" for name, part in networks[0].named_modules() if isinstance(part, nn.Linear)}
        self.linear = [name in weights for name in parameters]
        for name, tensor in parameters.items():
            self.register_parameter(_flat(name), nn.Parameter(tensor.detach().clone()))
        for name, tensor in buffers.items():
            self.register_buffer(_flat(name), tensor.detach().clone())
        self.members = len(networks)

    @property
    def template(self) -> nn.Module:
        """A network of this structure, whose own numbers mean nothing."""
        return self._template[0]

    def stacked_parameters(self) -> dict[str, Tensor]:
        """By the members' own names, ``[M, …]``."""
        return {name: getattr(self, _flat(name)) for name in self._names["parameters"]}

    def stacked_buffers(self) -> dict[str, Tensor]:
        """By the members' own names, ``[M, …]``."""
        return {name: getattr(self, _flat(name)) for name in self._names["buffers"]}

    def train(self, mode: bool = True) -> Stack:
        """The mode of all members."""
        super().train(mode)
        self.template.train(mode)
        return self

    def forward(self, *inputs: Any, shared: bool = False, **options: Any) -> Any:
        """The outputs of all members, ``[M, …]``.

        Args:
            inputs: ``[M, …]``, a share for each member; without the first dimension if ``shared``.
            options: are the same for all.
        """

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *own: Any) -> Any:
            return functional_call(self.template, (parameters, buffers), own, options)

        dims = (0, 0, *([None if shared else 0] * len(inputs)))
        return torch.vmap(one, in_dims=dims, randomness="different")(
            self.stacked_parameters(), self.stacked_buffers(), *inputs
        )

    def member(self, index: int) -> nn.Module:
        """A member as a network of its own: a copy."""
        network = copy.deepcopy(self.template)
        state = {**self.stacked_parameters(), **self.stacked_buffers()}
        network.load_state_dict({name: tensor[index].detach().clone() for name, tensor in state.items()})
        return network


class StackTask:
    """A task of the workbench for every member of a stack."""

    def __init__(self, stack: Stack, make_task: MakeTask):
        self.stack = stack
        self._one = TaskModule(make_task(stack.template), device=_CPU, precision="float32")
        names = (len(list(self._one.named_parameters(remove_duplicate=twice))) for twice in (False, True))
        self._tied = len(set(names)) > 1  # looking for ties at every step would be a twentieth of it

    def member_losses(self, batch: Batch) -> Tensor:
        """The mean loss of each member, ``[M]``."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], own: Batch) -> Tensor:
            state = {f"model.{name}": tensor for name, tensor in (parameters | buffers).items()}
            output: LossOutput = functional_call(self._one, state, (own,), tie_weights=self._tied)
            return output.loss_sum / output.weight

        state = self.stack.stacked_parameters(), self.stack.stacked_buffers()
        return torch.vmap(one, randomness="different")(*state, batch)


class StackTrainer:
    """Trains all members of a stack at once, each at its own rate.

    A member whose loss or gradient is not finite stays where it was before that step, as a run that
    :func:`~lucida.training.step.train_step` stopped; the others go on.

    Attributes:
        alive: ``bool [M]``.
        losses: of the last step's batch, before the step, ``[M]``.
        grads: of the last step as rows of one matrix, ``[M, P]``.
        grad_norms: of the last step, before clipping, ``[M]``.
    """

    def __init__(self, stack: Stack, make_task: MakeTask, rates: Sequence[float], updates: Updates):
        self.stack, self.updates = stack, updates
        self.task = StackTask(stack, make_task)
        self.parameters = list(stack.stacked_parameters().values())
        self.rows = _Rows(self.parameters, stack.linear)
        self.weights = self.rows.joined(self.parameters)
        for parameter, view in zip(self.parameters, self.rows.parted(self.weights), strict=True):
            parameter.data = view
        self.rates = torch.as_tensor(list(rates), dtype=self.weights.dtype)
        # The optimizer works on zeros, with a rate of 1: what it leaves there is the update itself, and each member
        # takes it at its own rate.
        self.updated = torch.zeros_like(self.weights)
        self.optimizer = updates.make([self.updated], 1.0)
        self.alive = torch.ones(stack.members, dtype=torch.bool)
        self.losses = self.grad_norms = torch.full((stack.members,), float("nan"))
        self.grads = torch.full_like(self.weights, float("nan"))

    def step(self, batch: Batch) -> None:
        """One update from a batch whose tensors are ``[M, B, …]``; a member's gradient is that of its own mean loss."""
        losses = self.task.member_losses(batch)
        self.rows.joined(torch.autograd.grad(losses.sum(), self.parameters, materialize_grads=True), out=self.grads)
        self.losses = losses.detach()
        self.grad_norms = torch.linalg.vector_norm(self.grads, dim=1)
        self.alive &= torch.isfinite(self.losses) & torch.isfinite(self.grad_norms)
        grads, rates = self._alive_and_clipped(), (self.rates * self.alive)[:, None]
        if self.updates.plain:  # three passes over the members' numbers less
            self.weights.addcmul_(grads, rates, value=-1.0)
            return
        self.updated.grad = grads
        self.updated.zero_()
        self.optimizer.step()
        self.weights.addcmul_(self.updated, rates)

    def _alive_and_clipped(self) -> Tensor:
        """The gradients ``[M, P]`` at most as long as is allowed, zero of members that stay where they are."""
        grads, longest = self.grads, self.updates.max_grad_norm
        if longest is not None:
            grads = grads * (longest / (self.grad_norms + 1e-6)).clamp(max=1.0)[:, None]  # as PyTorch's
        return grads if bool(self.alive.all()) else torch.where(self.alive[:, None], grads, 0.0)


class SingleTrainer:
    """The plain twin: one network, trained by the workbench's own step."""

    def __init__(self, network: nn.Module, make_task: MakeTask, rate: float, updates: Updates):
        self.task = make_task(network)
        self.module = TaskModule(self.task, device=_CPU, precision="float32")
        self.accelerator = Accelerator(cpu=True, mixed_precision="no")
        self.optimizer = updates.make(list(network.parameters()), rate)
        self.updates, self.alive = updates, True
        self.loss = self.grad_norm = float("nan")

    def step(self, batch: Batch) -> None:
        """One update; none any more once a loss or gradient was not finite."""
        if not self.alive:
            return
        try:
            output = train_step(
                self.task, self.module, [batch], self.optimizer, self.accelerator,
                max_grad_norm=self.updates.max_grad_norm,
            )  # fmt: skip
            self.loss, self.grad_norm = output.loss, output.grad_norm
        except NonFiniteError:
            self.alive, self.loss = False, float("nan")


class _Rows:
    """Tensors ``[M, …]``, one for each parameter, and the matrix ``[M, P]`` whose row is all numbers of a member.

    In it norms, clipping, the optimizer and the update are one operation each, however many parameters there are. The
    weight of a linear layer lies there transposed, as its gradient comes out of the product that makes it.
    """

    def __init__(self, like: Sequence[Tensor], linear: Sequence[bool]):
        self.linear = list(linear)
        self.shapes = [
            t.transpose(1, 2).shape[1:] if lies else t.shape[1:] for t, lies in zip(like, linear, strict=True)
        ]

    def joined(self, tensors: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """The matrix: a copy, in ``out`` if there is one."""
        pairs = zip(tensors, self.linear, strict=True)
        parts = [(t.detach().transpose(1, 2) if lies else t.detach()).reshape(len(t), -1) for t, lies in pairs]
        return torch.cat(parts, dim=1, out=out)

    def parted(self, matrix: Tensor) -> list[Tensor]:
        """Views of the matrix."""
        parts = matrix.split([shape.numel() for shape in self.shapes], dim=1)
        own = (part.view(len(matrix), *shape) for part, shape in zip(parts, self.shapes, strict=True))
        return [t.transpose(1, 2) if lies else t for t, lies in zip(own, self.linear, strict=True)]


def _flat(name: str) -> str:
    """A member's name of a parameter as an attribute's: dots would be submodules."""
    return "member_" + name.replace(".", "__")


def along(values: Tensor, like: Tensor) -> Tensor:
    """Values of the members, ``[M]``, shaped to multiply ``[M, …]``."""
    return values.view(-1, *([1] * (like.ndim - 1)))
