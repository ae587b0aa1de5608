"""Batch size: what is measured. The claims and the page are in ``batch_size_page``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucida.lab import batch_costs
from lucida.lab.datasets import load, training_batch
from lucida.lab.experiment import Bench, Score, validation_error
from lucida.lab.experiments.batch_size_probes import Departure, final_sharpness, rescaled_sharpness, whole_set_noise
from lucida.lab.experiments.batch_size_settings import EXAMPLES, STEPS, USUAL, WHOLE, Settings, Task, batch_name
from lucida.lab.loss_curves import at_loss, reached_by_all
from lucida.lab.noise_scale import critical_batch
from lucida.lab.observations import Observations
from lucida.lab.training import Member, Observer, Outcome, Training

FIXED, OWN = "fixed rate", "own rate"
SMALL_NEXT, FULL_NEXT, FULL_STEPS = "then batch 32", "then full batch", "then full batch, as many steps"
TARGETS = ("early", "late")
LARGEST_LOSS = 1e3  # that is told
SHARPNESS_RANGE = 1e-3, 1e4  # of an eigenvalue, for its logarithm


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every batch size at both budgets and rates; then noise, speed-up, continuation and cost."""
    found = Observations()
    for task in settings.tasks:
        batches = settings.batches if task.deep else settings.few_batches
        courses = {
            (batch, budget): _courses(bench, task, batch, budget, settings)
            for batch, budget in product(batches, (EXAMPLES, STEPS))
        }
        for ((batch, budget), by_rate), kind in product(courses.items(), (FIXED, OWN)):
            _record(found, task, f"{batch_name(batch)}, {kind}", budget, by_rate[kind])
        _by_batch(bench, found, task, batches)
        _noise(bench, found, task, settings)
        if task.deep:
            longest = {batch: courses[batch, task.longer(batch)] for batch in batches}
            _equal_loss(found, task, {batch: by_rate[OWN] for batch, by_rate in longest.items()})
            _speed_up(found, task, longest)
            _continuation(bench, found, task, settings)
        _costs(bench, found, task)
    return found


