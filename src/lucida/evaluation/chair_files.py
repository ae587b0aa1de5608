"""CHAIR of captions that were made elsewhere: their files, COCO's annotations, and what does not fit together.

The objects of a picture are those that COCO's instances list; with reference captions also those that people named, as
in the authors' script (Rohrbach et al. 2018). The pictures themselves are not needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.evaluation.json_lines import json_rows
from lucida.evaluation.vocabulary import Vocabulary

_COCO_FILE = re.compile(r"(?:COCO_\w+_)?0*(\d{1,12})(?<=\d{12})")  # COCO_val2014_000000000042
_IMAGE, _CAPTION = ("image_id", "image", "file_name"), ("caption", "text", "answer")


@dataclass(frozen=True)
class CaptionRow:
    """A caption of a file, the picture as the file names it, and the place where it stands."""

    image: str
    text: str
    where: str


@dataclass(frozen=True)
class PictureTruth:
    """What COCO's files say of pictures.

    Attributes:
        objects: names by picture.
        files: the picture of each file name.
        names: all categories.
    """

    objects: Mapping[str, frozenset[str]]
    files: Mapping[str, str]
    names: tuple[str, ...]

    def of(self, row: CaptionRow) -> frozenset[str]:
        """The objects of a caption's picture, named by its number or its file.

        Raises:
            LucidaError: there is no such picture.
        """
        name = Path(row.image).name
        numbered = _COCO_FILE.fullmatch(Path(name).stem)
        for key in (row.image, self.files.get(name, ""), numbered.group(1) if numbered else ""):
            if key in self.objects:
                return self.objects[key]
        raise LucidaError(
            f"there is no picture {row.image!r} among the {len(self.objects):,} annotated ones",
            where=row.where,
            remedy="name the annotations of the pictures that were captioned",
        )


def read_caption_rows(path: Path) -> list[CaptionRow]:
    """The captions of a file: JSON lines, or one list, with ``image_id`` (or ``image``) and ``caption`` (or ``text``).

    Raises:
        LucidaError: the file cannot be read, or a row has no picture or no caption; a caption may be empty.
    """
    rows = []
    for where, row in json_rows(path, "captions"):
        image = next((row[key] for key in _IMAGE if row.get(key) not in (None, "")), None)
        text = next((row[key] for key in _CAPTION if key in row), None)
        if isinstance(image, bool) or not isinstance(image, int | str):
            raise LucidaError("a caption without a picture ('image_id' or 'image')", where=where)
        if not isinstance(text, str):
            raise LucidaError("a picture without a caption ('caption' or 'text')", where=where)
        rows.append(CaptionRow(str(image), text, where))
    return rows


def read_truth(
    instances: Path, *, references: Path | None = None, vocabulary: Vocabulary | None = None
) -> PictureTruth:
    """The objects of pictures, from COCO's instances.

    Args:
        instances: COCO's annotation file.
        references: COCO's captions of the same pictures: what people named counts as there, too.
        vocabulary: only its names count; by default the file's categories with COCO's synonyms.

    Raises:
        LucidaError: a file is missing or of another form.
    """
    content = _coco(instances, "categories")
    names = tuple(str(category["name"]) for category in content["categories"])
    known = vocabulary or Vocabulary(names)
    by_number = {category["id"]: known.canonical(str(category["name"])) for category in content["categories"]}
    found: dict[str, set[str]] = {str(image["id"]): set() for image in content["images"]}
    for note in content["annotations"]:
        name = by_number.get(note["category_id"])
        if name is not None and str(note["image_id"]) in found:
            found[str(note["image_id"])].add(name)
    if references is not None:
        for note in _coco(references, "annotations")["annotations"]:
            found.setdefault(str(note["image_id"]), set()).update(known.mentions(str(note["caption"])))
    files = {Path(str(image.get("file_name", ""))).name: str(image["id"]) for image in content["images"]}
    return PictureTruth({image: frozenset(own) for image, own in found.items()}, files, known.names)


def _coco(path: Path, needed: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LucidaError("no such file of annotations", where=path) from None
    except (OSError, ValueError) as error:
        raise LucidaError(f"cannot read the annotations: {error}", where=path) from None
    keys = {"images", "annotations", needed}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        remedy = "name COCO's instances (--objects) and, if you have them, captions (--references)"
        raise LucidaError(f"not COCO's: it needs the lists {', '.join(sorted(keys))}", where=path, remedy=remedy)
    return content
