"""What the page of :mod:`~lucida.lab.experiments.what_batch_norm_does` declares before it measures."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Answer
from lucida.lab.experiments.what_batch_norm_does import (
    BATCH,
    CONTEXTS,
    NOISE_ALONE,
    NOISY,
    PLAIN,
    SADDLES,
    SAME_RATE,
    SMALL_GAINS,
    noisy,
)

HALF = noisy(0.5)
ORIGINS = SADDLES[1:]

Texts = tuple[str, str, str]
UNITS = {
    "steps": "log2 of the steps to the target loss",
    "beta": "log2 of the effective β, mean on the way to the target",
    "gradient change": "log2 of the gradient's relative change over one percent of the weights' length",
    "drift": "log2 of the drift of the inputs in one step",
    "shape drift": "log2 of the change of the inputs' shape in one step",
    "gradient shift": "log2 of the shift of the last hidden layer's gradient in one step",
    "steps to leave": "log2 of the steps until the saddle is left",
}


def _claim(
    name: str,
    texts: Texts,
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    levels: tuple[str, ...] = CONTEXTS,
    *,
    primary: bool = False,
) -> Claim:
    moderator = "saddle" if levels[0] in SADDLES or levels == ORIGINS else "network and data"
    return Claim(name, *texts, measure, UNITS[measure], *arms, smallest, moderator, levels, primary=primary)


CLAIMS = (
    _claim(
        "faster",
        (
            "Batch norm makes training faster.",
            "批归一化让训练更快。",
            "Each at its own best rate, the network with batch norm reaches a training loss in fewer steps.",
        ),
        "steps",
        (BATCH, PLAIN),
        -0.5,
        primary=True,
    ),
    _claim(
        "smoother",
        (
            "Batch norm smooths the loss.",
            "批归一化让损失曲面更平滑。",
            "On the way to the same training loss the gradient changes more slowly along its own direction.",
        ),
        "beta",
        (BATCH, PLAIN),
        -0.5,
        primary=True,
    ),
    _claim(
        "leaves_saddles",
        (
            "Batch norm helps to leave saddle points.",
            "批归一化有助于离开鞍点。",
            "Started beside a planted saddle, each at its own best rate, the network with batch norm leaves sooner.",
        ),
        "steps to leave",
        (BATCH, PLAIN),
        -0.5,
        SADDLES,
        primary=True,
    ),
    _claim(
        "faster_at_equal_rates",
        (
            "It is faster at the same learning rate too.",
            "在相同的学习率下它也更快。",
            "At the rate that is best without batch norm, the network with it still needs fewer steps.",
        ),
        "steps",
        (SAME_RATE, PLAIN),
        -0.5,
    ),
    _claim(
        "smoother_at_equal_rates",
        (
            "The smoothness is no mere consequence of larger steps.",
            "平滑性不只是步长更大的结果。",
            "At the rate that is best without batch norm, the gradient with it still changes more slowly.",
        ),
        "beta",
        (SAME_RATE, PLAIN),
        -0.5,
    ),
    _claim(
        "gradient_holds",
        (
            "With batch norm the gradient says more about the loss a step away.",
            "有了批归一化，梯度对一步之外的损失更有预测力。",
            "Over the same share of the weights' length, it changes by a smaller share of itself.",
        ),
        "gradient change",
        (BATCH, PLAIN),
        -0.5,
    ),
    _claim(
        "steady_inputs",
        (
            "Batch norm keeps mean and spread of the layers' inputs steady (by construction).",
            "批归一化使各层输入的均值和幅度保持稳定（由其定义）。",
            "One step moves mean and spread of what activations see less: over a batch they are its bias and its gain.",
        ),
        "drift",
        (BATCH, PLAIN),
        -0.5,
    ),
    _claim(
        "steady_shape",
        (
            "Batch norm keeps the distribution of the layers' inputs in place also where it is not made to.",
            "除了由定义固定的均值和幅度，批归一化也使各层输入分布的形状保持稳定。",
            "One step changes the shape of what activations see, mean and spread taken out, less.",
        ),
        "shape drift",
        (BATCH, PLAIN),
        -0.5,
    ),
    _claim(
        "steady_gradient",
        (
            "Batch norm shields a layer from what the layers before it learn.",
            "批归一化使一层免受前面各层更新的影响。",
            "After the earlier layers' step, the last hidden layer's gradient differs less from what it was.",
        ),
        "gradient shift",
        (BATCH, PLAIN),
        -0.5,
    ),
    _claim(
        "noise_unsettles",
        (
            "Noise behind batch norm makes the inputs drift more than without any normalisation.",
            "在批归一化之后加噪声，输入的漂移比完全不做归一化还大。",
            "With the noise one step moves the inputs of the activations more than in the plain network.",
        ),
        "drift",
        (NOISY, PLAIN),
        0.5,
    ),
    _claim(
        "stability_is_why",
        (
            "Batch norm works because it keeps the distribution of the layers' inputs stable.",
            "批归一化之所以有效，是因为它让各层输入的分布保持稳定（内部协变量偏移）。",
            "The noisy network, whose inputs are less stable than without batch norm, needs more steps than that.",
        ),
        "steps",
        (NOISY, PLAIN),
        0.5,
    ),
    _claim(
        "fast_under_half_the_noise",
        (
            "With half of that noise batch norm is still faster than no normalisation.",
            "噪声减半时，批归一化仍比不做归一化更快。",
            "With half the noise, and inputs that still drift, the network needs fewer steps than without batch norm.",
        ),
        "steps",
        (HALF, PLAIN),
        -0.5,
        CONTEXTS[:2],
    ),
    _claim(
        "noise_costs",
        (
            "That noise costs speed by itself.",
            "这种噪声本身就会减慢训练。",
            "Put into the network without batch norm, at its own best rate, it makes the same loss take more steps.",
        ),
        "steps",
        (NOISE_ALONE, PLAIN),
        0.5,
        CONTEXTS[:2],
    ),
    _claim(
        "fast_under_equal_noise",
        (
            "Under the same noise batch norm makes training faster.",
            "在同样的噪声下，批归一化让训练更快。",
            "The noisy network with batch norm needs fewer steps than the one without, each at its own best rate.",
        ),
        "steps",
        (NOISY, NOISE_ALONE),
        -0.5,
        CONTEXTS[:2],
    ),
    _claim(
        "leaves_at_equal_rates",
        (
            "It leaves saddles sooner at the same learning rate too.",
            "在相同的学习率下，它也更早离开鞍点。",
            "At the rate that is best without batch norm, the network with it still leaves sooner.",
        ),
        "steps to leave",
        (SAME_RATE, PLAIN),
        -0.5,
        SADDLES,
    ),
    _claim(
        "small_gains_hold",
        (
            "The saddle near the origin is still there with batch norm: where its gains are small.",
            "原点附近的鞍点并未消失：在批归一化的增益很小的地方它仍然存在。",
            "With its gains scaled down like the weights, the network with batch norm needs more steps to leave.",
        ),
        "steps to leave",
        (SMALL_GAINS, BATCH),
        0.5,
        ORIGINS,
    ),
)

DESIGN = Design(
    name="what-batch-norm-does",
    title="What batch norm does",
    question="What does batch norm do: does it keep the layers' inputs stable, make training faster, smooth the loss, "
    "help to leave saddle points? And which of these is the reason for which?",
    question_zh="批归一化到底做了什么：稳定各层输入、加快训练、平滑损失、帮助离开鞍点？其中哪一个才是原因？",
    claims=CLAIMS,
    factors={
        "normalisation": "none; batch norm; batch norm whose output is scaled by one to two, moved by up to one and "
        "jittered anew at every step (the control of Santurkar et al.)",
        "learning rate": "each arm's own best; and batch norm at the plain network's",
        "amount and width": "shares of that noise; at full scale also narrower and wider perceptrons; the noise "
        "without batch norm in the perceptrons (an arm that was added after a first run)",
        "saddle": "doubled units; weights near the origin",
    },
    held_fixed=(
        "batches and their order",
        "initial matrices",
        "batch size",
        "plain SGD without decay",
        "share of the weights' length that a walk along the gradient covers",
    ),
    data="digits of 8×8 pixels and emoji of 12×12 pixels in colour",
    networks="ReLU perceptrons and convolutional networks of six layers from He's weights; for saddles tanh "
    "perceptrons of two and three layers, so that the loss has a Hessian everywhere",
    would_change=(
        "much deeper plain networks, which batch norm makes trainable at all; there its own gradients explode at the "
        "start (the page on five layers)",
        "tiny batches, whose statistics are noise (the page on where batch norm hurts)",
        "residual paths or careful initialisation, which let the plain network take larger steps",
        "an adaptive optimizer, which already divides the scale of the gradient out",
        "time instead of steps: a step with batch norm costs more",
        "a much lower target: rates are tuned for this one, and who is ahead at it need not be ahead further on",
    ),
    sources=(
        ("Ioffe & Szegedy 2015, Batch normalization", "https://arxiv.org/abs/1502.03167"),
        ("Santurkar et al. 2018, How does batch normalization help optimization?", "https://arxiv.org/abs/1805.11604"),
        ("Bjorck et al. 2018, Understanding batch normalization", "https://arxiv.org/abs/1806.02375"),
        (
            "Fukumizu & Amari 2000, Local minima and plateaus in hierarchical structures of multilayer perceptrons",
            "https://doi.org/10.1016/S0893-6080(00)00009-5",
        ),
        (
            "Cohen et al. 2021, Gradient descent on neural networks typically occurs at the edge of stability",
            "https://arxiv.org/abs/2103.00065",
        ),
    ),
)


def _three(name: str, arm: str, decimals: int) -> tuple[str, str, str]:
    """The placeholders of a number in the three contexts."""
    first, second, third = (f"{{{name}/{arm}/{context}:{decimals}}}" for context in CONTEXTS)
    return first, second, third


_FAST, _FAST_EQUAL = _three("times fewer steps", BATCH, 1), _three("times fewer steps", SAME_RATE, 1)
_FAST_NOISY, _DRIFT_NOISY = _three("times fewer steps", NOISY, 1), _three("drift over plain", NOISY, 1)
_BETA, _BETA_EQUAL = _three("beta over plain", BATCH, 2), _three("beta over plain", SAME_RATE, 2)
_SHAPE, _SHAPE_EQUAL = _three("shape drift over plain", BATCH, 2), _three("shape drift over plain", SAME_RATE, 2)
_ALONE = [f"{{reached/{NOISE_ALONE}/{context}:% 0}}" for context in CONTEXTS[:2]]
_LEFT = {
    (arm, level): f"{{plain steps to leave/{arm}/{level}:0}}"
    for arm in (BATCH, PLAIN)
    for level in (SADDLES[0], SADDLES[1])
}

ENGLISH = (
    f"Faster, yes: at its own best rate the network with batch norm reaches the same training loss in {_FAST[0]} "
    f"(perceptron, digits), {_FAST[1]} (perceptron, emoji) and {_FAST[2]} times (convolutions, digits) fewer steps. "
    f"At the rate that is best without batch norm the factors are {_FAST_EQUAL[0]}, {_FAST_EQUAL[1]} and "
    f"{_FAST_EQUAL[2]}; between the two lies what the rate is worth.\n\nThe loss is smoother on the way: along itself "
    f"the gradient changes at {_BETA[0]}, {_BETA[1]} and {_BETA[2]} times the plain network's pace; at equal rates, "
    f"at {_BETA_EQUAL[0]}, {_BETA_EQUAL[1]} and {_BETA_EQUAL[2]} times.\n\nSaddles: it depends on which. Near "
    "the origin batch norm divides the smallness of the weights out, so that for it there is no saddle "
    f"({_LEFT[BATCH, ORIGINS[0]]} steps instead of {_LEFT[PLAIN, ORIGINS[0]]}); beside doubled units it needs "
    f"{_LEFT[BATCH, SADDLES[0]]} steps and the plain network {_LEFT[PLAIN, SADDLES[0]]}.\n\nBatch norm keeps mean "
    "and spread of the layers' inputs steady: that is what it is made of. The shape of their distribution, which it "
    f"does not fix, changes in one step {_SHAPE[0]}, {_SHAPE[1]} and {_SHAPE[2]} times as much as without it (at equal "
    f"rates {_SHAPE_EQUAL[0]}, {_SHAPE_EQUAL[1]} and {_SHAPE_EQUAL[2]} times). Whether the speed comes from steady "
    "inputs, the noisy control answers differently for different networks: with noise that makes the inputs drift "
    f"{_DRIFT_NOISY[0]}, {_DRIFT_NOISY[1]} and {_DRIFT_NOISY[2]} times as far as without batch norm, training with it "
    f"is {_FAST_NOISY[0]}, {_FAST_NOISY[1]} and {_FAST_NOISY[2]} times as fast (above one: faster). Noise has a price "
    f"of its own, though: under the same noise without batch norm {_ALONE[0]} (digits) and {_ALONE[1]} (emoji) of the "
    "perceptrons get there in the steps they are given."
)
CHINESE = (
    f"确实更快：在各自最优的学习率下，按达到同一训练损失所需的步数计，带批归一化的网络的速度是普通网络的 {_FAST[0]} "
    f"倍（感知机，手写数字）、{_FAST[1]} 倍（感知机，表情符号）和 {_FAST[2]} 倍（卷积网络，手写数字）。若都用普通网络"
    f"的最优学习率，倍数为 {_FAST_EQUAL[0]}、{_FAST_EQUAL[1]} 和 {_FAST_EQUAL[2]}；两者之差就是学习率的作用。\n\n训练"
    f"途中损失也更平滑：梯度沿自身方向变化的快慢是普通网络的 {_BETA[0]}、{_BETA[1]} 和 {_BETA[2]} 倍；学习率相同时为 "
    f"{_BETA_EQUAL[0]}、{_BETA_EQUAL[1]} 和 {_BETA_EQUAL[2]} 倍。\n\n鞍点则要看是哪一种：在原点附近，批归一化把权重的"
    f"微小尺度除掉了，对它来说那里根本不是鞍点（离开需 {_LEFT[BATCH, ORIGINS[0]]} 步，普通网络需 "
    f"{_LEFT[PLAIN, ORIGINS[0]]} 步）；而在重复单元构成的鞍点旁，它需要 {_LEFT[BATCH, SADDLES[0]]} 步，普通网络需要 "
    f"{_LEFT[PLAIN, SADDLES[0]]} 步。\n\n批归一化使各层输入的均值和幅度保持稳定，这是它的定义。它不固定的是分布的形状："
    f"一步更新引起的形状变化是普通网络的 {_SHAPE[0]}、{_SHAPE[1]} 和 {_SHAPE[2]} 倍（学习率相同时为 {_SHAPE_EQUAL[0]}、"
    f"{_SHAPE_EQUAL[1]} 和 {_SHAPE_EQUAL[2]} 倍）。但速度是否由输入的稳定而来，加噪声的对照在不同网络上给出的答案并不一"
    f"致：噪声使输入的漂移达到普通网络的 {_DRIFT_NOISY[0]}、{_DRIFT_NOISY[1]} 和 {_DRIFT_NOISY[2]} 倍时，带批归一化的"
    f"训练速度是普通网络的 {_FAST_NOISY[0]}、{_FAST_NOISY[1]} 和 {_FAST_NOISY[2]} 倍（大于一即更快）。不过噪声本身就有"
    f"代价：同样的噪声下若没有批归一化，在给定步数内达到目标损失的感知机占 {_ALONE[0]}（手写数字）和 {_ALONE[1]}（"
    "表情符号）。"
)

ANSWERS = (
    Answer(
        ("supported", "supported", "depends"),
        ENGLISH,
        CHINESE,
        also={
            **{f"leaves_saddles/{level}": "supported" for level in ORIGINS},
            "steady_inputs": "supported",
            "noise_unsettles": "supported",
            "stability_is_why": "depends",
            "noise_costs": "supported",
        },
    ),
)
