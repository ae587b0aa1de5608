"""One process or many: what the loop needs of accelerate."""

from __future__ import annotations

from typing import Any, Literal

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # it ships no py.typed
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch import Tensor, nn

from lucida.training.batches import Batch
from lucida.training.tasks import FeatureTask, Task

__all__ = ["Accelerator", "Precision", "TaskModule", "send_to_device"]

Precision = Literal["float32", "bfloat16"]


class TaskModule(nn.Module):
    """A task's loss or features as the ``forward`` of a module, so that accelerate can wrap it (DDP) like any model."""

    def __init__(self, task: Task | FeatureTask, *, device: torch.device, precision: Precision):
        super().__init__()
        self.model = task.model
        self._method = task.features if isinstance(task, FeatureTask) else task.loss
        self._device, self._precision = device.type, precision

    def forward(self, batch: Batch) -> Any:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._precision == "bfloat16"):
            return self._method(batch)


def seed_step(seed: int, device: torch.device) -> None:
    """Seed the streams that dropout draws from: the processor's and the device's.

    ``torch.manual_seed`` would format a stack trace for every kind of device that is not there.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def random_state(device: torch.device) -> tuple[Tensor, ...]:
    """The state of those streams."""
    here = () if device.type == "cpu" else (torch.get_device_module(device).get_rng_state(),)
    return torch.get_rng_state(), *here


def set_random_state(state: tuple[Tensor, ...], device: torch.device) -> None:
    """Put those streams back to a state of :func:`random_state`."""
    torch.set_rng_state(state[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[1])


def gather_rows(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """The rows of all processes in the order of the processes, without gradients."""
    return tensor if accelerator.num_processes == 1 else accelerator.gather(tensor.contiguous())


def sum_over_processes(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum of a tensor over all processes."""
    return tensor if accelerator.num_processes == 1 else accelerator.reduce(tensor, "sum")


def same_everywhere(number: int, accelerator: Accelerator) -> bool:
    """Whether all processes hold the same number."""
    numbers = gather_rows(torch.tensor([number], device=accelerator.device), accelerator)
    return bool((numbers == number).all())


def is_main() -> bool:
    """Whether this process is the first of those that train together, or alone."""
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    return alone or torch.distributed.get_rank() == 0


def leave_processes() -> None:
    """Wait for the other processes and part from them; call it once, at the end of a program.

    A process that simply ends may break the connections the others still close, and they abort.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
