"""The page of :mod:`~lucida.lab.experiments.long_tail`: what it declares, and the short answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.long_tail import (
    ADJUSTED,
    ADJUSTED_LATER,
    CLAIMED_TAILS,
    COSINES,
    DIGITS,
    FOCAL,
    LDAM,
    LDAM_DRW,
    OVER,
    PLAIN,
    RETRAINED,
    SAME_RATE,
    UNDER,
    WEIGHTED,
    Settings,
    measure,
)
from lucida.lab.experiments.long_tail_sections import present
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word

MATTERS, CLEARLY = 0.02, 0.04  # of balanced accuracy
LEVELS = tuple(map(str, CLAIMED_TAILS))
_OF_DIGITS = tuple(level for level in LEVELS if level.startswith(DIGITS))
BALANCED = "balanced accuracy"


def _claim(
    name: str,
    texts: tuple[str, str, str],
    arms: tuple[str, str],
    smallest: float,
    measure: str = BALANCED,
    *,
    levels: tuple[str, ...] = LEVELS,
    primary: bool = False,
) -> Claim:
    return Claim(name, *texts, measure, measure, *arms, smallest, "tail", levels, primary=primary, share=True)


CLAIMS = (
    _claim(
        "weights_help",
        (
            "Weighting the loss by inverse class frequency helps a long tail.",
            "按类别频率的倒数给损失加权，对长尾有帮助。",
            "At its own best rate, weighted cross-entropy has a higher balanced accuracy than plain cross-entropy.",
        ),
        (WEIGHTED, PLAIN),
        MATTERS,
        primary=True,
    ),
    _claim(
        "focal_helps",
        (
            "Focal loss helps a long tail.",
            "焦点损失（focal loss）对长尾有帮助。",
            "At its own best rate, focal loss has a higher balanced accuracy than cross-entropy.",
        ),
        (FOCAL, PLAIN),
        MATTERS,
        primary=True,
    ),
    _claim(
        "adjustment_helps",
        (
            "The logit-adjusted loss is clearly better than cross-entropy.",
            "对数几率调整损失明显好于交叉熵。",
            "At its own best rate, balanced accuracy is four points higher or more.",
        ),
        (ADJUSTED, PLAIN),
        CLEARLY,
        primary=True,
    ),
    _claim(
        "weights_hurt_at_its_rate",
        (
            "At the learning rate that is best for cross-entropy, weighting the loss hurts.",
            "若沿用交叉熵的最佳学习率，给损失加权反而有害。",
            "With weights and cross-entropy's rate, balanced accuracy is lower than without weights.",
        ),
        (SAME_RATE, PLAIN),
        -MATTERS,
    ),
    _claim(
        "ldam_drw_helps",
        (
            "LDAM with deferred weights is clearly better than cross-entropy.",
            "LDAM 加延迟加权明显好于交叉熵。",
            "Balanced accuracy is four points higher or more.",
        ),
        (LDAM_DRW, PLAIN),
        CLEARLY,
    ),
    _claim(
        "deferral_helps",
        (
            "Weights late in training improve LDAM.",
            "在训练后期才加权，能改进 LDAM。",
            "LDAM-DRW has a higher balanced accuracy than LDAM.",
        ),
        (LDAM_DRW, LDAM),
        MATTERS,
    ),
    _claim(
        "margins_help",
        (
            "It is the margins that help in LDAM, not the cosines.",
            "LDAM 起作用的是间隔，而不是余弦分类器。",
            "LDAM has a higher balanced accuracy than the same cosines without margins.",
        ),
        (LDAM, COSINES),
        MATTERS,
    ),
    _claim(
        "loss_beats_afterwards",
        (
            "Training with adjusted logits is better than adjusting them afterwards.",
            "训练时就调整对数几率，好于训练后再调整。",
            "The logit-adjusted loss has a higher balanced accuracy than cross-entropy adjusted in tests.",
        ),
        (ADJUSTED, ADJUSTED_LATER),
        MATTERS,
    ),
    _claim(
        "oversampling_or_weights",
        (
            "Oversampling is better than weighting.",
            "过采样好于加权。",
            "Each at its best rate, oversampling has the higher balanced accuracy.",
        ),
        (OVER, WEIGHTED),
        MATTERS,
    ),
    _claim(
        "undersampling_loses",
        (
            "Undersampling is worse than oversampling.",
            "欠采样不如过采样。",
            "Each at its best rate and after as many steps, undersampling has the lower balanced accuracy.",
        ),
        (UNDER, OVER),
        -MATTERS,
    ),
    _claim(
        "retraining_helps",
        (
            "Training the classifier again on balanced batches helps a network that was trained on the tail.",
            "网络在长尾数据上训练后，再用均衡批次重训分类器会有帮助。",
            "Balanced accuracy is higher than before.",
        ),
        (RETRAINED, PLAIN),
        MATTERS,
        levels=_OF_DIGITS,
    ),
    _claim(
        "rare_gain",
        (
            "Logit adjustment gives the rarest third of the classes fifteen points or more.",
            "对数几率调整使最少的三分之一类别提高十五个百分点以上。",
            "Recall of the rarest third is higher by so much than with cross-entropy.",
        ),
        (ADJUSTED, PLAIN),
        0.15,
        "rarest third",
    ),
    _claim(
        "head_pays",
        (
            "The most frequent classes pay for it with eight points or more.",
            "最多的三分之一类别为此损失八个百分点以上。",
            "Recall of the most frequent third is lower by so much than with cross-entropy.",
        ),
        (ADJUSTED, PLAIN),
        -0.08,
        "most frequent third",
    ),
)

DESIGN = Design(
    name="long-tail",
    title="The long tail",
    question="When most classes are rare: which remedy helps, and does weighting the loss help or hurt?",
    question_zh="多数类别样本很少时，哪种办法有用？给损失加权是有益还是有害？",
    claims=CLAIMS,
    factors={
        "profile": "exponential: each class has fewer than the last by one factor; step: half of the classes are rare",
        "ratio": "of the most frequent class to the rarest: 10 to 100; the claims are about 100",
        "remedy": "fourteen, in sampling, loss, schedule and after training; cross-entropy does nothing",
        "learning rate": "each remedy's own; for weights also that of cross-entropy",
    },
    held_fixed=(
        "steps and batch size",
        "SGD with momentum 0.9, no weight decay",
        "a hundred examples of the most frequent class in training, 26 of each class in validation, 40 of each in the "
        "test, so that accuracy is balanced accuracy",
        "each seed draws which classes are rare",
        "each remedy's setting: its paper's (focal γ 2, τ 1, margin 0.5, weights deferred to the last fifth, "
        "there with β 0.9999, which here is inverse frequency); class-balanced loss β 0.99",
    ),
    data="digits of 8×8 pixels; emoji of two artists as a frozen EfficientNet-Lite0 sees them, 64 principal components",
    networks="a perceptron of two hidden layers, trained whole (digits); a linear head (emoji)",
    would_change=(
        "deep networks trained for long on the tail: they fit every example, and weights then change little but the "
        "way there (Byrd & Lipton)",
        "a test as skewed as the training data: then nothing is to be gained (see the column of accuracy on data as "
        "skewed)",
        "a tail whose rarest class has many examples: what is rare is then known well enough",
    ),
    sources=(
        (
            "Cao et al. 2019, Learning imbalanced datasets with label-distribution-aware margin loss",
            "https://arxiv.org/abs/1906.07413",
        ),
        ("Menon et al. 2021, Long-tail learning via logit adjustment", "https://arxiv.org/abs/2007.07314"),
        (
            "Cui et al. 2019, Class-balanced loss based on effective number of samples",
            "https://arxiv.org/abs/1901.05555",
        ),
        ("Lin et al. 2017, Focal loss for dense object detection", "https://arxiv.org/abs/1708.02002"),
        ("Kang et al. 2020, Decoupling representation and classifier", "https://arxiv.org/abs/1910.09217"),
        (
            "Byrd & Lipton 2019, What is the effect of importance weighting in deep learning?",
            "https://arxiv.org/abs/1812.03372",
        ),
    ),
)


def _by_tail(claim: str) -> str:
    """A claim's effect, tail by tail."""
    return ", ".join(f"{{claim/{claim}/effect/{level}:points}} (`{level}`)" for level in LEVELS)


