"""The page of :mod:`~lucida.lab.experiments.few_positives`: settings and short answers."""

from __future__ import annotations

from lucida.lab.experiment import Experiment
from lucida.lab.experiments.few_positives import Settings, measure
from lucida.lab.experiments.few_positives_claims import BATCH_LEVELS, BATCHES, DESIGN, PLACE_LEVELS
from lucida.lab.experiments.few_positives_pairs import PairSettings
from lucida.lab.experiments.few_positives_sections import present
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word


def _by_level(claim: str, levels: tuple[str, ...], form: str = "") -> str:
    """A claim's effect, level by level."""
    return ", ".join(f"{{claim/{claim}/effect/{level}{form}}} (`{level}`)" for level in levels)


_RANK: dict[Word, tuple[str, str]] = {
    "refuted": (
        "Weights do not make a classifier rank better: PR-AUC changes by {claim/weights_rank/effect:ci}. ",
        "加权并不能让排序更好：PR-AUC 变化 {claim/weights_rank/effect:ci}。",
    ),
    "inconclusive": (
        "Whether weights rank better could not be told: PR-AUC changes by {claim/weights_rank/effect:ci}. ",
        "加权能否改善排序，还不能断定：PR-AUC 变化 {claim/weights_rank/effect:ci}。",
    ),
    "depends": (
        "Whether weights rank better depends on how rare positives are: PR-AUC changes by "
        f"{_by_level('weights_rank', PLACE_LEVELS)}. ",
        f"加权能否改善排序，取决于正样本有多少：PR-AUC 变化 {_by_level('weights_rank', PLACE_LEVELS)}。",
    ),
    "supported": (
        "Weights make a classifier rank better here: PR-AUC changes by {claim/weights_rank/effect:ci}. ",
        "加权在这里改善了排序：PR-AUC 变化 {claim/weights_rank/effect:ci}。",
    ),
}
_THRESHOLD = (
    "At a threshold of one half they change F1 by {claim/weights_find_at_one_half/effect:ci}, which looks like a gain; "
    "against a plain classifier whose threshold was moved on validation data it is "
    "{claim/weights_beat_threshold/effect:ci}, and with both thresholds moved "
    "{claim/weights_with_threshold/effect:ci}. "
)
_THRESHOLD_ZH = (
    "阈值取二分之一时，F1 变化 {claim/weights_find_at_one_half/effect:ci}，看起来是增益；但与移动过阈值的普通分类器"
    "相比，变化是 {claim/weights_beat_threshold/effect:ci}；两者都移动阈值，则是 "
    "{claim/weights_with_threshold/effect:ci}。"
)
_SPOILT: dict[Word, tuple[str, str]] = {
    "supported": (
        "What weights do spoil is the probabilities: their mean is off the share of positives by "
        "{claim/weights_uncalibrate/effect:ci} more doublings than without; with oversampling by "
        "{claim/oversampling_uncalibrates/effect:ci}. ",
        "加权真正破坏的是概率：平均概率与正样本比例的偏离，比不加权多 {claim/weights_uncalibrate/effect:ci} 个倍频程；"
        "过采样多 {claim/oversampling_uncalibrates/effect:ci} 个。",
    ),
    "depends": (
        "Whether weights spoil the probabilities depends on how rare positives are: how many doublings their mean is "
        "off the share of positives, up or down, changes by "
        f"{_by_level('weights_uncalibrate', PLACE_LEVELS)}. ",
        "加权是否破坏概率，取决于正样本有多少：平均概率与正样本比例相差的倍频程数（不论高低）变化 "
        f"{_by_level('weights_uncalibrate', PLACE_LEVELS)}。",
    ),
    "inconclusive": (
        "Whether weights spoil the probabilities could not be told: how many doublings their mean is off the share of "
        "positives changes by {claim/weights_uncalibrate/effect:ci}. ",
        "加权是否破坏概率，还不能断定：平均概率与正样本比例相差的倍频程数变化 {claim/weights_uncalibrate/effect:ci}。",
    ),
    "refuted": (
        "Weights do not spoil the probabilities here: how many doublings their mean is off the share of positives "
        "changes by {claim/weights_uncalibrate/effect:ci}. ",
        "加权在这里并不破坏概率：平均概率与正样本比例相差的倍频程数变化 {claim/weights_uncalibrate/effect:ci}。",
    ),
}
_REST = (
    "One draw of as many negatives as positives changes PR-AUC by {claim/undersampling_once_ranks/effect:ci}, SMOTE "
    "against repeating positives by {claim/smote_ranks/effect:ci}. Accuracy is no measure here: who always says no has "
    "{claim/never_is_accurate/effect:points ci} more of it than the weighted classifier."
)
_REST_ZH = (
    "只抽一次与正样本同样多的负样本，PR-AUC 变化 {claim/undersampling_once_ranks/effect:ci}；SMOTE 与重复正样本相差 "
    "{claim/smote_ranks/effect:ci}。准确率在这里没有意义：永远回答“否”比加权分类器高 "
    "{claim/never_is_accurate/effect:points ci}。"
)
_BIAS: dict[Word, tuple[str, str]] = {
    "supported": (
        "\n\nIn the sigmoid contrastive loss a bias from `−10` instead of `0` is worth "
        "{claim/bias_minus_ten/effect:points ci} of recall, ",
        "\n\n在 sigmoid 对比损失里，偏置从 `−10` 而不是 `0` 开始，召回率变化 {claim/bias_minus_ten/effect:points ci}，",
    ),
    "depends": (
        "\n\nIn the sigmoid contrastive loss what a bias from `−10` instead of `0` is worth depends on the batch: "
        f"{_by_level('bias_minus_ten', BATCH_LEVELS, ':points')} of recall, ",
        "\n\n在 sigmoid 对比损失里，偏置从 `−10` 而不是 `0` 开始的作用取决于批次大小：召回率变化 "
        f"{_by_level('bias_minus_ten', BATCH_LEVELS, ':points')}，",
    ),
    "refuted": (
        "\n\nIn the sigmoid contrastive loss a bias from `−10` instead of `0` does not pay in the end: "
        "{claim/bias_minus_ten/effect:points ci} of recall, ",
        "\n\n在 sigmoid 对比损失里，偏置从 `−10` 而不是 `0` 开始，最终并没有好处：召回率变化 "
        "{claim/bias_minus_ten/effect:points ci}，",
    ),
    "inconclusive": (
        "\n\nWhether a bias from `−10` instead of `0` pays in the sigmoid contrastive loss could not be told: "
        "{claim/bias_minus_ten/effect:points ci} of recall, ",
        "\n\n在 sigmoid 对比损失里，偏置从 `−10` 而不是 `0` 开始是否有好处，还不能断定：召回率变化 "
        "{claim/bias_minus_ten/effect:points ci}，",
    ),
}
_PAIRS = (
    "though it changes the loss of the first ten steps by `2` to the power of "
    "{claim/minus_ten_begins_lower/effect:ci}. Against `−10`, the log prior is worth "
    "{claim/prior_is_better/effect:points ci}, weighting the one positive {claim/weighted_positive/effect:points ci}, "
    "the softmax loss {claim/softmax_is_better/effect:points ci}."
)
_PAIRS_ZH = (
    "而最初十步的损失变为 `2` 的 {claim/minus_ten_begins_lower/effect:ci} 次方倍。与 `−10` 相比，以先验的对数为起点变"
    "化 {claim/prior_is_better/effect:points ci}，给唯一的正样本加权变化 {claim/weighted_positive/effect:points ci}，"
    "softmax 损失变化 {claim/softmax_is_better/effect:points ci}。"
)
ANSWERS = answers_from(_RANK, (_THRESHOLD, _THRESHOLD_ZH), _SPOILT, (_REST, _REST_ZH), _BIAS, (_PAIRS, _PAIRS_ZH))

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            (10, 100, 1000), 32, 256, 300, (0.001, 0.003, 0.01), PairSettings(BATCHES, 10, (0.001, 0.003, 0.01))
        ),
        "full": Settings(
            (10, 100, 1000),
            32,
            256,
            1000,
            (0.001, 0.003, 0.01, 0.03),
            PairSettings(BATCHES, 20, (0.001, 0.003, 0.01, 0.03)),
        ),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/few_positives.py",
    helpers=(
        "lab/experiments/few_positives_pairs.py",
        "lab/skew.py",
        "lab/frozen_features.py",
        "losses/imbalance.py",
        "losses/sigmoid.py",
        "losses/contrastive.py",
        "data/sampling.py",
        "data/smote.py",
        "training/imbalance.py",
        "training/post_hoc.py",
        "evaluation/classification.py",
        "evaluation/retrieval.py",
    ),
)
