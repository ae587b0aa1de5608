"""Filtering by how near a picture's features are to its caption's, as any encoder sees it.

The encoder is a callable, so that data knows no model: CLIP's two towers, or features that were computed elsewhere.
Pairs of a split that is held out get their similarity and stay: a test without what is hard for the filter's encoder
would be another test.
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
from lucida.data.construction.rows import Row, RowWriter, ShardReport, held_out, read_rows, source_of, split_rows
from lucida.data.construction.stages import StageResult, Work, run_stage
from lucida.data.decoding import EncodedSource

Encode = Callable[[Sequence[EncodedSource | None], Sequence[str]], tuple[NDArray, NDArray]]
"""Sources of pictures and their captions to features of both, ``[n, d]`` each, of any length."""

SCORES = pa.schema([("number", pa.int64()), ("similarity", pa.float32()), ("held_out", pa.bool_())])
_BATCH = 256


@dataclass(frozen=True)
class SimilaritySettings:
    """Which pairs stay.

    Attributes:
        encoder: a name for the callable: another one is another stage.
        threshold: the cosine that a pair reaches at least.
        share: or the part of the training pairs with the highest cosines that stays.
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
        for rows, pictures, texts in encoded(path, root, encode):
            for row, cosine in zip(rows, np.einsum("nd,nd->n", pictures, texts).tolist(), strict=True):
                writer.add({"number": place, "similarity": cosine, "held_out": held_out(row)})
                place += 1
    return target


def encoded(
    path: Path, root: Path, encode: Encode
) -> Iterator[tuple[list[Row], NDArray[np.float64], NDArray[np.float64]]]:
    """The rows of a shard with the features of their pictures and captions, ``float64 [n, d]`` of length one.

    Raises:
        LucidaError: the features do not fit the rows, or one is not finite or of length zero.
    """
    for rows in read_rows(path):
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            found = encode([source_of(row, root) for row in part], [row["caption"] for row in part])
            pictures, texts = (np.asarray(each, np.float64) for each in found)
            if pictures.ndim != 2 or pictures.shape != texts.shape or len(pictures) != len(part):
                shapes = f"{list(pictures.shape)} and {list(texts.shape)}"
                raise LucidaError(f"features of shape {shapes} for {len(part)} pairs", where="encoder")
            yield part, _unit(pictures, part), _unit(texts, part)


def _unit(features: NDArray[np.float64], rows: Sequence[Row]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(features, axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise LucidaError("features that are not finite, or zero", where=str(rows[int(bad[0])]["id"]))
    return features / lengths[:, None]


def _lowest(scores: list[Path], folder: Path, settings: SimilaritySettings, memory: str) -> tuple[float, int]:
    """The similarity and the number of the last training pair that stays: of equal ones the earlier go first."""
    if settings.threshold is not None:
        return settings.threshold, 2**62
    with database(folder, memory=memory) as connection:
        training = f"(SELECT similarity, number FROM {parquet(scores)} WHERE NOT held_out)"
        kept = max(1, round((settings.share or 1) * count(connection, training)))
        found = connection.execute(
            f"SELECT similarity, number FROM {training} ORDER BY similarity DESC, number LIMIT 1 OFFSET {kept - 1}"
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
                kept = held_out(row) or (-similarity[k], first + k) <= (-lowest[0], lowest[1])
                batch.append(({**row, "similarity": similarity[k]}, "" if kept else "unlike its caption"))
            yield batch
            place += len(rows)

    return split_rows(judged(), number, folder)
