"""Balancing as MetaCLIP does it (Xu et al. 2023, arXiv 2309.16671): frequent concepts are thinned, rare ones stay.

Captions are matched against a list of concepts, whole words only. A concept with more than ``cap`` captions keeps each
of its pairs with probability cap / count; a pair stays if one of its concepts keeps it. Pairs of a split that is held
out all stay, and do not count.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lucida.core.errors import LucidaError
from lucida.data.construction.caption_hashes import normal
from lucida.data.construction.database import MEMORY, database, parquet, quoted
from lucida.data.construction.engines import Engine
from lucida.data.construction.rows import (
    TRAINING,
    Row,
    RowWriter,
    ShardFile,
    ShardReport,
    held_out,
    read_rows,
    split_rows,
)
from lucida.data.construction.stages import StageResult, Work, run_stage

CONCEPTS_FILE = "concepts.parquet"
FREQUENCIES = pa.schema(
    [("concept", pa.string()), ("before", pa.int64()), ("after", pa.int64()), ("probability", pa.float64())]
)
_MATCHES = pa.schema([("number", pa.int64()), ("concepts", pa.list_(pa.string()))])
_STOP_WORDS = """
a about above after again all also an and any are as at be been being below between both but by can could did do
does each for from had has have he her here his how i if in into is it its just like me more most my near next
no not of off on one or other our out over own same she so some such than that the their them then there these
they this those through to too under up very was we were what when where which while who will with would you
your
"""
_GRAMMAR = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class BalanceSettings:
    """How concepts are balanced.

    Attributes:
        cap: a concept with fewer pairs keeps all, one with more about so many; MetaCLIP's 20,000 is for 400 million
            pairs.
        concepts: to match; none for the words of the corpus itself, without those of grammar.
        min_count: captions that a word of the corpus needs to be a concept.
        max_concepts: of the corpus' words, the most frequent ones.
        unmatched: pairs without a concept: MetaCLIP drops them.
        seed: of the draws, which depend on seed, id and concept alone.
    """

    cap: int = 1000
    concepts: tuple[str, ...] = ()
    min_count: int = 5
    max_concepts: int = 200_000
    unmatched: Literal["drop", "keep"] = "drop"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("cap", "min_count", "max_concepts"):
            if getattr(self, name) < 1:
                raise LucidaError(f"{name} cannot be {getattr(self, name)}", where="balance")


def read_concepts(path: Path) -> tuple[str, ...]:
    """A concept a line; empty lines and what follows a # are none.

    Raises:
        LucidaError: the file cannot be read, or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise LucidaError(f"cannot read the concepts: {error.strerror}", where=path) from None
    except UnicodeDecodeError:
        raise LucidaError("the list of concepts is not UTF-8 text", where=path, remedy="save it as UTF-8") from None
    found = tuple(dict.fromkeys(name for line in lines if (name := normal(line.partition("#")[0]))))
    if not found:
        raise LucidaError("the list names no concept", where=path, remedy="write one on each line")
    return found


@dataclass(frozen=True)
class Matcher:
    """Finds concepts in captions: whole words, whatever case and punctuation.

    >>> Matcher.of(["hot dog", "dog"]).match("A hot-dog and two dogs; a Dog!")
    ['dog', 'hot dog']
    """

    concepts: frozenset[str]
    most_words: int = field(default=1)

    @classmethod
    def of(cls, concepts: Iterable[str]) -> Matcher:
        """Of a list in any form."""
        known = frozenset(name for concept in concepts if (name := normal(concept)))
        return cls(known, max((name.count(" ") + 1 for name in known), default=1))

    def match(self, caption: str) -> list[str]:
        """The concepts that the caption names, each once, sorted."""
        words = normal(caption).split()
        found = set()
        for length in range(1, self.most_words + 1):
            for start in range(len(words) - length + 1):
                text = " ".join(words[start : start + length])
                if text in self.concepts:
                    found.add(text)
        return sorted(found)


def balance(
    source: StageResult, folder: Path, settings: BalanceSettings, engine: Engine, *, memory: str = MEMORY
) -> StageResult:
    """The stage ``balance``: pairs that a concept keeps and those held out, with their concepts.

    Args:
        source: the stage before.
        folder: of this stage; it holds ``concepts.parquet``: counts before and after, the most frequent first.
        settings: cap and concepts.
        engine: that matches and draws.
        memory: of DuckDB.
    """

    def work(beside: Path) -> Work:
        shards = list(enumerate(source.paths))
        matcher = Matcher.of(settings.concepts) if settings.concepts else None
        found = engine.map(partial(match_shard, folder=beside, matcher=matcher), shards, "shards matched")
        counts = beside / "counts.parquet"
        with database(beside, memory=memory) as connection:
            _count(connection, [beside / file.name for file in found], settings, counts)
        draw = partial(draw_shard, folder=beside, counts=counts, settings=settings)
        reports = engine.map(draw, shards, "shards balanced")
        shards_after = [beside / shard.name for report in reports for shard in report.shards]
        with database(beside, memory=memory) as connection:
            table = _frequencies(connection, counts, shards_after, settings.cap, beside)
        shutil.rmtree(beside / "matches")
        counts.unlink()
        return Work(reports, [table], {"concepts": table.rows})

    return run_stage("balance", settings, source.manifest.shards, folder, work)


