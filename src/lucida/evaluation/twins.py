"""What a model says of twin pictures: whether its yes goes when the object goes, and stays when something else goes.

And the other way round: whether its no becomes a yes when the object is put in, and stays when something else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.answers import YesNo
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster


class Edit(NamedTuple):
    """What is done to pictures, and what the numbers about it are called.

    Attributes:
        before: the right answer to the picture as it is; the other one is right once the object is edited.
        right: the share of right answers to pictures as they are.
        stuck: of those, the share that is still given when the object is edited.
        moved: by how much P(yes) goes where it should, over all twins; ``control_…`` with something else.
        prefix: of the names.
    """

    before: YesNo
    right: str
    stuck: str
    moved: str
    prefix: str


REMOVED = Edit("yes", "recall", "still_yes_ratio", "drop", "twins")
"""The object is there, and then is taken out."""

PASTED = Edit("no", "no_ratio", "still_no_ratio", "rise", "twins/pasted")
"""The object is not there, and then is put in."""


def twin_metrics(
    said: Sequence[Sequence[YesNo]],
    pictures: Sequence[object],
    edit: Edit = REMOVED,
    *,
    p_yes: ArrayLike | None = None,
) -> dict[str, Metric]:
    """How answers to "is there a …?" follow the picture.

    Args:
        said: three lists of one answer a twin: to the picture as it is, with the object edited, and with something
            else edited.
        pictures: the picture of each twin; intervals keep those of one together.
        edit: what is done to the object.
        p_yes: P(yes) of the same answers, ``[3, n]``.

    Returns:
        As ``edit`` calls them, the share of right answers to the picture as it is and the moves of P(yes). Of those
        that were right, ``flip_rate``: the other answer when the object is edited; ``control_flip_rate``: when
        something else is; ``flip_gap``: the first less the second, of the same twins; and what stuck.

    Raises:
        LucidaError: the lists differ in length.
    """
    own, edited, control = _three(said, pictures)
    clusters, after = list(pictures), "no" if edit.before == "yes" else "yes"
    first = own == edit.before
    flips, control_flips = first & (edited == after), first & (control == after)
    kept = [picture for picture, right in zip(clusters, first, strict=True) if right]
    named = {
        edit.right: share_by_cluster(first, clusters=clusters),
        "flip_rate": share_by_cluster(flips, first, clusters),
        "control_flip_rate": share_by_cluster(control_flips, first, clusters),
        "flip_gap": mean_by_cluster(flips[first].astype(float) - control_flips[first], kept),
        edit.stuck: share_by_cluster(first & (edited == edit.before), first, clusters),
    }
    if p_yes is not None:
        p = np.asarray(p_yes, dtype=float) * (1 if after == "yes" else -1)
        named |= {
            edit.moved: mean_by_cluster(p[1] - p[0], clusters),
            f"control_{edit.moved}": mean_by_cluster(p[2] - p[0], clusters),
        }
    return {f"{edit.prefix}/{name}": metric for name, metric in named.items()}


def _three(said: Sequence[Sequence[YesNo]], pictures: Sequence[object]) -> list[NDArray]:
    if len(said) != 3 or len({len(pictures), *map(len, said)}) != 1:
        raise LucidaError(f"{[len(each) for each in said]} answers for {len(pictures)} twins", where="twin pictures")
    return [np.asarray(each, dtype=object) for each in said]
