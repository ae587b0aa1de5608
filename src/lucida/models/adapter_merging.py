"""Adapters merged into the weights and taken out again, with what the rounding did to the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.models.adapters import ADAPTER, lora_layers


@dataclass(frozen=True)
class Fidelity:
    """How close the merged model is to the model with its adapters.

    Attributes:
        max_logit_difference: the largest of all logits that were compared.
        answer_agreement: share of the rows whose largest logit is the same word, 0 to 1.
        rows: that were compared.
        dtype: of the merged weights.
    """

    max_logit_difference: float
    answer_agreement: float
    rows: int
    dtype: str

    def __str__(self) -> str:
        return (
            f"merged in {self.dtype}: logits differ by at most {self.max_logit_difference:.2g}, the likeliest word is "
            f"the same in {100 * self.answer_agreement:.2f} % of {self.rows:,} places"
        )


def merge(model: Any, logits: Callable[[], Tensor]) -> Fidelity:
    """Add every adapter's product to its layer's weight, computed in float64 and rounded once.

    The layers' own weights are kept until :func:`unmerge`.

    Args:
        model: as :func:`~lucida.models.adapters.add_lora` returns it.
        logits: computes logits ``[n, V]`` of the model as it is, for what is compared; called before and after.

    Raises:
        LucidaError: there is no adapter, or it is merged already.
    """
    layers = [layer for _, layer in lora_layers(model)]
    if not layers or any(layer.merged for layer in layers):
        raise LucidaError("the adapters are merged already" if layers else "there are no adapters to merge")
    with torch.inference_mode():
        before = logits().float()
    with torch.no_grad():
        for layer in layers:
            weight = layer.get_base_layer().weight
            layer.lucida_unmerged = weight.detach().clone()
            a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
            weight.copy_((weight.double() + layer.scaling[ADAPTER] * (b.double() @ a.double())).to(weight.dtype))
            layer.merged_adapters.append(ADAPTER)
    with torch.inference_mode():
        after = logits().float()
    agreement = float((before.argmax(dim=-1) == after.argmax(dim=-1)).float().mean())
    dtype = str(layers[0].get_base_layer().weight.dtype).removeprefix("torch.")
    return Fidelity(float((before - after).abs().max()), agreement, len(before), dtype)


def unmerge(model: Any) -> None:
    """Give every layer back the weight it had before, bit for bit.

    Raises:
        LucidaError: the adapters are not merged.
    """
    layers = [layer for _, layer in lora_layers(model) if layer.merged]
    if not layers:
        raise LucidaError("the adapters are not merged")
    with torch.no_grad():
        for layer in layers:
            layer.get_base_layer().weight.copy_(layer.lucida_unmerged)
            del layer.lucida_unmerged
            layer.merged_adapters.clear()


def save_merged(model: Any, processor: Any, folder: Path) -> None:
    """Write a merged model as a Hugging Face folder that transformers alone loads; the adapters are gone afterwards.

    Raises:
        LucidaError: the adapters are not merged, or the folder is not empty.
    """
    if not any(layer.merged for _, layer in lora_layers(model)):
        raise LucidaError("the adapters are not merged", remedy="call merge first")
    if folder.exists() and any(folder.iterdir()):
        raise LucidaError("the folder is not empty", where=folder, remedy="name a new one")
    for _, layer in lora_layers(model):
        layer.lucida_unmerged = None
    plain = model.merge_and_unload()  # what is merged already is left as it is; the trained projector takes its place
    plain.save_pretrained(folder)
    processor.save_pretrained(folder)
