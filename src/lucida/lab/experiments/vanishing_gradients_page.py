"""The page of :mod:`~lucida.lab.experiments.vanishing_gradients`: settings and what it shows."""

from __future__ import annotations

from lucida.lab.experiment import Experiment
from lucida.lab.experiments.vanishing_gradients import (
    DATA,
    RELU,
    RELU_SMALL,
    SIGMOID,
    SIGMOID_BATCH,
    SIGMOID_LAYER,
    SIGMOID_RESIDUAL,
    Cell,
    Settings,
    measure,
)
from lucida.lab.experiments.vanishing_gradients_claims import DESIGN
from lucida.lab.experiments.vanishing_gradients_sections import present
from lucida.lab.networks import ActivationName, InitialisationName
from lucida.lab.norms import NormName
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word

QUICK_CELLS = (
    SIGMOID, SIGMOID_RESIDUAL, SIGMOID_BATCH, SIGMOID_LAYER, Cell("tanh", "xavier"), RELU, RELU_SMALL,
    Cell("relu", "xavier"),
)  # fmt: skip


def full_cells() -> tuple[Cell, ...]:
    """All activations and initialisations; then sigmoids and small weights with what may cure them."""
    activations: tuple[ActivationName, ...] = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "gelu")
    initialisations: tuple[InitialisationName, ...] = ("small", "xavier", "he")
    norms: tuple[NormName, ...] = ("batch", "layer")
    plain = [Cell(activation, start) for activation in activations for start in initialisations]
    cured = [
        cell
        for base in (SIGMOID, RELU_SMALL)
        for cell in (
            Cell(base.activation, base.initialisation, residual=True),
            *(Cell(base.activation, base.initialisation, norm=norm) for norm in norms),
        )
    ]
    return (*plain, *cured)


_WHY = (
    "Every layer multiplies the gradient by its weights and by the slope of its activation. A layer of sigmoids passes "
    "on {predicted gain/sigmoid, Xavier} of what it gets. From the last layer to the first this makes "
    "{decades/sigmoid, Xavier/digits} decades; {predicted decades/sigmoid, Xavier/digits} are predicted from the "
    "settings alone. The same factor takes away, on the way up, what differs between two pictures. ReLU with "
    "He's weights has a gain of {predicted gain/relu, He}, "
)
_WHY_ZH = (
    "每一层都会把梯度乘上自己的权重和激活函数的斜率。一层 sigmoid 只把收到的梯度的 {predicted gain/sigmoid, Xavier} 倍"
    "传下去，"
    "所有层合起来，第一层的梯度与最后一层相差 {decades/sigmoid, Xavier/digits} 个数量级；仅凭设置就能预测出 "
    "{predicted decades/sigmoid, Xavier/digits} 个。同一个倍数在前向传播中也会抹掉两张图片之间的差别。ReLU 配合 He 初"
    "始化的"
    "增益为 {predicted gain/relu, He}，"
)
_RELU: dict[Word, tuple[str, str]] = {
    "supported": (
        "and at its best rate it reaches {claim/relu_and_he_cure/effect:points ci} more training accuracy.",
        "用最好的学习率，训练准确率高出 {claim/relu_and_he_cure/effect:points ci}。",
    ),
    "depends": (
        "and at its best rate it reaches {claim/relu_and_he_cure/effect/digits:points ci} more training accuracy on "
        "digits, {claim/relu_and_he_cure/effect/emoji:points ci} on emoji, where its first gradient is "
        "{decades/relu, He/emoji} decades from the last: a gradient that arrives is not all.",
        "用最好的学习率，训练准确率在手写数字上高出 {claim/relu_and_he_cure/effect/digits:points ci}，在表情符号上相差 "
        "{claim/relu_and_he_cure/effect/emoji:points ci}；那里第一层与最后一层的梯度相差 {decades/relu, He/emoji} 个数"
        "量级：梯度能到达，还不等于能训练好。",
    ),
}
_REST = (
    "\n\nNot every normalisation cures. Batch norm before each sigmoid does "
    "({claim/normalisation_cures/effect/batch norm, digits:points ci} on digits, "
    "{claim/normalisation_cures/effect/batch norm, emoji:points ci} on emoji); layer norm does not "
    "({claim/normalisation_cures/effect/layer norm, digits:points ci} and "
    "{claim/normalisation_cures/effect/layer norm, emoji:points ci}). It divides by the sigmoid's mean, which carries "
    "nothing and is most of what there is, so that a gain of {predicted gain/sigmoid, Xavier, layer norm} a layer "
    "remains; batch norm takes the mean away first: {predicted gain/sigmoid, Xavier, batch norm}. A residual path "
    "cures "
    "too: {claim/residual_cures/effect:points ci}. ReLU alone does not, if its weights are small: "
    "{claim/relu_alone_cures/effect:points ci}."
)
_REST_ZH = (
    "\n\n并不是每种归一化都管用。在每个 sigmoid 之前加批归一化管用（手写数字上 "
    "{claim/normalisation_cures/effect/batch norm, digits:points ci}，表情符号上 "
    "{claim/normalisation_cures/effect/batch norm, emoji:points ci}），层归一化则不管用（分别为 "
    "{claim/normalisation_cures/effect/layer norm, digits:points ci} 和 "
    "{claim/normalisation_cures/effect/layer norm, emoji:points ci}）。它会连 sigmoid 的均值一起除进去，而均值不含任何"
    "信息，"
    "却占了输出的大部分，于是每层只剩 {predicted gain/sigmoid, Xavier, layer norm} 倍；批归一化先减去均值，得到 "
    "{predicted gain/sigmoid, Xavier, batch norm} 倍。残差连接也管用：{claim/residual_cures/effect:points ci}。"
    "如果初始权重很小，只用 ReLU 并不管用：{claim/relu_alone_cures/effect:points ci}。"
)
_ALSO: dict[str, Word] = {
    **{f"normalisation_cures/batch norm, {data}": "supported" for data in DATA},
    **{f"normalisation_cures/layer norm, {data}": "refuted" for data in DATA},
    "residual_cures": "supported",
    "relu_alone_cures": "refuted",
    "the_mean_is_to_blame": "supported",
}
_ON_EMOJI: tuple[Word, ...] = ("refuted", "inconclusive")
_RELIED_ON: dict[Word, tuple[dict[str, Word], ...]] = {
    "supported": ({},),
    "depends": tuple({"relu_and_he_cure/digits": "supported", "relu_and_he_cure/emoji": word} for word in _ON_EMOJI),
}
ANSWERS = tuple(
    Answer(("supported", word, "depends"), _WHY + text + _REST, _WHY_ZH + text_zh + _REST_ZH, _ALSO | also)
    for word, (text, text_zh) in _RELU.items()
    for also in _RELIED_ON[word]
)
RATES = tuple(10.0**k for k in range(-4, 1))
FINER = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            128, 64, QUICK_CELLS, (5, 10, 20), (40,), (0.5, 0.8, 1.0, 1.5), 32, 32, 300, RATES, 300, RATES,
            150, (0.001, 0.01, 0.1),
        ),
        "full": Settings(
            128, 128, full_cells(), (5, 10, 20), (40,), (0.5, 0.8, 1.0, 1.5), 32, 32, 600, FINER, 200, RATES,
            300, (0.003, 0.01, 0.03, 0.1),
        ),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/vanishing_gradients.py",
    helpers=("lab/signal_propagation.py",),
)  # fmt: skip
