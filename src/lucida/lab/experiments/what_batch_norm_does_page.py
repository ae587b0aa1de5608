"""The page of :mod:`~lucida.lab.experiments.what_batch_norm_does`: what it declares and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from lucida.lab.experiment import Bench, Experiment, Section
from lucida.lab.experiments import what_batch_norm_does as measured
from lucida.lab.experiments.what_batch_norm_does import (
    BATCH,
    CONTEXTS,
    NOISE_ALONE,
    NOISY,
    OWN,
    PLAIN,
    SADDLES,
    SAME_RATE,
    SMALL_GAINS,
    Settings,
)
from lucida.lab.experiments.what_batch_norm_does_design import ANSWERS, DESIGN, HALF, ORIGINS
from lucida.lab.experiments.what_batch_norm_does_texts import (
    INPUTS_TEXT,
    OWN_TEXT,
    SADDLES_TEXT,
    SMOOTHNESS_TEXT,
    noise_text,
    speed_text,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, Series, TableFigure

FOUR = (PLAIN, BATCH, NOISY, SAME_RATE)
SHORT = {SAME_RATE: "batch norm, plain network's rate", HALF: "batch norm, half the noise"}
COUNTED = {"steps": "reached", "steps to leave": "left", "steps by width": "reached by width"}  # in log2; who got there
OVER_PLAIN = ("beta", "drift", "shape drift")
PARTS = ("beta", "gradient change", "loss range", "drift", "shape drift", "gradient shift")


def measure(bench: Bench, settings: Settings) -> Observations:
    """As measured; besides, the logarithms turned back into numbers a reader can picture."""
    found = measured.measure(bench, settings)
    for (name, arm, level), values in list(found.numbers.items()):
        if name in COUNTED:
            _count(found, name, arm, level)
        elif name.removesuffix(" before training") in PARTS:
            found.record_ratio(f"plain {name}", arm, values, level)
        if name in PARTS and arm != PLAIN:
            found.record_ratio(f"{name} over plain", arm, values - found.numbers[name, PLAIN, level], level)
    found.curves = {name: curve for name, curve in found.curves.items() if _is_drawn(name)}
    return found


def _count(found: Observations, name: str, arm: str, level: str) -> None:
    """Steps as such, and how many times fewer than the plain network's: a lower bound where that one was cut off.

    Where runs of the arm itself were cut off, the number of times is no lower bound, and unknown if both were.
    """
    steps, got_there = found.numbers[name, arm, level], found.numbers[COUNTED[name], arm, level] > 0
    found.record_ratio(f"plain {name}", arm, steps, level, cut=~got_there)
    if arm == PLAIN:
        return
    fewer, plain_got_there = f"times fewer {name}", found.numbers[COUNTED[name], PLAIN, level] > 0
    if got_there.all():
        found.record_ratio(fewer, arm, found.numbers[name, PLAIN, level] - steps, level, cut=~plain_got_there)
    else:
        found.left_out[f"{fewer}/{arm}/{level}"] = (
            f"{(~got_there).sum()} of {len(got_there)} runs never got there, and {(~plain_got_there).sum()} without "
            "batch norm: so many steps were not enough to tell"
        )


def _is_drawn(name: str) -> bool:
    """Whether a figure shows a curve: the results file keeps no others."""
    kind, level, arm = name.split("/")
    shown_in = {"change by length": (CONTEXTS[0], CONTEXTS[2]), "beta": CONTEXTS[:1], "loss": CONTEXTS,
                "drift by layer": CONTEXTS, "shape drift by layer": CONTEXTS,
                "mean": (CONTEXTS[0], CONTEXTS[2]), "spread": (CONTEXTS[0], CONTEXTS[2]),
                "leaving": SADDLES}  # fmt: skip
    return level in shown_in.get(kind, ()) and not arm.startswith((f"{NOISY}, 0", NOISE_ALONE))


def present(found: Observations) -> Sequence[Section]:
    """Speed, smoothness, the layers' inputs, the noise, the saddles; the user's own pictures, if there are any."""
    own = (_own_pictures(found),) if ("steps", PLAIN, OWN) in found.numbers else ()
    return (_speed(found), _smoothness(found), _inputs(found), _noise(found), _saddles(found), *own)


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
            caption="Geometric means over seeds. Who did not get there has the number of steps all were given: the "
            "true number is larger.",
            shares=(False, True, False),
        )
        for context in CONTEXTS
    )
    return Section("Faster: at whose rate?", speed_text(found), (*curves, *tables))


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
    return Section("Smoother: along the gradient", SMOOTHNESS_TEXT, (*lengths, course, *tables))


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
            f"{title} in one step, {context}",
            _arms(found, f"{name} by layer/{context}", FOUR),
            x_label="layer, from the input",
            y_label=label,
            log_y=True,
        )
        for name, title, label in (
            ("drift", "Drift of the inputs", "drift over spread"),
            ("shape drift", "Change of the inputs' shape", "distance of the shapes, in spreads"),
        )
        for context in CONTEXTS
    ]
    moved = TableFigure(
        "What one step moves, on the way to the target loss",
        ("mean and spread of the inputs", "shape of the inputs", "gradient of the last hidden layer"),
        tuple(
            (
                f"{arm}, {context}",
                tuple(f"plain {name}/{arm}/{context}" for name in ("drift", "shape drift", "gradient shift")),
            )
            for context in CONTEXTS
            for arm in FOUR
        ),
        caption="Geometric means over seeds. Inputs: in units of their spread, of noisy networks each time under new "
        "noise. Gradient: share of its norm, after the layers before it took the step.",
    )
    return Section("What the layers see", INPUTS_TEXT, (*figures, moved))


def _noise(found: Observations) -> Section:
    amounts = sorted({arm for _, arm, _ in found.numbers if arm.startswith(f"{NOISY}, ")})
    by_amount = tuple(
        TableFigure(
            f"The noise by its amount, {c}",
            ("drift", "effective β", "steps", "seeds that got there", "learning rate"),
            tuple(
                (
                    arm,
                    (
                        *(f"plain {name}/{arm}/{c}" for name in ("drift", "beta", "steps")),
                        f"reached/{arm}/{c}",
                        _rate(arm, c),
                    ),
                )
                for arm in (PLAIN, NOISE_ALONE, BATCH, *amounts, NOISY)
            ),
            shares=(False, False, False, True, False),
        )
        for c in CONTEXTS[:2]
    )
    return Section("Is stability the reason?", noise_text(found), (*by_amount, *_by_width(found)))


def _by_width(found: Observations) -> tuple[TableFigure | EffectsFigure, ...]:
    """The noise in narrower and wider perceptrons; nothing where only one width was trained."""
    widths = sorted({int(level) for name, _, level in found.numbers if name == "steps by width"})
    if not widths:
        return ()
    fewer = EffectsFigure(
        "The noise by width, perceptron on digits",
        tuple(
            EffectRow(f"{arm}, {width} wide", f"times fewer steps by width/{arm}/{width}")
            for width, arm in product(widths, (BATCH, NOISY))
            if f"times fewer steps by width/{arm}/{width}" not in found.left_out
        ),
        "times fewer steps",
        "Above one: faster than the plain network of that width, each at its own best rate. Arms of which runs never "
        "got there are left out.",
    )
    steps = TableFigure(
        "Steps by width, perceptron on digits",
        ("steps", "seeds that got there"),
        tuple(
            (f"{arm}, {width} wide", (f"plain steps by width/{arm}/{width}", f"reached by width/{arm}/{width}"))
            for width, arm in product(widths, (PLAIN, BATCH, NOISY))
        ),
        shares=(False, True),
    )
    return fewer, steps


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
    return Section("Leaving saddles", SADDLES_TEXT, (verified, *curves, leaving))


def _own_pictures(found: Observations) -> Section:
    speed = TableFigure(
        "Steps to the target loss, own pictures",
        ("steps", "seeds that got there", "learning rate", "test accuracy at the end"),
        tuple(
            (arm, (f"plain steps/{arm}/{OWN}", f"reached/{arm}/{OWN}", _rate(arm, OWN), f"test accuracy/{arm}/{OWN}"))
            for arm in FOUR
        ),
        shares=(False, True, False, True),
    )
    against = TableFigure(
        "Against the plain network, own pictures",
        ("times fewer steps", "β", "drift of the inputs", "change of their shape"),
        tuple(
            (arm, (_fewer(found, arm), *(f"{name} over plain/{arm}/{OWN}" for name in OVER_PLAIN)))
            for arm in FOUR
            if arm != PLAIN
        ),
        caption="Blank where runs of the arm never got there.",
    )
    return Section("On pictures of your own", OWN_TEXT, (speed, against))


def _fewer(found: Observations, arm: str) -> str:
    """The name of how many times fewer steps an arm needs on own pictures; nothing where that is not known."""
    name = f"times fewer steps/{arm}/{OWN}"
    return "" if name in found.left_out else name


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
            noise_rates=(0.004, 0.012, 0.036),
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
            noise_rates=(0.00625, 0.0125, 0.025, 0.05),
            amounts=(0.25, 0.5),
            widths=(32, 128),
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
