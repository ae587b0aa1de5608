"""A folder of pictures whose subfolders are their classes, or with a table ``metadata.csv`` or ``metadata.jsonl``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lucida.core.errors import LucidaError
from lucida.data.decoding import SUFFIXES, FileSource
from lucida.data.listing import Listing, concatenate, split_word
from lucida.data.pictures import Picture, Skipped
from lucida.data.tables import TABLES, TEXT_TABLES, list_table

_KINDS = "put the pictures of each class into a subfolder, or add a metadata.csv with the columns file_name and caption"


def metadata_tables(folder: Path) -> list[Path]:
    """The folder's own ``metadata.*``, else those of its subfolders that are splits."""
    own = [path for suffix in TABLES if (path := folder / f"metadata{suffix}").is_file()][:1]
    if own:
        return own
    splits = sorted(entry for entry in folder.iterdir() if split_word(entry.name) and entry.is_dir())
    return [table for split in splits for table in metadata_tables(split)]


def list_image_folder(folder: Path, *, described: bool = True) -> Listing:
    """The pictures of a folder.

    With ``metadata.csv`` or ``.jsonl`` (in the folder, or in each of its ``train``, ``validation`` and ``test``), those
    that it names. Without, every picture in it, and the first subfolder is its class; if all subfolders are called
    after splits, the classes lie below them.

    Args:
        folder: with the pictures.
        described: something must say what they show.

    Raises:
        LucidaError: there is no picture, or nothing says what the pictures show although something must.
    """
    tables = metadata_tables(folder)
    if tables:
        return concatenate([_list_metadata(table, folder) for table in tables])
    files = list(_walk(folder))
    if not files:
        raise LucidaError(f"no picture in this folder{_others(folder)}", where=folder, remedy=_KINDS)
    inner = _only_subfolder(files)
    if inner:
        return list_image_folder(folder / inner, described=described)
    folders = {parts[0] for parts in files if len(parts) > 1}
    # Only where every subfolder is called after a split: "train" may well be a class among others.
    has_splits = all(split_word(name) for name in folders) and all(len(parts) > 1 for parts in files)
    splits = [split_word(parts[0]) if has_splits else None for parts in files]
    inside = [parts[1:] if has_splits else parts for parts in files]
    labels = [parts[0] if len(parts) > 1 else None for parts in inside]
    if described and len(set(labels) - {None}) < 2:
        raise _unknown(folder)

    def pictures(numbers: Sequence[int]) -> list[Picture | Skipped]:
        return [_picture(folder, files[number], labels[number]) for number in numbers]

    return Listing(splits, labels, pictures)


def _picture(folder: Path, parts: tuple[str, ...], label: str | None) -> Picture:
    return Picture("/".join(parts), FileSource(str(folder.joinpath(*parts).absolute())), label=label)


def _list_metadata(table: Path, folder: Path) -> Listing:
    if table.parent == folder:
        return list_table(table)
    inner = table.parent.relative_to(folder).as_posix()
    return list_table(table, prefix=f"{inner}/", split=split_word(inner.split("/")[0]))


def _only_subfolder(files: Sequence[tuple[str, ...]]) -> str | None:
    """The subfolder in which all pictures lie, such as ``images``: its name is no class, since there is no other."""
    first = {parts[0] if len(parts) > 1 else "" for parts in files}
    name = next(iter(first))
    return name if len(first) == 1 and name and not split_word(name) else None


def _others(folder: Path) -> str:
    """What lies there instead, if one kind of file does."""
    kinds = Counter(path.suffix for path in folder.rglob("[!.]*.*") if path.is_file()).most_common(1)
    return f", but {kinds[0][1]} files {kinds[0][0]}" if kinds else ""


def _unknown(folder: Path) -> LucidaError:
    tables = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in TEXT_TABLES)
    remedy = f"{_KINDS}; or name the table {tables[0]} instead of the folder" if tables else _KINDS
    return LucidaError("nothing says what these pictures show: no captions, no labels", where=folder, remedy=remedy)


def _walk(folder: Path, parts: tuple[str, ...] = (), above: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
    """Files called like pictures, as parts of their paths: sorted, none hidden, links followed but not in circles."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise LucidaError(f"cannot read the folder: {error.strerror}", where=folder) from None
    for entry in entries:
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, (*parts, entry.name), above | {here})
        elif entry.is_file() and os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield (*parts, entry.name)
