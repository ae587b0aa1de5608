"""Sources of pairs, read as a stream: WebDataset archives, Parquet, Arrow, CSV, JSON lines, folders, COCO captions.

Archives and tables are read row by row. A folder's names and one COCO file are listed by
:mod:`lucida.data.readers`, which holds their names and captions, but no pictures.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lucida.core.errors import LucidaError
from lucida.data.arrow import ArrowSource, open_arrow
from lucida.data.columns import ADDRESSES, Columns, find_columns, read_facts, text_columns
from lucida.data.construction.rows import ARROW, Row, reference
from lucida.data.construction.tar_files import Refused
from lucida.data.construction.web_datasets import samples
from lucida.data.decoding import SUFFIXES, FileSource
from lucida.data.listing import FileFinder, split_in_name, split_word
from lucida.data.parquet import ParquetSource, class_names, open_parquet
from lucida.data.pictures import Skipped
from lucida.data.readers import list_pictures
from lucida.data.tables import FOLDERS, TABLES, holds_bytes

TEXT_BESIDE = (".txt", ".caption")
_CHUNK = 1024
_NO_DATA = "cache-"  # what ``datasets`` computed from its files lies beside them
_FIELD = 1_000_000  # letters of a field; a quote that is never closed must not take the whole file into memory
READABLE = (
    "name WebDataset archives (.tar), a .parquet, .csv or .jsonl table, a folder of them or of the library datasets, a"
    " COCO .json file, or a data set of the Hugging Face hub (owner/name)"
)


Kind = Literal["tar", "parquet", "arrow", "text", "folder", "listing"]
Found = tuple[Row, str]
"""A row, and the reason for which it is no pair, or none."""


@dataclass(frozen=True)
class Part:
    """A piece of a source that is read on its own.

    Attributes:
        kind: how.
        path: the file or folder.
        root: from which pictures are referred to.
        captions_only: captions without pictures: a column with addresses is kept as the reference.
    """

    kind: Kind
    path: Path
    root: Path
    captions_only: bool = False


def find_parts(path: Path, *, captions_only: bool = False) -> list[Part]:
    """What a path holds, piece by piece, sorted by name.

    Raises:
        LucidaError: there is nothing that could be read as pairs.
    """
    path = path.absolute()
    if not path.exists():
        raise LucidaError("no such file or folder", where=path, remedy=READABLE)
    root = path if path.is_dir() else path.parent
    files = sorted(_below(path)) if path.is_dir() else [path]
    for kind, suffixes in (("tar", (".tar",)), ("parquet", (".parquet",)), ("arrow", (ARROW,)), ("text", TABLES)):
        found = [file for file in files if file.suffix.lower() in suffixes]
        if found:
            return [Part(kind, file, root, captions_only) for file in found]  # type: ignore[arg-type]  # a Kind
    if captions_only:
        raise LucidaError("no table or archive with captions", where=path, remedy=READABLE)
    if path.is_dir() and any(file.suffix.lower() in TEXT_BESIDE for file in walk_files(path)):
        return [Part("folder", path, root)]
    if path.is_file() and path.suffix.lower() != ".json":
        raise LucidaError(f"pairs cannot be read from a {path.suffix or 'nameless'} file", where=path, remedy=READABLE)
    return [Part("listing", path, root)]


def _below(folder: Path) -> Iterator[Path]:
    """Files of a folder, and of its subfolders one and two levels down (``train/``, ``data/train/``); none hidden."""
    for pattern in ("*", "*/*", "*/*/*"):
        for path in folder.glob(pattern):
            inner = path.relative_to(folder).parts
            known = path.suffix.lower() in (".tar", ARROW, *TABLES) and not path.name.startswith(_NO_DATA)
            if known and path.is_file() and not any(p[0] == "." for p in inner):
                yield path


def walk_files(folder: Path) -> Iterator[Path]:
    """All files, one at a time, in the order of their names; hidden ones and links to folders are left out."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from walk_files(entry)
        elif entry.is_file():
            yield entry


def find_pairs(part: Part) -> Iterator[Found]:
    """The rows of a part in their order: pairs, and what is none, with the reason.

    Raises:
        LucidaError: it cannot be read at all.
    """
    for row, reason in _READERS[part.kind](part):
        yield _encodable(row, reason)


def _encodable(row: Row, reason: str) -> Found:
    """JSON may hold half of a character, and a file's name any bytes: neither can be written as text.

    In a caption it becomes the sign for what is broken; a file of such a name could not be found again.
    """
    broken = {key: text for key, value in row.items() if isinstance(value, str) and (text := _as_text(value)) != value}
    if "file" not in broken:
        return {**row, **broken}, reason
    return {"id": broken.get("id", row["id"]), "caption": row.get("caption")}, "a file name that is not UTF-8"


