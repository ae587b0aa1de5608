"""Many small networks of one structure as one: seeds, learning rates and arms are the first dimension of every tensor.

What a small network costs on a processor is overhead: hundreds of operations of some microseconds each, whatever their
size. Stacked, there are as many operations as for one network, and each does the work of all. Nothing is defined
twice: the losses are those of the workbench's tasks, mapped over the members (:func:`torch.vmap`), the gradients those
of :func:`lucida.training.step.summed_gradients`, the updates those of PyTorch's optimizers. One by one, with
:func:`lucida.training.step.train_step`, is the plain twin.
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
from lucida.training.step import summed_gradients, train_step
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
    """A task of the workbench for every member of a stack; the loss is the sum of the members' mean losses.

    After a step ``losses`` holds the members' own, ``[M]``.
    """

    def __init__(self, stack: Stack, make_task: MakeTask):
        self.model: nn.Module = stack
        self.stack = stack
        self.losses = torch.full((stack.members,), float("nan"))
        self._one = TaskModule(make_task(stack.template), device=_CPU, precision="float32")

    def loss(self, batch: Batch) -> LossOutput:
        """Every tensor of the batch is ``[M, …]``; a member's gradient is that of its own mean loss."""
        self.losses = self.member_losses(batch)
        return LossOutput(self.losses.sum(), 1.0)

    def member_losses(self, batch: Batch) -> Tensor:
        """The mean loss of each member, ``[M]``."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], own: Batch) -> Tensor:
            state = {f"model.{name}": tensor for name, tensor in (parameters | buffers).items()}
            output: LossOutput = functional_call(self._one, state, (own,))
            return output.loss_sum / output.weight

        state = self.stack.stacked_parameters(), self.stack.stacked_buffers()
        return torch.vmap(one, randomness="different")(*state, batch)


class StackTrainer:
    """Trains all members of a stack at once, each at its own rate.

    A member whose loss or gradient is not finite stays where it was before that step, as a run that
    :func:`~lucida.training.step.train_step` stopped; the others go on.

    Attributes:
        alive: ``bool [M]``.
        grad_norms: of the last step, before clipping, ``[M]``.
    """

    def __init__(self, stack: Stack, make_task: MakeTask, rates: Sequence[float], updates: Updates):
        self.stack, self.updates = stack, updates
        self.task = StackTask(stack, make_task)
        self.module = TaskModule(self.task, device=_CPU, precision="float32")
        self.accelerator = Accelerator(cpu=True, mixed_precision="no")
        self.parameters = list(stack.stacked_parameters().values())
        self.rates = torch.as_tensor(list(rates), dtype=self.parameters[0].dtype)
        # The optimizer works on zeros, with a rate of 1: what it leaves there is the update itself, and each member
        # takes it at its own rate.
        self.steps = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.optimizer = updates.make(self.steps, 1.0)
        self.alive = torch.ones(stack.members, dtype=torch.bool)
        self.grad_norms = torch.full((stack.members,), float("nan"))

    def step(self, batch: Batch) -> None:
        """One update from a batch whose tensors are ``[M, B, …]``."""
        self.stack.zero_grad(set_to_none=True)
        summed_gradients(self.task, self.module, [batch], self.accelerator)
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        squares = torch.stack([grad.reshape(len(grad), -1).square().sum(dim=1) for grad in grads]).sum(dim=0)
        self.grad_norms = squares.sqrt()
        self.alive &= torch.isfinite(self.task.losses.detach()) & torch.isfinite(self.grad_norms)
        scale = self._clip_coefficients()
        for step, grad in zip(self.steps, grads, strict=True):
            scaled = grad if scale is None else grad * along(scale, grad)
            step.grad = scaled if bool(self.alive.all()) else torch.where(along(self.alive, grad), scaled, 0.0)
            step.zero_()
        self.optimizer.step()
        rates = self.rates * self.alive
        with torch.no_grad():
            for parameter, step in zip(self.parameters, self.steps, strict=True):
                parameter.addcmul_(step, along(rates, step))

    def _clip_coefficients(self) -> Tensor | None:
        largest = self.updates.max_grad_norm
        return None if largest is None else (largest / (self.grad_norms + 1e-6)).clamp(max=1.0)  # as PyTorch's


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


def _flat(name: str) -> str:
    """A member's name of a parameter as an attribute's: dots would be submodules."""
    return "member_" + name.replace(".", "__")


def along(values: Tensor, like: Tensor) -> Tensor:
    """Values of the members, ``[M]``, shaped to multiply ``[M, …]``."""
    return values.view(-1, *([1] * (like.ndim - 1)))
