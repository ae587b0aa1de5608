"""The batch of a step: how many examples its gradients come from, and which of them are not finite."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lucida.training.probes.parts import processes, rows_of


class Latest:
    """What the model was called with since the optimizer's last step.

    Attributes:
        examples: rows of the first input, over all calls and processes; 0 where that is not known.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin a step."""
        self.examples = 0
        self._call: tuple[Any, Any, Any] | None = None

    def add(self, args: Any, kwargs: Any, output: Any, *, keep: bool) -> None:
        """Count a call; with ``keep`` its tensors are held until the step ends, for :meth:`bad`."""
        self.examples += rows_of([*args, *kwargs.values()]) * processes()
        self._call = (args, kwargs, output.detach() if isinstance(output, Tensor) else None) if keep else None

    def bad(self) -> dict[str, Any]:
        """``examples`` that are not finite, in the first tensor of the last call's inputs and output that has such."""
        args, kwargs, output = self._call or ((), {}, None)
        named = {f"input {k}": x for k, x in enumerate(args)} | {f"input {k}": x for k, x in kwargs.items()}
        for name, tensor in [*named.items(), ("output", output)]:
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim > 0 and tensor.numel():
                rows = (~tensor.detach().isfinite()).reshape(len(tensor), -1).any(dim=1)
                if rows.any():
                    return {"examples": {"where": name, "bad": rows.nonzero()[:8, 0].tolist(), "of": len(tensor)}}
        return {}
