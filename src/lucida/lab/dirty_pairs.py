"""A corpus of emoji as a crawl would find it, dirty in known ways, and what the stages of data construction leave.

Popular things have most pictures. Some captions belong to another picture, some say nothing, a few pictures are saved
again and again, and pictures of the test are among those of the training.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from lucida.core.seeds import derive_seed, stream
from lucida.data.construction.balancing import BalanceSettings, balance
from lucida.data.construction.cleaning import CleanSettings, clean
from lucida.data.construction.duplicates import DuplicateSettings, deduplicate
from lucida.data.construction.engines import Engine
from lucida.data.construction.hard_negatives import NegativeSettings, add_negatives
from lucida.data.construction.reading import ReadSettings, read_source
from lucida.data.construction.rows import read_rows
from lucida.data.construction.similarity import Encode, SimilaritySettings, filter_by_similarity
from lucida.data.construction.sources import find_parts
from lucida.data.construction.stages import StageResult

SIZE = 96  # pixels a side
UNSEEN, VALIDATION = 0.2, 0.1  # of the concepts, by base glyph
TEMPLATES = ("a drawing of {}", "the {} emoji", "{}, clip art")
EMPTY = (
    "image may contain something", "IMG_{}.JPG", "click to enlarge", "untitled", "https://example.org/{}",
    "no description", "DSC{}", "photo {}", "copyright, all rights reserved", "picture",
)  # fmt: skip
FAULTS = ("right", "wrong", "empty", "copied", "leaked")
CLEAN, DEDUPLICATE, FILTER, BALANCE, NEGATIVES = STEPS = ("clean", "deduplicate", "filter", "balance", "hard negatives")


@dataclass(frozen=True)
class Dirt:
    """How dirty a corpus is.

    Attributes:
        pairs: crawled ones; leaked ones come on top.
        wrong, empty, copied: shares of them.
        viral: pictures that are saved again.
        leaked: share of the second artist's test pictures that lie in the corpus, too.
        skew: exponent of the popularity of concepts by rank.
    """

    pairs: int
    wrong: float
    empty: float
    copied: float
    viral: int
    leaked: float
    skew: float


@dataclass(frozen=True)
class Construction:
    """How the stages are set.

    Attributes:
        trusted: checked pairs that the filter's encoder is made from; nothing trains on them.
        keep_share: of pairs, by the filter.
        cap: of a concept, by balancing.
        negatives: noted with each pair.
    """

    trusted: int
    keep_share: float
    cap: int
    negatives: int


@dataclass(frozen=True, eq=False)
class World:
    """Who is known, who is tested.

    Attributes:
        known, unseen, validation: rows of concepts; of the latter two no picture is in the crawl.
        second: of the known ones, those whose second artist is the test.
    """

    known: NDArray[np.int64]
    unseen: NDArray[np.int64]
    validation: NDArray[np.int64]
    second: NDArray[np.int64]


@cache
def world(seed: int) -> World:
    """Of a seed: concepts in a random order, the known ones by popularity."""
    from lucida.data.emoji import concepts

    rows = [i for i, concept in enumerate(concepts()) if concept.category and not concept.apart]
    generator = stream(seed, "lab", "dirty pairs", "world")
    groups = generator.permutation(sorted({concepts()[i].group for i in rows}))
    ends = round(UNSEEN * len(groups)), round((UNSEEN + VALIDATION) * len(groups))
    parts = (set(part.tolist()) for part in np.split(groups, ends))
    unseen, validation, known = (np.array([i for i in rows if concepts()[i].group in part]) for part in parts)
    known = generator.permutation(known)
    return World(known, unseen, validation, np.sort(generator.permutation(known)[: len(known) // 2]))


@dataclass(frozen=True, eq=False)
class Crawl:
    """The corpus of a seed: the test pictures first, as whoever wants none of them in training puts them.

    Attributes:
        files: encoded pictures.
        captions: of each.
        concepts: what each shows, ``int64 [N]``.
        faults: place in :data:`FAULTS`, ``int64 [N]``; -1 for the test's.
    """

    files: tuple[bytes, ...]
    captions: tuple[str, ...]
    concepts: NDArray[np.int64]
    faults: NDArray[np.int64]

    @property
    def tests(self) -> int:
        """How many pictures are the test's."""
        return int((self.faults < 0).sum())

    def pixels(self) -> NDArray[np.uint8]:
        """``[N, SIZE, SIZE, 3]``."""
        return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize((SIZE, SIZE)))
                         for file in self.files])  # fmt: skip


