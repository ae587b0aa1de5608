"""What the page of :mod:`~lucida.lab.experiments.what_batch_norm_does` declares before it measures."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
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
from lucida.lab.short_answers import Answer

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
            "Batch norm makes training faster, counted in steps.",
            "批归一化让训练更快（按步数计）。",
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
            "Batch norm smooths the loss along the gradient.",
            "批归一化使损失沿梯度方向更平滑。",
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
            "From where a network without batch norm is at a saddle, batch norm gets away in fewer steps.",
            "从普通网络的鞍点出发，带批归一化的网络用更少的步数离开。",
            "Each at its own best rate, the network with batch norm leaves sooner: started beside doubled units, a "
            "saddle of either network, and near the origin, a saddle of the plain one only.",
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
            "The loss is smoother at the same learning rate too.",
            "在相同的学习率下损失也更平滑。",
            "At the rate that is best without batch norm, the gradient with it still changes more slowly.",
        ),
        "beta",
        (SAME_RATE, PLAIN),
        -0.5,
    ),
    _claim(
        "gradient_holds",
        (
            "With batch norm the gradient holds farther along its own direction.",
            "有了批归一化，沿梯度方向走开时，梯度自身保持得更久。",
            "Over a walk of one percent of the weights' length, it changes by a smaller share of itself.",
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
            "Batch norm shields the last hidden layer from what the layers before it learn.",
            "批归一化使最后一个隐藏层免受前面各层更新的影响。",
            "After a step of the earlier layers alone, the last hidden layer's gradient differs less from what it was.",
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
        "slower_with_noise",
        (
            "With noise that makes its inputs drift more than without normalisation, batch norm is slower than no "
            "normalisation.",
            "加上噪声、使输入的漂移大于不做归一化时，批归一化比不做归一化更慢。",
            "Each at its own best rate, the noisy network needs more steps than the plain one. That is what must be "
            "seen if steady inputs are why batch norm is fast; it can be seen for other reasons too, since noise may "
            "cost steps by itself.",
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
            "That noise costs speed without batch norm too.",
            "没有批归一化时，这种噪声也会减慢训练。",
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
            "From the saddles of the plain network it gets away in fewer steps at the same learning rate too.",
            "在相同的学习率下，带批归一化的网络离开普通网络的鞍点所用的步数也更少。",
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
            "Near the origin, small gains slow batch norm's leaving.",
            "在原点附近，批归一化的增益很小时，离开得更慢。",
            "With its gains scaled down like the weights, the network with batch norm needs more steps to leave than "
            "with gains of one.",
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


_STEPS = {arm: _three("plain steps", arm, 0) for arm in (PLAIN, BATCH, SAME_RATE, NOISY)}
_DRIFT_NOISY = _three("drift over plain", NOISY, 1)
_BETA, _BETA_EQUAL = _three("beta over plain", BATCH, 2), _three("beta over plain", SAME_RATE, 2)
_SHAPE, _SHAPE_EQUAL = _three("shape drift over plain", BATCH, 2), _three("shape drift over plain", SAME_RATE, 2)
_ALONE = [f"{{reached/{NOISE_ALONE}/{context}:% 0}}" for context in CONTEXTS[:2]]
_LEFT = {
    (arm, level): f"{{plain steps to leave/{arm}/{level}:0}}"
    for arm in (BATCH, PLAIN)
    for level in (SADDLES[0], SADDLES[1])
}
_GRADIENT = {arm: f"{{gradient at the saddle/{arm}/{ORIGINS[0]}:3}}" for arm in (BATCH, PLAIN)}

ENGLISH = (
    "Faster, yes: at its own best rate the network with batch norm reaches the same training loss in "
    f"{_STEPS[BATCH][0]} steps instead of {_STEPS[PLAIN][0]} (perceptron, digits), {_STEPS[BATCH][1]} instead of "
    f"{_STEPS[PLAIN][1]} (perceptron, emoji) and {_STEPS[BATCH][2]} instead of {_STEPS[PLAIN][2]} (convolutions, "
    f"digits). At the rate that is best without batch norm it takes {_STEPS[SAME_RATE][0]}, {_STEPS[SAME_RATE][1]} and "
    f"{_STEPS[SAME_RATE][2]}; between its two rates lies what the rate is worth.\n\nThe loss is smoother on the way: "
    f"along itself the gradient changes at {_BETA[0]}, {_BETA[1]} and {_BETA[2]} times the plain network's pace; at "
    f"equal rates, at {_BETA_EQUAL[0]}, {_BETA_EQUAL[1]} and {_BETA_EQUAL[2]} times.\n\nSaddles: it depends on which. "
    f"Near the origin the plain network's gradient is {_GRADIENT[PLAIN]} of an ordinary start's. Batch norm divides "
    f"the smallness of the weights out, and with it the gradient is {_GRADIENT[BATCH]} of an ordinary start's: it "
    f"leaves in {_LEFT[BATCH, ORIGINS[0]]} steps instead of {_LEFT[PLAIN, ORIGINS[0]]}, but from a place that is no "
    f"saddle of its own. Beside doubled units, a saddle of both, it needs {_LEFT[BATCH, SADDLES[0]]} steps and the "
    f"plain network {_LEFT[PLAIN, SADDLES[0]]}.\n\nBatch norm keeps mean "
    "and spread of the layers' inputs steady: that is what it is made of. The shape of their distribution, which it "
    f"does not fix, changes in one step {_SHAPE[0]}, {_SHAPE[1]} and {_SHAPE[2]} times as much as without it (at equal "
    f"rates {_SHAPE_EQUAL[0]}, {_SHAPE_EQUAL[1]} and {_SHAPE_EQUAL[2]} times). Whether the speed comes from steady "
    "inputs is asked of a noisy control. With noise that makes the inputs drift "
    f"{_DRIFT_NOISY[0]}, {_DRIFT_NOISY[1]} and {_DRIFT_NOISY[2]} times as far as without batch norm, training with it "
    f"takes {_STEPS[NOISY][0]}, {_STEPS[NOISY][1]} and {_STEPS[NOISY][2]} steps. Where that is fewer than without "
    "batch norm, its inputs need not be steady for it to be faster. Where it is more, nothing follows, because noise "
    f"has a price of its own: under the same noise without batch norm {_ALONE[0]} (digits) and {_ALONE[1]} (emoji) of "
    "the perceptrons get there in the steps they are given."
)
CHINESE = (
    f"确实更快：在各自最优的学习率下，带批归一化的网络达到同一训练损失需要 {_STEPS[BATCH][0]} 步，普通网络需要 "
    f"{_STEPS[PLAIN][0]} 步（感知机，手写数字）；另外两组分别是 {_STEPS[BATCH][1]} 步和 {_STEPS[PLAIN][1]} 步（感知机，"
    f"表情符号）、{_STEPS[BATCH][2]} 步和 {_STEPS[PLAIN][2]} 步（卷积网络，手写数字）。若改用普通网络的最优学习率，带批"
    f"归一化的网络需要 {_STEPS[SAME_RATE][0]}、{_STEPS[SAME_RATE][1]} 和 {_STEPS[SAME_RATE][2]} 步；它在两种学习率下的"
    "差别就是学习率的作用。\n\n训练"
    f"途中损失也更平滑：梯度沿自身方向变化的快慢是普通网络的 {_BETA[0]}、{_BETA[1]} 和 {_BETA[2]} 倍；学习率相同时为 "
    f"{_BETA_EQUAL[0]}、{_BETA_EQUAL[1]} 和 {_BETA_EQUAL[2]} 倍。\n\n鞍点则要看是哪一种：在原点附近，普通网络的梯度是正"
    f"常起点处的 {_GRADIENT[PLAIN]} 倍；批归一化把权重的微小尺度除掉了，梯度是正常起点处的 {_GRADIENT[BATCH]} 倍。它离"
    f"开需 {_LEFT[BATCH, ORIGINS[0]]} 步，普通网络需 {_LEFT[PLAIN, ORIGINS[0]]} 步，但那里本来就不是它的鞍点。重复单元"
    f"构成的鞍点对两者都是鞍点，在那里它需要 {_LEFT[BATCH, SADDLES[0]]} 步，普通网络需要 {_LEFT[PLAIN, SADDLES[0]]} "
    "步。\n\n批归一化使各层输入的均值和幅度保持稳定，这是它的定义。它不固定的是分布的形状："
    f"一步更新引起的形状变化是普通网络的 {_SHAPE[0]}、{_SHAPE[1]} 和 {_SHAPE[2]} 倍（学习率相同时为 {_SHAPE_EQUAL[0]}、"
    f"{_SHAPE_EQUAL[1]} 和 {_SHAPE_EQUAL[2]} 倍）。速度是否由输入的稳定而来，要问加噪声的对照：噪声使输入的漂移达到普通"
    f"网络的 {_DRIFT_NOISY[0]}、{_DRIFT_NOISY[1]} 和 {_DRIFT_NOISY[2]} 倍时，带批归一化的网络需要 {_STEPS[NOISY][0]}、"
    f"{_STEPS[NOISY][1]} 和 {_STEPS[NOISY][2]} 步。比普通网络少的地方，说明它不必靠稳定的输入也能更快；比普通网络多的地"
    "方，则什么也推不出来，因为噪声本身就有代价：同样的噪声下若没有批归一化，在给定步数内达到目标损失的感知机占 "
    f"{_ALONE[0]}（手写数字）和 {_ALONE[1]}（表情符号）。"
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
            "noise_costs": "supported",
        },
    ),
)
