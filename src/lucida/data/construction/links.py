"""Links between near-equal captions and near-equal pictures of a corpus, found out of core, and their groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lucida.data.construction.caption_hashes import BANDS, bands, jaccard, normal, text_digest
from lucida.data.construction.database import batches, count, parquet
from lucida.data.construction.rows import RowWriter, ShardFile, read_batches
from lucida.data.picture_hashes import likeness_of, looks

SHARD = 32
"""Bits of a row's number that count within its shard: a row's number is its shard's, moved by these, plus its place."""

KEYS = pa.schema(
    [
        ("number", pa.int64()),
        ("id", pa.string()),
        ("identity", pa.string()),
        ("split", pa.string()),
        ("pictured", pa.bool_()),  # names a picture, here or elsewhere
        ("text", pa.string()),  # normal form
        ("text_digest", pa.binary()),
        ("bands", pa.list_(pa.uint64())),
        ("digest", pa.string()),
        ("across", pa.uint64()),
        ("down", pa.uint64()),
        ("look", pa.binary()),
    ]
)
PIECES = 8  # of 16 bits, of the 128 of a picture's hash: two that differ in fewer bits agree in a piece
_CROWD = 1000  # members of a bucket that are all compared with each other; of more, neighbours in the order of hashes
_NEIGHBOURS = 8
_VERIFIED = 4096  # pairs compared at once


def write_keys(shard: tuple[int, Path], *, folder: Path) -> ShardFile:
    """What rows of a shard are compared by, beside it."""
    number, path = shard
    target = folder / "keys" / f"{number:05d}.parquet"
    columns = ["id", "caption", "identity", "split", "file", "digest", "across", "down", "look"]
    place = number << SHARD
    with RowWriter(target, KEYS) as writer:
        for batch in read_batches(path, columns):
            texts = [normal(caption or "") for caption in batch.column("caption").to_pylist()]
            listed = bands(texts)
            values, ends = pa.array(listed.reshape(-1)), np.arange(len(texts) + 1, dtype=np.int32) * BANDS
            made = {
                "number": pa.array(np.arange(place, place + len(texts))),
                "pictured": batch.column("file").is_valid(),
                "text": pa.array(texts, pa.string()),
                "text_digest": pa.array([text_digest(text) for text in texts], pa.binary()),
                "bands": pa.ListArray.from_arrays(ends, values),
            }
            place += len(texts)
            arrays = [made[name] if name in made else batch.column(name) for name in KEYS.names]
            writer.add_batch(pa.RecordBatch.from_arrays(arrays, schema=KEYS))
    return ShardFile(target.relative_to(folder).as_posix(), writer.count, "")


def load_keys(connection: Any, paths: list[Path]) -> None:
    """View ``keys`` of all rows, and table ``pictures`` (a row for each identity that was looked at).

    The first row that has a picture stands for it: its number is the node.
    """
    connection.execute(f"CREATE VIEW keys AS SELECT * FROM {parquet(paths)}")
    # Numbers are grouped, and what they stand for is joined: groups of long values could not go to disk.
    connection.execute(
        "CREATE TABLE pictures AS SELECT g.identity, g.node, k.digest, k.across, k.down, k.look FROM"
        " (SELECT identity, min(number) AS node FROM keys WHERE look IS NOT NULL GROUP BY identity) g"
        " JOIN keys k ON k.number = g.node"
    )


def load_texts(connection: Any, rows: str, texts: str = "texts") -> None:
    """Table ``texts`` (scope, text_digest, node, text, bands): a row for each caption that differs within a scope.

    The first row that has it stands for it, as for pictures.

    Args:
        connection: with :func:`load_keys`.
        rows: a query of (number, text_digest, scope); captions of two scopes are not compared.
        texts: name of the table.
    """
    connection.execute(
        f"CREATE TABLE {texts} AS SELECT g.scope, g.text_digest, g.node, k.text, k.bands FROM"
        f" (SELECT scope, text_digest, min(number) AS node FROM ({rows}) GROUP BY scope, text_digest) g"
        " JOIN keys k ON k.number = g.node"
    )


def link_captions(connection: Any, threshold: float, texts: str = "texts", links: str = "text_links") -> None:
    """Table ``links`` (a, b, likeness): nodes of captions of one scope that are at least so alike, a < b.

    A bucket of captions with one band links each with its first and with the one before it, not all with all: the
    work grows with the rows, and whatever a bucket misses seven others may find.
    """
    connection.execute(f"CREATE TABLE {links} (a BIGINT, b BIGINT, likeness DOUBLE)")
    if threshold >= 1:
        return
    connection.execute(
        "CREATE TABLE candidates AS SELECT DISTINCT a, b FROM (SELECT unnest([first, previous]) AS a, node AS b FROM ("
        " SELECT node, first_value(node) OVER bucket AS first, lag(node) OVER bucket AS previous FROM"
        f" (SELECT scope, node, unnest(bands) AS band, generate_subscripts(bands, 1) AS place FROM {texts})"
        " WINDOW bucket AS (PARTITION BY scope, place, band ORDER BY node))) WHERE a < b"
    )
    query = (
        "SELECT a, b, x.text AS first, y.text AS second FROM candidates"
        f" JOIN {texts} x ON x.node = a JOIN {texts} y ON y.node = b"
    )
    _verify(
        connection, links, query, threshold,
        lambda batch: jaccard(batch.column("first").to_pylist(), batch.column("second").to_pylist()),
    )  # fmt: skip
    connection.execute("DROP TABLE candidates")


