"""The pictures of an audit: what is shown, what is true of it, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.data.coco import uncounted
from lucida.data.corpus import Corpus
from lucida.data.galleries import as_words
from lucida.data.pasted_pictures import cut, with_patch
from lucida.data.pictures import BadPicture, Picture, Skipped
from lucida.data.readers import read_pictures
from lucida.data.truth import Box, Facts, PictureObject
from lucida.data.twin_pictures import without
from lucida.evaluation.vocabulary import Vocabulary
from lucida.workflows.subjects import View

_SAME_SHAPE = 1.02  # by which a picture may be wider, for its height, than its source says


@dataclass(frozen=True)
class AuditedPictures:
    """Pictures that a model is examined on.

    Attributes:
        corpus: they come from.
        views: how they are shown.
        facts: what is true of each, boxes in pixels of its view.
        vocabulary: finds their objects in texts.
        skipped: pictures that could not be read.
    """

    corpus: Corpus
    views: tuple[View, ...]
    facts: tuple[Facts, ...]
    vocabulary: Vocabulary
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.views)

    def present(self, i: int) -> list[str]:
        """The names of what picture ``i`` shows."""
        return list(self.facts[i].counts)


def read_audited(path: Path, *, limit: int | None = None, vocabulary: Path | None = None) -> AuditedPictures:
    """Pictures with complete lists of objects, by :func:`~lucida.data.readers.read_pictures`.

    Args:
        path: COCO's instances, or any source whose pictures list all their objects.
        limit: a sample of so many.
        vocabulary: names and their synonyms, see :func:`own_vocabulary`; only those are asked for.

    Raises:
        LucidaError: nothing can be read, the lists are not complete, no object is in the vocabulary.
    """
    known = own_vocabulary(vocabulary) if vocabulary else None
    corpus = read_pictures(path, limit=limit)
    if not corpus.exhaustive_objects:
        raise LucidaError(
            "its lists of objects are not complete: what is not listed may still be there",
            where=path,
            remedy="name COCO's instances, or a source that lists every object of its vocabulary",
        )
    views, facts, skipped = [], [], list(corpus.skipped)
    for picture in counted(corpus.pictures, "pictures read"):
        try:
            size = _open(picture).size
        except BadPicture as error:
            skipped.append(Skipped(picture.id, getattr(picture.source, "where", picture.id), str(error)))
            continue
        views.append(View(picture.id, size, partial(_open, picture)))
        facts.append(_facts(picture, size, known))
    names = sorted({name for one in facts for name in one.counts})
    if not any(one.counts for one in facts):
        raise LucidaError("no picture shows an object" + (" of the vocabulary" if known else ""), where=path)
    return AuditedPictures(corpus, tuple(views), tuple(facts), known or Vocabulary(names), tuple(skipped))


def _open(picture: Picture) -> Image.Image:
    return picture.source.open().convert("RGB")


def _facts(picture: Picture, size: tuple[int, int], known: Vocabulary | None) -> Facts:
    """Of a picture as it is shown; boxes of a picture of another shape say nothing about this one."""
    frame = [int(side) for side in (picture.attributes.get(k) or 0 for k in ("width", "height"))]
    across, down = (own / noted if noted else 1.0 for own, noted in zip(size, frame, strict=True))
    clear = 1 / _SAME_SHAPE < across / down < _SAME_SHAPE
    objects = []
    for thing in picture.objects:
        name, box = _name(thing.name, known), thing.box
        if name is None:
            continue
        scaled = Box(box.x * across, box.y * down, box.width * across, box.height * down) if box and clear else None
        objects.append(PictureObject(name, scaled))
    many = tuple(name for each in uncounted(picture) if (name := _name(each, known)))
    return Facts(tuple(objects), *size, exhaustive=True, captions=picture.captions, uncounted=many)


def _name(given: str, known: Vocabulary | None) -> str | None:
    """What an object is called here; None if the vocabulary has no name for it, or it has no letters."""
    return known.canonical(as_words(given)) if known else as_words(given) or None


def own_vocabulary(path: Path) -> Vocabulary:
    """Names and their synonyms: a line a name, ``name`` or ``name: synonym, synonym``.

    Raises:
        LucidaError: there is no such file, it names nothing, or a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LucidaError(f"cannot read the vocabulary: {error}", where=path) from None
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, start=1):
        name, _, synonyms = line.partition(":")
        if not name.strip():
            continue
        if name.strip() in found:
            raise LucidaError(f"{name.strip()!r} stands there twice", where=f"{path}, line {number}")
        found[name.strip()] = tuple(word.strip() for word in synonyms.split(",") if word.strip())
    if not found:
        raise LucidaError("the vocabulary is empty", where=path, remedy="write a name a line: dog: puppy, hound")
    return Vocabulary(found, found)


def edited(view: View, hole: Box, name: str) -> View:
    """The same picture with a box filled in from around it."""
    return View(name, view.size, lambda: Image.fromarray(without(np.asarray(view.open()), hole)))


def patched(view: View, source: View, crop: Box, place: Box, name: str) -> View:
    """The same picture with a part of another one put in."""
    return View(
        name,
        view.size,
        lambda: Image.fromarray(with_patch(np.asarray(view.open()), cut(np.asarray(source.open()), crop), place)),
    )


def blank(view: View) -> View:
    """A grey picture of the same size."""
    return View(f"{view.name} (blank)", view.size, lambda: Image.new("RGB", view.size, (128, 128, 128)))
