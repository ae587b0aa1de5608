"""Every picture of a corpus decoded once, as squares in one memory-mapped array."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucida.core.cache import cache_folder, cached_array, content_hash
from lucida.core.errors import LucidaError
from lucida.core.results import read_json, write_json, write_text
from lucida.data.corpus import Corpus
from lucida.data.decoding import EncodedSource
from lucida.data.pictures import BadPicture, Picture, PictureObject, Skipped
from lucida.data.truth import Box, Facts

_VERSION = 1  # of how pictures become squares
_SAME_SHAPE = 1.05  # two sizes whose aspect ratios differ by less are one picture at two scales


@dataclass(frozen=True, eq=False)
class DecodedPictures:
    """A corpus with its pixels.

    A picture is squashed to a square, not cropped: an object cut away at the border would make its caption and every
    answer about it untrue, and bars around the picture would waste pixels. Sizes change, but what is left of, above,
    or in which third of the picture, does not.

    Attributes:
        corpus: the pictures that could be read; ``corpus.skipped`` lists the others too.
        pixels: of each, ``uint8 [N, size, size, 3]``, memory-mapped, read-only.
        frames: width and height of each as it is stored, upright, ``int32 [N, 2]``.
        unreadable: the pictures that could not be decoded.
    """

    corpus: Corpus
    pixels: np.ndarray
    frames: np.ndarray
    unreadable: tuple[Skipped, ...] = ()

    @property
    def size(self) -> int:
        """Pixels a side."""
        return int(self.pixels.shape[1])

    def objects(self, i: int) -> tuple[PictureObject, ...]:
        """The objects of picture ``i``, boxes in pixels of the square; see :func:`map_box`."""
        picture = self.corpus.pictures[i]
        width, height = (int(side) for side in self.frames[i])
        frame = _noted_frame(picture) or (width, height)
        if not 1 / _SAME_SHAPE < (frame[0] * height) / (frame[1] * width) < _SAME_SHAPE:
            return tuple(PictureObject(thing.name) for thing in picture.objects)  # boxes of another picture than this
        return tuple(
            PictureObject(thing.name, thing.box and map_box(thing.box, frame, self.size)) for thing in picture.objects
        )

    def facts(self, i: int) -> Facts:
        """What is true of picture ``i`` as it is decoded."""
        picture = self.corpus.pictures[i]
        exhaustive = self.corpus.exhaustive_objects
        return Facts(self.objects(i), self.size, self.size, exhaustive, picture.captions, picture.label)


def _noted_frame(picture: Picture) -> tuple[int, int] | None:
    """The width and height in which the source says that boxes are measured."""
    sides = picture.attributes.get("width"), picture.attributes.get("height")
    return (int(sides[0]), int(sides[1])) if sides[0] and sides[1] else None


def map_box(box: Box, frame: tuple[int, int], size: int) -> Box | None:
    """A box of a picture of ``frame`` (width, height) in the square of ``size``; None if it lies outside.

    >>> map_box(Box(320, 0, 400, 240), (640, 480), 128)
    Box(x=64.0, y=0.0, width=64.0, height=64.0)
    """
    across, down = size / frame[0], size / frame[1]
    left, right = (min(max(x * across, 0.0), size) for x in (box.x, box.x + box.width))
    top, bottom = (min(max(y * down, 0.0), size) for y in (box.y, box.y + box.height))
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None


def decode_all(
    corpus: Corpus, size: int, *, threads: int = 2, advance: Callable[[], object] | None = None
) -> DecodedPictures:
    """Decode every picture of a corpus, once: the result is cached, and so is what could not be read.

    Args:
        corpus: whose pictures; one that cannot be read is left out and listed.
        size: pixels a side.
        threads: that decode at once.
        advance: called after each picture, from any thread; not at all if the cache has them.

    Raises:
        LucidaError: no picture can be read, or the cache cannot be written.
    """
    key = content_hash("pixels", _VERSION, size, [picture.source.content_key() for picture in corpus])
    stored = cache_folder() / "pixels" / f"{key}.npy"
    record = stored.with_suffix(".json")
    if stored.exists() and not record.exists():  # it is written first: without it, someone took it away
        stored.unlink()

    def build(out: np.ndarray) -> None:
        write_json(record, _decode_into(out, corpus.pictures, threads, advance))

    pixels = cached_array("pixels", key, (len(corpus), size, size, 3), np.uint8, build)
    content = read_json(record)
    reasons = {int(i): reason for i, reason in content["reasons"].items()}
    unreadable = tuple(_skipped(corpus.pictures[i], reason) for i, reason in sorted(reasons.items()))
    read = tuple(picture for i, picture in enumerate(corpus) if i not in reasons)
    if not read:
        first = unreadable[0] if unreadable else Skipped("", corpus.name, "there is none")
        raise LucidaError(f"no picture can be read; the first: {first.reason}", where=first.where)
    kept = dataclasses.replace(corpus, pictures=read, skipped=(*corpus.skipped, *unreadable))
    return DecodedPictures(kept, pixels[: len(read)], np.array(content["frames"], np.int32), unreadable)


def _skipped(picture: Picture, reason: str) -> Skipped:
    return Skipped(picture.id, getattr(picture.source, "where", picture.id), reason)


def _decode_into(
    out: np.ndarray, pictures: Sequence[Picture], threads: int, advance: Callable[[], object] | None
) -> dict[str, Any]:
    """Fill the first rows with what can be read; returns sizes, and reasons by number for what cannot."""
    size = out.shape[1]

    def decode(i: int) -> tuple[int, int] | str:
        try:
            picture, frame = _open(pictures[i], size)
            out[i] = as_square(picture, size)
        except BadPicture as error:
            return str(error)
        finally:
            if advance:
                advance()
        return frame

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(decode, range(len(pictures))))
    read = [i for i, one in enumerate(found) if not isinstance(one, str)]
    for row, i in enumerate(read):  # close the gaps
        if row != i:
            out[row] = out[i]
    reasons = {str(i): one for i, one in enumerate(found) if isinstance(one, str)}
    return {"frames": [found[i] for i in read], "reasons": reasons}


def _open(picture: Picture, size: int) -> tuple[Image.Image, tuple[int, int]]:
    source = picture.source
    if isinstance(source, EncodedSource):
        return source.open_reduced(size)
    image = source.open()
    return image, image.size


def as_square(picture: Image.Image, size: int) -> np.ndarray:
    """An RGB picture squashed to ``uint8 [size, size, 3]``; see :class:`DecodedPictures` for why it is not cropped."""
    return np.array(picture.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


def write_skipped(folder: Path, skipped: Sequence[Skipped]) -> None:
    """Write ``skipped.jsonl`` into a run's folder, in one step; without any, an empty file."""
    lines = [json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n" for row in skipped]
    write_text(folder / "skipped.jsonl", "".join(lines))
