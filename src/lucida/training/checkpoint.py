"""Checkpoints: weights in safetensors, the rest without pickle; whole or not there at all."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from lucida.core.errors import LucidaError
from lucida.models.weights import WEIGHTS, broken_file, is_pickle, needs_pickle, save_weights

STATE = "state.pt"
_NAME = re.compile(r"step_(\d{9})")


def save_checkpoint(folder: Path, step: int, model: nn.Module, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``folder/step_<step>``, then remove all but the last ``keep`` checkpoints.

    Written beside and renamed: a kill at any moment leaves the checkpoints that were there, and this one whole or
    not at all.

    Args:
        folder: the run's checkpoints.
        step: optimizer steps done.
        model: its trainable parameters and persistent buffers are saved; frozen parameters come from where the model
            came from: of them, the names and a few values are kept, so that another tower is noticed.
        state: anything ``torch.load(weights_only=True)`` reads: tensors, numbers, text, lists and dicts of them.

    Raises:
        NonFiniteError: a weight is NaN or infinite; nothing is written.
        LucidaError: the disk is full or not writable.
    """
    final = folder / f"step_{step:09d}"
    beside = folder / f".{final.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".step_*"):
            shutil.rmtree(leftover)
        beside.mkdir()
        save_weights(beside / WEIGHTS, model)
        _save_state(state, beside / STATE)
        for path in (beside / WEIGHTS, beside / STATE, beside):
            _flush(path)
        os.replace(beside, final)
        _flush(folder)
        for old in checkpoints(folder)[:-keep]:
            doomed = old.with_name(f".{old.name}.old")  # renamed first: a kill leaves no half-removed checkpoint
            os.replace(old, doomed)
            shutil.rmtree(doomed)
    except (OSError, SafetensorError) as error:  # a full disk is the latter's where weights are written
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise LucidaError(f"cannot write the checkpoint: {reason}", where=final) from None
    return final


def _save_state(state: dict[str, Any], path: Path) -> None:
    """A full disk is a RuntimeError to torch's writer; here it is what it is to others."""
    try:
        torch.save(state, path)
    except RuntimeError as error:
        raise OSError(0, str(error).splitlines()[0]) from error


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if _NAME.fullmatch(p.name) and (p / WEIGHTS).is_file() and (p / STATE).is_file())


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint, or ``None``; unfinished ones are never looked at."""
    return next(reversed(checkpoints(folder)), None)


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Everything but the weights.

    Raises:
        LucidaError: the file is missing, broken, or needs pickle.
    """
    path = checkpoint / STATE
    if path.is_file() and is_pickle(path) and not zipfile.is_zipfile(path):
        raise needs_pickle(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LucidaError("the checkpoint has no training state", where=path) from None
    except pickle.UnpicklingError as error:
        raise needs_pickle(path) if is_pickle(path) else broken_file(path, error) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise broken_file(path, error) from None
    if not isinstance(state, dict):
        raise LucidaError("not a training state of lucida", where=path)
    return state


def _flush(path: Path) -> None:
    """Have the disk hold the file (or folder entry) before the rename, for a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
