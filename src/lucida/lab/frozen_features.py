"""Features of a frozen tower as data of the lab: of emoji, of pictures that a user names, and planted after them.

Planted features are made: normal numbers with the mean and the covariance that the tower's features have in each
category of emoji. There are as many of them as one wants, and the best possible answer is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.cache import cached_array, content_hash
from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.lab.datasets import OWN_FEATURES, Dataset, named_pictures, own_pixels
from lucida.models.features import vision_features
from lucida.models.principal_components import principal_components

IMAGE_SIZE = 96  # pixels that the tower sees
COMPONENTS = 64  # that are kept of its 1,280 numbers
PLANTED_COMPONENTS = 32
PLANTED_EACH = 20_000  # examples of each class


@cache
def emoji_artwork_features(components: int) -> NDArray:
    """EfficientNet-Lite0's features of every concept in both artists' pictures, ``float32 [artists, N, components]``.

    Principal components of all pictures; labels have no part in them.
    """
    from lucida.data.augmentation import plain_view
    from lucida.data.emoji import ARTISTS, load_artwork

    found = []
    for artist in ARTISTS:
        rgba = load_artwork(artist, IMAGE_SIZE)
        pixels = plain_view(torch.from_numpy(np.array(rgba)), IMAGE_SIZE).numpy()
        found.append(_features(pixels))
    whole = np.concatenate(found).astype(np.float32)
    return _components(whole, components).reshape(len(ARTISTS), -1, components)


class NameFeatures(NamedTuple):
    """Names of concepts as a frozen text tower reads them.

    Attributes:
        rows: of the concepts among all, ``int64 [N]``.
        features: ``float32 [N, components]``.
    """

    rows: NDArray
    features: NDArray


@cache
def emoji_name_features(components: int) -> NameFeatures:
    """MiniLM's features of the names of the emoji, flags and the like left out: principal components."""
    from lucida.data.emoji import concepts

    rows = [i for i, concept in enumerate(concepts()) if concept.category and not concept.apart]
    return NameFeatures(np.array(rows), text_features(tuple(concepts()[i].name for i in rows), components))


@cache
def text_features(texts: tuple[str, ...], components: int) -> NDArray:
    """MiniLM's features of texts, ``float32 [N, components]``: principal components."""
    from lucida.models.text_features import TextFeatures
    from lucida.models.text_towers import MiniLM

    read = TextFeatures(MiniLM())
    read.remember(texts)
    return _components(read(texts).numpy(), components)


def _components(features: NDArray, count: int) -> NDArray:
    """Principal components ``float32 [N, count]``, kept: their last digits depend on how many threads computed them,
    and a run that goes on must find the same data as before."""

    def build(out: NDArray) -> None:
        out[:] = principal_components(features, at_most=count).project(features)

    key = content_hash("components 1", features, count)
    return np.array(cached_array("features", key, (len(features), count), np.float32, build))


def _features(pixels: NDArray) -> NDArray:
    """``float16 [N, 1280]`` of pictures ``uint8 [N, S, S, 3]``, from the cache if they were seen before."""
    from lucida.models.efficientnet import EfficientNetLite0

    tower = EfficientNetLite0(pixels.shape[1]).eval()
    return vision_features(tower, pixels, key=content_hash("lab", pixels), batch=8)


@cache
def emoji_features() -> Dataset:
    """The emoji of two artists as a frozen tower sees them; the class is Unicode's category, eight of them."""
    return _emoji_features("emoji features", COMPONENTS)


@cache
def short_emoji_features() -> Dataset:
    """The same with as many numbers as :func:`planted_features` has."""
    return _emoji_features("emoji features, short", PLANTED_COMPONENTS)


