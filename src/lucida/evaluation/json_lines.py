"""Rows of files that others made: JSON lines, or one JSON list, each row with the place where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError

_REMEDY = "give one JSON object a line"


def json_rows(path: Path, what: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row lies, and the row.

    Args:
        path: JSON lines, or a file that is one JSON list of objects.
        what: the rows are, for errors.

    Raises:
        LucidaError: the file cannot be read, has no row, or a row is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LucidaError(f"no such file of {what}", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LucidaError(f"cannot read the {what}: {error}", where=path) from None
    rows = list(_listed(text, path) if text.lstrip().startswith("[") else _lines(text, path))
    if not rows:
        raise LucidaError(f"no {what} in the file", where=path, remedy=_REMEDY)
    for where, row in rows:
        if not isinstance(row, dict):
            raise LucidaError("not a JSON object", where=where, remedy=_REMEDY)
        yield where, row


def _listed(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    found = _parsed(text)
    if not isinstance(found, list):
        yield from _lines(text, path)  # a list a line: no row is an object, and the first is named
    else:
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(found, start=1))


def _lines(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", _parsed(line)


def _parsed(text: str) -> Any:
    """None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
