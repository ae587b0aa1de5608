"""The page of :mod:`~lucida.lab.experiments.exploding_gradients`: settings and what it shows."""

from __future__ import annotations

from lucida.lab.experiment import Experiment
from lucida.lab.experiments.exploding_gradients import LARGE, Settings, measure
from lucida.lab.experiments.exploding_gradients_claims import DESIGN
from lucida.lab.experiments.exploding_gradients_sections import present
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word

_CAUSE = (
    "It is the gain of the weights. Every layer, and in a recurrent network every step of time, multiplies the "
    "gradient "
    "by it. With a large gain even tanh, which saturates, explodes: by {claim/large_gain_explodes/effect:ci} decades "
    "more than with a gain of one. ReLU, which does not saturate, has {decades/relu, gain 1/digits} decades with He's "
    "weights, whose gain is one. The activation decides how fast: where the gain is large, ReLU explodes by "
    "{claim/relu_explodes/effect/gain 4:ci} decades more than tanh; where it is one, by "
    "{claim/relu_explodes/effect/gain 1:ci}.\n\nBatch norm and layer norm prevent it: with them the first gradient "
    "changes by {claim/batch_norm_prevents/effect:+} and {claim/layer_norm_prevents/effect:+} decades. Weights "
    "of gain one take its cause away: the decimal logarithm of the first gradient is "
    "{first gradient/weights of gain one/perceptron, digits} on digits instead of "
    "{first gradient/nothing/perceptron, digits}. Clipping, L1 and "
    "L2 penalties, Adam and RMSprop find the same gradient as nothing at all does, and at best survive it: with "
    "clipping "
    "{stable/norm clipped/perceptron, digits:%} of the runs on digits stay stable, without "
    "{stable/nothing/perceptron, digits:%}. "
)
_CAUSE_ZH = (
    "原因是权重的增益。每一层（在循环网络里是每一个时间步）都会把梯度乘上它。增益一大，连会饱和的 tanh 也会爆炸：比增"
    "益为一时"
    "多 {claim/large_gain_explodes/effect:ci} 个数量级；而不饱和的 ReLU 配上增益为一的 He 初始化，相差 "
    "{decades/relu, gain 1/digits} 个数量级。激活函数决定的是爆炸得多快：增益大时，ReLU 比 tanh 多 "
    "{claim/relu_explodes/effect/gain 4:ci} 个数量级；增益为一时，两者相差 {claim/relu_explodes/effect/gain 1:ci} 个。"
    "\n\n"
    "批归一化和层归一化能防止爆炸：第一步的梯度分别变化 {claim/batch_norm_prevents/effect} 和 "
    "{claim/layer_norm_prevents/effect} 个数量级。增益为一的初始权重则去掉了原因：在手写数字上，第一"
    "步梯度的常用对数是 {first gradient/weights of gain one/perceptron, digits}，而不是 "
    "{first gradient/nothing/perceptron, digits}。梯度裁剪、L1 和 L2 正则、Adam 与 RMSprop 面对的梯度和什么都不做时一"
    "样大，"
    "最多只是让训练撑过去：在手写数字上，有裁剪时 {stable/norm clipped/perceptron, digits:%} 的训练保持稳定，没有时为 "
    "{stable/nothing/perceptron, digits:%}。"
)
_BETTER = (
    " Layer norm instead of clipping is worth {claim/prevention_is_better/effect:points ci}. Clipping was "
    "proposed for a few steps that are far too long; here every step begins with weights that are too large."
)
_BETTER_ZH = (
    "用层归一化代替裁剪，准确率相差 {claim/prevention_is_better/effect:points ci}。提出裁剪是为了应付少数过长的步子，"
    "而这里每一步都从过大的权重出发。"
)
_CLIPPING: dict[Word, tuple[str, str]] = {
    "supported": (
        "And it makes them learn more: {claim/clipping_cures/effect:points ci} of test accuracy, each at its own best "
        "rate.",
        "它也让网络学到更多：各用自己最好的学习率时，测试准确率相差 {claim/clipping_cures/effect:points ci}。",
    ),
    "refuted": (
        "Surviving is not learning: with each arm at its own best rate, clipping is worth "
        "{claim/clipping_cures/effect:points ci} of test accuracy.",
        "撑过去不等于学会：各用自己最好的学习率时，裁剪带来的测试准确率之差是 "
        "{claim/clipping_cures/effect:points ci}。",
    ),
    "depends": (
        "Whether it also learns more depends on the network: with each arm at its own best rate, test accuracy changes "
        "by {claim/clipping_cures/effect/perceptron, digits:points ci} in the perceptron on digits, "
        "{claim/clipping_cures/effect/perceptron, emoji:points ci} on emoji, "
        "{claim/clipping_cures/effect/recurrent net, gain 2:points ci} in the recurrent network that explodes strongly "
        "and {claim/clipping_cures/effect/recurrent net, gain 1.5:points ci} in the one that explodes mildly.",
        "网络是否因此学到更多，要看是哪种网络：各用自己最好的学习率时，测试准确率在手写数字的感知机上变化 "
        "{claim/clipping_cures/effect/perceptron, digits:points ci}，在表情符号上变化 "
        "{claim/clipping_cures/effect/perceptron, emoji:points ci}，在剧烈爆炸的循环网络上变化 "
        "{claim/clipping_cures/effect/recurrent net, gain 2:points ci}，在轻微爆炸的循环网络上变化 "
        "{claim/clipping_cures/effect/recurrent net, gain 1.5:points ci}。",
    ),
    "inconclusive": (
        "Whether it makes them learn more could not be told: {claim/clipping_cures/effect:points ci} of test accuracy, "
        "each at its own best rate.",
        "网络是否因此学到更多，还不能断定：各用自己最好的学习率时，测试准确率相差 "
        "{claim/clipping_cures/effect:points ci}。",
    ),
}
_ALSO: dict[str, Word] = {
    "relu_explodes/gain 1": "refuted",
    f"relu_explodes/gain {LARGE:g}": "supported",
    "batch_norm_prevents": "supported",
    "layer_norm_prevents": "supported",
    "clipping_survives": "supported",
    "prevention_is_better": "supported",
}
ANSWERS = tuple(
    Answer(("depends", "supported", word), _CAUSE + text + _BETTER, _CAUSE_ZH + text_zh + _BETTER_ZH, _ALSO)
    for word, (text, text_zh) in _CLIPPING.items()
)
RATES = tuple(10.0**k for k in range(-7, 2))

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            128, 64, ("relu", "tanh", "gelu", "sigmoid"), (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 1.5, 2.0), 32, 140, 32,
            RATES, False, 120, (0.001, 0.01, 0.1),
        ),
        "full": Settings(
            256, 128, ("relu", "tanh", "gelu", "sigmoid"), (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 1.5, 2.0), 32, 300, 32,
            RATES, True, 300, (0.003, 0.01, 0.03, 0.1),
        ),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/exploding_gradients.py",
    helpers=("lab/signal_propagation.py", "lab/loss_curves.py"),
)  # fmt: skip
