"""The methods of :mod:`~lucida.lab.experiments.lora_or_prompts` on one model: asked in words, or trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.core.seeds import derive_seed, stream
from lucida.inference.prompt_search import search_prompts
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.experiments.lora_or_prompts_settings import (
    ALPHA,
    BATCH,
    CALLS,
    CONTEXT,
    ENSEMBLE,
    ENSEMBLED,
    LORA,
    MOST,
    PARTS,
    PLAINLY,
    RANK,
    SHOT_COUNTS,
    SOFT_TOKENS,
    Settings,
    labelled,
)
from lucida.lab.low_rank import LowRank, adapted, frozen
from lucida.lab.prompted_answerer import (
    COARSE,
    COARSE_PROMPT,
    FINE,
    FINE_NAMES,
    GRAMMAR,
    PLAIN,
    SHOTS,
    VOCABULARY,
    AnswersTask,
    Drawn,
    PromptedAnswerer,
    asked,
    drawn,
    reading,
)
from lucida.lab.questions import FEATURES
from lucida.lab.stack import Stack, StackTrainer, Updates

Outcome = dict[str, NDArray]
"""``validation``, ``test``, ``other``, ``away`` (shares of right answers), and of the test pictures of the second
artist: ``asked for`` (share that is a fine name), ``recognised`` (share that is right where only fine names can be
said), ``said [M, N]`` and ``states [M, N, D]``."""
Say = Callable[[int, str, str], Tensor]
"""Logits ``[…, N, V]`` about an artist's pictures of a part, asked one way."""


def read(bench: Bench, settings: Settings, seeds: Sequence[int]) -> dict[str, NDArray]:
    """Parameters ``[seeds, …]`` of the models before."""
    key = (repr(settings), tuple(seeds), load(FEATURES).content_key)
    return bench.remember("models before", key, partial(_read, settings, seeds))


def _read(settings: Settings, seeds: Sequence[int]) -> dict[str, NDArray]:
    stack = Stack([_network(settings, seed) for seed in seeds]).train()
    trainer = StackTrainer(stack, AnswersTask, [settings.reading_rate] * len(seeds), Updates("adam"))
    rows = [[reading(seed, settings.reading_steps, *shape) for seed in seeds] for shape in ((1, 16), (SHOTS + 1, 8))]
    for step in range(settings.reading_steps):
        for each in rows:
            trainer.step({name: torch.stack([own[name][step] for own in each]) for name in each[0]})
    return {name: tensor.detach().numpy().copy() for name, tensor in stack.stacked_parameters().items()}


def _network(settings: Settings, seed: int) -> PromptedAnswerer:
    return PromptedAnswerer(load(FEATURES).inputs["inputs"].shape[1], settings.width, settings.depth, seed)


def before(known: Mapping[str, NDArray], place: int, settings: Settings, seed: int) -> PromptedAnswerer:
    """One of the models of :func:`read`."""
    network = _network(settings, seed)
    network.load_state_dict({name: torch.from_numpy(array[place]) for name, array in known.items()})
    return network


def _measured(say: Say, truth: Callable[[int, str, str], Tensor]) -> Outcome:
    """What all methods are measured by; the test pictures of the second artist are asked once."""

    def right(logits: Tensor, *which: int | str) -> NDArray:
        true = truth(*which)  # type: ignore[arg-type]
        return np.asarray((logits.argmax(dim=-1) == true).double().mean(dim=-1))

    logits = say(1, "test", FINE)
    said, only_fine = logits.argmax(dim=-1), torch.full_like(logits, -torch.inf)
    only_fine[..., FINE_NAMES] = logits[..., FINE_NAMES]
    return {
        "validation": right(say(1, "validation", FINE), 1, "validation", FINE),
        "test": right(logits, 1, "test", FINE),
        "recognised": right(only_fine, 1, "test", FINE),
        "asked for": np.asarray(torch.isin(said, FINE_NAMES).double().mean(dim=-1)),
        "away": right(say(0, "test", FINE), 0, "test", FINE),
        "other": right(say(0, "test", COARSE), 0, "test", COARSE),
        "said": said.numpy(),
    }


# Methods that only word the question


def worded(
    bench: Bench, settings: Settings, name: str, n: int, seeds: Sequence[int], shots: int | None = None
) -> Outcome:
    """A method that trains nothing, with ``n`` labels; it shows as many examples as tuning seeds do best with.

    Args:
        shots: how many examples, instead.
    """
    if name == CONTEXT:
        n = shots or shots_for(bench, settings, n)  # all that it sees of the labels
    known = read(bench, settings, seeds)
    key = (repr(settings), name, n, tuple(seeds), load(FEATURES).content_key)
    compute = partial(_ask_all, known, settings, name, n, seeds)
    return bench.remember(f"{name}, {labelled(n)}", key, compute)


