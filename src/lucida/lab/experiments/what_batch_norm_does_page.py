"""The page of :mod:`~lucida.lab.experiments.what_batch_norm_does`: what it declares and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from lucida.lab.experiment import Bench, Experiment, Section
from lucida.lab.experiments import what_batch_norm_does as measured
from lucida.lab.experiments.what_batch_norm_does import (
    BATCH,
    CONTEXTS,
    NOISY,
    PLAIN,
    SADDLES,
    SAME_RATE,
    SMALL_GAINS,
    Settings,
)
from lucida.lab.experiments.what_batch_norm_does_design import ANSWERS, DESIGN, HALF, ORIGINS
from lucida.lab.experiments.what_batch_norm_does_noise import NOISE_ALONE, noise_alone
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, Series, TableFigure

FOUR = (PLAIN, BATCH, NOISY, SAME_RATE)
SHORT = {SAME_RATE: "batch norm, plain network's rate", HALF: "batch norm, half the noise"}
COUNTED = ("steps", "steps to leave", "steps by width")  # in log2
PARTS = ("beta", "gradient change", "loss range", "drift", "gradient shift")


def measure(bench: Bench, settings: Settings) -> Observations:
    """As measured; besides, the logarithms turned back into numbers a reader can picture."""
    found = measured.measure(bench, settings)
    noise_alone(bench, settings, found)
    for (name, arm, level), values in list(found.numbers.items()):
        if name in COUNTED or name.removesuffix(" before training") in PARTS:
            found.record(f"plain {name}", arm, 2.0**values, level)
        if name in COUNTED and arm != PLAIN:
            found.record(f"times fewer {name}", arm, 2.0 ** (found.numbers[name, PLAIN, level] - values), level)
        if name in PARTS and arm != PLAIN:
            found.record(f"{name} over plain", arm, 2.0 ** (values - found.numbers[name, PLAIN, level]), level)
    found.curves = {name: curve for name, curve in found.curves.items() if _is_drawn(name)}
    return found


def _is_drawn(name: str) -> bool:
    """Whether a figure shows a curve: the results file keeps no others."""
    kind, level, arm = name.split("/")
    shown_in = {"change by length": (CONTEXTS[0], CONTEXTS[2]), "beta": CONTEXTS[:1], "loss": CONTEXTS,
                "drift by layer": CONTEXTS, "mean": (CONTEXTS[0], CONTEXTS[2]), "spread": (CONTEXTS[0], CONTEXTS[2]),
                "leaving": SADDLES}  # fmt: skip
    return level in shown_in.get(kind, ()) and not arm.startswith((f"{NOISY}, 0", NOISE_ALONE))


def present(found: Observations) -> Sequence[Section]:
    """Speed, smoothness, the layers' inputs, the noise, the saddles."""
    return (_speed(found), _smoothness(found), _inputs(found), _noise(found), _saddles(found))


def _arms(found: Observations, name: str, arms: Sequence[str], *, log: bool = True) -> tuple[Series, ...]:
    draw = found.log_series if log else found.series
    return tuple(draw(f"{name}/{arm}", SHORT.get(arm, arm)) for arm in arms)


def _speed(found: Observations) -> Section:
    curves = tuple(
        LinesFigure(
            f"Training loss, {context}",
            _arms(found, f"loss/{context}", FOUR),
            x_label="steps",
            y_label="loss of the last ten batches",
            log_y=True,
        )
        for context in CONTEXTS
    )
    tables = tuple(
        TableFigure(
            f"Steps to the target loss, {context}",
            ("steps", "seeds that got there", "learning rate"),
            tuple(
                (arm, (f"plain steps/{arm}/{context}", f"reached/{arm}/{context}", _rate(arm, context))) for arm in FOUR
            ),
            caption="Who did not get there has the number of steps all were given: the true number is larger.",
            shares=(False, True, False),
        )
        for context in CONTEXTS
    )
    text = (
        "At its own best rate the network with batch norm needs "
        f"{{times fewer steps/{BATCH}/{CONTEXTS[0]}:1 ci}}, {{times fewer steps/{BATCH}/{CONTEXTS[1]}:1 ci}} and "
        f"{{times fewer steps/{BATCH}/{CONTEXTS[2]}:1 ci}} times fewer steps (perceptron on digits, on emoji, "
        "convolutions on digits). At the rate that is best without batch norm the factors are "
        f"{{times fewer steps/{SAME_RATE}/{CONTEXTS[0]}:1}}, {{times fewer steps/{SAME_RATE}/{CONTEXTS[1]}:1}} and "
        f"{{times fewer steps/{SAME_RATE}/{CONTEXTS[2]}:1}}: what the speed owes to a rate that the plain network does "
        "not bear is the difference between the two. That plain network diverges or stalls at larger rates. "
        "Rates are tuned for reaching the target, not for what comes after: further on the curves may cross, and "
        "who is ahead at this target need not be ahead at a much lower one."
    )
    return Section("Faster: at whose rate?", text, (*curves, *tables))


