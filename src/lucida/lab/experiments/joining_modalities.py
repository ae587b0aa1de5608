"""Ways to join pictures and words at equal budget: the same parameters and examples, and along the way the same FLOPs.

Small models answer questions about strips (:mod:`lucida.lab.strip_questions`); they are alike but for the way
(:mod:`lucida.lab.joined_answerers`). A tower has learned to tell what a single place shows and stays as it is, as in
practice; one more arm learns to see while it learns to answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.joined_answerers import (
    DEPTH,
    EMBEDDED,
    UNITS,
    WIDTH,
    NamingTask,
    QuestionTask,
    Tower,
    Way,
    answerer,
    fresh,
    tokens_of,
)
from lucida.lab.observations import Observations
from lucida.lab.stack import Stack, StackTrainer, Updates
from lucida.lab.strip_questions import ANSWERS, SLOTS, questions_about
from lucida.lab.strips import KINDS, PLACES, Habits, draw
from lucida.training.batches import Batch

DUAL, EARLY, MLP, RESAMPLER, GATED = DEPTH
KNOWS, LEARNS = "a tower that knows", "all learned together"
ARMS: tuple[tuple[Way, str], ...] = (*((way, KNOWS) for way in DEPTH), (MLP, LEARNS))
RIGHT, EQUAL, BY_TOWER = "right answers", "right answers at equal FLOPs", "right answers, by tower"
ALL = "all kinds of question"
PARAMETERS, FLOPS, TOKENS, MORE, KEPT = "parameters", "training", "tokens", "one more question", "kept of a picture"
_TOWER_RATE, _TOWER_BATCH, _CLIPPED = 3e-3, 64, 1.0
_COUNTED = 32  # strips over which operations are counted


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        steps, batch: of a training, in strips.
        tower_steps: of the tower, on single places.
        rates: Adam's, each arm at its own best.
        tuning_seeds: how many of the bench's choose a rate.
        strips: on which each model is examined.
        looks: how often along the way; the last one at the end.
        grain: noise of a pixel.
    """

    steps: int
    batch: int
    tower_steps: int
    rates: tuple[float, ...]
    tuning_seeds: int
    strips: int = 256
    looks: int = 10
    grain: float = 1.0


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every arm at its own best rate; what each costs."""
    found, curves = Observations(), dict[tuple[Way, str], dict[str, NDArray]]()
    bench.tuning_seeds = bench.tuning_seeds[: settings.tuning_seeds]
    for way, level in ARMS:
        rate = _rate(bench, settings, way, level)
        curves[way, level] = _trained(bench, settings, way, level, (rate,), bench.seeds)
    costs = {way: cost(way) for way in DEPTH}
    least = min(costs[way][FLOPS] for way in DEPTH if way != DUAL)  # of those that answer in words
    for (way, level), looked in curves.items():
        steps = looked["steps"][0]
        right = {kind: looked[kind] for kind in ANSWERS} | {ALL: np.mean([looked[kind] for kind in ANSWERS], axis=0)}
        if way in (MLP, EARLY):
            found.record(BY_TOWER, way, right[ALL][:, -1], level)
        if level == LEARNS:
            continue
        at = int(np.abs(steps - settings.steps * min(1.0, least / costs[way][FLOPS])).argmin())
        for kind, values in right.items():
            found.record(f"{RIGHT}, {kind}", way, values[:, -1])
            found.record(f"{EQUAL}, {kind}", way, values[:, at])
            found.draw(f"{kind}/{way}", steps * settings.batch, values)
    # Early fusion has no tower that could know or learn.
    found.record(BY_TOWER, EARLY, found.numbers[BY_TOWER, EARLY, KNOWS], LEARNS)
    for way, own in costs.items():
        for name, value in own.items():
            found.facts[f"{name}/{way}"] = value
    return found


def _rate(bench: Bench, settings: Settings, way: Way, level: str) -> float:
    """At which most questions about validation strips are answered right on the tuning seeds."""
    seeds = bench.tuning_seeds

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        looked = _trained(bench, settings, way, level, rates, seeds, part="validation")
        shape = len(seeds), len(rates)
        wrong = 1 - np.mean([looked[kind][:, -1] for kind in ANSWERS], axis=0).reshape(shape).mean(axis=0)
        last = np.nan_to_num(looked["loss"].reshape(shape).mean(axis=0), nan=np.inf)
        return {r: Tried(float(wrong[k]), float(last[k]), bool(np.isfinite(last[k]))) for k, r in enumerate(rates)}

    return bench.chosen_from(f"{way}, {level}", settings.rates, tried)


def _trained(
    bench: Bench,
    settings: Settings,
    way: Way,
    level: str,
    rates: Sequence[float],
    seeds: Sequence[int],
    part: str = "test",
) -> dict[str, NDArray]:
    """An arm for all seeds and some rates (seeds outside), examined on a part of the strips."""
    members = list(product(seeds, rates))
    what = f"{way}, {level}, rates {min(rates):.2g} to {max(rates):.2g}, {part}"
    compute = partial(taught, settings, way, level == KNOWS, members, part)
    return bench.remember(what, (repr(settings), repr(members), load("emoji").content_key), compute)


def taught(
    settings: Settings, way: Way, knows: bool, members: Sequence[tuple[int, float]], part: str
) -> dict[str, NDArray]:
    """Train (seed, rate) members of an arm and examine them along the way.

    Returns:
        The share of right answers to each kind of question, ``[M, looks]``; ``steps [M, looks]``; ``loss [M]``.
    """
    seeds = [seed for seed, _ in members]
    towers = {seed: tower(seed, settings.tower_steps, settings.grain) if knows else None for seed in {*seeds}}
    features = knows and way != EARLY

    def rows(of: str, n: int) -> Batch:
        own = {seed: _seen(questions_about(seed, of, n, settings.grain), towers[seed], features) for seed in {*seeds}}
        return {name: torch.stack([own[seed][name] for seed in seeds]) for name in own[seeds[0]]}

    stack = Stack([answerer(way, seed, sees=not knows) for seed in seeds]).train()
    trainer = StackTrainer(stack, QuestionTask, [rate for _, rate in members], Updates("adam", max_grad_norm=_CLIPPED))
    exam, each = rows(part, settings.strips), settings.steps // settings.looks
    found: dict[str, list[NDArray]] = {kind: [] for kind in (*ANSWERS, "steps")}
    with plain_attention():
        for step in range(settings.steps):
            trainer.step(rows(f"train {step}", settings.batch))
            if (step + 1) % each == 0:
                for kind, share in examined(stack, exam).items():
                    found[kind].append(share)
                found["steps"].append(np.full(len(members), step + 1))
    arrays = {name: np.stack(values, axis=1) for name, values in found.items()}
    return arrays | {"loss": np.where(trainer.alive, trainer.losses, np.nan)}


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as its formula stands: a stack of networks has no fused kernel."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@torch.no_grad()
def examined(stack: Stack, exam: Batch) -> dict[str, NDArray]:
    """The share of right answers of each member to each kind of question, among the answers that it can have."""
    logits, labels = stack(exam["pictures"], exam["tokens"]), exam["labels"]
    found = {}
    for kind, answers in ANSWERS.items():
        own = [slot for slot, ask in enumerate(SLOTS) if ask == kind]
        said = logits[:, :, own, answers.start : answers.stop].argmax(dim=-1) + answers.start
        found[kind] = (said == labels[:, :, own]).double().mean(dim=(1, 2)).numpy()
    return found


def _seen(batch: Batch, own: Tower | None, features: bool) -> Batch:
    if not features or own is None:
        return batch
    with torch.no_grad():
        return {**batch, "pictures": own(batch["pictures"])}


@cache
def tower(seed: int, steps: int, grain: float) -> Tower:
    """One that has learned which kind a place shows, or that it shows the ground; its head is thrown away."""
    network = fresh(seed, lambda: nn.Sequential(Tower(), nn.Linear(UNITS, KINDS + 1)))
    optimizer, task = torch.optim.Adam(network.parameters(), lr=_TOWER_RATE), NamingTask(network)
    for step in range(steps):
        strips = draw(seed, f"tower {step}", _TOWER_BATCH, Habits(), grain)
        labels = torch.from_numpy(np.where(strips.kinds < 0, KINDS, strips.kinds)).flatten()
        output = task.loss({"pictures": strips.pictures.flatten(2).flatten(0, 1), "labels": labels})
        optimizer.zero_grad()
        (output.loss_sum / output.weight).backward()
        optimizer.step()
    learned: Tower = network[0]
    return learned.requires_grad_(False)


def cost(way: Way) -> dict[str, float]:
    """What a way costs, counted.

    Returns:
        Parameters, with the tower; millions of operations a strip that is learned from (a known tower's too, forward
        alone; a dual encoder's statements are read once a batch); tokens of the picture in the sequence; thousands of
        operations for one more question about a picture that has been read; numbers that are kept of it for that.
    """
    network, own = answerer(way, 0, sees=False), fresh(0, Tower)
    batch = questions_about(0, "cost", _COUNTED, 1.0)
    pictures, tower_cost, tower_size = batch["pictures"], 0, 0
    if way != EARLY:
        pictures, tower_size = own(batch["pictures"]).detach(), sum(p.numel() for p in own.parameters())
        tower_cost = _operations(lambda: own(batch["pictures"]))
    learn = _operations(lambda: QuestionTask(network).loss({**batch, "pictures": pictures}).loss_sum.backward())
    found = {
        PARAMETERS: float(sum(p.numel() for p in network.parameters()) + tower_size),
        FLOPS: (learn + tower_cost) / _COUNTED / 1e6,
    }
    if way == DUAL:  # its statements are read beforehand; a question is a product with each that may answer it
        answers = float(np.mean([len(ANSWERS[kind]) for kind in SLOTS]))
        return found | {TOKENS: 0.0, MORE: 2 * EMBEDDED * answers / 1e3, KEPT: float(EMBEDDED)}
    tokens = batch["tokens"]
    several, fewer = (_operations(lambda n=n: network(pictures, tokens[:, :n])) for n in (2, 1))  # type: ignore[misc]
    prefix = tokens_of(way)
    kept = 2 * WIDTH * (prefix * DEPTH[way] + (PLACES if way == GATED else 0))
    return found | {TOKENS: float(prefix), MORE: (several - fewer) / _COUNTED / 1e3, KEPT: float(kept)}


def _operations(run: Callable[[], object]) -> int:
    """Floating-point operations of the products in a call."""
    with FlopCounterMode(display=False) as counter, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    return int(counter.get_total_flops())
