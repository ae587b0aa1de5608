"""``lucida data construct``: captioned pictures to pairs worth training on, stage by stage, with a datasheet."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lucida.core.config import check_settings, to_dict
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import Metric, Results, read_json
from lucida.core.run_folder import RunFolder
from lucida.data.construction.balancing import BalanceSettings, balance, read_concepts
from lucida.data.construction.cleaning import CleanSettings, clean, without_pictures
from lucida.data.construction.duplicates import DuplicateSettings, deduplicate
from lucida.data.construction.engines import Engine, EngineName
from lucida.data.construction.hard_negatives import NegativeSettings, add_negatives
from lucida.data.construction.hub import fetch_dataset, is_hub_name
from lucida.data.construction.pair_files import WriteSettings, write_pairs
from lucida.data.construction.reading import ReadSettings, read_source
from lucida.data.construction.similarity import SimilaritySettings, filter_by_similarity
from lucida.data.construction.sources import find_parts
from lucida.data.construction.stages import StageResult
from lucida.report.datasheet_page import write_datasheet
from lucida.workflows.data_findings import describe, material

STAGES = ("clean", "deduplicate", "balance")
ENCODING = ("filter", "negatives")
"""Stages that an encoder's options add."""
ORDER = ("clean", "deduplicate", "filter", "balance", "negatives")


@dataclass(frozen=True)
class ConstructConfig:
    """From captioned pictures to pairs.

    Attributes:
        pictures: WebDataset archives, Parquet, a CSV or JSON-lines table, a folder of them, a folder of pictures with a
            .txt beside each, COCO captions, a folder of the library datasets, or a data set of the Hugging Face hub by
            name.
        out: the run folder; a finished stage with the same settings and inputs is not done again (pictures beside a
            table are taken to be unchanged while the table is).
        stages: of clean, deduplicate and balance, in this order.
        format: "references": rows that say where the picture lies; "webdataset" or "parquet": with the pictures.
        captions_only: a table of captions whose pictures are not here (a column "url" is kept).
        concepts: a file with a concept a line, to balance; by default the words of the captions.
        encoder: a CLIP or SigLIP (Hugging Face folder or hub name, open_clip folder), or a run of
            ``lucida run --pictures``, for the next three.
        min_similarity: adds the stage filter before balancing: pairs stay whose picture and caption have at least this
            cosine.
        keep_share: or this part of them, the most similar.
        hard_negatives: adds the stage negatives at the end: so many of the nearest other pairs are noted with each.
        engine: "local", or "ray" for Ray Data.
        workers: processes.
        shard_rows: rows of a shard at most.
        memory: that DuckDB may hold, such as 1GB; what is more lies on disk.
        examples: shown of each kind on the page.
        clean, deduplicate, balance: settings of the stages.
    """

    pictures: Path | None = None
    out: Path = Path("runs/data")
    stages: str = ",".join(STAGES)
    format: Literal["references", "webdataset", "parquet"] = "references"
    captions_only: bool = False
    concepts: Path | None = None
    encoder: str | None = None
    min_similarity: float | None = None
    keep_share: float | None = None
    hard_negatives: int = 0
    engine: EngineName = "local"
    workers: int = 1
    shard_rows: int = 50_000
    memory: str = "1GB"
    examples: int = 6
    clean: CleanSettings = field(default_factory=CleanSettings)
    deduplicate: DuplicateSettings = field(default_factory=DuplicateSettings)
    balance: BalanceSettings = field(default_factory=BalanceSettings)

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "workers": self.workers >= 1,
                "shard_rows": 1 <= self.shard_rows < 2**31,
                "examples": self.examples >= 0,
                "memory": bool(re.fullmatch(r"\d+(\.\d+)? ?[kKMGT]i?B", self.memory)),
                "format": not (self.captions_only and self.format != "references"),
                "min_similarity": self.min_similarity is None or -1 <= self.min_similarity <= 1,
                "keep_share": self.keep_share is None or 0 < self.keep_share <= 1,
                "hard_negatives": self.hard_negatives >= 0,
            },
        )
        if problem := self._encoder_problem():
            raise LucidaError(problem, where="--encoder", remedy="see lucida data construct --help")
        named = self.chosen
        if list(named) != [name for name in STAGES if name in named]:
            raise LucidaError(
                f"stages cannot be {self.stages}",
                where="--stages",
                remedy=f"name some of {', '.join(STAGES)}, each once, in this order, with commas",
            )

    def _encoder_problem(self) -> str:
        if self.min_similarity is not None and self.keep_share is not None:
            return "either --min-similarity or --keep-share decides which pairs stay, not both"
        if self.encodes and self.captions_only:
            return "captions alone cannot be compared with pictures"
        if self.encodes and self.encoder is None:
            return "similarity needs an encoder"
        if self.encoder is not None and not self.encodes:
            return "an encoder is for --min-similarity, --keep-share or --hard-negatives"
        return ""

    @property
    def filters(self) -> bool:
        """Whether pairs are filtered by similarity."""
        return self.min_similarity is not None or self.keep_share is not None

    @property
    def encodes(self) -> bool:
        """Whether an encoder is needed."""
        return self.filters or self.hard_negatives > 0

    @property
    def chosen(self) -> tuple[str, ...]:
        """The stages by name."""
        return tuple(name for word in self.stages.split(",") if (name := word.strip()))