def _rate(arm: str, context: str) -> str:
    return f"tuned rate/{PLAIN if arm == SAME_RATE else arm}/{context}"


def _smoothness(found: Observations) -> Section:
    context = CONTEXTS[0]
    lengths = tuple(
        LinesFigure(
            f"How far the gradient changes, {c}",
            _arms(found, f"change by length/{c}", FOUR),
            x_label="length of the walk, percent of the weights' length",
            y_label="change of the gradient over its norm",
            log_x=True,
            log_y=True,
            caption="One: the change is as large as the gradient itself, which then says nothing any more.",
        )
        for c in (context, CONTEXTS[2])
    )
    course = LinesFigure(
        f"Effective β over training, {context}",
        _arms(found, f"beta/{context}", FOUR),
        x_label="steps",
        y_label="change of the gradient for a unit of the way",
        log_y=True,
    )
    columns = ("β before training", "β on the way", "relative change of the gradient", "range of the loss")
    names = ("beta before training", "beta", "gradient change", "loss range")
    tables = tuple(
        TableFigure(
            f"Smoothness on the way to the target loss, {c}",
            columns,
            tuple((arm, tuple(f"plain {name}/{arm}/{c}" for name in names)) for arm in FOUR),
        )
        for c in CONTEXTS
    )
    text = (
        "From the weights as they are, one walks down the gradient by a given share of the length of all weights, and "
        "asks how the loss and its gradient change. Effective β is the fastest change of the gradient for a unit of "
        "the way; a step of SGD much longer than `1/β` overshoots. On the way to the target β with batch norm is "
        f"{{beta over plain/{BATCH}/{CONTEXTS[0]}:2}}, {{beta over plain/{BATCH}/{CONTEXTS[1]}:2}} and "
        f"{{beta over plain/{BATCH}/{CONTEXTS[2]}:2}} times that without. But training at a larger rate by itself "
        "leads to flatter places (the edge of stability), so the comparison is repeated at the plain network's rate: "
        f"{{beta over plain/{SAME_RATE}/{CONTEXTS[0]}:2}}, {{beta over plain/{SAME_RATE}/{CONTEXTS[1]}:2}} and "
        f"{{beta over plain/{SAME_RATE}/{CONTEXTS[2]}:2}}. On longer walks the gradient of the plain "
        "perceptron on digits grows to a multiple of itself, while with batch norm it turns without growing: a layer "
        "that is scaled up does not scale its output. Before the first step batch norm is not always the smoother: β "
        f"is {{plain beta before training/{BATCH}/{CONTEXTS[2]}:1}} with it and "
        f"{{plain beta before training/{PLAIN}/{CONTEXTS[2]}:1}} without in the convolutions."
    )
    return Section("Smoother: along the gradient", text, (*lengths, course, *tables))