def _as_text(value: str) -> str:
    return value if value.isascii() else "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in value)


def _pairs(id: str, captions: Iterable[str], place: Row, split: str | None) -> Iterator[Found]:
    """A row for each caption."""
    captions = list(captions)
    for k, caption in enumerate(captions):
        name = id if len(captions) == 1 else f"{id}#{k}"
        yield {"id": name, "caption": caption, "split": split, **place}, ""
    if not captions:
        yield {"id": id, "split": split, **place}, "a picture without a caption"


def _archive(part: Part) -> Iterator[Found]:
    name = part.path.relative_to(part.root).as_posix()
    split = split_word(part.path.parent.name) or split_in_name(part.path.stem)
    for sample in samples(part.path):
        if isinstance(sample, Refused):
            readable = sample.name.encode("utf-8", "replace").decode()  # a name may be no text at all
            yield {"id": f"{name}:{readable}", "file": name}, sample.reason
        else:
            place = reference(sample.source, part.root)
            yield from _pairs(f"{name}:{sample.key}", sample.captions, place, sample.split or split)


Batches = Callable[[list[str]], Iterable[Any]]
"""Names of columns to record batches of them."""


def _parquet(part: Part) -> Iterator[Found]:
    file = open_parquet(part.path)

    def batches(names: list[str]) -> Iterable[Any]:
        return file.iter_batches(_CHUNK, columns=names, use_threads=False)

    yield from _typed(part, file.schema_arrow, batches, ParquetSource)


def _arrow(part: Part) -> Iterator[Found]:
    table = open_arrow(part.path)
    yield from _typed(
        part, table.schema, lambda names: table.select(names).to_batches(max_chunksize=_CHUNK), ArrowSource
    )


def _typed(
    part: Part, schema: Any, batches: Batches, source: type[ParquetSource] | type[ArrowSource]
) -> Iterator[Found]:
    """Rows of a table whose columns have types: pictures in it, or named by it."""
    name = part.path.relative_to(part.root).as_posix()
    columns = _columns(part, schema.names)
    kind = str(schema.field(columns.image).type) if columns.image else ""
    is_name = kind in ("string", "large_string", "string_view")
    if columns.image and not is_name and not holds_bytes(schema.field(columns.image).type):
        raise LucidaError(f"column {columns.image!r} holds {kind}, not encoded pictures", where=part.path)
    wanted = [*columns.facts, *([columns.image] if is_name else [])]
    rows: Iterator[tuple[int, Any]] = enumerate(row for batch in batches(wanted) for row in batch.to_pylist())
    try:
        if is_name or not columns.image:
            yield from _named(part, columns, rows, class_names(schema))
            return
        for number, row in rows:
            place = reference(source(str(part.path), columns.image, number), part.root)
            told = _told(row, columns, class_names(schema))
            if isinstance(told, str):
                yield {"id": f"{name}:{number}", **place}, told
                continue
            split = told.split or split_in_name(part.path.stem) or split_word(part.path.parent.name)
            yield from _pairs(f"{name}:{number}", told.captions, place, split)
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        kind = "Arrow" if source is ArrowSource else "Parquet"
        yield {"id": f"{name}:"}, f"the {kind} file is damaged ({str(error).splitlines()[0][:80]})"


def _columns(part: Part, names: Sequence[str]) -> Columns:
    """Which column is which; a table of addresses alone is read where somebody says that he means it."""
    if part.captions_only:
        return text_columns(names, part.path)
    try:
        return find_columns(names, part.path)
    except LucidaError as error:
        if not any(name.strip().lower() in ADDRESSES for name in names):
            raise
        remedy = "fetch the pictures and name their files in a column file_name, or use --captions-only"
        raise LucidaError(error.what, where=part.path, remedy=remedy) from None


def _told(row: Any, columns: Any, names: Any) -> Any:
    """What a row says, or the reason why that cannot be understood."""
    try:
        return read_facts(row, columns, names)
    except (ValueError, TypeError, RecursionError):
        return "a row that cannot be understood"


