"""Pictures within Parquet files, read one by one without holding a whole file in memory."""

from __future__ import annotations

import io
import json
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.data.decoding import EncodedSource, FileSource, file_state
from lucida.data.pictures import BadPicture

_BATCH_BYTES = 16_000_000
_BATCH_ROWS = 1024


@dataclass(frozen=True)
class ParquetSource(EncodedSource):
    """The picture in one row of a Parquet file."""

    path: str
    column: str
    row: int

    @property
    def where(self) -> str:
        return f"{self.path}, row {self.row}"

    def content_key(self) -> str:
        """File, its size and time of change, and the row."""
        return content_hash(self.path, self.column, self.row, *file_state(self.path))

    def stream(self) -> BinaryIO:
        """The bytes, or where the row holds a path, that file.

        Raises:
            BadPicture: they cannot be read.
        """
        return stream_of(_rows(self.path, self.column, file_state(self.path)).value(self.row), self.path)


def stream_of(value: Any, table: str) -> BinaryIO:
    """The bytes of a cell, or where it holds a path as seen from its table, of that file.

    Raises:
        BadPicture: it holds neither, or the file cannot be read.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and value:
        return FileSource(str(Path(table).parent / value)).stream()
    if not isinstance(value, bytes) or not value:
        raise BadPicture("the row holds no picture")
    return io.BytesIO(value)


class _Rows:
    """One column of a Parquet file by row: fast where rows are asked for in about their order.

    It walks through the file in small batches and keeps the last few, since several threads ask a little out of order.
    Memory is bounded by the file's pages (of which a writer may put up to 1024 rows into one), not by its size.
    """

    def __init__(self, path: str, column: str):
        self._file = open_parquet(Path(path))
        self._column = column
        groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0] + [group.num_rows for group in groups])
        self._lock = threading.Lock()
        self._batches: deque[tuple[int, Any]] = deque(maxlen=3)
        self._walk: Iterator[Any] = iter(())
        self._next = self._end = 0

    def value(self, row: int) -> Any:
        """The value of a row.

        Raises:
            BadPicture: the file is damaged there.
        """
        with self._lock:
            for start, batch in self._batches:
                if start <= row < start + len(batch):
                    return batch[row - start].as_py()
            if not self._next <= row < self._end:
                self._begin(row)
            try:
                while True:
                    start, batch = self._next, next(self._walk).column(0)
                    self._batches.append((start, batch))
                    self._next += len(batch)
                    if row < self._next:
                        return batch[row - start].as_py()
            except (OSError, ValueError, StopIteration) as error:  # pyarrow's errors are ValueErrors and OSErrors
                self._end = 0
                raise BadPicture(f"the Parquet file is damaged here ({error})") from None

    def _begin(self, row: int) -> None:
        """Start at the row group of ``row``."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        self._next, self._end = int(self._starts[group]), int(self._starts[group + 1])
        meta = self._file.metadata.row_group(group)
        columns = [meta.column(i) for i in range(meta.num_columns)]
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == self._column)
        rows = min(max(_BATCH_BYTES * meta.num_rows // max(size, 1), 1), _BATCH_ROWS)
        self._walk = self._file.iter_batches(rows, row_groups=[group], columns=[self._column], use_threads=False)


@lru_cache(maxsize=8)
def _rows(path: str, column: str, state: tuple[int, int]) -> _Rows:
    try:
        return _Rows(path, column)
    except LucidaError as error:
        raise BadPicture(error.what) from None


os.register_at_fork(after_in_child=_rows.cache_clear)  # a forked process must not share locks and places in files


def open_parquet(path: Path) -> Any:
    """A ``pyarrow.parquet.ParquetFile`` that reads through a small buffer.

    Raises:
        LucidaError: it is no Parquet file, or damaged.
    """
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise LucidaError(f"not a readable Parquet file: {reason}", where=path) from None


def class_names(schema: Any) -> dict[str, Sequence[str]]:
    """The words behind the numbers of columns, as Hugging Face notes them in a Parquet file's schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {column: names for column, feature in features.items() if (names := _class_names(feature))}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _class_names(feature: Any) -> Sequence[str] | None:
    """The names within a column's description, however deep."""
    if isinstance(feature, Mapping):
        if feature.get("_type") == "ClassLabel":
            return feature.get("names")
        feature = list(feature.values())
    if isinstance(feature, list):
        return next((names for part in feature if (names := _class_names(part))), None)
    return None
