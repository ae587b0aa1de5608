"""Pictures as people keep them, decoded to upright RGB; one that cannot be read says why in a few words."""

from __future__ import annotations

import io
import os
import re
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from lucida.core.cache import content_hash
from lucida.data.pictures import BadPicture

PIXEL_LIMIT = 89_000_000
"""The most pixels that are ever decoded at once, about what Pillow itself takes for safe (270 MB as RGB)."""

_SUFFIXES = "jpg jpeg jpe jfif png apng gif webp bmp dib tif tiff ppm pgm pbm pnm avif jp2 j2k ico heic heif"
SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())
"""Names of files taken for pictures; some may turn out not to be readable, and are then listed as skipped."""

# What a stranger's file may be opened as. Not EPS, which would start another program, nor formats without a signature,
# as which a text might be read.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO")

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
_TRANSPARENT_MODES = ("LA", "La", "PA", "RGBA", "RGBa")

_header_lock = threading.Lock()


def decode(file: BinaryIO, *, at_least: int = 0) -> tuple[Image.Image, tuple[int, int]]:
    """The first frame of a picture as upright RGB; what is transparent shows white.

    Args:
        file: of any format in common use, at its start.
        at_least: if given, a JPEG may come out smaller, with both sides still twice as long as this: much faster.

    Returns:
        The picture, and width and height of the upright picture as it is stored.

    Raises:
        BadPicture: it is damaged, no picture at all, or too large.
    """
    try:
        with _open(file) as image:
            stored = image.size
            reduced = _limit(image, at_least)
            image.load()
            turn = 1
            with suppress(Exception):  # metadata that cannot be read do not make the pixels unreadable
                turn = image.getexif().get(_ORIENTATION, 1)  # after load(), which turns a TIFF itself
            upright = _to_rgb(image)
            if turn in _TURNS:
                upright = upright.transpose(_TURNS[turn])
    except BadPicture:
        raise
    except Exception as error:  # decoders meet damaged files with almost any exception
        raise BadPicture(_reason(error)) from None
    if not reduced:
        return upright, upright.size
    return upright, (stored[1], stored[0]) if turn in _SWAPS_SIDES else stored


def _open(file: BinaryIO) -> Image.Image:
    """Read the header alone, without Pillow's own limit: ours is stricter, and knows that a JPEG can shrink."""
    with _header_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_formats())
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def encoded_kind(data: bytes) -> str:
    """How a file of these bytes is called: ``jpg``, ``png``, …

    Raises:
        BadPicture: they are no picture of a known format.
    """
    try:
        with _open(io.BytesIO(data)) as image:
            kind = str(image.format)
    except Exception as error:  # decoders meet damaged files with almost any exception
        raise BadPicture(_reason(error)) from None
    return {"JPEG": "jpg", "JPEG2000": "jp2"}.get(kind, kind.lower())


def _limit(image: Image.Image, at_least: int) -> bool:
    """Let a JPEG decode at 1/2, 1/4 or 1/8 where that is enough or needed; true if it will.

    Raises:
        BadPicture: too many pixels would be decoded.
    """
    width, height = image.size
    held = width * height
    if isinstance(image, JpegImageFile):
        # A progressive JPEG is held in memory at its full size, however small it comes out.
        progressive = bool(image.info.get("progressive"))
        wanted = next((s for s in (8, 4, 2) if at_least and min(width, height) // s >= 2 * at_least), 1)
        needed = next((s for s in (1, 2, 4, 8) if progressive or held <= PIXEL_LIMIT * s * s), 8)
        scale = max(wanted, needed)
        if scale > 1:
            image.draft(None, (max(1, width // scale), max(1, height // scale)))
        held = held if progressive else image.size[0] * image.size[1]
    if held > PIXEL_LIMIT:
        raise BadPicture(f"{width} x {height} pixels: more than the limit of {PIXEL_LIMIT // 10**6} million")
    return image.size != (width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode not in _TRANSPARENT_MODES and "transparency" not in image.info:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits: 16-bit values by their range; for 32-bit and floating-point ones no range is fixed."""
    values = np.asarray(image)
    if values.dtype.itemsize == 2 or image.format in ("PNG", "PPM"):  # older Pillows hold these in 32 bits
        return Image.fromarray((values >> 8).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0)
    low, high = min(float(values.min()), 0.0), float(values.max())
    top = next((bound for bound in (1.0, 255.0, 65535.0) if high <= bound), high)
    return Image.fromarray(((values - low) * (255 / (top - low))).round().astype(np.uint8))


def _reason(error: Exception) -> str:
    """A few words for the list of skipped pictures."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that can be read"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "file", (str(error).splitlines() or [""])[0])[:120]
    return text if isinstance(error, OSError) and text else f"damaged ({text or type(error).__name__})"


class EncodedSource(ABC):
    """A :class:`~lucida.data.pictures.PixelSource` of an encoded picture, wherever its bytes lie."""

    @property
    @abstractmethod
    def where(self) -> str:
        """The file, and the row within it, for a person to find."""

    @abstractmethod
    def content_key(self) -> str:
        """Cheap to get, and another one when the content is another."""

    @abstractmethod
    def stream(self) -> BinaryIO:
        """The bytes.

        Raises:
            BadPicture: they cannot be read.
        """

    def open(self) -> Image.Image:
        """The upright RGB picture.

        Raises:
            BadPicture: it cannot be read.
        """
        return self.open_reduced(0)[0]

    def open_reduced(self, at_least: int) -> tuple[Image.Image, tuple[int, int]]:
        """See :func:`decode`.

        Raises:
            BadPicture: it cannot be read.
        """
        with self.stream() as file:
            return decode(file, at_least=at_least)


@dataclass(frozen=True)
class FileSource(EncodedSource):
    """A picture in a file of its own."""

    path: str

    @property
    def where(self) -> str:
        return self.path

    def content_key(self) -> str:
        """Path, size and time of change: a file written anew has another key."""
        return content_hash(self.path, *file_state(self.path))

    def stream(self) -> BinaryIO:
        """The opened file.

        Raises:
            BadPicture: there is none, it is empty, or not allowed to be read.
        """
        if not Path(self.path).is_file():  # a named pipe would wait for ever
            raise BadPicture("no such file")
        try:
            file = open(self.path, "rb")  # noqa: SIM115  # the caller closes it
        except OSError as error:
            raise BadPicture(error.strerror or str(error)) from None
        if not os.fstat(file.fileno()).st_size:
            file.close()
            raise BadPicture("the file is empty")
        return file


def file_state(path: str) -> tuple[int, int]:
    """Size and time of change, zeros where there is no file."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns
