"""Pairs of a picture and one of its texts, as features of frozen towers: what a dual encoder's heads train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.caption_tokens import CaptionTokens


@dataclass(frozen=True)
class FeaturePairs:
    """Training data of two heads: each example is a picture; its view and its text are drawn anew every epoch.

    Attributes:
        picture_features: ``[V, N, D]`` views of the N pictures; a memory-mapped array will do.
        text_features: ``[T, E]``, one row a text.
        texts: for each picture the rows of ``text_features`` that are true of it, at least one.
        ids: ``int64 [N]``: pictures of one id are positives of each other's texts.
        words: the texts as tokens, one row a text, for who learns to say them.
        classes: ``int64 [N]``, the class of each picture, ``IGNORE_INDEX`` where it has none; for who learns to tell.

    Raises:
        LucidaError: the sizes do not fit, or a picture has no text.
    """

    picture_features: np.ndarray
    text_features: Tensor
    texts: Sequence[np.ndarray]
    ids: np.ndarray
    words: CaptionTokens | None = None
    classes: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = self.picture_features.shape[1]
        if not n == len(self.texts) == len(self.ids):
            raise LucidaError(f"{n} pictures, {len(self.texts)} lists of texts and {len(self.ids)} ids do not fit")
        for i, rows in enumerate(self.texts):
            if len(rows) == 0:
                raise LucidaError("a picture without any text cannot be a pair", where=f"picture {i}")
        if self.classes is not None and len(self.classes) != n:
            raise LucidaError(f"{len(self.classes)} classes do not fit {n} pictures")
        if self.words is not None and len(self.words.input_ids) != len(self.text_features):
            raise LucidaError(f"{len(self.words.input_ids)} rows of tokens do not fit {len(self.text_features)} texts")

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int], draw: Callable[[int], np.random.Generator]) -> dict:
        """``image`` and ``text`` with ``features``, and ``ids``; views and texts come from ``draw(k)``.

        With ``words`` also ``caption_ids`` and ``caption_labels``, with ``classes`` those.
        """
        rows = np.asarray(indices)
        views, chosen = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        for k, index in enumerate(rows):
            generator = draw(k)
            views[k] = generator.integers(len(self.picture_features))
            chosen[k] = generator.choice(self.texts[index])
        pictures = np.asarray(self.picture_features[views, rows], np.float32)
        batch = {
            "image": {"features": torch.from_numpy(pictures)},
            "text": {"features": self.text_features[torch.from_numpy(chosen)]},
            "ids": torch.from_numpy(self.ids[rows]),
        }
        if self.words is not None:
            batch["caption_ids"], batch["caption_labels"] = self.words.rows(torch.from_numpy(chosen))
        if self.classes is not None:
            batch["classes"] = torch.from_numpy(self.classes[rows])
        return batch


@dataclass(frozen=True)
class PixelPairs:
    """Training data of whole towers: each example is a picture; its text is drawn anew every epoch.

    Attributes:
        pixels: ``uint8 [M, H, W, 3]``, memory-mapped or not.
        rows: which of them are the N examples, ``int64 [N]``.
        preprocess: pixels as the vision tower takes them.
        tokens: of all texts, ``[T, L]`` each, as the text tower takes them.
        texts: for each example the rows of ``tokens`` that are true of it, at least one.
        ids: ``int64 [N]``: pictures of one id are positives of each other's texts.
        words, classes: as in :class:`FeaturePairs`.
        trimmed: leave out what is padding in all texts of a batch.
        picture_features: of the N examples, ``float32 [N, D]``, where the vision tower stays as it is; pixels are then
            not looked at again.
        text_features: of all texts, ``float32 [T, E]``, likewise.
    """

    pixels: np.ndarray
    rows: np.ndarray
    preprocess: Callable[[Tensor], Tensor]
    tokens: Mapping[str, Tensor]
    texts: Sequence[np.ndarray]
    ids: np.ndarray
    words: CaptionTokens | None = None
    classes: np.ndarray | None = None
    trimmed: bool = True
    picture_features: Tensor | None = None
    text_features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int], draw: Callable[[int], np.random.Generator]) -> dict:
        """``image`` and ``text`` with pixels and tokens, or with features; and ``ids``; texts come from ``draw(k)``."""
        rows = np.asarray(indices)
        chosen = torch.tensor([int(draw(k).choice(self.texts[index])) for k, index in enumerate(rows)])
        batch = {
            "image": self._seen(rows),
            "text": self._read(chosen),
            "ids": torch.from_numpy(self.ids[rows]),
        }
        if self.words is not None:
            batch["caption_ids"], batch["caption_labels"] = self.words.rows(chosen)
        if self.classes is not None:
            batch["classes"] = torch.from_numpy(self.classes[rows])
        return batch

    def _seen(self, rows: np.ndarray) -> dict[str, Tensor]:
        if self.picture_features is not None:
            return {"features": self.picture_features[torch.from_numpy(rows)]}
        seen = torch.from_numpy(np.stack([self.pixels[i] for i in self.rows[rows]]))
        return {"pixel_values": self.preprocess(seen)}

    def _read(self, chosen: Tensor) -> dict[str, Tensor]:
        if self.text_features is not None:
            return {"features": self.text_features[chosen]}
        tokens = {name: tensor[chosen] for name, tensor in self.tokens.items()}
        if self.trimmed:
            longest = int(tokens["attention_mask"].sum(dim=1).max())  # texts are padded on the right
            tokens = {name: tensor[:, :longest] for name, tensor in tokens.items()}
        return tokens