def match_shard(shard: tuple[int, Path], *, folder: Path, matcher: Matcher | None) -> ShardFile:
    """Concepts of each row of a shard that may be trained on; without a list, its words."""
    number, path = shard
    target = folder / "matches" / f"{number:05d}.parquet"
    with RowWriter(target, _MATCHES) as writer:
        for rows in read_rows(path, ["caption", "split"]):
            for row in (row for row in rows if not held_out(row)):
                writer.add({"number": writer.count, "concepts": _match(row["caption"], matcher)})
    return ShardFile(target.relative_to(folder).as_posix(), writer.count, "")


def _match(caption: str, matcher: Matcher | None) -> list[str]:
    if matcher is not None:
        return matcher.match(caption)
    words = normal(caption).split()
    return sorted({word for word in words if any(map(str.isalpha, word)) and word not in _GRAMMAR})


def _count(connection: Any, matches: list[Path], settings: BalanceSettings, target: Path) -> None:
    """Captions of each concept; of the corpus' own words the frequent ones."""
    own = "" if settings.concepts else f"HAVING count(*) >= {settings.min_count}"
    limit = "" if settings.concepts else f"LIMIT {settings.max_concepts}"
    connection.execute(
        f"COPY (SELECT concept, count(*) AS before FROM (SELECT unnest(concepts) AS concept FROM {parquet(matches)})"
        f" GROUP BY concept {own} ORDER BY before DESC, concept {limit}) TO {quoted(target)}"
        " (FORMAT parquet)"
    )


def draw_shard(shard: tuple[int, Path], *, folder: Path, counts: Path, settings: BalanceSettings) -> ShardReport:
    """Keep the rows of one shard that a concept keeps."""
    number, path = shard
    listed = (row for rows in read_rows(counts) for row in rows)
    probabilities = {row["concept"]: min(1.0, settings.cap / row["before"]) for row in listed}
    matcher = Matcher.of(settings.concepts) if settings.concepts else None

    def judged() -> Iterator[list[tuple[Row, str]]]:
        for rows in read_rows(path):
            batch = []
            for row in rows:
                concepts = [name for name in _match(row["caption"], matcher) if name in probabilities]
                reason = "" if held_out(row) else _reason(row["id"], concepts, probabilities, settings)
                batch.append(({**row, "concepts": concepts}, reason))
            yield batch

    return split_rows(judged(), number, folder)


def _reason(id: str, concepts: list[str], probabilities: Mapping[str, float], settings: BalanceSettings) -> str:
    if not concepts:
        return "" if settings.unmatched == "keep" else "no concept"
    kept = any(probabilities[name] >= 1 or uniform(settings.seed, id, name) < probabilities[name] for name in concepts)
    return "" if kept else "more pairs than its concepts may keep"


def uniform(seed: int, id: str, concept: str) -> float:
    """A number in [0, 1) that depends on these three alone.

    >>> uniform(0, "a", "dog") == uniform(0, "a", "dog") != uniform(1, "a", "dog")
    True
    """
    digest = hashlib.blake2b(f"{seed}\0{id}\0{concept}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _frequencies(connection: Any, counts: Path, shards: list[Path], cap: int, folder: Path) -> ShardFile:
    query = (
        f"SELECT c.concept, c.before, coalesce(a.after, 0) AS after, least(1.0, {cap} / c.before) AS probability"
        f" FROM {parquet([counts])} c LEFT JOIN (SELECT concept, count(*) AS after FROM"
        f" (SELECT unnest(concepts) AS concept FROM {parquet(shards)} WHERE {TRAINING})"
        " GROUP BY concept) a USING (concept)"
        " ORDER BY c.before DESC, c.concept"
    )
    path = folder / CONCEPTS_FILE
    with RowWriter(path, FREQUENCIES) as writer:
        for batch in connection.sql(query).to_arrow_table().cast(FREQUENCIES).to_batches():
            writer.add_batch(batch)
    return ShardFile.of(path, writer.count, folder)
