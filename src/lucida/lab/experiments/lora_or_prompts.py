"""LoRA and prompts for one task with the same labels: what differs, and what is the same.

A model that names pictures of one artist finely or coarsely, as the wording asks, is to name those of another artist
finely. It can be asked in other words, shown examples, given a learned prompt, or be given adapters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.core.seeds import derive_seed, stream
from lucida.inference.prompt_search import search_prompts
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.low_rank import LowRank, adapted, frozen
from lucida.lab.observations import Observations
from lucida.lab.prompted_answerer import (
    COARSE,
    COARSE_PROMPT,
    FINE,
    GRAMMAR,
    ITEM,
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

PLAINLY, SEARCHED, ENSEMBLE, CONTEXT, SOFT, LORA = (
    "plain prompt", "searched prompt", "prompt ensemble", "examples in context", "soft prompt", "LoRA",
)  # fmt: skip
WORDED, TRAINED = (PLAINLY, SEARCHED, ENSEMBLE, CONTEXT), (SOFT, LORA)
METHODS = WORDED + TRAINED
AGAIN = "again"  # the same method from another start
LABELS = (0, 1, 4, 16, 64, 256)
FEW, MOST = 4, LABELS[-1]
ACCURACY, OTHER, AWAY = "accuracy", "accuracy on the coarse question", "accuracy on the first artist"
AGREEMENT, LIKENESS = "agreement beyond chance", "likeness of features"
PARTS = {"validation": 200, "test": 350}  # pictures that are asked about
ENSEMBLED, CALLS = 4, 30  # templates of an ensemble; model calls a label that a search may make
BATCH, RANK, ALPHA, SOFT_TOKENS = 16, 4, 8.0, 8
PAIRS = ((LORA, f"{LORA}, {AGAIN}"), (LORA, SOFT), (LORA, CONTEXT), (LORA, SEARCHED), (SOFT, f"{SOFT}, {AGAIN}"))

Outcome = dict[str, NDArray]
"""``validation``, ``test``, ``other``, ``away`` (shares of right answers), ``said [M, N]`` and ``states [M, N, D]``
of the test pictures of the second artist."""


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width, depth: of the language model.
        reading_steps, reading_rate: of the model before, each with rows of one picture and rows of nine.
        steps: of an adaptation, with up to 16 labels each.
        rates: where the tuning of each trained method starts.
    """

    width: int
    depth: int
    reading_steps: int
    reading_rate: float
    steps: int
    rates: tuple[tuple[str, tuple[float, ...]], ...]


