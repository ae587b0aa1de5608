"""What a multimodal language model is trained on: its answers alone, all text, or all with little weight for questions.

A small causal transformer has read texts of the same kind without pictures; then it learns to answer questions about
pictures. Arms differ in how much the tokens of the question count (0, 1, 0.1), and in nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.seeds import derive_seed, stream
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Tried
from lucida.lab.experiments.answers_or_everything_network import Answerer, TextTask
from lucida.lab.observations import Observations
from lucida.lab.probing import gradients, total_norms
from lucida.lab.questions import ANY, ASKED, FEATURES, NO, YES, Form, PartName, ask
from lucida.lab.stack import Stack, StackTask, StackTrainer, Updates
from lucida.training.batches import Batch

ANSWERS, ALL, TENTH = "answers alone", "all text", "questions at a tenth"
QUESTION_WEIGHT = {ANSWERS: 0.0, ALL: 1.0, TENTH: 0.1}
ARMS = tuple(QUESTION_WEIGHT)
BLIND = "best guess without the picture"
FORMS = Form("long", "short"), Form("short", "long")
AMOUNTS = "few", "many"
LOOKS = 5  # evaluations along training
PROBED = 64  # training examples whose gradient is looked at
LAST = 10  # steps whose mean loss is that of the end

ACCURACY, STOPPED = "answer accuracy", "accuracy where validation is best"
LOSS, QUESTION_LOSS = "answer loss", "question loss"
BLANKED, LEFT = "accuracy, picture blanked", "answers that blanking leaves"
OVERCONFIDENT, SEEN = "overconfidence on yes or no", "accuracy on training questions"
MEASURES = (ACCURACY, STOPPED, LOSS, QUESTION_LOSS, BLANKED, LEFT, OVERCONFIDENT, SEEN)
SHARE, SHARE_AT_END = "gradient from questions, first step", "gradient from questions, end"
AGREEMENT = "agreement of the gradients, first step"


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        few, many: training questions.
        held_out: questions in validation and in the test, each.
        width, depth: of the language model.
        batch_size, steps: of training.
        reading_steps, reading_rate: of the language model before, on texts without pictures.
        rates: where tuning of Adam starts.
    """

    few: int
    many: int
    held_out: int
    width: int
    depth: int
    batch_size: int
    steps: int
    reading_steps: int
    reading_rate: float
    rates: tuple[float, ...]


class Place(NamedTuple):
    """Where the arms are compared."""

    form: Form
    amount: str

    def __str__(self) -> str:
        return f"{self.form}, {self.amount} examples"


PLACES = tuple(Place(form, amount) for form, amount in product(FORMS, AMOUNTS))
DISPUTED = PLACES[0]  # where instruction modelling is said to help


