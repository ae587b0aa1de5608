"""What a model says of twin pictures: whether its yes goes when the object goes, and stays when something else goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.answers import YesNo
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster

SHOWN = ("as it is", "without it", "without something else")
"""The three pictures of a twin, in the order in which answers are given."""


def twin_metrics(
    said: Sequence[Sequence[YesNo]],
    pictures: Sequence[object],
    *,
    p_yes: ArrayLike | None = None,
    prefix: str = "twins",
) -> dict[str, Metric]:
    """How answers to "is there a …?" follow the picture, where the object is there and then is not.

    Args:
        said: three lists (:data:`SHOWN`) of one answer a twin.
        pictures: the picture of each twin; intervals keep those of one together.
        p_yes: P(yes) of the same answers, ``[3, n]``.
        prefix: of the names.

    Returns:
        ``recall``: yes to the picture as it is. Of those, ``flip_rate``: no when the object is taken out;
        ``control_flip_rate``: no when something else is; ``flip_gap``: the first less the second, of the same twins;
        ``still_yes_ratio``: yes although it is gone. With ``p_yes``, ``drop`` and ``control_drop``: by how much P(yes)
        falls, over all twins.

    Raises:
        LucidaError: the lists differ in length.
    """
    if len(said) != len(SHOWN) or len({len(pictures), *map(len, said)}) != 1:
        raise LucidaError(f"{[len(each) for each in said]} answers for {len(pictures)} twins", where="twin pictures")
    own, gone, control = (np.asarray(each, dtype=object) for each in said)
    yes, clusters = own == "yes", list(pictures)
    flips, control_flips = yes & (gone == "no"), yes & (control == "no")
    there = [picture for picture, is_yes in zip(pictures, yes, strict=True) if is_yes]
    metrics = {
        "recall": share_by_cluster(yes, clusters=clusters),
        "flip_rate": share_by_cluster(flips, yes, clusters),
        "control_flip_rate": share_by_cluster(control_flips, yes, clusters),
        "flip_gap": mean_by_cluster(flips[yes].astype(float) - control_flips[yes], there),
        "still_yes_ratio": share_by_cluster(yes & (gone == "yes"), yes, clusters),
    }
    if p_yes is not None:
        p = np.asarray(p_yes, dtype=float)
        metrics["drop"] = mean_by_cluster(p[0] - p[1], clusters)
        metrics["control_drop"] = mean_by_cluster(p[0] - p[2], clusters)
    return {f"{prefix}/{name}": metric for name, metric in metrics.items()}
