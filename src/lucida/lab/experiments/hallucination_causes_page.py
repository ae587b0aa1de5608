"""The page of :mod:`~lucida.lab.experiments.hallucination_causes`: what it declares, and the short answers."""

from __future__ import annotations

from itertools import product

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Answer, Experiment
from lucida.lab.experiments.hallucination_causes import (
    ALL_DATA,
    BAD_SIGHT,
    BOTH,
    COMPANY,
    COMPANY_ADDS,
    COMPANY_FIRST,
    FALSE_YES,
    FEW_NOES,
    HOT,
    LONG,
    MADE_UP,
    NOISE,
    NOTHING,
    PLAIN,
    PRIOR,
    SHORT,
    Settings,
    measure,
)
from lucida.lab.experiments.hallucination_causes_sections import present
from lucida.lab.verdict import Word
from lucida.report.sourced import quoted

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(steps=200, short=50, rates=(2e-3, 4e-3), known=3),
    "full": Settings(steps=400, short=100, rates=(1.5e-3, 3e-3, 6e-3), known=8),
}
MATTERS = 0.03
RANDOM = FALSE_YES["random"]


def _claim(
    name: str,
    texts: tuple[str, str, str],
    measure: str,
    arms: tuple[str, str],
    smallest: float = MATTERS,
    *,
    primary: bool = False,
    levels: tuple[str, ...] = (),
) -> Claim:
    moderator = "words" if levels else ""
    return Claim(name, *texts, measure, measure, *arms, smallest, moderator, levels, primary=primary, share=True)


CLAIMS = (
    _claim(
        "it_is_the_data",
        (
            "Models make things up in descriptions because of their training data.",
            "模型在描述中编造事物，是因为训练数据。",
            "With skewed company and frequency, few noes and wrong captions all at once, a larger share of what is "
            "named is not there.",
        ),
        MADE_UP,
        (ALL_DATA, NOTHING),
        primary=True,
    ),
    _claim(
        "bad_sight_is_enough",
        (
            "A model that sees badly makes things up, however good its data are.",
            "看不清的模型会编造事物，无论数据多好。",
            "With coarse pictures and a small tower, on balanced and true data, a larger share of what is named is not "
            "there.",
        ),
        MADE_UP,
        (BAD_SIGHT, NOTHING),
        primary=True,
    ),
    _claim(
        "gaps_are_filled_with_the_usual",
        (
            "What is not seen is filled in with what usually goes along.",
            "看不见的部分，会用通常一起出现的事物填补。",
            "Where sight is bad, skewed company makes questions about kinds of the company that is shown a false yes "
            "more often than those about kinds at random.",
        ),
        COMPANY_FIRST,
        (BOTH, BAD_SIGHT),
        primary=True,
    ),
    _claim(
        "bad_sight_and_company_meet",
        (
            "The company that is expected matters more to who sees badly.",
            "对看不清的模型，预期的同伴更重要。",
            "What skewed company adds to false yes about kinds of the company that is shown, beyond those about kinds "
            "at random, is more where sight is bad than where it is good.",
        ),
        COMPANY_ADDS,
        (f"{COMPANY}, {BAD_SIGHT}", f"{COMPANY}, good sight"),
    ),
    _claim(
        "few_noes_teach_yes",
        (
            "Few questions whose answer is no teach a model to say yes.",
            "答案为“否”的问题太少，会教模型说“是”。",
            "More questions about absent kinds at random are answered yes.",
        ),
        RANDOM,
        (FEW_NOES, NOTHING),
    ),
    _claim(
        "few_noes_spoil_descriptions",
        (
            "Few questions whose answer is no make descriptions worse, too.",
            "答案为“否”的问题太少，也会使描述变差。",
            "A larger share of what is named is not there.",
        ),
        MADE_UP,
        (FEW_NOES, NOTHING),
    ),
    _claim(
        "wrong_captions_are_repeated",
        (
            "Captions that are sometimes wrong are repeated.",
            "有时出错的图注会被模仿。",
            "A larger share of what is named is not there, in the likeliest words and in sampled ones.",
        ),
        f"{MADE_UP}, by wording",
        (NOISE, NOTHING),
        levels=(PLAIN, HOT),
    ),
    _claim(
        "priors_speak",
        (
            "Texts read without their pictures make a model describe what it expects.",
            "没有配图的文本会让模型描述它所预期的内容。",
            "A larger share of what is named is not there.",
        ),
        MADE_UP,
        (PRIOR, NOTHING),
    ),
    _claim(
        "training_stopped_early",
        (
            "Training that stops early makes a model make things up.",
            "过早停止训练会使模型编造事物。",
            "After a quarter of the steps a larger share of what is named is not there.",
        ),
        MADE_UP,
        (SHORT, NOTHING),
    ),
    _claim(
        "long_descriptions_are_made_up",
        (
            "Descriptions that must go on are made up, with nothing wrong before.",
            "被迫继续的描述会编造内容，即使别无问题。",
            "Made to name five kinds, a clean model names a larger share that is not there than up to its own end.",
        ),
        f"{MADE_UP}, by length",
        (f"{NOTHING}, {LONG}", f"{NOTHING}, own end"),
    ),
)

