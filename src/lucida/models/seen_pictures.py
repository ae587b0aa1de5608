"""What a frozen vision tower says of pictures, computed once and memory-mapped, however many pieces a picture has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lucida.core.cache import cached_array, content_hash
from lucida.core.errors import LucidaError, NonFiniteError
from lucida.core.progress import counted
from lucida.models.features import evaluating, fingerprint
from lucida.models.image_text_models import ImageTextModel, Seen

_VERSION = 1  # raise it when the same model and pixels give other features

Pixels = Callable[[Sequence[int]], Mapping[str, Tensor]]
"""From the numbers of pictures to what the processor makes of them."""


class SeenPictures:
    """Features of pictures, those of one behind those of the other.

    Args:
        values: ``[pieces, T, D]`` or ``[tokens, H]`` of all pictures.
        starts: ``int64 [P + 1]``, where each picture begins, and the end.
    """

    def __init__(self, values: np.ndarray, starts: np.ndarray):
        self.values, self.starts = values, starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, numbers: Sequence[int]) -> Tensor:
        """Features of some pictures in this order, float32."""
        if not len(numbers):
            return torch.empty(0, *self.values.shape[1:])
        parts = [self.values[self.starts[i] : self.starts[i + 1]] for i in numbers]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


class LivePictures:
    """Features of pictures, computed whenever they are asked for and not kept: for who asks for each once.

    Args:
        model: in evaluation mode where it is asked.
        pixels: gives the pixels of some pictures.
        tokens: how many image tokens each picture has in the text.
        batch: pictures at a time.
    """

    def __init__(self, model: ImageTextModel, pixels: Pixels, tokens: Sequence[int], batch: int = 8):
        self.model, self.pixels, self.tokens, self.batch = model, pixels, tokens, batch

    def __getitem__(self, numbers: Sequence[int]) -> Tensor:
        """Features of some pictures in this order, ``[tokens, H]``.

        Raises:
            LucidaError: a picture has another number of features than image tokens.
        """
        parts = []
        for start in range(0, len(numbers), self.batch):
            some = numbers[start : start + self.batch]
            features, counts = self.model.see(self.pixels(some))
            for i, count in zip(some, counts, strict=True):
                if count != self.tokens[i]:
                    raise LucidaError(
                        f"{self.tokens[i]} image tokens for {count} picture features", where=f"picture {i}"
                    )
            parts.append(features)
        return torch.cat(parts) if parts else self.model.hugging_face.get_input_embeddings().weight[:0]


def see_pictures(
    model: ImageTextModel,
    pixels: Pixels,
    tokens: Sequence[int],
    *,
    key: str,
    what: Seen = "projected",
    batch: int = 8,
) -> SeenPictures:
    """Features of all pictures, from the cache if the same model has seen the same ones.

    They are kept as the model computes them: float16 if it is a float16 model, else float32.

    Args:
        model: runs in eval mode where its weights lie.
        pixels: gives the pixels of some pictures.
        tokens: how many image tokens each picture has in the text.
        key: the content key of the pictures and of what the processor does to them.
        what: see :meth:`~lucida.models.image_text_models.ImageTextModel.see`. What is trained must come after it.
        batch: pictures at a time.

    Raises:
        LucidaError: a picture has another number of features than image tokens; the cache is broken or full.
        NonFiniteError: a feature is not finite.
    """
    if not len(tokens):
        return SeenPictures(np.empty((0, 1), np.float32), np.zeros(1, np.int64))
    with evaluating(model):
        first, counts = model.see(pixels([0]), what)
    per_piece = counts[0] // len(first)
    pieces = np.array(tokens, np.int64) // per_piece
    starts = np.concatenate([[0], pieces.cumsum()])
    dtype = np.float16 if first.dtype == torch.float16 else np.float32
    shape = (int(starts[-1]), *first.shape[1:])
    stored = content_hash(_VERSION, _seeing(model, what), key, list(map(int, tokens)), what)

    def build(out: np.ndarray) -> None:
        with evaluating(model):
            for start in counted(range(0, len(tokens), batch), "pictures seen", each=batch):
                numbers = range(start, min(start + batch, len(tokens)))
                features, found = model.see(pixels(numbers), what)
                _check_counts(numbers, found, tokens)
                if not features.isfinite().all():
                    raise NonFiniteError("features of pictures are not finite", where=key)
                out[starts[start] : starts[numbers[-1] + 1]] = features.cpu().float().numpy()

    return SeenPictures(cached_array("features", stored, shape, dtype, build), starts)


def _check_counts(numbers: Sequence[int], found: Sequence[int], tokens: Sequence[int]) -> None:
    for i, count in zip(numbers, found, strict=True):
        if count != tokens[i]:
            raise LucidaError(f"{tokens[i]} image tokens for {count} picture features", where=f"picture {i}")


def _seeing(model: ImageTextModel, what: Seen) -> str:
    """A hash of the parts that features come from."""
    parts = [part for part in _towers(model)] + ([model.projector] if what == "projected" else [])
    return content_hash([fingerprint(part) for part in parts])


def _towers(model: ImageTextModel) -> list[torch.nn.Module]:
    names = ("vision_tower", "vision_model")
    return [m for path, m in model.hugging_face.named_modules() if path.rsplit(".", 1)[-1] in names]
