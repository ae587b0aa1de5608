"""Tar archives of strangers: walked header by header, never extracted, with a limit on everything that is read.

:mod:`tarfile` reads extended headers of any size into memory and keeps a list of all members; here every header is
decoded by it (:meth:`tarfile.TarInfo.frombuf`), but the walk is ours: each step goes forward by at least a block, so it
ends, and what it holds does not grow with the archive.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.data.decoding import EncodedSource, file_state
from lucida.data.pictures import BadPicture

MEMBER_LIMIT = 64_000_000
"""Bytes of a member; a larger one is no picture that a model would be trained on."""

_BLOCK = 512
_END = bytes(_BLOCK)
_HEADER_LIMIT = 1_000_000  # bytes of an extended header: names are short
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")


@dataclass(frozen=True)
class Member:
    """A file within an archive and where its bytes lie."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True)
class Refused:
    """A member, or with an empty name the rest of the archive, that is not read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class TarSource(EncodedSource):
    """A picture within a tar archive, read at its place."""

    path: str
    offset: int
    length: int

    @property
    def where(self) -> str:
        return f"{self.path}, byte {self.offset}"

    def content_key(self) -> str:
        """Archive, its size and time of change, and the place."""
        return content_hash(self.path, self.offset, self.length, *file_state(self.path))

    def stream(self) -> BinaryIO:
        """The bytes.

        Raises:
            BadPicture: the archive is gone, or has become shorter.
        """
        try:
            data = read_at(self.path, self.offset, self.length)
        except OSError as error:
            raise BadPicture(error.strerror or str(error)) from None
        if not data or len(data) < self.length:
            raise BadPicture("the archive ends within the picture" if data else "the file is empty")
        return io.BytesIO(data)


def read_at(path: str | Path, offset: int, length: int) -> bytes:
    """Bytes of a file, fewer where it ends."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def walk(path: Path) -> Iterator[Member | Refused]:
    """The files of an archive in their order, and what is refused.

    Refused are names that lead out of a folder, links, devices, pipes, sparse and huge files. Where the archive is
    damaged or ends too early, the walk stops with a :class:`Refused` without a name; what came before it stands.

    Raises:
        LucidaError: it cannot be opened, is compressed, or its first block is no header of a tar archive.
    """
    try:
        if not path.is_file():  # a named pipe would wait for ever
            raise LucidaError("no such file", where=path)
        with path.open("rb") as file:
            _check_start(file.read(_BLOCK), path)
            yield from _walk(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise LucidaError(f"cannot read the archive: {error.strerror or error}", where=path) from None


def _check_start(block: bytes, path: Path) -> None:
    packed = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    for magic, name in packed.items():
        if block.startswith(magic):
            raise LucidaError(
                f"the archive is compressed ({name}), so no picture can be read at its place",
                where=path,
                remedy="unpack it to a plain .tar; pictures are compressed already",
            )
    if block == _END:  # an empty archive
        return
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise LucidaError(f"not a tar archive: {error}", where=path) from None


def _walk(file: BinaryIO, size: int) -> Iterator[Member | Refused]:
    at, long_name, extended = 0, "", _Extended()
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            yield Refused("", "the archive ends within a header" if block else "the archive has no end mark")
            return
        if block == _END:
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            yield Refused("", "the archive is damaged: not a header")
            return
        file_follows = info.type not in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE,
                                         tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # fmt: skip
        length = extended.size if file_follows and extended.size is not None else info.size
        begin = at + _BLOCK
        if length < 0 or info.type == tarfile.GNUTYPE_SPARSE:
            yield Refused("", "the archive is damaged: a size below 0" if length < 0 else "a sparse file, not followed")
            return
        # Links, devices and folders have no data, whatever their header says.
        length = length if info.type not in (*_KINDS, tarfile.DIRTYPE) else 0
        if begin + length > size:
            yield Refused("", "the archive ends within a file")
            return
        at = begin + -(-length // _BLOCK) * _BLOCK
        if file_follows:
            name = extended.path or long_name or info.name
            yield from _judged(info.type, name, begin, length, sparse=extended.sparse)
            long_name, extended = "", _Extended()
        elif length > _HEADER_LIMIT:
            yield Refused("", "the archive is damaged: a header of many bytes")
            return
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            long_name = file.read(length).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            try:
                extended = _Extended.parse(file.read(length))
            except ValueError:
                yield Refused("", "the archive is damaged: an extended header")
                return


def _judged(kind: bytes, name: str, begin: int, length: int, *, sparse: bool) -> Iterator[Member | Refused]:
    if kind == tarfile.DIRTYPE or (kind == tarfile.AREGTYPE and name.endswith("/")):
        return
    if not safe_name(name):
        yield Refused(name, "a name that leads out of the folder")
    elif kind in _KINDS:
        yield Refused(name, _KINDS[kind])
    elif kind not in _FILES:
        yield Refused(name, "a member of unknown kind")
    elif sparse:
        yield Refused(name, "a sparse file")
    elif length > MEMBER_LIMIT:
        yield Refused(name, f"a file above {MEMBER_LIMIT // 10**6} MB")
    else:
        yield Member(name, begin, length)


def safe_name(name: str) -> bool:
    """Whether a member's name stays inside a folder, on any system, and can be written.

    >>> safe_name("a/b.jpg"), safe_name("./a.jpg"), safe_name("../a.jpg"), safe_name("/a.jpg"), safe_name("C:\\\\a.jpg")
    (True, True, False, False, False)
    """
    plain = name.replace("\\", "/")
    if not plain or plain.startswith("/") or re.match(r"[A-Za-z]:", plain) or ".." in plain.split("/"):
        return False
    return not any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in plain)


@dataclass(frozen=True)
class _Extended:
    """What a PAX header says of the member behind it."""

    path: str = ""
    size: int | None = None
    sparse: bool = False

    @classmethod
    def parse(cls, data: bytes) -> _Extended:
        """Records ``length key=value``, each with its own length in decimal.

        Raises:
            ValueError: they are not that.
        """
        path, size, sparse, at = "", None, False, 0
        while at < len(data) and data[at]:  # padded with zeros by some
            found = _PAX_RECORD.match(data, at)
            end = at + int(found[1]) if found else 0
            if not found or not found.end() < end <= len(data) or data[end - 1 : end] != b"\n":
                raise ValueError("not a record")
            key, value = found[2], data[found.end() : end - 1]
            if key == b"path":
                path = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                size = int(value)
            sparse = sparse or key.startswith(b"GNU.sparse.")
            at = end
        return cls(path, size, sparse)
