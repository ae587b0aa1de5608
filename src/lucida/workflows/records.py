"""What every run keeps: a folder that goes on with the same settings alone, and what is shown of its training."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from torch import nn

from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import read_json, write_json
from lucida.core.run_folder import RunFolder
from lucida.data.corpus import Corpus
from lucida.report.material import Curve, TrainableRow
from lucida.training.parameter_groups import trainable_by_block
from lucida.workflows.run_config import RunConfig
from lucida.workflows.stages import TITLES, TRAINED

MADE_FROM = "corpus.json"

_FREE = {"out", "micro_batch_size", "sharding", "test_pictures"}
_FREE |= {"validate_every", "checkpoint_every", "log_every", "probe_every"}


def open_run(config: RunConfig, corpus: Corpus) -> RunFolder:
    """The folder of a new run, or of one that goes on with the very same settings and pictures.

    Raises:
        LucidaError: it holds models that were trained with other settings or on other pictures; nothing is changed.
    """
    return open_folder(config.out, config, {"pictures": corpus.fingerprint()}, seed=config.seed)


def open_folder(
    out: Path, config: object, made_from: Mapping[str, str], *, seed: int, free: AbstractSet[str] = frozenset()
) -> RunFolder:
    """The folder of a new run, or of one that goes on with the very same settings and what it is made from.

    Args:
        out: the folder.
        config: the run's settings.
        made_from: a mark of each thing the run is made from.
        seed: of the run.
        free: settings that may be others, besides those of where, how often and in what parts.

    Raises:
        LucidaError: as of :func:`open_run`.
    """
    folder = RunFolder(out)
    if any(out.glob("checkpoints/step_*")) or any(out.glob("stages/*/checkpoints/step_*")):
        _check_same(folder.load_config(), to_dict(config), "config.json", _FREE | free)
        _check_same(read_json(out / MADE_FROM), made_from, MADE_FROM, frozenset())
    folder = RunFolder.create(out, config, seed=seed)
    write_json(out / MADE_FROM, dict(made_from))
    return folder


def _check_same(
    stored: Mapping[str, object], now: Mapping[str, object], where: str, free: AbstractSet[str], prefix: str = ""
) -> None:
    for key in sorted({*stored, *now} - free):
        before, after = stored.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            _check_same(before, after, where, free, f"{prefix}{key}.")
        elif before != after:
            other = "on other pictures" if key == "pictures" else f"from another {key}"
            what = other if where == MADE_FROM else f"with {prefix}{key} = {before}, not {after}"
            raise LucidaError(
                f"the run in this folder was started {what}",
                where=where,
                remedy="start another one with --out, or delete the folder",
            )


def curves(folder: RunFolder) -> tuple[Curve, ...]:
    """The learning curves of the stages that the run has."""
    there = [name for name in TRAINED if (folder.path / "stages" / name).exists()]
    return tuple(Curve(TITLES[name], f"stages/{name}/metrics.jsonl") for name in there)


def trainable(models: Mapping[str, nn.Module]) -> tuple[TrainableRow, ...]:
    """The table of trainable parameters."""
    return tuple(
        TrainableRow(name, block, *sizes)
        for name, model in models.items()
        for block, sizes in trainable_by_block(model).items()
    )
