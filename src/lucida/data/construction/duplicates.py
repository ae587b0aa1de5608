"""Deduplicating: of pictures that are almost one, and of captions that are, the first stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lucida.core.errors import LucidaError
from lucida.data.construction.database import MEMORY, count, database, quoted
from lucida.data.construction.engines import Engine
from lucida.data.construction.links import (
    PIECES,
    SHARD,
    group,
    link_captions,
    link_pictures,
    load_keys,
    write_keys,
)
from lucida.data.construction.rows import Row, RowWriter, ShardFile, ShardReport, read_rows, split_rows
from lucida.data.construction.stages import StageResult, Work, run_stage

LINKS = pa.schema(
    [
        ("kind", pa.string()),  # picture or caption
        ("likeness", pa.float64()),
        ("first", pa.string()),  # ids
        ("second", pa.string()),
        ("first_split", pa.string()),
        ("second_split", pa.string()),
    ]
)
LINKS_FILE, DECISIONS = "links.parquet", "decisions.parquet"
_MOST_LINKS = 100_000  # kept for the reader


@dataclass(frozen=True)
class DuplicateSettings:
    """What counts as the same.

    Attributes:
        caption_likeness: Jaccard likeness of groups of four letters from which two captions are one; 1 for equal words.
        same_caption: so many pairs of one caption stay; 0 keeps all.
        picture_bits: of 128, by which the perceptual hashes of one picture may differ; below 8.
        picture_likeness: and the correlation of 8 x 8 pixels that they reach at least.
    """

    caption_likeness: float = 0.9
    same_caption: int = 1
    picture_bits: int = 7
    picture_likeness: float = 0.95

    def __post_init__(self) -> None:
        for name, fine in (
            ("caption_likeness", 0.3 <= self.caption_likeness <= 1),
            ("same_caption", self.same_caption >= 0),
            ("picture_bits", 0 <= self.picture_bits < PIECES),
            ("picture_likeness", 0 < self.picture_likeness <= 1),
        ):
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)}", where="deduplicate")


def deduplicate(
    source: StageResult, folder: Path, settings: DuplicateSettings, engine: Engine, *, memory: str = MEMORY
) -> StageResult:
    """The stage ``deduplicate``: of each picture and each caption the first in the corpus' order stays.

    Links are followed: if a is almost b and b almost c, the three are one. Several captions of one picture (of one
    identity) stay, unless they are almost the same.

    Args:
        source: the stage before; pictures are compared where ``clean`` has looked at them.
        folder: of this stage; it holds ``links.parquet``, the likest pairs of what was found.
        settings: what counts as the same.
        engine: that hashes and filters; what concerns all rows is DuckDB's.
        memory: of DuckDB.
    """

    def work(beside: Path) -> Work:
        shards = list(enumerate(source.paths))
        keys = engine.map(partial(write_keys, folder=beside), shards, "shards hashed")
        paths = [beside / file.name for file in keys]
        with database(beside, memory=memory) as connection:
            facts = _decide(connection, paths, settings, beside)
            links = _write_links(connection, beside)
        drop = partial(apply_decisions, folder=beside, decisions=beside / DECISIONS)
        reports = engine.map(drop, shards, "shards deduplicated")
        shutil.rmtree(beside / "keys")
        (beside / DECISIONS).unlink()
        return Work(reports, [links], facts)

    return run_stage("deduplicate", settings, source.manifest.shards, folder, work)


def _decide(connection: Any, paths: list[Path], settings: DuplicateSettings, folder: Path) -> dict[str, Any]:
    """Write which rows are dropped and why, sorted by number."""
    load_keys(connection, paths)
    link_captions(connection, settings.caption_likeness)
    crowded = link_pictures(connection, settings.picture_bits, settings.picture_likeness)
    group(connection, "text_links", "text_groups")
    group(connection, "picture_links", "picture_groups")
    connection.execute(
        "CREATE TABLE judged AS SELECT k.number, t.node AS text_node, coalesce(tg.head, t.node) AS text_head,"
        " CASE WHEN pg.head < p.node THEN pg.head END AS picture_head, p.digest = h.digest AS same_bytes"
        " FROM keys k JOIN texts t USING (text_digest) LEFT JOIN text_groups tg ON tg.node = t.node"
        " LEFT JOIN pictures p USING (identity) LEFT JOIN picture_groups pg ON pg.node = p.node"
        " LEFT JOIN pictures h ON h.node = pg.head"
    )
    most = settings.same_caption or 2**62
    # Captions are counted among the rows whose pictures stay; the twin is the first of them.
    connection.execute(
        "CREATE TABLE decisions AS SELECT number, coalesce(picture_head, first) AS twin,"
        " CASE WHEN picture_head IS NOT NULL THEN if(same_bytes, 'the same picture again', 'a near-copy of a picture')"
        f" WHEN place > {most} THEN if(text_node = first_text, 'the same caption again', 'almost the same caption')"
        " END AS reason FROM (SELECT *, row_number() OVER caption AS place, first_value(number) OVER caption AS first,"
        " first_value(text_node) OVER caption AS first_text FROM judged"
        " WINDOW caption AS (PARTITION BY text_head, picture_head IS NULL ORDER BY number))"
    )
    connection.execute(
        "COPY (SELECT d.number, d.reason, k.id AS twin FROM decisions d JOIN keys k ON k.number = d.twin"
        f" WHERE d.reason IS NOT NULL ORDER BY d.number) TO {quoted(folder / DECISIONS)}"
        " (FORMAT parquet, ROW_GROUP_SIZE 20480)"
    )
    return {
        "captions": count(connection, "texts"),
        "caption_groups": count(connection, "(SELECT DISTINCT head FROM text_groups)"),
        "pictures": count(connection, "pictures"),
        "picture_groups": count(connection, "(SELECT DISTINCT head FROM picture_groups)"),
        "crowded_buckets": crowded,
    }


def _write_links(connection: Any, folder: Path) -> ShardFile:
    """The likest links, with the ids and splits of the rows that stand for the two sides."""
    query = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, l.likeness, x.id AS first, y.id AS second, x.split AS first_split,"
        f" y.split AS second_split FROM (SELECT a, b, max(likeness) AS likeness FROM {table} GROUP BY a, b) l"
        " JOIN keys x ON x.number = l.a JOIN keys y ON y.number = l.b"
        for kind, table in (("picture", "picture_links"), ("caption", "text_links"))
    )
    order = "ORDER BY kind, likeness DESC, first, second"
    found = connection.sql(f"SELECT * FROM ({query}) {order} LIMIT {_MOST_LINKS}").to_arrow_table()
    path = folder / LINKS_FILE
    with RowWriter(path, LINKS) as writer:
        for batch in found.cast(LINKS).to_batches():
            writer.add_batch(batch)
    return ShardFile.of(path, writer.count, folder)


def apply_decisions(shard: tuple[int, Path], *, folder: Path, decisions: Path) -> ShardReport:
    """Drop the rows of one shard that a file of (number, reason) names."""
    number, path = shard
    first = number << SHARD
    wanted = [("number", ">=", first), ("number", "<", first + (1 << SHARD))]
    table = pq.read_table(decisions, filters=wanted, use_threads=False)
    told = {row["number"]: row for row in table.to_pylist()}

    def judged() -> Iterator[list[tuple[Row, str]]]:
        place = first
        for rows in read_rows(path):
            batch: list[tuple[Row, str]] = []
            for number, row in enumerate(rows, start=place):
                why = told.get(number)
                batch.append(({**row, "twin": why["twin"]}, why["reason"]) if why else (row, ""))
            yield batch
            place += len(rows)

    return split_rows(judged(), number, folder)
