"""Twin pictures: the same photograph without one of its objects, and with an edit of the same size somewhere else.

Whoever looks must change the answer to "is there a dog?" when the dog is taken out, and must not when as much is taken
out beside it. The hole is filled from its surroundings, so that no grey box gives it away: known pixels are averaged
over blocks of twice the side until every block knows something, and what is missing is read back from the next coarser
size (the pull-push of Gortler et al. 1996, The Lumigraph, section 3.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucida.core.seeds import stream
from lucida.data.galleries import Gallery, SceneGallery
from lucida.data.scenes import Scene
from lucida.data.truth import Box, Facts

SMALLEST, LARGEST = 0.01, 0.25  # of the picture, that an object may cover
MARGIN = 0.08  # of an object's longer side, that is taken out around its box
NO_TWIN = "no object can be taken out: alone of its name, with a box of fitting size and room beside it"
_TRIES = 200  # places that are tried for the control


@dataclass(frozen=True)
class Twin:
    """An object that can be taken out of a picture.

    Attributes:
        picture: its number.
        name: of the object; nothing else of that name is there.
        hole: what is taken out, within the picture.
        elsewhere: as large, where the object is not: the control.
    """

    picture: int
    name: str
    hole: Box
    elsewhere: Box


def find_twins(facts: Sequence[Facts], *, each: int = 2, seed: int = 0) -> list[Twin]:
    """Objects that can be taken out, up to ``each`` a picture.

    An object qualifies if it is the only one of its name, has a box that covers between 1 and 25 % of the picture,
    and a hole of the same size fits beside it. Of the places that fit, the control takes one that covers least of other
    objects.

    Args:
        facts: of the pictures; those of unknown size have no twin.
        each: objects a picture.
        seed: draws them.
    """
    twins = []
    for number, one in enumerate(facts):
        generator = stream(seed, "twins", number)
        names = [name for name in one.counts if one.only(name)]
        found: list[Twin] = []
        for name in generator.permutation(names).tolist():
            if len(found) < each and (twin := _twin(number, name, one, generator)):
                found.append(twin)
        twins += found
    return twins


def _twin(number: int, name: str, facts: Facts, generator: np.random.Generator) -> Twin | None:
    thing = facts.only(name)
    if thing is None or thing.box is None or not (facts.width and facts.height):
        return None
    covered = thing.box.width * thing.box.height / (facts.width * facts.height)
    if not SMALLEST <= covered <= LARGEST:
        return None
    hole = _widened(thing.box, facts.width, facts.height)
    others = [other.box for other in facts.objects if other is not thing and other.box]
    corners = generator.random((_TRIES, 2)) * [facts.width - hole.width, facts.height - hole.height]
    places = [Box(float(x), float(y), hole.width, hole.height) for x, y in corners]
    free = [place for place in places if not overlap(place, hole)]
    if not free:
        return None
    return Twin(number, name, hole, min(free, key=lambda place: sum(overlap(place, other) for other in others)))


def _widened(box: Box, width: float, height: float) -> Box:
    margin = MARGIN * max(box.width, box.height)
    left, top = max(0.0, box.x - margin), max(0.0, box.y - margin)
    right, bottom = min(width, box.x + box.width + margin), min(height, box.y + box.height + margin)
    return Box(left, top, right - left, bottom - top)


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share.

    >>> overlap(Box(0, 0, 4, 4), Box(2, 3, 4, 4)), overlap(Box(0, 0, 1, 1), Box(1, 0, 1, 1))
    (2, 0)
    """
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0, width) * max(0, height)


class TwinPixels(NamedTuple):
    """Twins of the pictures of a gallery.

    Attributes:
        pictures: the number of each twin's picture.
        names: of the object that is asked for.
        pixels: as it is, without the object, without something else, ``uint8 [3, n, S, S, 3]``; of what is put in (see
            :mod:`lucida.data.pasted_pictures`): as it is, with the object, with something else.
    """

    pictures: tuple[int, ...]
    names: tuple[str, ...]
    pixels: NDArray[np.uint8]


