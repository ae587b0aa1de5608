"""The rows of ``probes.jsonl``: their keys, and the file they go into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.training.probes.sampling import short
from lucida.training.progress import truncate_metrics

# fmt: off
RESERVED = frozenset({
    "attention", "bad", "broken", "cosine", "error", "evaluations", "grad_norm", "idle", "kind", "layers", "message",
    "noise", "parameters", "part", "pictures", "pulse", "rates", "reason", "replaced", "scalars", "step", "supervised",
    "unclipped", "unfinished",
})
# fmt: on
"""Keys that mean something to the rules; ``loss`` is not among them, since a loop may know a better one."""


def refuse_reserved(names: Iterable[str]) -> None:
    """Names for numbers of a loop's own.

    Raises:
        LucidaError: one is a key of the rows themselves.
    """
    if taken := sorted(RESERVED.intersection(names)):
        raise LucidaError(f"{taken[0]!r} is a key of the rows themselves", where="note", remedy="use another name")


def prepare(path: Path, done: int) -> None:
    """A file that can be written, without rows of the steps to come.

    Raises:
        LucidaError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if done:
            truncate_metrics(path, done)
        else:
            path.unlink(missing_ok=True)
        path.touch()
    except OSError as error:
        raise LucidaError(f"cannot write the probes: {error.strerror}", where=path) from None


def of_parameters(
    half: Mapping[str, Any], after: Mapping[str, tuple[float, float | None]]
) -> dict[str, list[float | None]]:
    """``{parameter: [gradient, weight, update, silent]}``, from what was measured before and after the update."""
    numbers: dict[str, list[float | None]] = {}
    for name in {**after, **half["gradients"]}:
        weight, update = after.get(name, (None, None))
        entry = (half["gradients"].get(name), weight, update, half["silent"].get(name))
        numbers[name] = [short(x) for x in entry]
    return numbers
