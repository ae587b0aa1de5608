"""A stage: shards in, shards and a manifest out, written beside and renamed; what is done already is found again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lucida.core.cache import content_hash
from lucida.core.config import from_dict, to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import read_json, write_json
from lucida.data.construction.rows import ShardFile, ShardReport, file_hash

MANIFEST = "manifest.json"
VERSION = 2  # of what the stages do; another one does finished stages again


@dataclass(frozen=True)
class Manifest:
    """What a stage was given, did and wrote; the same whichever engine worked, so it holds no times.

    Attributes:
        stage: its name.
        key: hash of name, settings, inputs and :data:`VERSION`; a stage with another key is done again.
        settings: of the stage.
        inputs: names and hashes of the shards it read.
        rows_in, rows_out: counted.
        dropped: rows by reason.
        shards: of rows that stay, in the corpus' order.
        others: what else it wrote: rows that were dropped, tables.
        facts: counts of the stage's own.
    """

    stage: str
    key: str
    settings: dict[str, Any]
    inputs: tuple[ShardFile, ...]
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    shards: tuple[ShardFile, ...]
    others: tuple[ShardFile, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Of a stage's folder.

        Raises:
            LucidaError: it is missing or broken.
        """
        path = folder / MANIFEST
        return from_dict(cls, read_json(path), where=str(path))


@dataclass(frozen=True)
class StageResult:
    """A finished stage: its folder and manifest, and whether it had been done before."""

    folder: Path
    manifest: Manifest
    resumed: bool = False

    @property
    def paths(self) -> list[Path]:
        """Of the shards of rows that stay."""
        return [self.folder / shard.name for shard in self.manifest.shards]

    @property
    def dropped_paths(self) -> list[Path]:
        """Of the shards of dropped rows."""
        return [self.folder / file.name for file in self.manifest.others if file.name.startswith("dropped/")]


@dataclass
class Work:
    """What a stage's function hands back: a report for each shard, other files, facts."""

    reports: list[ShardReport]
    others: list[ShardFile] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def run_stage(
    name: str, settings: Any, inputs: Sequence[ShardFile], folder: Path, work: Callable[[Path], Work]
) -> StageResult:
    """Do a stage, unless its folder holds it already: same settings, same inputs, files unchanged.

    Args:
        name: of the stage.
        settings: a dataclass.
        inputs: what it reads.
        folder: of the stage; replaced as a whole.
        work: writes ``shards/`` and more into the folder it is given.
    """
    plain = to_dict(settings)
    key = content_hash(name, VERSION, plain, [(shard.name, shard.sha256) for shard in inputs])
    finished = _finished(folder, key)
    if finished is not None:
        return StageResult(folder, finished, resumed=True)
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        done = work(beside)
        manifest = _manifest(name, key, plain, inputs, done)
        write_json(beside / MANIFEST, asdict(manifest))
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except OSError as error:
        raise LucidaError(f"cannot write the stage: {error.strerror or error}", where=folder) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return StageResult(folder, manifest)


def _manifest(name: str, key: str, settings: Any, inputs: Sequence[ShardFile], done: Work) -> Manifest:
    reports = sorted(done.reports, key=lambda report: report.number)
    dropped: Counter[str] = sum((report.dropped for report in reports), Counter())
    return Manifest(
        name,
        key,
        settings,
        tuple(inputs),
        sum(report.rows_in for report in reports),
        sum(report.rows_out for report in reports),
        dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
        tuple(shard for report in reports for shard in report.shards),
        (*(file for report in reports for file in report.others), *done.others),
        done.facts,
    )


def _finished(folder: Path, key: str) -> Manifest | None:
    """The manifest, if the stage was done with this key and its files are what they were."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = Manifest.load(folder)
    except LucidaError:
        return None
    files = (*manifest.shards, *manifest.others)
    fine = manifest.key == key and all((folder / file.name).is_file() for file in files)
    return manifest if fine and all(file_hash(folder / file.name) == file.sha256 for file in files) else None
