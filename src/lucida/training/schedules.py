"""The learning rate over a run, as a pure function of the step: nothing to save, nothing to drift."""

from __future__ import annotations

import math


def cosine_with_warmup(step: int, *, total_steps: int, num_warmup_steps: int, final_fraction: float = 0.0) -> float:
    """The multiplier of the peak learning rate at ``step`` (0 for the first).

    Linear from ``1 / num_warmup_steps`` to 1, then half a cosine down to ``final_fraction`` at the last step
    (Loshchilov & Hutter 2017, without restarts).

    >>> [round(cosine_with_warmup(s, total_steps=5, num_warmup_steps=2), 2) for s in range(5)]
    [0.5, 1.0, 0.75, 0.25, 0.0]
    """
    if total_steps == 1:  # it is the first and the last
        return 1.0
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    share = min(1.0, (step - num_warmup_steps + 1) / max(1, total_steps - num_warmup_steps))
    return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * share)) / 2
