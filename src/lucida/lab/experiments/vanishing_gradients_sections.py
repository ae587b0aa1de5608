"""What the page on vanishing gradients shows, part by part."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.vanishing_gradients import (
    DATA,
    DEPTH,
    FADING,
    KEEPING,
    LOOKED_AT,
    RELU,
    RELU_SMALL,
    RELU_SMALL_LAYER,
    SIGMOID,
    SIGMOID_BATCH,
    SIGMOID_LAYER,
    SIGMOID_RESIDUAL,
    TANH_LAYER,
    TRAINED,
    Cell,
    time_arm,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, GridFigure, LinesFigure, TableFigure

TANH = Cell("tanh", "xavier")


def present(found: Observations) -> Sequence[Section]:
    """The gradient by layer; layer norm and batch norm; what the layers still see; what trains; the map; time."""
    return (_by_layer(found), _norms(found), _signal(found), _cures(), _maps(found), _time(found))


def _with_predictions(found: Observations, name: str, cells: Sequence[Cell], predicted: Sequence[Cell]) -> tuple:
    return (
        *(found.log_series(f"{name}/{cell.arm}", cell.arm) for cell in cells),
        *(found.predicted(f"{name}/{cell.arm}", f"{cell.arm}: predicted") for cell in predicted),
    )


def _by_layer(found: Observations) -> Section:
    cells = (SIGMOID, SIGMOID_RESIDUAL, RELU, RELU_SMALL)
    figures = tuple(
        LinesFigure(
            f"Gradient by layer before training, {data}",
            _with_predictions(found, f"gradients/{data}", cells, (SIGMOID, RELU_SMALL)),
            x_label="layer, from the input",
            y_label="gradient over that of the last layer",
            log_y=True,
            caption="By the output of each layer's linear map.",
        )
        for data in DATA
    )
    rows = tuple(
        (
            cell.arm,
            (
                f"predicted gain/{cell.arm}",
                *(f"gain of a layer/{cell.arm}/{data}" for data in DATA),
                f"decades/{cell.arm}/{DATA[0]}",
                f"predicted decades/{cell.arm}/{DATA[0]}",
                f"first gradient/{cell.arm}/{DATA[0]}",
            ),
        )
        for cell in LOOKED_AT
    )
    table = TableFigure(
        "Gain of a layer, predicted and measured",
        ("predicted, deep inside", *DATA, f"decades, {DATA[0]}", "predicted", "log10 of first layer's"),
        rows,
        caption=f"Measured: the geometric mean over {DEPTH} layers. Last column: the norm of the gradient of the first "
        "layer's weights.",
    )
    arm, small = SIGMOID.arm, RELU_SMALL.arm
    text = (
        "On its way down each layer multiplies a gradient by its weights and by the slopes of its activations: by "
        "`√(w · E[φ'²])`, with `w` the variance of a weight times the number of weights of a unit. A sigmoid's slope "
        f"is at most a quarter, and with Xavier's weights a layer passes on {{predicted gain/{arm}}} of what it gets. "
        f"All layers together: {{decades/{arm}/digits}} decades on digits, {{predicted decades/{arm}/digits}} "
        "predicted from the settings and the scale of the inputs alone. ReLU with He's weights has a gain of "
        f"{{predicted gain/{RELU.arm}}}. ReLU with small weights has one of {{predicted gain/{small}}}, which makes "
        f"{{decades/{small}/digits}} decades: its slope is no help against weights that shrink everything. In the "
        "gradients of the weights this hides, because there what comes from above is multiplied by what comes from "
        "below, which shrinks the other way: all layers get the same. So the table gives the first layer's "
        "own gradient too. A residual path adds one to the square of every layer's gain, which then is never below one."
    )
    return Section("Where the gradient goes", text, (*figures, table))


def _norms(found: Observations) -> Section:
    cells = (SIGMOID, SIGMOID_LAYER, SIGMOID_BATCH, TANH_LAYER)
    figure = LinesFigure(
        f"Gradient by layer with normalisation, {DATA[0]}",
        _with_predictions(found, f"gradients/{DATA[0]}", cells, (SIGMOID_LAYER, SIGMOID_BATCH)),
        x_label="layer, from the input",
        y_label="gradient over that of the last layer",
        log_y=True,
    )
    kinds = ("sigmoid", "tanh", "relu")
    table = TableFigure(
        "Averages of an activation over a bell curve of unit variance",
        ("E[φ'²]", "E[φ²]", "Var[φ]"),
        tuple((kind, tuple(f"{name}/{kind}" for name in ("slope", "square", "variance"))) for kind in kinds),
        caption="Gain with layer norm: the root of the first over the second; with batch norm: over the last.",
    )
    text = (
        "Normalisation divides by the scale of what it gets, so that the weights drop out; what remains of the gain "
        "is the activation's own. Layer norm divides by the spread over the units, which holds all of the "
        "activation's square: the gain is `√(E[φ'²] / E[φ²])`. A sigmoid's output is about a half for every unit and "
        "every picture, and most of its square is that mean, which carries nothing: "
        "{square/sigmoid} in all, {variance/sigmoid} without the mean. Layer norm divides by it nevertheless: a gain "
        f"of {{predicted gain/{SIGMOID_LAYER.arm}}}, {{decades/{SIGMOID_LAYER.arm}/digits}} decades. Batch norm first "
        "takes away what all examples have in common, and with it the mean: `√(E[φ'²] / Var[φ])`, a gain of "
        f"{{predicted gain/{SIGMOID_BATCH.arm}}}. tanh is the same curve about zero, has no mean to divide by, and "
        f"with layer norm its gain is {{predicted gain/{TANH_LAYER.arm}}}, {{decades/{TANH_LAYER.arm}/digits}} "
        "decades. Small weights drop out of it: with ReLU and layer norm the gain is "
        f"{{predicted gain/{RELU_SMALL_LAYER.arm}}}, {{decades/{RELU_SMALL_LAYER.arm}/digits}} decades."
    )
    return Section("Layer norm and batch norm before a sigmoid", text, (figure, table))


def _signal(found: Observations) -> Section:
    cells = (SIGMOID, SIGMOID_LAYER, SIGMOID_BATCH, SIGMOID_RESIDUAL, RELU)
    figures = tuple(
        LinesFigure(
            f"What differs between examples, {data}",
            _with_predictions(found, f"signal/{data}", cells, (SIGMOID_LAYER,)),
            x_label="layer, from the input",
            y_label="share of the squared outputs",
            log_y=True,
            caption="Before training; of the outputs of each layer's linear map.",
        )
        for data in DATA
    )
    text = (
        "A gradient that vanishes is half of the story. The factor which shrinks it on its way down also shrinks, on "
        "the way up, what differs between two pictures: both are products of the same weights and slopes. In the last "
        "layer of the plain sigmoids `10` to the power of "
        f"{{signal/{SIGMOID.arm}/digits}} of the squares differ from picture to picture, with a residual "
        f"path {{signal/{SIGMOID_RESIDUAL.arm}/digits}} is that power, with batch norm "
        f"{{signal/{SIGMOID_BATCH.arm}/digits}} and with ReLU and He's weights {{signal/{RELU.arm}/digits}}. Where "
        "hardly anything differs, the head sees one and the same vector, and no rate and no optimizer makes classes of "
        "that before the lower layers have changed."
    )
    return Section("What the layers still see of the picture", text, figures)


def _cures() -> Section:
    figures = tuple(
        EffectsFigure(
            f"Accuracy on training examples, {DEPTH} layers, {data}",
            tuple(EffectRow(cell.arm, f"accuracy/{cell.arm}/{data}") for cell in TRAINED),
            x_label="accuracy at the best rate",
            share=True,
        )
        for data in DATA
    )
    rates = TableFigure(
        "Best rates",
        DATA,
        tuple((cell.arm, tuple(f"rate/{cell.arm}, {DEPTH} layers, {data}" for data in DATA)) for cell in TRAINED),
    )
    text = (
        "Every kind of network has its own best rate, found on other seeds; accuracy is that on training examples, "
        "because the question is whether it can be trained at all. Plain sigmoids reach "
        f"{{accuracy/{SIGMOID.arm}/digits:%}} on digits, where naming one class gets a tenth, ReLU with He's weights "
        f"{{accuracy/{RELU.arm}/digits:%}}, a residual path {{accuracy/{SIGMOID_RESIDUAL.arm}/digits:%}}, batch norm "
        f"{{accuracy/{SIGMOID_BATCH.arm}/digits:%}}, layer norm {{accuracy/{SIGMOID_LAYER.arm}/digits:%}}. Where it is "
        "the scale of the weights that is wrong, layer norm changes it from "
        f"{{accuracy/{RELU_SMALL.arm}/digits:%}} to {{accuracy/{RELU_SMALL_LAYER.arm}/digits:%}} on digits, by "
        "{claim/layer_norm_cures_scale/effect/emoji:points ci} on emoji. Its best rate there is "
        f"{{rate/{RELU_SMALL_LAYER.arm}, {DEPTH} layers, digits}} on digits: a step turns normalised weights by as "
        "much as the rate over their square, and small weights have a small square."
    )
    return Section("What trains at its own best rate", text, (*figures, rates))


def _maps(found: Observations) -> Section:
    trained, looked_at = (_depths(found, name) for name in ("accuracy by depth", "gradient by depth"))
    rows = tuple(dict.fromkeys(arm for measure, arm, _ in found.numbers if measure == "accuracy by depth"))
    accuracy, gradient = (
        tuple(tuple(float(found.numbers[name, arm, depth].mean()) for depth in depths) for arm in rows)
        for name, depths in (("accuracy by depth", trained), ("gradient by depth", looked_at))
    )
    predicted = tuple(tuple(found.facts[f"predicted by depth/{arm}/{depth}"] for depth in looked_at) for arm in rows)
    label = "decades of the first gradient over the last"
    maps = (
        GridFigure("Trainability", rows, trained, accuracy, "network", "layers",
                   "accuracy on training examples", share=True,
                   caption="Digits, each cell at its own best rate, in the steps given."),
        GridFigure("Gradient, measured", rows, looked_at, gradient, "network", "layers", label,
                   caption="Before training: zero if all layers get the same, negative where it vanishes."),
        GridFigure("Gradient, predicted", rows, looked_at, predicted, "network", "layers", label,
                   caption="From the settings and the scale of the inputs alone."),
    )  # fmt: skip

    def told(cell: Cell, depth: int) -> str:
        name = f"{cell.arm}/{depth}"
        return f"{{gradient by depth/{name}}} decades and {{accuracy by depth/{name}:%}}"

    shallow, deep = 5, DEPTH
    text = (
        "First gradient over the last before training, and accuracy after it in the steps given. Sigmoids with "
        f"Xavier's weights: {told(SIGMOID, shallow)} in five layers. ReLU with small weights: "
        f"{told(RELU_SMALL, shallow)} in five. In twenty layers, sigmoids with a residual path: "
        f"{told(SIGMOID_RESIDUAL, deep)}; ReLU with He's weights: {told(RELU, deep)}; tanh with Xavier's: "
        f"{told(TANH, deep)}. Where such numbers do not go together, a gradient that arrives is not all: the layers "
        "also have to see what differs between pictures (the section above)."
    )
    return Section("What can be trained", text, maps)


def _depths(found: Observations, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(level for measure, _, level in found.numbers if measure == name))


def _time(found: Observations) -> Section:
    arms = [arm for measure, arm, _ in found.numbers if measure == "decades through time"]
    plain = [arm for arm in arms if "norm" not in arm]
    ends = (plain[0], time_arm(KEEPING))
    lines = LinesFigure(
        "Gradient by step of time before training",
        (
            *(found.log_series(f"time/{arm}", arm.removeprefix("recurrent, ")) for arm in plain),
            *(found.predicted(f"time/{arm}", f"{arm.removeprefix('recurrent, ')}: predicted") for arm in ends),
        ),
        x_label="step of time",
        y_label="gradient over that of the last step",
        log_y=True,
    )
    rows = tuple((arm, (f"predicted decades through time/{arm}", f"decades through time/{arm}")) for arm in arms)
    table = TableFigure("Decades from the last step to the first", ("predicted", "measured"), rows)
    trained = [arm for measure, arm, _ in found.numbers if measure == "accuracy through time"]
    accuracy = EffectsFigure(
        "Test accuracy on digits read pixel by pixel",
        tuple(EffectRow(arm, f"accuracy through time/{arm}") for arm in trained),
        x_label="test accuracy at the arm's best rate",
        share=True,
    )
    fading, keeping, normed = time_arm(FADING), time_arm(KEEPING), time_arm(FADING, norm=True)
    text = (
        "A recurrent network is as deep as its sequence is long, with the same matrix at every step. Its orthogonal "
        "matrix keeps lengths, times a gain; the slope of tanh, at most one, takes some away. At a gain of a half, "
        f"{{decades through time/{fading}}} decades lie between the last step and the first, at one "
        f"{{decades through time/{keeping}}}. The accuracies are {{accuracy through time/{fading}:%}} and "
        f"{{accuracy through time/{keeping}:%}}. Layer norm divides out what the matrix shrinks, and tanh has no mean "
        f"that it would divide by as well: {{decades through time/{normed}}} decades and "
        f"{{accuracy through time/{normed}:%}} at the same gain of a half. The prediction treats every step as if it "
        f"had weights of its own: {{predicted decades through time/{fading}}} decades at a half, "
        f"{{predicted decades through time/{keeping}}} at one, {{predicted decades through time/{normed}}} at a half "
        "with layer norm."
    )
    return Section("Through time", text, (lines, table, accuracy))
