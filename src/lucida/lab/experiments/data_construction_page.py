"""The page of :mod:`~lucida.lab.experiments.data_construction`: what it declares, and the short answers."""

from __future__ import annotations

from dataclasses import replace

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.dirty_pairs import BALANCE, CLEAN, DEDUPLICATE, FILTER, NEGATIVES, Construction, Dirt
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.data_construction import (
    ACCURACY,
    ALL,
    FLATTERY,
    LEVELS,
    NONE,
    Settings,
    alone,
    measure,
    without,
)
from lucida.lab.experiments.data_construction_sections import present
from lucida.lab.pair_learners import Course
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word
from lucida.models.dual_encoder import HeadConfig

_FULL = Settings(
    Dirt(pairs=3000, wrong=0.35, empty=0.15, copied=0.15, viral=10, leaked=0.1, skew=0.7),
    Construction(trusted=300, keep_share=0.6, cap=10, negatives=8),
    Course(256, HeadConfig(128, 256, 0.2), batch=128, steps=24, rates=(1e-3, 3e-3, 1e-2), starts=2),
)
SETTINGS: dict[Scale, Settings] = {
    "quick": replace(_FULL, dirt=replace(_FULL.dirt, pairs=1000), course=replace(_FULL.course, steps=8, starts=1)),
    "full": _FULL,
}
UNIT = "share of pictures whose name is among the five nearest"
MATTERS = {ALL: 0.02, FILTER: 0.01, NEGATIVES: 0.01}


def _claim(
    name: str, texts: tuple[str, str, str], arms: tuple[str, str], smallest: float, *, primary: bool = False
) -> Claim:
    return Claim(name, *texts, ACCURACY, UNIT, *arms, smallest, "test", LEVELS, primary=primary, share=True)


CLAIMS = (
    _claim(
        "all_steps_help",
        (
            "On a dirty crawl, all steps of data construction together make zero-shot naming better.",
            "在脏的网页数据上，数据构建的全部步骤合在一起能提高零样本识别。",
            "After as many examples, the encoder trained on what all steps leave names more pictures right than the "
            "one trained on the crawl as it is.",
        ),
        (ALL, NONE),
        MATTERS[ALL],
        primary=True,
    ),
    _claim(
        "the_filter_helps",
        (
            "Beside the other steps, filtering by similarity makes zero-shot naming better.",
            "在其他步骤之外，按图文相似度过滤还能提高零样本识别。",
            "With all steps more pictures are named right than with all but the filter.",
        ),
        (ALL, without(FILTER)),
        MATTERS[FILTER],
        primary=True,
    ),
    _claim(
        "hard_negatives_help",
        (
            "Beside the other steps, hard negatives in the batch make zero-shot naming better.",
            "在其他步骤之外，批次中加入难负例还能提高零样本识别。",
            "With all steps more pictures are named right than with all but hard negatives.",
        ),
        (ALL, without(NEGATIVES)),
        MATTERS[NEGATIVES],
        primary=True,
    ),
    _claim(
        "cleaning_helps",
        (
            "Beside the other steps, cleaning captions makes zero-shot naming better.",
            "在其他步骤之外，清洗文字说明还能提高零样本识别。",
            "With all steps more pictures are named right than with all but cleaning.",
        ),
        (ALL, without(CLEAN)),
        0.01,
    ),
    _claim(
        "deduplicating_helps",
        (
            "Beside the other steps, deduplicating makes zero-shot naming better.",
            "在其他步骤之外，去重还能提高零样本识别。",
            "With all steps more pictures are named right than with all but deduplicating.",
        ),
        (ALL, without(DEDUPLICATE)),
        0.01,
    ),
    _claim(
        "balancing_helps",
        (
            "Beside the other steps, balancing concepts makes zero-shot naming better.",
            "在其他步骤之外，平衡概念还能提高零样本识别。",
            "With all steps more pictures are named right than with all but balancing.",
        ),
        (ALL, without(BALANCE)),
        0.01,
    ),
    *(
        _claim(
            f"{step.replace(' ', '_')}_alone_helps",
            (
                f"The step {step} alone makes zero-shot naming better.",
                f"单独使用“{step}”这一步就能提高零样本识别。",
                "With this step alone more pictures are named right than with none.",
            ),
            (alone(step), NONE),
            0.01,
        )
        for step in (CLEAN, DEDUPLICATE, FILTER, BALANCE, NEGATIVES)
    ),
    Claim(
        "leaks_flatter",
        "Test pictures that leaked into the training flatter the result.",
        "泄漏到训练集里的测试图片会让结果虚高。",
        "Where nothing was deduplicated, the pictures that leaked are named right more often than the others by more "
        "than where their copies were dropped.",
        FLATTERY,
        "share of leaked pictures named right, above that of the others",
        NONE,
        alone(DEDUPLICATE),
        0.05,
        primary=False,
        share=True,
    ),
)

