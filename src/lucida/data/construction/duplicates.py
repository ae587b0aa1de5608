"""Deduplicating: of pictures that are almost one, and of captions that a picture has twice, the first stays.

A caption is true of many pictures ("a dog"): alone it makes no duplicate. One that repeats too often may be capped.
"""

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
    load_texts,
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
        same_caption: of one caption so many pairs with different pictures stay, the first ones; 0 keeps them all.
        picture_bits: of 128, by which the perceptual hashes of one picture may differ; below 8.
        picture_likeness: and the correlation of 8 x 8 pixels that they reach at least.
    """

    caption_likeness: float = 0.9
    same_caption: int = 0
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
    """The stage ``deduplicate``: of each picture, and of each caption of it, the first in the corpus' order stays.

    Links are followed: if a is almost b and b almost c, the three are one. Several captions of one picture (of one
    identity) stay, unless they are almost the same; so do pictures that share a caption, unless ``same_caption`` caps
    them. Rows that name no picture are compared by their captions alone.

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
            links = _write_links(connection, beside, captions=settings.same_caption > 0)
        drop = partial(apply_decisions, folder=beside, decisions=beside / DECISIONS)
        reports = engine.map(drop, shards, "shards deduplicated")
        shutil.rmtree(beside / "keys")
        (beside / DECISIONS).unlink()
        return Work(reports, [links], facts)

    return run_stage("deduplicate", settings, source.manifest.shards, folder, work)


def _decide(connection: Any, paths: list[Path], settings: DuplicateSettings, folder: Path) -> dict[str, Any]:
    """Write which rows are dropped and why, sorted by number."""
    load_keys(connection, paths)
    crowded = link_pictures(connection, settings.picture_bits, settings.picture_likeness)
    group(connection, "picture_links", "picture_groups")
    connection.execute("CREATE TABLE decisions (number BIGINT, twin BIGINT, reason VARCHAR)")
    _judge_pictures(connection)
    _judge_pairs(connection, settings.caption_likeness)
    if settings.same_caption:
        _judge_captions(connection, settings.caption_likeness, settings.same_caption)
    connection.execute(
        "COPY (SELECT d.number, d.reason, k.id AS twin FROM decisions d JOIN keys k ON k.number = d.twin"
        f" ORDER BY d.number) TO {quoted(folder / DECISIONS)} (FORMAT parquet, ROW_GROUP_SIZE 20480)"
    )
    groups = ("picture", "pair", *(("text",) if settings.same_caption else ()))
    return {
        "pictures": count(connection, "pictures"),
        **{f"{kind}_groups": count(connection, f"(SELECT DISTINCT head FROM {kind}_groups)") for kind in groups},
        "crowded_buckets": crowded,
    }


def _judge_pictures(connection: Any) -> None:
    """Decide on near-copies; table ``judged`` (number, text_digest, scope) of the rows that are left.

    The scope of a row is its picture's node, and of all rows that name no picture -1.
    """
    connection.execute(
        "CREATE TABLE identities AS SELECT md5_number(identity) AS picture, min(number) AS node FROM keys"
        " WHERE pictured GROUP BY ALL"
    )
    connection.execute(
        "CREATE TABLE seen AS SELECT k.number, k.text_digest, coalesce(p.node, i.node, -1) AS scope, g.head,"
        " p.digest = h.digest AS same_bytes FROM keys k"
        " LEFT JOIN identities i ON k.pictured AND i.picture = md5_number(k.identity)"
        " LEFT JOIN pictures p ON p.identity = k.identity LEFT JOIN picture_groups g ON g.node = p.node"
        " LEFT JOIN pictures h ON h.node = g.head"
    )
    connection.execute(
        "INSERT INTO decisions SELECT number, head,"
        " if(same_bytes, 'the same picture again', 'a near-copy of a picture') FROM seen WHERE head < scope"
    )
    connection.execute(
        "CREATE TABLE judged AS SELECT number, text_digest, scope FROM seen WHERE head IS NULL OR head >= scope"
    )
    connection.execute("DROP TABLE seen")
    connection.execute("DROP TABLE identities")


def _judge_pairs(connection: Any, likeness: float) -> None:
    """Decide on captions that one picture has twice, or rows without pictures.

    Rows that name no picture are nothing but their captions, so among them a caption is the pair.
    """
    load_texts(
        connection,
        "SELECT * FROM judged SEMI JOIN (SELECT scope FROM judged GROUP BY scope HAVING count(*) > 1) USING (scope)",
        "pair_texts",
    )
    link_captions(connection, likeness, "pair_texts", "pair_links")
    group(connection, "pair_links", "pair_groups")
    connection.execute(
        "INSERT INTO decisions SELECT j.number, coalesce(g.head, t.node) AS twin,"
        " if(t.node = twin, 'the same ', 'almost the same ') || if(j.scope < 0, 'caption', 'pair')"
        " || if(t.node = twin, ' again', '') FROM judged j JOIN pair_texts t USING (scope, text_digest)"
        " LEFT JOIN pair_groups g ON g.node = t.node WHERE j.number <> coalesce(g.head, t.node)"
    )
    connection.execute("DROP TABLE pair_texts")


def _judge_captions(connection: Any, likeness: float, most: int) -> None:
    """Decide on captions that more rows have than may; counted among the rows that are left, the first ones stay."""
    connection.execute(
        "CREATE TABLE counted AS SELECT number, text_digest, 0 AS scope FROM judged ANTI JOIN decisions USING (number)"
    )
    load_texts(connection, "SELECT * FROM counted")
    link_captions(connection, likeness)
    group(connection, "text_links", "text_groups")
    connection.execute(
        "INSERT INTO decisions SELECT number, head,"
        " if(node = head, 'the same caption again', 'almost the same caption') FROM"
        " (SELECT *, row_number() OVER (PARTITION BY head ORDER BY number) AS place FROM"
        " (SELECT c.number, t.node, coalesce(g.head, t.node) AS head FROM counted c JOIN texts t USING (text_digest)"
        f" LEFT JOIN text_groups g ON g.node = t.node)) WHERE place > {most}"
    )
    connection.execute("DROP TABLE counted")


def _write_links(connection: Any, folder: Path, *, captions: bool) -> ShardFile:
    """The likest links, with the ids and splits of the rows that stand for the two sides."""
    query = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, l.likeness, x.id AS first, y.id AS second, x.split AS first_split,"
        f" y.split AS second_split FROM (SELECT a, b, max(likeness) AS likeness FROM {table} GROUP BY a, b) l"
        " JOIN keys x ON x.number = l.a JOIN keys y ON y.number = l.b"
        for kind, table in (("picture", "picture_links"), ("caption", "text_links" if captions else "pair_links"))
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
