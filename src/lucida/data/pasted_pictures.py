"""Twin pictures the other way round: the same photograph with an object put in, and with as large a patch without it.

Whoever looks must change the answer to "is there a dog?" when a dog is put in, and must not when as large a patch of
the dog's own picture, from beside the dog, is put in at the same place: pasting alone must not make a yes. The border
is soft, after Dwibedi et al. 2017 (Cut, Paste and Learn, arXiv 1708.01642), who found that detectors otherwise learn to
see the edges of what was pasted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lucida.core.seeds import stream
from lucida.data.galleries import Gallery, SceneGallery
from lucida.data.scenes import Scene, SceneObject, SceneWorld
from lucida.data.truth import Box, Facts
from lucida.data.twin_pictures import MARGIN, SMALLEST, Twin, TwinPixels, find_twins

NO_PASTE = (
    "no object can be put in: cut from another picture, of a kind that is absent, with room beside all that is there"
)
_KINDS = 4  # absent kinds that are tried for a picture
_TRIES = 200  # places that are tried for a size
_SIZES = tuple(0.8**k for k in range(6))  # of the object, as a share of what it covers in its own picture
_ROUND = 4  # exponent of the superellipse that is pasted: between an ellipse and its box


@dataclass(frozen=True)
class Paste:
    """An object that can be put into a picture in which its kind is absent.

    Attributes:
        picture: the number of the picture that gets it.
        name: of the object.
        source: the number of the picture that it is cut from.
        crop: the object with its margin, in the source.
        other: as large, from the source, where the object is not: the control.
        place: where either goes, in the picture.
    """

    picture: int
    name: str
    source: int
    crop: Box
    other: Box
    place: Box


def find_pastes(facts: Sequence[Facts], *, seed: int = 0) -> list[Paste]:
    """Objects that can be put in, at most one a picture.

    What is cut is what could be taken out there (see :func:`~lucida.data.twin_pictures.find_twins`). The kind is drawn
    among those that are absent, whatever their frequency. The object covers as much of its new picture as of its own;
    where that finds no place that covers no other object, it is made smaller, down to 1 % of the picture.

    Args:
        facts: of the pictures; one whose list of objects is not complete, or that lists one without a box, gets and
            gives none.
        seed: draws objects and places.
    """
    known = [one if one.exhaustive else Facts() for one in facts]
    sources: dict[str, list[Twin]] = {}
    for twin in find_twins(known, seed=seed):
        sources.setdefault(twin.name, []).append(twin)
    found = (_paste(number, known, sources, seed) for number in range(len(known)))
    return [paste for paste in found if paste]


def _paste(number: int, facts: Sequence[Facts], sources: dict[str, list[Twin]], seed: int) -> Paste | None:
    one = facts[number]
    boxes = [thing.box for thing in one.objects if thing.box]
    if not (one.exhaustive and one.width and one.height) or len(boxes) < len(one.objects):
        return None
    generator = stream(seed, "pasted", number)
    absent = [name for name in sources if name not in one.counts and name not in one.uncounted]
    for name in generator.permutation(absent).tolist()[:_KINDS]:
        twin = sources[name][int(generator.integers(len(sources[name])))]
        own = facts[twin.picture]
        scale = math.sqrt(one.width * one.height / (own.width * own.height))
        for share in _SIZES:
            sides = (twin.hole.width * scale * share, twin.hole.height * scale * share)
            if place := _free_place(sides, one, boxes, generator):
                return Paste(number, name, twin.picture, twin.hole, twin.elsewhere, place)
    return None


def _free_place(
    sides: tuple[float, float], facts: Facts, boxes: Sequence[Box], generator: np.random.Generator
) -> Box | None:
    """Where a box of these sides covers no other; None if it does not fit, is too small, or finds no room."""
    frame, side = np.array([facts.width, facts.height]), np.array(sides)
    corners = generator.random((_TRIES, 2)) * np.maximum(frame - side, 0)
    if (side > frame).any() or side.prod() < SMALLEST * frame.prod():
        return None
    low = np.array([[box.x, box.y] for box in boxes]).reshape(-1, 2)
    high = low + np.array([[box.width, box.height] for box in boxes]).reshape(-1, 2)
    covers = ((corners[:, None] < high) & (corners[:, None] + side > low)).all(axis=2).any(axis=1)  # [_TRIES]
    if covers.all():
        return None
    x, y = corners[int(np.argmin(covers))].tolist()
    return Box(x, y, *sides)


def pasted_pixels(gallery: Gallery, n: int, *, seed: int = 0) -> TwinPixels:
    """Up to ``n`` pictures of a gallery as they are, with an object put in, and with something else put in.

    Into a scene goes one more piece of artwork, and for the control one of a kind that is already there, within the
    same box: the scene is composed again, nothing else changes. In photographs see :func:`find_pastes`.
    """
    if isinstance(gallery, SceneGallery):
        return _pasted_scenes(gallery, n, seed)
    pastes = find_pastes([gallery.facts(i) for i in range(len(gallery))], seed=seed)[:n]
    own = gallery.pixels([paste.picture for paste in pastes]) if pastes else np.empty((0, 1, 1, 3), np.uint8)
    pixels = np.stack([own, own, own])
    for i, paste in enumerate(pastes):
        source = gallery.pixels([paste.source])[0]
        for k, crop in ((1, paste.crop), (2, paste.other)):
            pixels[k, i] = with_patch(own[i], cut(source, crop), paste.place)
    return TwinPixels(tuple(paste.picture for paste in pastes), tuple(paste.name for paste in pastes), pixels)


def cut(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The pixels of a box, ``uint8 [h, w, 3]``; of a box thinner than a pixel, that pixel.

    >>> cut(np.zeros((9, 9, 3), np.uint8), Box(1.2, 3, 2, 4)).shape
    (4, 3, 3)
    """
    height, width = pixels.shape[:2]
    top, left = min(height - 1, max(0, math.floor(box.y))), min(width - 1, max(0, math.floor(box.x)))
    bottom, right = max(top + 1, math.ceil(box.y + box.height)), max(left + 1, math.ceil(box.x + box.width))
    return pixels[top:bottom, left:right]


