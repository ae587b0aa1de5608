"""The page of :mod:`~lucida.lab.experiments.lora_or_prompts`: what it declares, and the short answers."""

from __future__ import annotations

from itertools import product

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.lora_or_prompts import measure
from lucida.lab.experiments.lora_or_prompts_sections import present
from lucida.lab.experiments.lora_or_prompts_settings import (
    ACCURACY,
    AWAY,
    CONTEXT,
    ENSEMBLE,
    FEW,
    LORA,
    MOST,
    OTHER,
    PLAINLY,
    SEARCHED,
    SOFT,
    Settings,
    labelled,
)
from lucida.lab.short_answers import Answer
from lucida.lab.verdict import Word
from lucida.report.sourced import quoted

MATTERS = 0.02  # of accuracy


def _claim(
    name: str,
    texts: tuple[str, str, str],
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    *,
    primary: bool = False,
) -> Claim:
    return Claim(name, *texts, measure, measure, *arms, smallest, primary=primary, share=True)


_FEW, _MOST = (f"{ACCURACY}, {labelled(n)}" for n in (FEW, MOST))
CLAIMS = (
    _claim(
        "words_win_with_few",
        (
            "With four labels, looking for better words beats LoRA.",
            "只有四个标注时，寻找更好的提示词胜过 LoRA。",
            "The searched prompt names more held-out pictures of the second artist right.",
        ),
        _FEW,
        (SEARCHED, LORA),
        MATTERS,
        primary=True,
    ),
    _claim(
        "lora_wins_with_many",
        (
            "With 256 labels, LoRA beats a learned soft prompt.",
            "有 256 个标注时，LoRA 胜过学习得到的软提示。",
            "LoRA names more held-out pictures of the second artist right.",
        ),
        _MOST,
        (LORA, SOFT),
        MATTERS,
        primary=True,
    ),
    _claim(
        "lora_forgets_more",
        (
            "LoRA forgets more than a soft prompt.",
            "LoRA 比软提示遗忘得更多。",
            "After 256 labels, with either switched on, the coarse question about the first artist's pictures, which "
            "the model could answer before, is answered right less often with LoRA.",
        ),
        f"{OTHER}, {labelled(MOST)}",
        (LORA, SOFT),
        -MATTERS,
        primary=True,
    ),
    _claim(
        "words_still_win_against_context",
        (
            "With four labels, better words beat the labels shown as examples.",
            "只有四个标注时，更好的提示词胜过把标注作为示例。",
            "The searched prompt names more pictures right than examples in the context.",
        ),
        _FEW,
        (SEARCHED, CONTEXT),
        MATTERS,
    ),
    _claim(
        "soft_beats_words_with_many",
        (
            "With 256 labels, a soft prompt beats the best words.",
            "有 256 个标注时，软提示胜过最好的提示词。",
            "The soft prompt names more pictures right than the searched prompt.",
        ),
        _MOST,
        (SOFT, SEARCHED),
        MATTERS,
    ),
    _claim(
        "ensembles_help",
        (
            "An ensemble of prompts beats the best one.",
            "提示集成胜过单个最好的提示。",
            "With 256 labels, four templates averaged name more pictures right.",
        ),
        _MOST,
        (ENSEMBLE, SEARCHED),
        MATTERS,
    ),
    _claim(
        "lora_travels_worse",
        (
            "LoRA travels worse to pictures of another kind than words do.",
            "LoRA 迁移到另一类图片时不如提示词。",
            "After 256 labels of the second artist, the fine question about the first artist's pictures is answered "
            "right less often with LoRA than with the searched prompt.",
        ),
        f"{AWAY}, {labelled(MOST)}",
        (LORA, SEARCHED),
        -MATTERS,
    ),
    _claim(
        "plain_words_cost",
        (
            "Asked in plain words the model does worse than asked in better ones.",
            "用普通的话提问，不如用更好的话。",
            "With four labels the searched prompt names more pictures right than the plain one.",
        ),
        _FEW,
        (SEARCHED, PLAINLY),
        MATTERS,
    ),
)