def _inputs(found: Observations) -> Section:
    figures: list[LinesFigure] = []
    for context in (CONTEXTS[0], CONTEXTS[2]):
        names = [f"{arm}, {layer} layer" for arm in (PLAIN, BATCH, NOISY) for layer in ("first", "last")]
        for what in ("mean", "spread"):
            figures += [
                LinesFigure(
                    f"{what.capitalize()} of what activations see, {context}",
                    _arms(found, f"{what}/{context}", names, log=what == "spread"),
                    x_label="steps",
                    y_label=f"{what} over units and examples",
                    log_y=what == "spread",
                )
            ]
    figures += [
        LinesFigure(
            f"Drift of the inputs in one step, {context}",
            _arms(found, f"drift by layer/{context}", FOUR),
            x_label="layer, from the input",
            y_label="drift over spread",
            log_y=True,
        )
        for context in CONTEXTS
    ]
    text = (
        "What each activation sees has a mean and a spread over the examples of a batch; one step of training moves "
        "both. Drift is how far, in units of the spread (the distance between normal distributions of those means and "
        "spreads). In the perceptron on digits it is "
        f"{{plain drift/{PLAIN}/{CONTEXTS[0]}:3}} without batch norm, {{plain drift/{BATCH}/{CONTEXTS[0]}:3}} with it, "
        f"and {{plain drift/{NOISY}/{CONTEXTS[0]}:3}} with the noise. So batch norm keeps mean and spread steady, as "
        "it must: over a batch they are its bias and its gain, which one step hardly moves. Whether it shields a layer "
        "from the others is another question: how far does the "
        "last hidden layer's gradient change when only the layers before it take their step? By "
        f"{{plain gradient shift/{PLAIN}/{CONTEXTS[0]}:2}} of its norm without, and by "
        f"{{plain gradient shift/{BATCH}/{CONTEXTS[0]}:2}} with batch norm: "
        "steady inputs are no steady gradients."
    )
    return Section("What the layers see", text, tuple(figures))


def _noise(found: Observations) -> Section:
    amounts = sorted({arm for _, arm, _ in found.numbers if arm.startswith(f"{NOISY}, ")})
    arms = (PLAIN, BATCH, *amounts, NOISY, NOISE_ALONE)
    figures: tuple[TableFigure | EffectsFigure, ...] = tuple(
        TableFigure(
            f"The noise by its amount, {c}",
            ("drift", "effective β", "steps", "seeds that got there"),
            tuple(
                (arm, (*(f"plain {name}/{arm}/{c}" for name in ("drift", "beta", "steps")), f"reached/{arm}/{c}"))
                for arm in arms
            ),
            shares=(False, False, False, True),
        )
        for c in CONTEXTS[:2]
    )
    widths = sorted({int(level) for name, _, level in found.numbers if name == "steps by width"})
    if widths:
        rows = tuple(
            EffectRow(f"{arm}, {width} wide", f"times fewer steps by width/{arm}/{width}")
            for width, arm in product(widths, (BATCH, NOISY))
        )
        caption = "Above one: faster than the plain network of that width, each at its own best rate."
        figures += (EffectsFigure("The noise by width, perceptron on digits", rows, "times fewer steps", caption),)
    text = (
        "If steady inputs were the reason, noise that unsettles them more than they ever were without batch norm would "
        "undo its work: the noisy network would be slower than the plain one. It needs "
        f"{{times fewer steps/{NOISY}/{CONTEXTS[0]}:2 ci}}, {{times fewer steps/{NOISY}/{CONTEXTS[1]}:2 ci}} and "
        f"{{times fewer steps/{NOISY}/{CONTEXTS[2]}:2 ci}} times fewer steps than the plain network (above one: "
        f"faster). With half the noise: {{times fewer steps/{HALF}/{CONTEXTS[0]}:2}} (digits) and "
        f"{{times fewer steps/{HALF}/{CONTEXTS[1]}:2}} (emoji), while its inputs drift by "
        f"{{plain drift/{HALF}/{CONTEXTS[0]}:2}} and {{plain drift/{HALF}/{CONTEXTS[1]}:2}} of their spread in every "
        f"step, those of the plain network by {{plain drift/{PLAIN}/{CONTEXTS[0]}:2}} and "
        f"{{plain drift/{PLAIN}/{CONTEXTS[1]}:2}}. Noise is no free control, since it "
        "costs by itself: put into the plain perceptrons it lets "
        f"{{reached/{NOISE_ALONE}/{CONTEXTS[0]}:% 0}} (digits) and {{reached/{NOISE_ALONE}/{CONTEXTS[1]}:% 0}} (emoji) "
        f"of the seeds reach the target at all, at the best of few rates (this arm was added after the claims); "
        "behind batch norm it lets "
        f"{{reached/{NOISY}/{CONTEXTS[0]}:% 0}} and {{reached/{NOISY}/{CONTEXTS[1]}:% 0}}. Nor is it roughness that "
        "slows the noisy networks down: their effective β (under one draw of the noise) is in the table. So one "
        "of three contexts speaks against stability as the reason, and two leave it open: the drift and the price of "
        "the noise cannot be told apart there."
    )
    return Section("Is stability the reason?", text, figures)


