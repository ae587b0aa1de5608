"""The page of :mod:`~lucida.lab.experiments.temperature`: what it declares, and the short answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.dual_encoders import ZERO_SHOT
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.temperature import (
    BEST,
    BEST_SCALE,
    CLEAN,
    COLD,
    FREE,
    FROM_COLD,
    FROM_HOT,
    HOT,
    LEARNED_SCALE,
    LEVELS,
    QUICK_FROM_COLD,
    QUICK_FROM_HOT,
    USUAL,
    WRONG,
    Settings,
    held,
    measure,
)
from lucida.lab.experiments.temperature_sections import present
from lucida.lab.pair_arms import HELPERS
from lucida.lab.short_answers import Told, answers_from

MATTERS = 0.01  # of the pictures of unseen concepts


def _claim(
    name: str, texts: tuple[str, str, str], arms: tuple[str, str], smallest: float, *, primary: bool = False
) -> Claim:
    unit = "share of the pictures of unseen concepts named right"
    return Claim(name, *texts, ZERO_SHOT, unit, *arms, smallest, "captions", LEVELS, primary=primary, share=True)


def _softer(name: str, texts: tuple[str, str, str], measured: str) -> Claim:
    return Claim(name, *texts, measured, "log2 of the scale", WRONG, CLEAN, -0.5, primary=False)


CLAIMS = (
    _claim(
        "searching_beats_learning",
        (
            "A temperature that was searched for and is held beats the learned one.",
            "搜索得到并固定的温度胜过学习得到的温度。",
            "The best of five scales (chosen on other seeds) names more pictures of unseen concepts right.",
        ),
        (BEST, USUAL),
        MATTERS,
        primary=True,
    ),
    _claim(
        "held_too_cold_costs",
        (
            "Holding the scale at 100, where CLIP's ends, costs accuracy.",
            "把比例固定在 100（CLIP 的终点）会损失准确率。",
            "Fewer pictures of unseen concepts are named right than with a learned one, with wrong names above all.",
        ),
        (held(COLD), USUAL),
        -MATTERS,
        primary=True,
    ),
    _claim(
        "a_hot_start_costs",
        (
            "Where a learned temperature starts matters: from scale 1 it ends worse than from CLIP's 14.",
            "学习温度的起点很重要：从比例 1 开始不如从 CLIP 的 14 开始。",
            "Fewer pictures of unseen concepts are named right.",
        ),
        (FROM_HOT, USUAL),
        -MATTERS,
        primary=True,
    ),
    _claim(
        "held_too_hot_costs",
        (
            "Holding the scale at 1 costs accuracy.",
            "把比例固定在 1 会损失准确率。",
            "Fewer pictures of unseen concepts are named right than with a learned one.",
        ),
        (held(HOT), USUAL),
        -MATTERS,
    ),
    _claim(
        "a_cold_start_costs",
        (
            "A learned temperature that starts at scale 100 ends worse than from CLIP's 14.",
            "从比例 100 开始学习的温度不如从 CLIP 的 14 开始。",
            "Fewer pictures of unseen concepts are named right.",
        ),
        (FROM_COLD, USUAL),
        -MATTERS,
    ),
    _claim(
        "a_quick_scale_repairs_a_hot_start",
        (
            "A scale that moves ten times as fast makes up for a start at 1.",
            "比例的移动速度加快到十倍，可以弥补从 1 开始的起点。",
            "More pictures of unseen concepts are named right than at the weights' pace.",
        ),
        (QUICK_FROM_HOT, FROM_HOT),
        MATTERS,
    ),
    _claim(
        "without_the_clamp_it_is_worse",
        (
            "The clamp at 100 matters to a scale that starts there and moves quickly.",
            "对从 100 开始并快速移动的比例来说，100 处的上限很重要。",
            "Without it fewer pictures of unseen concepts are named right.",
        ),
        (FREE, QUICK_FROM_COLD),
        -MATTERS,
    ),
    _softer(
        "wrong_names_want_it_softer",
        (
            "With many wrong names the best scale to hold is smaller.",
            "错误名称较多时，最佳的固定比例更小。",
            "By half an octave or more.",
        ),
        BEST_SCALE,
    ),
    _softer(
        "wrong_names_are_learned_softer",
        (
            "With many wrong names the learned scale ends smaller.",
            "错误名称较多时，学习得到的比例更小。",
            "By half an octave or more.",
        ),
        LEARNED_SCALE,
    ),
)

DESIGN = Design(
    name="temperature",
    title="The temperature: held or learned",
    question="Must the temperature of a contrastive loss be learned, and does it matter where it starts?",
    question_zh="对比损失的温度必须学习吗？从哪里开始有关系吗？",
    claims=CLAIMS,
    factors={
        "scale (one over the temperature)": "held at 1, 3, 10, 30, 100; learned from 14.3 (CLIP's), 1 and 100",
        "pace": "the scale's logarithm moves as fast as the weights, or ten times as fast (from 1 and from 100)",
        "clamp": "at 100 as CLIP, or none (learned quickly from 100)",
        "captions": "true names, or three in ten training pictures with another concept's name, always the same",
        "learning rate": "each arm's own at each kind of captions",
    },
    held_fixed=(
        "pairs shown and batch size (128); Adam, no schedule, no clipping; pairs of one concept are positives of each "
        "other",
        "parts, first weights, wrong names and order of pairs, by seed",
        "best rates are those of the highest mean reciprocal rank on validation concepts over four tuning seeds, which "
        "no result uses; the grid is extended where the best lies at an end; the best scale that is held is chosen by "
        "the same number",
    ),
    data="emoji by two artists as a frozen EfficientNet-Lite0 sees them, names and aliases as a frozen MiniLM reads "
    "them (128 principal components each); a seed draws 20 % of the groups of concepts as unseen",
    networks="the dual encoder of the workbench on frozen features: two heads of a linear map beside a perceptron of "
    "128 units, 64 numbers in common",
    seeds={"quick": 4, "full": 16},
    would_change=(
        "many more steps: a learned scale then travels as far as it likes, and its start no longer matters",
        "far larger batches, in which there are harder negatives",
        "towers that are trained from scratch, in which a cold start can stop learning altogether",
    ),
    sources=(
        ("Radford et al. 2021, CLIP", "https://arxiv.org/abs/2103.00020"),
        ("Wang & Isola 2020, Alignment and uniformity", "https://arxiv.org/abs/2005.10242"),
        ("Wang & Liu 2021, Understanding the behaviour of contrastive loss", "https://arxiv.org/abs/2012.09740"),
    ),
)


def _both(claim: str) -> str:
    """A claim's effect with true and with wrong names."""
    return "; ".join(f"{{claim/{claim}/effect/{level}:points ci}} ({level})" for level in LEVELS)