DESIGN = Design(
    name="hallucination-causes",
    title="Why multimodal models make things up",
    question="Why do multimodal language models name what is not there: is it the training data?",
    question_zh="多模态语言模型为什么会说出图中没有的东西：是训练数据的问题吗？",
    claims=CLAIMS,
    factors={
        "data": "company (kinds drawn at random, or 95 % of the weight on one context), frequency (even, or a power "
        "law with exponent 1.5), share of questions whose answer is no (a half, or a fifth), captions (true, or each "
        "name with a chance of 0.4 left out, replaced or followed by a wrong one)",
        "language prior": "half of the texts read without their strip, or none",
        "sight": "twelve or three pixels a side; 64 or 8 units of the tower's hidden layer",
        "training": "all steps, or a quarter of them",
        "speaking": "the likeliest words or sampled ones (temperature 1); up to the own end, or at least five names",
    },
    held_fixed=(
        "what each place shows is taught with true labels in every arm that sees it, as in the default model",
        "the strips on which all models of a seed are examined (but for the resolution they see), their questions, the "
        "first weights, batches of 64, the learning rate (of the clean model, so that nothing but the cause changes)",
        "adversarial questions ask for an absent kind of the company that is shown, popular ones for the most frequent "
        "absent kind of a skewed world, whether or not the model learned from one",
    ),
    data="strips of six places, two to five of them showing emoji of different kinds, by either of two artists, under "
    "noise; 24 kinds in six contexts, drawn for each seed",
    networks="a perceptron names each place as a mixture of words; a causal transformer of two blocks and width 32 "
    "reads them, names what is there from left to right, and answers whether a kind is there",
    seeds={"quick": 3, "full": 8},
    would_change=(
        "other strengths: each cause is there at one strength alone, and shares of variance hang on that",
        "a large language model: its prior is learned from far more text than pictures",
        "captions whose errors always go the same way: a greedy model would repeat those, too",
        "real photographs, where company tells more of what is there, and the test would share the skew",
    ),
    sources=(
        ("Rohrbach et al. 2018, Object hallucination in image captioning", "https://arxiv.org/abs/1809.02156"),
        ("Li et al. 2023, Evaluating object hallucination (POPE)", "https://arxiv.org/abs/2305.10355"),
        ("Zhou et al. 2023, Analyzing and mitigating object hallucination", "https://arxiv.org/abs/2310.00754"),
        (
            "Box & Hunter 1961, The 2^(k-p) fractional factorial designs",
            "https://doi.org/10.1080/00401706.1961.10489951",
        ),
    ),
)