class Material(NamedTuple):
    """Questions of every member.

    Attributes:
        pictures: ``[M, N, F]``.
        tokens: ``int64 [M, N, T]``.
        kinds: ``int64 [M, N]``.
    """

    pictures: Tensor
    tokens: Tensor
    kinds: Tensor

    def rows(self, rows: Tensor) -> Material:
        """Those of ``[M, n]``."""
        members = torch.arange(len(rows))[:, None]
        return Material(*(x[members, rows] for x in self))

    def batch(self, token_weights: Tensor) -> Batch:
        """As the task takes them, with weights ``[T]``."""
        weights = token_weights.expand(self.tokens.shape)
        return {"pictures": self.pictures, "tokens": self.tokens, "token_weights": weights}


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every arm at every place, each at its best rate."""
    found = Observations()
    for place, arm in product(PLACES, ARMS):
        _arm(bench, settings, found, place, arm)
    found.record(ACCURACY, BLIND, [blind_accuracy(seed, settings) for seed in bench.seeds])
    for form in FORMS:
        question, answer = form.wording_bits
        found.facts |= {f"bits of wording/question/{form}": question, f"bits of wording/answer/{form}": answer}
        found.facts |= {f"tokens/question/{form}": form.question_tokens, f"tokens/answer/{form}": form.answer_tokens}
    return found


def blind_accuracy(seed: int, settings: Settings) -> float:
    """Of who answers each kind of question with its most frequent training answer."""
    form = FORMS[0]
    seen, asked = ask(seed, "train", settings.many, form), ask(seed, "test", settings.held_out, form)
    right = 0
    for kind in range(len(ASKED)):
        guess = seen.tokens[seen.kinds == kind, form.key].mode().values
        right += int((asked.tokens[asked.kinds == kind, form.key] == guess).sum())
    return right / len(asked.kinds)


def _arm(bench: Bench, settings: Settings, found: Observations, place: Place, arm: str) -> None:
    level, name = str(place), f"{arm}, {place}"

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        tuned = train(bench, f"tuning {name}", settings, place, arm, bench.tuning_seeds, rates, "validation")
        shape = len(bench.tuning_seeds), len(rates), -1
        missed = 1 - tuned["validation"].reshape(shape)[..., -1].mean(axis=0)
        last = np.nan_to_num(tuned["losses"][:, -LAST:].mean(axis=1), nan=np.inf).reshape(shape).mean(axis=(0, 2))
        alive = np.asarray(tuned["alive"].reshape(shape).all(axis=(0, 2)))
        return {rate: Tried(float(missed[k]), float(last[k]), bool(alive[k])) for k, rate in enumerate(rates)}

    rate = bench.chosen_from(name, settings.rates, tried)
    outcome = train(bench, f"{name}, rate {rate:.3g}", settings, place, arm, bench.seeds, (rate,), "test")
    for measure in MEASURES:
        found.record(measure, arm, outcome[measure], level)
    if place == DISPUTED:
        found.record(f"{ACCURACY}, {place}", arm, outcome[ACCURACY])
    found.draw(f"course/{arm}/{level}", outcome["steps"], outcome["test"])
    if QUESTION_WEIGHT[arm]:
        found.record(SHARE, arm, outcome["share"][:, 0], level)
        found.record(SHARE_AT_END, arm, outcome["share"][:, -1], level)
        found.record(AGREEMENT, arm, outcome["cosine"][:, 0], level)
        found.draw(f"share/{arm}/{level}", outcome["steps"], outcome["share"])


def train(
    bench: Bench,
    what: str,
    settings: Settings,
    place: Place,
    arm: str,
    seeds: Sequence[int],
    rates: Sequence[float],
    part: PartName,
) -> dict[str, NDArray]:
    """An arm for all seeds and rates (seeds outside), stacked: ``losses [M, steps]``, ``validation [M, looks]``.

    On the test: ``test``, ``share`` and ``cosine`` ``[M, looks]``, :data:`MEASURES` ``[M]``; when tuning one looks at
    validation data alone, at the end.
    """
    read = language_model(bench, settings, place.form, seeds)
    key = (repr(settings), str(place), arm, tuple(seeds), tuple(rates), part, load(FEATURES).content_key)
    return bench.remember(what, key, partial(_trained, read, settings, place, arm, seeds, rates, part))


def language_model(bench: Bench, settings: Settings, form: Form, seeds: Sequence[int]) -> dict[str, NDArray]:
    """Parameters, ``[seeds, …]`` each, of language models that have read texts without pictures."""
    key = (repr(settings), str(form), tuple(seeds), load(FEATURES).content_key)
    return bench.remember(f"language models, {form}", key, partial(_read, settings, form, seeds))


def _read(settings: Settings, form: Form, seeds: Sequence[int]) -> dict[str, NDArray]:
    stack = Stack([_network(settings, form, seed) for seed in seeds]).train()
    trainer = StackTrainer(stack, TextTask, [settings.reading_rate] * len(seeds), Updates("adam"))
    others = [derive_seed(seed, "lab", "texts that were read") for seed in seeds]  # of which no picture is shown
    texts = _material(others, "train", settings.reading_steps * settings.batch_size, form)
    texts = texts._replace(pictures=torch.zeros_like(texts.pictures))
    for step in range(settings.reading_steps):
        rows = torch.arange(settings.batch_size) + step * settings.batch_size
        trainer.step(texts.rows(rows.expand(len(seeds), -1)).batch(torch.ones(form.tokens)))
    return {name: tensor.detach().numpy().copy() for name, tensor in stack.stacked_parameters().items()}


def _trained(
    read: dict[str, NDArray],
    settings: Settings,
    place: Place,
    arm: str,
    seeds: Sequence[int],
    rates: Sequence[float],
    part: PartName,
) -> dict[str, NDArray]:
    form, count = place.form, getattr(settings, place.amount)
    members = [(seed, rate) for seed in seeds for rate in rates]
    own = [seed for seed, _ in members]
    networks = [_network(settings, form, seed) for seed in own]
    for k, network in enumerate(networks):
        network.load_state_dict({name: torch.from_numpy(array[k // len(rates)]) for name, array in read.items()})
    stack = Stack(networks).train()
    trainer = StackTrainer(stack, TextTask, [rate for _, rate in members], Updates("adam"))
    material = _material(own, "train", count, form)
    weights = token_weights(form, QUESTION_WEIGHT[arm])
    order = torch.stack([_order(seed, count, settings) for seed in own])
    looks = _Looks(settings, place, arm, own, material, tested=part == "test")
    losses = []
    for step in range(settings.steps):
        looks(stack, step)
        trainer.step(material.rows(order[:, step]).batch(weights))
        losses.append(torch.where(trainer.alive, trainer.losses, torch.nan))
    looks(stack, settings.steps)
    return looks.found(stack) | {
        "losses": torch.stack(losses, dim=1).double().numpy(),
        "alive": trainer.alive.numpy(),
    }


def token_weights(form: Form, question: float) -> Tensor:
    """``[T]``: what the tokens of the question count, and 1 for those of the answer."""
    weights = torch.ones(form.tokens)
    weights[: form.question_tokens] = question
    return weights


def _network(settings: Settings, form: Form, seed: int) -> Answerer:
    features = load(FEATURES).inputs["inputs"].shape[1]
    return Answerer(features, settings.width, settings.depth, form.tokens, seed)


def _material(seeds: Sequence[int], part: PartName, count: int, form: Form) -> Material:
    """Questions of a part for each of the seeds; the features have a mean square of 1."""
    asked = {seed: ask(seed, part, count, form) for seed in seeds}
    features = load(FEATURES).inputs["inputs"]
    rows = torch.stack([asked[seed].pictures for seed in seeds])
    pictures = features[rows] / features.square().mean().sqrt()
    tokens, kinds = (torch.stack([getattr(asked[seed], name) for seed in seeds]) for name in ("tokens", "kinds"))
    return Material(pictures, tokens, kinds)


def _order(seed: int, count: int, settings: Settings) -> Tensor:
    """Rows of every batch, ``[steps, B]``: shuffled epochs one after another."""
    generator, needed = stream(seed, "lab", "order of questions"), settings.steps * settings.batch_size
    epochs = [generator.permutation(count) for _ in range(-(-needed // count))]
    return torch.from_numpy(np.concatenate(epochs)[:needed].reshape(settings.steps, settings.batch_size))


class _Looks:
    """What is seen of a stack along training and at its end."""

    def __init__(
        self, settings: Settings, place: Place, arm: str, seeds: Sequence[int], seen: Material, *, tested: bool
    ):
        self.form, self.arm, self.tested = place.form, arm, tested
        few = torch.arange(min(settings.held_out, seen.tokens.shape[1])).expand(len(seeds), -1)
        self.seen = seen.rows(few)
        self.probed = seen.rows(few[:, :PROBED])
        parts: tuple[PartName, ...] = ("validation", "test") if tested else ("validation",)
        self.parts = {part: _material(seeds, part, settings.held_out, self.form) for part in parts}
        looks = LOOKS if tested else 1
        self.steps = sorted(
            {round(settings.steps * k / looks) for k in range(1, looks + 1)} | ({0} if tested else set())
        )
        self.rows: dict[str, list[Tensor]] = {}

    def __call__(self, stack: Stack, step: int) -> None:
        """Look, if it is time to."""
        if step not in self.steps:
            return
        for part, asked in self.parts.items():
            self._keep(part, _right(key_logits(stack, asked, self.form), asked, self.form))
        if self.tested:
            share, cosine = gradient_parts(stack, self.probed, self.form, QUESTION_WEIGHT[self.arm])
            self._keep("share", share)
            self._keep("cosine", cosine)

    def _keep(self, name: str, values: Tensor) -> None:
        self.rows.setdefault(name, []).append(values.detach().double())

    def found(self, stack: Stack) -> dict[str, NDArray]:
        """All of it."""
        found = {name: torch.stack(values, dim=1).numpy() for name, values in self.rows.items()}
        found["steps"] = np.array(self.steps)
        if not self.tested:
            return found
        best = found["validation"].argmax(axis=1)
        ends = _at_the_end(stack, self.parts["test"], self.form)
        seen = _right(key_logits(stack, self.seen, self.form), self.seen, self.form)
        arrays = {name: tensor.double().numpy() for name, tensor in (ends | {SEEN: seen}).items()}
        return found | arrays | {STOPPED: found["test"][np.arange(len(best)), best]}


@torch.no_grad()
def key_logits(stack: Stack, asked: Material, form: Form, *, blank: bool = False) -> Tensor:
    """Logits of the token that answers, ``[M, N, V]``; ``blank``: of the mean picture instead of the own one."""
    pictures = torch.zeros_like(asked.pictures) if blank else asked.pictures
    stack.eval()
    logits: Tensor = stack(pictures, asked.tokens, at=form.key)
    stack.train()
    return logits


def _right(logits: Tensor, asked: Material, form: Form) -> Tensor:
    """The share of right answers, ``[M]``."""
    return (logits.argmax(dim=-1) == asked.tokens[..., form.key]).double().mean(dim=1)


@torch.no_grad()
def _at_the_end(stack: Stack, asked: Material, form: Form) -> dict[str, Tensor]:
    """Of a trained stack, ``[M]`` each."""
    logits, blank = key_logits(stack, asked, form), key_logits(stack, asked, form, blank=True)
    truth = asked.tokens[..., form.key]
    only_questions = 1 - token_weights(form, 0.0)
    return {
        ACCURACY: _right(logits, asked, form),
        LOSS: torch.nn.functional.cross_entropy(logits.transpose(1, 2), truth, reduction="none").mean(dim=1),
        BLANKED: _right(blank, asked, form),
        LEFT: (logits.argmax(dim=-1) == blank.argmax(dim=-1)).double().mean(dim=1),
        OVERCONFIDENT: overconfidence(logits, truth, asked.kinds == ANY),
        QUESTION_LOSS: StackTask(stack, TextTask).member_losses(asked.batch(only_questions)),
    }


def overconfidence(logits: Tensor, truth: Tensor, of: Tensor) -> Tensor:
    """Mean confidence less accuracy between yes and no, of the questions ``of`` ``bool [M, N]``: ``[M]``."""
    sure, choice = logits[..., [YES, NO]].softmax(dim=-1).max(dim=-1)
    right = torch.tensor([YES, NO])[choice] == truth
    return ((sure.double() - right.double()) * of).sum(dim=1) / of.sum(dim=1)


def gradient_parts(stack: Stack, asked: Material, form: Form, question: float) -> tuple[Tensor, Tensor]:
    """The share of the gradient's norm that comes from questions, and the cosine between both parts, ``[M]`` each.

    A part's gradient is that of its tokens' losses, summed and weighted; the share is its norm over the sum of both.
    """
    answers = token_weights(form, 0.0)
    parts = [
        {name: grad * number for name, grad in gradients(stack, asked.batch(weights), TextTask)[1].items()}
        for weights, number in ((1 - answers, form.question_tokens), (answers, form.answer_tokens))
    ]
    of_questions, of_answers = (total_norms(part) for part in parts)
    products = sum(
        ((parts[0][name] * parts[1][name]).flatten(1).sum(dim=1) for name in parts[0]), start=torch.zeros(())
    )
    share = question * of_questions / (question * of_questions + of_answers)
    return share, products / (of_questions * of_answers)
