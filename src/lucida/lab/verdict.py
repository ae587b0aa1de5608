"""From differences between arms, a seed each, to a verdict.

*Supported*: the interval (Holm over the primary claims) excludes zero and the estimate reaches the smallest effect
that matters, in the predicted direction. *Refuted*: the interval excludes the smallest effect. *Depends*: an
interaction that was expected in advance is significant (Holm over those of the primary claims), and the verdict differs
between its levels. Else *inconclusive*.

A run that never came to its target within the budget counts with the whole budget, so that its arm's true number is
larger: a verdict that a larger number could overturn is *inconclusive*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lucida.core.results import Metric
from lucida.core.seeds import stream
from lucida.core.statistics import mean_interval
from lucida.lab.design import Claim
from lucida.report.lab_page import Word as Word

ALPHA = 0.05
_ROUNDING = 1 - 1e-12  # a difference that is the smallest effect itself reaches it
SIMULATIONS = 500
PLANTED = 1.5  # times the smallest effect

Differences = Mapping[str, ArrayLike]  # by level (one level "" where none is declared): [seeds], the same order
Cut = Mapping[str, tuple[int, int]]  # by level: how many seeds of the treatment and of the control are lower bounds


@dataclass(frozen=True)
class Judgement:
    """What the seeds say of a claim.

    Attributes:
        claim: the claim.
        word: the verdict.
        effect: mean difference over seeds and levels; the interval is at the claim's own level of confidence.
        confidence: of that interval: 95 % for a secondary claim, more where Holm's correction asks for it.
        cut: seeds of the treatment and of the control that are lower bounds, over all levels.
        levels: effect and verdict by level; their intervals share the error of the whole (Bonferroni).
        interaction: p-value of the levels' difference; ``None`` without levels.
        power: share of simulated experiments, with the measured residuals around an effect of 1.5 times the smallest
            at every level, in which the claim is found supported.
        false_support: the same around no effect at all.
    """

    claim: Claim
    word: Word
    effect: Metric
    confidence: float
    cut: tuple[int, int] = (0, 0)
    levels: dict[str, tuple[Metric, Word]] = field(default_factory=dict)
    interaction: float | None = None
    power: float | None = None
    false_support: float | None = None


def judge(
    claims: Sequence[Claim], differences: Mapping[str, Differences], cut: Mapping[str, Cut] | None = None
) -> list[Judgement]:
    """Verdicts of all claims of an experiment.

    Args:
        claims: as declared.
        differences: by claim and level: treatment minus control, ``[seeds]``.
        cut: by claim and level, where there are any.

    Raises:
        ValueError: a claim or level was not measured, a difference is not finite, or there are fewer than three seeds.
    """
    tables = {claim.name: _table(claim, differences) for claim in claims}
    primary = {claim.name: tables[claim.name] for claim in claims if claim.primary}
    effects = holm({name: _p_value(table.mean(axis=1)) for name, table in primary.items()})
    interactions = holm({name: interaction_p(table) for name, table in primary.items() if table.shape[1] > 1})
    alphas = {c.name: Alphas(effects.get(c.name, ALPHA), interactions.get(c.name, ALPHA)) for c in claims}
    return [_judged(claim, tables[claim.name], alphas[claim.name], (cut or {}).get(claim.name, {})) for claim in claims]


def holm(p_values: Mapping[str, float], alpha: float = ALPHA) -> dict[str, float]:
    """The level at which each claim's interval is drawn: ``alpha / (m - k)`` for the ``k``-th smallest p-value.

    Once a claim fails its level, no later one may exclude zero either (Holm 1979); those keep the level that failed.

    >>> holm({"a": 0.001, "b": 0.2, "c": 0.03})  # c fails 0.025, so b is held to it too
    {'a': 0.016666666666666666, 'c': 0.025, 'b': 0.025}
    """
    levels: dict[str, float] = {}
    level, stopped = 0.0, False
    for k, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if not stopped:
            level = alpha / (len(p_values) - k)
            stopped = p_values[name] >= level
        levels[name] = level
    return levels


def ruling(effect: Metric, smallest_effect: float) -> Word:
    """The verdict of one interval.

    >>> ruling(Metric(1.2, (0.4, 2.0), 8), 1.0), ruling(Metric(1.2, (0.4, 2.0), 8), -1.0)
    ('supported', 'refuted')
    >>> ruling(Metric(0.5, (-0.4, 1.4), 8), 1.0)
    'inconclusive'
    """
    sign = 1.0 if smallest_effect > 0 else -1.0
    low, high = sorted(sign * bound for bound in effect.ci95 or (-np.inf, np.inf))
    if low > 0 and sign * effect.value >= abs(smallest_effect) * _ROUNDING:
        return "supported"
    return "refuted" if high < abs(smallest_effect) else "inconclusive"


def within_budget(word: Word, smallest_effect: float, cut: tuple[int, int]) -> Word:
    """The verdict that is left where some runs of the treatment or of the control are lower bounds.

    >>> within_budget("supported", -0.5, (0, 3)), within_budget("supported", -0.5, (1, 0))
    ('supported', 'inconclusive')
    >>> within_budget("refuted", -0.5, (0, 3)), within_budget("refuted", 0.5, (0, 3))
    ('inconclusive', 'refuted')
    """
    treatment, control = cut
    more, less = (treatment, control) if smallest_effect > 0 else (control, treatment)  # what the true effect may be
    overturned = (word == "refuted" and more) or (word == "supported" and less)
    return "inconclusive" if overturned else word


def _whole(cut: Cut) -> tuple[int, int]:
    return sum(t for t, _ in cut.values()), sum(c for _, c in cut.values())


def interaction_p(table: NDArray) -> float:
    """Whether the effect differs between levels: Hotelling's T² on the differences of neighbouring levels, ``[n, k]``.

    For two levels this is the paired t-test.
    """
    contrasts = np.diff(table, axis=1)
    n, k = contrasts.shape
    if n <= k:
        raise ValueError(f"{n} seeds cannot tell {k + 1} levels apart")
    mean = contrasts.mean(axis=0)
    covariance = np.atleast_2d(np.cov(contrasts, rowvar=False))
    if np.trace(covariance) <= 1e-24 * np.square(contrasts).sum():  # no spread but that of rounding: certain
        return 0.0 if mean.any() else 1.0
    t_squared = float(n * mean @ np.linalg.pinv(covariance, hermitian=True) @ mean)
    return float(stats.f.sf(t_squared * (n - k) / ((n - 1) * k), k, n - k))


def _table(claim: Claim, differences: Mapping[str, Differences]) -> NDArray:
    """Differences as ``[seeds, levels]``."""
    measured = differences.get(claim.name, {})
    levels = claim.levels or ("",)
    missing = [level for level in levels if level not in measured]
    if missing:
        raise ValueError(f"claim {claim.name!r} was not measured at {missing}")
    table = np.stack([np.asarray(measured[level], dtype=float) for level in levels], axis=1)
    if len(table) < 3 or not np.isfinite(table).all():
        raise ValueError(f"claim {claim.name!r} needs three seeds or more and finite differences, found {table}")
    return table


def _p_value(x: NDArray) -> float:
    spread = float(x.std(ddof=1))
    if spread == 0:
        return 1.0 if x[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(x.mean()) / (spread / np.sqrt(len(x))), len(x) - 1))


Levels = dict[str, tuple[Metric, Word]]


class Alphas(NamedTuple):
    """The levels at which a claim's effect and its interaction are tested."""

    effect: float
    interaction: float


