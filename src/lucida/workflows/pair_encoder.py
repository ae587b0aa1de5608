"""An encoder of somebody's choice as data construction takes it: pictures and captions to features of one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from lucida.core.config import from_dict
from lucida.core.errors import LucidaError
from lucida.core.results import read_json
from lucida.core.run_folder import RunFolder
from lucida.data.construction.similarity import Encode
from lucida.data.decoding import EncodedSource
from lucida.data.pictures import BadPicture
from lucida.data.pixels import as_square
from lucida.models.dual_encoder import DualEncoder, seeded_heads
from lucida.models.features import fingerprint
from lucida.models.hugging_face import load_text_tower
from lucida.models.imported_encoders import load_dual_encoder
from lucida.models.text_towers import encode_texts
from lucida.models.weights import load_weights
from lucida.training.checkpoint import latest_checkpoint
from lucida.workflows.encoder_stage import EncoderStage
from lucida.workflows.picture_encoder import make_tower

EncodeTexts = Callable[[Sequence[str]], Tensor]

_BATCH = 32  # pictures through the tower at once


def load_pair_encoder(source: str) -> tuple[str, Encode]:
    """A name that tells encoders apart, weights included, and the callable.

    Args:
        source: a CLIP or SigLIP (Hugging Face folder or hub name, open_clip folder), or the folder of a
            ``lucida run --pictures``.

    Raises:
        LucidaError: there is no such model, or the run has no dual encoder of pictures and captions.
    """
    folder = Path(source)
    if (folder / "stages").is_dir():
        return _of_run(folder)
    encoder = load_dual_encoder(source, frozen=True)
    tower, text_tower = encoder.vision_tower, encoder.text_tower

    def prepare(source: EncodedSource) -> Tensor:
        pixels = torch.from_numpy(np.array(_opened(source, tower.crop_from or tower.image_size)))
        return tower.preprocess(pixels[None])

    def read(texts: Sequence[str]) -> Tensor:
        return encoder.encode_text(**text_tower.tokenize(list(texts)))

    return f"{folder.name} {fingerprint(encoder)[:16]}", _encode(encoder, prepare, read)


def _of_run(run: Path) -> tuple[str, Encode]:
    """Two heads on frozen towers, as a run on somebody's pictures trained them; on artwork there are others."""
    trained = RunFolder(run / "stages" / "dual_encoder")
    checkpoint = latest_checkpoint(trained.path / "checkpoints")
    if checkpoint is None or not read_json(RunFolder.open(run).config).get("pictures"):
        raise LucidaError(
            "this run has no dual encoder of pictures and captions",
            where=run,
            remedy="name a run of `lucida run --pictures`, or a folder of CLIP or SigLIP",
        )
    stage = from_dict(EncoderStage, read_json(trained.config))
    tower, text_tower = make_tower(stage), load_text_tower(stage.text_tower)
    sizes = tower.pooled_size, text_tower.hidden_size
    encoder = seeded_heads(*sizes, stage.head, seed=0, **stage.objective.start)
    load_weights(encoder, checkpoint, part="main")
    encoder.vision_tower = tower
    encoder.eval()

    def prepare(source: EncodedSource) -> Tensor:
        square = as_square(_opened(source, stage.image_size), stage.image_size)
        return tower.preprocess(torch.from_numpy(square)[None])

    def read(texts: Sequence[str]) -> Tensor:
        return encoder.encode_text(features=torch.from_numpy(encode_texts(text_tower, list(texts), len(texts))))

    return f"{run.name} {fingerprint(encoder)[:16]}", _encode(encoder, prepare, read)


def _opened(source: EncodedSource, side: int) -> Image:
    try:
        return source.open_reduced(side)[0]
    except BadPicture as error:
        raise LucidaError(
            f"a picture cannot be read: {error}", where=source.where, remedy="let the stage clean come first"
        ) from None


def _encode(encoder: DualEncoder, prepare: Callable[[EncodedSource], Tensor], read: EncodeTexts) -> Encode:
    def encode(sources: Sequence[EncodedSource | None], captions: Sequence[str]) -> tuple[NDArray, NDArray]:
        there = [source for source in sources if source is not None]
        if len(there) < len(sources):
            raise LucidaError("a pair has no picture", where=captions[sources.index(None)][:80])
        with torch.inference_mode():
            pictures, texts = [], []
            for start in range(0, len(there), _BATCH):
                part = slice(start, start + _BATCH)
                pictures.append(encoder.encode_image(torch.cat([prepare(source) for source in there[part]])))
                texts.append(read(captions[part]))
            return torch.cat(pictures).numpy(), torch.cat(texts).numpy()

    return encode