DESIGN = Design(
    name="lora-or-prompts",
    title="LoRA or prompts",
    question="For the same task and the same labels: when would a good prompt have done, and what do LoRA and prompts "
    "have in common?",
    question_zh="任务相同、标注相同：什么时候一个好的提示就够了？LoRA 与提示工程有什么共同之处？",
    claims=CLAIMS,
    factors={
        "method": "plain prompt; searched prompt (grammar of 144 templates, at most 30 model calls a label); ensemble "
        "of the four best; labels as examples in the context, one to eight of them; soft prompt of eight vectors that "
        "start as words of the model; LoRA of rank 4",
        "labels": "0, 1, 4, 16, 64, 256, the first of one list for every method",
    },
    held_fixed=(
        "the model before, the labels and their order, by seed; soft prompts and LoRA are trained for equally many "
        "steps with the plain wording, at the rate that is best on four tuning seeds, which no result uses; so is the "
        "number of examples in the context",
        "an answer is right if its word is the most likely of the whole vocabulary",
        "pictures of validation and test are of concepts that neither the model before nor any label shows",
    ),
    data="emoji of two artists as a frozen EfficientNet-Lite0 sees them (64 principal components, one token); "
    "before: pictures of the first artist, named finely (eight words) or coarsely (four), alone or in rows of nine; "
    "labels: fine names of pictures of the second artist",
    networks="a causal transformer of two blocks, 48 wide, with a linear projector",
    seeds={"quick": 3, "full": 16},
    would_change=(
        "a large language model: it follows instructions and examples that this one has never met, and prompts gain",
        "a task the model has no words for: then no wording asks for it, and training is all there is",
        "the same artist before and after: without a new look to learn, words would get most of what LoRA gets",
        "adapters that are switched off for other questions: then nothing is forgotten, as with any prompt that is "
        "left out",
    ),
    sources=(
        ("Hu et al. 2021, LoRA", "https://arxiv.org/abs/2106.09685"),
        ("Lester et al. 2021, The power of scale for prompt tuning", "https://arxiv.org/abs/2104.08691"),
        ("Brown et al. 2020, Language models are few-shot learners", "https://arxiv.org/abs/2005.14165"),
        ("Kornblith et al. 2019, Similarity of neural network representations", "https://arxiv.org/abs/1905.00414"),
    ),
)

_WORDS: dict[Word, tuple[str, str]] = {
    "supported": ("With four labels, better words beat LoRA", "只有四个标注时，更好的提示词胜过 LoRA"),
    "refuted": ("With four labels, better words do not beat LoRA", "只有四个标注时，更好的提示词并不胜过 LoRA"),
    "inconclusive": (
        "With four labels, it could not be told whether better words beat LoRA",
        "只有四个标注时，提示词是否胜过 LoRA 还不能断定",
    ),
}
_MANY: dict[Word, tuple[str, str]] = {
    "supported": ("with 256, LoRA beats a soft prompt", "有 256 个标注时，LoRA 胜过软提示"),
    "refuted": ("with 256, LoRA does not beat a soft prompt", "有 256 个标注时，LoRA 并不胜过软提示"),
    "inconclusive": (
        "with 256, it could not be told whether LoRA beats a soft prompt",
        "有 256 个标注时，LoRA 是否胜过软提示还不能断定",
    ),
}
_FORGETS: dict[Word, tuple[str, str]] = {
    "supported": ("LoRA forgets more of what it is not asked for", "LoRA 遗忘得更多"),
    "refuted": ("LoRA does not forget more", "LoRA 并没有遗忘更多"),
    "inconclusive": ("whether LoRA forgets more could not be told", "LoRA 是否遗忘更多还不能断定"),
}
_NAMES = "words_win_with_few", "lora_wins_with_many", "lora_forgets_more"


def _text(words: tuple[Word, ...], language: int) -> str:
    texts = [table[word][language] for table, word in zip((_WORDS, _MANY, _FORGETS), words, strict=True)]
    told = [f"{text} ({{claim/{name}/effect:points ci}})" for text, name in zip(texts, _NAMES, strict=True)]
    if language:
        return "；".join(told) + "。什么都不训练的提示，拿掉之后模型逐位复原；LoRA 与软提示也可以拿掉。"
    return (
        "; ".join(told) + ". Asked plainly, without any label, the model is right in "
        f"{{{ACCURACY}/{PLAINLY}/{labelled(0)}:%}}; with {labelled(MOST)} the best words get "
        f"{{{ACCURACY}/{SEARCHED}/{labelled(MOST)}:%}}, examples in the context "
        f"{{{ACCURACY}/{CONTEXT}/{labelled(MOST)}:%}}, a soft prompt {{{ACCURACY}/{SOFT}/{labelled(MOST)}:%}} and LoRA "
        f"{{{ACCURACY}/{LORA}/{labelled(MOST)}:%}}."
    )


SHORT_ANSWERS = tuple(
    Answer(words, quoted(_text(words, 0)), quoted(_text(words, 1))) for words in product(_WORDS, _MANY, _FORGETS)
)

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(48, 2, 40, 0.002, 20, ((SOFT, (0.1, 0.3)), (LORA, (0.01, 0.03)))),
    "full": Settings(48, 2, 250, 0.002, 120, ((SOFT, (0.01, 0.03, 0.1, 0.3)), (LORA, (0.001, 0.003, 0.01, 0.03)))),
}

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/lora_or_prompts_methods.py",
    helpers=(
        "lab/experiments/lora_or_prompts_settings.py",
        "lab/prompted_answerer.py",
        "lab/low_rank.py",
        "lab/experiments/answers_or_everything_network.py",
        "lab/questions.py",
        "lab/frozen_features.py",
        "inference/prompt_search.py",
        "data/prompt_grammar.py",
        "models/adapters.py",
    ),
)
