"""What helps against making things up: remedies in decoding and in training, on a clean model and on two patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.data.statistics import NEGATIVES
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.observations import Observations
from lucida.lab.stack import Stack
from lucida.lab.strip_answerer import Shape
from lucida.lab.strip_exam import PRESENT, Examined, Say, described, leaning, made, plainly
from lucida.lab.strip_learners import Learner, exam_of, taught
from lucida.lab.strip_remedies import (
    contrast,
    cut,
    distorted,
    early,
    fitted,
    grounded,
    grounded_odds,
    held_out,
    preferred,
    taught_on,
    true_and_balanced,
)
from lucida.lab.strips import KINDS, Habits

PLAIN = "as it is"
DISTORTED, UNSEEN, EARLY = "contrast, distorted", "contrast, no picture", "contrast, first block"
CUT = "the contrast's cut alone"
GROUNDED, MORE, BALANCED, PREFERRED = "grounded", "more of the same", "balanced and true data", "preference tuning"
BOTH = f"{PREFERRED}, {GROUNDED}"
ARMS = PLAIN, DISTORTED, UNSEEN, EARLY, CUT, GROUNDED, MORE, BALANCED, PREFERRED, BOTH
READINGS = dict.fromkeys(ARMS, 1.0) | {DISTORTED: 2.0, UNSEEN: 2.0}
CLEAN, BLURRED, EXPECTING = "clean model", "patient of bad sight", "patient of strong expectations"
SKEWED = Habits(company=0.8, frequency=1.0, negatives=0.25, noise=0.3)
MODELS = {
    CLEAN: (Habits(), Shape()),
    BLURRED: (SKEWED, Shape(used=12)),
    EXPECTING: (replace(SKEWED, unseen=0.6), Shape()),
}

MADE_UP, NAMED, NUMBER = "made up", "named of what is there", "right number of names"
MADE_UP_LOG = "log2 of what is made up"
FALSE_YES, FALSE_RANDOM, SAID_YES = "false yes", "false yes, random", "yes to what is there"
EQUAL, EQUAL_YES = "false yes at as many yes", "yes to what is there at as many yes"
SAMPLED, SAMPLED_NAMED = "made up, sampled words", "named, sampled words"
SUREST = "wrong of the surest nine in ten"
OUTCOMES = MADE_UP, NAMED, NUMBER, FALSE_YES, FALSE_RANDOM, SAID_YES, EQUAL, EQUAL_YES, SAMPLED, SAMPLED_NAMED, SUREST
_ABSENT = PRESENT + NEGATIVES.index("adversarial")

Outcome = dict[str, NDArray]


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        steps, more: of training, and of further training and tuning.
        rate: Adam's.
        preference_rates: tried for preference tuning.
        noise_steps: tried for the distorted strip of a contrast.
        strips: on which each model is examined.
    """

    steps: int
    more: int
    rate: float
    preference_rates: tuple[float, ...]
    noise_steps: tuple[int, ...]
    strips: int = 256


@dataclass(frozen=True)
class Chosen:
    """What is tuned for a model, on other seeds.

    Attributes:
        rate: of preference tuning.
        noise_step: of the diffusion that distorts strips for a contrast.
    """

    rate: float
    noise_step: int


def measure(bench: Bench, settings: Settings) -> Observations:
    """All remedies on all models."""
    found = Observations()
    for name in MODELS:
        chosen = _chosen(bench, settings, name)
        found.facts[f"noise step/{name}"] = float(chosen.noise_step)
        outcome = _outcomes(bench, settings, name, bench.seeds, chosen)
        for arm in ARMS:
            for what in OUTCOMES:
                found.record(what, arm, outcome[f"{arm}/{what}"], name)
            found.record_ratio(MADE_UP_LOG, arm, outcome[f"{arm}/{MADE_UP_LOG}"], name)
    found.facts |= {f"readings a word/{arm}": readings for arm, readings in READINGS.items()}
    return found


def _chosen(bench: Bench, settings: Settings, name: str) -> Chosen:
    """Of each knob what makes up and leaves out least on the tuning seeds' held-out strips."""
    step = _noise_step(bench, settings, name)

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        found = {}
        for rate in rates:
            outcome = _outcomes(bench, settings, name, bench.tuning_seeds, Chosen(rate, step), part="validation")
            score = float((outcome[f"{PREFERRED}/{MADE_UP}"] + 1 - outcome[f"{PREFERRED}/{NAMED}"]).mean())
            found[rate] = Tried(score, score, bool(np.isfinite(score)))
        return found

    return Chosen(bench.chosen_from(f"{PREFERRED}, {name}", settings.preference_rates, tried), step)


def _noise_step(bench: Bench, settings: Settings, name: str) -> int:
    key = (repr(settings), name, tuple(bench.tuning_seeds), load("emoji").content_key)
    compute = partial(_noise_scores, settings, name, bench.tuning_seeds)
    scores = bench.remember(f"{name}, noise steps", key, compute)["scores"]
    return settings.noise_steps[int(np.argmin(scores))]


def _noise_scores(settings: Settings, name: str, seeds: Sequence[int]) -> dict[str, NDArray]:
    """What is made up and left out with the contrast at each step, ``scores [steps]``."""
    learners = _learners(settings, name, seeds)
    stack, exam = taught(learners, settings.steps), exam_of(learners, "validation", settings.strips)
    scores = []
    for step in settings.noise_steps:
        counted = made(described(distorted(stack, exam.pictures, step), exam.shape), exam)
        scores.append(float((counted.chair + 1 - counted.recall).mean()))
    return {"scores": np.asarray(scores)}