def shots_for(bench: Bench, settings: Settings, n: int) -> int:
    """How many of ``n`` labels to show before a question: what is best on tuning seeds, the fewest of equals."""
    counts = [count for count in SHOT_COUNTS if count <= n]
    found = [worded(bench, settings, CONTEXT, n, bench.tuning_seeds, count)["validation"].mean() for count in counts]
    return counts[int(np.argmax(found))]


def _ask_all(known: dict[str, NDArray], settings: Settings, name: str, n: int, seeds: Sequence[int]) -> Outcome:
    found = [_ask(before(known, place, settings, seed).eval(), seed, name, n) for place, seed in enumerate(seeds)]
    return {key: np.stack([each[key] for each in found]) for key in found[0]}


@torch.no_grad()
def _ask(network: nn.Module, seed: int, name: str, n: int) -> Outcome:
    """One seed's model, asked in the way of a method; other questions are asked as ever, but behind its examples."""
    own = drawn(seed, "train", 1).rows(range(n))
    templates = [PLAIN] if name in (PLAINLY, CONTEXT) else searched(network, own, seed)
    templates = templates[:1] if name != ENSEMBLE else templates
    shots = own if name == CONTEXT else None

    def shown(artist: int, part: str) -> Drawn:
        return drawn(seed, part, artist).rows(range(PARTS[part]))

    def say(artist: int, part: str, way: str) -> Tensor:
        wordings = templates if way == FINE else [COARSE_PROMPT]
        batches = [asked(shown(artist, part), wording, shots=shots) for wording in wordings]
        logits = [network(batch["pictures"], batch["tokens"])[:, -1] for batch in batches]
        return torch.stack([each.log_softmax(dim=-1) for each in logits]).mean(dim=0)

    batch = asked(shown(1, "test"), templates[0], shots=shots)
    states = network(batch["pictures"], batch["tokens"], states=True)[:, -1].numpy()
    return _measured(say, lambda artist, part, way: shown(artist, part).names(way)) | {"states": states}


def searched(network: nn.Module, own: Drawn, seed: int) -> list[str]:
    """The best templates by the log-probability of the labels, the best first."""

    def score(templates: Sequence[str], rows: Sequence[int]) -> NDArray:
        shown = own.rows(rows)
        table = []
        for template in templates:
            batch = asked(shown, template)
            logits = network(batch["pictures"], batch["tokens"])[:, -1]
            table.append(logits.log_softmax(dim=-1).gather(1, shown.fine[:, None])[:, 0].numpy())
        return np.array(table)

    answers = [VOCABULARY[int(name)] for name in own.fine]
    found = search_prompts(GRAMMAR, score, answers, budget=CALLS * len(answers), keep=ENSEMBLED, seed=seed)
    return [each.template for each in found.ranked[:ENSEMBLED]]


# Methods that are trained


@dataclass(frozen=True)
class Trial:
    """How a method is trained.

    Attributes:
        name: of the method.
        n: labels.
        rates: each on every seed.
        steps: after which it stops.
        again: from another start, with another order of the labels.
    """

    name: str
    n: int
    rates: tuple[float, ...]
    steps: int
    again: bool = False

    def told(self) -> str:
        """For the person who waits."""
        rates = f"rates {min(self.rates):.2g} to {max(self.rates):.2g}"
        return f"{self.name}{', again' if self.again else ''}, {labelled(self.n)}, {self.steps} steps, {rates}"


def best(bench: Bench, settings: Settings, name: str, n: int) -> Outcome:
    """A trained method at the rate that is best on tuning seeds."""
    seeds = bench.tuning_seeds

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        outcome = trained(bench, settings, Trial(name, n, tuple(rates), settings.steps), seeds)
        shape = len(seeds), len(rates)
        missed = np.asarray(1 - outcome["validation"].reshape(shape).mean(axis=0))
        last = np.nan_to_num(outcome["loss"], nan=np.inf).reshape(shape).mean(axis=0)
        return {
            rate: Tried(float(missed[k]), float(last[k]), bool(np.isfinite(last[k]))) for k, rate in enumerate(rates)
        }

    rate = bench.chosen_from(f"{name}, {labelled(n)}", dict(settings.rates)[name], tried)
    return trained(bench, settings, Trial(name, n, (rate,), settings.steps), bench.seeds)


def trained(bench: Bench, settings: Settings, trial: Trial, seeds: Sequence[int]) -> Outcome:
    """A trained method, and its ``loss [M]`` at the end; members are seed by seed, then rate by rate."""
    known = read(bench, settings, seeds)
    key = (repr(settings), repr(trial), tuple(seeds), load(FEATURES).content_key)
    return bench.remember(trial.told(), key, partial(_train, known, settings, trial, seeds))


def stopped(bench: Bench, settings: Settings, rate: float, aim: NDArray, *, again: bool = False) -> Outcome:
    """LoRA with the most labels, each seed stopped at the step where it is nearest to an aim; and ``steps [M]``.

    Args:
        rate: it is trained at.
        aim: share of validation pictures to be named right, ``[M]``; test pictures have no say.
        again: from another start, with another order of the labels.
    """
    trial = Trial(LORA, MOST, (rate,), settings.steps, again)
    steps = 1 + np.abs(traced(bench, settings, trial) - aim).argmin(axis=0)
    outcomes = {int(k): trained(bench, settings, replace(trial, steps=int(k)), bench.seeds) for k in np.unique(steps)}
    keys = outcomes[int(steps[0])]
    found = {key: np.stack([outcomes[int(k)][key][seed] for seed, k in enumerate(steps)]) for key in keys}
    return found | {"steps": steps}


