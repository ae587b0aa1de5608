"""Named pictures in the emoji's place: what a concept means is planted in its pictures and in its names."""

from __future__ import annotations

import numpy as np
import torch

from lucida.core.seeds import stream
from lucida.lab.dual_encoders import NamedArtwork

MEANINGS = 6


def planted_artwork(concepts: int) -> NamedArtwork:
    """Two artists, two names a concept, groups of two; features of 12 and 10 numbers."""
    generator = stream(0, "planted artwork")
    meaning = generator.standard_normal((concepts, MEANINGS))
    seen = np.stack([meaning @ generator.standard_normal((MEANINGS, 12)) for _ in range(1)] * 2)
    said = np.concatenate([meaning @ generator.standard_normal((MEANINGS, 10))] * 2)
    pictures, texts = (x + 0.1 * generator.standard_normal(x.shape) for x in (seen, said))
    names = torch.arange(2 * concepts).view(2, concepts).T.contiguous()
    groups = np.array([f"group {i // 2}" for i in range(concepts)])
    return NamedArtwork(torch.from_numpy(pictures).float(), torch.from_numpy(texts).float(), names, groups)
