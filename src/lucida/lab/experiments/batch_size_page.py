"""The page of :mod:`~lucida.lab.experiments.batch_size`: its figures and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lucida.lab.experiment import Bench, Experiment, Section
from lucida.lab.experiments import batch_size as measured
from lucida.lab.experiments.batch_size import (
    FIXED,
    FULL_NEXT,
    FULL_STEPS,
    OWN,
    SHARPNESS_RANGE,
    SMALL_NEXT,
    TARGETS,
)
from lucida.lab.experiments.batch_size_answers import ANSWERS
from lucida.lab.experiments.batch_size_claims import (
    APART,
    DEEP,
    DESIGN,
    FACTOR_OF_EIGHT,
    FULL,
    NOISE_SCALE,
    TASKS,
    THIRTY_TWO,
    TWO,
)
from lucida.lab.experiments.batch_size_settings import EXAMPLES, SETTINGS, STEPS, Settings
from lucida.lab.observations import Observations, points
from lucida.report.lab_page import LinesFigure, Series, TableFigure

_BATCH = "examples in a step"
_ARMS = tuple((f"{budget}, {kind}", f"{budget}, {kind}") for budget in (EXAMPLES, STEPS) for kind in (FIXED, OWN))


def measure(bench: Bench, settings: Settings) -> Observations:
    """As measured; besides, how far noise scale and critical batch size are apart, and where the former is highest."""
    found = measured.measure(bench, settings)
    for task in DEEP:
        for target in TARGETS:
            noise = found.numbers["log2 mean noise scale to the target", target, task]
            ratio = noise - found.numbers["log2 critical batch", target, task]
            found.record_ratio("noise scale over critical batch", target, ratio, task)
        found.record(APART, NOISE_SCALE, np.abs(ratio), task)
        found.record(APART, FACTOR_OF_EIGHT, np.full(len(ratio), np.log2(8)), task)
    for task in TASKS:
        steps, scale = found.curves[f"noise/{task}/scale"]
        course = np.log(scale).mean(axis=0)
        found.facts[f"highest noise scale/{task}"] = float(np.exp(course.max()))
        found.facts[f"step of the highest noise scale/{task}"] = float(steps[course.argmax()])
    return found


def _by_batch(found: Observations, measure_name: str, task: str, label: str, *, log_y: bool, caption: str = "",
              more: tuple[Series, ...] = ()) -> LinesFigure:  # fmt: skip
    series = found.log_series if log_y else found.series
    curves = tuple(series(f"{measure_name}/{task}/{arm}", name) for arm, name in _ARMS)
    title = f"{label[0].upper()}{label[1:]} by batch size: {task}"
    return LinesFigure(title, curves + more, _BATCH, label, caption, log_x=True, log_y=log_y, share=not log_y)


def _mean_points(found: Observations, name: str, label: str) -> Series:
    x, y = found.curves[name]
    return points(list(zip(map(float, x), map(float, y.mean(axis=0)), strict=True)), label)


def _budgets(found: Observations) -> Section:
    text = (
        "An epoch is cheap in steps for a large batch: the whole training set in one step leaves, of the steps that "
        "batch 32 takes with as many examples, one in "
        "{steps of batch 32 for one of the full batch/digits, perceptron:0} for the digits. At the rate "
        "tuned for batch 32 the full batch then stops at a training loss of "
        f"{{training loss, {EXAMPLES}/{FULL}, {FIXED}/digits, perceptron}}, batch 32 at "
        f"{{training loss, {EXAMPLES}/{THIRTY_TWO}, {FIXED}/digits, perceptron}}. Given as many "
        f"steps, at the same rate, it tests at {{test accuracy, {STEPS}/{FULL}, {FIXED}/digits, perceptron:%}} against "
        f"{{test accuracy, {STEPS}/{THIRTY_TWO}, {FIXED}/digits, perceptron:%}}. At the other end of the scale, a "
        "gradient of two examples has about sixteen times the variance of one of thirty-two. At the rate of batch 32, "
        f"{{rate/{THIRTY_TWO}, {EXAMPLES}, digits, perceptron}}, batch 2 ends at "
        f"{{test accuracy, {EXAMPLES}/{TWO}, {FIXED}/digits, perceptron:%}}, and at its own, "
        f"{{rate/{TWO}, {EXAMPLES}, digits, perceptron}}, at "
        f"{{test accuracy, {EXAMPLES}/{TWO}, {OWN}/digits, perceptron:%}}."
    )
    accuracy = tuple(
        _by_batch(found, "test accuracy", task, "test accuracy", log_y=False,
                  caption="Right end: all training examples in a step. At equal steps small batches see few examples.")
        for task in TASKS
    )  # fmt: skip
    losses = tuple(
        _by_batch(found, "training loss", task, "training loss", log_y=True,
                  caption="Of training examples, at the end.")
        for task in DEEP
    )  # fmt: skip
    return Section("The same examples are not the same steps", text, accuracy + losses)


def _counted(found: Observations, facts: Mapping[str, str], sentence: str) -> str:
    """A sentence with the counts that are not zero, each with what it counts; nothing if all of them are.

    Args:
        facts: what each counts, by the name of the fact.
        sentence: with ``%s`` for the counts.
    """
    counts = [f"{{{fact}:0}} ({what})" for fact, what in facts.items() if found.facts.get(fact)]
    return " " + sentence % ", ".join(counts) if counts else ""


def _equal_loss(found: Observations) -> Section:
    figures = []
    for task in DEEP:
        names = [name.rpartition("/")[2] for name in found.curves if name.startswith(f"accuracy by loss/{task}/")]
        curves = tuple(found.series(f"accuracy by loss/{task}/{name}", name) for name in names)
        figures.append(
            LinesFigure(
                f"Test accuracy at equal training loss: {task}", curves, "training loss", "test accuracy",
                "Each batch size at its own rate, when its training loss first comes down to the value below; a curve "
                "ends where a seed does not get farther. Training runs from right to left.", log_x=True, share=True,
            )
        )  # fmt: skip
    above = _counted(
        found,
        {f"equal loss above the target/{task}": task for task in DEEP},
        "In some seeds a batch size never came down to the target: %s. There all are compared at the lowest loss that "
        "all reached.",
    )
    text = (
        "Does a large batch make worse use of what it learns? Here the batch sizes are compared when the training loss "
        "is the same, rather than the clock. When it first comes down to the late target, the full batch tests at "
        f"{{test accuracy at equal loss/{FULL}/digits, perceptron:%}} and batch 32 at "
        f"{{test accuracy at equal loss/{THIRTY_TWO}/digits, perceptron:%}} on digits, "
        f"{{test accuracy at equal loss/{FULL}/emoji, perceptron:%}} and "
        f"{{test accuracy at equal loss/{THIRTY_TWO}/emoji, perceptron:%}} on emoji: a difference of "
        "{claim/equal_loss/effect:points ci}, both together. How soon a loss is reached is another matter." + above
    )
    return Section("At the same training loss", text, tuple(figures))


def _noise(found: Observations) -> Section:
    scale = LinesFigure(
        "Gradient noise scale during training",
        tuple(found.log_series(f"noise/{task}/scale", task) for task in TASKS),
        "step (from 1)", "tr Σ / |G|²",
        "Batch 32 at its own rate; G and Σ of all training examples, exactly.", log_x=True, log_y=True,
    )  # fmt: skip
    parts = [
        LinesFigure(
            f"What it is made of: {task}",
            (found.log_series(f"noise/{task}/variance", "variance tr Σ"),
             found.log_series(f"noise/{task}/squared", "squared gradient |G|²")),
            "step (from 1)", "of the gradient",
            "Geometric means over seeds; the noise scale is their quotient.", log_x=True, log_y=True,
        )
        for task in (TASKS[0], TASKS[2])
    ]  # fmt: skip
    quotients = [
        f"{{log2 squared gradient, end against start/{task}:ci}} and "
        f"{{log2 gradient variance, end against start/{task}:ci}} doublings ({name})"
        for task, name in ((TASKS[0], "perceptron on digits"), (TASKS[2], "convolutions"))
    ]
    text = (
        "The gradient of B examples has the variance tr Σ / B around the gradient G of all. While B is below the noise "
        "scale tr Σ / |G|², noise outweighs signal. Per-example gradients of the whole training set give both exactly. "
        "The noise scale of the perceptron is {noise scale/before training/digits, perceptron:0} before the first step "
        "and {noise scale/at the end/digits, perceptron:0} at the end on digits, "
        "{noise scale/before training/emoji, perceptron:0} and {noise scale/at the end/emoji, perceptron:0} on emoji. "
        "The convolutions go from {noise scale/before training/digits, convolutions:0} to "
        "{noise scale/at the end/digits, convolutions:0}. It is a quotient: from the start to the end the squared "
        f"gradient and the variance change by {quotients[0]} and by {quotients[1]}. The claim compares the end with "
        "the very start and says nothing of the way: on it the noise scale is highest at step "
        "{step of the highest noise scale/digits, perceptron:0} on digits "
        "({highest noise scale/digits, perceptron:0}), {step of the highest noise scale/emoji, perceptron:0} on emoji "
        "({highest noise scale/emoji, perceptron:0}) and {step of the highest noise scale/digits, convolutions:0} in "
        "the convolutions ({highest noise scale/digits, convolutions:0})."
    )
    return Section("How noisy a gradient is", text, (scale, *parts))


def _speed_up(found: Observations) -> Section:
    figures = []
    for task in DEEP:
        for what in ("steps", "examples"):
            curves = [found.log_series(f"{what}/{task}/{k}", f"{k} target") for k in TARGETS]
            if what == "steps":
                curves += [_mean_points(found, f"fit/{task}/{k}", f"fit, {k} target") for k in TARGETS]
            caption = {
                "steps": "Dashed: steps = fewest × (1 + critical batch / batch), fitted seed by seed.",
                "examples": "Flat while each doubling halves the steps; rising where more examples buy little.",
            }[what]
            figures.append(
                LinesFigure(f"{what.capitalize()} to a training loss: {task}", tuple(curves), _BATCH, what, caption,
                            log_x=True, log_y=True)
            )  # fmt: skip
    rows = tuple(
        (f"{task}, {k} target (loss {found.facts[f'target/{k}/{task}']:g})",
         (f"critical batch/{k}/{task}", f"mean noise scale/{k}/{task}", f"log2 critical batch/{k}/{task}",
          f"log2 mean noise scale to the target/{k}/{task}", f"noise scale over critical batch/{k}/{task}"))
        for task in DEEP for k in TARGETS
    )  # fmt: skip
    table = TableFigure(
        "Where the speed-up ends, and the noise scale on the way there",
        ("critical batch size", "mean noise scale", "log2 of the first", "log2 of the second", "second over first"),
        rows,
        "Geometric means over seeds; the noise scale is the mean over the steps up to the target.",
    )  # fmt: skip
    missed = _counted(
        found,
        {f"missed/{k}/{task}": f"{k} target, {task}" for task in DEEP for k in TARGETS},
        "Some runs never came to the target: %s. They count with the steps they were given, in the fits too.",
    ) + _counted(
        found,
        {f"noise short of the target/{k}/{task}": f"{k} target, {task}" for task in DEEP for k in TARGETS},
        "Of the runs along which the noise scale is measured some ended before the target: %s. Theirs is the mean over "
        "all steps.",
    )
    text = (
        "Each batch size at the rate that is fastest for the target. In the model that is fitted (McCandlish et al.), "
        "twice the batch halves the steps below the critical batch size, and the examples stay the same; above it "
        "steps hardly fall and the examples are spent. The noise scale, measured along one run of one batch size, is "
        "meant to say where that is. On digits the critical batch size is {critical batch/early/digits, perceptron:0} "
        "for the early target and {critical batch/late/digits, perceptron:0} for the late one, and the noise scale is "
        "{noise scale over critical batch/early/digits, perceptron:1 ci} and "
        "{noise scale over critical batch/late/digits, perceptron:1 ci} times that; on emoji it is "
        "{critical batch/early/emoji, perceptron:0} and {critical batch/late/emoji, perceptron:0}, and the noise scale "
        "{noise scale over critical batch/early/emoji, perceptron:1 ci} and "
        "{noise scale over critical batch/late/emoji, perceptron:1 ci} times that. This simple noise scale assumes "
        "that all directions are curved alike and that the rate may follow; a rate capped by the sharpest direction "
        "ends the "
        "speed-up sooner. The two are not told apart here." + missed
    )
    return Section("Where the speed-up ends", text, (*figures, table))


def _without_sharpness(found: Observations) -> str:
    """Which runs diverged so far that their loss has no curvature, if any did."""
    kind = "without a sharpness/"
    facts = {
        name: what.replace("/", "; ")
        for name in found.facts
        if name.startswith(kind) and "/" in (what := name.removeprefix(kind))
    }
    return _counted(
        found, facts,
        "Some runs diverged so far that the curvature is no number: %s. They count as the sharpest there is, as if it "
        f"were {SHARPNESS_RANGE[1]:,.0f}.",
    )  # fmt: skip


def _sharpness(found: Observations) -> Section:
    figures = tuple(
        _by_batch(found, "log2 sharpness", task, "largest Hessian eigenvalue", log_y=True,
                  caption="Of the loss of all training examples, at the end. Dashed: 2 / own rate at equal steps, "
                  "above which plain gradient descent is not stable.",
                  more=(_mean_points(found, f"edge/{task}", "2 / own rate"),))
        for task in DEEP
    )  # fmt: skip
    table = TableFigure(
        "One function, two sharpnesses",
        ("log2 as trained", "log2 rescaled"),
        tuple(
            (task, tuple(f"log2 sharpness of one function/{arm}/{task}" for arm in ("as trained", "rescaled")))
            for task in DEEP
        ),
        "Batch 32 at its own rate; then the first layer times four, the second divided by four: the same outputs.",
    )
    text = (
        "After as many examples and at one rate the full batch ends {claim/sharper_after_equal_examples/effect/digits, "
        "perceptron:ci} doublings sharper than batch 32 on digits and "
        "{claim/sharper_after_equal_examples/effect/emoji, perceptron:ci} on emoji. But a training that stops early is "
        "at no minimum, and cross-entropy is flat where it is near zero; the training losses of the full batch and of "
        f"batch 32 are {{training loss, {EXAMPLES}/{FULL}, {FIXED}/digits, perceptron}} and "
        f"{{training loss, {EXAMPLES}/{THIRTY_TWO}, {FIXED}/digits, perceptron}} on digits, "
        f"{{training loss, {EXAMPLES}/{FULL}, {FIXED}/emoji, perceptron}} and "
        f"{{training loss, {EXAMPLES}/{THIRTY_TWO}, {FIXED}/emoji, perceptron}} on emoji. After "
        "as many steps at one rate it ends {claim/sharper_after_equal_steps/effect:ci} doublings sharper; "
        "Keskar et al. report sharper ones. With own rates the difference is "
        "{claim/sharper_at_own_rate/effect:ci}. The rates may differ then, and full-batch descent cannot stay for long "
        "where the curvature is far above two over its rate (Cohen et al.): on emoji the full batch's log2 sharpness "
        f"is {{log2 sharpness, {STEPS}/{FULL}, {FIXED}/emoji, perceptron}} at the fixed rate of "
        f"{{rate/{THIRTY_TWO}, {EXAMPLES}, emoji, perceptron}} and "
        f"{{log2 sharpness, {STEPS}/{FULL}, {OWN}/emoji, perceptron}} at its own of "
        f"{{rate/{FULL}, {STEPS}, emoji, perceptron}}. And the number is no property of the function (Dinh et al.): "
        "layers that are rescaled against each other leave every output as it was, and the log2 sharpness goes from "
        "{log2 sharpness of one function/as trained/digits, perceptron} to "
        "{log2 sharpness of one function/rescaled/digits, perceptron} on digits." + _without_sharpness(found)
    )
    return Section("How sharp it ends", text, (*figures, table))


def _going_on(found: Observations) -> Section:
    arms = (SMALL_NEXT, FULL_NEXT, FULL_STEPS)
    figures = []
    for task in DEEP:
        curves = tuple(found.series(f"going on/{task}/{arm}/accuracy", arm) for arm in arms)
        figures.append(
            LinesFigure(f"Going on from where the full batch ended: {task}", curves, "share of the further training",
                        "test accuracy", share=True)
        )  # fmt: skip
    measures = ("gain from going on", "distance", "barrier", "log2 sharpness after going on")
    rows = tuple((f"{task}: {arm}", tuple(f"{m}/{arm}/{task}" for m in measures)) for task in DEEP for arm in arms)
    table = TableFigure(
        "Where it goes", ("gain in test accuracy", "distance", "barrier in loss", "log2 sharpness"), rows,
        "Distance: change of the weights as a share of their norm. Barrier: how far the training loss rises above both "
        "ends on the straight way.", (True, True, False, False),
    )  # fmt: skip
    text = (
        "The full batch, trained at its own rate for as many steps as batch 32, goes on in three ways. Batch 32 moves "
        f"the weights by {{distance/{SMALL_NEXT}/digits, perceptron:%}} (digits) and "
        f"{{distance/{SMALL_NEXT}/emoji, perceptron:%}} (emoji) of their norm, the full batch with as many examples by "
        f"{{distance/{FULL_NEXT}/digits, perceptron:%}} and {{distance/{FULL_NEXT}/emoji, perceptron:%}}, in few "
        f"steps. With as many steps the full batch moves by {{distance/{FULL_STEPS}/digits, perceptron:%}} and "
        f"{{distance/{FULL_STEPS}/emoji, perceptron:%}}. On the straight way to where "
        f"batch 32 ends the loss rises by {{barrier/{SMALL_NEXT}/digits, perceptron}} and "
        f"{{barrier/{SMALL_NEXT}/emoji, perceptron}}. The test accuracy changes by "
        f"{{gain from going on/{SMALL_NEXT}/digits, perceptron:points ci}} and "
        f"{{gain from going on/{SMALL_NEXT}/emoji, perceptron:points ci}} with batch 32, by "
        f"{{gain from going on/{FULL_NEXT}/digits, perceptron:points ci}} and "
        f"{{gain from going on/{FULL_NEXT}/emoji, perceptron:points ci}} with the full batch for as many examples. "
        "To get away is not yet to test better: the claim asks for the latter."
    )
    return Section("Is the large batch stuck?", text, (*figures, table))


def _costs(found: Observations) -> Section:
    def curve(measure_name: str, task: str) -> list[tuple[float, float]]:
        sizes = {name: value for name, value in found.facts.items() if name.startswith(f"{measure_name}/")}
        pairs = [(name.split("/")[1], value) for name, value in sizes.items() if name.endswith(f"/{task}")]
        whole = found.facts[f"training examples/{task}"]
        return sorted((whole if arm == FULL else float(arm.split()[1]), value) for arm, value in pairs)

    def draw(measure_name: str, task: str, label: str, dashed: bool) -> Series:
        return points(curve(measure_name, task), label, dashed=dashed)

    memory = LinesFigure(
        "Kept for the backward pass",
        tuple(draw("kilobytes measured", task, task, False) for task in TASKS)
        + tuple(draw("kilobytes computed", task, f"{task}, computed", True) for task in TASKS),
        _BATCH, "kilobytes", "Measured where autograd saves tensors; computed from the sizes of the layers.",
        log_x=True, log_y=True,
    )  # fmt: skip
    seconds = LinesFigure(
        "An epoch", tuple(draw("seconds for an epoch", task, task, False) for task in TASKS), _BATCH, "seconds",
        "One network, the workbench's own step, on the machine of these results alone.", log_x=True, log_y=True,
    )  # fmt: skip
    text = (
        "What the backward pass waits for grows in proportion to the batch: each example's input, activations and "
        f"log-probabilities; the perceptron on digits keeps {{kilobytes measured/{TWO}/digits, perceptron}} kB for two "
        f"examples and {{kilobytes measured/{FULL}/digits, perceptron}} kB for all "
        f"({{kilobytes computed/{FULL}/digits, perceptron}} on paper). Time is of this machine. What a step costs "
        "whatever its size, larger batches save; what each example costs, they do not. The perceptron's epoch on "
        f"digits takes {{seconds for an epoch/{TWO}/digits, perceptron}} s in steps of two, "
        f"{{seconds for an epoch/{THIRTY_TWO}/digits, perceptron}} s at batch 32 and "
        f"{{seconds for an epoch/{FULL}/digits, perceptron}} s in one step; that of the convolutions "
        f"{{seconds for an epoch/{TWO}/digits, convolutions}} s, "
        f"{{seconds for an epoch/{THIRTY_TWO}/digits, convolutions}} s and "
        f"{{seconds for an epoch/{FULL}/digits, convolutions}} s."
    )
    return Section("What a batch costs", text, (memory, seconds))


def present(found: Observations) -> Sequence[Section]:
    """Budgets, equal loss, noise, speed-up, sharpness, going on, cost."""
    parts = (_budgets, _equal_loss, _noise, _speed_up, _sharpness, _going_on, _costs)
    return tuple(part(found) for part in parts)


EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/batch_size.py",
    helpers=(
        "lab/experiments/batch_size_probes.py",
        "lab/experiments/batch_size_settings.py",
        "lab/loss_curves.py",
        "lab/noise_scale.py",
        "lab/sharpness.py",
        "lab/batch_costs.py",
    ),
)
