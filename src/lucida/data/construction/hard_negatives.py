"""Hard negatives: for each pair the nearest ones by features that are something else.

In a batch beside its own pair, they are what a contrastive loss learns most from (Robinson et al. 2021,
arXiv 2010.04592).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.data.construction.caption_hashes import normal
from lucida.data.construction.engines import Engine
from lucida.data.construction.rows import Row, ShardReport, read_rows, split_rows
from lucida.data.construction.similarity import Encode, encoded
from lucida.data.construction.stages import StageResult, Work, run_stage

_BLOCK = 1024


@dataclass(frozen=True)
class NegativeSettings:
    """Which pairs are hard negatives.

    Attributes:
        encoder: a name for the callable: another one is another stage.
        each: negatives of a pair.
        too_near: pairs above this cosine are taken for the same thing under another identity, and left out.
    """

    encoder: str
    each: int = 8
    too_near: float = 0.98

    def __post_init__(self) -> None:
        for name, fine in (("each", self.each >= 1), ("too_near", -1 < self.too_near <= 1)):
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)}", where="negatives")


def add_negatives(
    source: StageResult, folder: Path, root: Path, encode: Encode, settings: NegativeSettings, engine: Engine
) -> StageResult:
    """The stage ``negatives``: all pairs, each with the ids of the nearest of its split by both features.

    All pairs are compared with all, and their ids and neighbours are held: for corpora of some hundred thousand pairs.

    Args:
        source: the stage before.
        folder: of this stage.
        root: that the rows refer to pictures from.
        encode: called in this process, with some hundred pairs at a time.
        settings: how many, and what is left out.
        engine: that writes.

    Raises:
        LucidaError: the encoder gives features of another form, or numbers that are not finite.
    """

    def work(beside: Path) -> Work:
        rows = _Known.read(source, beside / "features.npy", root, encode)
        found = hard_negatives(
            rows.features,
            rows.identities,
            captions=rows.captions,
            splits=rows.splits,
            k=settings.each,
            too_near=settings.too_near,
        )
        starts = np.cumsum([0] + [shard.rows for shard in source.manifest.shards])
        lists = [[rows.ids[place] for place in places if place >= 0] for places in found.rows.tolist()]
        parts = [lists[start:end] for start, end in pairwise(starts)]
        write = partial(_write_shard, folder=beside)
        reports = engine.map(write, list(enumerate(zip(source.paths, parts, strict=True))), "shards written")
        (beside / "features.npy").unlink()
        return Work(reports, [], {"without_negatives": sum(not one for one in lists)})

    return run_stage("negatives", settings, source.manifest.shards, folder, work)


@dataclass(frozen=True, eq=False)
class _Known:
    """Of all rows: features ``[N, 2 d]``, mapped, ids; marks of pictures, captions, splits, equal where they are."""

    features: NDArray[np.float32]
    ids: list[str]
    identities: NDArray[np.uint64]
    captions: NDArray[np.uint64]
    splits: NDArray[np.uint64]

    @classmethod
    def read(cls, source: StageResult, target: Path, root: Path, encode: Encode) -> _Known:
        total = sum(shard.rows for shard in source.manifest.shards)
        features, ids = np.zeros((0, 0), np.float32), list[str]()
        marks = np.zeros((3, total), np.uint64)
        for path in counted(source.paths, "shards encoded"):
            for rows, pictures, texts in encoded(path, root, encode):
                if not len(features):
                    shape = (total, 2 * pictures.shape[1])
                    features = np.lib.format.open_memmap(target, "w+", np.float32, shape)
                here = slice(len(ids), len(ids) + len(rows))
                features[here] = np.concatenate([pictures, texts], axis=1)
                marks[0, here] = [_mark(row["identity"] or row["id"]) for row in rows]
                marks[1, here] = [_mark(normal(row["caption"])) for row in rows]
                marks[2, here] = [_mark(row["split"] or "") for row in rows]
                ids += [row["id"] for row in rows]
        return cls(features, ids, *marks)


def _mark(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _write_shard(shard: tuple[int, tuple[Path, list[list[str]]]], *, folder: Path) -> ShardReport:
    number, (path, negatives) = shard

    def judged() -> Iterator[list[tuple[Row, str]]]:
        place = 0
        for rows in read_rows(path):
            yield [({**row, "negatives": negatives[place + k]}, "") for k, row in enumerate(rows)]
            place += len(rows)

    return split_rows(judged(), number, folder)


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """The nearest rows of another identity.

    Attributes:
        rows: ``int64 [N, k]``, the nearest first; -1 where there are fewer.
        cosines: ``float32 [N, k]``; -inf where there is none.
    """

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


def hard_negatives(
    features: NDArray,
    identities: Iterable[object],
    *,
    captions: Iterable[object] | None = None,
    splits: Iterable[object] | None = None,
    k: int = 8,
    too_near: float = 0.98,
) -> HardNegatives:
    """The ``k`` nearest rows of another identity, looked for among all, block by block.

    All pairs are compared: 2·N²·D operations, for 100,000 rows of 512 numbers some 10^13.

    Args:
        features: ``[N, D]``, memory-mapped or not; compared by cosine.
        identities: of each row; rows of one identity are positives of each other.
        captions: of each row, in any form; so are rows of one caption.
        splits: of each row; only rows of its own split are its negatives, so that none held out is trained on.
        k: negatives of each row.
        too_near: rows above this cosine are taken for the same thing under another identity, and left out: as a
            negative they would teach what is wrong.

    Raises:
        LucidaError: sizes do not fit, or a feature is not finite or of length zero.
    """
    codes = _codes(identities)
    said = np.arange(len(codes)) if captions is None else _codes(captions)
    parts = np.zeros(len(codes), np.int64) if splits is None else _codes(splits)
    if features.ndim != 2 or not len(features) == len(codes) == len(said) == len(parts):
        raise LucidaError(f"features of shape {list(features.shape)} for {len(codes)} identities, {len(said)} captions")
    if k < 1:
        raise LucidaError(f"k cannot be {k}")
    count = len(features)
    rows, best = np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, np.float32)
    blocks = [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    for own in counted(blocks, "blocks searched for hard negatives"):
        unit = _unit(features, own)
        for other in blocks:
            near = unit @ _unit(features, other).T
            same = (codes[own, None] == codes[None, other]) | (said[own, None] == said[None, other])
            near[same | (parts[own, None] != parts[None, other]) | (near > too_near)] = -np.inf
            values = np.concatenate([best[own], near], axis=1)
            places = np.concatenate(
                [rows[own], np.broadcast_to(np.arange(other.start, other.stop), near.shape)], axis=1
            )
            chosen = np.argpartition(-values, k - 1, axis=1)[:, :k]  # a full sort would cost more than the product
            order = np.argsort(-np.take_along_axis(values, chosen, axis=1), axis=1, kind="stable")
            chosen = np.take_along_axis(chosen, order, axis=1)
            best[own] = np.take_along_axis(values, chosen, axis=1)
            rows[own] = np.take_along_axis(places, chosen, axis=1)
    rows[np.isneginf(best)] = -1
    return HardNegatives(rows, best)


def _codes(marks: Iterable[object]) -> NDArray[np.int64]:
    listed = marks if isinstance(marks, np.ndarray) else np.array([str(one) for one in marks])
    codes: NDArray[np.int64] = np.unique(listed, return_inverse=True)[1]
    return codes


def _unit(features: NDArray, part: slice) -> NDArray[np.float32]:
    x = np.asarray(features[part], np.float32)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise LucidaError("features that are not finite, or zero", where=f"row {part.start + int(bad[0])}")
    return x / lengths
