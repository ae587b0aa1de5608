"""The stage ``read``: any source as shards of rows, and beside them what is no pair, with the reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lucida.core.errors import LucidaError
from lucida.data.construction.engines import Engine
from lucida.data.construction.rows import DROPPED, Row, RowWriter, ShardFile, ShardReport, file_hash
from lucida.data.construction.sources import READABLE, Found, Part, find_pairs, walk_files
from lucida.data.construction.stages import StageResult, Work, run_stage


@dataclass(frozen=True)
class ReadSettings:
    """How a source is read.

    Attributes:
        rows_each: rows of a shard at most.
        captions_only: of a table without pictures.
    """

    rows_each: int = 50_000
    captions_only: bool = False


def read_part(number: int, part: Part, folder: Path, rows_each: int) -> ShardReport:
    """Write the pairs of a part as shards of so many rows, and what is none beside them.

    Args:
        number: of the part, in the source's order.
        part: of the source.
        folder: of the stage.
        rows_each: rows of a shard at most.
    """
    report = ShardReport(number)
    left = folder / "dropped" / f"{number:05d}.parquet"
    pairs = _counted(find_pairs(part), report)
    with RowWriter(left, DROPPED) as dropper:
        waiting = _next_pair(pairs, dropper)
        while waiting is not None or not report.shards:
            path = folder / "shards" / f"{number:05d}-{len(report.shards):05d}.parquet"
            with RowWriter(path) as keeper:
                while waiting is not None and keeper.count < rows_each:
                    keeper.add(waiting)
                    waiting = _next_pair(pairs, dropper)
            report.rows_out += keeper.count
            report.shards.append(ShardFile.of(path, keeper.count, folder))
    report.others.append(ShardFile.of(left, dropper.count, folder))
    return report


def part_state(part: Part) -> ShardFile:
    """What tells a changed part from an unchanged one: the hash of a file, or of a folder's names and sizes.

    Pictures that a table or a COCO file names are taken to be unchanged as long as that file is.
    """
    name = part.path.relative_to(part.root).as_posix()
    if part.path.is_file():
        return ShardFile(name, 0, file_hash(part.path))
    digest = hashlib.sha256()
    for path in walk_files(part.path):
        told = f"{path.relative_to(part.path).as_posix()}\0{path.stat().st_size}\0"
        digest.update(told.encode("utf-8", "surrogateescape"))
    return ShardFile(name, 0, digest.hexdigest())


def read_source(parts: Sequence[Part], folder: Path, settings: ReadSettings, engine: Engine) -> StageResult:
    """The stage ``read``: a source as shards of rows.

    Args:
        parts: of the source.
        folder: of the stage.
        settings: how it is cut.
        engine: that works; parts are read side by side.

    Raises:
        LucidaError: no part has a pair.
    """
    states = engine.map(part_state, parts, "files hashed")

    def work(beside: Path) -> Work:
        read = partial(_read_numbered, folder=beside, rows_each=settings.rows_each)
        done = Work(engine.map(read, list(enumerate(parts)), "files read"))
        if not any(report.rows_out for report in done.reports):
            reasons: Counter[str] = sum((report.dropped for report in done.reports), Counter())
            told = f", most often: {reasons.most_common(1)[0][0]}" if reasons else ""
            raise LucidaError(f"there is no pair{told}", where=parts[0].root, remedy=READABLE)
        return done

    return run_stage("read", settings, states, folder, work)


def _read_numbered(item: tuple[int, Part], *, folder: Path, rows_each: int) -> ShardReport:
    return read_part(*item, folder, rows_each)


def _counted(found: Iterable[Found], report: ShardReport) -> Iterator[Found]:
    for row, reason in found:
        report.rows_in += 1
        if reason:
            report.dropped[reason] += 1
        yield row, reason


def _next_pair(found: Iterator[Found], dropper: RowWriter) -> Row | None:
    """The next row that is a pair; what is none on the way is written away."""
    for row, reason in found:
        if not reason:
            return row
        dropper.add({**row, "reason": reason})
    return None
