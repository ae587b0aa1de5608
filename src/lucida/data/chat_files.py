"""Files of chats as others keep them: LLaVA's JSON, and JSON or JSON lines with ``messages``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.data.chats import ASSISTANT, SYSTEM, USER, Chat, Chats, Message
from lucida.data.listing import FileFinder
from lucida.data.pictures import Skipped

MARKER = "<image>"
"""Stands in a text where a picture belongs."""

_ROLES = {"human": USER, "user": USER, "gpt": ASSISTANT, "assistant": ASSISTANT, "system": SYSTEM}
_FORMS = "give LLaVA's JSON (a list of rows with 'conversations') or JSON lines with 'messages'"
_SHOWN = 80  # characters of a name or value that a reason quotes


def read_chats(path: Path | str, *, pictures: Path | str | None = None) -> Chats:
    """The chats of a file.

    Understood are a JSON list and JSON lines, which are read one at a time. A row has either form:

    - LLaVA's: ``{"image": …, "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, …]}``
    - messages: ``{"images": […], "messages": [{"role": "user", "content": …}, …]}``, the content being a text with
      ``<image>`` where a picture belongs, or a list of parts such as ``{"type": "text", "text": …}`` and
      ``{"type": "image"}``; such a part may name its picture itself (``"image"``, ``"path"`` or ``"url"``).

    ``image`` or ``images`` is a file, or a list of files. The line break between a marker and the text beside it
    belongs to the marker: a chat template writes its own.

    A row that cannot be used never ends the reading. It is listed in ``skipped`` if a picture is not there, roles do
    not alternate, markers and pictures differ in number, or the last question has no answer. No picture is opened.

    Args:
        path: of the file.
        pictures: the folder from which the file names its pictures; its own folder unless given.

    Raises:
        LucidaError: the file or the folder is missing, it is not JSON, or no row of it can be used.
    """
    path = Path(path)
    root = Path(os.path.abspath(path.parent if pictures is None else pictures))
    if not root.is_dir():
        raise LucidaError("no such folder of pictures", where=pictures or path.parent)
    reader = _Reader(FileFinder([root]), root)
    chats: list[Chat] = []
    skipped: list[Skipped] = []
    for where, number, row in _rows(path):
        id = f"{path.name}:{number}"
        try:
            chats.append(reader.chat(row, where, id))
        except LucidaError as error:
            skipped.append(Skipped(id, where, error.what))
    return Chats(path.name, tuple(chats), root, tuple(skipped)).check()


def _rows(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Where each row lies, its number from 1, and its value; bytes where the row is not JSON.

    Raises:
        LucidaError: the file cannot be read, or is not JSON at all.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            file.seek(0)
            if start == b"[":
                yield from ((f"{path}, row {n}", n, row) for n, row in enumerate(_listed(file.read(), path), start=1))
            elif start == b"{":
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield f"{path}, line {number}", number, _parsed(line)
            else:
                raise LucidaError("not JSON" if start else "the file is empty", where=path, remedy=_FORMS)
    except OSError as error:
        raise LucidaError(f"cannot read the chats: {error.strerror}", where=path, remedy=_FORMS) from None


def _listed(text: bytes, path: Path) -> list[Any]:
    try:
        return list(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise LucidaError(f"not valid JSON: {error}", where=path, remedy=_FORMS) from None


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


@dataclass
class _Reader:
    """Makes chats of rows; looks for each picture once."""

    finder: FileFinder
    root: Path
    found: dict[str, Path | None] = field(default_factory=dict)

    def chat(self, row: Any, where: str, id: str) -> Chat:
        """The chat of a row.

        Raises:
            LucidaError: it cannot be used; ``what`` is the reason.
        """
        if not isinstance(row, Mapping):
            raise LucidaError("not valid JSON" if isinstance(row, bytes) else "not a JSON object")
        turns = row.get("conversations") or row.get("messages")
        if not isinstance(turns, list):
            raise LucidaError("the row has neither 'conversations' nor 'messages'")
        said = [_said(turn) for turn in turns]
        names = _names(row, [part for _, parts in said for part in parts if not isinstance(part, str)])
        numbers = iter(range(len(names)))
        messages = tuple(
            Message(role, tuple(part if isinstance(part, str) else next(numbers) for part in parts))
            for role, parts in said
        )
        if messages and messages[-1].role != ASSISTANT:
            raise LucidaError("the last message has no answer")
        return Chat(messages, tuple(self._picture(name) for name in names), where, id)

    def _picture(self, name: str) -> Path:
        if name not in self.found:
            path = self.finder.find(name)
            self.found[name] = path and Path(os.path.abspath(path))
        path = self.found[name]
        if path is None:
            raise LucidaError(f"there is no picture {_quoted(name)} in {self.root}")
        return path


@dataclass(frozen=True)
class _Place:
    """Where a picture belongs, and its name if that is written there."""

    name: str | None = None


_Parts = list[str | _Place]


def _said(turn: Any) -> tuple[str, _Parts]:
    """The role and the parts of a message, as either form writes it."""
    if not isinstance(turn, Mapping):
        raise LucidaError("a message is not a JSON object")
    role = turn.get("from", turn.get("role"))
    if not isinstance(role, str) or role not in _ROLES:
        raise LucidaError(f"nobody knows the role {_quoted(role)}")
    content = turn.get("value", turn.get("content"))
    if isinstance(content, str):
        return _ROLES[role], _marked(content)
    if not isinstance(content, list):
        raise LucidaError("a message has no text")
    return _ROLES[role], [part for part in map(_part, content) if part != ""]


def _marked(text: str) -> _Parts:
    """A text with markers as texts and places.

    >>> _marked("<image>\\nWhat is it?")
    [_Place(name=None), 'What is it?']
    """
    if MARKER not in text:
        return [text] if text else []
    first, *rest = text.split(MARKER)
    parts: _Parts = [first.rstrip("\n")]
    for i, piece in enumerate(rest, start=1):
        parts += [_Place(), piece.strip("\n") if i < len(rest) else piece.lstrip("\n")]
    return [part for part in parts if isinstance(part, _Place) or part.strip()]


def _part(part: Any) -> str | _Place:
    """One of a list of parts."""
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in ("image", "image_url"):
        named = next((part[key] for key in ("image", "path", "url", "image_url") if part.get(key)), None)
        return _Place(None if named is None else _name(named))
    raise LucidaError(f"a part of a message is neither text nor image: {_quoted(part)}")


def _names(row: Mapping[str, Any], places: Sequence[_Place]) -> list[str]:
    """The name of the picture of each place, from the place or else from the row."""
    listed = row.get("images") or row.get("image") or []
    given = [_name(value) for value in (listed if isinstance(listed, list) else [listed])]
    bare = sum(place.name is None for place in places)
    if bare != len(given):
        raise LucidaError(f"{bare} places for {len(given)} pictures")
    rest = iter(given)
    return [next(rest) if place.name is None else place.name for place in places]


def _name(value: Any) -> str:
    """A picture's file name, written alone or in a record."""
    if isinstance(value, Mapping):
        value = value.get("path") or value.get("url")
    if not isinstance(value, str) or not value:
        raise LucidaError("a picture is not named by its file")
    return value.removeprefix("file://")


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