def labelled(n: int) -> str:
    """A level."""
    return "1 label" if n == 1 else f"{n} labels"


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every method with every number of labels."""
    found = Observations()
    for n in LABELS:
        outcomes = {name: _worded(bench, settings, name, n, bench.seeds) for name in WORDED if n or name == PLAINLY}
        if n:
            outcomes |= {name: _best(bench, settings, name, n) for name in TRAINED}
        for name in METHODS:
            outcome = outcomes.get(name, outcomes[PLAINLY])  # without labels there is nothing else
            for measure, key in ((ACCURACY, "test"), (OTHER, "other"), (AWAY, "away")):
                found.record(measure, name, outcome[key], labelled(n))
        if n in (FEW, MOST):
            for name in METHODS:
                found.record(f"{ACCURACY}, {labelled(n)}", name, outcomes[name]["test"])
    for name in TRAINED:
        rate = bench.chosen[f"{name}, {labelled(MOST)}"]
        outcomes[f"{name}, {AGAIN}"] = _trained(bench, settings, name, MOST, bench.seeds, (rate,), again=True)
    _compare(found, outcomes)
    for measure in (OTHER, AWAY):
        for name in METHODS:
            found.record(f"{measure}, {labelled(MOST)}", name, found.numbers[measure, name, labelled(MOST)])
    found.facts |= costs(bench, settings)
    for name in METHODS:
        found.draw(f"by labels/{name}", LABELS, _by_labels(found, name))
    return found


def _by_labels(found: Observations, name: str) -> NDArray:
    return np.stack([found.numbers[ACCURACY, name, labelled(n)] for n in LABELS], axis=1)


def _compare(found: Observations, outcomes: Mapping[str, Outcome]) -> None:
    """What two methods have in common, with the most labels."""
    for one, other in PAIRS:
        pair = f"{one} and {other}"
        seeds = range(len(outcomes[one]["said"]))
        found.record(AGREEMENT, pair, [agreement(*(outcomes[m]["said"][k] for m in (one, other))) for k in seeds])
        found.record(LIKENESS, pair, [likeness(*(outcomes[m]["states"][k] for m in (one, other))) for k in seeds])


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


def _network(settings: Settings, seed: int, soft: int = 0) -> PromptedAnswerer:
    features = load(FEATURES).inputs["inputs"].shape[1]
    return PromptedAnswerer(features, settings.width, settings.depth, seed, soft)


def _known(known: Mapping[str, NDArray], place: int, settings: Settings, seed: int, soft: int = 0) -> PromptedAnswerer:
    """The model of a seed before, perhaps with a soft prompt that says nothing yet."""
    network = _network(settings, seed)
    network.load_state_dict({name: torch.from_numpy(array[place]) for name, array in known.items()})
    if not soft:
        return network
    prompted = _network(settings, derive_seed(seed, "soft"), soft)
    prompted.load_state_dict(network.state_dict() | {"soft": prompted.soft})
    return prompted


# Methods that only word the question


def _worded(bench: Bench, settings: Settings, name: str, n: int, seeds: Sequence[int]) -> Outcome:
    known = read(bench, settings, seeds)
    key = (repr(settings), name, n, tuple(seeds), load(FEATURES).content_key)
    compute = partial(_ask_all, known, settings, name, n, seeds)
    return bench.remember(f"{name}, {labelled(n)}", key, compute)


def _ask_all(known: dict[str, NDArray], settings: Settings, name: str, n: int, seeds: Sequence[int]) -> Outcome:
    found = [_ask(_known(known, place, settings, seed).eval(), seed, name, n) for place, seed in enumerate(seeds)]
    return {key: np.stack([each[key] for each in found]) for key in found[0]}


@torch.no_grad()
def _ask(network: nn.Module, seed: int, name: str, n: int) -> dict[str, NDArray]:
    """One seed's model, asked in the way of a method."""
    own = drawn(seed, "train", 1).rows(range(n))
    templates = [PLAIN] if name in (PLAINLY, CONTEXT) else searched(network, own, seed)
    templates = templates[:1] if name != ENSEMBLE else templates
    shots = own.rows(range(min(n, SHOTS))) if name == CONTEXT else None

    def scored(shown: Drawn, wordings: Sequence[str]) -> Tensor:
        batches = [asked(shown, wording, shots=shots) for wording in wordings]
        logits = [network(batch["pictures"], batch["tokens"])[:, -1] for batch in batches]
        return torch.stack([each.log_softmax(dim=-1) for each in logits]).mean(dim=0)

    def right(artist: int, part: str, way: str, wordings: Sequence[str]) -> NDArray:
        shown = drawn(seed, part, artist).rows(range(PARTS[part]))
        return np.asarray((scored(shown, wordings).argmax(dim=-1) == shown.names(way)).double().mean())

    test = drawn(seed, "test", 1).rows(range(PARTS["test"]))
    batch = asked(test, templates[0], shots=shots)
    return {
        "validation": right(1, "validation", FINE, templates),
        "test": right(1, "test", FINE, templates),
        "away": right(0, "test", FINE, templates),
        "other": right(0, "test", COARSE, [COARSE_PROMPT]),
        "said": scored(test, templates).argmax(dim=-1).numpy(),
        "states": network(batch["pictures"], batch["tokens"], states=True)[:, -1].numpy(),
    }


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


def _best(bench: Bench, settings: Settings, name: str, n: int) -> Outcome:
    """At the rate that is best on tuning seeds."""
    seeds = bench.tuning_seeds

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        outcome = _trained(bench, settings, name, n, seeds, rates)
        shape = len(seeds), len(rates)
        missed = np.asarray(1 - outcome["validation"].reshape(shape).mean(axis=0))
        last = np.nan_to_num(outcome["loss"], nan=np.inf).reshape(shape).mean(axis=0)
        return {
            rate: Tried(float(missed[k]), float(last[k]), bool(np.isfinite(last[k]))) for k, rate in enumerate(rates)
        }

    rate = bench.chosen_from(f"{name}, {labelled(n)}", dict(settings.rates)[name], tried)
    return _trained(bench, settings, name, n, bench.seeds, (rate,))


def _trained(
    bench: Bench,
    settings: Settings,
    name: str,
    n: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    again: bool = False,
) -> Outcome:
    known = read(bench, settings, seeds)
    key = (repr(settings), name, n, tuple(seeds), tuple(rates), again, load(FEATURES).content_key)
    what = f"{name}{', again' if again else ''}, {labelled(n)}, rates {min(rates):.2g} to {max(rates):.2g}"
    return bench.remember(what, key, partial(_train, known, settings, name, n, seeds, rates, again))


def _train(
    known: dict[str, NDArray],
    settings: Settings,
    name: str,
    n: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    again: bool,
) -> Outcome:
    members = [(place, seed, rate) for place, seed in enumerate(seeds) for rate in rates]
    networks = []
    for place, seed, _ in members:
        start = derive_seed(seed, AGAIN) if again else seed
        if name == LORA:
            base = _known(known, place, settings, seed)
            networks.append(adapted(base, LowRank(RANK, ALPHA), start, but=("head", "multi_modal_projector")))
        else:
            networks.append(
                frozen(_known(known, place, settings, start if again else seed, SOFT_TOKENS), but=("soft",))
            )
    stack = Stack(networks).train()
    trainer = StackTrainer(stack, AnswersTask, [rate for *_, rate in members], Updates("adam"))
    own = [drawn(seed, "train", 1).rows(range(n)) for _, seed, _ in members]
    labels = _stacked([asked(each, PLAIN) for each in own])
    orders = torch.stack([_order(seed, n, settings.steps, again) for _, seed, _ in members])
    index, losses = torch.arange(len(members))[:, None], []
    for step in range(settings.steps):
        trainer.step({key: tensor[index, orders[:, step]] for key, tensor in labels.items()})
        losses.append(trainer.losses)
    return _asked_of(stack, [seed for _, seed, _ in members]) | {"loss": torch.stack(losses[-10:]).mean(dim=0).numpy()}


