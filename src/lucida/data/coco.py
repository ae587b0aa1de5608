"""COCO's JSON files: instances (objects with boxes), captions, or both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.data.columns import read_box
from lucida.data.decoding import FileSource
from lucida.data.listing import FileFinder, Listing, concatenate, split_in_name, split_word
from lucida.data.pictures import Picture, PictureObject, Skipped

_ROBOFLOW = "_annotations.coco.json"


def coco_files(folder: Path) -> list[Path]:
    """The annotation files of a folder: ``instances*.json`` and ``captions*.json`` there or in ``annotations/``."""
    here = [folder, folder / "annotations"]
    named = [path for place in here for kind in ("instances", "captions") for path in place.glob(f"{kind}*.json")]
    exported = [path for place in (folder, *_splits(folder)) if (path := place / _ROBOFLOW).is_file()]
    return sorted(path for path in [*named, *exported] if not path.name.startswith("."))


def _splits(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if split_word(entry.name) and entry.is_dir())


def list_coco(path: Path) -> Listing:
    """The pictures of an annotation file, or of a folder with several (each is a split if its name says so).

    What ``instances_x.json`` and ``captions_x.json`` in one folder say of a picture is joined, whichever is named.

    An object with ``iscrowd`` stands for an unknown number of its kind. It is listed without a box, as one object that
    is there, and its name in the picture's attribute ``uncounted`` (see :func:`uncounted`): how many there are must not
    be asked. Width and height noted in the file are kept as attributes, since boxes are measured in them.

    Raises:
        LucidaError: a file is no COCO annotation file, or none of its pictures is there.
    """
    if path.is_dir():
        files = coco_files(path)
        groups = dict.fromkeys(tuple(_companions(file)) for file in files)
        return concatenate([_list(group, f"{_part(group[0])}/" if len(groups) > 1 else "") for group in groups])
    return _list(_companions(path))


def _part(path: Path) -> str:
    """``train2017`` of ``instances_train2017.json``; the folder where the file's name is always the same."""
    return path.parent.name if path.name == _ROBOFLOW else path.stem.rpartition("_")[2]


def _companions(path: Path) -> list[Path]:
    """The instances and the captions of the same pictures."""
    for kind, other in (("instances", "captions"), ("captions", "instances")):
        if path.name.startswith(kind):
            beside = path.with_name(path.name.replace(kind, other, 1))
            if beside.is_file():
                return sorted([path, beside], reverse=True)  # instances first
    return [path]


def uncounted(picture: Picture) -> frozenset[str]:
    """Names of objects that the picture shows in unknown number."""
    return frozenset(json.loads(picture.attributes.get("uncounted", "[]")))


@dataclass
class _Record:
    """What the files say of one picture."""

    file: str
    size: tuple[int, int] | None = None
    captions: list[str] = field(default_factory=list)
    objects: list[PictureObject] = field(default_factory=list)
    crowds: dict[str, None] = field(default_factory=dict)


def _list(files: Sequence[Path], prefix: str = "") -> Listing:
    records: dict[Any, _Record] = {}
    complete: set[Any] = set()
    for path in files:
        content = _load(path)
        try:
            ids = _add(content, records)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LucidaError(f"not a COCO annotation file: {_problem(error)}", where=path) from None
        # LVIS, in the same format, lists for each picture which kinds were looked for: the rest is not known.
        if content.get("categories") and not any("neg_category_ids" in image for image in content["images"]):
            complete |= ids
    first = files[0]
    found, missing = _find(records, first)
    if not found:
        raise LucidaError(
            f"none of its {len(records)} pictures is there" + (f"; the first is {missing[0]!r}" if missing else ""),
            where=first,
            remedy="put the pictures beside the file or into a folder images/ beside it",
        )
    shown = list(found)
    split = split_in_name(first.stem) or split_word(first.parent.name)

    def pictures(numbers: Sequence[int]) -> list[Picture | Skipped]:
        return [_picture(records[shown[n]], found[shown[n]], prefix) for n in numbers]

    return Listing(
        [split] * len(shown),
        [None] * len(shown),
        pictures,
        tuple(Skipped(f"{prefix}{name}", str(first.parent / name), "no such file") for name in missing),
        exhaustive_objects=complete.issuperset(shown),
    )


def _load(path: Path) -> dict[str, Any]:
    """The file without outlines, which are most of it.

    Raises:
        LucidaError: it is missing, no JSON, or of another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_without_outline)
    except OSError as error:
        raise LucidaError(f"cannot read the file: {error.strerror}", where=path) from None
    except ValueError as error:
        raise LucidaError(f"not valid JSON: {error}", where=path) from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise LucidaError(
            "not a COCO annotation file: it needs the lists 'images' and 'annotations'",
            where=path,
            remedy="name a COCO file, a table (.csv, .jsonl, .parquet) or a folder of pictures",
        )
    return content


def _without_outline(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("segmentation", None)
    return record


def _add(content: Mapping[str, Any], records: dict[Any, _Record]) -> set[Any]:
    """Put what a file says into the records; returns the ids of its pictures.

    Raises:
        KeyError, TypeError, ValueError: something is missing or of another form.
    """
    names = {category["id"]: str(category["name"]) for category in content.get("categories") or ()}
    for image in content["images"]:
        record = records.setdefault(image["id"], _Record(str(image["file_name"])))
        if image.get("width") and image.get("height"):
            record.size = int(image["width"]), int(image["height"])
    for note in content["annotations"]:
        record = records[note["image_id"]]
        if "caption" in note:
            record.captions.append(" ".join(str(note["caption"]).split()))
        if "category_id" not in note:
            continue
        name = names[note["category_id"]]
        crowd = bool(note.get("iscrowd"))
        record.objects.append(PictureObject(name, None if crowd else read_box(note.get("bbox"))))
        if crowd:
            record.crowds[name] = None
    return {image["id"] for image in content["images"]}


def _problem(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def _find(records: Mapping[Any, _Record], path: Path) -> tuple[dict[Any, Path], list[str]]:
    """The files of the pictures by id, and the names of those that are not there."""
    here, above, part = path.parent, path.parent.parent, _part(path)
    places = [here, here / "images", here / part, above, above / "images", above / part, above / "images" / part]
    finder = FileFinder([*places, here / "images" / part])
    found = {id: file for id, record in records.items() if (file := finder.find(record.file))}
    return found, [record.file for id, record in records.items() if id not in found]


def _picture(record: _Record, file: Path, prefix: str) -> Picture:
    attributes = dict(zip(("width", "height"), map(str, record.size), strict=True)) if record.size else {}
    if record.crowds:
        attributes["uncounted"] = json.dumps(list(record.crowds))
    return Picture(
        f"{prefix}{record.file}",
        FileSource(str(file.absolute())),
        tuple(dict.fromkeys(caption for caption in record.captions if caption)),
        tuple(record.objects),
        attributes=attributes,
    )
