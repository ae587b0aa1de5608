"""Memory-mapped arrays that are built once and found again by what they were made from."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from lucida.core.errors import LucidaError


def cache_folder() -> Path:
    """``$LUCIDA_CACHE``, or ``./.cache``; never a folder in the user's home."""
    return Path(os.environ.get("LUCIDA_CACHE") or ".cache")


def content_hash(*parts: Any) -> str:
    """A short hash of bytes, text, numbers, arrays, paths, dataclasses and lists or mappings of them.

    The same on every machine and in every process.

    >>> content_hash("a", 1) == content_hash("a", 1) != content_hash("a", 2)
    True

    Raises:
        TypeError: a part has no text that depends on its content alone (a set, an object known by its address).
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=_hashable).encode()
        digest.update(b"%c%d:" % (98 if isinstance(part, bytes) else 106, len(data)) + data)
    return digest.hexdigest()[:24]


def _hashable(part: Any) -> Any:
    """A JSON value for what JSON cannot hold; two different contents never give the same one."""
    if isinstance(part, np.generic):
        return part.item()
    if isinstance(part, np.ndarray) and not part.dtype.hasobject:
        data = hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()
        return {"array": data, "dtype": str(part.dtype), "shape": part.shape}
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    if isinstance(part, bytes):
        return {"bytes": part.hex()}
    if isinstance(part, os.PathLike):
        return os.fspath(part)
    raise TypeError(f"no stable hash for {type(part).__name__}")


def cached_array(
    kind: str,
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype | type | str,
    build: Callable[[np.ndarray], None],
) -> np.ndarray:
    """The memory-mapped array ``kind/key``, built on the first call.

    Args:
        kind: what it holds (``"pixels"``, ``"features"``); a folder in the cache.
        key: :func:`content_hash` of everything the content depends on.
        shape: expected shape.
        dtype: expected dtype.
        build: fills a writable memory-mapped array of that shape in place.

    The file is written beside and renamed: a kill leaves no half-filled cache, and the rest of a killed build is
    removed by the next one. Of several processes that ask at once, one builds and the others wait. The result is
    read-only.

    Raises:
        LucidaError: the disk is too small, or the stored file is broken or of another shape or dtype.
    """
    path = cache_folder() / kind / f"{key}.npy"
    if not path.exists():
        _build(path, shape, np.dtype(dtype), build)
    try:
        stored = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise LucidaError(f"the cache is broken: {error}", where=path, remedy="delete this file") from None
    if stored.shape != shape or stored.dtype != np.dtype(dtype):
        raise LucidaError(
            f"the cache holds {stored.dtype}{stored.shape}, not {np.dtype(dtype)}{shape}",
            where=path,
            remedy="delete this file",
        )
    return stored


def _build(path: Path, shape: tuple[int, ...], dtype: np.dtype, build: Callable[[np.ndarray], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LucidaError(f"cannot make the cache folder: {error.strerror}", where=path.parent) from None
    _remove_leftovers(path.parent)
    beside = path.with_name(f".{path.name}.partial")
    with _exclusive(beside):
        if path.exists():  # another process built it while this one waited
            beside.unlink()
            return
        try:
            _check_space(path.parent, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
            array = np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=shape)
            build(array)
            array.flush()
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, made if missing; the kernel drops the lock of a process that is killed."""
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The file that was locked may have been renamed or removed by its former owner meanwhile.
            if _is_at(file, path):
                yield
                return


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one at ``path``; another process may take that away at any moment."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_leftovers(folder: Path) -> None:
    """Delete unfinished files that no living process holds."""
    for leftover in folder.glob(".*.partial"):
        with suppress(OSError), leftover.open("ab") as file:  # locked by a living build, or gone already
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), leftover.stat()):
                leftover.unlink()


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise LucidaError(
            f"the cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            where=folder,
            remedy="free some space or set LUCIDA_CACHE to another disk",
        )
