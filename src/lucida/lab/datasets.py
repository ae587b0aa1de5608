"""Small real data that is always there, and the pictures that a user names: what the lab's networks learn from.

Every data set is cut into training, validation and test anew for each seed, so that a result over seeds is one over
splits too. Learning rates are tuned on the validation part, with other seeds than those of the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.training.batches import Batch

TEST_SHARE = 0.25
VALIDATION_SHARE = 0.15
VOCABULARY = 600  # words of the emoji's texts; rarer ones share a token
LONGEST = 12  # words
OWN_PICTURES, OWN_FEATURES = "own pictures", "own pictures, features"
MOST_PICTURES, FEWEST_PICTURES = 2000, 200
_named: ContextVar[Path | None] = ContextVar("pictures that the user named", default=None)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples of a classification task.

    Attributes:
        name: for the reader.
        inputs: by the names under which a network takes them, ``[N, …]`` each (``inputs``, for sequences ``mask`` too).
        labels: ``int64 [N]``.
        classes: how many.
        groups: ``[N]``; examples of one group stay in one part (two artists' pictures of one concept).
        note: a sentence for the page.
    """

    name: str
    inputs: dict[str, Tensor]
    labels: Tensor
    classes: int
    groups: np.ndarray
    note: str

    @property
    def content_key(self) -> str:
        """A hash of what is in it."""
        _, groups = np.unique(self.groups, return_inverse=True)
        return content_hash(self.name, self.labels.numpy(), groups, *(x.numpy() for x in self.inputs.values()))

    def examples(self, rows: Tensor) -> Batch:
        """The examples of some rows ``[…]``, every tensor ``[…, …]``."""
        return {name: x[rows] for name, x in self.inputs.items()} | {"labels": self.labels[rows]}


@dataclass(frozen=True)
class Split:
    """Rows of the three parts, ``int64 [n]`` each; their sizes are the same for every seed."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split(data: Dataset, seed: int) -> Split:
    """The parts of a data set for a seed; whole groups, cut to sizes that do not depend on the seed."""
    _, codes = np.unique(data.groups, return_inverse=True)
    places = stream(seed, "lab", data.name, "split").permutation(codes.max() + 1)[codes]
    rows = np.argsort(places, kind="stable")
    n, largest = len(rows), int(np.bincount(codes).max())
    test, validation = round(TEST_SHARE * n), round(VALIDATION_SHARE * n)
    cuts = np.cumsum([test, largest, validation, largest])  # the groups on a border are left out
    parts = [rows[: cuts[0]], rows[cuts[1] : cuts[2]], rows[cuts[3] :]]
    held_out, tuned, trained = (torch.from_numpy(part.copy()) for part in parts)
    return Split(trained, tuned, held_out)


def training_batch(name: str, seeds: int | Sequence[int]) -> Batch:
    """All training examples of a seed, ``[N, …]``, or of each of several, ``[M, N, …]``: all that a network minimises.

    Args:
        name: of the data set.
    """
    data = load(name)
    if isinstance(seeds, int):
        return data.examples(split(data, seeds).train)
    return data.examples(torch.stack([split(data, seed).train for seed in seeds]))


def load(name: str) -> Dataset:
    """A data set by its name.

    Raises:
        LucidaError: there is none of this name.
    """
    if name not in DATASETS:
        raise LucidaError(f"no data set {name!r}", remedy=f"there are {', '.join(DATASETS)}")
    return DATASETS[name]()


@cache
def digits() -> Dataset:
    """Handwritten digits, 1,797 pictures of 8×8 pixels (Alpaydin & Kaynak 1998; scikit-learn brings them)."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.tensor((pixels - pixels.mean()) / pixels.std(), dtype=torch.float32).reshape(-1, 1, 8, 8)
    note = "1,797 handwritten digits of 8×8 pixels, ten classes"
    return Dataset("digits", {"inputs": inputs}, torch.tensor(labels), 10, np.arange(len(labels)), note)


@cache
def digit_rows() -> Dataset:
    """The digits read pixel by pixel: sequences of 64 numbers, for recurrent networks."""
    whole = digits()
    inputs = {"inputs": whole.inputs["inputs"].reshape(-1, 64, 1)}
    note = "the digits as sequences of 64 pixels, ten classes"
    return Dataset("digit sequences", inputs, whole.labels, 10, whole.groups, note)


@cache
def emoji(size: int = 12) -> Dataset:
    """Emoji of two artists on white, ``size`` pixels wide; the class is Unicode's category, eight of them."""
    from lucida.data.emoji import ARTISTS, concepts, load_artwork

    drawn = concepts()
    rows = [i for i, concept in enumerate(drawn) if concept.category and not concept.apart]
    names = sorted({drawn[i].category for i in rows})
    pictures = [_on_white(np.asarray(load_artwork(artist, 4 * size))[rows], size) for artist in ARTISTS]
    pixels = np.concatenate(pictures)
    pixels = (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))
    labels = np.tile([names.index(drawn[i].category) for i in rows], len(ARTISTS))
    groups = np.tile([drawn[i].group for i in rows], len(ARTISTS))
    note = f"{len(labels):,} emoji by two artists, {size}×{size} pixels in colour, {len(names)} categories"
    inputs = {"inputs": torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32).contiguous()}
    return Dataset("emoji", inputs, torch.tensor(labels), len(names), groups, note)


