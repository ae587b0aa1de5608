"""Configs: frozen dataclasses, saved as JSON, rebuilt from JSON with every unknown key refused."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError

Config = TypeVar("Config")


def nearest(word: str, known: typing.Iterable[str]) -> str | None:
    """The known word closest in spelling, if any is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def to_dict(config: Any) -> Any:
    """A config as plain JSON values (durations as text, paths as text).

    >>> to_dict(Duration(2, "epochs"))
    '2 epochs'
    """
    if isinstance(config, Duration | Path):
        return str(config)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_dict(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_dict(value) for value in config]
    return config


def from_dict(cls: type[Config], content: Mapping[str, Any], *, where: str = "") -> Config:
    """Rebuild a config dataclass.

    Args:
        cls: the dataclass.
        content: what :func:`to_dict` gave; missing keys take their defaults.
        where: the file or key it came from, for the message.

    Raises:
        LucidaError: an unknown key (the nearest known one is named) or a value of the wrong kind.
    """
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]  # every config is a dataclass
    for key in content:
        if key not in known:
            near = nearest(key, known)
            remedy = f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}"
            raise LucidaError(f"unknown config key {key!r}", where=where or cls.__name__, remedy=remedy)
    try:
        values = {key: _convert(hints[key], value, f"{where}.{key}".strip(".")) for key, value in content.items()}
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise LucidaError(f"bad config value: {error}", where=where or cls.__name__) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(a for a in typing.get_args(hint) if a is not type(None)), value, where)
    if hint is Duration:
        return Duration.parse(value)
    if hint is Path:
        return Path(value)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise LucidaError(f"expected a group of settings, found {value!r}", where=where)
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]  # a dataclass type
    if origin is tuple:
        arguments = typing.get_args(hint)
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise LucidaError(
                f"expected one of {', '.join(map(str, typing.get_args(hint)))}, found {value!r}", where=where
            )
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise LucidaError(f"expected {hint.__name__}, found {value!r}", where=where)
    return value
