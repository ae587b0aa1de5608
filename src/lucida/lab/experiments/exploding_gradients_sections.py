"""What the page on exploding gradients shows, part by part."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.exploding_gradients import (
    ADAM,
    BATCH,
    CLIPPED,
    DATA,
    L2,
    LARGE,
    LAYER,
    LOOKS,
    NOTHING,
    PERCEPTRONS,
    RECURRENT,
    REMEDIES,
    SMALLER,
    STRONG,
    TARGET,
    TIMES,
    TRIED,
    VALUES,
    WATCHED,
    Remedy,
    cell,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, GridFigure, LinesFigure, TableFigure

LEVELS = tuple(TRIED)
_RATES_OF = (NOTHING, CLIPPED, L2, ADAM, LAYER, SMALLER)


def present(found: Observations) -> Sequence[Section]:
    """The cause in layers and in time; prevented or survived; rates; accuracy; why; cost."""
    return (
        _cause(found), _through_time(found), _prevented(), _rates(found), _accuracy(), _why(found), _courses(found),
        _cost(),
    )  # fmt: skip


def _cells(found: Observations) -> tuple[list[str], list[float]]:
    arms = [arm for measure, arm, level in found.numbers if measure == "decades" and level == DATA[0]]
    kinds = list(dict.fromkeys(arm.partition(", ")[0] for arm in arms))
    return kinds, sorted({float(arm.rpartition("gain ")[2]) for arm in arms})


def _cause(found: Observations) -> Section:
    chosen = [(kind, gain) for kind in ("relu", "tanh") for gain in (1.0, LARGE)]
    by_layer = tuple(
        LinesFigure(
            f"Gradient by layer before training, {data}",
            (
                *(found.log_series(f"layers/{data}/{cell(*c)}", cell(*c)) for c in chosen),
                *(
                    found.predicted(f"layers/{data}/{cell(k, LARGE)}", f"{cell(k, LARGE)}, predicted")
                    for k in ("relu", "tanh")
                ),
            ),
            x_label="layer, from the input",
            y_label="gradient over that of the last layer",
            log_y=True,
        )
        for data in DATA
    )
    kinds, gains = _cells(found)
    values = tuple(
        tuple(float(found.numbers["decades", cell(kind, gain), DATA[0]].mean()) for gain in gains) for kind in kinds
    )
    grid = GridFigure(
        f"Activation against gain, {DATA[0]}",
        tuple(kinds),
        tuple(f"{gain:g}" for gain in gains),
        values,
        "activation",
        "gain of the weights over He's",
        "decades of the first gradient over the last",
        caption="Above zero the gradient explodes, below it vanishes.",
    )
    rows = tuple(
        (name, (f"predicted decades/{name}/{DATA[0]}", *(f"decades/{name}/{data}" for data in DATA)))
        for name in (cell(kind, gain) for kind in kinds for gain in gains)
    )
    table = TableFigure("Decades, predicted and measured", (f"predicted, {DATA[0]}", *DATA), rows)
    text = (
        "On its way down, a gradient is multiplied in each layer by the weights and by the slopes of the activations: "
        "by `√(w · E[φ'²])`, where `w` is the variance of a weight times the number of weights of a unit. For ReLU "
        "with k times He's deviation this is `k`, exactly. ReLU does not saturate; with He's weights it has "
        f"{{decades/{cell('relu', 1)}/digits}} decades. tanh saturates; with large weights it has "
        f"{{decades/{cell('tanh', LARGE)}/digits}}, where {{predicted decades/{cell('tanh', LARGE)}/digits}} "
        "are predicted. Saturation brakes: as the weights grow, more and more units have no slope left, but the few in "
        "the middle pass on more than all the others lose. Its gain grows as the square root of the weights' "
        f"deviation, ReLU's as the deviation: {{decades/{cell('relu', LARGE)}/digits}} decades. The sigmoid, whose "
        "slope is at most a quarter, has "
        f"{{decades/{cell('sigmoid', LARGE)}/digits}} at the same gain. The weights decide whether gradients explode; "
        "the activation, from where on and how fast."
    )
    return Section("The activation, or the gain of the weights?", text, (*by_layer, grid, table))


def _through_time(found: Observations) -> Section:
    arms = [arm for measure, arm, level in found.numbers if measure == "decades" and level == RECURRENT]
    tanh = [arm for arm in arms if arm.startswith("tanh")]
    shown = tanh[1:]
    lines = LinesFigure(
        "Gradient by step of time before training, recurrent network of tanh",
        (
            *(found.log_series(f"time/{arm}", arm) for arm in shown),
            *(found.predicted(f"time/{arm}", f"{arm}, predicted") for arm in shown),
        ),
        x_label="step of time",
        y_label="gradient over that of the last step",
        log_y=True,
    )
    rows = tuple((arm, (f"predicted decades/{arm}/{RECURRENT}", f"decades/{arm}/{RECURRENT}")) for arm in arms)
    table = TableFigure("Decades from the last step to the first", ("predicted", "measured"), rows)
    text = (
        "In a recurrent network the layers are steps of time, and all have the same matrix. Without an activation the "
        "gradient is multiplied by a power of that matrix: a gain above one explodes, below one it vanishes, and "
        "nothing lies between but one itself. tanh brakes here too. A matrix that doubles the state would give "
        f"{{decades/{cell('linear', STRONG)}/{RECURRENT}}} decades without an activation and gives "
        f"{{decades/{cell('tanh', STRONG)}/{RECURRENT}}} with it; one of gain one gives "
        f"{{decades/{cell('tanh', 1)}/{RECURRENT}}} decades. The prediction treats each step as if it had weights of "
        f"its own."
    )
    return Section("The same through time", text, (lines, table))


def _by_level(metric: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Rows of a table: remedies by network, blank where one was not tried."""
    return tuple(
        (
            remedy.name,
            tuple(metric.format(remedy.name, level) if remedy in TRIED[level] else "" for level in LEVELS),
        )
        for remedy in REMEDIES
    )


