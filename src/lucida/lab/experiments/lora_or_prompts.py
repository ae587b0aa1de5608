"""LoRA and prompts for one task with the same labels: what differs, and what is the same.

A model that names pictures of one artist finely or coarsely, as the wording asks, is to name those of another artist
finely. It can be asked in other words, shown examples, given a learned prompt, or be given adapters. Two things can be
missing, and are measured apart: that it answers the question that is meant, and that it recognises the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lucida.lab.experiment import Bench
from lucida.lab.experiments.lora_or_prompts_costs import costs
from lucida.lab.experiments.lora_or_prompts_methods import Outcome, Trial, best, shots_for, stopped, trained, worded
from lucida.lab.experiments.lora_or_prompts_settings import (
    ACCURACY,
    AGAIN,
    AGREEMENT,
    ASKED_FOR,
    AWAY,
    CONTEXT,
    FEW,
    LABELS,
    LIKENESS,
    LORA,
    METHODS,
    MOST,
    OTHER,
    PLAINLY,
    RECOGNISED,
    SEARCHED,
    SLOWER,
    SOFT,
    TRAINED,
    WORDED,
    Settings,
    as_right_as,
    at_rate,
    labelled,
)
from lucida.lab.observations import Observations

EQUALS = (SOFT, SEARCHED, CONTEXT)  # what LoRA is compared with at equal accuracy
_KEPT = {ACCURACY: "test", OTHER: "other", AWAY: "away"}


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every method with every number of labels; with the most, what is forgotten, what is alike and what it costs."""
    found = Observations()
    for n in LABELS:
        outcomes = _with_labels(bench, settings, n)
        for name in METHODS:
            for what, key in _KEPT.items():
                found.record(what, name, outcomes[name][key], labelled(n))
        if n in (FEW, MOST):
            for name in METHODS:
                found.record(f"{ACCURACY}, {labelled(n)}", name, outcomes[name]["test"])
        if n:
            found.facts[f"examples shown/{labelled(n)}"] = shots_for(bench, settings, n)
    for name in METHODS:
        found.draw(f"by labels/{name}", LABELS, _by_labels(found, name))
        for what in (OTHER, AWAY):
            found.record(f"{what}, {labelled(MOST)}", name, found.numbers[what, name, labelled(MOST)])
        for what, key in ((ASKED_FOR, "asked for"), (RECOGNISED, "recognised")):
            found.record(what, name, outcomes[name][key])
    _slower(found, bench, settings)
    _by_rate(found, bench, settings)
    _equals(found, bench, settings, outcomes)
    found.facts |= costs(bench, settings, shots_for(bench, settings, MOST))
    return found


def _with_labels(bench: Bench, settings: Settings, n: int) -> dict[str, Outcome]:
    plain = worded(bench, settings, PLAINLY, 0, bench.seeds)
    if not n:  # without labels there is nothing else
        return dict.fromkeys(METHODS, plain)
    found = {name: worded(bench, settings, name, n, bench.seeds) for name in WORDED if name != PLAINLY}
    return {PLAINLY: plain, **found, **{name: best(bench, settings, name, n) for name in TRAINED}}


def _by_labels(found: Observations, name: str) -> NDArray:
    return np.stack([found.numbers[ACCURACY, name, labelled(n)] for n in LABELS], axis=1)


def _slower(found: Observations, bench: Bench, settings: Settings) -> None:
    """The smallest of LoRA's rates at which it learns as much as the soft prompt did, by the tuning seeds."""
    missed, soft = (bench.rates[f"{name}, {labelled(MOST)}"] for name in (LORA, SOFT))
    enough = soft[bench.chosen[f"{SOFT}, {labelled(MOST)}"]]
    rate = min((rate for rate in missed if missed[rate] <= enough), default=min(missed, key=lambda r: missed[r]))
    outcome = trained(bench, settings, Trial(LORA, MOST, (rate,), settings.steps), bench.seeds)
    for what, key in _KEPT.items():
        found.record(what, SLOWER, outcome[key], labelled(MOST))
    found.facts["rate of the slower LoRA"] = rate
    found.facts |= {f"rate/{name}": bench.chosen[f"{name}, {labelled(MOST)}"] for name in TRAINED}


def _by_rate(found: Observations, bench: Bench, settings: Settings) -> None:
    """What each rate learns, and what it leaves."""
    for name in TRAINED:
        learned, left = [], []
        for rate in dict(settings.rates)[name]:
            outcome = trained(bench, settings, Trial(name, MOST, (rate,), settings.steps), bench.seeds)
            found.record("learned", name, outcome["test"], at_rate(rate))
            found.record("left", name, outcome["other"], at_rate(rate))
            learned.append(outcome["test"].mean())
            left.append(outcome["other"])
        found.draw(f"left by learned/{name}", learned, np.stack(left, axis=1))


def _equals(found: Observations, bench: Bench, settings: Settings, outcomes: Mapping[str, Outcome]) -> None:
    """What LoRA has in common with another method, stopped where it names as many validation pictures right."""
    rate = bench.chosen[f"{LORA}, {labelled(MOST)}"]
    for other in EQUALS:
        level, aim = as_right_as(other), outcomes[other]["validation"]
        one, again = (stopped(bench, settings, rate, aim, again=again) for again in (False, True))
        found.record("steps when stopped", LORA, one["steps"], level)
        found.record("right when stopped", LORA, one["test"], level)
        found.record("right when stopped", AGAIN, again["test"], level)
        found.record("right when stopped", other, outcomes[other]["test"], level)
        for name, partner in ((other, outcomes[other]), (AGAIN, again)):
            for what, compare, key in ((AGREEMENT, agreement, "said"), (LIKENESS, likeness, "states")):
                values = [compare(*pair) for pair in zip(one[key], partner[key], strict=True)]
                found.record(what, f"{LORA} and {name}", values, level)


def agreement(one: NDArray, other: NDArray) -> float:
    """Cohen's kappa (1960) of two lists of answers.

    >>> agreement(np.array([1, 1, 2, 2]), np.array([1, 1, 2, 2])), agreement(np.array([1, 2]), np.array([1, 1]))
    (1.0, 0.0)
    """
    names = np.union1d(one, other)
    by_chance = float(sum((one == name).mean() * (other == name).mean() for name in names))
    return 1.0 if by_chance == 1 else float(((one == other).mean() - by_chance) / (1 - by_chance))


def likeness(one: NDArray, other: NDArray) -> float:
    """Linear centred kernel alignment of features ``[N, D]`` (Kornblith et al. 2019); 1 for turned or scaled copies."""
    x, y = (features - features.mean(axis=0) for features in (one, other))
    return float(np.sum((x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))
