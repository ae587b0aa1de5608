"""The command line: ``lucida run``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from lucida import __version__
from lucida.core.errors import LucidaError

USAGE = """lucida: a workbench and lab for vision-language models

usage: lucida run [--recipe NAME] [--out FOLDER] [--split-seed N] [...]
       lucida run --help      every setting of a recipe
       lucida --version

commands:
  run    train a dual encoder and a multimodal LLM on the artwork, measure them, write report.html
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; bad input ends with one line on the error stream and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        _dispatch(given)
    except LucidaError as error:
        if debug:
            raise
        print(f"lucida: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lucida: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def _dispatch(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif given[0] in ("-V", "--version"):
        print(f"lucida {__version__}")
    elif given[0] == "run":
        _run(given[1:])
    else:
        raise LucidaError(f"unknown command {given[0]!r}", remedy="lucida --help lists the commands")


def _run(given: list[str]) -> None:
    from lucida.workflows import recipes
    from lucida.workflows.run import run

    name, rest = _take(given, "--recipe", "default")
    config = tyro.cli(type(recipes.load(name)), default=recipes.load(name), args=rest, prog="lucida run")
    print(f"report: {run(config)}")


def _take(given: list[str], option: str, default: str) -> tuple[str, list[str]]:
    """The value of an option that is read before the config, and the other arguments.

    >>> _take(["--seed", "1", "--recipe", "tiny"], "--recipe", "default")
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
