"""Blocks of a note that are drawn from results files: what stands between two marks is replaced."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lucida.core.results import write_text


def drawn(note: str, tool: str, blocks: dict[str, str]) -> str:
    """The note with what stands between its marks replaced.

    Args:
        note: its text, with a pair of marks for each block.
        tool: file name of the program that draws, as the marks say.
        blocks: by name.

    >>> drawn("a <!-- x: tools/t.py --> old <!-- end of x --> b", "t.py", {"x": "new"})
    'a <!-- x: tools/t.py -->\\nnew\\n<!-- end of x --> b'
    """
    for name, block in blocks.items():
        start, end = f"<!-- {name}: tools/{tool} -->", f"<!-- end of {name} -->"
        before, rest = note.split(start)
        note = f"{before}{start}\n{block}\n{end}{rest.split(end)[1]}"
    return note


def write_or_check(
    tool: str,
    about: str | None,
    note: Path,
    blocks: Callable[[], dict[str, str]],
    arguments: Sequence[str] | None = None,
) -> None:
    """The program of a note: write its blocks, or with ``--check`` end with an error where they are not what they were.

    Args:
        tool: its file.
        about: for ``--help``.
        note: the page.
        blocks: draws them by name.
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args(arguments).check
    before, name = note.read_text(encoding="utf-8"), Path(tool).name
    made = drawn(before, name, blocks())
    if not check:
        write_text(note, made)
    elif made != before:
        sys.exit(f"{note.name} is not what the results files say: run tools/{name}")
