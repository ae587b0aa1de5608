"""The page of :mod:`~lucida.lab.experiments.lora_parameters`: what it declares, and the short answers."""

from __future__ import annotations

from itertools import product

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.lora_parameters import (
    ACCURACY,
    COPIED,
    LEVELS,
    PLAIN,
    RANKS,
    STABLE,
    Settings,
    measure,
    rank,
)
from lucida.lab.experiments.lora_parameters_sections import present
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word
from lucida.report.sourced import quoted

MATTERS = 0.01  # of accuracy
LOW, HIGH, MIDDLE = rank(4), rank(64), rank(16)


def _claim(
    name: str, texts: tuple[str, str, str], arms: tuple[str, str], smallest: float, *, primary: bool = False
) -> Claim:
    return Claim(name, *texts, ACCURACY, ACCURACY, *arms, smallest, "examples", LEVELS, primary=primary, share=True)


CLAIMS = (
    _claim(
        "higher_rank_is_better",
        (
            "A higher rank is better: 64 against 4.",
            "秩越高越好：64 对 4。",
            "Each at its own best rate, more lying digits of the test part are named right.",
        ),
        (HIGH, LOW),
        MATTERS,
        primary=True,
    ),
    _claim(
        "alpha_is_more_than_a_rate",
        (
            "A larger alpha is better even at its own best learning rate: alpha = 8 r against alpha = r/2.",
            "即使各取最佳学习率，alpha 也是越大越好：alpha = 8 r 对 alpha = r/2。",
            "More digits are named right; if alpha only scaled the learning rate, tuning would make up for it.",
        ),
        ("alpha = 8 r", "alpha = r/2"),
        MATTERS,
        primary=True,
    ),
    _claim(
        "dropout_helps",
        (
            "Dropout of a tenth in the adapters helps.",
            "适配器中用 0.1 的 dropout 有帮助。",
            "At its own best rate more digits are named right than without dropout, where examples are few above all.",
        ),
        ("dropout 0.1", "no dropout"),
        MATTERS,
        primary=True,
    ),
    _claim(
        "rank_one_loses",
        (
            "Rank 1 is not enough: it loses against rank 16.",
            "秩 1 不够：不如秩 16。",
            "Each at its own best rate, fewer digits are named right.",
        ),
        (rank(1), MIDDLE),
        -MATTERS,
    ),
    _claim(
        "strong_dropout_hurts",
        (
            "Dropout of three tenths in the adapters hurts.",
            "适配器中用 0.3 的 dropout 有害。",
            "At its own best rate fewer digits are named right than without dropout.",
        ),
        ("dropout 0.3", "no dropout"),
        -MATTERS,
    ),
    Claim(
        "stable_scale_helps_when_copied",
        "With the rate of rank 4 copied, alpha / √r is better than alpha / r.",
        "沿用秩 4 的学习率时，alpha / √r 好于 alpha / r。",
        "Each scaling with the rate that is best for it at rank 4, more digits are named right at other ranks.",
        COPIED,
        COPIED,
        STABLE,
        PLAIN,
        MATTERS,
        "rank",
        tuple(rank(r) for r in RANKS),
        primary=False,
        share=True,
    ),
)

DESIGN = Design(
    name="lora-parameters",
    title="LoRA's parameters: rank, alpha, dropout",
    question="Which of LoRA's settings matter once each has its own best learning rate, and which only seem to?",
    question_zh="当每种设置都取自己的最佳学习率时，LoRA 的哪些参数真的重要，哪些只是看起来重要？",
    claims=CLAIMS,
    factors={
        "rank": "1, 4, 16, 64 at alpha = 2 r",
        "alpha": "r/2, 2 r, 8 r at rank 16",
        "dropout": "0, 0.1, 0.3 at rank 16 and alpha = 2 r",
        "scaling": "alpha / r and alpha / √r with alpha = 8, ranks 1 to 64 at the rate that is best for rank 4",
        "examples": "few or many, with equal steps",
        "learning rate": "each setting's own at each number of examples",
    },
    held_fixed=(
        "steps and batch size; Adam, no schedule, no clipping; adapters on every layer but the head, from B = 0",
        "the network before, its digits, the order of batches and the random part of the start, by seed",
        "best rates are those of the highest validation accuracy over four tuning seeds, which no result uses; the "
        "grid is extended where the best lies at an end",
    ),
    data="handwritten digits of 8×8 pixels: upright ones for the network before, the same lying on their side for the "
    "adapters; a seed draws the split, weights and order",
    networks="a perceptron of three hidden layers of 128 units with ReLU, trained on upright digits, then frozen",
    seeds={"quick": 6, "full": 16},
    would_change=(
        "a task that needs less: turning permutes all 64 pixels, a change of full rank in the first layer; a change of "
        "low rank is learned by adapters of low rank",
        "layers as wide as a large language model's: a random start of A then spans a smaller part of the inputs",
        "no tuning of the rate: then alpha is a learning rate, and which alpha wins says where the copied rate was",
        "training for many epochs on few examples with a larger network: more to overfit with",
    ),
    sources=(
        ("Hu et al. 2021, LoRA", "https://arxiv.org/abs/2106.09685"),
        ("Kalajdzievski 2023, A rank stabilization scaling factor for LoRA", "https://arxiv.org/abs/2312.03732"),
        ("Biderman et al. 2024, LoRA learns less and forgets less", "https://arxiv.org/abs/2405.09673"),
        ("Lin et al. 2024, LoRA dropout as a sparsity regularizer", "https://arxiv.org/abs/2404.09610"),
    ),
)


