"""What ``lucida cluster`` looks at: pictures decoded, their features, and a few coordinates of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from lucida.core.cache import cached_array, content_hash
from lucida.data.corpus import Corpus
from lucida.data.emoji import concepts, read_emoji
from lucida.data.pixels import DecodedPictures, decode_all
from lucida.data.readers import read_pictures
from lucida.models.features import fingerprint, vision_features
from lucida.models.hugging_face import load_vision_tower
from lucida.models.principal_components import PrincipalComponents, chunks, principal_components
from lucida.models.towers import VisionTower

BUILT_IN = "efficientnet-lite0"
_FEWEST, _MOST = 6, 32  # dimensions, unless they are given
_AXES = 128  # hold most of the variance, so that few pairs need be compared in full
_ROOTS = 2.5  # a mixture of full covariances needs many pictures for each square of the dimensions


@dataclass(frozen=True, eq=False)
class Space:
    """Pictures as points.

    Attributes:
        decoded: the pictures.
        tower: that saw them.
        key: of their pixels.
        features: of each, ``float16 [N, D]``, memory-mapped.
        axes: principal components of the features, as many as the search for near-duplicates looks along.
        components: the first few of them, in which the mixture is fitted.
        reduced: coordinates of each along them, ``float32 [N, k]``, memory-mapped.
    """

    decoded: DecodedPictures
    tower: VisionTower
    key: str
    features: np.ndarray
    axes: PrincipalComponents
    components: PrincipalComponents
    reduced: np.ndarray


def read_corpus(path: Path | None, limit: int | None, image_size: int, tower: str, seed: int) -> DecodedPictures:
    """The user's pictures, or the artwork with Unicode's categories as labels; decoded at the tower's size.

    Raises:
        LucidaError: they cannot be read.
    """
    size = make_tower(tower, image_size).image_size
    corpus = artwork() if path is None else read_pictures(path, limit=limit, split_seed=seed, described=False)
    return decode_all(corpus, size)


def artwork() -> Corpus:
    """Both artists' pictures; a class of 1,900 is a name, so the category is taken for the label."""
    categories = {concept.code: concept.category for concept in concepts()}
    corpus = read_emoji()
    pictures = tuple(
        dataclasses.replace(picture, label=categories[picture.identity] or None) for picture in corpus.pictures
    )
    return dataclasses.replace(corpus, pictures=pictures)


def make_tower(name: str, image_size: int) -> VisionTower:
    """The vision tower of the settings; its size is ours to choose where it is built in."""
    return load_vision_tower(name, image_size=image_size) if name == BUILT_IN else load_vision_tower(name)


def usual_dimensions(pictures: int) -> int:
    """
    >>> [usual_dimensions(n) for n in (100, 2_000, 1_000_000)]
    [6, 18, 32]
    """
    return int(np.clip(round(pictures**0.5 / _ROOTS), _FEWEST, _MOST))


def space_of(decoded: DecodedPictures, tower_name: str, image_size: int, dimensions: int | None) -> Space:
    """Features by the tower, reduced to principal components; both cached."""
    tower = make_tower(tower_name, image_size)
    key = content_hash("decoded", decoded.size, [picture.source.content_key() for picture in decoded.corpus])
    features = vision_features(tower, decoded.pixels, key=key)
    count = dimensions or usual_dimensions(len(features))
    axes = principal_components(features, at_most=max(count, _AXES))
    components = axes.first(count)

    def build(out: np.ndarray) -> None:
        for part in chunks(len(features)):
            out[part] = components.project(features[part])

    seen = content_hash("reduced 1", fingerprint(cast(nn.Module, tower)), key, components.axes, components.mean)
    reduced = cached_array("reduced", seen, (len(features), components.dimensions), np.float32, build)
    return Space(decoded, tower, key, features, axes, components, reduced)
