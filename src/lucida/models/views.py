"""Features of augmented views, computed once and kept, so that remedies are compared on the same views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lucida.core.cache import cached_array, content_hash
from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.picture_augmentation import PictureAugmentation, draws
from lucida.models.features import fingerprint, vision_features
from lucida.models.towers import VisionTower

_VERSION = 1  # raise it when the same augmentation and seed give other views
_COPIED = 4096  # rows at a time


class _View:
    """One augmented view of some pictures, made when a slice of it is asked for; looks like ``uint8 [n, S, S, 3]``."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self, pixels: np.ndarray, rows: NDArray[np.int64], augmentation: PictureAugmentation, seed: int, view: int
    ):
        self.pixels, self.rows, self.augmentation, self.seed, self.view = pixels, rows, augmentation, seed, view
        size = augmentation.size or pixels.shape[1]
        self.shape = (len(rows), size, size, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice) -> np.ndarray:
        rows = self.rows[chosen]
        numbers = np.stack([draws(stream(self.seed, "views", self.view, row)) for row in rows])
        return self.augmentation.view(torch.from_numpy(self.pixels[rows]), torch.from_numpy(numbers)).numpy()


def view_features(
    tower: VisionTower,
    pixels: np.ndarray,
    augmentation: PictureAugmentation,
    views: int,
    seed: int,
    *,
    key: str,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    batch: int = 8,
) -> np.ndarray:
    """Features of each picture as it is and of random views of it, from the cache where they have been computed.

    A view depends on the seed, its number and the picture's row in ``pixels``, and on nothing else: a picture has the
    same views whichever others are asked for. Each view is a file of its own besides the result, so that more views,
    or a run that was killed, go on from what there is.

    Args:
        tower: any vision tower.
        pixels: ``uint8 [N, H, H, 3]``, memory-mapped or not.
        augmentation: how views are made.
        views: V, the picture as it is among them.
        seed: of the views.
        key: the content key of ``pixels``.
        rows: the pictures that are wanted, ``[n]``, in this order; ``None`` for all. View 0 is read from the features
            of all pictures, which what is compared needs anyway; the others are computed for these rows alone.
        batch: pictures at a time.

    Returns:
        A read-only memory map, ``float16 [V, n, pooled_size]``; view 0 is the picture as it is.

    Raises:
        LucidaError: no view, a row that is no picture, or as :func:`~lucida.models.features.vision_features` says.
    """
    if views < 1:
        raise LucidaError(f"{views} views of a picture", remedy="use at least 1, the picture as it is")
    chosen = np.arange(len(pixels)) if rows is None else np.asarray(rows, dtype=np.int64)
    if chosen.ndim != 1 or len(chosen) == 0 or not ((chosen >= 0) & (chosen < len(pixels))).all():
        raise LucidaError(f"rows must be numbers of the {len(pixels)} pictures, at least one", where="rows")
    plain = vision_features(tower, pixels, key=key, batch=batch)
    if views == 1 and rows is None:
        return plain[None]
    made = [plain]
    for view in range(1, views):
        seen = cast(np.ndarray, _View(pixels, chosen, augmentation, seed, view))  # it has all that is used of an array
        name = content_hash("view", _VERSION, augmentation, seed, view, chosen)
        made.append(vision_features(tower, seen, key=f"{key} view {name}", batch=batch))

    def build(out: np.ndarray) -> None:
        for start in range(0, len(chosen), _COPIED):
            part = slice(start, start + _COPIED)
            out[0, part] = plain[chosen[part]]
            for view in range(1, views):
                out[view, part] = made[view][part]

    stored = content_hash(
        "views", _VERSION, fingerprint(cast(nn.Module, tower)), key, augmentation, views, seed, chosen, pixels.shape
    )
    return cached_array("features", stored, (views, len(chosen), tower.pooled_size), np.float16, build)


def balanced_views(counts: ArrayLike, most: int) -> NDArray[np.int64]:
    """How many views the pictures of each class get, so that every class reaches the largest if ``most`` allows.

    Args:
        counts: pictures of each class, ``[C]``.
        most: the limit.

    Returns:
        ``int64 [C]``: ``ceil(max(counts) / count)``, at most ``most``; 0 for a class without pictures.

    Raises:
        LucidaError: a count or the limit is too small.

    >>> balanced_views([5000, 1796, 83, 0], most=4).tolist()
    [1, 3, 4, 0]
    """
    sizes = np.asarray(counts, dtype=np.int64)
    if sizes.ndim != 1 or len(sizes) == 0 or sizes.min() < 0:
        raise LucidaError("counts must be the numbers of pictures of the classes", where="counts")
    if most < 1:
        raise LucidaError(f"at most {most} views of a picture", remedy="use at least 1")
    return np.where(sizes > 0, np.minimum(-(-sizes.max() // np.maximum(sizes, 1)), most), 0)
