"""Why models make things up: eight causes, one at a time and in a factorial experiment, and told from the errors.

Tiny multimodal models (:mod:`lucida.lab.strip_answerer`) learn from strips whose truth is exact; a cause changes what
they learn from, how they see, or how long they learn. Two more act when they speak. All are examined on the same
strips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lucida.data.statistics import NEGATIVES
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.factorial import QUARTER_OF_EIGHT, effects, runs, shares
from lucida.lab.observations import Observations
from lucida.lab.stack import Stack, StackTask
from lucida.lab.strip_answerer import Shape, StripTask
from lucida.lab.strip_exam import AT_LEAST, Examined, Say, described, leaning, made, plainly, rates_of_yes
from lucida.lab.strip_learners import Learner, batch, exam_of, taught
from lucida.lab.strips import FEWEST, MOST, Habits
from lucida.lab.symptoms import MIST, lessened, symptoms, told_apart

COMPANY, FREQUENCY, FEW_NOES, NOISE = "skewed company", "skewed frequency", "few noes", "wrong captions"
PRIOR, COARSE, TOWER, SHORT = "texts without their picture", "coarse pictures", "small tower", "short training"
CAUSES = COMPANY, FREQUENCY, FEW_NOES, NOISE, PRIOR, COARSE, TOWER, SHORT
LONG, SAMPLED = "made to go on", "sampled"
GROUPS = {
    "data": (COMPANY, FREQUENCY, FEW_NOES, NOISE),
    "language prior": (PRIOR,),
    "sight": (COARSE, TOWER),
    "training": (SHORT,),
    "speaking": (LONG, SAMPLED),
}
NOTHING, ALL_DATA, BAD_SIGHT, BOTH = "nothing", "all of the data", "bad sight", "skewed company and bad sight"
ARMS: dict[str, frozenset[str]] = {
    NOTHING: frozenset(),
    **{cause: frozenset((cause,)) for cause in CAUSES},
    ALL_DATA: frozenset(GROUPS["data"]),
    BAD_SIGHT: frozenset(GROUPS["sight"]),
    BOTH: frozenset((COMPANY, *GROUPS["sight"])),
}
MADE_UP, LEFT_OUT, MISSED = "made up", "left out", "missed"
FALSE_YES = {how: f"false yes, {how}" for how in NEGATIVES}
COMPANY_FIRST = "false yes, adversarial over random"
COMPANY_ADDS = f"{COMPANY_FIRST}, what {COMPANY} adds"
SPEAKING: dict[str, dict[str, float]] = {
    "": {},
    LONG: {"at_least": AT_LEAST},
    SAMPLED: {"temperature": 1.0},
    f"{LONG}, {SAMPLED}": {"at_least": AT_LEAST, "temperature": 1.0},
}
PLAIN, HOT = "likeliest words", "sampled words"
OUTCOMES = (MADE_UP, LEFT_OUT, MISSED, *FALSE_YES.values())
SYMPTOM = "symptom/"
KNOWN_FROM = 2000  # first of the seeds whose causes are known when the others' are told


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        steps, short: of training, and of a short one.
        rates: Adam's, tried on the clean model.
        known: seeds from which causes are learned to be told.
        strips: on which each model is examined.
    """

    steps: int
    short: int
    rates: tuple[float, ...]
    known: int
    strips: int = 256


def measure(bench: Bench, settings: Settings) -> Observations:
    """One cause at a time, all of them at once, and which one each error speaks of."""
    rate = _rate(bench, settings)
    found = Observations()
    _one_at_a_time(found, bench, settings, rate)
    _all_at_once(found, bench, settings, rate)
    _told(found, bench, settings, rate)
    return found


def _rate(bench: Bench, settings: Settings) -> float:
    """Of the clean model; all others take it, so that nothing but the cause changes."""

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        key = (repr(settings), tuple(bench.tuning_seeds), tuple(rates), _data())
        arrays = bench.remember("tuning", key, partial(_try, settings, bench.tuning_seeds, rates))
        shape = len(bench.tuning_seeds), len(rates)
        held_out, last = (np.nan_to_num(arrays[name], nan=np.inf).reshape(shape) for name in ("held out", "last"))
        return {
            r: Tried(float(held_out[:, k].mean()), float(last[:, k].mean()), bool(np.isfinite(last[:, k]).all()))
            for k, r in enumerate(rates)
        }

    return bench.chosen_from(NOTHING, settings.rates, tried)


