"""What a model says of twin pictures: whether its yes goes when the object goes, and stays when something else goes.

And the other way round: whether its no becomes a yes when the object is put in, and stays when something else is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.answers import YesNo
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster

SHOWN = ("as it is", "without it", "without something else")
"""The three pictures of a twin, in the order in which answers are given."""

PASTED = ("as it is", "with it", "with something else")
"""The same for what is put in."""


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
    own, gone, control = _three(said, pictures)
    metrics = _followed(own == "yes", gone == "no", control == "no", list(pictures))
    named = {"recall": metrics.pop("first")} | metrics
    named["still_yes_ratio"] = share_by_cluster((own == "yes") & (gone == "yes"), own == "yes", list(pictures))
    if p_yes is not None:
        p = np.asarray(p_yes, dtype=float)
        named["drop"] = mean_by_cluster(p[0] - p[1], list(pictures))
        named["control_drop"] = mean_by_cluster(p[0] - p[2], list(pictures))
    return {f"{prefix}/{name}": metric for name, metric in named.items()}


def pasted_metrics(
    said: Sequence[Sequence[YesNo]],
    pictures: Sequence[object],
    *,
    p_yes: ArrayLike | None = None,
    prefix: str = "twins/pasted",
) -> dict[str, Metric]:
    """How answers to "is there a …?" follow the picture, where the object is not there and then is.

    Args:
        said: three lists (:data:`PASTED`) of one answer a twin.
        pictures, p_yes, prefix: see :func:`twin_metrics`.

    Returns:
        ``no_ratio``: no to the picture as it is. Of those, ``flip_rate``: yes when the object is put in;
        ``control_flip_rate``: yes when something else is; ``flip_gap``: the first less the second, of the same twins;
        ``still_no_ratio``: no although it is there. With ``p_yes``, ``rise`` and ``control_rise``: by how much P(yes)
        grows, over all twins.

    Raises:
        LucidaError: the lists differ in length.
    """
    own, there, control = _three(said, pictures)
    metrics = _followed(own == "no", there == "yes", control == "yes", list(pictures))
    named = {"no_ratio": metrics.pop("first")} | metrics
    named["still_no_ratio"] = share_by_cluster((own == "no") & (there == "no"), own == "no", list(pictures))
    if p_yes is not None:
        p = np.asarray(p_yes, dtype=float)
        named["rise"] = mean_by_cluster(p[1] - p[0], list(pictures))
        named["control_rise"] = mean_by_cluster(p[2] - p[0], list(pictures))
    return {f"{prefix}/{name}": metric for name, metric in named.items()}


def _three(said: Sequence[Sequence[YesNo]], pictures: Sequence[object]) -> list[NDArray]:
    if len(said) != len(SHOWN) or len({len(pictures), *map(len, said)}) != 1:
        raise LucidaError(f"{[len(each) for each in said]} answers for {len(pictures)} twins", where="twin pictures")
    return [np.asarray(each, dtype=object) for each in said]


def _followed(first: NDArray, edited: NDArray, control: NDArray, pictures: Sequence[object]) -> dict[str, Metric]:
    """Of twins whose first answer was right, how many changed with the object, and how many with something else."""
    flips, control_flips = first & edited, first & control
    kept = [picture for picture, right in zip(pictures, first, strict=True) if right]
    return {
        "first": share_by_cluster(first, clusters=pictures),
        "flip_rate": share_by_cluster(flips, first, pictures),
        "control_flip_rate": share_by_cluster(control_flips, first, pictures),
        "flip_gap": mean_by_cluster(flips[first].astype(float) - control_flips[first], kept),
    }
