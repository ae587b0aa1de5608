"""Rows of pairs: a caption, where its picture lies, and what the stages found out about them; kept in Parquet shards.

A row refers to its picture (a file, a place in a tar archive, a row of a Parquet file) as seen from the source's root,
so the stages move small rows and no pictures, and what they write does not depend on the folder it was read from.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lucida.core.errors import LucidaError
from lucida.data.arrow import ArrowSource
from lucida.data.construction.tar_files import MEMBER_LIMIT, TarSource
from lucida.data.decoding import EncodedSource, FileSource, file_state
from lucida.data.parquet import ParquetSource, open_parquet
from lucida.data.pictures import BadPicture

Row = dict[str, Any]
ARROW = ".arrow"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # unique in the corpus
        ("caption", pa.string()),
        ("identity", pa.string()),  # of the picture: pairs of one picture share it
        ("split", pa.string()),
        ("file", pa.string()),  # of the picture, seen from the root; null where there is none
        ("offset", pa.int64()),  # within a tar archive
        ("length", pa.int64()),
        ("column", pa.string()),  # within a Parquet or Arrow file
        ("row", pa.int64()),
        ("width", pa.int32()),  # pixels, as stored; from here on what stages find out
        ("height", pa.int32()),
        ("digest", pa.string()),  # of the encoded bytes
        ("across", pa.uint64()),  # perceptual hash, see lucida.data.picture_hashes
        ("down", pa.uint64()),
        ("look", pa.binary()),
        ("similarity", pa.float32()),  # of picture and caption
        ("concepts", pa.list_(pa.string())),
        ("negatives", pa.list_(pa.string())),  # ids of the nearest pairs that are something else
    ]
)
# Why a row is dropped, and of a duplicate the id of the pair that stays instead.
DROPPED = SCHEMA.append(pa.field("reason", pa.string())).append(pa.field("twin", pa.string()))
UNREADABLE = "a picture that cannot be read"
"""The reason for which a stage that opens pictures drops a row."""

_GROUP = 8192  # rows of a row group: what a reader holds at once
_KEPT = 4096  # rows a writer collects


def source_of(row: Mapping[str, Any], root: Path) -> EncodedSource | None:
    """Where the picture of a row is read from; None if the row has none."""
    if not row.get("file"):
        return None
    path = str(root / row["file"])
    if row.get("offset") is not None:
        return TarSource(path, row["offset"], row["length"])
    if row.get("row") is None:
        return FileSource(path)
    kind = ArrowSource if path.endswith(ARROW) else ParquetSource
    return kind(path, row["column"], row["row"])


TRAINING = "coalesce(split, 'train') = 'train'"
"""In SQL, of rows: :func:`held_out` says the opposite."""


def held_out(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a split that nothing trains on: how training pairs are chosen leaves it as it is.

    >>> held_out({"split": "test"}), held_out({"split": "train"}), held_out({"split": None})
    (True, False, False)
    """
    return row["split"] not in (None, "train")


def picture_bytes(row: Mapping[str, Any], root: Path) -> bytes:
    """The encoded bytes of a row's picture.

    Raises:
        BadPicture: it has none, it cannot be read, or is larger than a picture is.
    """
    source = source_of(row, root)
    if source is None:
        raise BadPicture("no picture")
    return read_picture(source)


def read_picture(source: EncodedSource) -> bytes:
    """The encoded bytes of a picture.

    Raises:
        BadPicture: they cannot be read, or are more than a picture has.
    """
    try:
        with source.stream() as file:
            data = file.read(MEMBER_LIMIT + 1)
    except OSError as error:
        raise BadPicture(error.strerror or str(error)) from None
    if len(data) > MEMBER_LIMIT:
        raise BadPicture(f"a file above {MEMBER_LIMIT // 10**6} MB")
    return data


