"""CLIP and SigLIP dual encoders written for transformers or open_clip, and compared with what was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.results import read_json
from lucida.models.dual_encoder import DualEncoder
from lucida.models.imported_encoders import LAYOUTS, Layout, load_dual_encoder, save_dual_encoder, stored_dtype
from lucida.models.interpolation import interpolated
from lucida.models.weights import load_weights
from lucida.training.checkpoint import latest_checkpoint

_TEXTS = ("a photo of a dog", "two red apples on a table", "a street at night", "the number seven")
_SEED = 0


@dataclass(frozen=True)
class ExportedEncoder:
    """A dual encoder that was written: where, how, and how far its logits are from those of what it was made of."""

    folder: Path
    layout: Layout
    dtype: str
    max_logit_difference: float

    def __str__(self) -> str:
        return (
            f"written for {'open_clip' if self.layout == 'open_clip' else 'transformers'} in {self.dtype}: read again, "
            f"its logits differ by at most {self.max_logit_difference:.2g}"
        )


def export_encoder(
    source: str, folder: Path, layout: Layout = "huggingface", *, base: str | None = None, share: float = 1.0
) -> ExportedEncoder:
    """Write a dual encoder in another layout, or with what a training run made of it.

    Weights are written in the precision in which the source (of a run: its base) has them.

    Args:
        source: a Hugging Face or open_clip folder of CLIP or SigLIP; or, with a ``base``, a run folder whose checkpoint
            was trained from it.
        folder: a new one.
        base: the folder or hub name from which the source was tuned.
        share: of the tuning; below 1 the weights lie between the base's and the source's (WiSE-FT).

    Raises:
        LucidaError: the source is no such model, has no place in that layout, or does not fit its base.
    """
    if share != 1 and base is None:
        raise LucidaError("a share of the tuning needs to know what was tuned", remedy="name it with --base")
    encoder, weights = _tuned(source, base)
    if base is not None and share != 1:
        mixed = interpolated(load_dual_encoder(base).state_dict(), encoder.state_dict(), share)
        encoder.load_state_dict(mixed)
    dtype = stored_dtype(weights)
    expected = sample_logits(encoder)
    save_dual_encoder(encoder, folder, layout=layout, dtype=dtype)
    found = sample_logits(load_dual_encoder(folder))
    return ExportedEncoder(folder, layout, str(dtype).removeprefix("torch."), float((found - expected).abs().max()))


@torch.inference_mode()
def sample_logits(encoder: DualEncoder) -> Tensor:
    """Logits ``[4, 4]`` of a few pictures of noise with a few sentences, always the same."""
    generator = torch.Generator().manual_seed(_SEED)
    side = encoder.vision_tower.image_size
    pixels = torch.randint(0, 256, (len(_TEXTS), side, side, 3), generator=generator, dtype=torch.uint8)
    image = {"pixel_values": encoder.vision_tower.preprocess(pixels)}
    return encoder(image, encoder.text_tower.tokenize(_TEXTS))


def _tuned(source: str, base: str | None) -> tuple[DualEncoder, str]:
    """The encoder of a folder, or of a run's last checkpoint on its base; and where a whole one lies."""
    folder = Path(source)
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        _refuse_runs(folder)
        return load_dual_encoder(source), source
    if base is None:
        raise LucidaError(
            "a run keeps what was trained, not what it was trained from",
            where=source,
            remedy="name that with --base, a folder or hub name of CLIP or SigLIP",
        )
    encoder = load_dual_encoder(base)
    load_weights(encoder, checkpoint, part="main")
    return encoder, base


def _refuse_runs(folder: Path) -> None:
    """One line about a folder of ``lucida run``: its dual encoder has heads that no other library knows."""
    path = folder / "config.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict) or "model_type" in content:
        return
    stage = content.get("encoder")
    if isinstance(stage, dict) and "vision_tower" in stage:
        towers = f"the vision tower {stage['vision_tower']!r} and the text tower {stage.get('text_tower')!r}"
        raise LucidaError(
            f"the dual encoder of this run has heads of its own on features of {towers}: neither format has a place "
            "for them",
            where=folder,
            remedy="what can be exported: runs of lucida adapt, and dual encoders of CLIP and SigLIP",
        )
    if content:
        raise LucidaError("this run has no model to export", where=folder, remedy="see lucida export --help")


def layout_of(word: str) -> Layout:
    """The layout of that name.

    Raises:
        LucidaError: there is none.
    """
    for layout in LAYOUTS:
        if word == layout:
            return layout
    raise LucidaError(f"there is no format {word!r}", remedy=f"there are {' and '.join(LAYOUTS)}")
