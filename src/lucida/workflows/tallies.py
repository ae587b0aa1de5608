"""What a report shows of answers to yes/no questions: by kind of object, and by confidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lucida.evaluation.answers import YesNo
from lucida.evaluation.pope import PopeQuestion
from lucida.report.material import CalibrationBin, KindRate


def kind_rates(questions: Sequence[PopeQuestion], said: Sequence[YesNo] | Sequence[str]) -> tuple[KindRate, ...]:
    """How often each kind is made up and missed, over all different questions; the worst first."""
    tally: dict[str, list[int]] = {}
    asked = {(q.picture_id, q.object): (q.label, answer) for q, answer in zip(questions, said, strict=True)}
    for (_, name), (there, answer) in asked.items():
        row = tally.setdefault(name, [0, 0, 0, 0])
        row[0] += not there and answer == "yes"
        row[1] += not there
        row[2] += there and answer != "yes"
        row[3] += there
    rows = [KindRate(name, *row) for name, row in tally.items()]
    return tuple(sorted(rows, key=lambda row: (-(row.made_up + row.missed), row.kind)))


def calibration_bins(confidence: NDArray, right: NDArray, bins: int = 5) -> tuple[CalibrationBin, ...]:
    """Answers of similar confidence, from 0.5 to 1, and how many of them were right."""
    place = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    chosen = [place == k for k in range(bins) if (place == k).any()]
    return tuple(CalibrationBin(float(confidence[c].mean()), int(right[c].sum()), int(c.sum())) for c in chosen)