def _told(claim: str, texts: dict[str, tuple[str, str]]) -> Told:
    shown = _both(claim)
    return {
        "supported": (f"{texts['supported'][0]}: {shown}. ", f"{texts['supported'][1]}：{shown}。"),
        "refuted": (f"{texts['refuted'][0]}: {shown}. ", f"{texts['refuted'][1]}：{shown}。"),
        "depends": (f"{texts['depends'][0]}: {shown}. ", f"{texts['depends'][1]}：{shown}。"),
        "inconclusive": (f"{texts['inconclusive'][0]}: {shown}. ", f"{texts['inconclusive'][1]}：{shown}。"),
    }


SHORT_ANSWERS = answers_from(
    _told(
        "searching_beats_learning",
        {
            "supported": (
                "It is better searched for: the best of five temperatures that are held beats the learned one",
                "最好去搜索：五个固定温度中最好的胜过学习得到的",
            ),
            "refuted": (
                "Learning it is as good as searching: the best of five that are held is not better by what matters",
                "学习与搜索一样好：五个固定温度中最好的并没有好到值得在意的程度",
            ),
            "depends": (
                "Whether a search beats learning depends on the captions",
                "搜索是否胜过学习取决于标题",
            ),
            "inconclusive": (
                "Whether a search beats learning could not be told",
                "搜索是否胜过学习还不能断定",
            ),
        },
    ),
    _told(
        "held_too_cold_costs",
        {
            "supported": ("Held at scale `100` it costs", "固定在比例 `100` 有损失"),
            "refuted": (
                "Held at scale `100` it does not cost what matters",
                "固定在比例 `100` 没有值得在意的损失",
            ),
            "depends": (
                "What scale `100`, held, costs depends on the captions",
                "固定在比例 `100` 的损失取决于标题",
            ),
            "inconclusive": (
                "Whether scale `100`, held, costs could not be told",
                "固定在比例 `100` 是否有损失还不能断定",
            ),
        },
    ),
    _told(
        "a_hot_start_costs",
        {
            "supported": ("The start matters: learned from scale `1` it ends worse", "起点重要：从比例 `1` 学习更差"),
            "refuted": (
                "A start at scale `1` does not cost what matters",
                "从比例 `1` 开始没有值得在意的损失",
            ),
            "depends": (
                "What a start at scale `1` costs depends on the captions",
                "从比例 `1` 开始的损失取决于标题",
            ),
            "inconclusive": (
                "Whether a start at scale `1` costs could not be told",
                "从比例 `1` 开始是否有损失还不能断定",
            ),
        },
    ),
)

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(128, 5_000, 0.3, (2.0**-9, 2.0**-8, 2.0**-7)),
    "full": Settings(128, 16_000, 0.3, (2.0**-9, 2.0**-8, 2.0**-7)),
}

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/temperature.py",
    helpers=HELPERS,
)
