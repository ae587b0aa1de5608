"""The columns of a table of pictures: which is which, and what their values say."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.data.listing import split_word
from lucida.data.pictures import PictureObject
from lucida.data.truth import Box

# Names in use, the first that is there is taken; upper and lower case are the same.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "file": ("file_name", "filename", "file", "file_path", "filepath", "image_path", "image_file", "path"),
    "image": ("image", "img", "picture"),
    "captions": ("captions", "caption", "texts", "text", "sentences", "sentence", "description"),
    "label": ("label", "labels", "class", "class_name", "category", "fine_label"),
    "objects": ("objects",),
    "split": ("split",),
}
ADDRESSES = ("url", "image_url")
"""Columns that say where a picture lies in the network."""

_BOXES = ("bbox", "bboxes", "box", "boxes")
_CATEGORIES = ("categories", "category", "name", "names", "label", "labels")


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns by what they hold; None where there is none.

    Attributes:
        image: the picture or the path of its file.
        captions: a text or a list of texts.
        label: its class.
        objects: what it shows.
        split: "train", "validation", "test" or another name.
    """

    image: str
    captions: str | None
    label: str | None
    objects: str | None
    split: str | None

    @property
    def facts(self) -> list[str]:
        """All but the picture's."""
        return [name for name in (self.captions, self.label, self.objects, self.split) if name]


def find_columns(names: Sequence[str], where: Path) -> Columns:
    """Which column is which.

    Raises:
        LucidaError: none holds the pictures, or none says anything about them.
    """
    by_name = {name.strip().lower(): name for name in reversed(names)}
    found = {kind: next((by_name[word] for word in words if word in by_name), None) for kind, words in _NAMES.items()}
    image = found["image"] or found["file"]
    if image is None:
        raise _missing("no column with pictures or their files", ("image", "file_name"), names, where)
    if not (found["captions"] or found["label"] or found["objects"]):
        raise _missing("no column with captions, labels or objects", ("caption", "label", "objects"), names, where)
    return Columns(image, found["captions"], found["label"], found["objects"], found["split"])


def text_columns(names: Sequence[str], where: Path) -> Columns:
    """Columns of a table whose pictures are not here: captions, and perhaps addresses in place of pictures (else "").

    Raises:
        LucidaError: none holds captions.
    """
    by_name = {name.strip().lower(): name for name in reversed(names)}
    caption = next((by_name[word] for word in _NAMES["captions"] if word in by_name), None)
    if caption is None:
        raise _missing("no column with captions", ("caption", "text"), names, where)
    address = next((by_name[word] for word in (*ADDRESSES, *_NAMES["file"]) if word in by_name), "")
    return Columns(address, caption, None, None, by_name.get("split"))


def _missing(what: str, wanted: Sequence[str], names: Sequence[str], where: Path) -> LucidaError:
    near = [match for word in wanted for match in get_close_matches(word, names, n=1, cutoff=0.7)]
    choice = ", ".join(repr(word) for word in wanted[:-1]) + f" or {wanted[-1]!r}"
    return LucidaError(
        f"{what}: the columns are {', '.join(map(repr, names)) or 'none'}",
        where=where,
        remedy=f"name one {choice}" + (f" (nearest: {near[0]!r})" if near else ""),
    )


@dataclass(frozen=True)
class Facts:
    """What a row says of its picture."""

    captions: tuple[str, ...] = ()
    label: str | None = None
    objects: tuple[PictureObject, ...] = ()
    split: str | None = None


def read_facts(row: Mapping[str, Any], columns: Columns, names: Mapping[str, Sequence[str]]) -> Facts:
    """What a row says.

    Args:
        row: values by column.
        columns: which is which.
        names: the words behind the numbers of a column, where the table has them.

    Raises:
        ValueError: a value cannot be understood.
    """
    label, extra = _label(row.get(columns.label or ""), names.get(columns.label or "", ()))
    objects = _objects(row.get(columns.objects or ""), names.get(columns.objects or "", ()))
    split = str(row.get(columns.split or "") or "").strip()
    captions = tuple(dict.fromkeys(read_texts(row.get(columns.captions or ""))))
    return Facts(captions, label, objects + extra, (split_word(split) or split) or None)


def _label(value: Any, names: Sequence[str]) -> tuple[str | None, tuple[PictureObject, ...]]:
    """A class, or where a picture has a list of them, that many objects."""
    if isinstance(value, list | tuple):
        return None, tuple(PictureObject(name) for name in (word(one, names) for one in value) if name)
    return word(value, names), ()


def word(value: Any, names: Sequence[str] = ()) -> str | None:
    """A class as a word; None for an empty value, and for -1, which marks rows without a label.

    >>> word(1, ["cat", "dog"]), word(3.0), word(-1, ["cat"]), word("  "), word("7")
    ('dog', '3', None, None, '7')

    Raises:
        ValueError: a number beyond the names.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if names and value >= len(names):
            raise ValueError(f"label {value} of {len(names)} names")
        return None if value < 0 else names[value] if names else str(value)
    return None if value is None or value != value else str(value).strip() or None


def read_texts(value: Any) -> list[str]:
    """The captions of a cell: a text, several, a list written out, or records that hold one text each."""
    if isinstance(value, str):
        listed = _written_list(value)
        return read_texts(listed) if listed is not None else [value.strip()] if value.strip() else []
    if isinstance(value, Mapping):
        return read_texts(next((value[key] for key in ("raw", "caption", "text") if value.get(key)), None))
    if isinstance(value, list | tuple):
        return [text for one in value for text in read_texts(one)]
    return []


def _written_list(text: str) -> list[str] | None:
    """A list of texts that a table of plain text holds as JSON or as Python writes it."""
    if text.startswith("[") and text.endswith("]"):
        for parse in (json.loads, ast.literal_eval):
            try:
                listed = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(listed, list) and all(isinstance(one, str) and not one.startswith("[") for one in listed):
                return listed
    return None


def _objects(value: Any, names: Sequence[str]) -> tuple[PictureObject, ...]:
    """Objects as Hugging Face writes them (lists ``bbox`` and ``categories``), as records, or as names alone."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith(("[", "{")) else re.split(r"[;,]", value)
    if isinstance(value, Mapping):
        kinds = _first(value, _CATEGORIES) or []
        records = list(zip(kinds, _first(value, _BOXES) or [None] * len(kinds), strict=True))
    else:
        records = [
            (_first(one, _CATEGORIES), _first(one, _BOXES)) if isinstance(one, Mapping) else (one, None)
            for one in value or ()
        ]
    named = ((word(kind, names), box) for kind, box in records)
    return tuple(PictureObject(name, read_box(box)) for name, box in named if name)


def _first(record: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((record[key] for key in keys if record.get(key) is not None), None)


def read_box(value: Sequence[float] | None) -> Box | None:
    """A box given as left, top, width, height; None if there is none or it covers nothing.

    Raises:
        ValueError: it is not four numbers.
    """
    if value is None or len(value) == 0:
        return None
    x, y, width, height = (float(side) for side in value)
    return Box(x, y, width, height) if width > 0 and height > 0 else None
