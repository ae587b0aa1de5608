"""Anyone's model as a command names it: a Hugging Face model, or a run of ``lucida adapt`` on top of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.core.results import read_json
from lucida.models.adapter_files import load_adapter
from lucida.models.image_text_models import ImageTextModel, load_image_text_model

ADAPTER = "adapter"  # where the finished adapter lies in a run folder


def adapted(folder: Path) -> bool:
    """Whether a folder is a run of ``lucida adapt``."""
    return (folder / ADAPTER).is_dir()


def load_model_or_run(source: str | Path) -> tuple[ImageTextModel, Any]:
    """A model and its processor; a run's adapter is loaded on the base that it was trained on.

    Raises:
        LucidaError: there is no such model, it is broken, or the base is another one than the adapter was trained on.
    """
    folder = Path(source)
    if not adapted(folder):
        return load_image_text_model(source)
    base = read_json(folder / "config.json").get("model")
    if not base:
        raise LucidaError("the run does not name its model", where=folder / "config.json")
    model, processor = load_image_text_model(base)
    load_adapter(model.hugging_face, folder / ADAPTER)
    return model, processor
