"""What stands behind a verb on the command line, read into a config or apart from it; bad words are one line."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import tyro

from lucida.core.config import nearest, to_dict
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError

Config = TypeVar("Config")


def override(config: Config, given: Sequence[str], *, command: str, before: str = "") -> Config:
    """A config with the settings that the command line names.

    A setting within a group may be said by its last name, ``--effective-batch`` for ``--train.effective-batch``, where
    no other has that name.

    Args:
        config: the settings as they start.
        given: words of the command line.
        command: for messages.
        before: what --help says of words that were taken before.

    Raises:
        LucidaError: a setting is unknown (the nearest is named), or its value is of the wrong kind.
    """
    known = dict(_keys(to_dict(config)))
    given = [_in_full(word, known) for word in given]
    known |= {f"no_{key}": not value for key, value in known.items() if isinstance(value, bool)}
    for word in given:
        key = word.partition("=")[0]
        if key.startswith("--") and key not in ("--help",) and key[2:].replace("-", "_") not in known:
            near = nearest(key[2:].replace("-", "_"), known)
            remedy = f"did you mean --{near.replace('_', '-')}?" if near else f"{command} --help lists them"
            raise LucidaError(f"unknown setting {key}", remedy=remedy)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                type(config),
                default=config,
                args=list(given),
                prog=command,
                description="\n\n".join(filter(None, [(inspect.getdoc(type(config)) or "").split("\n\n")[0], before])),
                registry=_registry(),
                config=(tyro.conf.AvoidSubcommands,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise LucidaError(_one_line(said.getvalue()), where=command, remedy=f"see {command} --help") from None


def _in_full(word: str, known: Mapping[str, Any]) -> str:
    """An option with the group that it belongs to; as it is where that cannot be told.

    >>> _in_full("--batch-size=8", {"out": 0, "train.batch_size": 1})
    '--train.batch-size=8'
    >>> _in_full("--seed", {"encoder.seed": 0, "language.seed": 1})
    '--seed'
    """
    option, equals, value = word.partition("=")
    key = option[2:].replace("-", "_")
    if not option.startswith("--") or key in known:
        return word
    groups = [name.rpartition(".")[0] for name in known if name.rpartition(".")[2] == key]
    return f"--{groups[0].replace('_', '-')}.{option[2:]}{equals}{value}" if len(groups) == 1 else word


def _keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name.

    >>> list(_keys({"a": {"b": 1}, "c": 2}))
    [('a.b', 1), ('c', 2)]
    """
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _registry() -> tyro.constructors.ConstructorRegistry:
    """A duration, or none, is one word ("2 epochs" in quotes), not a group of settings."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def _(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        kinds = set(typing.get_args(info.type)) or {info.type}
        if Duration not in kinds:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="DURATION|None" if len(kinds) > 1 else "DURATION",
            instance_from_str=lambda words: None if words[0] == "None" else Duration.parse(words[0]),
            is_instance=lambda value: value is None or isinstance(value, Duration),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _one_line(said: str) -> str:
    """What an argument parser drew in a box, up to its first rule, as one line.

    >>> _one_line("╭─ Value error ───╮\\n│ Error parsing    │\\n│ --x: no number   │\\n│ ──────────── │\\n│ more │")
    'Error parsing --x: no number'
    """
    lines: list[str] = []
    for line in said.splitlines():
        text = line.strip("│ ").strip()
        if re.match(r"[╭╰─]", text):
            if lines:
                break
        elif text:
            lines.append(text)
    return " ".join(lines) or "the arguments cannot be read"


def take(given: list[str], option: str, default: str) -> tuple[str, list[str]]:
    """The value of an option that is read before the config, and the other arguments.

    >>> take(["--seed", "1", "--recipe", "tiny"], "--recipe", "default")
    ('tiny', ['--seed', '1'])
    """
    for i, word in enumerate(given):
        if word.startswith(f"{option}="):
            return word.partition("=")[2], given[:i] + given[i + 1 :]
        if word == option:
            if i + 1 == len(given):
                raise LucidaError(f"{option} needs a value")
            return given[i + 1], given[:i] + given[i + 2 :]
    return default, given


def apart(given: list[str], *, switches: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names and options, in any order; an option takes the next word unless it is a switch or has its value in it.

    >>> apart(["--seeds", "3", "toy", "--all", "--scale=full"], switches=("--all",))
    (['toy'], ['--seeds', '3', '--all', '--scale=full'])
    """
    names: list[str] = []
    options: list[str] = []
    words = iter(given)
    for word in words:
        if not word.startswith("-"):
            names.append(word)
            continue
        options.append(word)
        if word not in switches and "=" not in word:
            options += [value for value in [next(words, None)] if value is not None]
    return names, options


def number(word: str, option: str) -> float:
    """
    >>> number("0.02", "--margin")
    0.02
    """
    try:
        return float(word)
    except ValueError:
        raise LucidaError(f"{option} {word} is no share", remedy="give a share such as 0.02") from None


def seconds(word: str) -> float:
    """
    >>> seconds("2.5")
    2.5
    """
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise LucidaError(f"--idle {word} is no time", remedy="give seconds above 0")
    return seconds
