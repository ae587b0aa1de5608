"""The blind-picture probe: what a model still gets right with another picture, or with none.

A model that answers a shuffled picture as well as the true one has learned the questions, not to look. The shuffled
picture is the fair comparison (it is as natural as the true one); the blank one shows what the words alone give away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.core.seeds import stream
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster

PictureId = TypeVar("PictureId")


def shuffled_pictures(pictures: Sequence[PictureId], *, seed: int = 0) -> dict[PictureId, PictureId]:
    """Another picture for each picture: one random cycle through all of them, so that none gets itself.

    Raises:
        LucidaError: fewer than two different pictures.
    """
    known = list(dict.fromkeys(pictures))
    if len(known) < 2:
        raise LucidaError("shuffling needs at least two different pictures", where="blind-picture probe")
    order = stream(seed, "blind", "shuffled").permutation(len(known))
    return {known[i]: known[j] for i, j in zip(order, np.roll(order, 1), strict=True)}


def blind_metrics(
    right_true: ArrayLike,
    right_shuffled: ArrayLike,
    right_blank: ArrayLike,
    pictures: Sequence[object] | None = None,
    *,
    prefix: str = "blind",
) -> dict[str, Metric]:
    """Accuracy with the true, a shuffled and a blank picture, and what looking is worth.

    Args:
        right_true, right_shuffled, right_blank: whether (or, in 0 to 1, how far) the answer to each question was right,
            ``[Q]``, the same questions in the same order, always judged by the truth of the true picture.
        pictures: the true picture of each question; intervals keep its questions together.
        prefix: of the names.

    Returns:
        ``{true,shuffled,blank}/accuracy``; ``gap`` (true - shuffled) and ``gap_to_blank`` (true - blank) with intervals
        of the paired differences.

    Raises:
        LucidaError: the three differ in length or a value is no share.
    """
    given = {"true": right_true, "shuffled": right_shuffled, "blank": right_blank}
    right = {name: np.asarray(values, dtype=float) for name, values in given.items()}
    if len({x.shape for x in right.values()}) > 1:
        raise LucidaError("answers with the true, shuffled and blank picture differ in number", where=prefix)
    if not all(((x >= 0) & (x <= 1)).all() for x in right.values()):
        raise LucidaError("right answers must be between 0 and 1", where=prefix)
    clusters = list(range(len(right["true"]))) if pictures is None else list(pictures)
    return {
        **{f"{prefix}/{name}/accuracy": share_by_cluster(x, clusters=clusters) for name, x in right.items()},
        f"{prefix}/gap": mean_by_cluster(right["true"] - right["shuffled"], clusters),
        f"{prefix}/gap_to_blank": mean_by_cluster(right["true"] - right["blank"], clusters),
    }


def ignores_pictures(gap: Metric, *, smallest: float = 0.0) -> bool:
    """Whether a gap leaves it open that looking is worth no more than ``smallest``.

    >>> ignores_pictures(Metric(0.3, (0.2, 0.4), 50)), ignores_pictures(Metric(0.1, (-0.05, 0.25), 50))
    (False, True)
    """
    return gap.ci95 is None or gap.ci95[0] <= smallest
