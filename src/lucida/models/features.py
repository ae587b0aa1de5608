"""Features of pictures by a vision tower, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from lucida.core.cache import cached_array, content_hash
from lucida.core.errors import LucidaError, NonFiniteError
from lucida.core.progress import counted
from lucida.models.towers import VisionTower

_VERSION = 1  # raise it when the same tower and pixels give other features


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in eval mode and torch in inference mode; each part's own mode returns afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer of ``model`` lies; the CPU if it has none."""
    tensor: Tensor | None = next(model.parameters(), next(model.buffers(), None))
    return torch.device("cpu") if tensor is None else tensor.device


def fingerprint(model: nn.Module) -> str:
    """A hash of what a model computes: its weights and buffers, its layers and the plain settings of its parts.

    >>> tower = nn.Linear(2, 2)
    >>> before = fingerprint(tower)
    >>> _ = tower.weight.data.mul_(2)
    >>> before == fingerprint(tower)
    False
    """
    digest = hashlib.sha256()
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    settings = {name: _settings(module) for name, module in model.named_modules()}
    return content_hash(digest.hexdigest(), repr(model), settings)


def _settings(module: nn.Module) -> dict[str, Any]:
    """Plain public attributes; a layer's stride or the choice of a pooling is in no tensor."""
    plain = (str, int, float, bool, type(None))
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "training"
        and (isinstance(value, plain) or (isinstance(value, tuple) and all(isinstance(x, plain) for x in value)))
    }


def vision_features(
    tower: VisionTower,
    pixels: np.ndarray,
    *,
    key: str,
    what: Literal["pooled", "grid"] = "pooled",
    batch: int = 8,
) -> np.ndarray:
    """Features of all pictures, from the cache if the same tower has seen the same pixels.

    Args:
        tower: any vision tower; it runs in eval mode where its weights lie.
        pixels: ``uint8 [N, H, W, 3]``.
        key: the content key of ``pixels``; other pixels must have another key.
        what: one vector a picture, or one for each place.
        batch: pictures at a time; small chunks stay in a processor's cache.

    Returns:
        A read-only memory map, ``float16 [N, pooled_size]`` or ``float16 [N, grid_tokens, hidden_size]``.

    Raises:
        LucidaError: the pixels have another type or shape, ``what`` is unknown, or the cache is broken or full.
        NonFiniteError: a feature is NaN or does not fit float16.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise LucidaError(f"pixels must be uint8 [N, H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    if what not in ("pooled", "grid"):
        raise LucidaError(f"there are no {what!r} features", remedy="use 'pooled' or 'grid'")
    if batch < 1:
        raise LucidaError(f"a batch of {batch} pictures", remedy="use at least 1")
    count = len(pixels)
    shape = (count, tower.pooled_size) if what == "pooled" else (count, tower.grid_tokens, tower.hidden_size)
    module = cast(nn.Module, tower)
    stored = content_hash(_VERSION, tower.name, fingerprint(module), key, pixels.shape, what)

    def build(out: np.ndarray) -> None:
        device = device_of(module)
        with evaluating(module):
            for start in counted(range(0, count, batch), f"features by {tower.name}", each=batch):
                part = torch.from_numpy(np.array(pixels[start : start + batch])).to(device)
                features = getattr(tower(tower.preprocess(part)), what).to(torch.float16)
                if not features.isfinite().all():
                    raise NonFiniteError(f"{what} features of {tower.name} are NaN or beyond float16", where=key)
                out[start : start + len(part)] = features.cpu().numpy()

    return cached_array("features", stored, shape, np.float16, build)
