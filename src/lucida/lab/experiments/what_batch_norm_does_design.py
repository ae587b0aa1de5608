"""What the page of :mod:`~lucida.lab.experiments.what_batch_norm_does` declares before it measures."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiments.what_batch_norm_does import (
    BATCH,
    CONTEXTS,
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
            "Batch norm keeps the layers' inputs steady.",
            "批归一化使各层的输入保持稳定。",
            "Each at its own best rate, one step moves the inputs of the activations less, in units of their spread.",
        ),
        "drift",
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
        "amount and width": "shares of that noise; at full scale also narrower and wider perceptrons",
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
