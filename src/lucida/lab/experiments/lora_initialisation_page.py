"""The page of :mod:`~lucida.lab.experiments.lora_initialisation`: what it declares, and the short answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.lora_initialisation import (
    A_ZERO,
    ACCURACY,
    BOTH,
    COPIED,
    DEFAULT,
    GAINED,
    LARGEST,
    LOST,
    NEITHER,
    Settings,
    levels,
    measure,
)
from lucida.lab.experiments.lora_initialisation_sections import present
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings((32, 128, 512), 4, 8.0, 25, (-8, -3)),
    "full": Settings((32, 128, 512), 4, 8.0, 120, (-11, 0)),
}
MATTERS, OCTAVES = 0.01, 0.5  # of accuracy; of a rate
LEVELS = levels(SETTINGS["full"])


def _claim(
    name: str,
    texts: tuple[str, str, str],
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    *,
    primary: bool = False,
    unit: str = "",
) -> Claim:
    share = not unit
    return Claim(name, *texts, measure, unit or measure, *arms, smallest, "width", LEVELS, primary=primary, share=share)


CLAIMS = (
    _claim(
        "b_zero_is_better",
        (
            "LoRA that starts with B = 0 ends better than LoRA that starts with A = 0.",
            "以 B = 0 开始的 LoRA，最终好于以 A = 0 开始的 LoRA。",
            "Each at its own best rate and after as many steps, more lying digits of the test part are named right.",
        ),
        ACCURACY,
        (DEFAULT, A_ZERO),
        MATTERS,
        primary=True,
    ),
    _claim(
        "b_zero_bears_larger_rates",
        (
            "Starting with B = 0, training bears a larger learning rate than starting with A = 0.",
            "以 B = 0 开始，训练能承受比以 A = 0 开始更大的学习率。",
            "The largest rate up to which, from the best one on, training ends better than guessing is larger.",
        ),
        LARGEST,
        (DEFAULT, A_ZERO),
        OCTAVES,
        primary=True,
        unit="log2 of the largest rate borne",
    ),
    Claim(
        "advantage_grows_with_width",
        "The wider the network, the larger the advantage of B = 0 in the rate that is borne.",
        "网络越宽，B = 0 在可承受学习率上的优势越大。",
        "From the narrowest to the widest network A = 0 loses more octaves of the rate that is borne: by the theory "
        "rates go with one over the width for A = 0, with one over its root for B = 0.",
        LOST,
        "octaves from the narrowest to the widest network",
        DEFAULT,
        A_ZERO,
        -OCTAVES,
    ),
    _claim(
        "worse_at_the_copied_rate",
        (
            "At the learning rate that is best for B = 0, A = 0 does worse.",
            "在对 B = 0 最好的学习率下，A = 0 更差。",
            "Whoever changes the start and keeps the rate names fewer digits right.",
        ),
        COPIED,
        (A_ZERO, DEFAULT),
        -MATTERS,
    ),
    _claim(
        "both_random_is_better",
        (
            "Both at random, with their product taken from the frozen weight, ends better than B = 0.",
            "A、B 都随机、并把乘积从冻结权重中减去，最终好于 B = 0。",
            "Each at its own best rate, more digits are named right.",
        ),
        ACCURACY,
        (BOTH, DEFAULT),
        MATTERS,
    ),
    _claim(
        "both_zero_never_learns",
        (
            "With A = 0 and B = 0 nothing is ever learned.",
            "A = 0 且 B = 0 时，什么也学不到。",
            "Accuracy after training is what it was before.",
        ),
        GAINED,
        (NEITHER, DEFAULT),
        -0.05,
    ),
)

DESIGN = Design(
    name="lora-initialisation",
    title="May LoRA start with A = 0?",
    question="An adapter adds `s B A x` to a frozen layer. May A be zero and B random at the start, in place of the "
    "usual B = 0 and A random?",
    question_zh="适配器在冻结层上加上 `s B A x`。开始时可以让 A 为零、B 随机，代替通常的 B 为零、A 随机吗？",
    claims=CLAIMS,
    factors={
        "start": "B = 0 and A uniform with variance 1 / (3 inputs) (the default of peft); A = 0 and B uniform with "
        "variance 1 / (3 r); both at random, their product taken from the frozen weight; both zero",
        "width": "of the layers: 32, 128 or 512",
        "learning rate": "all powers of two from 2^-11 to 1, for every start and width",
    },
    held_fixed=(
        "rank 4, alpha 8, adapters on every layer but the head, no dropout; Adam, no schedule, no clipping",
        "the network before, its digits, the order of batches, by seed; the random part of a start, by seed and layer",
        "each start's best rate is that of the highest validation accuracy over four tuning seeds, which no result "
        "uses",
        "a rate is borne if the loss stays finite and is, over the last tenth of the steps, below that of guessing "
        "(ln 10); the largest is that up to which all are borne from the best rate on (smaller ones may be too slow to "
        "get there in time)",
    ),
    data="handwritten digits of 8×8 pixels: upright ones for the network before, the same lying on their side for the "
    "adapters; a seed draws the split, weights and order",
    networks="a perceptron of three hidden layers with ReLU, trained on upright digits, then frozen",
    seeds={"quick": 6, "full": 16},
    would_change=(
        "a large language model: widths of thousands and dozens of layers, where what a rate bears is decided far from "
        "the widths measured here",
        "SGD in place of Adam: the size of a step then follows the size of the gradient, and the start decides both",
        "a smaller random B: the start with A = 0 takes steps of the size of B, and is told from the other by it",
        "far fewer steps: a start that moves faster at equal rates is then ahead at any rate that both bear",
        "a schedule with warm-up: it lets the largest rates pass that here blow up in the first steps",
    ),
    sources=(
        ("Hu et al. 2021, LoRA", "https://arxiv.org/abs/2106.09685"),
        (
            "Hayou, Ghosh & Yu 2024, The impact of initialization on LoRA finetuning dynamics",
            "https://arxiv.org/abs/2406.08447",
        ),
        ("Hayou, Ghosh & Yu 2024, LoRA+", "https://arxiv.org/abs/2402.12354"),
    ),
)


def _by_width(claim: str, form: str) -> str:
    """A claim's effect, width by width."""
    return ", ".join(f"{{claim/{claim}/effect/{level}{form and ':'}{form}}} ({level})" for level in LEVELS)


