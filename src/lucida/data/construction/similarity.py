"""Filtering by how near a picture's features are to its caption's, as any encoder sees it.

The encoder is a callable, so that data knows no model: CLIP's two towers, or features that were computed elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.data.construction.database import MEMORY, count, database, parquet
from lucida.data.construction.engines import Engine
from lucida.data.construction.links import SHARD
from lucida.data.construction.rows import Row, RowWriter, ShardReport, read_rows, source_of, split_rows
from lucida.data.construction.stages import StageResult, Work, run_stage
from lucida.data.decoding import EncodedSource

Encode = Callable[[Sequence[EncodedSource | None], Sequence[str]], tuple[NDArray, NDArray]]
"""Sources of pictures and their captions to features of both, ``[n, d]`` each, of any length."""

SCORES = pa.schema([("number", pa.int64()), ("similarity", pa.float32())])
_BATCH = 256


@dataclass(frozen=True)
class SimilaritySettings:
    """Which pairs stay.

    Attributes:
        encoder: a name for the callable: another one is another stage.
        threshold: the cosine that a pair reaches at least.
        share: or the part of the pairs with the highest cosines that stays.
    """

    encoder: str
    threshold: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.share is None):
            raise LucidaError("either a threshold or a share decides", where="filter")
        if self.share is not None and not 0 < self.share <= 1:
            raise LucidaError(f"share cannot be {self.share}", where="filter")


def filter_by_similarity(
    source: StageResult, folder: Path, root: Path, encode: Encode, settings: SimilaritySettings, engine: Engine,
    *, memory: str = MEMORY,
) -> StageResult:  # fmt: skip
    """The stage ``filter``: pairs whose picture and caption are near enough, with their similarity.

    Args:
        source: the stage before.
        folder: of this stage.
        root: that the rows refer to pictures from.
        encode: called in this process, with some hundred pairs at a time.
        settings: what is near enough.
        engine: that filters.
        memory: of DuckDB.

    Raises:
        LucidaError: the encoder gives features of another form, or numbers that are not finite.
    """

    def work(beside: Path) -> Work:
        shards = list(enumerate(source.paths))
        scores = [_score(shard, beside, root, encode) for shard in counted(shards, "shards encoded")]
        lowest = _lowest(scores, beside, settings, memory)
        drop = partial(filter_shard, folder=beside, lowest=lowest)
        reports = engine.map(drop, shards, "shards filtered")
        shutil.rmtree(beside / "scores")
        return Work(reports, [], {"lowest_similarity": round(lowest[0], 6)})

    return run_stage("filter", settings, source.manifest.shards, folder, work)


def _score(shard: tuple[int, Path], folder: Path, root: Path, encode: Encode) -> Path:
    number, path = shard
    target = folder / "scores" / f"{number:05d}.parquet"
    place = number << SHARD
    with RowWriter(target, SCORES) as writer:
        for rows in read_rows(path):
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                pictures, texts = encode([source_of(row, root) for row in part], [row["caption"] for row in part])
                for cosine in cosines(pictures, texts, part).tolist():
                    writer.add({"number": place, "similarity": cosine})
                    place += 1
    return target


def cosines(pictures: NDArray, texts: NDArray, rows: Sequence[Row]) -> NDArray[np.float32]:
    """Of each picture and its caption, ``float32 [n]``.

    Raises:
        LucidaError: the features do not fit the rows, or one is not finite or of length zero.
    """
    a, b = np.asarray(pictures, np.float64), np.asarray(texts, np.float64)
    if a.ndim != 2 or a.shape != b.shape or len(a) != len(rows):
        raise LucidaError(
            f"features of shape {list(a.shape)} and {list(b.shape)} for {len(rows)} pairs", where="filter"
        )
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    values = np.einsum("nd,nd->n", a, b) / np.where(lengths == 0, np.nan, lengths)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise LucidaError("features that are not finite, or zero", where=str(rows[int(bad[0])]["id"]))
    return values.astype(np.float32)


def _lowest(scores: list[Path], folder: Path, settings: SimilaritySettings, memory: str) -> tuple[float, int]:
    """The similarity and the number of the last pair that stays: of equal ones the earlier go first."""
    if settings.threshold is not None:
        return settings.threshold, 2**62
    with database(folder, memory=memory) as connection:
        rows = count(connection, parquet(scores))
        kept = max(1, round((settings.share or 1) * rows))
        found = connection.execute(
            f"SELECT similarity, number FROM {parquet(scores)} ORDER BY similarity DESC, number"
            f" LIMIT 1 OFFSET {kept - 1}"
        ).fetchall()
    return (float(found[0][0]), int(found[0][1])) if found else (-1.0, 2**62)


def filter_shard(shard: tuple[int, Path], *, folder: Path, lowest: tuple[float, int]) -> ShardReport:
    """Keep the rows of one shard that come before the lowest."""
    number, path = shard
    scores = pq.read_table(folder / "scores" / f"{number:05d}.parquet", use_threads=False)
    similarity = scores["similarity"].to_pylist()
    first = number << SHARD

    def judged() -> Iterator[list[tuple[Row, str]]]:
        place = 0
        for rows in read_rows(path):
            batch = []
            for k, row in enumerate(rows, start=place):
                kept = (-similarity[k], first + k) <= (-lowest[0], lowest[1])
                batch.append(({**row, "similarity": similarity[k]}, "" if kept else "unlike its caption"))
            yield batch
            place += len(rows)

    return split_rows(judged(), number, folder)
