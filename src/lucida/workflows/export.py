"""``lucida export``: what was trained here, or came from elsewhere, as a folder that other libraries load alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lucida.core.config import from_dict
from lucida.core.errors import LucidaError
from lucida.core.results import read_json
from lucida.data.chat_tokens import ChatTokens
from lucida.models.adapter_files import load_adapter
from lucida.models.adapter_merging import Fidelity, merge, save_merged
from lucida.models.image_text_models import ImageTextModel, Seen, load_image_text_model
from lucida.models.imported_encoders import Layout
from lucida.models.packed_attention import packed_states
from lucida.training.chats import ChatData
from lucida.workflows.adapt import AdaptConfig, adapt_parts
from lucida.workflows.adapted_models import ADAPTER, adapted
from lucida.workflows.chat_material import chat_material
from lucida.workflows.exported_encoders import ExportedEncoder, export_encoder

COMPARED = 16  # held-out chats of which every place is compared


@dataclass(frozen=True)
class Exported:
    """A merged model: where it lies, and what merging did to its answers."""

    folder: Path
    fidelity: Fidelity

    def __str__(self) -> str:
        return str(self.fidelity)


def export(
    source: str, folder: Path, *, layout: Layout = "huggingface", base: str | None = None, share: float = 1.0
) -> Exported | ExportedEncoder:
    """A run of ``lucida adapt`` as a merged model; a CLIP or SigLIP (:func:`export_encoder`) in another layout.

    Raises:
        LucidaError: there is nothing to export, it has no place in that layout, or the folder is not empty.
    """
    if not adapted(Path(source)):
        return export_encoder(source, folder, layout, base=base, share=share)
    if layout != "huggingface" or base is not None or share != 1:
        raise LucidaError(
            "an adapted vision-language model is no dual encoder", where=source, remedy="leave the options out"
        )
    return export_adapted(Path(source), folder)


def export_adapted(run: Path, folder: Path) -> Exported:
    """Merge the adapter of a run of ``lucida adapt`` into its model and write the whole as a Hugging Face folder.

    The model with its adapter and the merged one are compared on the run's held-out chats before anything is written.

    Raises:
        LucidaError: its model or chats are gone or have changed, or the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LucidaError("the folder is not empty", where=folder, remedy="name a new one")
    config = from_dict(AdaptConfig, read_json(run / "config.json"), where=str(run / "config.json"))
    model, processor = load_image_text_model(config.model)
    peft = load_adapter(model.hugging_face, run / ADAPTER).eval()
    tokens = ChatTokens(processor, max_length=config.max_length)
    _, validation = adapt_parts(config, tokens)
    what: Seen = "tower" if config.lora.train_projector else "projected"
    data = chat_material(model, tokens, validation, validation, what=what).validation_data
    fidelity = merge(peft, lambda: answer_logits(model, data))
    save_merged(peft, processor, folder)
    return Exported(folder, fidelity)


def answer_logits(model: ImageTextModel, data: ChatData) -> Tensor:
    """Logits ``[n, V]`` of every text place of the first held-out chats."""
    batch = data.batch(range(min(COMPARED, len(data))))
    with torch.inference_mode():
        image_tokens = batch["image_tokens"] if "image_tokens" in batch else model.project(batch["tower_features"])
        embedded = model.embed(batch["input_ids"], image_tokens)
        states = packed_states(model.decoder, embedded[None], batch["lengths"])[0]
        return model.hugging_face.get_output_embeddings()(states[batch["input_ids"] != model.image_token_id])