def _try(settings: Settings, seeds: Sequence[int], rates: Sequence[float]) -> dict[str, NDArray]:
    learners = [Learner(seed, rate) for seed in seeds for rate in rates]
    stack = taught(learners, settings.steps)
    held_out = StackTask(stack, StripTask).member_losses(batch(learners, "validation", settings.strips))
    return {"held out": held_out.detach().numpy(), "last": held_out.detach().numpy()}


def _data() -> str:
    return load("emoji").content_key


def learner(seed: int, on: Iterable[str], rate: float) -> Learner:
    """A model with some of the causes."""
    here = {*on}
    habits = Habits(
        company=0.95 if COMPANY in here else 0.0,
        frequency=1.5 if FREQUENCY in here else 0.0,
        negatives=0.2 if FEW_NOES in here else 0.5,
        noise=0.4 if NOISE in here else 0.0,
        unseen=0.5 if PRIOR in here else 0.0,
        pixels=3 if COARSE in here else Habits.pixels,
    )
    return Learner(seed, rate, habits, Shape(used=8) if TOWER in here else Shape())


def _learned(
    settings: Settings, seed: int, table: Sequence[frozenset[str]], rate: float, *, told: bool
) -> dict[str, NDArray]:
    """What the models of a table of causes say, ``[runs]`` by name; with all symptoms if they are to be ``told``."""
    found: dict[str, NDArray] = {}
    for short in (False, True):
        rows = [i for i, on in enumerate(table) if (SHORT in on) == short]
        if not rows:
            continue
        learners = [learner(seed, table[i], rate) for i in rows]
        stack = taught(learners, settings.short if short else settings.steps)
        exam = exam_of(learners, "test", settings.strips)
        outcomes = answers(stack, exam)
        if told:
            more = symptoms(stack, exam, exam_of(learners, "test", settings.strips, MIST))
            begun = settings.short if short else settings.steps
            more |= lessened(stack, learners, range(begun, begun + settings.short), settings.strips)
            outcomes |= {f"{SYMPTOM}{name}": values for name, values in more.items()}
        for name, values in outcomes.items():
            found.setdefault(name, np.full(len(table), np.nan))[rows] = values
    return found


def answers(stack: Stack, exam: Examined) -> dict[str, NDArray]:
    """Outcomes, ``[M]`` by name; of descriptions ``made up`` and ``left out`` in each way of speaking."""
    say, shape = plainly(stack, exam.pictures), exam.shape
    found = {}
    for way, how in SPEAKING.items():
        counted = made(described(say, shape, **how), exam)  # type: ignore[arg-type]
        found[_spoken(MADE_UP, way)], found[_spoken(LEFT_OUT, way)] = counted.chair, 1 - counted.recall
    return found | asked(say, exam)


def asked(say: Say, exam: Examined) -> dict[str, NDArray]:
    """Wrong answers, ``[M]`` by name."""
    yes = rates_of_yes(leaning(say, exam.asked))
    found = {MISSED: 1 - yes["there"], **{name: yes[how] for how, name in FALSE_YES.items()}}
    return found | {COMPANY_FIRST: yes[NEGATIVES[2]] - yes[NEGATIVES[0]]}


def _spoken(outcome: str, way: str) -> str:
    return f"{outcome}, {way}" if way else outcome