def _word(claim: Claim, table: NDArray, alphas: Alphas, cut: Cut) -> tuple[Word, Metric, Levels, float | None]:
    effect = mean_interval(table.mean(axis=1), confidence=1 - alphas.effect)
    word = within_budget(ruling(effect, claim.smallest_effect), claim.smallest_effect, _whole(cut))
    if not claim.levels:
        return word, effect, {}, None
    levels: Levels = {}
    for k, level in enumerate(claim.levels):
        own = mean_interval(table[:, k], confidence=1 - alphas.effect / len(claim.levels))
        own_word = ruling(own, claim.smallest_effect)
        levels[level] = own, within_budget(own_word, claim.smallest_effect, cut.get(level, (0, 0)))
    p = interaction_p(table)
    differ = len({word for _, word in levels.values()}) > 1
    return ("depends" if p < alphas.interaction and differ else word), effect, levels, p


def _judged(claim: Claim, table: NDArray, alphas: Alphas, cut: Cut) -> Judgement:
    word, effect, levels, p = _word(claim, table, alphas, cut)
    power, false_support = (_simulated(claim, table, alphas, planted) for planted in (PLANTED, 0.0))
    return Judgement(claim, word, effect, 1 - alphas.effect, _whole(cut), levels, p, power, false_support)


def _simulated(claim: Claim, table: NDArray, alphas: Alphas, planted: float) -> float:
    """Share of experiments found supported: residuals of whole seeds, drawn anew around one effect at every level."""
    n, levels = table.shape
    residuals = (table - table.mean(axis=0)) * np.sqrt(n / (n - 1))
    generator = stream(0, "verdict", claim.name, str(planted))
    draws = residuals[generator.integers(n, size=(SIMULATIONS, n))] + planted * claim.smallest_effect
    found = _rulings(draws.mean(axis=2), alphas.effect, claim.smallest_effect) == _SUPPORTED
    if levels > 1:  # what differs between levels depends, and is not counted as found
        each = _rulings(draws.swapaxes(1, 2), alphas.effect / levels, claim.smallest_effect)
        for k in np.flatnonzero(found & (each != each[:, :1]).any(axis=1)):
            found[k] = interaction_p(draws[k]) >= alphas.interaction
    return float(found.mean())


_REFUTED, _INCONCLUSIVE, _SUPPORTED = -1, 0, 1


def _rulings(draws: NDArray, alpha: float, smallest_effect: float) -> NDArray:
    """:func:`ruling` of many experiments at once: ``[…, seeds]`` to ``[…]``."""
    n, size = draws.shape[-1], abs(smallest_effect)
    means = draws.mean(axis=-1) * np.sign(smallest_effect)
    half = stats.t.ppf(1 - alpha / 2, n - 1) * draws.std(axis=-1, ddof=1) / np.sqrt(n)
    supported = (means - half > 0) & (means >= size * _ROUNDING)
    return np.where(supported, _SUPPORTED, np.where(means + half < size, _REFUTED, _INCONCLUSIVE))
