"""The page of :mod:`~lucida.lab.experiments.batch_size`: its figures and words."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Answer, Experiment, Section
from lucida.lab.experiments.batch_size import FIXED, FULL_NEXT, FULL_STEPS, OWN, SMALL_NEXT, measure
from lucida.lab.experiments.batch_size_claims import DEEP, DESIGN, FULL, TASKS, THIRTY_TWO, TWO
from lucida.lab.experiments.batch_size_settings import EXAMPLES, SETTINGS, STEPS, batch_name
from lucida.lab.observations import Observations, points
from lucida.report.lab_page import LinesFigure, Series, TableFigure

_BATCH = "examples in a step"
_ARMS = tuple((f"{budget}, {kind}", f"{budget}, {kind}") for budget in (EXAMPLES, STEPS) for kind in (FIXED, OWN))


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
        f"{{training loss, {EXAMPLES}/{THIRTY_TWO}, {FIXED}/digits, perceptron}}: it is not trained yet. Given as many "
        f"steps, at the same rate, it tests at {{test accuracy, {STEPS}/{FULL}, {FIXED}/digits, perceptron:%}} against "
        f"{{test accuracy, {STEPS}/{THIRTY_TWO}, {FIXED}/digits, perceptron:%}}. The other end of the scale fails for "
        "another reason: a gradient of two examples is mostly noise, and a rate that batch 32 bears throws the weights "
        f"about. Batch 2 ends at {{test accuracy, {EXAMPLES}/{TWO}, {FIXED}/digits, perceptron:%}} at that rate, and "
        f"at {{test accuracy, {EXAMPLES}/{TWO}, {OWN}/digits, perceptron:%}} at its own."
    )
    accuracy = tuple(
        _by_batch(found, "test accuracy", task, "test accuracy", log_y=False,
                  caption="Right end: all training examples in a step. At equal steps small batches see few examples.")
        for task in TASKS
    )  # fmt: skip
    losses = tuple(
        _by_batch(found, "training loss", task, "training loss", log_y=True,
                  caption="Test accuracy follows what was learned of the training examples.")
        for task in DEEP
    )  # fmt: skip
    return Section("The same examples are not the same steps", text, accuracy + losses)


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
    text = (
        "Does a large batch make worse use of what it learns? Compared when the training loss is the same, rather than "
        "the clock, the curves of the batch sizes lie on each other: at the late target the full batch tests at "
        f"{{test accuracy at equal loss/{FULL}/digits, perceptron:%}} and batch 32 at "
        f"{{test accuracy at equal loss/{THIRTY_TWO}/digits, perceptron:%}} on digits, "
        f"{{test accuracy at equal loss/{FULL}/emoji, perceptron:%}} and "
        f"{{test accuracy at equal loss/{THIRTY_TWO}/emoji, perceptron:%}} on emoji. What a batch size changes is how "
        "soon a loss is reached."
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
            "step (from 1)", "of the gradient", caption, log_x=True, log_y=True,
        )
        for task, caption in (
            (TASKS[0], "Learned examples pull less, and what is left of the pulls cancels: |G|² falls faster."),
            (TASKS[2], "On the plateau |G|² all but vanishes; it rises when learning sets in, then falls again."),
        )
    ]  # fmt: skip
    text = (
        "The gradient of B examples has the variance tr Σ / B around the gradient G of all. While B is below the noise "
        "scale tr Σ / |G|², noise outweighs signal. Per-example gradients of the whole training set give both exactly. "
        "The noise scale of the perceptron is {noise scale/before training/digits, perceptron:0} before the first step "
        "and {noise scale/at the end/digits, perceptron:0} at the end on digits, "
        "{noise scale/before training/emoji, perceptron:0} and {noise scale/at the end/emoji, perceptron:0} on emoji. "
        "The convolutions go from {noise scale/before training/digits, convolutions:0} to "
        "{noise scale/at the end/digits, convolutions:0}, and not straight: their weights first sit on a plateau where "
        "there is hardly a common gradient, so that the noise scale is high before anything is learned. It falls as "
        "the plateau ends and grows again as the loss falls. The claim compares the end with the very start, and a "
        "start near a plateau is no low mark to grow from."
    )
    return Section("How noisy a gradient is", text, (scale, *parts))


def _speed_up(found: Observations) -> Section:
    figures = []
    for task in DEEP:
        for what in ("steps", "examples"):
            curves = [found.log_series(f"{what}/{task}/{k}", f"{k} target") for k in ("early", "late")]
            if what == "steps":
                curves += [_mean_points(found, f"fit/{task}/{k}", f"fit, {k} target") for k in ("early", "late")]
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
          f"log2 mean noise scale to the target/{k}/{task}"))
        for task in DEEP for k in ("early", "late")
    )  # fmt: skip
    table = TableFigure(
        "Where the speed-up ends, and the noise scale on the way there",
        ("critical batch size", "mean noise scale", "its log2", "its log2 "), rows,
        "Geometric means over seeds; the noise scale is the mean over the steps up to the target.",
    )  # fmt: skip
    text = (
        "Each batch size at the rate that is fastest for the target. Below the critical batch size twice the batch "
        "halves the steps and the examples stay the same; above it steps hardly fall and the examples are spent. The "
        "noise scale, measured along one run of one batch size, is meant to say beforehand where that is. On digits "
        "{critical batch/early/digits, perceptron:0} and {critical batch/late/digits, perceptron:0} are found for the "
        "two targets and {mean noise scale/early/digits, perceptron:0} and "
        "{mean noise scale/late/digits, perceptron:0} foretold; on emoji "
        "{critical batch/early/emoji, perceptron:0} and {critical batch/late/emoji, perceptron:0} are found, and "
        "{mean noise scale/early/emoji, perceptron:0} and {mean noise scale/late/emoji, perceptron:0} foretold: "
        "the order of size rather than the number. This simple noise scale assumes that all directions are curved "
        "alike and that the rate may follow; a rate capped by the sharpest direction ends the speed-up sooner. The "
        "two are not told apart here."
    )
    return Section("Where the speed-up ends", text, (*figures, table))


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
        "{claim/sharper_after_equal_examples/effect/emoji, perceptron:ci} on emoji. It is not at a minimum, though: "
        "this loss is flat where it is near zero, which batch 32 has reached on digits and nobody has on emoji. After "
        "as many steps at one rate it ends {claim/sharper_after_equal_steps/effect:ci} doublings sharper: "
        "the direction that Keskar et al. report. With own rates the difference is "
        "{claim/sharper_at_own_rate/effect:ci}: large batches bear larger rates, and a training cannot stay for long "
        "where the curvature is far above two over its rate, so that the rate sets the sharpness more than the batch "
        f"does (emoji, full batch, log2: {{log2 sharpness, {STEPS}/{FULL}, {FIXED}/emoji, perceptron}} at the fixed "
        f"rate, {{log2 sharpness, {STEPS}/{FULL}, {OWN}/emoji, perceptron}} at its own). And the number is no property "
        "of the function: layers that are rescaled against each other leave every output as it was and move "
        "the sharpness."
    )
    return Section("Sharp minima", text, (*figures, table))


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
        f"{{distance/{FULL_NEXT}/digits, perceptron:%}} and {{distance/{FULL_NEXT}/emoji, perceptron:%}}: it takes few "
        f"steps. With as many steps the full batch moves by {{distance/{FULL_STEPS}/digits, perceptron:%}} and "
        f"{{distance/{FULL_STEPS}/emoji, perceptron:%}}, so it was not stuck either. On the straight way to where "
        f"batch 32 ends the loss rises by {{barrier/{SMALL_NEXT}/digits, perceptron}} and "
        f"{{barrier/{SMALL_NEXT}/emoji, perceptron}}. The test accuracy changes by "
        f"{{gain from going on/{SMALL_NEXT}/digits, perceptron:points ci}} and "
        f"{{gain from going on/{SMALL_NEXT}/emoji, perceptron:points ci}} with batch 32, by "
        f"{{gain from going on/{FULL_NEXT}/digits, perceptron:points ci}} and "
        f"{{gain from going on/{FULL_NEXT}/emoji, perceptron:points ci}} with the full batch for as many examples. "
        "Noise carries the weights away, at a rate that is large for it even over a barrier; that is leaving, not "
        "being rescued."
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
        f"({{kilobytes computed/{FULL}/digits, perceptron}} on paper). Time is of this machine, and these networks are "
        "so small that a step costs the same for two examples as for thirty-two: an epoch takes "
        f"{{seconds for an epoch/{TWO}/digits, perceptron}} s in steps of two, "
        f"{{seconds for an epoch/{THIRTY_TWO}/digits, perceptron}} s at batch 32 and "
        f"{{seconds for an epoch/{FULL}/digits, perceptron}} s in one. Convolutions do enough work for each example "
        f"that the gain ends: {{seconds for an epoch/{batch_name(512)}/digits, convolutions}} s at batch 512, "
        f"{{seconds for an epoch/{FULL}/digits, convolutions}} s in one step."
    )
    return Section("What a batch costs", text, (memory, seconds))


def present(found: Observations) -> Sequence[Section]:
    """Budgets, equal loss, noise, speed-up, sharpness, going on, cost."""
    parts = (_budgets, _equal_loss, _noise, _speed_up, _sharpness, _going_on, _costs)
    return tuple(part(found) for part in parts)


_TOO_LARGE = (
    "Too large a batch wastes examples; it does not lose the ability to generalise. After as many examples and at the "
    "rate tuned for batch 32, the full batch tests {claim/fixed_rate/effect:points ci} against batch 32: it has taken "
    "a few steps only and is not trained yet. "
)
_TOO_LARGE_ZH = (
    "批量过大，浪费的是样本，而不是泛化能力。看过同样多的样本、沿用为批量 32 调好的学习率时，"
    "全批量的测试准确率与批量 32 相差 {claim/fixed_rate/effect:points ci}：它只走了寥寥几步，还没有训练好。"
)
_TOO_SMALL = (
    "Too small a batch follows noise: at the rate of batch 32, batch 2 tests "
    "{claim/small_fails_at_fixed_rate/effect:points ci} against it. At its own, smaller rate it tests "
    "{claim/small_is_better/effect:points ci} after as many examples, for sixteen times the steps. "
)
_TOO_SMALL_ZH = (
    "批量过小，则是跟着噪声走：批量 2 沿用批量 32 的学习率时，测试准确率与后者相差 "
    "{claim/small_fails_at_fixed_rate/effect:points ci}；换成自己的较小学习率、看过同样多的样本后，差别是 "
    "{claim/small_is_better/effect:points ci}，代价是步数多到十六倍。"
)
_BY_TASK = (
    "After as many steps, each at its own best rate, it tests {claim/cannot_generalise/effect/digits, "
    "perceptron:points ci} (perceptron) and {claim/cannot_generalise/effect/digits, convolutions:points ci} "
    "(convolutions) against batch 32 on digits, which excludes the loss that was claimed, and "
    "{claim/cannot_generalise/effect/emoji, perceptron:points ci} on emoji, which does not. "
    "At the same training loss the difference is {claim/equal_loss/effect:points ci}. "
)
_BY_TASK_ZH = (
    "步数相同、各用自己的最佳学习率时，它在手写数字上与批量 32 相差 "
    "{claim/cannot_generalise/effect/digits, perceptron:points ci}（感知机）和 "
    "{claim/cannot_generalise/effect/digits, convolutions:points ci}（卷积网络），排除了所说的那种损失；"
    "在表情符号上是 {claim/cannot_generalise/effect/emoji, perceptron:points ci}，还不能排除。"
    "训练损失相同时，差别是 {claim/equal_loss/effect:points ci}。"
)
_ONE = (
    "After as many steps, each at its own best rate, the difference is {claim/cannot_generalise/effect:points ci}, "
    "which these few seeds and short trainings cannot tell from the loss that was claimed; at the same training loss "
    "it is {claim/equal_loss/effect:points ci}. "
)
_ONE_ZH = (
    "步数相同、各用自己的最佳学习率时，差别是 {claim/cannot_generalise/effect:points ci}，"
    "种子少、训练短，还不能排除所说的那种损失；训练损失相同时，差别是 {claim/equal_loss/effect:points ci}。"
)
_NOISE_BY_TASK = (
    "Where too large begins can be measured: at about the gradient noise scale, which grows as the loss falls, by "
    "{claim/noise_grows/effect/digits, perceptron:ci} doublings of the perceptron's on digits and "
    "{claim/noise_grows/effect/emoji, perceptron:ci} on emoji. The convolutions "
    "({claim/noise_grows/effect/digits, convolutions:ci}) begin on a plateau, where it is high before anything is "
    "learned."
)
_NOISE_BY_TASK_ZH = (
    "多大算过大是可以测量的，界限大致就在梯度噪声尺度，它随损失下降而增大：感知机在手写数字上翻了 "
    "{claim/noise_grows/effect/digits, perceptron:ci} 番，在表情符号上翻了 "
    "{claim/noise_grows/effect/emoji, perceptron:ci} 番。卷积网络（{claim/noise_grows/effect/digits, convolutions:ci}）"
    "从一片平坦区起步，那里还没学到什么，噪声尺度就已经很高。"
)

ANSWERS = (
    Answer(
        ("supported", "depends", "depends"),
        _TOO_LARGE + _BY_TASK + _TOO_SMALL + _NOISE_BY_TASK,
        _TOO_LARGE_ZH + _BY_TASK_ZH + _TOO_SMALL_ZH + _NOISE_BY_TASK_ZH,
    ),
    Answer(
        ("supported", "inconclusive", "depends"),
        _TOO_LARGE + _ONE + _TOO_SMALL + _NOISE_BY_TASK,
        _TOO_LARGE_ZH + _ONE_ZH + _TOO_SMALL_ZH + _NOISE_BY_TASK_ZH,
    ),
)

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
        "lab/noise_scale.py",
        "lab/sharpness.py",
        "lab/batch_costs.py",
    ),
)
