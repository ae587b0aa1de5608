"""Abstaining: below which confidence an answer is better not given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lucida.core.errors import LucidaError

COVERAGES = tuple(k / 20 for k in range(8, 21))
"""Shares of the answers that may be given, from the surest two fifths up to all."""


def sure_from(
    confidence: ArrayLike, right: ArrayLike, *, risk: float, error: float = 0.05, coverages: ArrayLike = COVERAGES
) -> float:
    """The lowest confidence from which answers are given, so that no more than ``risk`` of those are wrong.

    Wider and wider sets of the surest answers are tested in turn, until one fails: the share of wrong ones that an
    exact binomial bound still allows must not exceed ``risk`` (fixed-sequence testing, Angelopoulos et al. 2021,
    arXiv:2110.01052, section 4; for selective classification Geifman & El-Yaniv 2017, arXiv:1705.08500). On other
    questions of the kind the risk is then kept with probability ``1 - error``; answers about one picture are not quite
    independent, which the bound does not know.

    Args:
        confidence: of each answer, ``[Q]``.
        right: whether it is right, ``[Q]``.
        risk: largest share of wrong ones among those given.
        error: chance that the promise is broken.
        coverages: shares that are tried, rising.

    Returns:
        A confidence; infinite if not even the surest are right often enough.

    Raises:
        LucidaError: a risk or an error that is not between 0 and 1, or no answers.

    >>> round(sure_from([0.99] * 400 + [0.6] * 100, [1] * 400 + [0] * 100, risk=0.02), 2)
    0.99
    """
    from scipy.stats import beta

    if not (0 < risk < 1 and 0 < error < 1):
        raise LucidaError(f"a risk of {risk} and an error of {error}", remedy="use numbers between 0 and 1")
    sure, wrong = np.asarray(confidence, float), ~np.asarray(right, bool)
    if not len(sure):
        raise LucidaError("no answers from which to learn when to abstain", where="abstention")
    best = float("inf")
    for coverage in np.sort(np.asarray(coverages, float)):
        limit = float(np.quantile(sure, 1 - coverage, method="higher"))  # a confidence that was seen
        given = sure >= limit
        n, wrong_ones = int(given.sum()), int(wrong[given].sum())
        bound = 1.0 if wrong_ones == n else float(beta.ppf(1 - error, wrong_ones + 1, n - wrong_ones))
        if bound > risk:
            break
        best = limit
    return best