def _prevented() -> Section:
    table = TableFigure(
        "log10 of the gradient's norm at the first step",
        LEVELS,
        _by_level("first gradient/{}/{}"),
        caption="Before any clipping. With weights of gain one, and with normalisation, the network is another one.",
    )  # fmt: skip
    figure = EffectsFigure(
        "The gradient at the first step, digits",
        tuple(EffectRow(remedy.name, f"first gradient/{remedy.name}/{PERCEPTRONS[0]}") for remedy in REMEDIES),
        x_label="log10 of its norm",
    )

    def first(remedy: Remedy) -> str:
        return f"{{first gradient/{remedy.name}/{PERCEPTRONS[0]}}}"

    text = (
        "A remedy prevents an explosion if the gradient is small to begin with. Weights of gain one, batch norm and "
        f"layer norm change the network: on digits the decimal logarithm of its norm is {first(SMALLER)}, "
        f"{first(BATCH)} and {first(LAYER)}, without a remedy {first(NOTHING)}. The others change the update: clipping "
        "shortens the gradient, Adam and RMSprop divide it by its own size, and a penalty adds its own pull on the "
        f"weights. What they find at this step is {first(CLIPPED)} with clipping, {first(ADAM)} with Adam, {first(L2)} "
        "with the L2 penalty. These survive, if they do, but they prevent nothing."
    )
    return Section("Prevented, or survived?", text, (figure, table))