_DATA = "{claim/it_is_the_data/effect:points ci}"
_DATA_ZH = "{claim/it_is_the_data/effect:points ci}"
_IS_DATA: dict[Word, tuple[str, str]] = {
    "supported": (
        f"The training data are a cause: skewed, with few noes and wrong captions, they add {_DATA} to what is made "
        "up. ",
        f"训练数据是一个原因：偏斜、少“否”、图注有错时，编造的比例增加 {_DATA_ZH}。",
    ),
    "refuted": (
        f"Not by themselves: skewed data with few noes and wrong captions add {_DATA} to what a model that sees well "
        "makes up in descriptions. ",
        f"单凭数据并不会：对看得清的模型，偏斜、少“否”、图注有错的数据使描述中编造的比例变化 {_DATA_ZH}。",
    ),
    "inconclusive": (
        f"Whether the training data alone make a model that sees well make things up could not be told: {_DATA}. ",
        f"对看得清的模型，仅凭训练数据是否会导致编造还不能断定：{_DATA_ZH}。",
    ),
}
_SIGHT = "{claim/bad_sight_is_enough/effect:points ci}"
_SIGHT_ZH = "{claim/bad_sight_is_enough/effect:points ci}"
_IS_SIGHT: dict[Word, tuple[str, str]] = {
    "supported": (f"Bad sight is enough: {_SIGHT}, on balanced and true data. ", f"看不清就足够了：{_SIGHT_ZH}。"),
    "refuted": (f"Bad sight alone is not: {_SIGHT}. ", f"仅仅看不清还不够：{_SIGHT_ZH}。"),
    "inconclusive": (
        f"Whether bad sight is enough could not be told: {_SIGHT}. ",
        f"看不清是否足够还不能断定：{_SIGHT_ZH}。",
    ),
}
_FILLED = "{claim/gaps_are_filled_with_the_usual/effect:points ci}"
_FILLED_ZH = "{claim/gaps_are_filled_with_the_usual/effect:points ci}"
_IS_FILLED: dict[Word, tuple[str, str]] = {
    "supported": (
        f"Both meet: what is not seen is filled in with what usually goes along ({_FILLED} of false yes). ",
        f"两者相遇：看不见的部分用通常一起出现的事物填补（误答“是”{_FILLED_ZH}）。",
    ),
    "refuted": (
        f"That gaps are filled in with what usually goes along was not seen ({_FILLED} of false yes). ",
        f"没有看到用通常一起出现的事物来填补空缺（误答“是”{_FILLED_ZH}）。",
    ),
    "inconclusive": (
        f"Whether gaps are filled in with what usually goes along could not be told ({_FILLED} of false yes). ",
        f"是否用通常一起出现的事物填补空缺还不能断定（误答“是”{_FILLED_ZH}）。",
    ),
}
_REST = (
    "Answers are another matter: with few noes among the questions, {claim/few_noes_teach_yes/effect:points ci} "
    "more absent kinds are answered yes, and descriptions change by "
    "{claim/few_noes_spoil_descriptions/effect:points ci}. From its errors the cause of a model can be told in {cases "
    "told rightly:0} of {cases:0} cases."
)
_REST_ZH = (
    "回答则是另一回事：问题中“否”太少时，"
    "对不存在事物误答“是”的比例增加 {claim/few_noes_teach_yes/effect:points ci}，"
    "描述变化 {claim/few_noes_spoil_descriptions/effect:points ci}。"
    "从错误中能判断出原因的有 {cases told rightly:0}/{cases:0} 例。"
)
SHORT_ANSWERS = tuple(
    Answer(
        (data, sight, filled),
        quoted(_IS_DATA[data][0] + _IS_SIGHT[sight][0] + _IS_FILLED[filled][0] + _REST),
        quoted(_IS_DATA[data][1] + _IS_SIGHT[sight][1] + _IS_FILLED[filled][1] + _REST_ZH),
    )
    for data, sight, filled in product(_IS_DATA, _IS_SIGHT, _IS_FILLED)
)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/hallucination_causes.py",
    helpers=(
        "lab/strips.py",
        "lab/strip_answerer.py",
        "lab/strip_exam.py",
        "lab/strip_learners.py",
        "lab/symptoms.py",
        "lab/factorial.py",
        "lab/experiments/answers_or_everything_network.py",
    ),
)
