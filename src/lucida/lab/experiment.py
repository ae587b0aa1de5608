"""An experiment: what it declares, how it measures, what its page shows; and the bench on which it runs."""

from __future__ import annotations

import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lucida.core.cache import cache_folder, content_hash
from lucida.core.progress import say
from lucida.core.results import write_bytes
from lucida.core.run_folder import environment
from lucida.lab.datasets import Dataset, load
from lucida.lab.design import Design, Scale
from lucida.lab.networks import NetworkConfig
from lucida.lab.observations import Observations
from lucida.lab.parts import stored_arrays
from lucida.lab.parts import without_words as without_words
from lucida.lab.short_answers import Answer
from lucida.lab.training import Member, Observer, Outcome, Training, train_members
from lucida.report.lab_page import Drawing

TUNING_SEEDS = (1000, 1001, 1002, 1003)
MOST_EXTENSIONS = 3
_SECONDS, _ORIGIN = "seconds it took", "where it was measured"  # stored beside a part's arrays
_SOURCES = Path(__file__).resolve().parents[1]  # of lucida
_MEASURING = (  # what a measurement rests on besides the experiment's own file
    "lab/training.py",
    "lab/stack.py",
    "lab/networks.py",
    "lab/sequence_networks.py",
    "lab/norms.py",
    "lab/penalties.py",
    "lab/datasets.py",
    "lab/probing.py",
    "training/batches.py",
    "training/distributed.py",
    "training/step.py",
    "training/tasks.py",
    "core/seeds.py",
)

ORIGIN = ("commit", "uncommitted_changes", "processor")  # of an environment
Reservation = Literal["not sound", "at the end of the grid", "tied"]

Score = Callable[[Outcome], NDArray]
"""A number a member, the smaller the better, from what was recorded while tuning; test data are out of bounds."""


@dataclass(frozen=True)
class Section:
    """A part of a page: its drawings and tables below a few sentences (``{metric}`` where a number stands)."""

    title: str
    text: str
    drawings: tuple[Drawing, ...]


class Measure(Protocol):
    """Runs the experiment."""

    def __call__(self, bench: Bench, settings: Any) -> Observations:
        """All numbers; every claim's measure at each level of both arms."""


@dataclass(frozen=True)
class Experiment:
    """One question, from its declaration to its page.

    Attributes:
        design: declared before the run.
        settings: the numbers of each scale (a frozen dataclass each).
        measure: runs it.
        present: what the page shows of the observations, part by part.
        answers: for the verdicts that the author has seen.
        source: the file it is written in: a change of it makes the cache forget.
        helpers: other files, beside those of every experiment, that its measurements rest on: likewise.
    """

    design: Design
    settings: Mapping[Scale, Any]
    measure: Measure
    present: Callable[[Observations], Sequence[Section]]
    answers: tuple[Answer, ...]
    source: str
    helpers: tuple[str, ...] = ()

    @cached_property
    def code(self) -> str:
        """A hash of the code a measurement rests on; comments, docstrings and layout do not count.

        It is taken once: who measures for hours asks for it before, and edits meanwhile do not count.
        """
        files = (*_MEASURING, self.source, *self.helpers)
        return content_hash(
            torch.__version__, *(without_words((_SOURCES / name).read_text(encoding="utf-8")) for name in files)
        )


@cache
def here() -> dict[str, Any]:
    """Versions, commit and machine of this process, as they were when it was first asked for them."""
    return environment(seed=0)