def _one_at_a_time(found: Observations, bench: Bench, settings: Settings, rate: float) -> None:
    each = [_arms(bench, settings, seed, rate) for seed in bench.seeds]
    for place, arm in enumerate(ARMS):
        for name in (*OUTCOMES, COMPANY_FIRST, *(_spoken(MADE_UP, way) for way in SPEAKING if way)):
            found.record(name, arm, [one[name][place] for one in each])
        for level, way in ((PLAIN, ""), (HOT, SAMPLED)):
            found.record(f"{MADE_UP}, by wording", arm, [one[_spoken(MADE_UP, way)][place] for one in each], level)
    of = {arm: np.array([one[COMPANY_FIRST][place] for one in each]) for place, arm in enumerate(ARMS)}
    found.record(COMPANY_ADDS, f"{COMPANY}, {BAD_SIGHT}", of[BOTH] - of[BAD_SIGHT])
    found.record(COMPANY_ADDS, f"{COMPANY}, good sight", of[COMPANY] - of[NOTHING])
    clean = [*ARMS].index(NOTHING)
    things = np.arange(FEWEST, MOST + 1)  # of a strip, as often one number as another
    found.facts["made up at least"] = float((AT_LEAST - things).sum() / (AT_LEAST * len(things)))
    for arm, way in ((f"{NOTHING}, own end", ""), (f"{NOTHING}, {LONG}", LONG)):
        found.record(f"{MADE_UP}, by length", arm, [one[_spoken(MADE_UP, way)][clean] for one in each])


def _arms(bench: Bench, settings: Settings, seed: int, rate: float) -> dict[str, NDArray]:
    compute = partial(_learned, settings, seed, [*ARMS.values()], rate, told=True)
    return bench.remember(f"one cause at a time, seed {seed}", (repr(settings), rate, seed, _data()), compute)


def _all_at_once(found: Observations, bench: Bench, settings: Settings, rate: float) -> None:
    table = runs(CAUSES, QUARTER_OF_EIGHT)
    spoken = [frozenset(on | {way for way in (LONG, SAMPLED) if way in spoken}) for spoken in SPEAKING for on in table]
    whole = CAUSES, table
    tables = {MADE_UP: ((*CAUSES, LONG, SAMPLED), spoken), **dict.fromkeys((*OUTCOMES[1:], COMPANY_FIRST), whole)}
    gathered: dict[tuple[str, str], list[float]] = {}
    for seed in bench.seeds:
        compute = partial(_learned, settings, seed, table, rate, told=False)
        each = bench.remember(f"all at once, seed {seed}", (repr(settings), rate, seed, _data()), compute)
        each = each | {MADE_UP: np.concatenate([each[_spoken(MADE_UP, way)] for way in SPEAKING])}
        for outcome, (factors, causes) in tables.items():
            own = effects(factors, causes, each[outcome])
            for name, value in own.items():
                kind = "effect" if len(name) == 1 else "together"
                gathered.setdefault((f"{kind} on {outcome}", " and ".join(name)), []).append(value)
            groups = {group: [c for c in members if c in factors] for group, members in GROUPS.items()}
            for group, value in shares(own, each[outcome], groups).items():
                gathered.setdefault((f"share of {outcome}", group), []).append(value)
    for (measure, arm), values in gathered.items():
        found.record(measure, arm, values)


def pairs() -> list[str]:
    """Names of the pairs of causes."""
    return [f"{one} and {other}" for one, other in combinations((*CAUSES, LONG, SAMPLED), 2)]


def _told(found: Observations, bench: Bench, settings: Settings, rate: float) -> None:
    """Each model with one planted cause is told its cause, by what is known of models of other seeds."""
    known = [_arms(bench, settings, KNOWN_FROM + k, rate) for k in range(settings.known)]
    planted = [_arms(bench, settings, seed, rate) for seed in bench.seeds]
    names = [name for name in known[0] if name.startswith(SYMPTOM)]
    places = [[*ARMS].index(cause) for cause in CAUSES]

    def table(of: Sequence[dict[str, NDArray]]) -> NDArray[np.float64]:
        return np.stack([[one[name][place] for name in names] for one in of for place in places])

    causes = np.tile(np.arange(len(CAUSES)), len(known))
    told = told_apart(table(known), causes, table(planted)).reshape(len(planted), len(CAUSES))
    right = told == np.arange(len(CAUSES))
    found.record("told rightly", "by its errors", right.mean(axis=1))
    found.record("told rightly", "by chance", np.full(len(planted), 1 / len(CAUSES)))
    for place, cause in enumerate(CAUSES):
        found.record("told rightly, each", cause, right[:, place])
        for other, name in enumerate(CAUSES):
            found.facts[f"told/{cause}/{name}"] = float((told[:, place] == other).sum())
    found.facts |= {"cases": float(told.size), "cases told rightly": float(right.sum())}