@cache
def emoji_words() -> Dataset:
    """The emoji's names and keywords as sequences of 1 to 12 words, padded; the class is the category."""
    from lucida.data.emoji import concepts

    chosen = [concept for concept in concepts() if concept.category and not concept.apart]
    names = sorted({concept.category for concept in chosen})
    texts = [" ".join([c.name, *c.keywords]).lower().split()[: 1 + _length(c.code)] for c in chosen]
    counts: dict[str, int] = {}
    for word in (word for text in texts for word in text):
        counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: VOCABULARY - 2]
    numbers = {word: i + 2 for i, word in enumerate(frequent)}  # 0 is padding, 1 any other word
    tokens = np.zeros((len(texts), LONGEST), dtype=np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [numbers.get(word, 1) for word in text]
    labels = torch.tensor([names.index(concept.category) for concept in chosen])
    inputs = {"inputs": torch.from_numpy(tokens), "mask": torch.from_numpy(tokens > 0)}
    note = f"names and keywords of {len(chosen):,} emoji, 1 to {LONGEST} words, {len(names)} categories"
    return Dataset("emoji words", inputs, labels, len(names), np.array([c.group for c in chosen]), note)


def _length(code: str) -> int:
    """How many words of a text are kept beyond the first: spread evenly, the same in every process."""
    return int(stream(0, "lab", "length", code).integers(LONGEST))


def _on_white(pictures: np.ndarray, size: int) -> np.ndarray:
    """``uint8 [N, 4·size, 4·size, 4]`` to ``float [N, size, size, 3]`` in 0 to 1, means of 4×4 pixels."""
    alpha = pictures[..., 3:] / 255.0
    colours = pictures[..., :3] / 255.0 * alpha + (1 - alpha)
    return colours.reshape(len(pictures), size, 4, size, 4, 3).mean(axis=(2, 4))


@contextmanager
def pictures_from(path: Path | None) -> Iterator[None]:
    """Inside the block the data set :data:`OWN_PICTURES` is made of these (CIFAR-10 as Parquet, a folder a class)."""
    token = _named.set(path)
    try:
        yield
    finally:
        _named.reset(token)


def named_pictures() -> Path | None:
    """Where the user's pictures are; ``None`` if none were named, and then there is no such data set."""
    return _named.get()


def own_pictures() -> Dataset:
    """The user's pictures, at most 2,000 of them, 16 pixels wide; the class is their label."""
    path = named_pictures()
    if path is None:
        raise LucidaError("no pictures were named", where="lab", remedy="name some with --pictures")
    return _own_pictures(path.resolve())


class OwnPixels(NamedTuple):
    """The labelled ones of the pictures that a user named.

    Attributes:
        pixels: ``uint8 [N, size, size, 3]``.
        labels: ``int64 [N]``.
        classes: how many.
        groups: ``[N]``, the identity of each.
    """

    pixels: np.ndarray
    labels: Tensor
    classes: int
    groups: np.ndarray


def own_pixels(path: Path, size: int) -> OwnPixels:
    """The user's labelled pictures, at most 2,000 of them.

    Raises:
        LucidaError: too few of them, or of one class alone.
    """
    from lucida.data.pixels import decode_all
    from lucida.data.readers import read_pictures

    decoded = decode_all(read_pictures(path, limit=MOST_PICTURES), size)
    rows = [i for i, picture in enumerate(decoded.corpus) if picture.label is not None]
    names = sorted({str(decoded.corpus.pictures[i].label) for i in rows})
    if len(names) < 2 or len(rows) < FEWEST_PICTURES:
        found = f"{len(rows)} labelled pictures of {len(names)} classes"
        remedy = f"the lab needs {FEWEST_PICTURES} or more with two labels or more: a folder for each class, or a table"
        raise LucidaError(found, where=path, remedy=remedy)
    labels = torch.tensor([names.index(str(decoded.corpus.pictures[i].label)) for i in rows])
    groups = np.array([decoded.corpus.pictures[i].identity for i in rows])
    return OwnPixels(np.asarray(decoded.pixels)[rows], labels, len(names), groups)


@cache
def _own_pictures(path: Path, size: int = 16) -> Dataset:
    own = own_pixels(path, size)
    pixels = own.pixels / 255.0
    pixels = (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))
    inputs = {"inputs": torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32).contiguous()}
    note = f"{path.stem}: {len(pixels):,} pictures, {size}×{size} pixels in colour, {own.classes} classes"
    return Dataset(OWN_PICTURES, inputs, own.labels, own.classes, own.groups, note)


def _frozen(name: str) -> Callable[[], Dataset]:
    """A data set of :mod:`lucida.lab.frozen_features`, which loads a tower: only who asks for it waits."""

    def load_it() -> Dataset:
        made: Dataset = getattr(import_module("lucida.lab.frozen_features"), name)()
        return made

    return load_it


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "digit sequences": digit_rows,
    "emoji": emoji,
    "emoji words": emoji_words,
    "emoji features": _frozen("emoji_features"),
    "emoji features, short": _frozen("short_emoji_features"),
    "planted features": _frozen("planted_features"),
    OWN_PICTURES: own_pictures,
    OWN_FEATURES: _frozen("own_features"),
}
