"""What goes into the model: the share of supervised tokens, and whether the pictures matter to the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.training.probes.guard import Guard

IGNORED = -100
INPUTS, PICTURES = "the inputs of the model", "the pictures"

Pictures = str | Callable[[], tuple[float, float]]


def loss_of(output: Any) -> Tensor | None:
    """The mean loss in what a model returned: ``loss`` (Hugging Face), or ``loss_sum / n_supervised`` (lucida)."""
    get = output.get if isinstance(output, Mapping) else lambda name: getattr(output, name, None)
    loss, total, count = get("loss"), get("loss_sum"), get("n_supervised")
    if loss is None and total is not None and count is not None:
        loss = total / torch.as_tensor(count).clamp(min=1)
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 else None


class InputProbe:
    """Hooks on the whole model, for the length of one step: ``labels``, the loss it returns, its pictures.

    Args:
        model: called with ``labels=`` (-100: not supervised) as Hugging Face models are; others show no share.
        pictures: the argument of the model that holds the pictures, ``[B, ...]``: the loss is measured with each
            example's own picture and with its neighbour's, in evaluation mode, without gradients, the other arguments
            as they were given; the model must return its loss. Or a function that returns these two losses.
    """

    def __init__(self, model: nn.Module, pictures: Pictures | None, guard: Guard):
        self.model, self.pictures, self._guard = model, pictures, guard
        self._handles: list[Any] = []
        self._given: tuple[str, ...] = ()
        self._seen = False
        self.forget()

    def forget(self) -> None:
        """Forget what was measured of the step."""
        self._supervised: list[Tensor] = []
        self._tokens = 0
        self._losses: list[Tensor] = []
        self._call: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def attach(self, active: Callable[[], bool], *, look: bool) -> None:
        """Put the hooks on; with ``look`` the batch is kept, for the pictures."""
        self._handles += self._guard.value(INPUTS, partial(self._attach, active, look), [])

    def _attach(self, active: Callable[[], bool], look: bool) -> list[Any]:
        def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if not active():
                return
            labels = kwargs.get("labels")
            if isinstance(labels, Tensor) and not labels.is_floating_point():
                self._supervised.append((labels != IGNORED).sum())
                self._tokens += labels.numel()
            if look and isinstance(self.pictures, str):
                self._call, self._given = (args, dict(kwargs)), tuple(kwargs)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if active() and (loss := loss_of(output)) is not None:
                self._losses.append(loss.detach().float())

        return [
            self.model.register_forward_pre_hook(self._guard.hook(INPUTS, before), with_kwargs=True),
            self.model.register_forward_hook(self._guard.hook(INPUTS, after)),
        ]

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def read(self, *, look: bool) -> dict[str, Any]:
        """The numbers of the step; with ``look``, the pictures' too. Forgets the batch."""
        row: dict[str, Any] = {}
        if self._tokens:
            row["supervised"] = sum(x.item() for x in self._supervised) / self._tokens
        if self._losses:
            row["loss"] = torch.stack(self._losses).mean().item()
        if look and self.pictures is not None:
            pair = self._guard.value(PICTURES, self._own_and_other, None)
            if pair is not None:
                row["pictures"] = {"own": pair[0], "other": pair[1]}
        self.forget()
        return row

    def _own_and_other(self) -> tuple[float, float] | None:
        with left_as_it_was(self.model):
            pair = self.pictures() if callable(self.pictures) else self._two_losses(str(self.pictures))
        return None if pair is None else (float(pair[0]), float(pair[1]))

    def _two_losses(self, name: str) -> tuple[float, float] | None:
        """The losses on the step's last batch; ``None`` where it holds fewer than two pictures (text alone)."""
        args, kwargs = self._call or ((), {})
        names = list(signature(self.model.forward).parameters)
        place = names.index(name) if name in names[: len(args)] else None
        if name not in kwargs and not self._seen and name not in names:
            raise LucidaError(
                f"the model was called without {name!r}",
                where="probes, pictures",
                remedy=f"name one of: {', '.join(self._given) or 'nothing was given by keyword'}",
            )
        pictures = kwargs.get(name) if place is None else args[place]
        if pictures is None or len(pictures) < 2:
            return None
        self._seen = True
        found = []
        for shift in (0, 1):
            shown = pictures.roll(shift, dims=0)
            given = [shown if k == place else x for k, x in enumerate(args)]
            loss = loss_of(self.model(*given, **(kwargs | {name: shown} if place is None else kwargs)))
            if loss is None:
                raise LucidaError(
                    "the model returns no loss",
                    where="probes, pictures",
                    remedy="give a function that returns the losses with the own and with other pictures",
                )
            found.append(loss.item())
        return found[0], found[1]


class left_as_it_was:  # reads as a word where it is used
    """Evaluation mode without gradients; modes, buffers and the random stream are as before afterwards."""

    def __init__(self, model: nn.Module):
        self.model = model

    def __enter__(self) -> None:
        self._modes = {module: module.training for module in self.model.modules()}
        self._buffers = [(buffer, buffer._version, buffer.clone()) for buffer in self.model.buffers()]
        self._fork = torch.random.fork_rng()
        self._no_grad = torch.no_grad()
        self._fork.__enter__()
        self._no_grad.__enter__()
        self.model.eval()

    def __exit__(self, *error: Any) -> None:
        for buffer, version, kept in self._buffers:
            if buffer._version != version:  # else it was not written to, and need not be now
                buffer.copy_(kept)
        for module, training in self._modes.items():
            module.training = training
        self._no_grad.__exit__(*error)
        self._fork.__exit__(*error)
