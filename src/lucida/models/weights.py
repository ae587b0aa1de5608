"""Weights of a model as one safetensors file: no pickle, nothing half-loaded."""

from __future__ import annotations

import json
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

WEIGHTS = "weights.safetensors"


def save_weights(path: Path, model: nn.Module, *, frozen_too: bool = False) -> None:
    """The trainable parameters and persistent buffers of a model as one safetensors file.

    Of frozen parameters the names and a few values are kept, so that another tower is noticed; all with ``frozen_too``.

    Raises:
        NonFiniteError: a weight is NaN or infinite; nothing is written.
    """
    tensors = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad or frozen_too}
    frozen = {name: _sample(p) for name, p in model.named_parameters() if name not in tensors}
    tensors |= _persistent_buffers(model)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteError("a weight is not finite: not saved", where=name)
    own = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}  # no shared storage
    save_file(own, path, metadata={"format": "pt", "frozen": json.dumps(frozen)})


def load_weights(model: nn.Module, path: Path, *, except_for: Sequence[str] = (), part: str = "") -> None:
    """Fill a model with the weights of a checkpoint folder or of its ``weights.safetensors``.

    Args:
        except_for: globs of names that only one side may have, for example ``"vision_tower.*"`` when the model was
            trained on cached features and is to look at pictures now. They are left alone.
        part: what the model is called where it was trained beside others (``"main"`` of a
            :class:`~lucida.training.tasks.MultiTask`); their weights are then left out.

    Parameters that were frozen in training keep the values they have in ``model``. The model is untouched if anything
    does not fit.

    Raises:
        LucidaError: the file is missing, broken or a pickle; names or shapes differ; or a frozen parameter has other
            values than in training, so that no half-loaded model goes unnoticed.
    """
    path = path / WEIGHTS if path.is_dir() else path
    if path.is_file() and is_pickle(path):
        raise needs_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            frozen = json.loads((file.metadata() or {}).get("frozen", "{}"))
    except FileNotFoundError:
        raise LucidaError("no such weights", where=path) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise broken_file(path, error) from None
    within = f"{part}."
    if part and any(name.startswith(within) for name in (*stored, *frozen)):
        stored, frozen = (
            {name.removeprefix(within): value for name, value in each.items() if name.startswith(within)}
            for each in (stored, frozen)
        )
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
    places = torch.linspace(0, max(0, len(flat) - 1), min(8, len(flat)), dtype=torch.float64).long().to(flat.device)
    return {"shape": list(parameter.shape), "values": flat[places].float().tolist()}


def _persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = dict(model.named_buffers())
    return {name: buffers[name] for name in model.state_dict() if name in buffers and name not in parameters}


def is_pickle(path: Path) -> bool:
    """A file of ``torch.save`` (zip, or older) or of ``pickle``."""
    with path.open("rb") as file:
        return file.read(2)[:1] == b"\x80" or zipfile.is_zipfile(path)


def needs_pickle(path: Path) -> LucidaError:
    """One line about a file that is refused."""
    return LucidaError(
        "the file needs pickle, which can run any code: refused", where=path, remedy="convert it to safetensors"
    )


def broken_file(path: Path, error: Exception) -> LucidaError:
    """One line about a file that cannot be read."""
    reason = " ".join(str(error).split())[:120]
    return LucidaError(
        f"the checkpoint is broken: {reason}", where=path, remedy="delete its folder to go on from the one before"
    )