def _saddles(found: Observations) -> Section:
    arms = {level: (PLAIN, BATCH, SAME_RATE, *((SMALL_GAINS,) if level in ORIGINS else ())) for level in SADDLES}
    curves = tuple(
        LinesFigure(
            f"Leaving a saddle: {level}",
            _arms(found, f"leaving/{level}", arms[level]),
            x_label="steps",
            y_label="loss over that of the plateau",
            log_y=True,
        )
        for level in SADDLES
    )
    points = tuple(
        (
            f"{arm}, {level}",
            tuple(
                f"{name}/{arm}/{level}" for name in ("gradient at the saddle", "least curvature", "greatest curvature")
            ),
        )
        for level in SADDLES
        for arm in arms[level]
        if arm != SAME_RATE
    )
    verified = TableFigure(
        "The planted points",
        ("gradient over that of an ordinary start", "least curvature", "greatest curvature"),
        points,
        caption="Curvature: the ends of the Hessian's spectrum as Lanczos finds them. A small gradient and a negative "
        "curvature make a saddle.",
    )
    leaving = TableFigure(
        "Steps until the saddle is left",
        ("steps", "share of seeds that left"),
        tuple(
            (f"{arm}, {level}", (f"plain steps to leave/{arm}/{level}", f"left/{arm}/{level}"))
            for level in SADDLES
            for arm in arms[level]
        ),
        shares=(False, True),
    )
    doubled, origin = SADDLES[0], SADDLES[1]
    text = (
        "Doubled units: a network of two units a layer is trained until its gradient has nearly vanished, then each "
        "unit is split into equal copies. The wide network computes the same; only copies that part ways lower its "
        "loss, along directions in which the loss curves down. The least curvature there is "
        f"{{least curvature/{PLAIN}/{doubled}:2}} without and {{least curvature/{BATCH}/{doubled}:2}} with batch norm: "
        "per step of equal size, copies part the faster the more negative it is. But the greatest curvature, which "
        f"bounds the rate, is {{greatest curvature/{PLAIN}/{doubled}:1}} without and "
        f"{{greatest curvature/{BATCH}/{doubled}:1}} with it, and the best rates are {{tuned rate/{PLAIN}/{doubled}}} "
        f"and {{tuned rate/{BATCH}/{doubled}}}. Near the origin: all matrices are "
        "scaled to a tenth. Without batch norm the gradient is "
        f"{{gradient at the saddle/{PLAIN}/{origin}:3}} of an ordinary start's; with it "
        f"{{gradient at the saddle/{BATCH}/{origin}:2}}: batch norm divides the scale of the weights out, so for it "
        "this point is no saddle at all. Its own saddle lies where its gains are small: there the gradient is "
        f"{{gradient at the saddle/{SMALL_GAINS}/{origin}:2}}, and leaving takes "
        f"{{plain steps to leave/{SMALL_GAINS}/{origin}:0}} steps instead of "
        f"{{plain steps to leave/{BATCH}/{origin}:0}}."
    )
    return Section("Leaving saddles", text, (verified, *curves, leaving))


EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            depth=6,
            width=64,
            convolutions=6,
            channels=8,
            batch_size=64,
            steps=150,
            every=10,
            targets=(0.3, 1.4, 0.8),
            rates=(0.1, 0.3, 1.0),
            amounts=(0.5,),
            widths=(),
            saddle_width=16,
            saddle_steps=200,
            saddle_batch_size=256,
            saddle_rates=(0.3, 1.0, 3.0),
        ),
        "full": Settings(
            depth=6,
            width=64,
            convolutions=6,
            channels=12,
            batch_size=64,
            steps=240,
            every=10,
            targets=(0.2, 1.3, 0.5),
            rates=(0.05, 0.1, 0.2, 0.4, 0.8),
            amounts=(0.25, 0.5),
            widths=(16, 128),
            saddle_width=32,
            saddle_steps=300,
            saddle_batch_size=256,
            saddle_rates=(0.25, 0.5, 1.0, 2.0),
        ),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/what_batch_norm_does.py",
    helpers=("lab/input_shift.py", "lab/saddles.py", "lab/smoothness.py"),
)
