"""SMOTE: synthetic rows between a row and one of its nearest neighbours in its class (Chawla et al. 2002)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def class_neighbours(
    features: NDArray[np.float32], members: NDArray, k: int, queries: NDArray | None = None, *, block: int = 2048
) -> NDArray[np.int64]:
    """The ``k`` nearest other rows of the same class, ``int64 [Q, k]``, nearest first.

    Args:
        features: ``[N, D]``; a memory-mapped array will do.
        members: the rows of the class.
        k: neighbours a row; fewer than ``k`` others give fewer columns.
        queries: the rows whose neighbours are wanted; ``None`` for all members.
    """
    asked = members if queries is None else queries
    k = min(k, len(members) - 1)
    answer = np.empty((len(asked), k), np.int64)
    everything = torch.from_numpy(np.asarray(features[members], np.float32))
    for start in range(0, len(asked), block):
        part = asked[start : start + block]
        distances = torch.cdist(torch.from_numpy(np.asarray(features[part], np.float32)), everything)
        distances[torch.from_numpy(part[:, None] == members[None, :])] = torch.inf
        answer[start : start + block] = members[distances.topk(k, largest=False).indices.numpy()]
    return answer
