"""Hard negatives: for each pair the nearest ones by features that are something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.data.construction.rows import RowWriter

NEGATIVES = pa.schema([("id", pa.string()), ("negatives", pa.list_(pa.string())), ("cosines", pa.list_(pa.float32()))])
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """The nearest rows of another identity.

    Attributes:
        rows: ``int64 [N, k]``, the nearest first; -1 where there are fewer.
        cosines: ``float32 [N, k]``; -inf where there is none.
    """

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]

    def write(self, path: Path, ids: Sequence[str]) -> None:
        """Lists of ids by id, as Parquet.

        Raises:
            LucidaError: there are fewer or more ids than rows.
        """
        if len(ids) != len(self.rows):
            raise LucidaError(f"{len(ids)} ids for {len(self.rows)} rows", where=path)
        with RowWriter(path, NEGATIVES) as writer:
            for id, rows, cosines in zip(ids, self.rows, self.cosines, strict=True):
                there = rows >= 0
                negatives = [ids[int(row)] for row in rows[there]]
                writer.add({"id": id, "negatives": negatives, "cosines": cosines[there].tolist()})


def hard_negatives(
    features: NDArray, identities: Iterable[object], *, k: int = 8, too_near: float = 0.98
) -> HardNegatives:
    """The ``k`` nearest rows of another identity, looked for among all, block by block.

    All pairs are compared: 2·N²·D operations, for 100,000 rows of 512 numbers some 10^13.

    Args:
        features: ``[N, D]``, memory-mapped or not; compared by cosine.
        identities: of each row; rows of one identity are positives of each other.
        k: negatives of each row.
        too_near: rows above this cosine are taken for the same thing under another identity, and left out: as a
            negative they would teach what is wrong.

    Raises:
        LucidaError: sizes do not fit, or a feature is not finite or of length zero.
    """
    codes = np.unique(np.array([str(one) for one in identities]), return_inverse=True)[1]
    if features.ndim != 2 or len(features) != len(codes):
        raise LucidaError(f"features of shape {list(features.shape)} for {len(codes)} identities")
    if k < 1:
        raise LucidaError(f"k cannot be {k}")
    count = len(features)
    rows, best = np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, np.float32)
    blocks = [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    for own in counted(blocks, "blocks searched for hard negatives"):
        unit = _unit(features, own)
        for other in blocks:
            near = unit @ _unit(features, other).T
            near[(codes[own, None] == codes[None, other]) | (near > too_near)] = -np.inf
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


def _unit(features: NDArray, part: slice) -> NDArray[np.float32]:
    x = np.asarray(features[part], np.float32)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise LucidaError("features that are not finite, or zero", where=f"row {part.start + int(bad[0])}")
    return x / lengths
