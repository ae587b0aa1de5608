"""Small training runs, healthy and with one fault planted, on which the diagnosis is measured.

Every run is drawn from a seed: architecture, width, depth, optimizer, rate, batch. ``HEALTHY`` and ``FAULTS`` map a
name to a function of a ``random.Random`` that returns a :class:`Case`; ``EXPECTED`` says which findings name a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import ModuleType

import torch

from . import faults, healthy
from .faults import EXPECTED
from .parts import Case, Language, Pair, Recurrent, Residual, mlp, run, train

__all__ = ["EXPECTED", "FAULTS", "HEALTHY", "Case", "Language", "Pair", "Recurrent", "Residual", "all_cases", "case",
           "mlp", "run", "train"]  # fmt: skip


def _named(module: ModuleType, prefix: str) -> dict[str, Callable[[random.Random], Case]]:
    own = {n: value for n, value in sorted(vars(module).items()) if n.startswith(prefix)}
    return {name[2:]: value for name, value in own.items()}


HEALTHY = _named(healthy, "h_")
FAULTS = _named(faults, "f_")


def case(make: Callable[[random.Random], Case], seed: int) -> Case:
    """The case of a seed."""
    torch.manual_seed(seed)
    return make(random.Random(seed))


def all_cases(seeds: list[int]) -> Iterator[tuple[str, str, int]]:
    """``(group, name, seed)`` of every run."""
    for group, table in (("healthy", HEALTHY), ("fault", FAULTS)):
        for name in table:
            for seed in seeds:
                yield group, name, seed
