"""Near-duplicates of a corpus, and how many copies such a search would find, tried on copies of its own pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance

from lucida.core.cache import content_hash
from lucida.core.results import Metric, Results
from lucida.core.seeds import stream
from lucida.core.statistics import wilson
from lucida.evaluation.near_duplicates import (
    Duplicates,
    likeness_of,
    near_duplicates,
    small_pictures,
    usual_nearness,
)
from lucida.models.features import vision_features
from lucida.models.principal_components import unit_rows
from lucida.workflows.cluster_pictures import Space

COPIED = 48  # pictures of which copies are made
_LEAST, _MOST = 0.65, 0.95  # of a cosine that is chosen


def _saved(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=70)
    return Image.open(file).convert("RGB")


def _halved(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.resize((width // 2, height // 2), Image.Resampling.BICUBIC).resize((width, height))


def _cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    by = max(1, round(0.02 * width))
    return picture.crop((by, by, width - by, height - by)).resize((width, height), Image.Resampling.BICUBIC)


def _brightened(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(1.15)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved_again": _saved, "halved": _halved, "cropped": _cropped, "brightened": _brightened,
}  # fmt: skip


def find_duplicates(
    space: Space, results: Results, *, cosine: float | Literal["auto"], likeness: float, seed: int
) -> Duplicates:
    """Groups of near-duplicates; what was found, and what would be, goes to ``results``.

    Args:
        space: the pictures.
        results: gets the metrics.
        cosine: that features have at least; "auto" for one that different pictures of this corpus hardly reach.
        likeness: of the pixels, at least.
        seed: of samples.
    """
    pixels = space.decoded.pixels

    def of(rows: np.ndarray) -> np.ndarray:
        return np.asarray(pixels[rows])

    if cosine == "auto":
        usual = usual_nearness(space.features, of, space.axes, likeness=likeness, seed=seed)
        cosine = float(np.clip(usual, _LEAST, _MOST))
    found = near_duplicates(space.features, of, space.axes, cosine=cosine, likeness=likeness)
    results.add("near_duplicates/groups", Metric(len(found.members)))
    results.add("near_duplicates/pictures", Metric(int((found.groups >= 0).sum())))
    results.add("near_duplicates/rejected", Metric(found.rejected))
    results.add("near_duplicates/cosine", Metric(cosine))
    results.add("near_duplicates/compared_share", Metric(found.compared))
    for name, metric in found_copies(space, cosine, likeness, seed).items():
        results.add(f"near_duplicates/found/{name}_share", metric)
    return found


def found_copies(space: Space, cosine: float, likeness: float, seed: int) -> dict[str, Metric]:
    """The share of copies, by how they were changed, that lie within both thresholds of their originals."""
    pixels = space.decoded.pixels
    rows = np.sort(stream(seed, "copies").choice(len(pixels), min(COPIED, len(pixels)), replace=False))
    originals = np.asarray(pixels[rows])
    unit = unit_rows(space.axes.centred(space.features[rows]))
    found = {}
    for name, change in CHANGES.items():
        copies = np.stack([np.asarray(change(Image.fromarray(picture))) for picture in originals])
        features = vision_features(space.tower, copies, key=content_hash("copies 1", space.key, rows, name))
        cosines = (unit * unit_rows(space.axes.centred(features))).sum(axis=1)
        alike = likeness_of(small_pictures(originals), small_pictures(copies))
        found[name] = wilson(int(((cosines >= cosine) & (alike >= likeness)).sum()), len(rows))
    return found