def link_pictures(connection: Any, radius: int, likeness: float) -> int:
    """Table ``picture_links`` (a, b, likeness): nodes of pictures whose hashes differ in at most so many bits, a < b.

    Two hashes that differ in fewer bits than there are pieces have a piece in common, so buckets of up to 1,000
    pictures miss no pair; in larger ones each is compared with its neighbours in the order of the hashes.

    Returns:
        How many buckets were larger.
    """
    connection.execute("CREATE TABLE picture_links (a BIGINT, b BIGINT, likeness DOUBLE)")
    connection.execute(
        "INSERT INTO picture_links SELECT first, node, 1.0 FROM (SELECT node, first_value(node) OVER"
        " (PARTITION BY digest ORDER BY node) AS first FROM pictures WHERE digest IS NOT NULL) WHERE first < node"
    )
    pieces = ", ".join(
        f"(({word} >> {16 * k}) & 65535)::INTEGER" for word in ("across", "down") for k in range(PIECES // 2)
    )
    connection.execute(
        "CREATE TABLE pieces AS SELECT node, across, down, place, piece,"
        " count(*) OVER (PARTITION BY place, piece) AS crowd FROM (SELECT node, across, down,"
        f" unnest([{pieces}]) AS piece, unnest(range({PIECES})) AS place FROM"
        " (SELECT min(node) AS node, across, down, look FROM pictures GROUP BY across, down, look))"
    )
    crowded = count(connection, f"(SELECT DISTINCT place, piece FROM pieces WHERE crowd > {_CROWD})")
    near = f"bit_count(xor(x.across, y.across)) + bit_count(xor(x.down, y.down)) <= {radius}"
    connection.execute(
        "CREATE TABLE candidates AS SELECT DISTINCT x.node AS a, y.node AS b FROM pieces x JOIN pieces y"
        f" ON x.place = y.place AND x.piece = y.piece AND x.node < y.node WHERE x.crowd <= {_CROWD} AND {near}"
    )
    connection.execute(
        "CREATE TABLE ranked AS SELECT *, row_number() OVER (PARTITION BY place, piece ORDER BY across, down, node)"
        f" AS rank FROM pieces WHERE crowd > {_CROWD}"
    )
    connection.execute(
        "INSERT INTO candidates SELECT DISTINCT least(x.node, y.node), greatest(x.node, y.node) FROM ranked x"
        " JOIN (SELECT *, unnest(range(rank + 1, rank + 1 + " + str(_NEIGHBOURS) + ")) AS other FROM ranked) y"
        f" ON x.place = y.place AND x.piece = y.piece AND x.rank = y.other WHERE {near}"
    )
    query = (
        "SELECT a, b, x.look AS first, y.look AS second FROM (SELECT DISTINCT a, b FROM candidates)"
        " JOIN pictures x ON x.node = a JOIN pictures y ON y.node = b"
    )
    _verify(
        connection, "picture_links", query, likeness,
        lambda batch: likeness_of(*(looks(batch.column(side).to_pylist()) for side in ("first", "second"))),
    )  # fmt: skip
    # Pictures of one hash and look were compared as one.
    connection.execute(
        "INSERT INTO picture_links SELECT first, node, 1.0 FROM (SELECT node, first_value(node) OVER"
        " (PARTITION BY across, down, look ORDER BY node) AS first FROM pictures) WHERE first < node"
    )
    for table in ("pieces", "ranked", "candidates"):
        connection.execute(f"DROP TABLE {table}")
    return crowded


def _verify(connection: Any, table: str, query: str, threshold: float, measure: Callable[[Any], Any]) -> None:
    """Keep candidates that reach the threshold."""
    for batch in batches(connection.cursor(), query, _VERIFIED):
        values = measure(batch)
        near = np.flatnonzero(values >= threshold)
        found = pa.table(
            {
                "a": batch.column("a").take(pa.array(near)),
                "b": batch.column("b").take(pa.array(near)),
                "likeness": pa.array(values[near], pa.float64()),
            }
        )
        connection.register("found", found)
        connection.execute(f"INSERT INTO {table} SELECT * FROM found")
        connection.unregister("found")


def group(connection: Any, links: str, groups: str) -> None:
    """Table ``groups`` (node, head): each linked node and the smallest node it is linked with, however far.

    Labels go along the links and jump to the label's own label, so the rounds grow with the logarithm of a chain.
    """
    connection.execute(f"CREATE TABLE edges AS SELECT a, b FROM {links} UNION SELECT b, a FROM {links}")
    connection.execute(f"CREATE TABLE {groups} AS SELECT a AS node, least(a, min(b)) AS head FROM edges GROUP BY a")
    while True:
        connection.execute(
            f"CREATE OR REPLACE TABLE spread AS SELECT e.a AS node, min(g.head) AS head FROM edges e"
            f" JOIN {groups} g ON g.node = e.b GROUP BY e.a"
        )
        connection.execute(
            f"CREATE OR REPLACE TABLE lower AS SELECT g.node, least(g.head, s.head) AS head FROM {groups} g"
            " JOIN spread s ON s.node = g.node"
        )
        connection.execute(
            "CREATE OR REPLACE TABLE jumped AS SELECT l.node, least(l.head, h.head) AS head FROM lower l"
            " JOIN lower h ON h.node = l.head"
        )
        if not count(connection, f"jumped j JOIN {groups} g ON g.node = j.node WHERE j.head <> g.head"):
            break
        connection.execute(f"CREATE OR REPLACE TABLE {groups} AS SELECT * FROM jumped")
    for table in ("edges", "spread", "lower", "jumped"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