@dataclass
class Bench:
    """Trains and remembers for one run of an experiment.

    Attributes:
        experiment: which.
        seeds: of the results.
        tuning_seeds: of the learning rates; never among ``seeds``.
        rates: what was tuned: ``{arm: {rate: mean score}}``.
        chosen: and chosen.
        reservations: what is to be said of an arm's rate, if anything.
        environment: of this process, from its start.
        origins: commit and machine of every part; a part from the cache keeps its own.
        remembered, measured: how many parts came from the cache, and how many did not.
        seconds: all parts took to measure, those from the cache when they were measured.
    """

    experiment: Experiment
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = TUNING_SEEDS
    rates: dict[str, dict[float, float]] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=here)
    origins: dict[Path, dict[str, Any]] = field(default_factory=dict)
    speed: dict[str, float] = field(default_factory=dict)
    remembered: int = 0
    measured: int = 0
    seconds: float = 0.0

    def remember(self, what: str, key: Sequence[Any], compute: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
        """The arrays of ``compute``, from the cache if they were computed before with the same key and code.

        A run that was stopped goes on with the first part that is not there.
        """
        path = cache_folder() / "lab" / f"{content_hash(what, list(key), self.experiment.code)}.npz"
        arrays = stored_arrays(path)
        if arrays is None:
            say(f"{self.experiment.design.name}: {what}")
            began = time.perf_counter()
            with one_thread():
                arrays = compute()
            arrays[_SECONDS] = np.asarray(time.perf_counter() - began)
            arrays[_ORIGIN] = np.asarray(json.dumps({key: self.environment.get(key) for key in ORIGIN}))
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)  # type: ignore[arg-type]
            write_bytes(path, buffer.getvalue())
            self.measured += 1
        else:
            self.remembered += 1
        seconds, origin = float(arrays.pop(_SECONDS)), str(arrays.pop(_ORIGIN))
        if path not in self.origins:  # a part that is asked for again costs nothing
            self.origins[path] = json.loads(origin)
            self.seconds += seconds
        return arrays

    def train(
        self,
        what: str,
        training: Training,
        members: Sequence[Member],
        observers: Mapping[str, Observer] | None = None,
    ) -> Outcome:
        """Train members, or remember how they were trained; ``observers`` are functions of the experiment."""
        looked = {name: told(observer) for name, observer in (observers or {}).items()}
        # As text, in which two kinds of network with equal settings differ.
        key = (repr(training), repr(list(members)), looked, load(training.data).content_key)

        def compute() -> dict[str, NDArray]:
            outcome = train_members(training, members, observers=observers, what=what)
            arrays = {f.name: np.asarray(getattr(outcome, f.name)) for f in dataclasses.fields(outcome)}
            observed = {f"observed/{name}": array for name, array in outcome.observed.items()}
            return {name: array for name, array in arrays.items() if name != "observed"} | observed

        arrays = self.remember(what, key, compute)
        observed = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("observed/")}
        plain = {name: array for name, array in arrays.items() if not name.startswith("observed/")}
        self.speed[what] = float(plain.pop("seconds_per_step"))
        return Outcome(observed=observed, seconds_per_step=self.speed[what], **plain)

    def over_seeds(
        self,
        arm: str,
        training: Training,
        network: NetworkConfig,
        rate: float,
        observers: Mapping[str, Observer] | None = None,
    ) -> Outcome:
        """An arm over all seeds of the results."""
        members = [Member(seed, rate, network) for seed in self.seeds]
        return self.train(f"{arm}, rate {rate:.3g}", training, members, observers)

    def tuned(
        self,
        arm: str,
        training: Training,
        network: NetworkConfig,
        rates: Sequence[float],
        score: Score,
        observers: Mapping[str, Observer] | None = None,
    ) -> float:
        """The arm's best learning rate: the mean score over the tuning seeds decides, which no result uses.

        A best rate at an end of the grid is no best rate: the grid is then extended by its own factor there, up to
        three times on that side. Of rates with equal scores the one with the lowest training loss at the end is
        taken. What is left to be said of the choice is in ``reservations``.

        Args:
            observers: that the score needs.
        """

        def tried(wanted: Sequence[float]) -> dict[float, Tried]:
            return self._scores(arm, training, network, wanted, score, observers)

        return self.chosen_from(arm, rates, tried)

    def chosen_from(
        self, arm: str, rates: Sequence[float], tried: Callable[[Sequence[float]], dict[float, Tried]]
    ) -> float:
        """As :meth:`tuned`, for who trains in a way of his own: ``tried`` gives what rates were on the tuning seeds."""
        table: dict[float, Tried] = {}
        grid = sorted(rates)
        down, up = grid[0] / grid[1], grid[-1] / grid[-2]
        wanted = grid
        for _ in range(1 + MOST_EXTENSIONS):
            table |= tried(wanted)
            best = min(table, key=lambda rate: table[rate][:2])
            if best not in (min(table), max(table)):
                break
            wanted = [best * (up if best == max(table) else down)]
        scores = {rate: found.score for rate, found in table.items()}
        self.rates[arm] = dict(sorted((self.rates.get(arm, {}) | scores).items()))
        self.chosen[arm] = best
        self.reservations.pop(arm, None)
        if (reservation := _reservation(scores, best, table[best].sound)) is not None:
            self.reservations[arm] = reservation
        return best

    def _scores(
        self,
        arm: str,
        training: Training,
        network: NetworkConfig,
        rates: Sequence[float],
        score: Score,
        observers: Mapping[str, Observer] | None,
    ) -> dict[float, Tried]:
        members = [Member(seed, rate, network) for seed, rate in product(self.tuning_seeds, rates)]
        outcome = self.train(f"tuning {arm}", training, members, observers)
        scores, losses = (
            np.nan_to_num(values, nan=np.inf, posinf=np.inf).reshape(len(self.tuning_seeds), len(rates)).mean(axis=0)
            for values in (score(outcome), outcome.loss[:, -1])
        )
        sound: NDArray = outcome.stable().reshape(len(self.tuning_seeds), len(rates))
        return {
            rate: Tried(float(scores[k]), float(losses[k]), bool(sound[:, k].all())) for k, rate in enumerate(rates)
        }


