"""Recipes: short Python files, each with a ``recipe()`` that returns a config."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.workflows.run_config import RunConfig


def names() -> list[str]:
    """All recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> RunConfig:
    """The config of a recipe.

    Raises:
        LucidaError: there is none of that name.

    >>> load("tiny").artwork_size
    72
    """
    if name not in names():
        near = nearest(name, names())
        remedy = f"did you mean {near!r}?" if near else f"there are {', '.join(names())}"
        raise LucidaError(f"no recipe {name!r}", remedy=remedy)
    config: RunConfig = import_module(f"{__name__}.{name}").recipe()
    return config
