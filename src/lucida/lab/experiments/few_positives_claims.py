"""Few positives: what was declared before the run."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiments.few_positives import (
    NEVER,
    OFF,
    OVER,
    PLACES,
    PLAIN,
    SMOTE,
    UNDER,
    UNDER_ONCE,
    WEIGHTED,
    moved,
)
from lucida.lab.experiments.few_positives_pairs import BALANCED, MINUS_TEN, PRIOR, SOFTMAX, ZERO, batch_level

MATTERS = 0.02  # of PR-AUC and F1
RECALL_MATTERS = 0.01  # of recall at 1 among more than seven hundred names
PLACE_LEVELS = tuple(map(str, PLACES))
BATCHES = (16, 64, 256)
BATCH_LEVELS = tuple(map(batch_level, BATCHES))
RANKING, F1, RECALL, FIRST_LOSS = "PR-AUC", "F1", "recall at 1", "loss of the first steps"
_UNITS = {OFF: "doublings", FIRST_LOSS: "log2 of the mean loss, ten steps"}


def _claim(
    name: str,
    texts: tuple[str, str, str],
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    *,
    primary: bool = False,
) -> Claim:
    of_pairs = measure in (RECALL, FIRST_LOSS)
    levels = ("batch size", BATCH_LEVELS) if of_pairs else ("data and ratio", PLACE_LEVELS)
    share = measure in (RECALL, "accuracy")
    return Claim(name, *texts, measure, _UNITS.get(measure, measure), *arms, smallest, *levels, primary, share)


CLAIMS = (
    _claim(
        "weights_rank",
        (
            "Weighting the positives makes a classifier rank them better.",
            "给正样本加权，能让分类器把它们排得更靠前。",
            "PR-AUC is higher than with plain cross-entropy, each at its best rate.",
        ),
        RANKING, (WEIGHTED, PLAIN), MATTERS, primary=True,
    ),
    _claim(
        "weights_uncalibrate",
        (
            "Weighting the positives spoils the probabilities.",
            "给正样本加权会破坏概率的校准。",
            "The mean predicted probability misses the share of positives by one doubling more, up or down, than with "
            "plain cross-entropy.",
        ),
        OFF, (WEIGHTED, PLAIN), 1.0, primary=True,
    ),
    _claim(
        "bias_minus_ten",
        (
            "The sigmoid contrastive loss learns more when its bias starts at −10 than at 0.",
            "sigmoid 对比损失的偏置从 −10 开始，比从 0 开始学得更好。",
            "Recall at 1 is higher, at equal examples and each at its best rate.",
        ),
        RECALL, (MINUS_TEN, ZERO), RECALL_MATTERS, primary=True,
    ),
    _claim(
        "weights_find_at_one_half",
        (
            "At the threshold of one half, weighting finds positives that cross-entropy misses.",
            "阈值取二分之一时，加权能找到交叉熵漏掉的正样本。",
            "F1 at one half is higher than with plain cross-entropy.",
        ),
        F1, (WEIGHTED, PLAIN), MATTERS,
    ),
    _claim(
        "weights_beat_threshold",
        (
            "Weighting is better than moving the threshold of a plain classifier.",
            "加权好于给普通分类器移动阈值。",
            "F1 at one half with weights is higher than F1 of cross-entropy at the threshold that validation chose.",
        ),
        F1, (WEIGHTED, moved(PLAIN)), MATTERS,
    ),
    _claim(
        "weights_with_threshold",
        (
            "With both thresholds moved, weighting still has the higher F1.",
            "两者都移动阈值后，加权的 F1 仍然更高。",
            "F1 at the thresholds that validation chose is higher with weights.",
        ),
        F1, (moved(WEIGHTED), moved(PLAIN)), MATTERS,
    ),
    _claim(
        "never_is_accurate",
        (
            "Who always says no is more accurate than a weighted classifier.",
            "永远回答“否”的准确率高于加权分类器。",
            "Accuracy at one half is higher without any model.",
        ),
        "accuracy", (NEVER, WEIGHTED), 0.01,
    ),
    _claim(
        "oversampling_uncalibrates",
        (
            "Oversampling spoils the probabilities as well.",
            "过采样同样会破坏概率的校准。",
            "The mean predicted probability misses the share of positives by one doubling more, up or down, than with "
            "plain cross-entropy.",
        ),
        OFF, (OVER, PLAIN), 1.0,
    ),
    _claim(
        "smote_ranks",
        (
            "SMOTE ranks better than repeating the positives.",
            "SMOTE 的排序好于简单重复正样本。",
            "PR-AUC is higher than with oversampling.",
        ),
        RANKING, (SMOTE, OVER), MATTERS,
    ),
    _claim(
        "undersampling_once_ranks",
        (
            "Undersampling costs ranking: it throws negatives away.",
            "欠采样损害排序：它丢掉了负样本。",
            "One draw of as many negatives as positives has a lower PR-AUC than all of them.",
        ),
        RANKING, (UNDER_ONCE, PLAIN), -MATTERS,
    ),
    _claim(
        "undersampling_anew_ranks",
        (
            "Drawing other negatives every epoch makes up for that.",
            "每轮重新抽取负样本可以弥补这一损失。",
            "PR-AUC is higher than with one draw.",
        ),
        RANKING, (UNDER, UNDER_ONCE), MATTERS,
    ),
    _claim(
        "minus_ten_begins_lower",
        (
            "With the bias at −10 the first steps have half of the loss or less.",
            "偏置为 −10 时，最初几步的损失减半以上。",
            "The mean loss of the first ten steps, against a bias from 0.",
        ),
        FIRST_LOSS, (MINUS_TEN, ZERO), -1.0,
    ),
    _claim(
        "prior_is_better",
        (
            "The logarithm of the prior, −log(B − 1), is a better start than −10.",
            "以先验的对数 −log(B − 1) 为起点好于 −10。",
            "Recall at 1 is higher.",
        ),
        RECALL, (PRIOR, MINUS_TEN), RECALL_MATTERS,
    ),
    _claim(
        "weighted_positive",
        (
            "Weighting the one positive by B − 1 is better than starting the bias at −10.",
            "把唯一的正样本加权 B − 1 倍，好于让偏置从 −10 开始。",
            "Recall at 1 is higher.",
        ),
        RECALL, (BALANCED, MINUS_TEN), RECALL_MATTERS,
    ),
    _claim(
        "softmax_is_better",
        (
            "The softmax loss learns more than the sigmoid loss.",
            "softmax 损失比 sigmoid 损失学得更好。",
            "Recall at 1 is higher than with the bias from −10.",
        ),
        RECALL, (SOFTMAX, MINUS_TEN), RECALL_MATTERS,
    ),
)  # fmt: skip

DESIGN = Design(
    name="few-positives",
    title="Few positives",
    question="One positive in ten, a hundred, a thousand: what makes a classifier find them, and what only moves its "
    "threshold? And in a contrastive batch, where one pair in B is right?",
    question_zh="正样本只占十分之一、百分之一、千分之一时，什么能让分类器真正找到它们，什么只是移动了阈值？对比学习的"
    "一个批次里只有 1/B 的配对是对的，又会怎样？",
    claims=CLAIMS,
    factors={
        "negatives for each positive": "10 (real and planted), 100 and 1,000 (planted); forty positives in each part",
        "remedy": "weights, focal loss, logit-adjusted loss, over- and undersampling, SMOTE; each with and without a "
        "threshold moved on validation data",
        "contrastive loss": "softmax; sigmoid with its bias from −10, 0 or −log(B − 1), or with the positive weighted",
        "batch size": "16 to 256 pairs",
    },
    held_fixed=(
        "training, validation and test equally skewed",
        "each seed draws which category is positive",
        "steps and batch size; of the pairs, examples seen",
        "rates are chosen by PR-AUC (pairs: recall at 1) on validation data",
        "Adam",
    ),
    data="real: emoji of two artists as a frozen EfficientNet-Lite0 sees them, 32 principal components, one category "
    "against the others; made: normal numbers with the mean and covariance of each category, of which there are "
    "enough; pairs, real: frozen features of emoji and of their names (MiniLM), trained on one artist's picture, "
    "asked with the other's",
    networks="a perceptron with one hidden layer; two linear maps into a common space for the pairs",
    would_change=(
        "more positives: with hundreds of them the remedies come closer to each other and to the best possible",
        "one class that is many things: planted positives are one cloud, as they would not be in a shop",
        "a network with too little room for both classes: then weights decide what it spends it on",
        "pairs in batches of tens of thousands, as SigLIP was trained",
    ),
    sources=(
        ("Zhai et al. 2023, Sigmoid loss for language image pre-training", "https://arxiv.org/abs/2303.15343"),
        ("Chawla et al. 2002, SMOTE", "https://arxiv.org/abs/1106.1813"),
        ("Lin et al. 2017, Focal loss for dense object detection", "https://arxiv.org/abs/1708.02002"),
        (
            "Saito & Rehmsmeier 2015, The precision-recall plot is more informative than the ROC plot",
            "https://doi.org/10.1371/journal.pone.0118432",
        ),
        (
            "Byrd & Lipton 2019, What is the effect of importance weighting in deep learning?",
            "https://arxiv.org/abs/1812.03372",
        ),
        (
            "van den Goorbergh et al. 2022, The harm of class imbalance corrections for risk prediction models",
            "https://arxiv.org/abs/2202.09101",
        ),
    ),
)  # fmt: skip
