"""Pictures within Arrow files as Hugging Face's ``datasets`` keeps them: mapped into memory, read row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.data.decoding import EncodedSource, file_state
from lucida.data.parquet import stream_of
from lucida.data.pictures import BadPicture


@dataclass(frozen=True)
class ArrowSource(EncodedSource):
    """The picture in one row of an Arrow file."""

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
        try:
            column = _table(self.path, file_state(self.path)).column(self.column)
            value = column[self.row].as_py()
        except LucidaError as error:
            raise BadPicture(error.what) from None
        except (KeyError, IndexError) as error:
            raise BadPicture(f"the Arrow file has no such row ({error})") from None
        return stream_of(value, self.path)


@lru_cache(maxsize=8)
def _table(path: str, state: tuple[int, int]) -> Any:
    return open_arrow(Path(path))


def open_arrow(path: Path) -> Any:
    """A table of a file, in the form of a stream (``datasets``) or of a file (Feather), mapped and not read.

    Raises:
        LucidaError: it is no such file, or damaged.
    """
    import pyarrow as pa

    try:
        mapped = pa.memory_map(str(path))
        try:
            return pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(mapped).read_all()
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        reason = (str(error).splitlines() or [""])[0]
        raise LucidaError(f"not a readable Arrow file: {reason}", where=path) from None
