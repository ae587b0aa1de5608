"""Small sources of pairs with real pictures, as tests need them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (64, 48), kind: str = "JPEG", quality: int = 90) -> bytes:
    """Soft colours that differ from seed to seed."""
    rough = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(file, kind, quality=quality)
    return file.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo], **options: int) -> Path:
    """Files by name, or headers without data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def write_samples(path: Path, captions: Iterable[str], *, first: int = 0) -> Path:
    """A WebDataset archive with a picture for each caption."""
    members = []
    for i, caption in enumerate(captions):
        members += [(f"{i:04d}.jpg", picture(first + i)), (f"{i:04d}.txt", caption.encode())]
    return write_tar(path, members)
