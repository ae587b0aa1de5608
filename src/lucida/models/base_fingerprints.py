"""Which model an adapter belongs to: a hash of names, shapes and a sample of the values of its weights."""

from __future__ import annotations

import hashlib
import re

import torch
from torch import nn

_SAMPLED = 1024  # values of each tensor; a model of billions of weights is hashed in a second


def base_fingerprint(model: nn.Module) -> str:
    """A hash that other weights, shapes or layers change; adapters in the model do not.

    Of each tensor every so many values are looked at, so that a model that differs in single values here and there
    may go unnoticed, but none that was trained on, resized or replaced.

    >>> layer = nn.Linear(3, 3)
    >>> before = base_fingerprint(layer)
    >>> _ = layer.weight.data.add_(1e-3)
    >>> before == base_fingerprint(layer)
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted((_plain(name), tensor) for name, tensor in model.named_parameters() if _own(name)):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, len(flat) // _SAMPLED)].to(torch.float32).cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:24]


def _own(name: str) -> bool:
    """Whether a parameter belongs to the base."""
    return not re.search(r"\.(lora_|modules_to_save\.)", name)


def _plain(name: str) -> str:
    """A parameter's name without what peft puts into it.

    >>> _plain("base_model.model.a.q_proj.base_layer.weight"), _plain("a.original_module.weight")
    ('a.q_proj.weight', 'a.weight')
    """
    return re.sub(r"^base_model\.model\.|(?<=\.)base_layer\.|(?<=\.)original_module\.", "", name)
