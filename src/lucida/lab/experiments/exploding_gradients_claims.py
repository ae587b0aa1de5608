"""What the page on exploding gradients declares before it measures."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiments.exploding_gradients import (
    ADAM,
    BATCH,
    CLIPPED,
    LARGE,
    LAYER,
    NOTHING,
    PERCEPTRONS,
    RECURRENT,
    TIMES,
    Remedy,
)

_STRONG, _MILD = TIMES
_LEVELS = (*PERCEPTRONS, _STRONG)
_GAINS = ("gain 1", f"gain {LARGE:g}")


def _accuracy(
    name: str, texts: tuple[str, str, str], treatment: Remedy, control: Remedy, levels: tuple[str, ...],
    *, primary: bool = False,
) -> Claim:  # fmt: skip
    return Claim(
        name, *texts, "worth", "test accuracy, at least that of guessing", treatment.name, control.name, 0.05,
        "network", levels, primary=primary, share=True,
    )  # fmt: skip


def _first_gradient(name: str, texts: tuple[str, str, str], treatment: Remedy) -> Claim:
    return Claim(
        name, *texts, "first gradient", "decades of the gradient's norm at the first step", treatment.name,
        NOTHING.name, -1.0, "network", PERCEPTRONS, primary=False,
    )  # fmt: skip


def _decades(
    name: str, texts: tuple[str, str, str], by: str, unit: str, arms: tuple[str, str], moderator: str,
    levels: tuple[str, ...],
) -> Claim:  # fmt: skip
    return Claim(name, *texts, f"decades by {by}", unit, *arms, 1.0, moderator, levels)


def _runs(name: str, texts: tuple[str, str, str], measure: str, unit: str) -> Claim:
    return Claim(
        name, *texts, measure, unit, CLIPPED.name, NOTHING.name, 0.1, "network", PERCEPTRONS, primary=False, share=True
    )


CLAIMS = (
    _decades(
        "relu_explodes",
        ("With equal weights, ReLU, which does not saturate, explodes more than tanh, which does.",
         "权重相同时，不饱和的 ReLU 比会饱和的 tanh 爆炸得更厉害。",
         "With equal weights, ReLU's first gradient is more decades above the last one's than tanh's."),
        "activation", "decades of the first layer's gradient over the last one's", ("relu", "tanh"),
        "gain of the weights", _GAINS,
    ),
    _decades(
        "large_gain_explodes",
        ("With a large gain of the weights even tanh, which saturates, explodes more than with a gain of one.",
         "权重的增益一大，连会饱和的 tanh 也比增益为一时爆炸得更厉害。",
         "With a large gain, four times He's or a recurrent matrix that doubles, tanh's first gradient is more decades "
         "above the last one's than with a gain of one."),
        "gain", "decades of the first gradient over the last (layer or step)", _GAINS[::-1],
        "network", (*PERCEPTRONS, RECURRENT),
    ),
    _accuracy(
        "clipping_cures",
        ("Where gradients explode, clipping their norm makes the network learn more.",
         "梯度爆炸时，裁剪梯度的范数能让网络学到更多。",
         "Each at its own best rate, test accuracy is higher with the gradient's norm clipped than without."),
        CLIPPED, NOTHING, (*_LEVELS, _MILD), primary=True,
    ),
    _accuracy(
        "prevention_is_better",
        ("Where gradients explode, layer norm is better than clipping them.",
         "梯度爆炸时，用层归一化比裁剪梯度更好。",
         "Each at its own best rate, test accuracy is higher with layer norm than with the gradient's norm clipped."),
        LAYER, CLIPPED, _LEVELS,
    ),
    _accuracy(
        "adam_cures",
        ("Where gradients explode, Adam makes the network learn more than plain SGD.",
         "梯度爆炸时，Adam 能让网络比用普通 SGD 学到更多。",
         "Each at its own best rate, test accuracy is higher with Adam than with plain SGD."),
        ADAM, NOTHING, _LEVELS,
    ),
    _runs(
        "clipping_survives",
        ("With clipping training survives larger rates.",
         "有了梯度裁剪，训练能承受更大的学习率。",
         "Over the same wide range of rates, a larger share of runs stays finite and ends below its first loss."),
        "stable", "share of stable runs",
    ),
    _runs(
        "clipping_widens",
        ("Clipping widens the range of rates at which the network learns.",
         "梯度裁剪扩大了可用学习率的范围。",
         "Over the same wide range of rates, a larger share of runs learns."),
        "learned", "share of runs that learn",
    ),
    _first_gradient(
        "batch_norm_prevents",
        ("With batch norm the first gradient is far smaller.", "有了批归一化，第一步的梯度小得多。",
         "The first gradient is smaller by a decade or more."),
        BATCH,
    ),
    _first_gradient(
        "layer_norm_prevents",
        ("With layer norm the first gradient is far smaller.", "有了层归一化，第一步的梯度小得多。",
         "The first gradient is smaller by a decade or more."),
        LAYER,
    ),
)  # fmt: skip

DESIGN = Design(
    name="exploding-gradients",
    title="Exploding gradients",
    question="Why do gradients explode, and what prevents it, or only survives it?",
    question_zh="梯度为什么会爆炸？哪些方法能防止爆炸，哪些只是让训练撑过去？",
    claims=CLAIMS,
    factors={
        "activation": "ReLU, tanh, GELU, sigmoid",
        "gain": "standard deviation of the weights over He's; of the recurrent matrix over an orthogonal one",
        "remedy": "weights of gain one; batch norm, layer norm; the gradient's norm clipped to one, its values to a "
        "tenth; L1 and L2 penalties; Adam, RMSprop",
    },
    held_fixed=(
        "width and depth",
        "examples seen",
        "batch size",
        "plain SGD but for Adam and RMSprop",
        "the range of rates",
        "each arm at its own best rate",
    ),
    data="digits of 8×8 pixels, emoji of 12×12 pixels in colour, digits read pixel by pixel",
    networks="perceptrons of ten hidden layers, a recurrent network over 64 steps",
    would_change=(
        "explosions which come in the middle of training, at cliffs of the loss, and pass: there clipping bridges a "
        "few bad steps, while here every step begins with weights that are too large",
        "much longer training: a penalty needs time to shrink the weights, and Adam to leave where it began",
        "a residual path, which gives the gradient a way round the weights",
        "recurrent networks with gates, whose gain is learned",
    ),
    sources=(
        ("Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
         "https://arxiv.org/abs/1211.5063"),
        ("Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos",
         "https://arxiv.org/abs/1606.05340"),
        ("Schoenholz et al. 2017, Deep information propagation", "https://arxiv.org/abs/1611.01232"),
        ("He et al. 2015, Delving deep into rectifiers", "https://arxiv.org/abs/1502.01852"),
        ("Zhang et al. 2020, Why gradient clipping accelerates training", "https://arxiv.org/abs/1905.11881"),
    ),
)  # fmt: skip
