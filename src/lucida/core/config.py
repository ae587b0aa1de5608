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


def check_settings(config: Any, allowed: Mapping[str, bool]) -> None:
    """Settings of a command are in their ranges.

    Args:
        config: has them as attributes.
        allowed: by name, whether the value is fine.

    Raises:
        LucidaError: one is not; it is named as on the command line.
    """
    for name, fine in allowed.items():
        if not fine:
            raise LucidaError(f"{name} cannot be {getattr(config, name)}", where="--" + name.replace("_", "-"))


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
    if not isinstance(content, Mapping):
        raise LucidaError(f"expected a group of settings, found {content!r}", where=where or cls.__name__)
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
    """``value`` as the annotation ``hint`` wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if hint is Duration:
        return value if isinstance(value, Duration) else Duration.parse(_expect(str, value, where))
    if hint is Path:
        return value if isinstance(value, Path) else Path(_expect(str, value, where))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]  # a dataclass type
    if (origin or hint) in (tuple, list):
        return _convert_sequence(origin or hint, arguments, value, where)
    if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping):
        inner = arguments[1] if arguments else Any
        return {key: _convert(inner, item, f"{where}.{key}") for key, item in _expect(Mapping, value, where).items()}
    if origin is typing.Literal:
        if value not in arguments:
            raise LucidaError(f"expected one of {', '.join(map(str, arguments))}, found {value!r}", where=where)
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _expect(hint, value, where) if hint in (int, float, str, bool, type(None)) else value


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """The first member of the union that takes the value; an exact type goes before a conversion."""
    if type(value) in arguments:
        return value
    errors = []
    for argument in arguments:
        try:
            return _convert(argument, value, where)
        except LucidaError as error:
            if argument is not type(None):
                errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    names = ", ".join(getattr(argument, "__name__", str(argument)) for argument in arguments)
    raise LucidaError(f"expected one of the types {names}, found {value!r}", where=where)


def _convert_sequence(kind: type, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """A list or tuple; ``tuple[int, str]`` has its own type at each place, ``tuple[int, ...]`` one for all."""
    if not isinstance(value, list | tuple):
        raise LucidaError(f"expected a list, found {value!r}", where=where)
    hints = list(arguments or [Any])
    if kind is list or hints[-1] is Ellipsis or not arguments:
        hints = [hints[0]] * len(value)
    if len(value) != len(hints):
        raise LucidaError(f"expected {len(hints)} values, found {len(value)}: {value!r}", where=where)
    return kind(_convert(h, item, f"{where}[{i}]") for i, (h, item) in enumerate(zip(hints, value, strict=True)))


def _expect(kind: type, value: Any, where: str) -> Any:
    """``value`` if it is of this very type (``True`` is no int), else an error that shows it."""
    if not (isinstance(value, Mapping) if kind is Mapping else type(value) is kind):
        name = "a group of settings" if kind is Mapping else kind.__name__
        raise LucidaError(f"expected {name}, found {value!r}", where=where)
    return value