def reference(source: Any, root: Path) -> Row:
    """The columns that say where a picture lies, and its identity."""
    place: Row = {"file": Path(os.path.relpath(source.path, root)).as_posix()}
    identity = place["file"]
    if isinstance(source, TarSource):
        place |= {"offset": source.offset, "length": source.length}
        identity += f":{source.offset}"
    elif isinstance(source, ParquetSource | ArrowSource):
        place |= {"column": source.column, "row": source.row}
        identity += f":{source.row}"
    elif isinstance(source, FileSource):
        place["length"] = file_state(source.path)[0]  # another file under the name makes another row
    return {**place, "identity": identity}


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[list[Row]]:
    """Rows of a shard, some thousand at a time.

    Raises:
        LucidaError: it is no shard, or damaged.
    """
    for batch in read_batches(path, columns):
        yield batch.to_pylist()


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The same as Arrow record batches.

    Raises:
        LucidaError: it is no shard, or damaged.
    """
    with open_parquet(path) as file:
        try:
            yield from file.iter_batches(_GROUP, columns=list(columns) if columns else None, use_threads=False)
        except (OSError, ValueError) as error:
            raise LucidaError(f"the shard is damaged: {error}", where=path) from None


class RowWriter:
    """Writes rows into a Parquet file beside its name and renames it at the end; the same rows give the same bytes."""

    def __init__(self, path: Path, schema: Any = SCHEMA, *, kept: int = _KEPT):
        self.path, self.schema, self.kept, self.count = path, schema, kept, 0
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._rows: list[Row] = []

    def __enter__(self) -> RowWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(self._beside, self.schema, compression="zstd")
        return self

    def add(self, row: Row) -> None:
        """One row; columns it lacks are null."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) >= self.kept:
            self._flush()

    def add_batch(self, batch: Any) -> None:
        """Rows that are Arrow already."""
        self._flush()
        self.count += batch.num_rows
        if batch.num_rows:
            self._file.write_batch(batch, row_group_size=_GROUP)

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, schema=self.schema), row_group_size=_GROUP)
            self._rows = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._file.close()
            if kind is None:
                os.replace(self._beside, self.path)
        finally:
            self._beside.unlink(missing_ok=True)


@dataclass(frozen=True)
class ShardFile:
    """A file that a stage wrote: name as seen from the stage's folder, rows, hash of its bytes."""

    name: str
    rows: int
    sha256: str

    @classmethod
    def of(cls, path: Path, rows: int, folder: Path) -> ShardFile:
        """Of a file that is written."""
        return cls(path.relative_to(folder).as_posix(), rows, file_hash(path))


@dataclass
class ShardReport:
    """What a stage did to one shard.

    Attributes:
        number: of the shard, in the corpus' order.
        rows_in, rows_out: counted.
        dropped: rows by reason.
        shards: of rows that stay.
        others: what was dropped, with the reason.
    """

    number: int
    rows_in: int = 0
    rows_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    shards: list[ShardFile] = field(default_factory=list)
    others: list[ShardFile] = field(default_factory=list)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_rows(batches: Iterable[list[tuple[Row, str]]], number: int, folder: Path) -> ShardReport:
    """Write rows that stay and rows that are dropped into two files of one shard.

    Args:
        batches: rows, each with the reason for which it is dropped, or none.
        number: of the shard.
        folder: of the stage.
    """
    report = ShardReport(number)
    kept, left = folder / "shards" / f"{number:05d}.parquet", folder / "dropped" / f"{number:05d}.parquet"
    with RowWriter(kept) as keeper, RowWriter(left, DROPPED) as dropper:
        for batch in batches:
            for row, reason in batch:
                if reason:
                    report.dropped[reason] += 1
                    dropper.add({**row, "reason": reason})
                else:
                    keeper.add(row)
    report.rows_in, report.rows_out = keeper.count + dropper.count, keeper.count
    report.shards = [ShardFile.of(kept, keeper.count, folder)]
    report.others = [ShardFile.of(left, dropper.count, folder)]
    return report
