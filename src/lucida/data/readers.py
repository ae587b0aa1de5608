"""The user's own pictures, wherever they lie: one function that finds out what a path is and reads it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.coco import coco_files, list_coco
from lucida.data.construction.web_datasets import list_archive
from lucida.data.corpus import Corpus, draw_splits
from lucida.data.decoding import SUFFIXES
from lucida.data.image_folder import list_image_folder, metadata_tables
from lucida.data.listing import Listing, concatenate, split_word
from lucida.data.pictures import Skipped
from lucida.data.tables import TABLES, list_table

VALIDATION_SHARE = TEST_SHARE = 0.1
_READABLE = "name a folder of pictures, a .parquet, .csv or .jsonl table, a COCO .json file, or .tar archives"


def read_pictures(path: Path, *, limit: int | None = None, split_seed: int = 0, described: bool = True) -> Corpus:
    """The pictures of a folder, a table or a COCO file.

    Understood are: a folder with a subfolder for each class, or with ``metadata.csv`` or ``.jsonl``; Parquet, one file
    or a folder of them; ``.csv`` and ``.jsonl`` tables; COCO's instances and captions; WebDataset's archives.

    Args:
        path: of the source.
        limit: if there are more pictures, a sample of so many is taken, in equal shares of every split and label. The
            others are not read; the corpus' ``n_available`` tells how many there are.
        split_seed: draws the sample, and the splits that the source does not bring: all if it names one at most;
            validation or test out of train where only that one is missing.
        described: leave out pictures about which nothing is said; without it, a folder of bare pictures will do.

    Raises:
        LucidaError: there is nothing to read, it cannot be understood, or nothing says what the pictures show.
    """
    path = Path(path)
    listing = list_pictures(path, described=described)
    numbers = _sample(list(zip(listing.splits, listing.labels, strict=True)), limit, split_seed)
    read = listing.pictures(numbers)
    skipped, pictures, splits = list(listing.skipped), [], []
    for number, picture in zip(numbers, read, strict=True):
        if isinstance(picture, Skipped):
            skipped.append(picture)
        elif described and not (picture.captions or picture.label or picture.objects or listing.exhaustive_objects):
            where = getattr(picture.source, "where", picture.id)
            skipped.append(Skipped(picture.id, where, "nothing is said about it: no caption, label or object"))
        else:
            pictures.append(picture)
            splits.append(listing.splits[number])
    corpus = Corpus(
        path.resolve().name,
        tuple(pictures),
        skipped=tuple(skipped),
        exhaustive_objects=listing.exhaustive_objects,
        n_available=len(listing) if len(numbers) < len(listing) else None,
    )
    _check_knowledge(corpus, path, described=described)
    return _with_splits(corpus, splits, split_seed, path)


def list_pictures(path: Path, *, described: bool) -> Listing:
    """Which kind of source it is decides who reads it.

    Raises:
        LucidaError: it is missing or of no known kind.
    """
    if path.is_dir():
        return _list_folder(path, described=described)
    if not path.exists():
        raise _not_found(path)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return list_table(path)
    if suffix == ".json":
        return list_coco(path)
    if suffix == ".tar":
        return list_archive(path)
    if suffix in SUFFIXES:
        raise LucidaError("this is a single picture", where=path, remedy="name the folder that holds your pictures")
    raise LucidaError(f"pictures cannot be read from a {suffix or 'nameless'} file", where=path, remedy=_READABLE)


def _list_folder(folder: Path, *, described: bool) -> Listing:
    try:
        if metadata_tables(folder):
            return list_image_folder(folder, described=described)
        archives, tables = (
            sorted(file for place in _table_folders(folder) for file in place.glob(f"[!.]*{suffix}"))
            for suffix in (".tar", ".parquet")
        )
        annotated = coco_files(folder)
    except OSError as error:
        raise LucidaError(f"cannot read the folder: {error.strerror}", where=folder) from None
    if archives or tables:  # tables beside archives are about them
        inner = [file.parent.relative_to(folder).as_posix() for file in archives or tables]
        parts = [("" if place == "." else f"{place}/", split_word(place)) for place in inner]
        read = list_archive if archives else list_table
        return concatenate(
            [
                read(file, prefix=prefix, split=split)
                for file, (prefix, split) in zip(archives or tables, parts, strict=True)
            ]
        )
    return list_coco(folder) if annotated else list_image_folder(folder, described=described)


def _table_folders(folder: Path) -> list[Path]:
    """The folder itself, ``data/`` as on the Hugging Face hub, and subfolders called after splits."""
    inner = [entry for entry in folder.iterdir() if entry.name == "data" or split_word(entry.name)]
    return [folder, *(entry for entry in inner if entry.is_dir())]


def _not_found(path: Path) -> LucidaError:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    return LucidaError(
        "no such file or folder", where=path, remedy=f"did you mean {path.parent / near[0]}?" if near else _READABLE
    )


def _sample(strata: Sequence[Hashable], limit: int | None, seed: int) -> list[int]:
    """Numbers of at most ``limit`` pictures, each as likely as any other, in order; strata keep their shares."""
    if limit is None or len(strata) <= limit:
        return list(range(len(strata)))
    members: dict[Hashable, list[int]] = {}
    for number, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(number)
    generator = stream(seed, "sample")
    place = np.empty(len(strata))
    for numbers in members.values():  # evenly over [0, 1), in random order: a cut anywhere takes equal shares
        ranks = generator.permutation(len(numbers))
        place[numbers] = (ranks + generator.random()) / len(numbers)
    return np.sort(np.argsort(place, kind="stable")[:limit]).tolist()


def _check_knowledge(corpus: Corpus, path: Path, *, described: bool) -> None:
    """Something must be said about the pictures, and not of all the same.

    Raises:
        LucidaError: that is not so.
    """
    if not len(corpus):
        reasons = Counter(row.reason for row in corpus.skipped).most_common(1)
        what = f"no picture can be used, most often: {reasons[0][0]}" if reasons else "there is no picture"
        raise LucidaError(what, where=path, remedy=_READABLE)
    if described and not any(picture.captions or picture.objects for picture in corpus) and len(corpus.classes) < 2:
        raise LucidaError(
            f"all pictures have one label, {corpus.classes[0]!r}, and no captions"
            if corpus.classes
            else "no picture has a caption, label or object",
            where=path,
            remedy="add captions, or pictures of a second class",
        )


def _with_splits(corpus: Corpus, named: Sequence[str | None], seed: int, path: Path) -> Corpus:
    """The source's splits, and those that it does not bring.

    Raises:
        LucidaError: the source has several splits, but nothing to train on.
    """
    names = {name for name in named if name}
    if len(names) < 2:
        return draw_splits(corpus, seed, validation_share=VALIDATION_SHARE, test_share=TEST_SHARE)
    if "train" not in names:
        raise LucidaError(
            f"no split is called 'train': there are {', '.join(map(repr, sorted(names)))}",
            where=path,
            remedy="call one of them train, or leave the splits out, and they are drawn",
        )
    pictures = tuple(
        dataclasses.replace(picture, split=name or "train") for picture, name in zip(corpus, named, strict=True)
    )
    corpus = dataclasses.replace(corpus, pictures=pictures)
    cut = draw_splits(
        corpus.split("train"),
        seed,
        validation_share=0 if "validation" in names else VALIDATION_SHARE,
        test_share=0 if "test" in names else TEST_SHARE,
    )
    drawn = {picture.id: picture for picture in cut}
    pictures = tuple(drawn.get(picture.id, picture) for picture in corpus)
    return dataclasses.replace(corpus, pictures=pictures, drawn=cut.drawn)