class Tried(NamedTuple):
    """A rate over the tuning seeds: mean score and mean training loss at the end (infinite where a member has none).

    ``sound`` if every member stayed finite and ended below the loss it began with.
    """

    score: float
    loss: float
    sound: bool


def _reservation(scores: Mapping[float, float], best: float, sound: bool) -> Reservation | None:
    """What is to be said of a rate that was chosen from these scores."""
    if not sound or not np.isfinite(scores[best]):
        return "not sound"
    if best in (min(scores), max(scores)):
        return "at the end of the grid"
    return "tied" if sum(scored == scores[best] for scored in scores.values()) > 1 else None


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, so that sums are added in one order, however many processors there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def told(made: Any) -> Any:
    """What an observer is, for the cache: its name, and what it was made with (what it does is in the code's hash).

    Raises:
        TypeError: it was made with something whose content cannot be told.
    """
    if made is None or isinstance(made, str | int | float | np.ndarray | np.generic):
        return made
    if isinstance(made, Mapping):
        return {str(key): told(value) for key, value in made.items()}
    if isinstance(made, list | tuple):
        return [told(value) for value in made]
    if isinstance(made, Bench | torch.Tensor | Dataset | partial | MethodType | FunctionType):
        return _told_of(made)
    if isinstance(made, type):
        return made.__qualname__
    if dataclasses.is_dataclass(made):
        return [type(made).__qualname__, repr(made)]
    if not hasattr(made, "__dict__"):
        raise TypeError(f"an observer was made with a {type(made).__qualname__}, whose content cannot be told")
    state = {name: told(value) for name, value in vars(made).items() if value is not None and value != {}}
    return [type(made).__qualname__, state] if state else [type(made).__qualname__]


def _told_of(made: Bench | torch.Tensor | Dataset | partial[Any] | MethodType | FunctionType) -> Any:
    if isinstance(made, Bench):
        return [made.seeds, made.tuning_seeds]
    if isinstance(made, torch.Tensor):
        return made.detach().numpy()
    if isinstance(made, Dataset):
        return made.content_key
    if isinstance(made, partial):
        return ["partial", told(made.func), told(made.args), told(made.keywords)]
    if isinstance(made, MethodType):
        return [told(made.__func__), told(made.__self__)]
    cells = [told(cell.cell_contents) for cell in made.__closure__ or ()]
    defaults = [told(value) for value in (made.__defaults__, made.__kwdefaults__) if value]
    return [made.__qualname__, *cells, *defaults]


def final_loss(outcome: Outcome) -> NDArray:
    """Score: the training loss at the end; infinite where the member is not stable."""
    return np.where(outcome.stable(), outcome.loss[:, -1], np.inf)


def validation_error(outcome: Outcome) -> NDArray:
    """Score: the share of validation examples that are wrong at the end; all of them where the member is not stable."""
    return np.where(outcome.stable(), 1 - outcome.validation_accuracy[:, -1], 1.0)
