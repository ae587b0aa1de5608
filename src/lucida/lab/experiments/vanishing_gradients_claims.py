"""What the page on vanishing gradients declares before it measures."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiments.vanishing_gradients import (
    DATA,
    FADING,
    KEEPING,
    NORMALISED,
    RELU,
    RELU_SMALL,
    RELU_SMALL_LAYER,
    SIGMOID,
    SIGMOID_LAYER,
    SIGMOID_RESIDUAL,
    TANH_LAYER,
    time_arm,
)

_LEVELS = tuple(f"{norm}, {data}" for data in DATA for norm in NORMALISED)
_TIME = "through time"
_UNITS = {
    "first gradient": "decades of the norm of the first layer's gradient",
    "decades": "decades of the first layer's gradient over the last one's",
    "accuracy": "accuracy on training examples",
    "accuracy with a norm": "accuracy on training examples",
    f"decades {_TIME}": "decades of the first step's gradient over the last one's",
    f"accuracy {_TIME}": "test accuracy",
}


def _claim(
    name: str, texts: tuple[str, str, str], measure: str, arms: tuple[str, str], smallest: float,
    *, moderator: str = "data", levels: tuple[str, ...] = DATA, primary: bool = False,
) -> Claim:  # fmt: skip
    return Claim(
        name, *texts, measure, _UNITS[measure], *arms, smallest, moderator, levels, primary=primary,
        share=measure.startswith("accuracy"),
    )  # fmt: skip


def _through_time(name: str, texts: tuple[str, str, str], measure: str, smallest: float) -> Claim:
    arms = time_arm(FADING), time_arm(KEEPING)
    return _claim(name, texts, f"{measure} {_TIME}", arms, smallest, moderator="", levels=())


CLAIMS = (
    _claim(
        "sigmoids_vanish",
        ("In a deep stack of sigmoids the first layer's gradient is far smaller than in one of ReLU and He's weights.",
         "网络很深时，用 sigmoid 时第一层的梯度远小于用 ReLU 配合 He 初始化时的梯度。",
         "Before training, the norm of the first layer's gradient is smaller than with ReLU and He's weights."),
        "first gradient", (SIGMOID.arm, RELU.arm), -2.0, primary=True,
    ),
    _claim(
        "relu_and_he_cure",
        ("ReLU with He's initialisation trains better at such depth than sigmoids do.",
         "在这个深度，ReLU 配合 He 初始化训练得比 sigmoid 更好。",
         "At its best rate it reaches a higher training accuracy than sigmoids do at theirs."),
        "accuracy", (RELU.arm, SIGMOID.arm), 0.15, primary=True,
    ),
    _claim(
        "normalisation_cures",
        ("Sigmoids train better at such depth with normalisation before each.",
         "在这个深度，每个 sigmoid 之前加归一化，训练得更好。",
         "At its best rate, the normalised stack of sigmoids reaches a higher training accuracy than the plain one."),
        "accuracy with a norm", ("normalised", "not normalised"), 0.15,
        moderator="normalisation and data", levels=_LEVELS, primary=True,
    ),
    _claim(
        "residual_cures",
        ("Sigmoids train better at such depth with a residual path.",
         "在这个深度，sigmoid 加上残差连接训练得更好。",
         "With the input of each layer added to its output, sigmoids reach a higher training accuracy."),
        "accuracy", (SIGMOID_RESIDUAL.arm, SIGMOID.arm), 0.15,
    ),
    _claim(
        "relu_alone_cures",
        ("ReLU trains better than sigmoids even from weights that are too small.",
         "即使初始权重过小，ReLU 也比 sigmoid 训练得更好。",
         "With weights of standard deviation 0.01, ReLU still reaches a higher training accuracy than sigmoids."),
        "accuracy", (RELU_SMALL.arm, SIGMOID.arm), 0.15,
    ),
    _claim(
        "layer_norm_cures_scale",
        ("From weights that are too small, ReLU trains better with layer norm.",
         "初始权重过小时，ReLU 加上层归一化训练得更好。",
         "ReLU with weights of standard deviation 0.01 reaches a higher training accuracy with layer norm."),
        "accuracy", (RELU_SMALL_LAYER.arm, RELU_SMALL.arm), 0.15,
    ),
    _claim(
        "the_mean_is_to_blame",
        ("With layer norm, tanh, the sigmoid's own curve about zero, vanishes less than the sigmoid does.",
         "加了层归一化之后，与 sigmoid 同形、以零为中心的 tanh 梯度消失得比 sigmoid 少。",
         "Before training, with layer norm, tanh's first gradient is more decades above the last one's."),
        "decades", (TANH_LAYER.arm, SIGMOID_LAYER.arm), 2.0,
    ),
    _through_time(
        "time_fades",
        ("In a recurrent network the gradient vanishes through time when its matrix shrinks the state.",
         "循环网络的矩阵若使状态收缩，梯度就会随时间消失。",
         "Before training, the first step's gradient is more decades below the last one's than where the matrix keeps "
         "lengths."),
        "decades", -2.0,
    ),
    _through_time(
        "forgetting_costs",
        ("Such a network learns less of a long sequence than one whose matrix keeps lengths.",
         "与矩阵保持长度的网络相比，这样的网络从长序列中学到的更少。",
         "Each at its own best rate, test accuracy is lower."),
        "accuracy", -0.1,
    ),
)  # fmt: skip

DESIGN = Design(
    name="vanishing-gradients",
    title="Vanishing gradients",
    question="Why do gradients vanish in deep networks, and what cures it?",
    question_zh="深层网络的梯度为什么会消失？怎样解决？",
    claims=CLAIMS,
    factors={
        "depth": "5 to 20 hidden layers, at full scale to 40; 20 for the claims",
        "activation": "sigmoid, tanh, ReLU; at full scale also leaky ReLU, PReLU, GELU",
        "initialisation": "standard deviation 0.01, Xavier, He",
        "residual path": "without, with",
        "normalisation": "none, batch norm, layer norm",
        "recurrent matrix": "orthogonal, times 0.5 to 1.5",
    },
    held_fixed=("width", "examples seen", "batch size", "plain SGD", "the head", "each arm at its own best rate"),
    data="digits of 8×8 pixels, emoji of 12×12 pixels in colour, digits read pixel by pixel",
    networks="perceptrons, a recurrent network over 64 steps",
    would_change=(
        "much longer training: plateaus of sigmoid stacks do end, after a number of steps that grows with depth",
        "an adaptive optimizer, which divides the size of a vanished gradient out; it cannot bring back what the "
        "layers above no longer see of the picture",
        "recurrent networks with gates, whose state has a path of its own",
    ),
    sources=(
        ("Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
         "https://proceedings.mlr.press/v9/glorot10a.html"),
        ("He et al. 2015, Delving deep into rectifiers", "https://arxiv.org/abs/1502.01852"),
        ("He et al. 2016, Deep residual learning", "https://arxiv.org/abs/1512.03385"),
        ("Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos",
         "https://arxiv.org/abs/1606.05340"),
        ("Schoenholz et al. 2017, Deep information propagation", "https://arxiv.org/abs/1611.01232"),
        ("Yang et al. 2019, A mean field theory of batch normalization", "https://arxiv.org/abs/1902.08129"),
        ("Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
         "https://arxiv.org/abs/1211.5063"),
    ),
)  # fmt: skip
