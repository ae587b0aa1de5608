"""Anyone's CLIP or SigLIP beside anyone's labelled pictures: what it sees, what it reads, who is which class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.data.corpus import Corpus
from lucida.data.galleries import readable
from lucida.data.pixels import DecodedPictures, decode_all
from lucida.data.readers import read_pictures
from lucida.models.dual_encoder import DualEncoder
from lucida.models.features import device_of, evaluating


class Labelled(NamedTuple):
    """Labelled pictures of a corpus.

    Attributes:
        rows: which pictures, ``int64 [N]``.
        labels: number of each one's class among the corpus' classes, ``int64 [N]``.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


def read_for(encoder: DualEncoder, path: Path, *, limit: int, split_seed: int) -> DecodedPictures:
    """Pictures at the size that an encoder asks for.

    Raises:
        LucidaError: they cannot be read.
    """
    tower = encoder.vision_tower
    size = getattr(tower, "crop_from", None) or tower.image_size
    return decode_all(read_pictures(path, limit=limit, split_seed=split_seed), size)


def labelled(corpus: Corpus, splits: Sequence[str]) -> Labelled:
    """The labelled pictures of some splits."""
    rows = [int(i) for split in splits for i in corpus.rows(split) if corpus.pictures[int(i)].label]
    place = {name: k for k, name in enumerate(corpus.classes)}
    return Labelled(np.array(rows, np.int64), np.array([place[str(corpus.pictures[i].label)] for i in rows], np.int64))


def class_names(corpus: Corpus) -> list[str]:
    """Classes as a reader would write them; as they are where two would read alike.

    Raises:
        LucidaError: there are fewer than two.
    """
    if len(corpus.classes) < 2:
        remedy = "put the pictures of each class in a folder of their own, or give the table a column 'label'"
        raise LucidaError(f"{len(corpus.classes)} classes: nothing to tell apart", where=corpus.name, remedy=remedy)
    return readable(corpus.classes)


def encode_pictures(
    encoder: DualEncoder, pixels: np.ndarray, rows: NDArray[np.int64], *, batch: int = 32, by_tower: bool = False
) -> Tensor:
    """Pictures in the common space, float32 ``[N, d]``, of length one; in eval mode, where the weights lie.

    Args:
        by_tower: what the tower hands to the head instead, ``[N, D]``.
    """
    parts = []
    device = device_of(encoder)
    encode = encoder.tower_features if by_tower else encoder.encode_image
    with evaluating(encoder):
        for start in counted(range(0, len(rows), batch), "pictures", each=batch):
            seen = torch.from_numpy(np.stack([pixels[i] for i in rows[start : start + batch]])).to(device)
            parts.append(encode(encoder.vision_tower.preprocess(seen)).float().cpu())
    return torch.cat(parts)


def encode_words(encoder: DualEncoder, texts: Sequence[str], *, batch: int = 256, by_tower: bool = False) -> Tensor:
    """Texts in the common space, float32 ``[N, d]``, of length one; in eval mode, where the weights lie.

    Args:
        by_tower: what the tower hands to the head instead, ``[N, E]``.
    """
    parts = []
    device = device_of(encoder)
    encode = encoder.text_tower if by_tower else encoder.encode_text
    with evaluating(encoder):
        for start in range(0, len(texts), batch):
            tokens = encoder.text_tower.tokenize(list(texts[start : start + batch]))
            parts.append(encode(**{name: x.to(device) for name, x in tokens.items()}).float().cpu())
    return torch.cat(parts)


class Encoding:
    """An encoder that is asked about the same pictures and texts while it changes: what a locked tower finds is kept.

    Args:
        encoder: a tower none of whose weights is trained is taken for one that stays as it is.
    """

    def __init__(self, encoder: DualEncoder):
        self.encoder = encoder
        self.sees_the_same, self.reads_the_same = (
            not any(parameter.requires_grad for parameter in tower.parameters())
            for tower in (encoder.vision_tower, encoder.text_tower)
        )
        self._found: dict[tuple[Any, ...], Tensor] = {}
        self._decoded: dict[int, DecodedPictures] = {}  # kept, so that no other is ever at the same place

    def pictures(self, decoded: DecodedPictures, rows: NDArray[np.int64]) -> Tensor:
        """As :func:`encode_pictures`."""
        if not self.sees_the_same:
            return encode_pictures(self.encoder, decoded.pixels, rows)
        return self._headed(self.encoder.encode_image, self.seen(decoded, rows))

    def words(self, texts: Sequence[str]) -> Tensor:
        """As :func:`encode_words`."""
        if not self.reads_the_same:
            return encode_words(self.encoder, texts)
        return self._headed(self.encoder.encode_text, self.read(texts))

    def seen(self, decoded: DecodedPictures, rows: NDArray[np.int64]) -> Tensor:
        """What a locked vision tower hands to the head, ``[N, D]``."""
        self._decoded[id(decoded)] = decoded
        key = id(decoded), rows.tobytes()
        return self._kept(key, lambda: encode_pictures(self.encoder, decoded.pixels, rows, by_tower=True))

    def read(self, texts: Sequence[str]) -> Tensor:
        """What a locked text tower hands to the head, ``[N, E]``."""
        return self._kept(tuple(texts), lambda: encode_words(self.encoder, texts, by_tower=True))

    def _kept(self, key: tuple[Any, ...], find: Callable[[], Tensor]) -> Tensor:
        if key not in self._found:
            self._found[key] = find()
        return self._found[key]

    @torch.inference_mode()
    def _headed(self, encode: Callable[..., Tensor], features: Tensor, batch: int = 256) -> Tensor:
        device = device_of(self.encoder)
        with evaluating(self.encoder):
            return torch.cat([encode(features=part.to(device)).float().cpu() for part in features.split(batch)])