def crawl(seed: int, dirt: Dirt) -> Crawl:
    """Test pictures of the second artist, what was crawled, and the leaked ones at random places within."""
    own, generator = world(seed), stream(seed, "lab", "dirty pairs", "crawl")
    popularity = (1.0 + np.arange(len(own.known))) ** -dirt.skew
    shown = generator.choice(own.known, dirt.pairs, p=popularity / popularity.sum())
    shares = [1 - dirt.wrong - dirt.empty - dirt.copied, dirt.wrong, dirt.empty, dirt.copied]
    faults = generator.choice(4, dirt.pairs, p=shares)
    artists = np.where(np.isin(shown, own.second), 0, generator.integers(0, 2, dirt.pairs))
    views = _views(shown, artists, derive_seed(seed, "lab", "dirty pairs", "views"))
    files = [_encoded(view, quality=90) for view in views]
    captions = [_caption(i, generator) for i in shown]
    for k in np.flatnonzero(faults == FAULTS.index("wrong")):
        captions[k] = _caption(generator.choice(shown), generator)
    for k in np.flatnonzero(faults == FAULTS.index("empty")):
        captions[k] = EMPTY[generator.integers(len(EMPTY))].format(generator.integers(10_000))
    first = generator.choice(np.flatnonzero(faults == 0), dirt.viral, replace=False)
    for k in np.flatnonzero(faults == FAULTS.index("copied")):
        source = generator.choice(first)
        files[k], captions[k] = _encoded(views[source], quality=60, scale=0.75), captions[source]
        shown[k] = shown[source]
    return _with_tests(own, dirt, (files, captions, shown, faults), generator)


def _with_tests(own: World, dirt: Dirt, found: tuple, generator: np.random.Generator) -> Crawl:
    files, captions, shown, faults = found
    plain = plain_pictures()[1][own.second]
    leaked = np.sort(generator.permutation(len(own.second))[: round(dirt.leaked * len(own.second))])
    order = generator.permutation(len(files) + len(leaked))
    files += [_encoded(plain[k], quality=60, scale=0.75) for k in leaked]
    captions += [_caption(own.second[k], generator) for k in leaked]
    shown = np.concatenate([shown, own.second[leaked]])[order]
    faults = np.concatenate([faults, np.full(len(leaked), FAULTS.index("leaked"))])[order]
    return Crawl(
        (*(_encoded(picture, quality=90) for picture in plain), *(files[k] for k in order)),
        (*(_caption(i, generator) for i in own.second), *(captions[k] for k in order)),
        np.concatenate([own.second, shown]),
        np.concatenate([np.full(len(own.second), -1), faults]),
    )


def _caption(concept: int, generator: np.random.Generator) -> str:
    from lucida.data.emoji import concepts

    return TEMPLATES[generator.integers(len(TEMPLATES))].format(concepts()[concept].name)


@cache
def _artwork() -> tuple[torch.Tensor, ...]:
    from lucida.data.emoji import ARTISTS, load_artwork

    return tuple(torch.from_numpy(np.array(load_artwork(artist, SIZE))) for artist in ARTISTS)


@cache
def plain_pictures() -> tuple[NDArray[np.uint8], ...]:
    """Every concept's picture by each artist as it is, ``[N, SIZE, SIZE, 3]``."""
    from lucida.data.augmentation import plain_view

    return tuple(plain_view(drawn, SIZE).numpy() for drawn in _artwork())


def _views(shown: NDArray, artists: NDArray, seed: int) -> NDArray[np.uint8]:
    from lucida.data.augmentation import augmented_view

    rgba = torch.stack([_artwork()[artist][row] for row, artist in zip(shown, artists, strict=True)])
    return augmented_view(rgba, SIZE, torch.Generator().manual_seed(seed)).numpy()


def _encoded(pixels: NDArray[np.uint8], *, quality: int, scale: float = 1.0) -> bytes:
    file, side = io.BytesIO(), round(scale * SIZE)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


@dataclass(frozen=True, eq=False)
class Kept:
    """What a chain of steps leaves of a crawl's training pairs.

    Attributes:
        rows: numbers in the crawl.
        negatives: rows of the hard negatives of each, nearest first, ``int64 [n, k]``, -1 where there are fewer; no
            columns where none were looked for.
    """

    rows: NDArray[np.int64]
    negatives: NDArray[np.int64]


