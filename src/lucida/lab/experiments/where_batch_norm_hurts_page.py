"""Where batch norm hurts: what was declared before the run, and the short answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.where_batch_norm_hurts import (
    ALL_POSITIONS,
    LAYER,
    PERCEPTRONS,
    PICTURES,
    PLAIN,
    REAL_POSITIONS,
    RMS,
    SEQUENCES,
    Settings,
    for_exact,
    sized,
)
from lucida.lab.experiments.where_batch_norm_hurts_sections import measured, present
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word

MATTERS = 0.02  # of accuracy: what a practitioner would act on
TWO, EIGHT, MANY = (sized(ALL_POSITIONS, size) for size in (2, 8, 32))
_PICTURES = ("network and data", PICTURES)
_PERCEPTRONS = ("data", PERCEPTRONS)
_SEQUENCES = ("network", SEQUENCES)


def _claim(
    name: str,
    texts: tuple[str, str, str],
    arms: tuple[str, str],
    smallest: float,
    levels: tuple[str, tuple[str, ...]] = ("", ()),
    *,
    primary: bool = False,
) -> Claim:
    return Claim(name, *texts, "test accuracy", "test accuracy", *arms, smallest, *levels, primary=primary, share=True)


CLAIMS = (
    _claim(
        "small_batch",
        (
            "With two examples in a batch, batch norm reaches a lower accuracy than layer norm.",
            "每批只有两个样本时，批归一化的准确率低于层归一化。",
            "At equal examples and each at its best rate, batch norm gets fewer test examples right than layer norm.",
        ),
        (TWO, sized(LAYER, 2)),
        -MATTERS,
        _PICTURES,
        primary=True,
    ),
    _claim(
        "masked_statistics",
        (
            "Batch norm over padded sequences does better when it counts the real positions alone.",
            "对有填充的序列做批归一化，统计量只算真实位置时效果更好。",
            "With masked statistics more test texts are right than with statistics over all positions.",
        ),
        (REAL_POSITIONS, ALL_POSITIONS),
        MATTERS,
        _SEQUENCES,
        primary=True,
    ),
    _claim(
        "gain_and_bias",
        (
            "Layer norm does worse without its learned gain and bias.",
            "去掉可学习的缩放和偏移，层归一化的效果更差。",
            "Without them, at its own best rate, a network gets fewer test texts right.",
        ),
        (PLAIN, LAYER),
        -MATTERS,
        _SEQUENCES,
        primary=True,
    ),
    _claim(
        "batch_of_eight",
        (
            "With eight examples in a batch, batch norm is still behind layer norm.",
            "每批八个样本时，批归一化仍不如层归一化。",
            "At batch 8 batch norm gets fewer test examples right than layer norm.",
        ),
        (EIGHT, sized(LAYER, 8)),
        -MATTERS,
        _PICTURES,
    ),
    _claim(
        "the_shift_is_the_harm",
        (
            "In batches of two, running statistics cost accuracy in the test: exact ones do better.",
            "每批只有两个样本时，测试用滑动统计量会损失准确率：换成精确统计量更好。",
            "The same weights get more test examples right with statistics of the whole training set.",
        ),
        (f"{TWO}, exact statistics", TWO),
        MATTERS,
        _PICTURES,
    ),
    _claim(
        "the_noise_is_the_harm",
        (
            "In batches of two, batch norm is behind layer norm with exact statistics too.",
            "每批只有两个样本时，用精确统计量测试，批归一化仍不如层归一化。",
            "Tested with exact statistics, batch norm still gets fewer examples right than layer norm.",
        ),
        (f"{TWO}, exact statistics", sized(LAYER, 2)),
        -MATTERS,
        _PICTURES,
    ),
    _claim(
        "rate_for_exact",
        (
            "Who tests with exact statistics should choose the learning rate with them too.",
            "若用精确统计量测试，学习率也应当用它来选。",
            "In batches of two, both tested with exact statistics, the rate that is best with them gets more test "
            "examples right than the rate that is best with running ones.",
        ),
        (f"{for_exact(2)}, exact statistics", f"{TWO}, exact statistics"),
        MATTERS,
        _PERCEPTRONS,
    ),
    _claim(
        "noise_at_the_best_rate",
        (
            "In batches of two, batch norm is behind layer norm also at the rate that is best with exact statistics.",
            "每批只有两个样本时，即使学习率也用精确统计量来选，批归一化仍不如层归一化。",
            "Tuned and tested with exact statistics, batch norm gets fewer examples right than layer norm.",
        ),
        (f"{for_exact(2)}, exact statistics", sized(LAYER, 2)),
        -MATTERS,
        _PERCEPTRONS,
    ),
    _claim(
        "recompute_at_32",
        (
            "Even in batches of thirty-two it pays to recompute the statistics before the test.",
            "即使每批有三十二个样本，测试前重新计算统计量也值得。",
            "The same weights get more test examples right with exact statistics than with running ones.",
        ),
        (f"{MANY}, exact statistics", MANY),
        MATTERS,
        _PICTURES,
    ),
    _claim(
        "padding_of_the_test",
        (
            "With statistics of the batch, it costs accuracy to trim the padding of a test batch.",
            "若测试时用批内统计量，裁掉填充会损失准确率。",
            "In the transformer without a mask, fewer texts are right trimmed than padded, in the same batches.",
        ),
        (f"{ALL_POSITIONS}, trimmed statistics", f"{ALL_POSITIONS}, padded statistics"),
        -MATTERS,
    ),
    _claim(
        "no_place_in_sequences",
        (
            "In sequences layer norm is better than batch norm.",
            "在序列模型中，层归一化好于批归一化。",
            "Batch norm over all positions gets fewer test texts right than layer norm.",
        ),
        (ALL_POSITIONS, LAYER),
        -MATTERS,
        _SEQUENCES,
    ),
    _claim(
        "rms_costs",
        (
            "RMSNorm, which subtracts no mean and adds no bias, costs accuracy.",
            "RMSNorm 不减均值、不加偏移，会损失准确率。",
            "RMSNorm gets fewer test texts right than layer norm.",
        ),
        (RMS, LAYER),
        -MATTERS,
        _SEQUENCES,
    ),
)

DESIGN = Design(
    name="where-batch-norm-hurts",
    title="Where batch norm hurts",
    question="Where does batch norm hurt, and what does layer norm do instead?",
    question_zh="批归一化在哪些情况下有害？层归一化又是怎么做的？",
    claims=CLAIMS,
    factors={
        "batch size": "2 to 32 pictures",
        "normalisation of pictures": "batch norm, layer norm, none, before each ReLU",
        "statistics in the test": "running, of the test batch, means over all training batches, exact; for the "
        "perceptrons in batches of two also the learning rate that is best with exact ones",
        "normalisation of sequences": "batch norm over all or over the real positions, layer norm with and without "
        "gain and bias, RMSNorm",
        "padding of the test": "as in training, trimmed",
    },
    held_fixed=(
        "examples seen in training",
        "plain SGD for pictures, Adam for sequences",
        "batches of 32 texts",
        "momentum of the running statistics 0.1",
        "each arm at its own best rate",
    ),
    data="digits of 8×8 pixels, emoji of 12×12 pixels in colour, emoji words (1 to 12, padded to 12); at full scale "
    "the digits as sequences of 64 pixels too",
    networks="perceptron of three hidden layers, conv net of four, recurrent net (tanh), transformer of two blocks "
    "with the norms before attention and perceptron",
    would_change=(
        "large pictures: a conv net's statistics at batch 2 then rest on thousands of places, and the noise sits in "
        "its last layers alone",
        "training to the end at batch 2 instead of at equal examples: noise can be averaged out by smaller rates and "
        "more steps, a lost magnitude cannot",
        "batch norm that corrects for its batch (batch renormalisation), that leaves the batch alone (group norm), or "
        "that averages over many batches (PowerNorm): not measured here",
        "recurrent batch norm with statistics of its own for each word, or pooled over all words",
        "norms behind the residual addition instead of before attention and perceptron: no linear map can then take "
        "over the gain on the residual path",
    ),
    sources=(
        ("Ioffe & Szegedy 2015, Batch normalization", "https://arxiv.org/abs/1502.03167"),
        ("Ba et al. 2016, Layer normalization", "https://arxiv.org/abs/1607.06450"),
        ("Zhang & Sennrich 2019, Root mean square layer normalization", "https://arxiv.org/abs/1910.07467"),
        ("Wu & He 2018, Group normalization", "https://arxiv.org/abs/1803.08494"),
        ("Ioffe 2017, Batch renormalization", "https://arxiv.org/abs/1702.03275"),
        ("Shen et al. 2020, PowerNorm: rethinking batch normalization in transformers",
         "https://arxiv.org/abs/2003.07845"),
    ),
)  # fmt: skip

_SMALL = (
    "With two examples in a batch, batch norm instead of layer norm changes the perceptron's accuracy by "
    "{claim/small_batch/effect/perceptron, digits:points ci} on digits and by "
    "{claim/small_batch/effect/perceptron, emoji:points ci} on emoji; that of the conv net, whose statistics rest on "
    "every place of a picture, by {claim/small_batch/effect/conv net, digits:points ci}. Of two numbers batch norm "
    "leaves only which is the larger, so that {companions, first layer/batch norm, batch 2/perceptron, digits:%} of "
    "what the perceptron's first layer gives is decided by the other example. Exact statistics in the test change "
    "what the same weights get right by {claim/the_shift_is_the_harm/effect/perceptron, digits:points ci} on digits "
    "and {claim/the_shift_is_the_harm/effect/perceptron, emoji:points ci} on emoji. Even at the rate that is best "
    "with them the difference to layer norm is {claim/noise_at_the_best_rate/effect/perceptron, digits:points ci} and "
    "{claim/noise_at_the_best_rate/effect/perceptron, emoji:points ci}: that is lost while training in the noise. "
    "With eight examples the difference to layer norm is {claim/batch_of_eight/effect/perceptron, digits:points ci}, "
    "{claim/batch_of_eight/effect/perceptron, emoji:points ci} and "
    "{claim/batch_of_eight/effect/conv net, digits:points ci}."
)
_SMALL_ZH = (
    "每批只有两个样本时，用批归一化代替层归一化，感知机的准确率在手写数字上变化"
    "{claim/small_batch/effect/perceptron, digits:points ci}，在表情符号上变化"
    "{claim/small_batch/effect/perceptron, emoji:points ci}；卷积网络的统计量来自图中每个位置，准确率变化"
    "{claim/small_batch/effect/conv net, digits:points ci}。两个数归一化之后只剩下谁大谁小，感知机第一层的输出有 "
    "{companions, first layer/batch norm, batch 2/perceptron, digits:%} 取决于同批的另一个样本。测试时换成精确统计量，"
    "同样的权重在手写数字上变化 {claim/the_shift_is_the_harm/effect/perceptron, digits:points ci}，在表情符号上变化 "
    "{claim/the_shift_is_the_harm/effect/perceptron, emoji:points ci}。即使学习率也用精确统计量来选，与层归一化仍相差 "
    "{claim/noise_at_the_best_rate/effect/perceptron, digits:points ci} 和 "
    "{claim/noise_at_the_best_rate/effect/perceptron, emoji:points ci}：这是在噪声中训练时失去的。"
    "每批八个样本时，与层归一化的差别为 {claim/batch_of_eight/effect/perceptron, digits:points ci}、"
    "{claim/batch_of_eight/effect/perceptron, emoji:points ci} 和 "
    "{claim/batch_of_eight/effect/conv net, digits:points ci}。"
)
_LAYER = (
    "Layer norm looks at one example, one position at a time: neither the batch nor padding can reach it. Its gain and "
    "bias are not what does it: without them accuracy changes by {claim/gain_and_bias/effect:points ci}."
)
_LAYER_ZH = (
    "层归一化每次只看一个样本的一个位置，既不受同批样本影响，也不受填充影响。起作用的并不是可学习的缩放和偏移："
    "去掉它们，准确率变化 {claim/gain_and_bias/effect:points ci}。"
)
_MASKED = (
    "Counting only real positions changes accuracy by {claim/masked_statistics/effect/transformer:points ci} in the "
    "transformer, where weights trained with the mixture are tested with it too. In the recurrent net it is "
    "{claim/masked_statistics/effect/recurrent net:points ci}: statistics are taken at each word, and at late words "
    "the mask leaves few texts: padding goes, and a tiny batch is what is left."
)
_MASKED_ZH = (
    "对有填充的序列只统计真实位置：在 Transformer 中准确率变化 {claim/masked_statistics/effect/transformer:points ci}，"
    "那里训练和测试用的是同样的混合统计量；在循环网络中变化 {claim/masked_statistics/effect/recurrent net:points ci}："
    "那里每个词单独统计，越往后剩下的文本越少，去掉了填充，却又成了很小的批量。"
)


def _answer(*words: Word) -> Answer:
    english, chinese = (_SMALL, _MASKED, _LAYER), (_SMALL_ZH, _MASKED_ZH, _LAYER_ZH)
    lost_in_training: dict[str, Word] = {f"noise_at_the_best_rate/{level}": "supported" for level in PERCEPTRONS}
    return Answer(words, "\n\n".join(english), "\n\n".join(chinese), also=lost_in_training)


EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            batch_sizes=(2, 8, 32),
            examples=1800,
            width=32,
            channels=8,
            rates=(0.01, 0.03, 0.09, 0.27),
            sequence_batch=32,
            sequence_steps=160,
            sequence_width=16,
            sequence_rates=(0.009, 0.027, 0.081, 0.243),
            pixels=False,
        ),
        "full": Settings(
            batch_sizes=(2, 4, 8, 32),
            examples=3000,
            width=64,
            channels=16,
            rates=(0.01, 0.03, 0.09, 0.27),
            sequence_batch=32,
            sequence_steps=250,
            sequence_width=24,
            sequence_rates=(0.009, 0.027, 0.081, 0.243),
            pixels=True,
        ),
    },
    measure=measured,
    present=present,
    answers=(_answer("depends", "refuted", "refuted"), _answer("depends", "depends", "refuted")),
    source="lab/experiments/where_batch_norm_hurts.py",
    helpers=("lab/batch_statistics.py",),
)