_WEIGHTS: dict[Word, tuple[str, str]] = {
    "supported": (
        "Weights help, if they get a learning rate of their own: {claim/weights_help/effect:points ci} of balanced "
        f"accuracy ({_by_tail('weights_help')}). ",
        "只要给加权单独选学习率，加权就有帮助：均衡准确率变化 {claim/weights_help/effect:points ci}。",
    ),
    "depends": (
        "Whether weights help depends on the tail, even with a learning rate of their own: "
        f"{_by_tail('weights_help')}. ",
        "即使给加权单独选学习率，它是否有帮助也要看数据：各情形平均变化 {claim/weights_help/effect:points ci}。",
    ),
    "inconclusive": (
        "Whether weights help at a learning rate of their own could not be told: "
        "{claim/weights_help/effect:points ci} of balanced accuracy. ",
        "给加权单独选学习率后它是否有帮助，还不能断定：均衡准确率变化 {claim/weights_help/effect:points ci}。",
    ),
    "refuted": (
        "Weights do not help, even at a learning rate of their own: {claim/weights_help/effect:points ci} of balanced "
        "accuracy. ",
        "即使给加权单独选学习率，它也没有帮助：均衡准确率变化 {claim/weights_help/effect:points ci}。",
    ),
}
_RATE = (
    "At cross-entropy's best rate they change it by "
    f"{_by_tail('weights_hurt_at_its_rate')}: where one rate serves all arms, as in the published tables in which "
    "weights hurt, the rate is a part of what is found. Oversampling differs from weights by "
    "{claim/oversampling_or_weights/effect:points ci}. "
)
_RATE_ZH = (
    "若沿用交叉熵的最佳学习率，加权使均衡准确率平均变化 {claim/weights_hurt_at_its_rate/effect:points ci}：已发表的"
    "“加权有害”的表格正是所有方法共用一个学习率。过采样与加权相差 {claim/oversampling_or_weights/effect:points ci}。"
)
_FOCAL: dict[Word, tuple[str, str]] = {
    "refuted": (
        "Focal loss does not help: {claim/focal_helps/effect:points ci}. ",
        "焦点损失没有帮助：{claim/focal_helps/effect:points ci}。",
    ),
    "inconclusive": (
        "Of focal loss no gain could be shown: {claim/focal_helps/effect:points ci}. ",
        "焦点损失看不出有增益：{claim/focal_helps/effect:points ci}。",
    ),
}
_ADJUSTED: dict[Word, tuple[str, str]] = {
    "supported": (
        "\n\nThe logit-adjusted loss is clearly better: {claim/adjustment_helps/effect:points ci}, ",
        "\n\n对数几率调整损失明显更好：{claim/adjustment_helps/effect:points ci}，",
    ),
    "depends": (
        f"\n\nWhat the logit-adjusted loss gains depends on the tail: {_by_tail('adjustment_helps')}; on average ",
        "\n\n对数几率调整损失的增益取决于数据：平均 {claim/adjustment_helps/effect:points ci}，",
    ),
}
_REST = (
    "{claim/rare_gain/effect:points ci} for the rarest third of the classes, and "
    "{claim/head_pays/effect:points ci} for the most frequent third. LDAM with deferred weights: "
    "{claim/ldam_drw_helps/effect:points ci}. Adjusting the logits of a finished network costs nothing and differs "
    "from the loss by {claim/loss_beats_afterwards/effect:points ci} (loss minus afterwards)."
)
_REST_ZH = (
    "最少的三分之一类别变化 {claim/rare_gain/effect:points ci}，最多的三分之一类别变化 "
    "{claim/head_pays/effect:points ci}。LDAM 加延迟加权：{claim/ldam_drw_helps/effect:points ci}。训练完再调整对数几率"
    "没有成本，与用损失调整相差 {claim/loss_beats_afterwards/effect:points ci}。"
)
ANSWERS = answers_from(_WEIGHTS, (_RATE, _RATE_ZH), _FOCAL, _ADJUSTED, (_REST, _REST_ZH))

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings((10, 100), 64, 64, 300, 100, (0.003, 0.01, 0.03, 0.1, 0.3)),
        "full": Settings((10, 50, 100), 64, 64, 400, 150, (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/long_tail.py",
    helpers=(
        "lab/skew.py",
        "lab/frozen_features.py",
        "losses/imbalance.py",
        "data/sampling.py",
        "data/smote.py",
        "data/long_tail.py",
        "training/imbalance.py",
        "training/post_hoc.py",
    ),
)
