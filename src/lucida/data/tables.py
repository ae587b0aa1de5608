"""Tables of pictures: Parquet, CSV and JSON lines, one row a picture or one row a caption."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.data.columns import Columns, Facts, find_columns, read_facts
from lucida.data.decoding import FileSource
from lucida.data.listing import FileFinder, Listing, split_in_name, split_word
from lucida.data.parquet import ParquetSource, class_names, open_parquet
from lucida.data.pictures import Picture, PixelSource, Skipped

TEXT_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
TABLES = (".parquet", *TEXT_TABLES)
FOLDERS = (".", "images", "Images", "image", "img", "pictures", "photos", "data")
"""Where the files of a table may lie, seen from the table."""


def list_table(path: Path, *, prefix: str = "", split: str | None = None) -> Listing:
    """The pictures of one table.

    Several rows with one file are one picture with several captions.

    Args:
        path: a ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson`` file.
        prefix: put before the ids.
        split: of rows that name none.

    Raises:
        LucidaError: the table cannot be read, a column is missing, or none of its files is there.
    """
    if path.suffix.lower() != ".parquet":
        names, rows = _read_text(path)
        return _list_files(path, find_columns(names, path), rows, {}, prefix, split)
    schema = open_parquet(path).schema_arrow
    columns = find_columns(schema.names, path)
    kind = schema.field(columns.image).type
    if str(kind) in ("string", "large_string", "string_view"):
        rows = enumerate(_read_columns(path, [columns.image, *columns.facts]).to_pylist())
        return _list_files(path, columns, rows, class_names(schema), prefix, split)
    if not holds_bytes(kind):
        raise LucidaError(
            f"column {columns.image!r} holds {kind}, not encoded pictures",
            where=path,
            remedy="store the bytes of a JPEG or PNG file, or its path",
        )
    return _list_bytes(path, columns, class_names(schema), prefix, split)


def holds_bytes(kind: Any) -> bool:
    """Whether a column of this Arrow type holds encoded pictures, or records of them as Hugging Face writes them."""
    import pyarrow.types

    if pyarrow.types.is_struct(kind):
        return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))
    return str(kind) in ("binary", "large_binary", "binary_view")


def _read_columns(path: Path, columns: Sequence[str]) -> Any:
    try:
        return open_parquet(path).read(columns=list(columns), use_threads=False)
    except (OSError, ValueError) as error:
        raise LucidaError(f"the Parquet file is damaged: {error}", where=path) from None


def _list_bytes(
    path: Path, columns: Columns, names: Mapping[str, Sequence[str]], prefix: str, split: str | None
) -> Listing:
    """Rows that hold their pictures: of them only what is said about them is read now."""
    import pyarrow as pa

    table = _read_columns(path, columns.facts)
    short = replace(columns, captions=None, objects=None)  # splits and labels decide a sample; the rest can wait
    rows = table.select(short.facts).to_pylist() if short.facts else [{}] * table.num_rows
    known = [_facts(row, short, names) for row in rows]
    split = split or split_in_name(path.stem)

    def picture(place: int, row: Mapping[str, Any]) -> Picture | Skipped:
        id, source = f"{prefix}{path.name}:{place}", ParquetSource(str(path.absolute()), columns.image, place)
        told = _facts(row, columns, names)
        return Skipped(id, source.where, told) if isinstance(told, str) else _picture(id, source, told)

    def pictures(numbers: Sequence[int]) -> list[Picture | Skipped]:
        rows = table.take(pa.array(numbers, pa.int64())).to_pylist()  # a sample may want none of a file
        return [picture(place, row) for place, row in zip(numbers, rows, strict=True)]

    return Listing(
        [split if isinstance(one, str) else one.split or split for one in known],
        [None if isinstance(one, str) else one.label for one in known],
        pictures,
    )


def _facts(row: Mapping[str, Any], columns: Columns, names: Mapping[str, Sequence[str]]) -> Facts | str:
    """What a row says, or why that cannot be understood."""
    try:
        return read_facts(row, columns, names)
    except (ValueError, TypeError) as error:
        return f"the row cannot be understood ({error})"


def _picture(id: str, source: PixelSource, told: Facts, identity: str = "") -> Picture:
    return Picture(id, source, told.captions, told.objects, told.split or "train", told.label, identity)


Row = tuple[int, Mapping[str, Any] | str]
"""Its number, and its values or why it cannot be read."""


def _list_files(
    path: Path,
    columns: Columns,
    rows: Iterable[Row],
    names: Mapping[str, Sequence[str]],
    prefix: str,
    split: str | None,
) -> Listing:
    """Rows that name their pictures' files."""
    finder = FileFinder([path.parent / folder for folder in FOLDERS])
    unit = "row" if path.suffix.lower() == ".parquet" else "line"
    known: dict[str, Facts] = {}
    several: dict[str, None] = {}
    skipped: list[Skipped] = []
    for number, row in rows:
        told = row if isinstance(row, str) else _facts(row, columns, names)
        name = "" if isinstance(row, str) else str(row.get(columns.image) or "").strip()
        if isinstance(told, str) or not name:
            reason = told if isinstance(told, str) else f"the row has no {columns.image!r}"
            skipped.append(Skipped(f"{prefix}{path.name}:{number}", f"{path}, {unit} {number}", reason))
            continue
        before = known.get(name, told)
        if told.label and before.label and told.label != before.label:
            several[name] = None
        known[name] = told if before is told else _joined(before, told)
    for name in several:
        del known[name]
        skipped.append(Skipped(f"{prefix}{name}", str(path), "rows of the table give it different labels"))
    found = {name: file for name in known if (file := finder.find(name))}
    missing = [name for name in known if name not in found]
    if missing and not found:
        raise LucidaError(
            f"none of the {len(missing)} files named in column {columns.image!r} is there; the first is {missing[0]!r}",
            where=path,
            remedy="give paths as seen from the table's folder",
        )
    skipped += [Skipped(f"{prefix}{name}", str(path.parent / name), "no such file") for name in missing]
    listed = list(found)
    splits = [known[name].split or split or _split_of_file(name) or split_in_name(path.stem) for name in listed]

    def picture(name: str) -> Picture:
        return _picture(f"{prefix}{name}", FileSource(str(found[name].absolute())), known[name])

    return Listing(
        splits,
        [known[name].label for name in listed],
        lambda numbers: [picture(listed[number]) for number in numbers],
        tuple(skipped),
    )