def _named(part: Part, columns: Any, rows: Iterable[tuple[int, Any]], names: Any) -> Iterator[Found]:
    """Rows that name their pictures' files, or that are captions alone."""
    finder = FileFinder([part.path.parent / folder for folder in FOLDERS])
    table = part.path.relative_to(part.root).as_posix()
    for number, row in rows:
        id = f"{table}:{number}"
        told = row if isinstance(row, str) else _told(row, columns, names)
        if isinstance(told, str):
            yield {"id": id}, told
            continue
        name = str(row.get(columns.image) or "").strip() if columns.image else ""
        split = told.split or split_in_name(part.path.stem) or split_word(part.path.parent.name)
        if part.captions_only and not told.captions:
            yield {"id": id, "split": split, "file": name or None}, "an empty caption"
            continue
        if part.captions_only:
            yield from _pairs(id, told.captions, {"file": name or None, "identity": name or id}, split)
            continue
        file = finder.find(name) if name else None
        if file is None:
            yield {"id": id, "file": name or None}, "no such file" if name else "a caption without a picture"
            continue
        yield from _pairs(id, told.captions, reference(FileSource(str(file.absolute())), part.root), split)


def _text(part: Part) -> Iterator[Found]:
    """CSV or JSON lines, a line at a time."""
    csv.field_size_limit(_FIELD)
    try:
        with part.path.open(encoding="utf-8-sig", newline="") as file:
            if part.path.suffix.lower() in (".csv", ".tsv"):
                head = file.readline()
                file.seek(0)
                reader = csv.reader(file, delimiter="\t" if part.path.suffix.lower() == ".tsv" else _delimiter(head))
                names = [name.strip() for name in next(reader, [])]
                rows = _csv_rows(reader, names)
            else:
                names = list(_first_keys(file))
                file.seek(0)
                rows = _json_rows(file)
            yield from _named(part, _columns(part, names), rows, {})
    except UnicodeDecodeError:
        raise LucidaError("the table is not UTF-8 text", where=part.path, remedy="save it as UTF-8") from None
    except csv.Error as error:
        raise LucidaError(f"not a table: {error}", where=part.path) from None
    except OSError as error:
        raise LucidaError(f"cannot read the table: {error.strerror}", where=part.path) from None


def _delimiter(head: str) -> str:
    return max(",;\t|", key=head.count)


def _csv_rows(reader: Any, names: list[str]) -> Iterator[tuple[int, Any]]:
    for values in reader:
        if len(values) == len(names):
            yield reader.line_num, dict(zip(names, values, strict=True))
        elif values:
            yield reader.line_num, "a row with more or fewer fields than the header"


def _first_keys(lines: Iterable[str]) -> dict[str, None]:
    """The columns: keys of the first rows."""
    keys: dict[str, None] = {}
    for (_, row), _ in zip(_json_rows(lines), range(_CHUNK), strict=False):
        keys.update(dict.fromkeys(row if isinstance(row, dict) else {}))
    return keys


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "a line that is not JSON"
            continue
        yield number, row if isinstance(row, dict) else "a line that is no JSON object"


def _folder(part: Part) -> Iterator[Found]:
    """Pictures with a text file of the same name beside them."""
    for path in walk_files(part.path):
        suffix, name = path.suffix.lower(), path.relative_to(part.path).as_posix()
        if suffix in TEXT_BESIDE and not any(path.with_suffix(s).is_file() for s in _both_cases(SUFFIXES)):
            yield {"id": name}, "a caption without a picture"
        if suffix not in SUFFIXES:
            continue
        place = reference(FileSource(str(path)), part.root)
        beside = next((file for s in TEXT_BESIDE if (file := path.with_suffix(s)).is_file()), None)
        try:
            caption = beside.read_text("utf-8-sig").strip() if beside else ""
        except UnicodeDecodeError:
            yield {"id": name, **place}, "a caption that is not UTF-8"
            continue
        yield from _pairs(name, [caption] if caption else [], place, split_word(name.split("/")[0]))


def _both_cases(suffixes: Iterable[str]) -> list[str]:
    return [form for suffix in suffixes for form in (suffix, suffix.upper())]


def _listing(part: Part) -> Iterator[Found]:
    listing = list_pictures(part.path, described=True)
    for row in listing.skipped:
        yield {"id": row.id}, row.reason
    for start in range(0, len(listing), _CHUNK):
        numbers = range(start, min(start + _CHUNK, len(listing)))
        for number, picture in zip(numbers, listing.pictures(numbers), strict=True):
            if isinstance(picture, Skipped):
                yield {"id": picture.id}, picture.reason
                continue
            place = reference(picture.source, part.root)
            yield from _pairs(picture.id, picture.captions, place, listing.splits[number])


_READERS: Mapping[Kind, Callable[[Part], Iterator[Found]]] = {
    "tar": _archive,
    "parquet": _parquet,
    "arrow": _arrow,
    "text": _text,
    "folder": _folder,
    "listing": _listing,
}
