"""Adapters on disk: PEFT's own files, which peft loads by itself, and beside them a word on what base they fit."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.results import read_json, write_json
from lucida.models.adapters import LoraSettings, Origin
from lucida.models.base_fingerprints import base_fingerprint

CONFIG, WEIGHTS, DESCRIPTION = "adapter_config.json", "adapter_model.safetensors", "lucida.json"


def save_adapter(model: PeftModel, folder: Path, *, base: str) -> None:
    """Write an adapter; a kill leaves either the old folder or the new one.

    A start whose product was taken from the weights becomes a part of the adapter: of rank 2r, ``[B, -B0] [A; A0]``, so
    that it fits the untouched base.

    Args:
        model: as :func:`~lucida.models.adapters.add_lora` returned it, trained.
        folder: to be made, or replaced.
        base: the base's name or folder, for people and for peft.
    """
    origin: Origin | None = getattr(model, "lucida_origin", None)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        model.save_pretrained(beside, safe_serialization=True)
        if origin is not None and origin.starts:
            _double(model, origin, beside)
        written = json.loads((beside / CONFIG).read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
        write_json(beside / CONFIG, written)
        description = {"base": base, "base_hash": origin.base if origin else base_fingerprint(model)}
        if origin is not None:
            description |= {"settings": origin.settings, "seed": origin.seed}  # type: ignore[dict-item]
        write_json(beside / DESCRIPTION, description)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _double(model: PeftModel, origin: Origin, folder: Path) -> None:
    """Put the start beside the adapter, of twice the rank and with the same scale."""
    state: dict[str, Tensor] = get_peft_model_state_dict(model)
    for name, (a, b) in origin.starts.items():
        own = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        state[own[0]] = torch.cat([state[own[0]], a.to(state[own[0]])])
        state[own[1]] = torch.cat([state[own[1]], -b.to(state[own[1]])], dim=1)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    config = read_json(folder / CONFIG)
    config["lora_alpha"] *= math.sqrt(2) if config.get("use_rslora") else 2
    config["r"] *= 2
    write_json(folder / CONFIG, config)


def load_adapter(model: Any, folder: Path, *, trainable: bool = False) -> PeftModel:
    """An adapter of lucida's or of peft's on its base; the base is untouched if anything does not fit.

    Args:
        model: the base.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
        trainable: to go on with it; else all is frozen.

    Raises:
        LucidaError: there is no adapter, its weights are a pickle, it was trained on another base, or it does not fit.
    """
    if not (folder / CONFIG).is_file():
        raise LucidaError("there is no adapter (adapter_config.json)", where=folder)
    if not (folder / WEIGHTS).is_file():
        if any(folder.glob("*.bin")):
            raise LucidaError(
                "the adapter is a pickle, which may run anything when read",
                where=folder,
                remedy="save it as safetensors with the peft that wrote it",
            )
        raise LucidaError(f"the adapter has no weights ({WEIGHTS})", where=folder)
    described = read_json(folder / DESCRIPTION) if (folder / DESCRIPTION).is_file() else {}
    base = base_fingerprint(model)
    wanted = described.get("base_hash", base)
    if wanted != base:
        raise LucidaError(
            f"the adapter was trained on another base ({wanted[:8]}, this one is {base[:8]})",
            where=folder,
            remedy=f"load it on {described.get('base', 'the base it names')}",
        )
    _check_shapes(model, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            adapted = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise LucidaError(f"the adapter does not fit: {reason}", where=folder) from None
    settings = described.get("settings") or asdict(LoraSettings())
    adapted.lucida_origin = Origin(settings, int(described.get("seed", 0)), base, {})
    return adapted


def _check_shapes(model: Any, folder: Path) -> None:
    """Every stored matrix has a layer of its size.

    Raises:
        LucidaError: one has not.
    """
    if PeftConfig.from_pretrained(folder).peft_type != "LORA":
        return
    layers = dict(model.named_modules())
    for key, tensor in load_file(folder / WEIGHTS).items():
        name, _, rest = key.removeprefix("base_model.model.").partition(".lora_")
        if not rest or "embedding" in rest:
            continue
        weight = getattr(layers.get(name), "weight", None)
        if weight is None:
            raise LucidaError(f"the model has no layer {name} to adapt", where=folder, remedy="load it on its own base")
        size, axis = (weight.shape[1], 1) if rest.startswith("A") else (weight.shape[0], 0)
        if tensor.shape[axis] != size:
            what = f"{name} has {size} {'inputs' if axis else 'outputs'}, the adapter {tensor.shape[axis]}"
            raise LucidaError(what, where=folder, remedy="load it on its own base")
