"""The page of :mod:`~lucida.lab.experiments.held_out_instructions`: what it declares and answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.held_out_instructions import (
    BLIND,
    EARLY,
    FIRST,
    FIVE,
    FIVE_WORDED,
    HELD,
    LATE,
    ONE,
    ONE_WORDED,
    SIXTEEN,
    TEN,
    Settings,
    measure,
)
from lucida.lab.experiments.held_out_instructions_sections import present
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(steps=240, batch_size=16, rates=(0.0015, 0.003, 0.006)),
    "full": Settings(steps=720, batch_size=16, rates=(0.0015, 0.003, 0.006)),
}
MATTERS, COSTS = 0.05, 0.02


def _held_out(name: str, texts: tuple[str, str, str], arms: tuple[str, str], *, primary: bool = False) -> Claim:
    return Claim(
        name, *texts, HELD, HELD, *arms, MATTERS, "examples", (EARLY, LATE), primary=primary, share=True
    )  # fmt: skip


CLAIMS = (
    _held_out(
        "more_kinds",
        (
            "At equal examples, more kinds of instruction raise accuracy on held-out kinds.",
            "样本总数相同时，指令的种类越多，在未见过的指令种类上越准确。",
            "Sixteen kinds answer held-out kinds better than five, although five have all of their words.",
        ),
        (SIXTEEN, FIVE),
        primary=True,
    ),
    Claim(
        "kinds_cost",
        "At equal examples, more kinds of instruction cost accuracy on each of them.",
        "样本总数相同时，指令的种类越多，在每一种上越不准确。",
        "Tuned on sixteen kinds, a model answers the five that are tuned on in both arms worse than tuned on five.",
        FIRST,
        FIRST,
        SIXTEEN,
        FIVE,
        -COSTS,
        share=True,
    ),
    _held_out(
        "wordings",
        (
            "Many wordings of few kinds raise accuracy on held-out kinds, too.",
            "少数几种指令换多种说法，也能提高在未见过的指令种类上的准确率。",
            "Five kinds in all wordings answer held-out kinds better than five kinds in one.",
        ),
        (FIVE_WORDED, FIVE),
        primary=True,
    ),
    _held_out(
        "ten_kinds",
        (
            "Ten kinds are better for held-out kinds than five.",
            "十种指令优于五种。",
            "Accuracy on held-out kinds is higher.",
        ),
        (TEN, FIVE),
    ),
    _held_out(
        "sixteen_over_ten",
        (
            "Sixteen kinds are better for held-out kinds than ten.",
            "十六种指令优于十种。",
            "Accuracy on held-out kinds is higher.",
        ),
        (SIXTEEN, TEN),
    ),
    _held_out(
        "words_are_needed",
        (
            "One kind, which lacks most words of the held-out kinds, carries over less than five, which have them all.",
            "只训练一种指令，许多词从未见过，迁移不如包含所有词的五种指令。",
            "Five kinds answer held-out kinds better than one.",
        ),
        (FIVE, ONE),
    ),
    _held_out(
        "kinds_or_wordings",
        (
            "As many different texts are better spent on kinds than on wordings.",
            "同样多的不同文本，用于增加种类好于用于增加说法。",
            "Sixteen kinds in one wording answer held-out kinds better than one kind in sixteen wordings.",
        ),
        (SIXTEEN, ONE_WORDED),
    ),
    _held_out(
        "looks",
        (
            "What carries over is looking, not the statistics of answers.",
            "迁移的是看图的能力，而不是答案的统计规律。",
            "Sixteen kinds answer held-out kinds better with the strips than a model that never saw one.",
        ),
        (SIXTEEN, BLIND),
    ),
)

DESIGN = Design(
    name="held-out-instructions",
    title="Kinds of instruction, trained on and held out",
    question="A multimodal language model is tuned on instructions. At equal examples, do more kinds of instruction "
    "help with kinds it was never tuned on? Do more wordings of few kinds?",
    question_zh="对多模态语言模型作指令微调。样本总数相同时，指令种类更多，"
    "是否有助于从未训练过的指令种类？少数种类的多种说法又如何？",
    claims=CLAIMS,
    factors={
        "kinds of instruction": "one, two, five, ten, sixteen; the larger sets contain the smaller ones",
        "wordings": "one, or four of what is asked and four of how a thing is meant (sixteen texts a kind); for one "
        "kind and for five",
        "strips": "shown; for sixteen kinds also never shown",
        "examples": "a third of the tuning, or all of it",
    },
    held_fixed=(
        "examples, steps and batch size, and the strips of every step, seed by seed",
        "the four held-out kinds of a seed, drawn anew for every seed; asked in the wording that all arms know",
        "the first five kinds have all that is asked and all ways to mean a thing among them, so that from five kinds "
        "on there is no word in a held-out kind that was not trained on",
        "first weights, by seed; Adam, gradients clipped; five kinds, five in all wordings and sixteen each have their "
        "own learning rate, best on validation strips of other seeds by the arm's own kinds (held-out kinds choose "
        "nothing); fewer kinds have that of five, one kind in all wordings that of five so, ten kinds and the model "
        "without strips that of sixteen",
        "what each place shows is taught with true labels, beside the answers, in every arm that sees it",
    ),
    data="strips of six places, two to five of them showing emoji of different kinds under little noise; an "
    "instruction asks one of four things (what is it, is it a cat, which group is it of, is it of that group) about a "
    "thing that is meant in one of five ways (the first, the second, the last, what is left of a thing, what is right "
    "of it); its answer is one word; groups of four kinds are drawn by seed and known from answers alone",
    networks="places as mixtures of the model's own words, then a causal transformer, 32 wide, from nothing",
    seeds={"quick": 4, "full": 8},
    would_change=(
        "a language model that has read much: it knows words and how they combine before it is tuned, and needs kinds "
        "only to learn that it is to follow them (in FLAN more groups of tasks help from some size of model on)",
        "kinds that are not combinations of the same words: what is new in every word is not asked here",
        "many more kinds than sixteen, or very many examples of few",
        "a network that is built to combine words",
    ),
    sources=(
        (
            "Wei et al. 2021, Finetuned language models are zero-shot learners (FLAN)",
            "https://arxiv.org/abs/2109.01652",
        ),
        ("Dai et al. 2023, InstructBLIP: held-out data sets and tasks", "https://arxiv.org/abs/2305.06500"),
        ("Xu et al. 2024, Vision-FLAN: accuracy by the number of tasks", "https://arxiv.org/abs/2402.11690"),
        (
            "Lake and Baroni 2018, Generalization without systematicity (SCAN)",
            "https://arxiv.org/abs/1711.00350",
        ),
    ),
)

_BY_EXAMPLES = "; ".join(f"{{claim/more_kinds/effect/{level}:points}} ({level})" for level in (EARLY, LATE))
_WORDED = "; ".join(f"{{claim/wordings/effect/{level}:points}} ({level})" for level in (EARLY, LATE))
_NUMBERS = f"{{{HELD}/{FIVE}:%}} with five kinds, {{{HELD}/{SIXTEEN}:%}} with sixteen"
_MORE: dict[Word, tuple[str, str]] = {
    "supported": (
        f"More kinds help: of held-out kinds {_NUMBERS} is answered right, at equal examples. ",
        "种类更多有帮助：样本总数相同，在未见过的种类上的正确率变化 {claim/more_kinds/effect:points ci}。",
    ),
    "depends": (
        f"Whether more kinds help depends on how much there is to learn from: {_BY_EXAMPLES}. ",
        f"种类更多是否有帮助取决于样本多少：{_BY_EXAMPLES}。",
    ),
    "refuted": (
        f"More kinds did not help by what matters: of held-out kinds {_NUMBERS} is answered right. ",
        "种类更多并没有明显帮助：正确率变化 {claim/more_kinds/effect:points ci}。",
    ),
    "inconclusive": (
        f"Whether more kinds help could not be told: of held-out kinds {_NUMBERS} is answered right "
        "({claim/more_kinds/effect:points ci}). ",
        "种类更多是否有帮助还不能断定：正确率变化 {claim/more_kinds/effect:points ci}。",
    ),
}
_COST: dict[Word, tuple[str, str]] = {
    "supported": (
        "It has a price: the five kinds that both were tuned on change by {claim/kinds_cost/effect:points ci}. ",
        "代价是：两者都训练过的五种指令的正确率变化 {claim/kinds_cost/effect:points ci}。",
    ),
    "refuted": (
        "It has no price that matters: the five kinds that both were tuned on change by "
        "{claim/kinds_cost/effect:points ci}. ",
        "没有明显代价：两者都训练过的五种指令的正确率变化 {claim/kinds_cost/effect:points ci}。",
    ),
    "inconclusive": (
        "What it costs the five kinds that both were tuned on could not be told: {claim/kinds_cost/effect:points ci}. ",
        "对两者都训练过的五种指令的代价还不能断定：{claim/kinds_cost/effect:points ci}。",
    ),
}
_WORDINGS: dict[Word, tuple[str, str]] = {
    "supported": (
        "More wordings of the five kinds help as well: {claim/wordings/effect:points ci}.",
        "五种指令换更多说法也有帮助：{claim/wordings/effect:points ci}。",
    ),
    "depends": (
        f"Whether more wordings of the five kinds help depends on the examples: {_WORDED}.",
        f"五种指令换更多说法是否有帮助取决于样本多少：{_WORDED}。",
    ),
    "refuted": (
        "More wordings of the same five kinds do not do it: {claim/wordings/effect:points ci}.",
        "同样五种指令换更多说法没有作用：{claim/wordings/effect:points ci}。",
    ),
    "inconclusive": (
        "Whether more wordings of the same five kinds do it could not be told: {claim/wordings/effect:points ci}.",
        "同样五种指令换更多说法是否有用还不能断定：{claim/wordings/effect:points ci}。",
    ),
}
SHORT_ANSWERS = answers_from(_MORE, _COST, _WORDINGS)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/held_out_instructions.py",
    helpers=(
        "lab/strip_instructions.py",
        "lab/instruction_answerer.py",
        "lab/strips.py",
        "lab/experiments/answers_or_everything_network.py",
    ),
)
