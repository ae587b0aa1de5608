"""What fails while watching stays with the watching: it is told once, left out, and the training goes on as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Value = TypeVar("Value")

WHOLE = "the whole run"


class ProbeWarning(UserWarning):
    """A part of a run could not be watched. The training itself is as it would be without the watch."""


class Guard:
    """Calls what watches, and catches what it raises.

    A part that failed is left out from there on, the others go on; :data:`WHOLE` ends the watch. The first failure is
    told as a :class:`ProbeWarning`, later ones only in the record, but for the one that ends the watch. Hooks are not
    removed at once: one may be running in the middle of a forward pass; they do nothing any more.
    """

    def __init__(self, step: Callable[[], int]):
        self.left_out: dict[str, str] = {}
        self._step = step
        self._unwritten: list[dict[str, Any]] = []

    @property
    def ended(self) -> bool:
        """Whether nothing is watched any more."""
        return WHOLE in self.left_out

    def hook(self, part: str, function: Callable[..., None]) -> Callable[..., None]:
        """A hook that returns nothing, raises nothing, and leaves no trace in what ``torch.compile`` makes."""

        def guarded(*given: Any) -> None:
            if torch.compiler.is_compiling() or part in self.left_out or self.ended:
                return
            try:
                if transforming():
                    raise RuntimeError("it runs within torch.func, whose tensors end with the call")
                function(*given)
            except Exception as error:  # whatever it is, the training is worth more
                self.leave_out(part, error)

        return guarded

    def value(self, part: str, function: Callable[[], Value], otherwise: Value) -> Value:
        """What ``function`` returns; ``otherwise`` where the part fails or has failed."""
        if part in self.left_out or self.ended:
            return otherwise
        try:
            return function()
        except Exception as error:  # as above
            self.leave_out(part, error)
            return otherwise

    def leave_out(self, part: str, error: Exception) -> None:
        """Note that a part failed, and warn of the first, and of the end."""
        told = bool(self.left_out)
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        self.left_out[part] = reason
        self._unwritten.append({"kind": "left out", "step": self._step(), "part": part, "reason": reason})
        rest = "watching goes on without it, as does the training; what else fails is told by `lucida diagnose`"
        if part == WHOLE:
            rest = "watching has ended, the training goes on"
        if not told or part == WHOLE:
            text = f"could not watch {part or 'the model'} at step {self._step()}: {reason}; {rest}"
            warnings.warn(text, ProbeWarning, stacklevel=3)

    def take_rows(self) -> list[dict[str, Any]]:
        """The failures since the last time, as rows of the record."""
        rows, self._unwritten = self._unwritten, []
        return rows


def transforming() -> bool:
    """Whether ``torch.vmap`` or another transform of ``torch.func`` runs."""
    return torch._C._functorch.peek_interpreter_stack() is not None
