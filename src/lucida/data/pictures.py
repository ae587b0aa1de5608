"""Pictures: pixels somewhere, what people wrote about them, and the objects they are known to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from PIL import Image

from lucida.data.truth import Box, PictureObject

__all__ = ["BadPicture", "Box", "Picture", "PictureObject", "PixelSource", "Skipped"]


class BadPicture(Exception):
    """A picture that cannot be read; the text says why. It is skipped and listed, and never ends a run."""


class PixelSource(Protocol):
    """Where a picture's pixels come from: small, picklable, read when they are needed."""

    def open(self) -> Image.Image:
        """The upright RGB picture.

        Raises:
            BadPicture: it cannot be read.
        """

    def content_key(self) -> str:
        """Cheap to get, and another one when the content is another."""


@dataclass(frozen=True)
class Skipped:
    """A picture that was left out: its id, where it lies and why."""

    id: str
    where: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """A row of a corpus.

    Attributes:
        id: unique in its corpus, for the user to find it again (file name, table row).
        source: of its pixels.
        captions: what people wrote about it.
        objects: what it shows, with boxes in pixels of the stored picture where they are known.
        split: "train", "validation", "test" or a name of the corpus' own.
        label: its class, if the corpus has classes.
        identity: pictures of one identity are positives of each other's texts; the id unless given.
        attributes: anything else by name, such as the artist.
    """

    id: str
    source: PixelSource
    captions: tuple[str, ...] = ()
    objects: tuple[PictureObject, ...] = ()
    split: str = "train"
    label: str | None = None
    identity: str = ""
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.identity:
            object.__setattr__(self, "identity", self.id)
