"""Batch size: what is claimed, and the design that tests it."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiments.batch_size import FIXED, FULL_NEXT, OWN, SMALL_NEXT
from lucida.lab.experiments.batch_size_settings import EXAMPLES, STEPS, USUAL, WHOLE, batch_name

TASKS = ("digits, perceptron", "emoji, perceptron", "digits, convolutions")
DEEP = TASKS[:2]
APART, NOISE_SCALE, FACTOR_OF_EIGHT = "apart from the critical batch size", "noise scale", "a factor of eight"
FULL, THIRTY_TWO, TWO = batch_name(WHOLE), batch_name(USUAL), batch_name(2)


def _claim(
    name: str, texts: tuple[str, str, str], measure: tuple[str, str], arms: tuple[str, str], smallest: float,
    levels: tuple[str, ...] = TASKS, *, primary: bool = False,
) -> Claim:  # fmt: skip
    return Claim(name, *texts, *measure, *arms, smallest, "task", levels, primary, share=measure[1] == _ACCURACY)


_ACCURACY = "test accuracy"
_AT_EXAMPLES, _AT_STEPS = (f"test accuracy, {EXAMPLES}", _ACCURACY), (f"test accuracy, {STEPS}", _ACCURACY)
_SHARPNESS = "log2 of the largest Hessian eigenvalue"

CLAIMS = (
    _claim(
        "fixed_rate",
        ("After as many examples, at the same learning rate, a large batch tests worse.",
         "样本数相同、学习率不变时，大批量的测试准确率更低。",
         "All training examples in a step, at the rate tuned for 32: a lower test accuracy than 32 in a step."),
        _AT_EXAMPLES, (f"{FULL}, {FIXED}", f"{THIRTY_TWO}, {FIXED}"), -0.02, primary=True,
    ),
    _claim(
        "cannot_generalise",
        ("Large batches cannot generalise: even at their own best rate and after as many steps they test worse.",
         "大批量无法泛化：即使用它自己的最佳学习率、走同样多的步数，测试准确率仍然更低。",
         "All training examples in a step, own rate, as many steps: a lower test accuracy than 32 in a step."),
        _AT_STEPS, (f"{FULL}, {OWN}", f"{THIRTY_TWO}, {OWN}"), -0.01, primary=True,
    ),
    _claim(
        "noise_grows",
        ("The gradient noise scale grows as the loss falls.",
         "随着损失下降，梯度噪声尺度增大。",
         "At the end of a training with batches of 32 it is at least twice what it was before the first step."),
        ("log2 noise scale", "log2 of the gradient noise scale"), ("at the end", "before training"), 1.0, primary=True,
    ),
    _claim(
        "own_rate_helps",
        ("After as many examples, a large batch tests better at a rate of its own than at that of a smaller batch.",
         "样本数相同时，大批量用自己的学习率，测试准确率高于沿用较小批量的学习率。",
         "At equal examples, the full batch tests better at its own best rate than at the one tuned for 32."),
        _AT_EXAMPLES, (f"{FULL}, {OWN}", f"{FULL}, {FIXED}"), 0.02,
    ),
    _claim(
        "small_is_better",
        ("After as many examples, the smallest batch tests best.",
         "样本数相同时，批量越小，测试准确率越高。",
         "At equal examples and each at its own best rate, two in a step test better than 32."),
        _AT_EXAMPLES, (f"{TWO}, {OWN}", f"{THIRTY_TWO}, {OWN}"), 0.01,
    ),
    _claim(
        "small_fails_at_fixed_rate",
        ("A tiny batch fails at the learning rate of a larger one.",
         "极小的批量沿用较大批量的学习率就会失败。",
         "At equal examples and the rate tuned for 32, two in a step test worse than 32."),
        _AT_EXAMPLES, (f"{TWO}, {FIXED}", f"{THIRTY_TWO}, {FIXED}"), -0.02,
    ),
    _claim(
        "equal_loss",
        ("At equal training loss the large batch still tests worse.",
         "训练损失相同时，大批量的测试准确率仍然更低。",
         "When the training loss first comes down to the late target, or to the lowest loss that all batch sizes of "
         "the seed reach, the full batch tests worse than 32 in a step."),
        ("test accuracy at equal loss", _ACCURACY), (FULL, THIRTY_TWO), -0.01, DEEP,
    ),
    _claim(
        "sharper_after_equal_examples",
        ("Large batches end where the loss is sharper (after as many examples, at one rate).",
         "大批量停在损失更尖锐的地方（样本数相同、学习率不变）。",
         "The largest eigenvalue of the Hessian is at least twice that of 32 in a step."),
        (f"log2 sharpness, {EXAMPLES}", _SHARPNESS), (f"{FULL}, {FIXED}", f"{THIRTY_TWO}, {FIXED}"), 1.0, DEEP,
    ),
    _claim(
        "sharper_after_equal_steps",
        ("Large batches end where the loss is sharper (after as many steps, at one rate).",
         "大批量停在损失更尖锐的地方（步数相同、学习率不变）。",
         "The largest eigenvalue of the Hessian is at least twice that of 32 in a step."),
        (f"log2 sharpness, {STEPS}", _SHARPNESS), (f"{FULL}, {FIXED}", f"{THIRTY_TWO}, {FIXED}"), 1.0, DEEP,
    ),
    _claim(
        "sharper_at_own_rate",
        ("Large batches end where the loss is sharper (after as many steps, each at its own rate).",
         "大批量停在损失更尖锐的地方（步数相同、各用最佳学习率）。",
         "The largest eigenvalue of the Hessian is at least twice that of 32 in a step."),
        (f"log2 sharpness, {STEPS}", _SHARPNESS), (f"{FULL}, {OWN}", f"{THIRTY_TWO}, {OWN}"), 1.0, DEEP,
    ),
    _claim(
        "stuck",
        ("From where the full batch ended, going on with small batches tests better than going on with full ones.",
         "从全批量停下的地方继续训练，换成小批量的测试准确率高于继续用全批量。",
         "With 32 in a step the test accuracy ends higher than with the full batch for as many examples."),
        ("test accuracy after going on", _ACCURACY), (SMALL_NEXT, FULL_NEXT), 0.01, DEEP,
    ),
    _claim(
        "critical_batch_grows",
        ("The batch size up to which more examples save steps grows on the way to a lower loss.",
         "目标损失越低，能靠增大批量节省步数的范围就越大。",
         "For the late target the critical batch size is at least 1.4 times that for the early one."),
        ("log2 critical batch", "log2 of the critical batch size"), ("late", "early"), 0.5, DEEP,
    ),
    _claim(
        "noise_foretells",
        ("The gradient noise scale on the way to a loss tells the critical batch size to within a factor of four.",
         "训练途中的梯度噪声尺度能给出临界批量，误差在四倍以内。",
         "For the late target the two are, seed by seed and in either direction, at most two doublings apart in the "
         "mean, "
         "and surely less than three."),
        (APART, "log2 of the larger over the smaller of noise scale and critical batch size"),
        (NOISE_SCALE, FACTOR_OF_EIGHT), -1.0, DEEP,
    ),
)  # fmt: skip

DESIGN = Design(
    name="batch-size",
    title="Batches too small and too large",
    question="What do too small and too large a batch do?",
    question_zh="批量太小或太大，各会带来什么后果？",
    claims=CLAIMS,
    factors={
        "batch size": "2 to all training examples",
        "budget": "as many examples, or as many steps, as batch 32 gets",
        "learning rate": "the one tuned for batch 32; each batch size's own, for each budget",
        "start": "fresh weights; where the full batch ended",
    },
    held_fixed=(
        "networks, weights at the start and order of the examples of each seed",
        "a constant learning rate",
        "no weight decay, no augmentation, no normalisation layers",
        "rates tuned on the validation error",
    ),
    data="digits of 8×8 pixels and emoji of 12×12 pixels in colour",
    networks="perceptrons of two hidden layers under plain SGD; two convolutions under SGD with momentum",
    would_change=(
        "batch norm: its statistics are those of the batch, so that the batch size changes the network itself",
        "learning rates that warm up and decay, which let large batches take larger rates (Goyal et al. 2017)",
        "data sets of millions, where an epoch has steps enough even for large batches and none of this is overfitting",
        "an adaptive optimizer, whose best rate follows the batch size by another rule",
    ),
    sources=(
        ("Keskar et al. 2017, On large-batch training: generalization gap and sharp minima",
         "https://arxiv.org/abs/1609.04836"),
        ("Dinh et al. 2017, Sharp minima can generalize for deep nets", "https://arxiv.org/abs/1703.04933"),
        ("Hoffer et al. 2017, Train longer, generalize better", "https://arxiv.org/abs/1705.08741"),
        ("Goyal et al. 2017, Accurate, large minibatch SGD: training ImageNet in 1 hour",
         "https://arxiv.org/abs/1706.02677"),
        ("McCandlish et al. 2018, An empirical model of large-batch training", "https://arxiv.org/abs/1812.06162"),
        ("Shallue et al. 2019, Measuring the effects of data parallelism on neural network training",
         "https://arxiv.org/abs/1811.03600"),
        ("Cohen et al. 2021, Gradient descent on neural networks typically occurs at the edge of stability",
         "https://arxiv.org/abs/2103.00065"),
        ("Goodfellow et al. 2015, Qualitatively characterizing neural network optimization problems",
         "https://arxiv.org/abs/1412.6544"),
    ),
)  # fmt: skip