def _both(claim: str) -> str:
    """A claim's effect with few and with many examples."""
    return "; ".join(f"{{claim/{claim}/effect/{level}:points ci}} ({level})" for level in LEVELS)


_RANK: dict[Word, str] = {
    "supported": "A higher rank is better, 64 against 4",
    "refuted": "A higher rank is not better by what matters, 64 against 4",
    "depends": "Whether a higher rank is better depends on the number of examples, 64 against 4",
    "inconclusive": "Whether a higher rank is better could not be told, 64 against 4",
}
_RANK_ZH: dict[Word, str] = {
    "supported": "秩越高越好（64 对 4）",
    "refuted": "更高的秩并没有好到值得在意的程度（64 对 4）",
    "depends": "更高的秩是否更好取决于样本数（64 对 4）",
    "inconclusive": "更高的秩是否更好还不能断定（64 对 4）",
}
_ALPHA: dict[Word, str] = {
    "supported": "A larger alpha is better even at its own best rate",
    "refuted": "Alpha is a learning rate by another name: sixteen times as much is not better at its own best rate",
    "depends": "Whether alpha is more than a learning rate depends on the number of examples",
    "inconclusive": "Whether alpha is more than a learning rate could not be told",
}
_ALPHA_ZH: dict[Word, str] = {
    "supported": "即使各取最佳学习率，更大的 alpha 也更好",
    "refuted": "alpha 只是学习率的另一个名字：放大十六倍，在各自最佳学习率下并不更好",
    "depends": "alpha 是否不止是学习率，取决于样本数",
    "inconclusive": "alpha 是否不止是学习率，还不能断定",
}
_DROP: dict[Word, str] = {
    "supported": "Dropout in the adapters helps",
    "refuted": "Dropout in the adapters does not help by what matters",
    "depends": "Whether dropout in the adapters helps depends on the number of examples",
    "inconclusive": "Whether dropout in the adapters helps could not be told",
}
_DROP_ZH: dict[Word, str] = {
    "supported": "适配器中的 dropout 有帮助",
    "refuted": "适配器中的 dropout 没有值得在意的帮助",
    "depends": "适配器中的 dropout 是否有帮助取决于样本数",
    "inconclusive": "适配器中的 dropout 是否有帮助还不能断定",
}
_NAMES = "higher_rank_is_better", "alpha_is_more_than_a_rate", "dropout_helps"
SHORT_ANSWERS = tuple(
    Answer(
        words,
        " ".join(
            f"{quoted(texts[word])}: {_both(name)}."
            for texts, word, name in zip((_RANK, _ALPHA, _DROP), words, _NAMES, strict=True)
        ),
        "".join(
            f"{quoted(texts[word])}：{_both(name)}。"
            for texts, word, name in zip((_RANK_ZH, _ALPHA_ZH, _DROP_ZH), words, _NAMES, strict=True)
        ),
    )
    for words in product(_RANK, _ALPHA, _DROP)
)

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(128, 100, 60, (2.0**-9, 2.0**-7, 2.0**-5)),
    "full": Settings(128, 100, 300, (2.0**-11, 2.0**-10, 2.0**-9, 2.0**-8, 2.0**-7, 2.0**-6, 2.0**-5)),
}

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/lora_parameters.py",
    helpers=("lab/low_rank.py", "lab/turned_digits.py", "models/adapters.py"),
)