def traced(bench: Bench, settings: Settings, trial: Trial) -> NDArray:
    """Share of validation pictures named right after each step, ``[steps, M]``."""
    known = read(bench, settings, bench.seeds)
    key = ("by step", repr(settings), repr(trial), tuple(bench.seeds), load(FEATURES).content_key)
    compute = partial(_trace, known, settings, trial, bench.seeds)
    return bench.remember(f"{trial.told()}, step by step", key, compute)["right"]


def member(known: Mapping[str, NDArray], place: int, settings: Settings, trial: Trial, seed: int) -> nn.Module:
    """A seed's model before, frozen, with what a method trains."""
    base, start = before(known, place, settings, seed), derive_seed(seed, "again") if trial.again else seed
    if trial.name == LORA:
        return adapted(base, LowRank(RANK, ALPHA), start, but=("head", "multi_modal_projector"))
    return frozen(base.with_soft_prompt(SOFT_TOKENS, start), but=("soft",))


def _training(
    known: dict[str, NDArray], settings: Settings, trial: Trial, seeds: Sequence[int]
) -> Iterator[tuple[Stack, Tensor]]:
    """All members after each step, and their losses ``[M]``."""
    members = [(place, seed, rate) for place, seed in enumerate(seeds) for rate in trial.rates]
    stack = Stack([member(known, place, settings, trial, seed) for place, seed, _ in members]).train()
    trainer = StackTrainer(stack, AnswersTask, [rate for *_, rate in members], Updates("adam"))
    own = [drawn(seed, "train", 1).rows(range(trial.n)) for _, seed, _ in members]
    labels = _stacked([asked(each, PLAIN) for each in own])
    orders = torch.stack([_order(seed, trial.n, settings.steps, trial.again) for _, seed, _ in members])
    index = torch.arange(len(members))[:, None]
    for step in range(trial.steps):
        trainer.step({key: tensor[index, orders[:, step]] for key, tensor in labels.items()})
        yield stack, trainer.losses


def _train(known: dict[str, NDArray], settings: Settings, trial: Trial, seeds: Sequence[int]) -> Outcome:
    losses = []
    for stack, loss in _training(known, settings, trial, seeds):  # noqa: B007
        losses.append(loss)
    asked_of = [seed for seed in seeds for _ in trial.rates]
    return _asked_of(stack, asked_of) | {"loss": torch.stack(losses[-10:]).mean(dim=0).numpy()}


def _trace(known: dict[str, NDArray], settings: Settings, trial: Trial, seeds: Sequence[int]) -> Outcome:
    batch, right = _batch(seeds, 1, "validation", FINE), []
    for stack, _ in _training(known, settings, trial, seeds):
        right.append(_right(stack.eval(), batch))
        stack.train()
    return {"right": np.stack(right)}


def _order(seed: int, n: int, steps: int, again: bool) -> Tensor:
    """Labels of every batch, ``[steps, B]``: shuffled epochs one after another."""
    size = min(n, BATCH)
    generator, needed = stream(seed, "lab", "order of labels", n, "again" if again else ""), steps * size
    epochs = [generator.permutation(n) for _ in range(-(-needed // n))]
    return torch.from_numpy(np.concatenate(epochs)[:needed].reshape(steps, size))


def _stacked(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}


def _batch(seeds: Sequence[int], artist: int, part: str, way: str) -> dict[str, Tensor]:
    """Pictures of each seed, asked about plainly, or coarsely."""
    template = PLAIN if way == FINE else COARSE_PROMPT
    return _stacked([asked(drawn(s, part, artist).rows(range(PARTS[part])), template, way) for s in seeds])


@torch.no_grad()
def _right(stack: Stack, batch: Mapping[str, Tensor]) -> NDArray:
    said = stack(batch["pictures"], batch["tokens"])[:, :, -1].argmax(dim=-1)
    return np.asarray((said == batch["answers"][:, :, -1]).double().mean(dim=1))


@torch.no_grad()
def _asked_of(stack: Stack, seeds: Sequence[int]) -> Outcome:
    """Trained models, asked plainly."""
    stack.eval()

    def say(artist: int, part: str, way: str) -> Tensor:
        batch = _batch(seeds, artist, part, way)
        logits: Tensor = stack(batch["pictures"], batch["tokens"])[:, :, -1]
        return logits

    test = _batch(seeds, 1, "test", FINE)
    states = stack(test["pictures"], test["tokens"], states=True)[:, :, -1].numpy()
    return _measured(say, lambda *which: _batch(seeds, *which)["answers"][:, :, -1]) | {"states": states}