DESIGN = Design(
    name="data-construction",
    title="What each step of data construction buys",
    question="A crawl has captions of other pictures, captions that say nothing, copies, and far more of some things "
    "than of others. What does each step of `lucida data construct` buy, alone and beside the others?",
    question_zh="抓取的图文数据里有张冠李戴的说明、毫无内容的说明、重复的图片，且某些事物远多于其他。"
    "`lucida data construct` 的每一步，单独使用时和与其他步骤一起使用时，各能带来多少提高？",
    claims=CLAIMS,
    factors={
        "steps": "none; each alone; all but each; all. Cleaning drops captions that say nothing; deduplicating drops "
        "near-copies of pictures, those of the test too, which is named first; the filter keeps the pairs that an "
        "encoder made from a few checked pairs finds most similar; balancing caps each concept; hard negatives put "
        "one of its nearest other pairs into the batch beside a pair",
        "test": "concepts of which no picture was in the crawl, by both artists, named among each other; pictures by "
        "the second artist of concepts known from the first, named among all known ones, those that leaked left out; "
        "a picture counts as named right if its name is among the five nearest",
    },
    held_fixed=(
        "how many examples are seen: as many as one pass over the crawl has, in batches of one size; what a step "
        "leaves is repeated until they are seen",
        "the crawl, two starts of the heads, which are averaged, by seed; weight decay; temperature learned from its "
        "usual start",
        "each arm has the learning rate of three that is best on validation concepts, which are neither in the crawl "
        "nor in the tests",
        "the stages are those of the command line with its defaults, but for the shares and caps above",
        "the checked pairs make the filter's encoder, and nothing trains on them",
    ),
    data="drawings of emoji by two artists in random views, with captions made from their names: a seed draws which "
    "concepts are unseen, which are popular, and every fault",
    networks="a dual encoder: frozen EfficientNet-Lite0 and MiniLM, a trained head on each",
    seeds={"quick": 3, "full": 8},
    would_change=(
        "many passes over the crawl: then every right pair is seen often in every arm, and what a step drops is missed",
        "a crawl so large that no concept is lost by what is dropped",
        "another share of wrong captions: with few there is nothing for the filter to find",
        "an encoder for the filter that was trained on more than some hundred checked pairs",
        "towers that are trained too: heads on frozen features have little room to learn captions by heart",
    ),
    sources=(
        ("Gadre et al. 2023, DataComp", "https://arxiv.org/abs/2304.14108"),
        ("Xu et al. 2023, Demystifying CLIP data (MetaCLIP)", "https://arxiv.org/abs/2309.16671"),
        ("Fang et al. 2023, Data filtering networks", "https://arxiv.org/abs/2309.17425"),
        ("Robinson et al. 2021, Contrastive learning with hard negative samples", "https://arxiv.org/abs/2010.04592"),
    ),
)


def _effect(claim: str) -> str:
    return f"{{claim/{claim}/effect:points ci}}"


def _by_test(claim: str) -> str:
    return ", ".join(f"{{claim/{claim}/effect/{level}:points ci}} on the {level}" for level in LEVELS)


def _told(claim: str, subject: str, subject_zh: str) -> dict[Word, tuple[str, str]]:
    """What is said of a claim by its verdict."""
    return {
        "supported": (
            f"{subject} helps: {_effect(claim)} more pictures are named right ({_by_test(claim)}). ",
            f"{subject_zh}有帮助：多认对 {_effect(claim)}。",
        ),
        "refuted": (
            f"{subject} does not help by what would matter: {_effect(claim)} ({_by_test(claim)}). ",
            f"{subject_zh}没有带来值得在意的提高：{_effect(claim)}。",
        ),
        "depends": (
            f"Whether {subject[0].lower()}{subject[1:]} helps depends on the test: {_by_test(claim)}. ",
            f"{subject_zh}是否有帮助取决于测试：总体 {_effect(claim)}。",
        ),
        "inconclusive": (
            f"Whether {subject[0].lower()}{subject[1:]} helps could not be told: {_effect(claim)} "
            f"({_by_test(claim)}). ",
            f"{subject_zh}是否有帮助还不能断定：{_effect(claim)}。",
        ),
    }


_LEAKS = (
    "And what looks like knowledge may be a leak: without deduplicating, test pictures that lie in the crawl too are "
    "named right more often than the others, by {claim/leaks_flatter/effect:points ci} more than with it.",
    "看似学会的也可能只是泄漏：不去重时，抓取数据里也有的测试图片比其他图片更常被认对，"
    "与去重后相比多出 {claim/leaks_flatter/effect:points ci}。",
)
ANSWERS = answers_from(
    _told("all_steps_help", "Constructing the data with all steps", "用全部步骤构建数据"),
    _told("the_filter_helps", "The filter by similarity, beside the other steps,", "在其他步骤之外，相似度过滤"),
    _told(
        "hard_negatives_help",
        "Putting hard negatives into the batch, beside the other steps,",
        "在其他步骤之外，难负例",
    ),
    _LEAKS,
)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/data_construction.py",
    helpers=("lab/dirty_pairs.py", "lab/pair_learners.py", "models/kernel_reader.py", "models/dual_encoder.py"),
)