def _order(seed: int, n: int, steps: int, again: bool) -> Tensor:
    """Labels of every batch, ``[steps, B]``: shuffled epochs one after another."""
    size = min(n, BATCH)
    generator, needed = stream(seed, "lab", "order of labels", n, AGAIN if again else ""), steps * size
    epochs = [generator.permutation(n) for _ in range(-(-needed // n))]
    return torch.from_numpy(np.concatenate(epochs)[:needed].reshape(steps, size))


def _stacked(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}


@torch.no_grad()
def _asked_of(stack: Stack, seeds: Sequence[int]) -> Outcome:
    """Trained models, asked plainly."""
    stack.eval()

    def batch(artist: int, part: str, way: str, template: str) -> dict[str, Tensor]:
        return _stacked([asked(drawn(s, part, artist).rows(range(PARTS[part])), template, way) for s in seeds])

    def right(*which: str | int) -> NDArray:
        asks = batch(*which)  # type: ignore[arg-type]
        said = stack(asks["pictures"], asks["tokens"])[:, :, -1].argmax(dim=-1)
        return np.asarray((said == asks["answers"][:, :, -1]).double().mean(dim=1))

    test = batch(1, "test", FINE, PLAIN)
    return {
        "validation": right(1, "validation", FINE, PLAIN),
        "test": right(1, "test", FINE, PLAIN),
        "away": right(0, "test", FINE, PLAIN),
        "other": right(0, "test", COARSE, COARSE_PROMPT),
        "said": stack(test["pictures"], test["tokens"])[:, :, -1].argmax(dim=-1).numpy(),
        "states": stack(test["pictures"], test["tokens"], states=True)[:, :, -1].numpy(),
    }


# What each costs


def costs(bench: Bench, settings: Settings) -> dict[str, float]:
    """Numbers trained, tokens and operations an answer, operations of training, milliseconds an answer."""
    network = _known(read(bench, settings, bench.seeds), 0, settings, bench.seeds[0]).eval()
    weights = sum(layer.weight.numel() for layer in network.blocks.modules() if isinstance(layer, nn.Linear))
    adapters = adapted(network, LowRank(RANK, ALPHA), 0, but=("head", "multi_modal_projector"))
    trained = {LORA: sum(p.numel() for p in adapters.parameters()), SOFT: SOFT_TOKENS * settings.width}
    own, plain = drawn(bench.seeds[0], "train", 1), ITEM - 1
    tokens = {PLAINLY: plain, SEARCHED: plain, ENSEMBLE: ENSEMBLED * plain, CONTEXT: SHOTS * ITEM + plain,
              SOFT: SOFT_TOKENS + plain, LORA: plain}  # fmt: skip
    prompted = _known(read(bench, settings, bench.seeds), 0, settings, bench.seeds[0], SOFT_TOKENS).eval()
    calls: dict[str, Callable[[], object]] = {
        name: _call(network, own, SHOTS if name == CONTEXT else 0) for name in METHODS
    }
    calls[SOFT] = _call(prompted, own, 0)
    one = calls[PLAINLY]
    calls[ENSEMBLE] = lambda: [one() for _ in range(ENSEMBLED)]
    facts: dict[str, float] = {}
    for name in METHODS:
        facts[f"numbers trained/{name}"] = trained.get(name, 0)
        facts[f"tokens an answer/{name}"] = tokens[name]
        facts[f"million operations an answer/{name}"] = 2 * weights * tokens[name] / 1e6
        asks = {SEARCHED: CALLS * MOST, ENSEMBLE: CALLS * MOST}.get(name, 0) * plain
        steps = 3 * settings.steps * BATCH * tokens[name] if name in TRAINED else 0
        facts[f"million operations of adapting/{name}"] = 2 * weights * (asks + steps) / 1e6
        facts[f"milliseconds an answer/{name}"] = _milliseconds(calls[name])
    return facts


def _call(network: nn.Module, own: Drawn, shots: int) -> Callable[[], object]:
    batch = asked(own.rows([shots]), PLAIN, shots=own.rows(range(shots)) if shots else None)
    return lambda: network(batch["pictures"], batch["tokens"])


@torch.no_grad()
def _milliseconds(call: Callable[[], object]) -> float:
    """The median of many."""
    taken = []
    for _ in range(60):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[10:])) * 1e3