def with_patch(pixels: NDArray[np.uint8], patch: NDArray[np.uint8], place: Box) -> NDArray[np.uint8]:
    """A picture with a patch in it, scaled to its place; all pixels outside the place stay as they are.

    Args:
        pixels: ``uint8 [H, W, 3]``.
        patch: ``uint8 [h, w, 3]``.
        place: in pixels, within the picture.
    """
    height, width = (max(1, round(side)) for side in (place.height, place.width))
    top = max(0, min(pixels.shape[0] - height, round(place.y)))
    left = max(0, min(pixels.shape[1] - width, round(place.x)))
    scaled = np.asarray(Image.fromarray(patch).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    whole = pixels.copy()
    under = whole[top : top + height, left : left + width]
    opaque = _softness(height, width)[: under.shape[0], : under.shape[1], None]
    under[:] = np.rint(under * (1 - opaque) + scaled[: under.shape[0], : under.shape[1]] * opaque)
    return whole


def _softness(height: int, width: int) -> NDArray[np.float64]:
    """How much of a patch is seen, ``[h, w]``: all of it within, less and less across the margin, nothing outside."""
    down, across = (np.abs((2 * np.arange(side) + 1) / side - 1) for side in (height, width))
    radius = (down[:, None] ** _ROUND + across**_ROUND) ** (1 / _ROUND)
    border = 2 * MARGIN / (1 + 2 * MARGIN)  # the margin's share of half a side
    step = np.clip((1 - radius) / border, 0, 1)
    return step * step * (3 - 2 * step)


def _pasted_scenes(gallery: SceneGallery, n: int, seed: int) -> TwinPixels:
    chosen: list[tuple[int, str, tuple[Scene, ...]]] = []
    for number, scene in enumerate(gallery.scenes):
        if len(chosen) == n:
            break
        if twin := pasted_scenes(gallery.world, scene, seed=seed):
            chosen.append((number, twin[0].objects[-1].kind, (scene, *twin)))
    pixels = gallery.world.compose_many([shown[k] for k in range(3) for _, _, shown in chosen])
    return TwinPixels(
        tuple(number for number, _, _ in chosen),
        tuple(name for _, name, _ in chosen),
        pixels.reshape(3, len(chosen), *pixels.shape[1:]),
    )


def pasted_scenes(world: SceneWorld, scene: Scene, *, seed: int = 0) -> tuple[Scene, Scene] | None:
    """A scene with an object of an absent kind, and with one of a kind that is there in its place; None without room.

    A kind that never shares a scene with those that are there is passed over, except in the stream of such pairs: the
    twin would be a harder picture than those it is measured with.
    """
    generator = stream(seed, "pasted scenes", scene.stream, scene.index)
    present = [world.names.index(name) for name in scene.facts.counts]
    strange = set() if scene.stream == "test_unseen_pairs" else {*np.flatnonzero(world.forbidden_pairs[present].any(0))}
    absent = [
        name
        for name in world.vocabulary(scene.stream)
        if name not in scene.facts.counts and world.names.index(name) not in strange
    ]
    for name in generator.permutation(absent).tolist()[:_KINDS]:
        apart = sorted(artist for kind, artist in world.held_out if kind == name)
        artist = apart[0] if scene.stream == "test_second_artist" else None
        twin = world.with_another(scene, name, artist)
        control = _in_its_place(world, scene, twin.objects[-1].box) if twin else None
        if twin and control:
            return twin, dataclasses.replace(scene, objects=(*scene.objects, control))
    return None


def _in_its_place(world: SceneWorld, scene: Scene, box: Box) -> SceneObject | None:
    """The largest object of a kind that is there that lies within a box, so that it hides no more than the box does."""
    found: list[SceneObject] = []
    for thing in scene.objects:
        for size in world.config.sprite_sizes:
            sprite = world.sprites.get(thing.kind, thing.artist, size)
            if sprite.width <= box.width and sprite.height <= box.height:
                x, y = box.x + (box.width - sprite.width) // 2, box.y + (box.height - sprite.height) // 2
                found.append(dataclasses.replace(thing, box=Box(x, y, sprite.width, sprite.height)))
    return max(found, key=lambda thing: thing.box.width * thing.box.height, default=None)