def twin_pixels(gallery: Gallery, n: int, *, seed: int = 0) -> TwinPixels:
    """Up to ``n`` twins of a gallery's first pictures, one a picture.

    A scene is composed again without the object, and without another one: nothing else changes in it. In photographs
    boxes are filled in, see :func:`find_twins`.
    """
    if isinstance(gallery, SceneGallery):
        return _scene_twins(gallery, n, seed)
    twins = find_twins([gallery.facts(i) for i in range(len(gallery))], each=1, seed=seed)[:n]
    own = gallery.pixels([twin.picture for twin in twins]) if twins else np.empty((0, 1, 1, 3), np.uint8)
    pixels = np.stack([own, own, own])
    for i, twin in enumerate(twins):
        pixels[1, i], pixels[2, i] = (without(own[i], hole) for hole in (twin.hole, twin.elsewhere))
    return TwinPixels(tuple(twin.picture for twin in twins), tuple(twin.name for twin in twins), pixels)


def _scene_twins(gallery: SceneGallery, n: int, seed: int) -> TwinPixels:
    chosen: list[tuple[int, str, tuple[Scene, ...]]] = []
    for number, scene in enumerate(gallery.scenes):
        if len(chosen) == n:
            break
        single = [k for k, thing in enumerate(scene.objects) if scene.facts.only(thing.kind)]
        if len(scene.objects) < 2 or not single:
            continue
        generator = stream(seed, "scene twins", number)
        own = int(generator.choice(single))
        other = int(generator.choice([k for k in range(len(scene.objects)) if k != own]))
        chosen.append((number, scene.objects[own].kind, (scene, scene.without(own), scene.without(other))))
    pixels = gallery.world.compose_many([shown[k] for k in range(3) for _, _, shown in chosen])
    return TwinPixels(
        tuple(number for number, _, _ in chosen),
        tuple(name for _, name, _ in chosen),
        pixels.reshape(3, len(chosen), *pixels.shape[1:]),
    )


def without(pixels: NDArray[np.uint8], hole: Box) -> NDArray[np.uint8]:
    """A picture whose pixels in a box are filled in from around it; all others stay as they are.

    Args:
        pixels: ``uint8 [H, W, 3]``.
        hole: in pixels; what lies outside the picture does not matter.
    """
    height, width = pixels.shape[:2]
    known = np.ones((height, width))
    top, bottom = max(0, math.floor(hole.y)), min(height, math.ceil(hole.y + hole.height))
    left, right = max(0, math.floor(hole.x)), min(width, math.ceil(hole.x + hole.width))
    known[top:bottom, left:right] = 0
    filled = _filled(pixels.astype(np.float64), known)
    return np.where(known[..., None] > 0, pixels, np.clip(np.rint(filled), 0, 255).astype(np.uint8))


def _filled(values: NDArray, known: NDArray) -> NDArray:
    """Values ``[H, W, C]`` where ``known [H, W]`` is above 0, and what a coarser picture says elsewhere."""
    if (known > 0).all():
        return values
    if not (known > 0).any():
        return np.full_like(values, 128)
    pad = [(0, values.shape[0] % 2), (0, values.shape[1] % 2)]
    weights, shares = np.pad(known, pad), np.pad(values * known[..., None], [*pad, (0, 0)])
    total = _halved(weights)
    coarse = _halved(shares) / np.maximum(total, 1e-12)[..., None]
    above = _filled(coarse, np.minimum(total, 1))
    return np.where(known[..., None] > 0, values, _doubled(above)[: values.shape[0], : values.shape[1]])


def _halved(array: NDArray) -> NDArray:
    """Sums over blocks of 2 x 2."""
    return array[::2, ::2] + array[1::2, ::2] + array[::2, 1::2] + array[1::2, 1::2]


def _doubled(array: NDArray) -> NDArray:
    """Twice the size, each value between its neighbours (3 to 1, on both sides)."""
    for axis in (0, 1):
        edge = [(1, 1) if axis == k else (0, 0) for k in range(array.ndim)]
        padded = np.moveaxis(np.pad(array, edge, mode="edge"), axis, 0)
        own, before, behind = padded[1:-1], padded[:-2], padded[2:]
        both = np.stack([0.75 * own + 0.25 * before, 0.75 * own + 0.25 * behind], axis=1)
        array = np.moveaxis(both.reshape(-1, *own.shape[1:]), 0, axis)
    return array