def _rates(found: Observations) -> Section:
    lines = tuple(
        LinesFigure(
            f"Training accuracy over the whole range of rates, {data}",
            tuple(found.series(f"rates/{data}/{remedy.name}", remedy.name) for remedy in _RATES_OF),
            x_label="learning rate",
            y_label="accuracy on training examples",
            log_x=True,
            share=True,
        )
        for data in DATA
    )
    columns = tuple(f"{what}, {data}" for data in DATA for what in ("stable", "learned", "log10 largest"))
    rows = tuple(
        (
            remedy.name,
            tuple(
                f"{measure}/{remedy.name}/{level}"
                for level in PERCEPTRONS
                for measure in ("stable", "learned", "largest rate")
            ),
        )
        for remedy in REMEDIES
    )
    table = TableFigure(
        "Runs over the whole range of rates", columns, rows, shares=(True, True, False) * 2,
        caption="Stable: finite to the end, with a loss below that of the start. Learned: besides, ten points above "
        "the share of the most frequent class. Largest: all smaller rates were stable too. Rates of Adam and RMSprop "
        "are of another kind than those of SGD.",
    )  # fmt: skip
    level = PERCEPTRONS[0]
    text = (
        f"Without a remedy {{stable/{NOTHING.name}/{level}:%}} of the runs on digits are stable, with clipping "
        f"{{stable/{CLIPPED.name}/{level}:%}}. But stable is not trained: a loss that falls from thousands to that of "
        f"guessing, and stays there, is stable. What learned is {{learned/{NOTHING.name}/{level}:%}} without a remedy, "
        f"{{learned/{CLIPPED.name}/{level}:%}} with clipping, {{learned/{ADAM.name}/{level}:%}} with Adam, "
        f"{{learned/{SMALLER.name}/{level}:%}} with weights of gain one and {{learned/{LAYER.name}/{level}:%}} with "
        "layer norm. Clipping changes the share that learns by "
        f"{{claim/clipping_widens/effect/{PERCEPTRONS[0]}:points ci}} on digits and by "
        f"{{claim/clipping_widens/effect/{PERCEPTRONS[1]}:points ci}} on emoji. A clipped step is at most as long as "
        "the rate: a large rate may do then, and at a small one every step is short. How high the curve rises is "
        "another matter."
    )
    return Section("At which rates it trains", text, (*lines, table))


def _accuracy() -> Section:
    figures = tuple(
        EffectsFigure(
            f"Test accuracy, {level}",
            tuple(EffectRow(remedy.name, f"accuracy/{remedy.name}/{level}") for remedy in remedies),
            x_label="test accuracy at the arm's best rate",
            share=True,
        )
        for level, remedies in TRIED.items()
    )
    rates = TableFigure("Best rates", LEVELS, _by_level("rate/{}, {}"))
    text = (
        "Every arm has its own best rate, found on other seeds. A network that learned nothing can still guess the "
        "most "
        "frequent class, so for the claims no accuracy counts as less than that. Clipping by the norm changes it by "
        "{claim/clipping_cures/effect:points ci}, all four networks together; layer norm instead of clipping by "
        "{claim/prevention_is_better/effect:points ci}; Adam instead of plain SGD by "
        "{claim/adam_cures/effect:points ci}. Clipping the values is another remedy than clipping the norm: on digits "
        f"it reaches {{accuracy/{VALUES.name}/{PERCEPTRONS[0]}:%}}, the norm "
        f"{{accuracy/{CLIPPED.name}/{PERCEPTRONS[0]}:%}}. It changes the direction: where nearly all entries are cut, "
        "all weights move by the same amount, as with Adam."
    )
    return Section("Each at its own best rate", text, (*figures, rates))


def _why(found: Observations) -> Section:
    figures = (
        LinesFigure(
            "Gain of the inner weights while they train, digits",
            tuple(found.series(f"weights/{remedy.name}", remedy.name) for remedy in WATCHED),
            x_label="steps at the best rate",
            y_label="root mean square over He's deviation",
        ),
        LinesFigure(
            "Explosion while they train, digits",
            tuple(found.series(f"explosion/{remedy.name}", remedy.name) for remedy in WATCHED),
            x_label="steps at the best rate",
            y_label="decades of the first gradient over the last",
        ),
    )
    text = (
        "What do the remedies leave of the cause? With clipping no step is longer than the rate; the gain of the "
        f"weights goes from {{weights at the start/{CLIPPED.name}}} to {{weights at the end/{CLIPPED.name}}}, without "
        f"a remedy to {{weights at the end/{NOTHING.name}}}. The penalty that should shrink the weights acts at the "
        f"rate of all the rest, by `rate · l2` a step, at a rate of {{rate/{L2.name}, {PERCEPTRONS[0]}}}: "
        f"{{weights at the end/{L2.name}}}. Adam's steps are of equal size for all weights, large gradient or small: "
        f"{{weights at the end/{ADAM.name}}}. Of {{explosion at the start/{NOTHING.name}}} decades of explosion "
        f"{{explosion at the end/{NOTHING.name}}} are left without a remedy, {{explosion at the end/{CLIPPED.name}}} "
        f"with clipping, {{explosion at the end/{L2.name}}} with the penalty and {{explosion at the end/{ADAM.name}}} "
        f"with Adam; with weights of gain one there were {{explosion at the start/{SMALLER.name}}} to begin with."
    )
    return Section("What is left of the cause", text, figures)


