"""Frozen features of the emoji artwork, computed once and memory-mapped, and where each split's pictures are."""

from __future__ import annotations

import numpy as np
import torch

from lucida.core.cache import cached_array, content_hash
from lucida.core.progress import counted
from lucida.core.seeds import derive_seed
from lucida.data.augmentation import augmented_view, plain_view
from lucida.data.collation import IGNORE_INDEX
from lucida.data.corpus import Corpus
from lucida.data.emoji import concepts, load_artwork
from lucida.models.efficientnet import EfficientNetLite0
from lucida.models.shape_descriptors import SIZES, shape_descriptors

_SHAPE_SIDE = 96  # pixels from which shapes are described


def concept_rows() -> dict[str, int]:
    """The row of each concept's code in every array of this module."""
    return {concept.code: i for i, concept in enumerate(concepts())}


def category_numbers() -> np.ndarray:
    """Unicode's category of each concept as a number, ``int64 [N]``; ``IGNORE_INDEX`` where it is not known."""
    known = sorted({concept.category for concept in concepts()} - {""})
    place = {category: i for i, category in enumerate(known)} | {"": IGNORE_INDEX}
    return np.array([place[concept.category] for concept in concepts()], np.int64)


def split_rows(corpus: Corpus, split: str, artist: str) -> np.ndarray:
    """Rows of the concepts whose picture by ``artist`` is in ``split``, ascending."""
    row, part = concept_rows(), corpus.split(split)
    return np.array(sorted(row[p.identity] for p in part if p.attributes["artist"] == artist), np.int64)


def artwork_features(style: str, artwork_size: int, *, image_size: int, pooled: str, views: int) -> np.ndarray:
    """Tower features of every concept in one style, ``float16 [views, N, D]``, memory-mapped; view 0 is plain.

    View k is the same at every ``image_size``.
    """
    tower = EfficientNetLite0(image_size, pooled=pooled).eval()  # type: ignore[arg-type]  # a literal
    rgba = load_artwork(style, artwork_size)

    @torch.inference_mode()
    def build(out: np.ndarray) -> None:
        generator = torch.Generator().manual_seed(derive_seed(0, "views", style))
        for view in range(views):
            title = f"{style}, {image_size} pixels, view {view + 1} of {views}"
            for start in counted(range(0, len(rgba), 8), title, each=8):
                part = torch.from_numpy(rgba[start : start + 8].copy())
                pixels = augmented_view(part, image_size, generator) if view else plain_view(part, image_size)
                out[view, start : start + 8] = tower(tower.preprocess(pixels)).pooled.half().numpy()

    key = content_hash("views 1", style, artwork_size, image_size, pooled, views, len(rgba))
    return cached_array("features", key, (views, len(rgba), tower.pooled_size), np.float16, build)


def artwork_shapes(style: str, artwork_size: int) -> np.ndarray:
    """Shape descriptors of every concept in one style, ``float16 [N, sum(SIZES)]``, memory-mapped."""
    rgba = load_artwork(style, artwork_size)

    def build(out: np.ndarray) -> None:
        for start in range(0, len(rgba), 64):
            part = torch.from_numpy(rgba[start : start + 64].copy())
            out[start : start + 64] = shape_descriptors(plain_view(part, _SHAPE_SIDE)).half().numpy()

    key = content_hash("shapes 1", style, artwork_size, _SHAPE_SIDE, len(rgba))
    return cached_array("features", key, (len(rgba), sum(SIZES)), np.float16, build)