_ENDS = f"{{claim/b_zero_is_better/effect:points ci}} of accuracy, {_by_width('b_zero_is_better', 'points')}"
_ENDS_ZH = "{claim/b_zero_is_better/effect:points ci}"
_BETTER: dict[Word, tuple[str, str]] = {
    "supported": (
        f"It may, but the usual start with B = 0 ends better, each at its own best rate: {_ENDS}. ",
        f"可以，但通常的 B = 0 最终更好（各取自己的最佳学习率）：准确率相差 {_ENDS_ZH}。",
    ),
    "refuted": (
        f"It may: each at its own best rate, the usual start with B = 0 is not better by what matters: {_ENDS}. ",
        f"可以：各取自己的最佳学习率时，通常的 B = 0 并没有好到值得在意的程度：准确率相差 {_ENDS_ZH}。",
    ),
    "depends": (
        f"It may; which start ends better depends on the width: B = 0 against A = 0 has {_ENDS}. ",
        f"可以；哪一种开始更好取决于宽度：B = 0 与 A = 0 的准确率相差 {_ENDS_ZH}。",
    ),
    "inconclusive": (
        f"It may; which start ends better could not be told: B = 0 against A = 0 has {_ENDS}. ",
        f"可以；哪一种开始更好还不能断定：B = 0 与 A = 0 的准确率相差 {_ENDS_ZH}。",
    ),
}
_RATES = f"{{claim/b_zero_bears_larger_rates/effect:ci}} octaves, {_by_width('b_zero_bears_larger_rates', '')}"
_RATES_ZH = "{claim/b_zero_bears_larger_rates/effect:ci} 个倍频程"
_LARGER: dict[Word, tuple[str, str]] = {
    "supported": (f"B = 0 bears larger rates: by {_RATES}", f"B = 0 能承受更大的学习率：{_RATES_ZH}"),
    "refuted": (
        f"That B = 0 bears larger rates was not seen: the difference is {_RATES}",
        f"没有看到 B = 0 能承受更大的学习率：相差 {_RATES_ZH}",
    ),
    "depends": (
        f"Which start bears larger rates depends on the width: B = 0 against A = 0 is {_RATES}",
        f"哪一种开始能承受更大的学习率取决于宽度：相差 {_RATES_ZH}",
    ),
    "inconclusive": (
        f"Which start bears larger rates could not be told: B = 0 against A = 0 is {_RATES}",
        f"哪一种开始能承受更大的学习率还不能断定：相差 {_RATES_ZH}",
    ),
}
_WIDER = "{claim/advantage_grows_with_width/effect:ci} octaves from the narrowest to the widest network"
_WIDER_ZH = "{claim/advantage_grows_with_width/effect:ci} 个倍频程"
_GROWS: dict[Word, tuple[str, str]] = {
    "supported": (
        f"; with width A = 0 loses more of it, as the theory says ({_WIDER}). ",
        f"；随宽度增加，A = 0 损失更多，与理论一致（{_WIDER_ZH}）。",
    ),
    "refuted": (
        f"; that A = 0 loses more of it with width, as the theory says, was not seen ({_WIDER}). ",
        f"；没有看到理论所说的 A = 0 随宽度损失更多（{_WIDER_ZH}）。",
    ),
    "inconclusive": (
        f"; whether A = 0 loses more of it with width could not be told ({_WIDER}). ",
        f"；A = 0 是否随宽度损失更多还不能断定（{_WIDER_ZH}）。",
    ),
}
_REST = (
    "At the rate that is best for B = 0, A = 0 has {claim/worse_at_the_copied_rate/effect:points ci}. With both zero "
    "nothing moves: each factor's gradient is a product with the other."
)
_REST_ZH = (
    "在对 B = 0 最好的学习率下，A = 0 相差 {claim/worse_at_the_copied_rate/effect:points ci}。"
    "两者都为零时什么都不会动：每个因子的梯度都含有另一个因子。"
)
SHORT_ANSWERS = answers_from(_BETTER, _LARGER, _GROWS, (_REST, _REST_ZH), settings=True)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/lora_initialisation.py",
    helpers=("lab/low_rank.py", "lab/turned_digits.py", "models/adapters.py"),
)
