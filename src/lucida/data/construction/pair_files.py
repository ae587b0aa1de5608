"""Finished pairs written for others to train on: WebDataset archives or Parquet files, pictures' bytes as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lucida.data.construction.engines import Engine
from lucida.data.construction.rows import (
    DROPPED,
    UNREADABLE,
    Row,
    RowWriter,
    ShardFile,
    ShardReport,
    picture_bytes,
    read_rows,
)
from lucida.data.construction.stages import StageResult, Work, run_stage
from lucida.data.construction.web_datasets import WebDatasetWriter
from lucida.data.decoding import encoded_kind
from lucida.data.pictures import BadPicture

Format = Literal["webdataset", "parquet"]
PAIRS = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),  # as Hugging Face's datasets reads it
        ("caption", pa.string()),
        ("id", pa.string()),
        ("identity", pa.string()),
        ("split", pa.string()),
        ("concepts", pa.list_(pa.string())),
        ("negatives", pa.list_(pa.string())),  # ids
    ]
)
_ROWS = 256  # pictures in memory at once


@dataclass(frozen=True)
class WriteSettings:
    """How finished pairs are written."""

    format: Format = "webdataset"


def write_pairs(source: StageResult, folder: Path, root: Path, settings: WriteSettings, engine: Engine) -> StageResult:
    """The stage ``write``: an archive or a file for each shard.

    Args:
        source: the stage before.
        folder: of this stage.
        root: that the rows refer to pictures from.
        settings: the format.
        engine: that works.
    """

    def work(beside: Path) -> Work:
        write = partial(write_shard, folder=beside, root=root, format=settings.format)
        return Work(engine.map(write, list(enumerate(source.paths)), "shards written"))

    return run_stage("write", settings, source.manifest.shards, folder, work)


def write_shard(shard: tuple[int, Path], *, folder: Path, root: Path, format: Format) -> ShardReport:
    """One shard; pictures that cannot be read any more are dropped and counted."""
    number, path = shard
    report = ShardReport(number)
    suffix = "tar" if format == "webdataset" else "parquet"
    target = folder / "shards" / f"{number:05d}.{suffix}"
    left = folder / "dropped" / f"{number:05d}.parquet"
    sink = _archive if format == "webdataset" else _table
    with sink(target) as add, RowWriter(left, DROPPED) as dropper:
        for row in (row for rows in read_rows(path) for row in rows):
            report.rows_in += 1
            try:
                data = picture_bytes(row, root)
                kind = encoded_kind(data)
            except BadPicture:
                report.dropped[UNREADABLE] += 1
                dropper.add({**row, "reason": UNREADABLE})
                continue
            add(report.rows_out, data, kind, row)
            report.rows_out += 1
    report.shards = [ShardFile.of(target, report.rows_out, folder)]
    report.others = [ShardFile.of(left, dropper.count, folder)]
    return report


def _facts(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "identity", "split", "concepts", "negatives") if row.get(key)}


Add = Callable[[int, bytes, str, Row], None]
"""Takes a pair's place, its picture's bytes and their kind, and its row."""


@contextmanager
def _archive(path: Path) -> Iterator[Add]:
    with WebDatasetWriter(path) as writer:

        def add(place: int, data: bytes, kind: str, row: Row) -> None:
            writer.add(f"{place:09d}", data, kind, row["caption"], {"caption": row["caption"], **_facts(row)})

        yield add


@contextmanager
def _table(path: Path) -> Iterator[Add]:
    with RowWriter(path, PAIRS, kept=_ROWS) as writer:

        def add(place: int, data: bytes, kind: str, row: Row) -> None:
            image = {"bytes": data, "path": f"{place:09d}.{kind}"}
            writer.add({"image": image, "caption": row["caption"], **_facts(row)})

        yield add
