"""DuckDB for what concerns the corpus as a whole: counting, joining, grouping, out of core, in bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError

MEMORY = "1GB"
"""What DuckDB may hold; what is more lies in files beside the stage until it is done."""


@contextmanager
def database(folder: Path, *, memory: str = MEMORY) -> Iterator[Any]:
    """A connection whose tables and overflow lie in a folder of its own, removed at the end.

    Raises:
        LucidaError: the disk is full, or the memory is too little even so.
    """
    import duckdb

    scratch = folder / ".duckdb"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(str(scratch / "work.duckdb"), config={"memory_limit": memory, "threads": 2})
        try:
            connection.execute(f"SET temp_directory = {quoted(scratch / 'overflow')}")
            connection.execute("SET preserve_insertion_order = false")  # every order that matters is asked for
            connection.execute("SET enable_progress_bar = false")  # it would stand among the lines of the command
            yield connection
        finally:
            connection.close()
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise LucidaError(f"DuckDB: {str(error).splitlines()[0]}", where=folder, remedy="free disk space") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def quoted(text: str | Path) -> str:
    """A text as SQL writes it.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + str(text).replace("'", "''") + "'"


def parquet(paths: Sequence[Path]) -> str:
    """Files as a table that SQL can read from."""
    return f"read_parquet([{', '.join(quoted(path) for path in paths)}], union_by_name = true)"


def count(connection: Any, rows: str) -> int:
    """How many rows a table or a query in brackets has."""
    return int(connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])


def batches(connection: Any, query: str, rows: int = 20_000) -> Iterator[Any]:
    """A query's answer as Arrow record batches, never whole."""
    yield from connection.sql(query).to_arrow_reader(rows)
