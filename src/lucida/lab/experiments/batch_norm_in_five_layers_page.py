"""The page of :mod:`~lucida.lab.experiments.batch_norm_in_five_layers`: what it declares and what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.batch_norm_in_five_layers import (
    DATA,
    DEEP,
    FIFTY,
    LARGE,
    NORMS,
    Settings,
    arm,
    measure,
    predicted_gain,
)
from lucida.lab.norms import NormName
from lucida.lab.observations import Observations, points
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_UNITS = {
    "decades": "decades between the first and the last layer's gradient",
    "explosion": "decades of the first layer's gradient over the last one's",
    "accuracy": "test accuracy",
}


def _claim(
    name: str, texts: tuple[str, str, str], measure: str, arms: tuple[str, str], smallest: float,
    *, primary: bool = False,
) -> Claim:  # fmt: skip
    return Claim(
        name, *texts, measure, _UNITS[measure], *arms, smallest, "data", DATA, primary=primary,
        share=measure == "accuracy",
    )  # fmt: skip


CLAIMS = (
    _claim(
        "any_scale",
        ("In a five-layer network whose weights are too large, batch norm evens out the gradient.",
         "五层网络的权重过大时，批归一化能让各层的梯度更均匀。",
         "With weights four times too large, the first layer's gradient is fewer decades away from the last one's."),
        "decades", (arm("batch", LARGE), arm("none", LARGE)), -1.0, primary=True,
    ),
    _claim(
        "deep_explosion",
        ("In a deep plain network batch norm itself makes gradients explode.",
         "在很深的普通网络里，批归一化自己会让梯度爆炸。",
         "Before training, with weights as He chose them, fifty layers with batch norm have a larger first gradient, "
         "against the last, than fifty without."),
        "explosion", (arm("batch", depth=FIFTY), arm("none", depth=FIFTY)), 2.0, primary=True,
    ),
    _claim(
        "trains_at_any_scale",
        ("With weights that are too large, a five-layer network tests better with batch norm than without.",
         "权重过大时，带批归一化的五层网络测试准确率高于不带的。",
         "With weights four times too large and each arm at its own best rate, test accuracy is higher with batch "
         "norm."),
        "accuracy", (arm("batch", LARGE), arm("none", LARGE)), 0.03, primary=True,
    ),
    _claim(
        "layer_norm_explodes",
        ("Layer norm makes deep plain networks explode likewise.",
         "层归一化同样会让很深的普通网络梯度爆炸。",
         "Fifty layers with layer norm have a larger first gradient, against the last, than fifty without."),
        "explosion", (arm("layer", depth=FIFTY), arm("none", depth=FIFTY)), 2.0,
    ),
    _claim(
        "residual_path_prevents_it",
        ("A residual path takes two decades or more off the explosion.",
         "残差连接能使这种爆炸减轻两个数量级以上。",
         "With each layer's input added to its output, fifty layers with batch norm explode by fewer decades."),
        "explosion", (arm("batch", depth=FIFTY, residual=True), arm("batch", depth=FIFTY)), -2.0,
    ),
    _claim(
        "training_ends_it",
        ("Training lessens the explosion.",
         "训练会减轻这种爆炸。",
         "Trained at its best rate, the network's first gradient ends fewer decades above the last one's."),
        "explosion", ("trained, after", "trained, before"), -1.0,
    ),
)  # fmt: skip

DESIGN = Design(
    name="batch-norm-in-five-layers",
    title="Batch norm in a five-layer network",
    question="Why do gradients explode in a five-layer network, what does batch norm change, and what in fifty layers?",
    question_zh="五层网络的梯度为什么会爆炸？批归一化改变了什么？五十层又如何？",
    claims=CLAIMS,
    factors={
        "normalisation": "none, batch norm, layer norm, each before the ReLU",
        "gain": "standard deviation of the weights over He's: a half to four",
        "depth": "5 layers; then 10 to 50",
        "residual path": "without; with, in the deep networks",
    },
    held_fixed=("ReLU", "width", "batch size", "examples seen", "plain SGD", "each arm at its own best rate"),
    data="digits of 8×8 pixels and emoji of 12×12 pixels in colour",
    networks="perceptrons",
    would_change=(
        "batches of a few examples: the statistics become noise, and the prediction for batch norm is one for large "
        "batches",
        "other activations: for a linear network the gain with batch norm is 1 in the limit, for tanh in between",
        "batch norm behind the ReLU instead of before it",
    ),
    sources=(
        ("Yang et al. 2019, A mean field theory of batch normalization", "https://arxiv.org/abs/1902.08129"),
        ("Ioffe & Szegedy 2015, Batch normalization", "https://arxiv.org/abs/1502.03167"),
        ("He et al. 2015, Delving deep into rectifiers", "https://arxiv.org/abs/1502.01852"),
        ("van Laarhoven 2017, L2 regularization versus batch and weight normalization",
         "https://arxiv.org/abs/1706.05350"),
        ("De & Smith 2020, Batch normalization biases residual blocks towards the identity function",
         "https://arxiv.org/abs/2002.10444"),
    ),
)  # fmt: skip


def present(found: Observations) -> Sequence[Section]:
    """Five layers, the prediction, fifty layers, training."""
    gains = sorted({float(a.rpartition("gain ")[2]) for m, a, _ in found.numbers if m == "decades" and "gain" in a})
    return (_five(found), _predicted(sorted([*gains, 1.0])), _deep(found), _training(found, sorted([*gains, 1.0])))


def _five(found: Observations) -> Section:
    arms = [(norm, gain) for norm in NORMS[:2] for gain in (1.0, LARGE)]
    figures = tuple(
        LinesFigure(
            f"Gradient by layer, {data}",
            tuple(found.log_series(f"five/{data}/{arm(*a)}", _short(*a)) for a in arms),
            x_label="layer, from the input",
            y_label="gradient over that of the last layer",
            log_y=True,
        )
        for data in DATA
    )
    text = (
        "On its way down, the gradient passes the weights of each layer and the slopes of its ReLUs, half of which "
        "are zero. He's weights make up for that half: the gain of a layer is one. Weights with k times their "
        "standard deviation have the gain k, so that four layers multiply the gradient by `k⁴`: it explodes, or with "
        "k below one vanishes, because of the weights and not because of a ReLU that does not saturate. Batch norm "
        "divides by the scale of what it gets: larger weights give larger outputs, and these are divided by as much "
        "more. The scale of the weights drops out."
    )
    return Section("Five layers", text, figures)


def _short(norm: str, gain: float) -> str:
    name = "no norm" if norm == "none" else f"{norm} norm"
    return f"{name}, gain {gain:g}"


def _predicted(gains: Sequence[float]) -> Section:
    rows = tuple(
        (
            arm(norm, gain),
            (f"predicted gain/{arm(norm, gain)}", *(f"gain of a layer/{arm(norm, gain)}/{data}" for data in DATA)),
        )
        for norm in NORMS
        for gain in gains
    )
    table = TableFigure("Gain of a layer before training", ("predicted", *DATA), rows)
    text = (
        "Without normalisation the gain is that of the weights. With batch norm before a ReLU it is the square root "
        "of `π / (π - 1)`: the ReLU leaves half a bell curve, whose root mean square is larger than its standard "
        "deviation; batch norm divides by the latter, and the gradient is divided by it on its way down. Layer norm "
        "divides by the spread over units, in which the mean over examples remains: its gain is one. The predictions "
        "are for wide layers and independent inputs; real pictures resemble each other."
    )
    return Section("Predicted and measured", text, (table,))


def _deep(found: Observations) -> Section:
    slope = predicted_gain("batch", 1.0)
    figures = []
    for data in DATA:
        by_layer = [
            found.log_series(f"fifty/{data}/{arm(norm, depth=FIFTY, residual=residual)}", _norm(norm, residual))
            for norm, residual in DEEP
        ]
        predicted = points([(x, slope ** (FIFTY - x)) for x in range(1, FIFTY + 1)], "predicted")
        figures.append(
            LinesFigure(
                f"Fifty layers before training, {data}",
                (*by_layer, predicted),
                x_label="layer, from the input",
                y_label="gradient over that of the last layer",
                log_y=True,
            )
        )
        by_depth = [
            found.series(f"depth/{data}/{arm(norm, depth=FIFTY, residual=residual)}", _norm(norm, residual))
            for norm, residual in DEEP
        ]
        depths = by_depth[0].x
        predicted = points([(x, (x - 1) * math.log10(slope)) for x in depths], "predicted")
        figures.append(
            LinesFigure(
                f"Explosion by depth, {data}",
                (*by_depth, predicted),
                x_label="layers",
                y_label="decades of the first gradient over the last",
            )
        )
    text = (
        f"A gain of {{predicted gain/{arm('batch')}}} a layer makes {{decades/{arm('batch')}/digits}} decades in five "
        f"layers and {{explosion/{arm('batch', depth=FIFTY)}/digits}} in fifty (digits). No scale of the weights "
        "changes that, since batch norm divides it out. A residual path gives the gradient a way round, and what each "
        "layer adds to a path that has grown counts for less and less (De & Smith); with one it is "
        f"{{explosion/{arm('batch', depth=FIFTY, residual=True)}/digits}} decades. Layer norm, whose gain is predicted "
        f"to be one: {{explosion/{arm('layer', depth=FIFTY)}/digits}} decades; He's weights without normalisation: "
        f"{{explosion/{arm('none', depth=FIFTY)}/digits}}."
    )
    return Section("Ten to fifty layers", text, tuple(figures))


def _norm(norm: str, residual: bool) -> str:
    name = "no norm" if norm == "none" else f"{norm} norm"
    return name + (", residual" if residual else "")


def _training(found: Observations, gains: Sequence[float]) -> Section:
    names = [arm(norm, gain) for norm in NORMS[:2] for gain in gains]
    accuracies = tuple(
        EffectsFigure(
            f"Test accuracy of five layers, {data}",
            tuple(EffectRow(name, f"accuracy/{name}/{data}") for name in names),
            x_label="test accuracy at the arm's best rate",
            share=True,
        )
        for data in DATA
    )
    text = (
        "Each arm has its own best rate, so what is compared is not whose rate happened to fit. "
        f"{_rates('none', gains)} without normalisation and {_rates('batch', gains)} with batch norm. Weights that are "
        "normalised are turned by a step of a given rate the less the larger they are (van Laarhoven); weights that "
        "are not make outputs and gradients grow with them. Fifty layers with batch norm go in training from "
        "{explosion/trained, before/digits} decades to {explosion/trained, after/digits} on digits, from "
        "{explosion/trained, before/emoji} to {explosion/trained, after/emoji} on emoji. A step on normalised weights "
        "is at right angles to them, so that it makes them longer, and most where the gradient is largest; what is "
        "longer is divided by as much more."
    )
    rates = TableFigure(
        "Best rates", DATA, tuple((name, tuple(f"rate/{name}, {data}" for data in DATA)) for name in names)
    )
    explosion = LinesFigure(
        "Fifty layers with batch norm, trained",
        tuple(found.series(f"trained/{data}", data) for data in DATA),
        x_label="steps at the best rate",
        y_label="decades of the first gradient over the last",
    )
    return Section("What it means for training", text, (*accuracies, rates, explosion))


def _rates(norm: NormName, gains: Sequence[float]) -> str:
    """The best rates of five layers on digits, gain by gain."""
    told = [f"{{rate/{arm(norm, gain)}, {DATA[0]}}} (gain `{gain:g}`)" for gain in gains]
    return f"On {DATA[0]} the best rate is {', '.join(told)}" if norm == "none" else ", ".join(told)


_FIVE = (
    "A layer multiplies the gradient by the scale of its weights, over He's, and five layers do so again and again: "
    "weights four times too large spread the gradient over {decades/no norm, 5 layers, gain 4/digits} decades, before "
    "the first step. The ReLU is not to blame. Batch norm divides by the scale of what it gets, and the weights drop "
    "out: {decades/batch norm, 5 layers, gain 4/digits} decades, whatever the weights. With each arm at its own best "
    "rate this is worth {claim/trains_at_any_scale/effect:points ci} of test accuracy."
)
_FIVE_ZH = (
    "每一层都会把梯度乘上权重相对 He 初始化的倍数，五层就连乘几次：权重放大四倍时，训练开始之前梯度在各层之间就相差"
    "{decades/no norm, 5 layers, gain 4/digits} 个数量级。这不是 ReLU 的错。批归一化会除以输入的尺度，权重的尺度因此"
    "被消掉：无论权重多大，只差 {decades/batch norm, 5 layers, gain 4/digits} 个数量级。每种设置都用各自最好的学习率"
    "时，测试准确率相差 {claim/trains_at_any_scale/effect:points ci}。"
)
_FIFTY = (
    "\n\nIt has a price. Before a ReLU, batch norm multiplies the gradient by {predicted gain/batch norm, 5 layers} a "
    "layer: {decades/batch norm, 5 layers/digits} decades in five layers, {explosion/batch norm, 50 layers/digits} in "
    "fifty, before the first step. He's weights without normalisation have {explosion/no norm, 50 layers/digits} in "
    "fifty, with layer norm {explosion/layer norm, 50 layers/digits}. "
)
_FIFTY_ZH = (
    "\n\n代价是：在 ReLU 之前，批归一化让每一层把梯度放大 {predicted gain/batch norm, 5 layers} 倍：训练开始之前，五层"
    "相差 {decades/batch norm, 5 layers/digits} 个数量级，五十层相差 {explosion/batch norm, 50 layers/digits} 个；五十"
    "层只用 He 初始化、不做归一化时相差 {explosion/no norm, 50 layers/digits} 个，用层归一化时相差 "
    "{explosion/layer norm, 50 layers/digits} 个。"
)
_TRAINED = (
    "In training, a narrower network of fifty layers goes from {explosion/trained, before/digits} to "
    "{explosion/trained, after/digits} decades."
)
_TRAINED_ZH = (
    "训练一个较窄的五十层网络，它从 {explosion/trained, before/digits} 个数量级变为 "
    "{explosion/trained, after/digits} 个。"
)
_RESIDUAL: dict[Word, tuple[str, str]] = {
    "supported": (
        "A residual path changes that by {claim/residual_path_prevents_it/effect:ci} decades. ",
        "残差连接使它变化 {claim/residual_path_prevents_it/effect:ci} 个数量级。",
    ),
    "refuted": (
        "A residual path changes that by {claim/residual_path_prevents_it/effect:ci} decades, less than was claimed of "
        "it. ",
        "残差连接使它变化 {claim/residual_path_prevents_it/effect:ci} 个数量级，不及所说的那么多。",
    ),
    "inconclusive": (
        "Whether a residual path lessens it as much as was claimed could not be told: "
        "{claim/residual_path_prevents_it/effect:ci} decades. ",
        "残差连接能否像所说的那样减轻它，还不能断定：{claim/residual_path_prevents_it/effect:ci} 个数量级。",
    ),
}
ANSWERS = tuple(
    Answer(
        ("supported", "supported", "supported"), _FIVE + _FIFTY + text + _TRAINED,
        _FIVE_ZH + _FIFTY_ZH + text_zh + _TRAINED_ZH,
        {"layer_norm_explodes": "refuted", "residual_path_prevents_it": word, "training_ends_it": "supported"},
    )
    for word, (text, text_zh) in _RESIDUAL.items()
)  # fmt: skip

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            128, 128, (0.5, 1.0, 2.0, LARGE), (10, 20, FIFTY), 32, 300, 32, (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)
        ),
        "full": Settings(
            256,
            256,
            (0.5, 1.0, 2.0, LARGE),
            (10, 20, 30, 40, FIFTY),
            64,
            1000,
            32,
            (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0),
        ),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/batch_norm_in_five_layers.py",
    helpers=("lab/signal_propagation.py",),
)