def _rate(bench: Bench, task: Task, batch: int, budget: str, settings: Settings, purpose: str, score: Score) -> float:
    """The best rate for a purpose; the trainings of all purposes are the same, and the cache has them."""
    middle = task.rate * (task.size(batch) / USUAL) ** 0.5
    grid = [middle * 2.0 ** (k - settings.rates // 2) for k in range(settings.rates)]
    # Batch 32 has the same examples and steps at both budgets: one arm.
    given = EXAMPLES if batch == USUAL else budget
    arm = f"{batch_name(batch)}, {given}, {task.name}"
    named = f"{batch_name(batch)}, {budget}{purpose}, {task.name}"
    tables: tuple[dict[str, Any], ...] = (bench.rates, bench.chosen, bench.reservations)
    kept = [{arm: table.pop(arm)} if arm in table else {} for table in tables]
    rate = bench.tuned(arm, task.training(batch, given), task.network, grid, score)
    for table, before in zip(tables, kept, strict=True):
        if arm in table:
            table[named] = table.pop(arm)
        table |= before
    return rate


def _courses(bench: Bench, task: Task, batch: int, budget: str, settings: Settings) -> dict[str, Outcome]:
    """A batch size at the fixed rate, at its own and, where the speed-up is measured, at the fastest to each target."""
    rates = {
        FIXED: _rate(bench, task, USUAL, EXAMPLES, settings, "", validation_error),
        OWN: _rate(bench, task, batch, budget, settings, "", validation_error),
    }
    if task.deep and (batch == USUAL or budget == task.longer(batch)):
        for k, target in enumerate(task.targets):
            purpose = f", loss {target:g}"
            rates[f"target {k}"] = _rate(bench, task, batch, budget, settings, purpose, _steps_to(target))
    chosen = sorted(set(rates.values()))
    members = [Member(seed, rate, task.network) for seed, rate in product(bench.seeds, chosen)]
    training = task.training(batch, budget)
    what = f"{task.name}: {batch_name(batch)}, {EXAMPLES if batch == USUAL else budget}"
    observers = {
        "sharpness": final_sharpness(task.data, [m.seed for m in members], training.steps, settings.iterations)
    }
    outcome = bench.train(what, training, members, observers)
    by_rate = {rate: _members(outcome, slice(k, None, len(chosen))) for k, rate in enumerate(chosen)}
    return {kind: by_rate[rate] for kind, rate in rates.items()}


def _members(outcome: Outcome, which: slice) -> Outcome:
    """Some of the members of an outcome."""
    names = ("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "batch_loss", "grad_norm", "alive")
    own = {name: getattr(outcome, name)[which] for name in names}
    return replace(outcome, **own, observed={name: values[which] for name, values in outcome.observed.items()})


def _steps_to(target: float) -> Score:
    """Score: steps until the loss of training examples is down to a target; infinite where it never is."""
    return lambda outcome: np.nan_to_num(at_loss(outcome.loss, outcome.steps, [target])[:, 0], nan=np.inf)


def _record_sharpness(found: Observations, measure: str, arm: str, eigenvalues: NDArray, task: Task) -> None:
    """The logarithm of an eigenvalue a seed; a network so far gone that it has none counts as the sharpest there is."""
    gone = ~np.isfinite(eigenvalues)
    logs = np.log2(np.clip(np.where(gone, np.inf, eigenvalues), *SHARPNESS_RANGE))
    found.record(measure, arm, logs, task.name)
    total = f"without a sharpness/{task.name}"
    found.facts[total] = found.facts.get(total, 0) + int(gone.sum())
    if gone.any():
        found.facts[f"without a sharpness/{measure}, {arm}/{task.name}"] = int(gone.sum())


def _record_loss(found: Observations, measure: str, arm: str, loss: NDArray, task: Task) -> None:
    """A loss a seed; of a network that diverged one only knows that it is large."""
    beyond = ~(loss < LARGEST_LOSS)  # so is a loss that is no number
    found.record(measure, arm, np.where(beyond, LARGEST_LOSS, loss), task.name, cut=beyond)


def _record(found: Observations, task: Task, arm: str, budget: str, outcome: Outcome) -> None:
    """How an arm ended."""
    found.record(f"test accuracy, {budget}", arm, outcome.final("test_accuracy"), task.name)
    _record_loss(found, f"training loss, {budget}", arm, outcome.final("loss"), task)
    _record_sharpness(found, f"log2 sharpness, {budget}", arm, outcome.observed["sharpness"][:, -1], task)


def _by_batch(bench: Bench, found: Observations, task: Task, batches: Sequence[int]) -> None:
    """How the arms ended as curves over the batch size, and the curvature at which each own rate stops being stable."""
    sizes = [task.size(batch) for batch in batches]
    found.facts[f"training examples/{task.name}"] = task.examples
    few = task.training(WHOLE, EXAMPLES).steps
    found.facts[f"steps of batch 32 for one of the full batch/{task.name}"] = task.steps / few
    names = ("test accuracy", "training loss", "log2 sharpness")
    for name, budget, kind in product(names, (EXAMPLES, STEPS), (FIXED, OWN)):
        rows = [found.numbers[f"{name}, {budget}", f"{batch_name(b)}, {kind}", task.name] for b in batches]
        values = np.stack(rows, axis=1)
        found.draw(f"{name}/{task.name}/{budget}, {kind}", sizes, 2.0**values if name.startswith("log2") else values)
    rates = np.array([bench.chosen[f"{batch_name(b)}, {STEPS}, {task.name}"] for b in batches])
    found.draw(f"edge/{task.name}", sizes, (2 / rates)[None])


def _equal_loss(found: Observations, task: Task, courses: dict[int, Outcome]) -> None:
    """Test accuracy when the training loss first comes down to the late target, and over a range of losses.

    Where a batch size of a seed never gets there, all of that seed are compared at the lowest loss that all reached.
    """
    target = task.targets[-1]
    compared = reached_by_all([outcome.loss for outcome in courses.values()], target)
    found.facts[f"equal loss above the target/{task.name}"] = int((compared > target).sum())
    found.record("loss compared at", "all batch sizes", compared, task.name)
    grid = task.targets[0] * (target / task.targets[0]) ** np.linspace(-0.5, 1.5, 13)
    for batch, outcome in courses.items():
        values = at_loss(outcome.loss, outcome.test_accuracy, compared[:, None])[:, 0]
        found.record("test accuracy at equal loss", batch_name(batch), values, task.name)
        curve = at_loss(outcome.loss, outcome.test_accuracy, grid)
        found.draw(f"accuracy by loss/{task.name}/{batch_name(batch)}", grid, curve)


def _noise(bench: Bench, found: Observations, task: Task, settings: Settings) -> None:
    """The noise scale along the course of batch 32: the first tenth of the steps more closely than the rest."""
    rate = bench.chosen[f"{batch_name(USUAL)}, {EXAMPLES}, {task.name}"]
    members = [Member(seed, rate, task.network) for seed in bench.seeds]
    parts = []
    for length in (max(task.steps // 10, settings.moments), task.steps):
        every = max(1, length // settings.moments)
        training = Training(task.data, USUAL, length, every, task.updates)
        observers: dict[str, Observer] = {"noise": whole_set_noise(task.data, bench.seeds)}
        if task.deep:
            observers["rescaled"] = rescaled_sharpness(task.data, bench.seeds, task.steps, settings.iterations)
        parts.append(bench.train(f"{task.name}: noise over {length} steps", training, members, observers))
    early, late = parts
    after = late.steps > early.steps[-1]
    steps = np.concatenate([early.steps, late.steps[after]])
    loss = np.concatenate([early.loss, late.loss[:, after]], axis=1)
    moments = np.concatenate([early.observed["noise"], late.observed["noise"][:, after]], axis=1)
    _record_noise(found, task, steps, loss, moments)
    if task.deep:
        for arm, eigenvalues in zip(("as trained", "rescaled"), late.observed["rescaled"][:, -1].T, strict=True):
            _record_sharpness(found, "log2 sharpness of one function", arm, eigenvalues, task)


def _record_noise(found: Observations, task: Task, steps: NDArray, loss: NDArray, noise: NDArray) -> None:
    """``noise`` is ``[seeds, moments, 4]``, see :func:`whole_set_noise`."""
    scale, squared, trace, sampled = (noise[..., k] for k in range(4))
    found.record("log2 noise scale", "before training", np.log2(scale[:, 0]), task.name)
    found.record("log2 noise scale", "at the end", np.log2(scale[:, -1]), task.name)
    for when, k in (("before training", 0), ("at the end", -1)):
        found.facts[f"noise scale/{when}/{task.name}"] = float(np.exp(np.log(scale[:, k]).mean()))
    found.record("log2 squared gradient, end against start", "", np.log2(squared[:, -1] / squared[:, 0]), task.name)
    found.record("log2 gradient variance, end against start", "", np.log2(trace[:, -1] / trace[:, 0]), task.name)
    found.draw(f"noise/{task.name}/scale", steps + 1, scale)
    found.draw(f"noise/{task.name}/variance", steps + 1, trace)
    found.draw(f"noise/{task.name}/squared", steps + 1, squared)
    found.draw(f"noise/{task.name}/loss", steps + 1, loss)
    usable = (sampled > 0).all(axis=0)
    found.draw(f"noise/{task.name}/sampled", (steps + 1)[usable], sampled[:, usable])
    if not task.deep:
        return
    ends = at_loss(loss, steps.astype(float), task.targets)
    for k, (name, target) in enumerate(zip(TARGETS, task.targets, strict=True)):
        missed = np.isnan(ends[:, k])
        values = _averages(steps, scale, np.where(missed, steps[-1], ends[:, k]))
        found.record("log2 mean noise scale to the target", name, np.log2(values), task.name)
        found.facts[f"mean noise scale/{name}/{task.name}"] = float(np.exp(np.log(values).mean()))
        found.facts[f"target/{name}/{task.name}"] = target
        found.facts[f"noise short of the target/{name}/{task.name}"] = int(missed.sum())


def _averages(steps: NDArray, scale: NDArray, ends: NDArray) -> NDArray:
    """Mean noise scale over the steps up to an end of each seed, ``[seeds]``.

    McCandlish et al. (appendix D) compare this one with the critical batch size: what is right changes on the way.
    """
    fine = [np.linspace(0, max(end, 1.0), 200) for end in ends]
    return np.array([np.interp(x, steps, own).mean() for x, own in zip(fine, scale, strict=True)])


def _speed_up(found: Observations, task: Task, courses: dict[int, dict[str, Outcome]]) -> None:
    """Steps and examples to each target by batch size, and the critical batch size that they show."""
    batches = list(courses)
    sizes = np.array([task.size(batch) for batch in batches], dtype=float)
    for k, (name, target) in enumerate(zip(TARGETS, task.targets, strict=True)):
        outcomes = [by_rate[f"target {k}"] for by_rate in courses.values()]
        reached = np.stack([at_loss(o.loss, o.steps, [target])[:, 0] for o in outcomes], axis=1)  # [seeds, batches]
        missed = np.isnan(reached)
        found.facts[f"missed/{name}/{task.name}"] = int(missed.sum())
        given = [float(o.steps[-1]) for o in outcomes]
        steps = np.maximum(np.where(missed, given, reached), 1.0)
        found.draw(f"steps/{task.name}/{name}", sizes, steps)
        found.draw(f"examples/{task.name}/{name}", sizes, steps * sizes)
        for batch, own, cut in zip(batches, steps.T, missed.T, strict=True):
            found.record(f"steps to the {name} target", batch_name(batch), own, task.name, cut=cut)
        fits = np.array([critical_batch(sizes.tolist(), own) for own in steps])
        found.record("log2 critical batch", name, np.log2(fits[:, 1]), task.name)
        found.facts[f"critical batch/{name}/{task.name}"] = float(np.exp(np.log(fits[:, 1]).mean()))
        found.draw(f"fit/{task.name}/{name}", sizes, fits[:, :1] * (1 + fits[:, 1:] / sizes))


def _continuation(bench: Bench, found: Observations, task: Task, settings: Settings) -> None:
    """From where the full batch ended at its own rate: batch 32, and the full batch for as many examples or steps."""
    large = bench.chosen[f"{batch_name(WHOLE)}, {STEPS}, {task.name}"]
    small = bench.chosen[f"{batch_name(USUAL)}, {EXAMPLES}, {task.name}"]
    earlier = task.training(WHOLE, STEPS)
    arms = {
        SMALL_NEXT: (task.training(USUAL, EXAMPLES), small),
        FULL_NEXT: (task.training(WHOLE, EXAMPLES), large),
        FULL_STEPS: (task.training(WHOLE, STEPS), large),
    }
    for arm, (training, rate) in arms.items():
        every = max(1, training.steps // 10)
        going_on = replace(training, before=(earlier, large), every=every)
        members = [Member(seed, rate, task.network) for seed in bench.seeds]
        sharpness: Observer = final_sharpness(task.data, bench.seeds, going_on.steps, settings.iterations)
        observers: dict[str, Observer] = {"sharpness": sharpness, "departure": Departure()}
        outcome = bench.train(f"{task.name}: full batch, {arm}", going_on, members, observers)
        found.record("test accuracy after going on", arm, outcome.final("test_accuracy"), task.name)
        found.record("gain from going on", arm, outcome.final("test_accuracy") - outcome.test_accuracy[:, 0], task.name)
        _record_loss(found, "training loss after going on", arm, outcome.final("loss"), task)
        found.record("distance", arm, outcome.observed["departure"][:, -1, 0], task.name)
        _record_loss(found, "barrier", arm, outcome.observed["departure"][:, -1, 1], task)
        _record_sharpness(found, "log2 sharpness after going on", arm, outcome.observed["sharpness"][:, -1], task)
        share = outcome.steps / outcome.steps[-1]
        found.draw(f"going on/{task.name}/{arm}/accuracy", share, outcome.test_accuracy)
        found.draw(f"going on/{task.name}/{arm}/distance", share, outcome.observed["departure"][..., 0])


def _costs(bench: Bench, found: Observations, task: Task) -> None:
    """Bytes kept for the backward pass and seconds of an epoch, of one network, by batch size."""
    sizes = [2, 8, 32, 128, 512, task.examples]
    whole = training_batch(task.data, 0)

    def compute() -> dict[str, NDArray]:
        network = task.network.build(0)
        table = []
        for size in sizes:
            batch = {name: tensor[:size] for name, tensor in whole.items()}
            shape = tuple(batch["inputs"].shape[1:])
            seconds = batch_costs.epoch_seconds(network, batch, task.examples)
            predicted = batch_costs.predicted_bytes(task.network, shape, size)
            table.append((predicted, batch_costs.saved_bytes(network, batch), seconds))
        return {"table": np.array(table, dtype=float)}

    table = bench.remember(f"cost of {task.name}", (repr(task), sizes, load(task.data).content_key), compute)["table"]
    for size, (predicted, measured, seconds) in zip(sizes, table, strict=True):
        name = batch_name(size if size < task.examples else WHOLE)
        found.facts[f"kilobytes computed/{name}/{task.name}"] = float(predicted) / 1000
        found.facts[f"kilobytes measured/{name}/{task.name}"] = float(measured) / 1000
        found.facts[f"seconds for an epoch/{name}/{task.name}"] = float(seconds)