def _courses(found: Observations) -> Section:
    mild = list(TIMES)[-1]
    remedies: tuple[Remedy, ...] = (NOTHING, CLIPPED)
    figures = tuple(
        LinesFigure(
            f"{title}, {mild}",
            tuple(series(f"{name}/{remedy.name}", remedy.name) for remedy in remedies),
            x_label="steps, both at the best rate with clipping",
            y_label=label,
            log_y=name == "norm",
            caption="Mean of ten steps and all seeds.",
        )
        for name, title, label, series in (
            ("loss", "Loss with and without clipping", "loss of the batch", found.series),
            ("norm", "Gradient with and without clipping", "norm of the gradient", found.log_series),
        )
    )
    text = (
        "Clipping was proposed for gradients of which some are far too long (Pascanu et al.). Here the matrix of a "
        "recurrent network is a little too large. The longest gradient of a training is `10` to the power of "
        f"{{largest gradient/{NOTHING.name}}} without clipping; with it, before it is shortened, "
        f"{{largest gradient/{CLIPPED.name}}} is that power. At the rate that is best with clipping, test accuracy "
        f"ends at {{accuracy at the rate of clipping/{NOTHING.name}:%}} without it and at "
        f"{{accuracy at the rate of clipping/{CLIPPED.name}:%}} with it, where each step is at most as long as the "
        "rate. A gradient that gets small without clipping need not be calm: where tanh is saturated it is small too. "
        f"The fair comparison gives the other network a rate of its own, {{rate/{NOTHING.name}, {mild}}} instead of "
        f"{{rate/{CLIPPED.name}, {mild}}}: then clipping changes the accuracy by "
        f"{{claim/clipping_cures/effect/{mild}:points ci}}."
    )
    return Section("A network that explodes mildly", text, figures)


def _cost() -> Section:
    def missed(remedy: Remedy, level: int = 0) -> str:
        return f"{{missed the target/{remedy.name}/{PERCEPTRONS[level]}:%}}"

    rows = tuple(
        (
            remedy.name,
            tuple(
                f"{measure}/{remedy.name}/{level}"
                for level in PERCEPTRONS
                for measure in ("steps to the target", "milliseconds")
            ),
        )
        for remedy in REMEDIES
    )
    columns = tuple(f"{what}, {data}" for data in DATA for what in ("steps to the target", "ms a step"))
    table = TableFigure(
        "What each costs", columns, rows,
        caption=f"The target is {TARGET:g} times the loss of guessing, for training examples in evaluation mode and "
        f"without any penalty, looked at {LOOKS} times; who never gets there has all the steps. "
        "Milliseconds a step of one network, trained on one core among others.",
    )  # fmt: skip
    text = (
        "How many steps each takes to the target at its own best rate, and what a step costs. On digits "
        f"{missed(NOTHING)} of the runs without a remedy never get there, {missed(CLIPPED)} with clipping, "
        f"{missed(ADAM)} with Adam, {missed(LAYER)} with layer norm and {missed(SMALLER)} with weights of gain one; on "
        f"emoji {missed(NOTHING, 1)}, {missed(CLIPPED, 1)}, {missed(ADAM, 1)}, {missed(LAYER, 1)} and "
        f"{missed(SMALLER, 1)}. The times are those of a shared machine: take nothing from them but "
        "their order of magnitude."
    )
    return Section("What it costs", text, (table,))