def _emoji_features(name: str, components: int) -> Dataset:
    from lucida.data.emoji import ARTISTS, concepts

    rows = [i for i, concept in enumerate(concepts()) if concept.category and not concept.apart]
    chosen = [concepts()[i] for i in rows]
    names = sorted({concept.category for concept in chosen})
    features = torch.from_numpy(np.ascontiguousarray(emoji_artwork_features(components)[:, rows])).flatten(0, 1)
    labels = torch.tensor([names.index(concept.category) for concept in chosen]).repeat(len(ARTISTS))
    groups = np.tile([concept.group for concept in chosen], len(ARTISTS))
    note = (
        f"{len(labels):,} emoji by two artists, {components} principal components of EfficientNet-Lite0's features, "
        f"{len(names)} categories"
    )
    return Dataset(name, {"inputs": features}, labels, len(names), groups, note)


def own_features() -> Dataset:
    """The pictures that the user named, as the frozen tower sees them."""
    path = named_pictures()
    if path is None:
        raise LucidaError("no pictures were named", where="lab", remedy="name some with --pictures")
    return _own_features(path.resolve())


@cache
def _own_features(path: Path) -> Dataset:
    own = own_pixels(path, IMAGE_SIZE)
    whole = _features(own.pixels).astype(np.float32)
    components = min(COMPONENTS, len(whole) // 2)
    features = torch.from_numpy(_components(whole, components))
    note = f"{path.stem}: {len(whole):,} pictures as EfficientNet-Lite0 sees them, {own.classes} classes"
    return Dataset(OWN_FEATURES, {"inputs": features}, own.labels, own.classes, own.groups, note)


# Planted


@dataclass(frozen=True, eq=False)
class Clouds:
    """A normal distribution for each class.

    Attributes:
        means: ``float64 [C, D]``.
        roots: of the covariances, lower triangular, ``float64 [C, D, D]``.
    """

    means: NDArray
    roots: NDArray

    def draw(self, each: int, generator: np.random.Generator) -> NDArray:
        """``float32 [C, each, D]``."""
        normal = generator.standard_normal((len(self.means), each, self.means.shape[1]))
        return (self.means[:, None] + np.einsum("cnd,ced->cne", normal, self.roots)).astype(np.float32)

    def log_densities(self, x: NDArray) -> NDArray:
        """Of each class at each point, ``float64 [N, C]``, up to a common constant."""
        found = []
        for mean, root in zip(self.means, self.roots, strict=True):
            whitened = np.linalg.solve(root, (np.asarray(x, np.float64) - mean).T)
            found.append(-0.5 * np.square(whitened).sum(axis=0) - np.log(np.diag(root)).sum())
        return np.stack(found, axis=1)

    def log_odds(self, x: NDArray, positive: int) -> NDArray:
        """The best score there is for one class against the others, which are equally frequent: ``float64 [N]``."""
        densities = self.log_densities(x)
        others = np.delete(densities, positive, axis=1)
        return densities[:, positive] - np.logaddexp.reduce(others, axis=1)


@cache
def clouds() -> Clouds:
    """Means and covariances of the emoji's features in each category."""
    data = short_emoji_features()
    features, labels = data.inputs["inputs"].double().numpy(), data.labels.numpy()
    means, roots = [], []
    for k in range(data.classes):
        own = features[labels == k]
        means.append(own.mean(axis=0))
        roots.append(np.linalg.cholesky(np.cov(own, rowvar=False)))
    return Clouds(np.stack(means), np.stack(roots))


@cache
def planted_features() -> Dataset:
    """Normal numbers with the means and covariances of the emoji's categories, 20,000 of each."""
    made = clouds()
    drawn = made.draw(PLANTED_EACH, stream(0, "lab", "planted features"))
    classes = len(drawn)
    labels = torch.arange(classes).repeat_interleave(PLANTED_EACH)
    inputs: dict[str, Tensor] = {"inputs": torch.from_numpy(drawn).flatten(0, 1)}
    note = (
        f"{len(labels):,} normal vectors of {PLANTED_COMPONENTS} numbers with the mean and the covariance of the "
        f"features of each of {classes} categories of emoji"
    )
    return Dataset("planted features", inputs, labels, classes, np.arange(len(labels)), note)
