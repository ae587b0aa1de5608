"""WebDataset: a tar archive in which neighbours with one name before the first dot are one sample."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lucida.data.columns import read_texts
from lucida.data.construction.tar_files import Member, Refused, TarSource, read_at, walk
from lucida.data.decoding import SUFFIXES
from lucida.data.listing import Listing, split_in_name, split_word
from lucida.data.pictures import Picture, Skipped

TEXT_LIMIT = 1_000_000
"""Bytes of a caption or a JSON file."""

_TEXTS = ("txt", "caption", "cap", "text")
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")


@dataclass(frozen=True)
class Sample:
    """A picture and its captions.

    Attributes:
        key: name of its files before the first dot.
        source: of the picture.
        captions: at least one.
        split: if its JSON names one.
    """

    key: str
    source: TarSource
    captions: tuple[str, ...]
    split: str | None = None


def list_archive(path: Path, *, prefix: str = "", split: str | None = None) -> Listing:
    """The samples of an archive as pictures with captions; names, not pixels, are held.

    Args:
        path: of the archive.
        prefix: put before the ids.
        split: of samples that name none.

    Raises:
        LucidaError: it is no tar archive.
    """
    found = list(samples(path))
    whole = [one for one in found if isinstance(one, Sample)]
    refused = [Skipped(f"{prefix}{one.name or path.name}", str(path), one.reason) for one in found
               if isinstance(one, Refused)]  # fmt: skip
    split = split or split_in_name(path.stem)

    def pictures(numbers: Sequence[int]) -> list[Picture | Skipped]:
        return [
            Picture(f"{prefix}{path.name}:{one.key}", one.source, one.captions, split=one.split or split or "train")
            for one in (whole[number] for number in numbers)
        ]

    return Listing([one.split or split for one in whole], [None] * len(whole), pictures, tuple(refused))


@dataclass
class _Parts:
    """The files of one sample, as they come."""

    key: str
    pictures: list[Member] = field(default_factory=list)
    text: Member | None = None
    record: Member | None = None
    repeated: bool = False

    def add(self, member: Member, kind: str) -> None:
        if f".{kind}" in SUFFIXES:
            self.pictures = [*self.pictures, member][:2]  # two are too many already
        elif kind in _TEXTS:
            self.repeated, self.text = self.repeated or self.text is not None, member
        elif kind == "json":
            self.repeated, self.record = self.repeated or self.record is not None, member


def samples(path: Path) -> Iterator[Sample | Refused]:
    """The samples of an archive in their order, and what is left out, with the reason.

    A caption is a ``.txt`` or a JSON record with ``caption``, ``captions`` or ``text``. Only neighbours make a sample;
    a key that comes again later is refused.

    Raises:
        LucidaError: it is no tar archive.
    """
    parts, seen = _Parts(""), set[bytes]()
    for member in walk(path):
        if isinstance(member, Refused):
            yield member
            continue
        named = _NAME.fullmatch(member.name.removeprefix("./"))
        if not named:
            continue  # hidden, or without a kind: belongs to no sample
        key, kind = named[1], named[2].lower()
        if key != parts.key:
            yield from _sample(parts, path, seen)
            parts = _Parts(key)
        parts.add(member, kind)
    yield from _sample(parts, path, seen)


def _sample(parts: _Parts, path: Path, seen: set[bytes]) -> Iterator[Sample | Refused]:
    if not (parts.pictures or parts.text or parts.record):
        return
    mark = hashlib.blake2b(parts.key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    if mark in seen or parts.repeated:
        yield Refused(parts.key, "a key that comes twice")
        return
    seen.add(mark)
    if len(parts.pictures) > 1:
        yield Refused(parts.key, "a sample with several pictures")
        return
    captions, split, problem = _captions(parts, path)
    if problem:
        yield Refused(parts.key, problem)
    elif not parts.pictures:
        if captions:
            yield Refused(parts.key, "a caption without a picture")
    elif not captions:
        yield Refused(parts.key, "a picture without a caption")
    else:
        member = parts.pictures[0]
        yield Sample(parts.key, TarSource(str(path.absolute()), member.offset, member.length), captions, split)


def _captions(parts: _Parts, path: Path) -> tuple[tuple[str, ...], str | None, str]:
    """Captions, split, and what is wrong with them."""
    if any(member and member.length > TEXT_LIMIT for member in (parts.text, parts.record)):
        return (), None, f"a caption above {TEXT_LIMIT // 10**6} MB"
    try:
        text = _read(parts.text, path).strip()
        record = json.loads(_read(parts.record, path) or "{}")
        record = record if isinstance(record, dict) else {}
        told = [value for key in ("captions", "caption", "text") if (value := record.get(key))][:1]
        # A text file is one caption, though it be written like a list.
        captions = [text] if text else read_texts(told[0]) if told else []
    except UnicodeDecodeError:
        return (), None, "a caption that is not UTF-8"
    except (ValueError, RecursionError):
        return (), None, "a JSON file that cannot be read"
    split = str(record.get("split") or "").strip()
    return tuple(dict.fromkeys(captions)), (split_word(split) or split) or None, ""


def _read(member: Member | None, path: Path) -> str:
    return read_at(path, member.offset, member.length).decode("utf-8-sig") if member else ""


class WebDatasetWriter:
    """Writes samples into a tar archive beside its name and renames it at the end; same samples, same bytes."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.partial")

    def __enter__(self) -> WebDatasetWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.open(self._beside, "w", format=tarfile.USTAR_FORMAT)  # closed in __exit__
        return self

    def add(self, key: str, picture: bytes, kind: str, caption: str, record: dict[str, Any]) -> None:
        """A sample: the picture's bytes as they are, the caption, and the record as JSON."""
        told = json.dumps(record, ensure_ascii=False, sort_keys=True)
        for suffix, data in ((kind, picture), ("txt", caption.encode()), ("json", told.encode())):
            info = tarfile.TarInfo(f"{key}.{suffix}")  # no time, no owner
            info.size, info.mode = len(data), 0o644
            self._tar.addfile(info, io.BytesIO(data))
        self._tar.members = []  # type: ignore[attr-defined]  # the list would grow with the archive
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._tar.close()
            if kind is None:
                os.replace(self._beside, self.path)
        finally:
            self._beside.unlink(missing_ok=True)
