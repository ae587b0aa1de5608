"""What is still doubtful about finished pairs: false negatives, copies, and what leaks from one split into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lucida.data.construction.database import MEMORY, batches, count, database, parquet
from lucida.data.construction.engines import Engine
from lucida.data.construction.links import PIECES, link_captions, link_pictures, load_keys, load_texts, write_keys

CAPTIONS = 0.7
"""Jaccard likeness of letter groups from which captions are in doubt: below what ``deduplicate`` takes for the same."""
PICTURES = 0.9
"""Correlation of small pictures, likewise."""
LEAK = 0.9
"""Jaccard likeness from which two captions on two sides of a split count as a leak, as pictures that are alike do."""


@dataclass(frozen=True)
class DoubtfulPair:
    """Two pairs by id that a contrastive loss, or a test, would wrongly take for different.

    Attributes:
        kind: "caption": one text for two pictures; "picture": two pictures that are almost one.
        likeness: of the two, 1 for equality.
        first, second: ids.
        splits: of the two; leakage if they differ.
    """

    kind: str
    likeness: float
    first: str
    second: str
    splits: tuple[str, str]

    @property
    def leaks(self) -> bool:
        """From one split into another."""
        return self.splits[0] != self.splits[1]


@dataclass(frozen=True)
class PairAudit:
    """What was found.

    Attributes:
        rows: pairs looked at.
        captions: pairs of captions of different pictures that are alike.
        pictures: pairs of pictures that are alike.
        leaks: of both, those across splits, captions from a likeness of :data:`LEAK`.
        same_caption_rows: rows whose caption another picture has too, word for word.
        collisions: expected number of pairs in a batch of 1,024 drawn at random that are negatives of each other with
            the same caption.
        looked: pictures that ``clean`` looked at, so that they could be compared.
        splits: rows of each.
        listed: the likest of each kind.
    """

    rows: int
    captions: int
    pictures: int
    leaks: int
    same_caption_rows: int
    collisions: float
    looked: int
    splits: dict[str, int]
    listed: tuple[DoubtfulPair, ...]


BATCH = 1024


def audit_pairs(paths: Sequence[Path], folder: Path, *, most: int = 12, memory: str = MEMORY) -> PairAudit:
    """Look through finished shards.

    Args:
        paths: of the shards.
        folder: to work in; nothing stays.
        most: pairs listed of each kind, within splits and across them.
        memory: of DuckDB.
    """
    keys = Engine().map(partial(write_keys, folder=folder), list(enumerate(paths)), "shards hashed")
    with database(folder, memory=memory) as connection:
        load_keys(connection, [folder / key.name for key in keys])
        load_texts(connection, "SELECT number, text_digest, 0 AS scope FROM keys")
        link_captions(connection, CAPTIONS)
        link_pictures(connection, PIECES - 1, PICTURES)
        _join(connection)
        said = "SELECT DISTINCT text_digest, md5_number(identity) AS picture FROM keys WHERE text <> ''"
        groups = f"SELECT text_digest, count(*) AS n FROM ({said}) GROUP BY text_digest"
        shared = connection.execute(f"SELECT sum(n) FILTER (n > 1), sum(n * (n - 1) / 2) FROM ({groups})").fetchall()[0]
        rows = count(connection, "keys")
        chance = BATCH * (BATCH - 1) / max(rows * (rows - 1), 1)  # that two given rows are in one batch
        splits = connection.execute(
            "SELECT coalesce(split, ''), count(*) FROM keys GROUP BY ALL ORDER BY 2 DESC, 1"
        ).fetchall()
        return PairAudit(
            rows,
            count(connection, "doubtful WHERE kind = 'caption'"),
            count(connection, "doubtful WHERE kind = 'picture'"),
            count(connection, f"doubtful WHERE across AND (kind = 'picture' OR likeness >= {LEAK})"),
            int(shared[0] or 0),
            float(shared[1] or 0) * (chance if rows > BATCH else 1.0),
            count(connection, "pictures"),
            {name: int(n) for name, n in splits},
            tuple(_listed(connection, most)),
        )


def _join(connection: Any) -> None:
    """Table ``doubtful``: likely pairs by the rows' numbers; what they stand for is joined to the few that are shown.

    Captions that are equal word for word share a node: each later picture is linked with the first.
    """
    connection.execute(
        "CREATE TABLE sides AS SELECT number, md5_number(identity) AS picture, coalesce(split, '') AS split FROM keys"
    )
    linked = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, a, b, likeness FROM {table}"
        for kind, table in (("caption", "text_links"), ("picture", "picture_links"))
    )
    equal = (
        "SELECT 'caption' AS kind, t.node AS a, k.number AS b, 1.0 AS likeness FROM texts t JOIN keys k"
        " ON k.text_digest = t.text_digest AND k.number > t.node WHERE t.text <> ''"
    )
    connection.execute(
        "CREATE TABLE doubtful AS SELECT l.kind, l.a, l.b, max(l.likeness) AS likeness, x.split <> y.split AS across"
        f" FROM ({linked} UNION ALL {equal}) l JOIN sides x ON x.number = l.a JOIN sides y ON y.number = l.b"
        " WHERE x.picture <> y.picture GROUP BY ALL"
    )
    connection.execute("DROP TABLE sides")


def _listed(connection: Any, most: int) -> list[DoubtfulPair]:
    """The likest of each kind, each row first in one pair only, so that one caption does not fill the list."""
    found = []
    for kind in ("caption", "picture"):
        for across in (False, True):
            likest = (
                "SELECT a, arg_max(b, {'likeness': likeness, 'place': -b}) AS b, max(likeness) AS most FROM doubtful"
                f" WHERE kind = '{kind}' AND across = {across} GROUP BY a ORDER BY most DESC, a LIMIT {most}"
            )
            found += connection.execute(
                f"SELECT '{kind}', l.most, x.id, y.id, coalesce(x.split, ''), coalesce(y.split, '')"
                f" FROM ({likest}) l JOIN keys x ON x.number = l.a JOIN keys y ON y.number = l.b"
                " ORDER BY l.most DESC, l.a"
            ).fetchall()
    return [
        DoubtfulPair(kind, likeness, first, second, (one, other)) for kind, likeness, first, second, one, other in found
    ]


def sample_rows(paths: Sequence[Path], folder: Path, *, each: int, reasons: bool) -> list[dict[str, Any]]:
    """A few rows of shards, drawn by a hash of their ids; of dropped ones a few for each reason.

    Args:
        paths: of the shards.
        folder: to work in.
        each: rows.
        reasons: the shards hold dropped rows.
    """
    if each < 1:
        return []
    # Only the best are held: a rank of every row would sort the corpus.
    reason = "reason" if reasons else "''"
    query = (
        f"SELECT {reason} AS reason, unnest(min_by(r, md5(coalesce(id, '')) || coalesce(id, ''), {each})) AS row"
        f" FROM {parquet(paths)} r GROUP BY 1 ORDER BY 1"
    )
    return [row["row"] for row in _rows(folder, query)]


def find_rows(paths: Sequence[Path], folder: Path, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows by id."""
    if not ids:
        return {}
    listed = ", ".join("'" + id.replace("'", "''") + "'" for id in dict.fromkeys(ids))
    return {row["id"]: row for row in _rows(folder, f"SELECT * FROM {parquet(paths)} WHERE id IN ({listed})")}


def _rows(folder: Path, query: str) -> list[dict[str, Any]]:
    with database(folder) as connection:
        return [row for batch in batches(connection, query) for row in batch.to_pylist()]
