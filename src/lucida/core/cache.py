"""Memory-mapped arrays that are built once and found again by what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lucida.core.errors import LucidaError


def cache_folder() -> Path:
    """``$LUCIDA_CACHE``, or ``./.cache``; never a folder in the user's home."""
    return Path(os.environ.get("LUCIDA_CACHE") or ".cache")


def content_hash(*parts: Any) -> str:
    """A short hash of bytes, text and JSON values, the same on every machine.

    >>> content_hash("a", 1) == content_hash("a", 1) != content_hash("a", 2)
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:24]


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

    The file is written beside and renamed: a kill leaves no half-filled cache. The result is read-only.
    """
    path = cache_folder() / kind / f"{key}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            raise LucidaError(
                f"the cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                where=path.parent,
                remedy="free some space or set LUCIDA_CACHE to another disk",
            )
        beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            array = np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=shape)
            build(array)
            array.flush()
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    stored = np.load(path, mmap_mode="r")
    if stored.shape != shape or stored.dtype != np.dtype(dtype):
        raise LucidaError(
            f"the cache holds {stored.dtype}{stored.shape}, not {np.dtype(dtype)}{shape}",
            where=path,
            remedy="delete this file",
        )
    return stored