def _split_of_file(name: str) -> str | None:
    """The split that the first folder of a file's path means."""
    first, *rest = name.replace("\\", "/").split("/")
    return split_word(first) if rest else None


def _joined(first: Facts, second: Facts) -> Facts:
    """What two rows say of one picture."""
    captions = tuple(dict.fromkeys([*first.captions, *second.captions]))
    return Facts(captions, first.label or second.label, first.objects + second.objects, first.split or second.split)


def _read_text(path: Path) -> tuple[list[str], Iterator[Row]]:
    """Column names and rows of a table of plain text.

    Raises:
        LucidaError: it is missing, empty, or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise LucidaError("the table is not UTF-8 text", where=path, remedy="save it as UTF-8") from None
    except OSError as error:
        raise LucidaError(f"cannot read the table: {error.strerror}", where=path) from None
    names, rows = _read_csv(path, text) if path.suffix.lower() in (".csv", ".tsv") else _read_jsonl(text)
    if not names:
        raise LucidaError("the table is empty", where=path)
    return names, rows


def _read_csv(path: Path, text: str) -> tuple[list[str], Iterator[Row]]:
    head = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=head.count)
    csv.field_size_limit(2**31 - 1)  # long lists of objects are no mistake
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip() for name in next(_each(reader, path), [])]

    def rows() -> Iterator[Row]:
        for values in _each(reader, path):
            if len(values) == len(names):
                yield reader.line_num, dict(zip(names, values, strict=True))
            elif values:  # an empty line is none
                yield reader.line_num, f"the row has {len(values)} fields, the header {len(names)}"

    return names, rows()


def _each(reader: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise LucidaError(f"not a table: {error}", where=path) from None


def _read_jsonl(text: str) -> tuple[list[str], Iterator[Row]]:
    rows: list[Row] = []
    names: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            rows.append((number, f"not valid JSON: {error}"))
            continue
        if isinstance(row, dict):
            names.update(dict.fromkeys(row))
        rows.append((number, row if isinstance(row, dict) else "not a JSON object"))
    return list(names), iter(rows)