def _learners(settings: Settings, name: str, seeds: Sequence[int]) -> list[Learner]:
    habits, shape = MODELS[name]
    return [Learner(seed, settings.rate, habits, shape) for seed in seeds]


def _outcomes(
    bench: Bench, settings: Settings, name: str, seeds: Sequence[int], chosen: Chosen, part: str = "test"
) -> Outcome:
    key = (repr(settings), name, tuple(seeds), repr(chosen), part, load("emoji").content_key)
    compute = partial(_measured, settings, name, seeds, chosen, part)
    said = f"{name}, {part}, preference rate {chosen.rate:.2g}, noise step {chosen.noise_step}"
    return bench.remember(said, key, compute)


def _measured(settings: Settings, name: str, seeds: Sequence[int], chosen: Chosen, part: str) -> Outcome:
    """Every arm of one model, ``{arm}/{outcome}``: ``[seeds]``."""
    learners = _learners(settings, name, seeds)
    stack = taught(learners, settings.steps)
    later = range(settings.steps, settings.steps + settings.more)
    tuned = preferred(stack, learners, [chosen.rate] * len(learners), settings.more)
    stacks = dict.fromkeys(ARMS, stack) | {
        MORE: taught_on(stack, learners, later),
        BALANCED: taught_on(stack, [true_and_balanced(one) for one in learners], later),
        PREFERRED: tuned,
        BOTH: tuned,
    }
    exam, other = exam_of(learners, part, settings.strips), held_out(learners, settings.strips)
    if part == "validation":  # another part to fit on than the one that is measured
        other = exam_of(learners, "fitting", settings.strips)
    plain = leaning(plainly(stack, exam.pictures), exam.asked)
    found: Outcome = {}
    for arm, own in stacks.items():
        say = _says(arm, chosen)(own, exam.pictures)
        odds = grounded_odds(own, exam, fitted(own, other)) if arm in (GROUNDED, BOTH) else leaning(say, exam.asked)
        found |= {f"{arm}/{what}": values for what, values in outcomes(say, odds, plain, exam).items()}
    return found


def _says(arm: str, chosen: Chosen) -> Callable[[Stack, Tensor], Say]:
    """How an arm speaks."""
    ways: Mapping[str, Callable[[Stack, Tensor], Say]] = {
        DISTORTED: partial(distorted, step=chosen.noise_step),
        UNSEEN: lambda stack, pictures: contrast(stack, pictures, torch.zeros_like(pictures)),
        EARLY: early,
        CUT: cut,
        GROUNDED: grounded,
        BOTH: grounded,
    }
    return ways.get(arm, plainly)


def outcomes(say: Say, odds: NDArray[np.float64], plain: NDArray[np.float64], exam: Examined) -> Outcome:
    """What an arm makes up, names and answers, ``[M]`` each.

    Args:
        say: how it describes.
        odds: of yes to all questions; ``plain``: of the model as it is.
        exam: what it is shown and asked.
    """
    odds = np.clip(np.nan_to_num(odds, nan=0.0), -50.0, 50.0)  # where a contrast leaves neither word
    told, sampled = described(say, exam.shape), described(say, exam.shape, temperature=1.0)
    own, hot = made(told, exam), made(sampled, exam)
    things = np.stack([(one.kinds >= 0).sum(axis=1) for one in exam.strips])
    yes, equal = odds > 0, _at_as_many_yes(odds, plain)
    right = yes == (np.arange(yes.shape[-1]) < PRESENT)
    return {
        MADE_UP: own.chair,
        MADE_UP_LOG: np.log2((own.made_up + 0.5) / (own.named + 1)),
        NAMED: own.recall,
        NUMBER: ((told < KINDS).sum(axis=2) == things).mean(axis=1),
        FALSE_YES: yes[..., _ABSENT].mean(axis=1),
        FALSE_RANDOM: yes[..., PRESENT + NEGATIVES.index("random")].mean(axis=1),
        SAID_YES: yes[..., :PRESENT].mean(axis=(1, 2)),
        EQUAL: equal[..., -1].mean(axis=1),
        EQUAL_YES: equal[..., :-1].mean(axis=(1, 2)),
        SAMPLED: hot.chair,
        SAMPLED_NAMED: hot.recall,
        SUREST: np.array([_wrong_of_the_surest(*each) for each in zip(np.abs(odds), right, strict=True)]),
    }


def _at_as_many_yes(odds: NDArray[np.float64], plain: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Yes to what is there and to the adversarial question, as often as the model as it is: ``[M, N, PRESENT + 1]``."""
    columns = [*range(PRESENT), _ABSENT]
    asked, before = odds[..., columns], plain[..., columns]
    found = np.zeros(asked.shape, bool)
    for m in range(len(asked)):
        wanted = int((before[m] > 0).sum())
        order = np.argsort(-asked[m].ravel(), kind="stable")[:wanted]
        found[m].ravel()[order] = True
    return found


def _wrong_of_the_surest(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    kept = np.argsort(-sure.ravel(), kind="stable")[: round(0.9 * sure.size)]
    return float(1 - right.ravel()[kept].mean())
