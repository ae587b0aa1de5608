"""What a run leaves for its report beside the numbers: examples, retrieved pictures, curves, tables.

A workflow fills a :class:`Material`, saves it as ``material.json`` and its pictures below ``thumbnails/``; the report
is rebuilt from the run folder alone. Numbers with a name of their own live in ``results.json``, not here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lucida.core.config import from_dict, to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import read_json, write_json
from lucida.core.run_folder import RunFolder

_MIME = {".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class CorpusFacts:
    """What was trained and measured on.

    Attributes:
        name: of the corpus, for the reader.
        counts: pictures by split, in the order in which they are shown.
        n_used: pictures used, over all splits.
        n_available: pictures the source holds; more than ``n_used`` if a budget limited them.
        split_seed: what the splits were drawn with; ``None`` if the data brings its own.
        credit: who made the pictures, under which licence.
        note: one sentence about the splits or the kind of pictures.
    """

    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    n_used: int = 0
    n_available: int | None = None
    split_seed: int | None = None
    credit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Example:
    """A picture and what a model says about it.

    Attributes:
        thumbnail: file name below ``thumbnails/``, as :func:`save_thumbnail` returned it.
        answer: the model's words.
        truth: what is true; empty if nobody knows.
        right: whether the answer is right; ``None`` if nobody judged it.
        question: what was asked; empty for a caption or a class.
        confidence: the model's probability of its answer, 0 to 1.
        group: heading under which such examples stand together, for example "Naming unseen concepts".
        made_up: words of the answer that name what is not there; they are marked in it.
        id: the picture's, for the user to find it again.
    """

    thumbnail: str
    answer: str
    truth: str = ""
    right: bool | None = None
    question: str = ""
    confidence: float | None = None
    group: str = ""
    made_up: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class RetrievedPicture:
    """One picture of a result list; ``right`` if it belongs to the query."""

    thumbnail: str
    right: bool
    caption: str = ""


@dataclass(frozen=True)
class Retrieval:
    """A query and the pictures found for it, best first.

    Attributes:
        query: the words (for a picture as the query: its caption).
        found: the first few results.
        query_thumbnail: the picture, where the query is one.
        split: where the candidates come from.
        candidates: how many there were.
    """

    query: str
    found: tuple[RetrievedPicture, ...]
    query_thumbnail: str = ""
    split: str = ""
    candidates: int | None = None


@dataclass(frozen=True)
class KindRate:
    """How often one kind of object is made up or missed.

    Attributes:
        kind: the object's name.
        made_up: times the model named it or said yes where it was absent, out of ``absent``.
        missed: times the model denied or left it out where it was there, out of ``present``.
    """

    kind: str
    made_up: int
    absent: int
    missed: int
    present: int


@dataclass(frozen=True)
class CalibrationBin:
    """Answers of similar confidence: their mean confidence (0 to 1), and how many of the ``n`` were right."""

    confidence: float
    right: int
    n: int


@dataclass(frozen=True)
class Curve:
    """A file of rows as the training loop writes them (``kind``, ``step``, measures).

    Attributes:
        stage: heading, for example "Dual encoder".
        path: of the ``metrics.jsonl``, relative to the run folder.
        measure: what is drawn of the training rows, and of the validation rows where they have it.
        validation: further measures of the validation rows, each in a panel of its own; by default the first two.
    """

    stage: str
    path: str = "metrics.jsonl"
    measure: str = "loss"
    validation: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TrainableRow:
    """Parameters of one block of one model."""

    model: str
    block: str
    trainable: int
    total: int


@dataclass(frozen=True)
class Material:
    """All a report shows beside ``results.json``, the curves and the environment; everything may be empty.

    Attributes:
        title: of the report.
        summary: one or two sentences: what was trained, on what.
        corpora: what was trained on.
        headlines: names of metrics for the large figures; by default chosen from what was measured.
        stage_titles: words for the keys of ``Results.seconds``.
        pictures_per_second: by stage or activity.
        credits: further lines of credit (artwork, weights).
        command: how to repeat the run; by default the command that ``environment.json`` recorded.
    """

    title: str = "A vision-language run"
    summary: str = ""
    corpora: tuple[CorpusFacts, ...] = ()
    headlines: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    retrievals: tuple[Retrieval, ...] = ()
    kinds: tuple[KindRate, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    curves: tuple[Curve, ...] = ()
    trainable: tuple[TrainableRow, ...] = ()
    stage_titles: Mapping[str, str] = field(default_factory=dict)
    pictures_per_second: Mapping[str, float] = field(default_factory=dict)
    credits: tuple[str, ...] = ()
    command: str = ""

    def save(self, folder: RunFolder) -> None:
        """Write ``material.json``."""
        write_json(material_path(folder), to_dict(self))

    @classmethod
    def load(cls, folder: RunFolder) -> Material:
        """Read ``material.json`` back; a run without one has only its numbers to show.

        Raises:
            LucidaError: the file is broken or has an unknown key.
        """
        path = material_path(folder)
        if not path.exists():
            return cls(title=f"Run {folder.path.resolve().name}")
        return from_dict(cls, read_json(path), where=path.name)


def material_path(folder: RunFolder) -> Path:
    """Where a run keeps its material."""
    return folder.path / "material.json"


def thumbnails_folder(folder: RunFolder) -> Path:
    """Where a run keeps its small pictures."""
    return folder.path / "thumbnails"


def save_thumbnail(folder: RunFolder, name: str, pixels: NDArray[np.uint8], *, size: int = 160) -> str:
    """Store a small picture for the report, as PNG or JPEG, whichever is smaller.

    Args:
        folder: the run.
        name: any text that is unique among the run's thumbnails (a picture's id).
        pixels: ``[H, W, 3]`` or ``[H, W]``, uint8.
        size: longest side in pixels; smaller pictures stay as they are.

    Returns:
        The file name, for :class:`Example` and :class:`RetrievedPicture`.

    Raises:
        ValueError: the array is no picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ValueError(f"a picture is uint8 [H, W, 3] or [H, W], not {pixels.dtype}{list(pixels.shape)}")
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    data = {".png": _encoded(picture, "PNG", optimize=True), ".jpg": _encoded(picture, "JPEG", quality=88)}
    suffix = min(data, key=lambda s: len(data[s]))
    file_name = _file_stem(name) + suffix
    path = thumbnails_folder(folder) / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[suffix])
    return file_name


def _encoded(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _file_stem(name: str) -> str:
    """A readable file name that is safe on every system, and different for different names."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-40:].lower()
    return f"{readable or 'picture'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def data_uri(folder: RunFolder, thumbnail: str) -> str | None:
    """A thumbnail as a ``data:`` address; ``None`` if the file is gone (the report then says so in its place).

    Raises:
        LucidaError: the name leads out of the thumbnails folder, or is neither PNG nor JPEG.
    """
    path = thumbnails_folder(folder) / thumbnail
    if Path(thumbnail).name != thumbnail or path.suffix not in _MIME:
        raise LucidaError(
            f"not a thumbnail: {thumbnail!r}",
            where=material_path(folder),
            remedy="use the name that save_thumbnail returned",
        )
    if not path.is_file():
        return None
    return f"data:{_MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
