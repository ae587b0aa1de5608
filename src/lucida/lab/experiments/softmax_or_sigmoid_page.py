"""The page of :mod:`~lucida.lab.experiments.softmax_or_sigmoid`: what it declares, and the short answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.dual_encoders import ZERO_SHOT
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.softmax_or_sigmoid import (
    ADVANTAGE,
    LEVELS,
    SIGMOID,
    SIGMOID_FROM_ZERO,
    SOFTMAX,
    SOFTMAX_AT_TEN,
    Settings,
    measure,
)
from lucida.lab.experiments.softmax_or_sigmoid_sections import present
from lucida.lab.pair_arms import HELPERS
from lucida.lab.short_answers import Told, answers_from

MATTERS = 0.01  # of the pictures of unseen concepts
SMALL, LARGE = LEVELS[0], LEVELS[-1]
SIZES = LEVELS[0], LEVELS[-1]


def _claim(
    name: str, texts: tuple[str, str, str], arms: tuple[str, str], smallest: float, *, primary: bool = False
) -> Claim:
    unit = "share of the pictures of unseen concepts named right"
    return Claim(name, *texts, ZERO_SHOT, unit, *arms, smallest, "batch size", SIZES, primary=primary, share=True)


CLAIMS = (
    _claim(
        "sigmoid_beats_softmax",
        (
            "The sigmoid loss beats the softmax, at small batches above all.",
            "sigmoid 损失胜过 softmax，批次小时尤其如此。",
            "Each at its own best rate, more pictures of unseen concepts are named right after as many pairs.",
        ),
        (SIGMOID, SOFTMAX),
        MATTERS,
        primary=True,
    ),
    Claim(
        "small_batches_favour_the_sigmoid",
        "The sigmoid's advantage is larger at batch 8 than at batch 512.",
        "sigmoid 的优势在批次为 8 时大于批次为 512 时。",
        "The difference to the softmax is a point or more larger.",
        ADVANTAGE,
        "sigmoid less softmax, share of the pictures of unseen concepts named right",
        SMALL,
        LARGE,
        MATTERS,
        primary=True,
        share=True,
    ),
    _claim(
        "sigmoid_beats_softmax_from_its_start",
        (
            "The sigmoid beats the softmax that starts from the same scale.",
            "sigmoid 胜过从同一比例开始的 softmax。",
            "More pictures of unseen concepts are named right: the advantage is not the start.",
        ),
        (SIGMOID, SOFTMAX_AT_TEN),
        MATTERS,
        primary=True,
    ),
    _claim(
        "the_start_helps_the_softmax",
        (
            "The softmax is better from scale 10 than from CLIP's 14.",
            "softmax 从比例 10 开始好于从 CLIP 的 14 开始。",
            "More pictures of unseen concepts are named right.",
        ),
        (SOFTMAX_AT_TEN, SOFTMAX),
        MATTERS,
    ),
    _claim(
        "the_bias_must_start_low",
        (
            "The sigmoid needs its bias to start at -10: from 0 it is worse.",
            "sigmoid 的偏置必须从 -10 开始：从 0 开始更差。",
            "Fewer pictures of unseen concepts are named right, at large batches above all, which hold more noes.",
        ),
        (SIGMOID_FROM_ZERO, SIGMOID),
        -MATTERS,
    ),
)

DESIGN = Design(
    name="softmax-or-sigmoid",
    title="Softmax or sigmoid",
    question="Is the sigmoid loss of SigLIP better than the softmax of CLIP, and does the batch size decide?",
    question_zh="SigLIP 的 sigmoid 损失比 CLIP 的 softmax 更好吗？由批次大小决定吗？",
    claims=CLAIMS,
    factors={
        "loss": "softmax with a learned scale (CLIP); sigmoid with a learned scale and bias (SigLIP)",
        "start": "softmax from scale 14.3 (CLIP's) or 10 (SigLIP's); sigmoid from scale 10 and bias -10, or bias 0",
        "batch size": "8, 32, 128, 512 pairs, with equal pairs shown",
        "learning rate": "each arm's own at each batch size",
    },
    held_fixed=(
        "pairs shown; Adam, no schedule, no clipping; scales of at most 100; pairs of one concept are positives of "
        "each other in both losses",
        "parts, first weights and order of pairs, by seed",
        "best rates are those of the highest mean reciprocal rank on validation concepts over four tuning seeds, which "
        "no result uses; the grid is extended where the best lies at an end",
    ),
    data="emoji by two artists as a frozen EfficientNet-Lite0 sees them, names and aliases as a frozen MiniLM reads "
    "them (128 principal components each); a seed draws 20 % of the groups of concepts as unseen",
    networks="the dual encoder of the workbench on frozen features: two heads of a linear map beside a perceptron of "
    "128 units, 64 numbers in common",
    seeds={"quick": 4, "full": 16},
    would_change=(
        "batches of thousands, from a web of pairs most of which are easy negatives",
        "several epochs fewer: here each picture is seen more than ten times",
        "towers trained from scratch, in which the first steps can do damage",
    ),
    sources=(
        ("Zhai et al. 2023, Sigmoid loss for language image pre-training", "https://arxiv.org/abs/2303.15343"),
        ("Radford et al. 2021, CLIP", "https://arxiv.org/abs/2103.00020"),
    ),
)


def _told(shown: str, english: tuple[str, ...], chinese: tuple[str, ...]) -> Told:
    """What is said of a claim if it is supported, refuted, depends, or is inconclusive."""
    first, second, third, fourth = zip(english, chinese, strict=True)
    said = {"supported": first, "refuted": second, "depends": third, "inconclusive": fourth}
    return {word: (f"{en}: {shown}. ", f"{zh}：{shown}。") for word, (en, zh) in said.items()}  # type: ignore[misc]


def _both(claim: str) -> str:
    return "; ".join(f"{{claim/{claim}/effect/{where}:points ci}} (`{where}`)" for where in SIZES)


SHORT_ANSWERS = answers_from(
    _told(
        _both("sigmoid_beats_softmax"),
        (
            "The sigmoid beats the softmax",
            "The sigmoid does not beat the softmax by what matters",
            "Whether the sigmoid beats the softmax depends on the batch size",
            "Whether the sigmoid beats the softmax could not be told",
        ),
        (
            "sigmoid 胜过 softmax",
            "sigmoid 并没有胜过 softmax 到值得在意的程度",
            "sigmoid 是否胜过 softmax 取决于批次大小",
            "sigmoid 是否胜过 softmax 还不能断定",
        ),
    ),
    _told(
        "{claim/small_batches_favour_the_sigmoid/effect:points ci}",
        (
            "Small batches favour the sigmoid",
            "Small batches do not favour the sigmoid by what matters",
            "Whether small batches favour the sigmoid depends",
            "Whether small batches favour the sigmoid could not be told",
        ),
        (
            "小批次有利于 sigmoid",
            "小批次对 sigmoid 的好处没有达到值得在意的程度",
            "小批次是否有利于 sigmoid 视情况而定",
            "小批次是否有利于 sigmoid 还不能断定",
        ),
    ),
    _told(
        _both("sigmoid_beats_softmax_from_its_start"),
        (
            "Against a softmax from the same scale it is ahead, too",
            "Against a softmax from the same scale it is not ahead by what matters",
            "Against a softmax from the same scale it depends on the batch size",
            "Against a softmax from the same scale it could not be told",
        ),
        (
            "与从同一比例开始的 softmax 相比也领先",
            "与从同一比例开始的 softmax 相比，没有领先到值得在意的程度",
            "与从同一比例开始的 softmax 相比，取决于批次大小",
            "与从同一比例开始的 softmax 相比还不能断定",
        ),
    ),
)


def _rates(*octaves: int) -> tuple[float, ...]:
    return tuple(2.0**octave for octave in octaves)


SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(4_096, {where: _rates(-10, -8, -6) for where in LEVELS}),
    "full": Settings(
        25_600,
        dict(
            zip(
                LEVELS,
                (_rates(-12, -11, -10), _rates(-11, -10, -9), _rates(-10, -9, -8), _rates(-9, -8, -7)),
                strict=True,
            )
        ),
    ),
}

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/softmax_or_sigmoid.py",
    helpers=HELPERS,
)
