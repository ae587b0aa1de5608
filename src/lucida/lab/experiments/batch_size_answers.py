"""Batch size: the short answers, each with the verdicts that it was written for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from lucida.lab.experiments.batch_size import FIXED
from lucida.lab.experiments.batch_size_claims import FULL, TASKS, THIRTY_TWO
from lucida.lab.experiments.batch_size_settings import EXAMPLES
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word

_TOO_LARGE = (
    "Too large a batch wastes examples. After as many of them and at the rate tuned for batch 32, the full batch tests "
    "{claim/fixed_rate/effect:points ci} against batch 32. It has taken one step for "
    "{steps of batch 32 for one of the full batch/digits, perceptron:0} of batch 32, and its training loss is "
    f"{{training loss, {EXAMPLES}/{FULL}, {FIXED}/digits, perceptron}} against "
    f"{{training loss, {EXAMPLES}/{THIRTY_TWO}, {FIXED}/digits, perceptron}} (perceptron on digits). "
)
_TOO_LARGE_ZH = (
    "批量过大，浪费的是样本。看过同样多的样本、沿用为批量 32 调好的学习率时，"
    "全批量的测试准确率与批量 32 相差 {claim/fixed_rate/effect:points ci}。批量 32 每走 "
    "{steps of batch 32 for one of the full batch/digits, perceptron:0} 步，它只走一步；训练损失分别是 "
    f"{{training loss, {EXAMPLES}/{FULL}, {FIXED}/digits, perceptron}}（全批量）和 "
    f"{{training loss, {EXAMPLES}/{THIRTY_TWO}, {FIXED}/digits, perceptron}}（批量 32；手写数字上的感知机）。"
)
_TOO_SMALL = (
    "At the same training loss the difference is {claim/equal_loss/effect:points ci}. Too small a batch has a noisy "
    "gradient: at the rate of batch 32, batch 2 tests {claim/small_fails_at_fixed_rate/effect:points ci} against it. "
    "At its own rate it tests {claim/small_is_better/effect:points ci} after as many examples, for sixteen times the "
    "steps. "
)
_TOO_SMALL_ZH = (
    "训练损失相同时，差别是 {claim/equal_loss/effect:points ci}。批量过小，梯度的噪声就大：批量 2 沿用批量 32 的学习率"
    "时，测试准确率与后者相差 {claim/small_fails_at_fixed_rate/effect:points ci}；用自己的学习率、看过同样多的样本后，"
    "差别是 {claim/small_is_better/effect:points ci}，代价是步数多到十六倍。"
)
_ALSO: dict[str, Word] = {"small_fails_at_fixed_rate": "supported"}
_FORETOLD: dict[Word, tuple[str, str]] = {
    "supported": (
        "The gradient noise scale tells where too large begins to within a factor of four: ",
        "梯度噪声尺度能指出多大算过大，误差在四倍以内：",
    ),
    "refuted": (
        "The gradient noise scale does not tell where too large begins to within a factor of four: ",
        "梯度噪声尺度并不能在四倍误差之内指出多大算过大：",
    ),
    "depends": (
        "Whether the gradient noise scale tells where too large begins to within a factor of four depends on the "
        "data: ",
        "梯度噪声尺度能否在四倍误差之内指出多大算过大，要看是什么数据：",
    ),
    "inconclusive": (
        "Whether the gradient noise scale tells where too large begins to within a factor of four could not be told: ",
        "梯度噪声尺度能否在四倍误差之内指出多大算过大，还不能断定：",
    ),
}
_NOISE = (
    "on the way to the late target it is {mean noise scale/late/digits, perceptron:0} on digits and "
    "{mean noise scale/late/emoji, perceptron:0} on emoji, and the steps to that target show a critical batch size of "
    "{critical batch/late/digits, perceptron:0} and {critical batch/late/emoji, perceptron:0}. The former is "
    "{noise scale over critical batch/late/digits, perceptron:1} and "
    "{noise scale over critical batch/late/emoji, perceptron:1} times the latter. The noise scale grows as the loss "
    "falls, "
)
_NOISE_ZH = (
    "在到达较低目标损失的途中，它在手写数字上是 {mean noise scale/late/digits, perceptron:0}，在表情符号上是 "
    "{mean noise scale/late/emoji, perceptron:0}；由所需步数得出的临界批量分别是 "
    "{critical batch/late/digits, perceptron:0} 和 {critical batch/late/emoji, perceptron:0}，前者是后者的 "
    "{noise scale over critical batch/late/digits, perceptron:1} 倍和 "
    "{noise scale over critical batch/late/emoji, perceptron:1} 倍。噪声尺度随损失下降而增大，"
)
_EVERYWHERE = "by {claim/noise_grows/effect:ci} doublings."
_EVERYWHERE_ZH = "翻了 {claim/noise_grows/effect:ci} 番。"
_PERCEPTRONS = (
    "by {claim/noise_grows/effect/digits, perceptron:ci} doublings in the perceptron on digits and "
    "{claim/noise_grows/effect/emoji, perceptron:ci} on emoji. In the convolutions the end differs from the start by "
    "{claim/noise_grows/effect/digits, convolutions:ci}."
)
_PERCEPTRONS_ZH = (
    "感知机在手写数字上翻了 {claim/noise_grows/effect/digits, perceptron:ci} 番，在表情符号上翻了 "
    "{claim/noise_grows/effect/emoji, perceptron:ci} 番。卷积网络结束时与开始时相差 "
    "{claim/noise_grows/effect/digits, convolutions:ci} 番。"
)
_AS_MANY_STEPS = "After as many steps, each at its own best rate, it tests "
_AS_MANY_STEPS_ZH = "步数相同、各用自己的最佳学习率时，它与批量 32 相差 "
_NAMES = dict(zip(TASKS, ("the perceptron on digits", "the perceptron on emoji", "the convolutions"), strict=True))
_NAMES_ZH = dict(zip(TASKS, ("手写数字上的感知机", "表情符号上的感知机", "卷积网络"), strict=True))

Variant = tuple[Word, str, str, Mapping[str, Word]]
"""A verdict of a primary claim, what the answer says with it in both languages, and the verdicts this relies on."""


def _generalisation() -> Iterator[Variant]:
    """What is said of a large batch that gets as many steps."""
    effect = "{claim/cannot_generalise/effect:points ci}"
    yield (
        "refuted",
        f"It can generalise: {_AS_MANY_STEPS[0].lower()}{_AS_MANY_STEPS[1:]}{effect} against it, which excludes the "
        "drop that was claimed. ",
        f"它并非不能泛化：{_AS_MANY_STEPS_ZH}{effect}，排除了所说的那种下降。",
        {},
    )
    yield (
        "inconclusive",
        f"{_AS_MANY_STEPS}{effect} against it, which these few seeds and short trainings cannot tell from the drop "
        "that was claimed. ",
        f"{_AS_MANY_STEPS_ZH}{effect}，种子少、训练短，还不能排除所说的那种下降。",
        {},
    )
    words: tuple[Word, ...] = ("refuted", "inconclusive")
    for own in product(words, repeat=len(TASKS)):
        if len(set(own)) > 1:
            yield _by_task(dict(zip(TASKS, own, strict=True)))


def _by_task(words: Mapping[str, Word]) -> Variant:
    """Where the drop that was claimed is excluded on some tasks and not on others."""
    effects = {task: f"{{claim/cannot_generalise/effect/{task}:points ci}}" for task in TASKS}
    listed = [f"{effect} ({_NAMES[task]})" for task, effect in effects.items()]
    listed_zh = [f"{effect}（{_NAMES_ZH[task]}）" for task, effect in effects.items()]
    excluded, open_ = (
        [task for task, word in words.items() if word == wanted] for wanted in ("refuted", "inconclusive")
    )
    text = (
        f"{_AS_MANY_STEPS}{', '.join(listed)} against it. This excludes the drop that was claimed for "
        f"{' and '.join(_NAMES[task] for task in excluded)}, and not yet for "
        f"{' and '.join(_NAMES[task] for task in open_)}. "
    )
    text_zh = (
        f"{_AS_MANY_STEPS_ZH}{'、'.join(listed_zh)}：{'和'.join(_NAMES_ZH[task] for task in excluded)}排除了所说的那种"
        f"下降，{'和'.join(_NAMES_ZH[task] for task in open_)}还不能排除。"
    )
    return "depends", text, text_zh, {f"cannot_generalise/{task}": word for task, word in words.items()}


def _noise() -> Iterator[Variant]:
    """What is said of the noise scale: whether it foretells the critical batch size, and whether it grows."""
    last: tuple[Word, ...] = ("refuted", "inconclusive")
    for foretold, (text, text_zh) in _FORETOLD.items():
        told: dict[str, Word] = {"noise_foretells": foretold}
        yield "supported", text + _NOISE + _EVERYWHERE, text_zh + _NOISE_ZH + _EVERYWHERE_ZH, told
        for word in last:
            words: dict[str, Word] = dict(zip(TASKS, ("supported", "supported", word), strict=True))
            also = told | {f"noise_grows/{task}": own for task, own in words.items()}
            yield "depends", text + _NOISE + _PERCEPTRONS, text_zh + _NOISE_ZH + _PERCEPTRONS_ZH, also


ANSWERS = tuple(
    Answer(
        ("supported", steps[0], noise[0]),
        _TOO_LARGE + steps[1] + _TOO_SMALL + noise[1],
        _TOO_LARGE_ZH + steps[2] + _TOO_SMALL_ZH + noise[2],
        {**_ALSO, **steps[3], **noise[3]},
    )
    for steps, noise in product(tuple(_generalisation()), tuple(_noise()))
)