def construct_data(config: ConstructConfig) -> Path:
    """Make pairs.

    Returns:
        The page; beside it ``results.json``, and ``stages/`` with shards, manifests, and every row that was dropped.

    Raises:
        LucidaError: nothing can be read, or nothing is left.
    """
    if config.pictures is None:
        raise LucidaError("no pictures are named", where="--pictures", remedy="see lucida data construct --help")
    engine, results = Engine(config.engine, config.workers), Results()
    pictures = fetch_dataset(str(config.pictures)) if is_hub_name(config.pictures) else config.pictures
    parts = find_parts(pictures, captions_only=config.captions_only)
    folder = _open_folder(config)
    done: list[StageResult] = []
    plan = _plan(config, engine, parts[0].root)
    _remove_others(folder.path / "stages", [f"{place}-{name}" for place, name in enumerate(plan)])
    for name, do in plan.items():
        say(f"\n{name}")
        target = folder.path / "stages" / f"{len(done)}-{name}"
        with results.timed(name):
            if name == "read":
                settings = ReadSettings(config.shard_rows, config.captions_only)
                done.append(read_source(parts, target, settings, engine))
            else:
                done.append(do(done[-1], target))
        _tell(done[-1])
        if not done[-1].manifest.rows_out:
            reason = next(iter(done[-1].manifest.dropped), "")
            raise LucidaError(
                f"no pair is left after the stage {name}" + (f", most often: {reason}" if reason else ""),
                where=target,
                remedy=f"loosen the settings of {name}; its dropped/ has every row with its reason",
            )
    with results.timed("page"):
        describe(done, folder, parts[0].root, results, examples=config.examples, memory=config.memory)
    if not any(stage.resumed for stage in done):
        results.add("pairs/per_second", Metric(done[0].manifest.rows_in / max(sum(results.seconds.values()), 1e-9)))
    results.save(folder.results)
    material(config.pictures.absolute().name, done).save(folder)
    return write_datasheet(folder)


Do = Callable[[StageResult, Path], StageResult]
"""Takes the stage before and the folder of its own."""


def _plan(config: ConstructConfig, engine: Engine, root: Path) -> dict[str, Do]:
    """Stages by name, in their order."""
    cleaning = without_pictures(config.clean) if config.captions_only else config.clean
    balancing = config.balance
    if config.concepts is not None:
        balancing = dataclasses.replace(balancing, concepts=read_concepts(config.concepts))
    memory = config.memory
    known: dict[str, Do] = {
        "clean": lambda before, folder: clean(before, folder, root, cleaning, engine),
        "deduplicate": lambda before, folder: deduplicate(before, folder, config.deduplicate, engine, memory=memory),
        **_encoding(config, engine, root),
        "balance": lambda before, folder: balance(before, folder, balancing, engine, memory=memory),
    }
    wanted = (*config.chosen, *ENCODING)
    plan: dict[str, Do] = {"read": lambda before, folder: before}
    plan |= {name: known[name] for name in ORDER if name in wanted and name in known}
    if config.format != "references":
        written = WriteSettings(config.format)
        plan["write"] = lambda before, folder: write_pairs(before, folder, root, written, engine)
    return plan


def _encoding(config: ConstructConfig, engine: Engine, root: Path) -> dict[str, Do]:
    """The stages that need an encoder, as far as they are asked for; it is loaded here, once."""
    if config.encoder is None:
        return {}
    from lucida.workflows.pair_encoder import load_pair_encoder  # models take seconds to import

    name, encode = load_pair_encoder(config.encoder)
    stages: dict[str, Do] = {}
    if config.filters:
        nearness = SimilaritySettings(name, config.min_similarity, config.keep_share)
        stages["filter"] = lambda before, folder: filter_by_similarity(
            before, folder, root, encode, nearness, engine, memory=config.memory
        )
    if config.hard_negatives:
        settings = NegativeSettings(name, config.hard_negatives)
        stages["negatives"] = lambda before, folder: add_negatives(before, folder, root, encode, settings, engine)
    return stages


def _remove_others(folder: Path, names: Sequence[str]) -> None:
    """Stages of another plan, which would be taken for those of this one."""
    for path in folder.glob("[0-9]-*") if folder.is_dir() else ():
        if path.name not in names:
            shutil.rmtree(path)


def _open_folder(config: ConstructConfig) -> RunFolder:
    """The run folder, unless it is one of another command, whose settings would be lost."""
    folder = RunFolder(config.out)
    if folder.config.exists() and to_dict(ConstructConfig()).keys() != read_json(folder.config).keys():
        raise LucidaError("this folder holds another kind of run", where=config.out, remedy="name another with --out")
    return RunFolder.create(config.out, config, seed=config.balance.seed)


def _tell(stage: StageResult) -> None:
    manifest = stage.manifest
    left = ", ".join(f"{count:,} {reason}" for reason, count in list(manifest.dropped.items())[:3])
    again = " (done before)" if stage.resumed else ""
    say(f"{manifest.rows_out:,} of {manifest.rows_in:,} stay{again}" + (f"; dropped: {left}" if left else ""))
