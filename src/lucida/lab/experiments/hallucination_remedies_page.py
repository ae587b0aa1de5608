"""The page of :mod:`~lucida.lab.experiments.hallucination_remedies`: what it declares, shows and answers."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.hallucination_remedies import (
    ARMS,
    BALANCED,
    BLURRED,
    CLEAN,
    CUT,
    DISTORTED,
    EARLY,
    EQUAL,
    EQUAL_YES,
    EXPECTING,
    FALSE_YES,
    GROUNDED,
    MADE_UP,
    MADE_UP_LOG,
    MODELS,
    MORE,
    NAMED,
    NUMBER,
    PLAIN,
    PREFERRED,
    SAID_YES,
    SAMPLED,
    SAMPLED_NAMED,
    SUREST,
    UNSEEN,
    Settings,
    measure,
)
from lucida.lab.observations import Observations
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word
from lucida.report.lab_page import EffectRow, EffectsFigure, TableFigure

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(steps=250, more=60, rate=3e-3, preference_rates=(3e-4, 1e-3), noise_steps=(500, 900)),
    "full": Settings(
        steps=400, more=100, rate=3e-3, preference_rates=(1e-4, 3e-4, 1e-3), noise_steps=(300, 500, 700, 900)
    ),
}
LEVELS = tuple(MODELS)
HALVED, A_FIFTH, A_POINT = -1.0, -0.32, -0.01  # of a logarithm to the base 2, twice; of a share


def _claim(
    name: str, texts: tuple[str, str, str], measure: str, arm: str, smallest: float, *, primary: bool = False
) -> Claim:
    share = measure != MADE_UP_LOG
    return Claim(
        name, *texts, measure, measure, arm, PLAIN, smallest, "model", LEVELS, primary=primary, share=share
    )  # fmt: skip


CLAIMS = (
    _claim(
        "grounding_halves",
        (
            "Names that are said only as far as the picture supports them halve what is made up.",
            "只在图像支持的程度上说出名称，会使编造减半。",
            "The share of what is named that is not there is half or less, with the likeliest words.",
        ),
        MADE_UP_LOG,
        GROUNDED,
        HALVED,
        primary=True,
    ),
    _claim(
        "contrast_helps",
        (
            "Contrast with a distorted picture makes a model make up less.",
            "与失真图像作对比解码，会减少编造。",
            "The share of what is named that is not there falls by a fifth or more.",
        ),
        MADE_UP_LOG,
        DISTORTED,
        A_FIFTH,
        primary=True,
    ),
    _claim(
        "true_data_halve",
        (
            "A little training on balanced and true data halves what is made up.",
            "用均衡且真实的数据再训练一点，会使编造减半。",
            "The share of what is named that is not there is half or less after a quarter of the steps of the "
            "training.",
        ),
        MADE_UP_LOG,
        BALANCED,
        HALVED,
        primary=True,
    ),
    _claim(
        "preferences_help",
        (
            "Tuning by preferences on its own mistakes makes a model make up less.",
            "用模型自身的错误作偏好调优，会减少编造。",
            "The share of what is named that is not there falls by a fifth or more.",
        ),
        MADE_UP_LOG,
        PREFERRED,
        A_FIFTH,
    ),
    _claim(
        "training_longer_helps",
        (
            "More of the same training does it, too.",
            "用同样的数据多训练一点也有用。",
            "After as many more steps on its own data the share that is not there falls by a fifth or more.",
        ),
        MADE_UP_LOG,
        MORE,
        A_FIFTH,
    ),
    _claim(
        "no_picture_helps",
        (
            "Contrast with no picture makes a model make up less.",
            "与无图像作对比解码，会减少编造。",
            "The share of what is named that is not there falls by a fifth or more.",
        ),
        MADE_UP_LOG,
        UNSEEN,
        A_FIFTH,
    ),
    _claim(
        "early_layer_helps",
        (
            "Contrast with an early layer makes a model make up less.",
            "与浅层作对比解码，会减少编造。",
            "The share of what is named that is not there falls by a fifth or more.",
        ),
        MADE_UP_LOG,
        EARLY,
        A_FIFTH,
    ),
    _claim(
        "grounding_names_less",
        (
            "Grounding is bought with names that are left out.",
            "图像支持的约束以漏掉名称为代价。",
            "Less of what is there is named.",
        ),
        NAMED,
        GROUNDED,
        A_POINT,
    ),
    _claim(
        "grounding_answers_better",
        (
            "Weighed with the picture's support, fewer answers are a false yes at as many yeses.",
            "按图像支持加权后，在同样多的“是”中误答更少。",
            "Of adversarial questions about absent kinds fewer are answered yes, with as many yeses in all.",
        ),
        EQUAL,
        GROUNDED,
        A_POINT,
    ),
)

DESIGN = Design(
    name="hallucination-remedies",
    title="What helps against making things up",
    question="A multimodal language model names what is not there. What helps: contrastive decoding, grounding in the "
    "picture, better data, preference tuning? And what does it break?",
    question_zh="多模态语言模型说出了图中没有的东西。什么有用：对比解码、"
    "以图像为依据、更好的数据，还是偏好调优？代价是什么？",
    claims=CLAIMS,
    factors={
        "remedy": "as it is; contrast with a distorted strip (VCD), with no strip, with the first block (DoLa); the "
        "contrasts' cut of what is implausible, with nothing taken away; names said as far as a place of the strip "
        "stands for them; more of the same training; training on balanced and true data (of the clean model, more of "
        "the same); preference tuning (DPO with the image-conditional term and anchor of mDPO) on its own mistakes; "
        "the latter with grounding",
        "model": "a clean one; a patient of skewed data, few noes and wrong captions whose tower is small; one whose "
        "tower is not, but which read three texts in five without their strip, before and in further training",
        "words": "the likeliest, or sampled at temperature 1",
    },
    held_fixed=(
        "what each place shows is taught with true labels in every arm that sees it, as in the default model",
        "strips, questions and the model that is treated, seed by seed",
        "contrast with alpha of 1 and beta of 0.1, as VCD has it, and noise of the diffusion step that is best of four "
        "on other seeds, for each model; for the first block the plain difference, as DoLa has it; grounding with "
        "weight 2 and floor -1, chosen on another model and not tuned here",
        "further training and tuning: a quarter of the steps of the first training; the rate of preference tuning is "
        "tuned on other seeds, for each model",
        "how yes and no are weighed with the support is fitted on other strips",
    ),
    data="strips of six places, two to five of them showing emoji of different kinds under noise, as on the page about "
    "causes",
    networks="those of the page about causes",
    seeds={"quick": 3, "full": 12},
    would_change=(
        "a large model: its contrast with a distorted picture was tuned on such models, and its places are not "
        "mixtures of words; grounding then reads them through the output layer",
        "names of many tokens, of which the first ones support many objects",
        "other strengths of every remedy: here each has one",
    ),
    sources=(
        ("Leng et al. 2023, Visual contrastive decoding", "https://arxiv.org/abs/2311.16922"),
        ("Chuang et al. 2023, DoLa", "https://arxiv.org/abs/2309.03883"),
        (
            "Jiang et al. 2024, Interpreting and editing vision-language representations",
            "https://arxiv.org/abs/2410.02762",
        ),
        ("Wang et al. 2024, mDPO", "https://arxiv.org/abs/2406.11839"),
        ("Rafailov et al. 2023, Direct preference optimization", "https://arxiv.org/abs/2305.18290"),
    ),
)


def present(found: Observations) -> Sequence[Section]:
    """A figure and the fair table for each model; costs; sampling."""
    return (*(_of(model) for model in MODELS), _sampling(), _costs())


_TEXTS = {
    CLEAN: (
        "The clean model makes little up. Its lessons are balanced and true already, so that training on such data is "
        f"more of the same; grounding changes {{{MADE_UP}/{PLAIN}/{CLEAN}:%}} to {{{MADE_UP}/{GROUNDED}/{CLEAN}:%}}."
    ),
    BLURRED: (
        "This patient's tower is small. A place that shows a dog and is taken for a cat supports the cat: grounding "
        f"takes {{{MADE_UP}/{PLAIN}/{BLURRED}:%}} to {{{MADE_UP}/{GROUNDED}/{BLURRED}:%}}, balanced and true data to "
        f"{{{MADE_UP}/{BALANCED}/{BLURRED}:%}}. Grounded descriptions less often have the right number of names: "
        f"{{{NUMBER}/{GROUNDED}/{BLURRED}:%}}, before {{{NUMBER}/{PLAIN}/{BLURRED}:%}}."
    ),
    EXPECTING: (
        "This patient has the large tower and read most of its texts without their strip. Grounding takes "
        f"{{{MADE_UP}/{PLAIN}/{EXPECTING}:%}} to {{{MADE_UP}/{GROUNDED}/{EXPECTING}:%}}, while "
        f"{{{NAMED}/{GROUNDED}/{EXPECTING}:%}} of what is there is named (before, {{{NAMED}/{PLAIN}/{EXPECTING}:%}}); "
        f"the right number of names falls from {{{NUMBER}/{PLAIN}/{EXPECTING}:%}} to "
        f"{{{NUMBER}/{GROUNDED}/{EXPECTING}:%}}."
    ),
}


def _of(model: str) -> Section:
    figure = EffectsFigure(
        f"Made up, {model}",
        tuple(EffectRow(arm, f"{MADE_UP}/{arm}/{model}") for arm in ARMS),
        x_label="share of the kinds named that are not there (CHAIR_i)",
        share=True,
    )
    columns = (MADE_UP, NAMED, NUMBER, FALSE_YES, SAID_YES, EQUAL, EQUAL_YES, SUREST)
    table = TableFigure(
        f"The fair table, {model}",
        columns,
        tuple((arm, tuple(f"{column}/{arm}/{model}" for column in columns)) for arm in ARMS),
        caption="Likeliest words. False yes: of adversarial questions about absent kinds. At as many yes: the answers "
        "are cut so that there are as many yeses as the model as it is gives. The right number of names is an ability "
        "that no remedy is about. Wrong of the surest: if the least sure tenth of the answers is not given.",
        shares=(True,) * len(columns),
    )
    return Section(model.capitalize(), _TEXTS[model], (figure, table))


def _sampling() -> Section:
    columns = tuple(f"{what}, {model}" for model in MODELS for what in ("made up", "named"))
    table = TableFigure(
        "With sampled words",
        columns,
        tuple(
            (arm, tuple(f"{what}/{arm}/{model}" for model in MODELS for what in (SAMPLED, SAMPLED_NAMED)))
            for arm in ARMS
        ),
        shares=(True,) * len(columns),
    )
    text = (
        f"The patient of strong expectations has {{{SAMPLED}/{PLAIN}/{EXPECTING}:%}} made up with sampled words, "
        f"{{{SAMPLED}/{DISTORTED}/{EXPECTING}:%}} with sampled words and contrast, and "
        f"{{{MADE_UP}/{PLAIN}/{EXPECTING}:%}} with the likeliest words and no contrast. Contrast comes with a cut of "
        f"what is implausible; the cut alone has {{{SAMPLED}/{CUT}/{EXPECTING}:%}}."
    )
    return Section("Sampled words", text, (table,))


def _costs() -> Section:
    table = TableFigure(
        "Readings of the prompt, and of every word",
        ("readings",),
        tuple((arm, (f"readings a word/{arm}",)) for arm in ARMS),
        caption="Two readings are twice the time. Measured on the default model: docs/notes/remedies.md.",
    )
    return Section(
        "What it costs",
        "Grounding reads once what the picture's places stand for. The distorted strip had the noise of step "
        + ", ".join(f"{{noise step/{model}:0}} ({model})" for model in MODELS)
        + ", of a diffusion of a thousand.",
        (table,),
    )


def _effects(claim: str) -> str:
    return ", ".join(f"{{claim/{claim}/effect/{level}}} ({level})" for level in LEVELS)


def _sentences(claim: str, what: str, what_zh: str) -> dict[Word, tuple[str, str]]:
    numbers, overall = _effects(claim), f"{{claim/{claim}/effect:ci}}"
    return {
        "supported": (f"{what} holds: {overall} octaves of what is made up. ", f"{what_zh}有效：{overall} 个倍频程。"),
        "refuted": (f"{what} was not seen: {overall} octaves. ", f"{what_zh}无效：{overall} 个倍频程。"),
        "depends": (
            f"{what}: it depends on what is wrong with the model; octaves of what is made up are {numbers}. ",
            f"{what_zh}：取决于模型的毛病；编造的倍频程为 {numbers}。",
        ),
        "inconclusive": (
            f"{what} could not be judged: {overall} octaves. ",
            f"{what_zh}尚无定论：{overall} 个倍频程。",
        ),
    }


_GROUNDED = _sentences("grounding_halves", "That grounding halves it", "以图像为依据使编造减半")
_CONTRAST = _sentences("contrast_helps", "That contrast with a distorted picture helps", "与失真图像对比")
_DATA = _sentences(
    "true_data_halve", "That a little training on balanced and true data halves it", "均衡真实数据使编造减半"
)
SHORT_ANSWERS = answers_from(_GROUNDED, _CONTRAST, _DATA, settings=True)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings=SETTINGS,
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/hallucination_remedies.py",
    helpers=(
        "lab/strips.py",
        "lab/strip_answerer.py",
        "lab/strip_exam.py",
        "lab/strip_learners.py",
        "lab/strip_remedies.py",
        "lab/experiments/answers_or_everything_network.py",
        "inference/contrast.py",
        "inference/grounding.py",
        "losses/preference.py",
    ),
)
