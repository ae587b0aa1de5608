"""Checkpoints: weights in safetensors, the rest without pickle; whole or not there at all."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lucida.core.config import nearest
from lucida.core.errors import LucidaError, NonFiniteError

WEIGHTS, STATE = "weights.safetensors", "state.pt"
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
        torch.save(state, beside / STATE)
        for path in (beside / WEIGHTS, beside / STATE, beside):
            _flush(path)
        os.replace(beside, final)
        _flush(folder)
        for old in checkpoints(folder)[:-keep]:
            doomed = old.with_name(f".{old.name}.old")  # renamed first: a kill leaves no half-removed checkpoint
            os.replace(old, doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        raise LucidaError(f"cannot write the checkpoint: {error.strerror}", where=final) from None
    return final


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
    if path.is_file() and _is_pickle(path) and not zipfile.is_zipfile(path):
        raise _needs_pickle(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LucidaError("the checkpoint has no training state", where=path) from None
    except pickle.UnpicklingError as error:
        raise _needs_pickle(path) if _is_pickle(path) else _broken(path, error) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _broken(path, error) from None
    if not isinstance(state, dict):
        raise LucidaError("not a training state of lucida", where=path)
    return state


def save_weights(path: Path, model: nn.Module) -> None:
    """The trainable parameters and persistent buffers of a model as one safetensors file.

    Raises:
        NonFiniteError: a weight is NaN or infinite; nothing is written.
    """
    tensors = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name: _sample(p) for name, p in model.named_parameters() if not p.requires_grad}
    tensors |= _persistent_buffers(model)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteError("a weight is not finite: not saved", where=name)
    own = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}  # no shared storage
    save_file(own, path, metadata={"format": "pt", "frozen": json.dumps(frozen)})


def load_weights(model: nn.Module, path: Path, *, except_for: Sequence[str] = ()) -> None:
    """Fill a model with the weights of a checkpoint folder or of its ``weights.safetensors``.

    Args:
        except_for: globs of names that only one side may have, for example ``"vision_tower.*"`` when the model was
            trained on cached features and is to look at pictures now. They are left alone.

    Parameters that were frozen in training keep the values they have in ``model``. The model is untouched if anything
    does not fit.

    Raises:
        LucidaError: the file is missing, broken or a pickle; names or shapes differ; or a frozen parameter has other
            values than in training, so that no half-loaded model goes unnoticed.
    """
    path = path / WEIGHTS if path.is_dir() else path
    if path.is_file() and _is_pickle(path):
        raise _needs_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            frozen = json.loads((file.metadata() or {}).get("frozen", "{}"))
    except FileNotFoundError:
        raise LucidaError("no such weights", where=path) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise _broken(path, error) from None
    own: dict[str, Tensor] = dict(model.named_parameters()) | _persistent_buffers(model)
    own, stored, frozen = (
        {name: value for name, value in each.items() if not any(fnmatchcase(name, glob) for glob in except_for)}
        for each in (own, stored, frozen)
    )
    _check_fit(own, stored, frozen, path)
    with torch.no_grad():
        for name, tensor in stored.items():
            own[name].copy_(tensor)


def _check_fit(own: dict[str, Tensor], stored: dict[str, Tensor], frozen: dict[str, Any], path: Path) -> None:
    shapes = {name: list(tensor.shape) for name, tensor in stored.items()}
    shapes |= {name: sample["shape"] for name, sample in frozen.items()}
    for name, shape in shapes.items():
        if name not in own:
            near = nearest(name, own)
            raise LucidaError(
                f"the model has no {name!r}", where=path, remedy=f"the nearest is {near!r}" if near else None
            )
        if list(own[name].shape) != shape:
            raise LucidaError(f"{name!r} has shape {list(own[name].shape)}, the checkpoint {shape}", where=path)
    missing = [name for name in own if name not in shapes]
    if missing:
        raise LucidaError(f"the checkpoint has no {missing[0]!r} ({len(missing)} missing)", where=path)
    for name, sample in frozen.items():
        values = torch.tensor(sample["values"])
        if not torch.allclose(torch.tensor(_sample(own[name])["values"]), values, rtol=0.02, atol=1e-6):
            remedy = "build the model on the tower it was trained on"
            raise LucidaError(f"frozen {name!r} has other values than in training", where=path, remedy=remedy)


def _sample(parameter: Tensor) -> dict[str, Any]:
    """The shape and up to eight values spread over a frozen parameter; compared loosely, for other precisions."""
    flat = parameter.detach().flatten()
    places = torch.linspace(0, max(0, len(flat) - 1), min(8, len(flat)), device=flat.device).long()
    return {"shape": list(parameter.shape), "values": flat[places].float().tolist()}


def _persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = dict(model.named_buffers())
    return {name: buffers[name] for name in model.state_dict() if name in buffers and name not in parameters}


def _is_pickle(path: Path) -> bool:
    """A file of ``torch.save`` (zip, or older) or of ``pickle``."""
    with path.open("rb") as file:
        return file.read(2)[:1] == b"\x80" or zipfile.is_zipfile(path)


def _needs_pickle(path: Path) -> LucidaError:
    return LucidaError(
        "the file needs pickle, which can run any code: refused", where=path, remedy="convert it to safetensors"
    )


def _broken(path: Path, error: Exception) -> LucidaError:
    reason = " ".join(str(error).split())[:120]
    return LucidaError(
        f"the checkpoint is broken: {reason}", where=path, remedy="delete its folder to go on from the one before"
    )


def _flush(path: Path) -> None:
    """Have the disk hold the file (or folder entry) before the rename, for a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