def construct(found: Crawl, chains: Sequence[Sequence[str]], settings: Construction, encode: Encode) -> list[Kept]:
    """What each chain of steps leaves; chains share the work they begin with.

    Args:
        found: the crawl.
        chains: steps in the order of :data:`STEPS`.
        settings: of the stages.
        encode: of the filter and the hard negatives; it may tell pictures by :func:`row_of_place`.
    """
    folder = Path(tempfile.mkdtemp(prefix="lucida-pairs-"))
    try:
        _write(found, folder / "source")
        parts = find_parts(folder / "source")
        read = read_source(parts, folder / "read", ReadSettings(), Engine())
        stages = _Stages(folder, parts[0].root, settings, encode, {(): read})
        return [_kept(stages.after(tuple(chain)), found.tests) for chain in chains]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(found: Crawl, folder: Path) -> None:
    """Two tables, so that the test's pictures, which are named first, stay where a copy of one is dropped."""
    folder.mkdir()
    for name, part in (("0-test", slice(0, found.tests)), ("1-train", slice(found.tests, None))):
        cells = [{"bytes": file, "path": None} for file in found.files[part]]
        pq.write_table(pa.table({"image": cells, "caption": found.captions[part]}), folder / f"{name}.parquet")


@dataclass
class _Stages:
    folder: Path
    root: Path
    settings: Construction
    encode: Encode
    done: dict[tuple[str, ...], StageResult]

    def after(self, chain: tuple[str, ...]) -> StageResult:
        """The pictures are always looked at, so that copies can be told; captions are judged with the step alone."""
        if chain not in self.done:
            before = self.after(chain[:-1])
            self.done[chain] = self._do(chain[-1], before, self.folder / f"{len(self.done)}")
        return self.done[chain]

    def _do(self, step: str, before: StageResult, folder: Path) -> StageResult:
        own, engine = self.settings, Engine()
        if step == CLEAN:
            return clean(before, folder, self.root, CleanSettings(), engine)
        if step == LOOK:
            looked = CleanSettings(min_words=0, max_characters=10_000, min_side=1, max_aspect=1000, boilerplate=())
            return clean(before, folder, self.root, looked, engine)
        if step == DEDUPLICATE:
            return deduplicate(before, folder, DuplicateSettings(), engine)
        if step == FILTER:
            nearness = SimilaritySettings("trusted", share=own.keep_share)
            return filter_by_similarity(before, folder, self.root, self.encode, nearness, engine)
        if step == BALANCE:
            return balance(before, folder, BalanceSettings(cap=own.cap, concepts=_names()), engine)
        return add_negatives(before, folder, self.root, self.encode, NegativeSettings("trusted", own.negatives), engine)


LOOK = "look"
"""Cleaning that drops nothing: what is left of it where its step is left out."""


def chain_of(steps: Sequence[str]) -> tuple[str, ...]:
    """Steps in their order, with the look at the pictures in the place of cleaning where that is left out.

    >>> chain_of(["balance", "deduplicate"])
    ('look', 'deduplicate', 'balance')
    """
    return (CLEAN if CLEAN in steps else LOOK, *(step for step in STEPS[1:] if step in steps))


@cache
def _names() -> tuple[str, ...]:
    from lucida.data.emoji import concepts

    return tuple(concept.name for concept in concepts())


def row_of(id: str, tests: int) -> int:
    """Number in the crawl of a row by its id.

    >>> row_of("0-test.parquet:7", 10), row_of("1-train.parquet:7", 10)
    (7, 17)
    """
    name, _, number = id.partition(":")
    return row_of_place(name, int(number), tests)


def row_of_place(table: str, row: int, tests: int) -> int:
    """The same by the name of a table and the row in it."""
    return row + (tests if table.startswith("1") else 0)


def _kept(stage: StageResult, tests: int) -> Kept:
    rows = [row for path in stage.paths for part in read_rows(path, ["id", "negatives"]) for row in part]
    numbers = [row_of(row["id"], tests) for row in rows]
    train = [k for k, number in enumerate(numbers) if number >= tests]
    each = [rows[k]["negatives"] or [] for k in train]
    negatives = np.full((len(train), max(map(len, each), default=0)), -1)
    for own, ids in zip(negatives, each, strict=True):
        own[: len(ids)] = [row_of(id, tests) for id in ids]
    return Kept(np.array([numbers[k] for k in train]), negatives)
