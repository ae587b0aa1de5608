"""Where a run is, saved and restored whole: weights, optimizer and counters. Random streams follow from the step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lucida.core.errors import LucidaError
from lucida.models.weights import load_weights
from lucida.training.checkpoint import latest_checkpoint, load_state, save_checkpoint
from lucida.training.step import StepOutput


@dataclass
class TrainState:
    """Where a run is.

    Attributes:
        step: updates done.
        examples: examples seen.
        seconds: training time, over all resumed parts, without validation and checkpoints.
        loss: the mean loss of the last batch.
        validation: the last validation's metrics.
        checkpoint: the last checkpoint.
    """

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    validation: dict[str, float] = field(default_factory=dict)
    checkpoint: Path | None = None

    def advance(self, output: StepOutput, batch_size: int, seconds: float) -> None:
        """Count one more step."""
        self.step += 1
        self.examples += batch_size
        self.seconds += seconds
        self.loss = output.loss


def save_run(
    folder: Path, state: TrainState, model: nn.Module, optimizer_state: dict[str, Any], settings: dict[str, Any]
) -> Path:
    """A checkpoint of the run: always of the whole, so that any number of processes goes on from it.

    Args:
        folder: of the run's checkpoints.
        model: whole.
        optimizer_state: whole, as its ``state_dict`` says it.
        settings: what a continued run must have in common with this one, in plain values.

    Raises:
        NonFiniteError: a weight is NaN or infinite; nothing is written.
        LucidaError: the disk is full or not writable.
    """
    content = {
        "step": state.step,
        "examples": state.examples,
        "seconds": state.seconds,
        "loss": state.loss,
        "validation": state.validation,
        "settings": settings,
        "optimizer": optimizer_state,
    }
    return save_checkpoint(folder, state.step, model, content)


def restore_run(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any], *, resume: bool
) -> TrainState:
    """The state of the latest checkpoint, with model and optimizer filled; a new state if there is none.

    Raises:
        LucidaError: there is a checkpoint and ``resume`` is off; or it is broken, or of other settings or parameters.
    """
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return TrainState()
    if not resume:
        raise LucidaError(
            "the run folder already holds a training run",
            where=checkpoint,
            remedy="resume it, or choose another folder",
        )
    content = load_state(checkpoint)
    try:
        _check_same(content["settings"], settings, checkpoint)
        names = [group["names"] for group in content["optimizer"]["param_groups"]]
        if names != [group["names"] for group in optimizer.param_groups]:
            remedy = "choose another folder"
            raise LucidaError("the checkpoint trained other parameters", where=checkpoint, remedy=remedy)
        load_weights(model, checkpoint)
        optimizer.load_state_dict(content["optimizer"])
        kept = {key: content[key] for key in ("step", "examples", "seconds", "loss", "validation")}
    except (KeyError, TypeError, ValueError) as error:
        raise LucidaError(f"not a training state of lucida: {error!r}", where=checkpoint) from None
    return TrainState(**kept, checkpoint=checkpoint)


def _check_same(stored: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    for key, value in now.items():
        if stored.get(key) != value:
            raise LucidaError(
                f"the run was started with {key} = {stored.get(key)}, not {value}",
                where=checkpoint,
                remedy="resume with the same value, or choose another folder",
            )
