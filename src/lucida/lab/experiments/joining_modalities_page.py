"""The page of :mod:`~lucida.lab.experiments.joining_modalities`: what it declares, what it shows, and the answers."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.joining_modalities import (
    ALL,
    ARMS,
    BY_TOWER,
    DUAL,
    EARLY,
    EQUAL,
    FLOPS,
    GATED,
    KEPT,
    KNOWS,
    LEARNS,
    MLP,
    MORE,
    PARAMETERS,
    RESAMPLER,
    RIGHT,
    TOKENS,
    Settings,
    measure,
)
from lucida.lab.observations import Observations
from lucida.lab.short_answers import answers_from
from lucida.lab.strip_questions import COUNT, EXISTS, WHAT, WHERE
from lucida.lab.verdict import Word
from lucida.report.lab_page import LinesFigure, TableFigure

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings(steps=100, batch=16, tower_steps=60, rates=(2.5e-3, 5e-3), tuning_seeds=1, strips=64, looks=5),
    "full": Settings(steps=500, batch=64, tower_steps=200, rates=(2.5e-3, 5e-3, 1e-2), tuning_seeds=1),
}
MATTERS = 0.03
KINDS = (EXISTS, WHERE, WHAT, COUNT)
WAYS = tuple(way for way, level in ARMS if level == KNOWS)


def _claim(
    name: str, texts: tuple[str, str, str], measure: str, arms: tuple[str, str], smallest: float, primary: bool = False
) -> Claim:
    return Claim(name, *texts, measure, f"share of {measure}", *arms, smallest, primary=primary, share=True)


CLAIMS = (
    Claim(
        "a_projector_beats_early_fusion",
        "A projector behind a vision tower answers better than early fusion.",
        "视觉塔加投影层，比早期融合答得更好。",
        "With as many parameters and examples, a larger share of all kinds of question is answered right; more so "
        "where the tower already knows what things look like.",
        BY_TOWER,
        "share of right answers, all kinds of question alike",
        MLP,
        EARLY,
        MATTERS,
        "tower",
        (KNOWS, LEARNS),
        share=True,
    ),
    _claim(
        "few_queries_lose_places",
        (
            "Fewer tokens than places lose where things are.",
            "令牌比位置少，会丢失物体的位置。",
            "A resampler of three queries answers fewer questions where a thing is right than a projector of each of "
            "six places.",
        ),
        f"{RIGHT}, {WHERE}",
        (RESAMPLER, MLP),
        -MATTERS,
        primary=True,
    ),
    _claim(
        "in_the_sequence_is_better_than_beside_it",
        (
            "Pictures in the sequence are answered about better than pictures that gated layers look at.",
            "放进序列的图片，比由门控层查看的图片答得更好。",
            "Where all is trained, a projector answers more questions right than gated cross-attention, at as many "
            "parameters and examples.",
        ),
        f"{RIGHT}, {ALL}",
        (MLP, GATED),
        MATTERS,
        primary=True,
    ),
    _claim(
        "a_dual_encoder_sees_that_it_is_there",
        (
            "A dual encoder tells less well whether something is there.",
            "双编码器较难判断某物是否在图中。",
            "Where picture and statement meet in one product alone, fewer questions whether a kind is there are "
            "answered right.",
        ),
        f"{RIGHT}, {EXISTS}",
        (DUAL, MLP),
        -MATTERS,
    ),
    _claim(
        "a_dual_encoder_does_not_see_where",
        (
            "A dual encoder does not tell where something is.",
            "双编码器说不出物体在哪里。",
            "Fewer questions where a thing is are answered right than by a projector.",
        ),
        f"{RIGHT}, {WHERE}",
        (DUAL, MLP),
        -MATTERS,
    ),
    _claim(
        "a_projector_beats_early_fusion_at_equal_flops",
        (
            "At as many operations of training, too, a projector answers better than early fusion.",
            "在训练运算量相同时，投影层也比早期融合答得更好。",
            "Stopped where each has spent what the cheapest way to answer in words spends, more is answered right.",
        ),
        f"{EQUAL}, {ALL}",
        (MLP, EARLY),
        MATTERS,
    ),
)

DESIGN = Design(
    name="joining-modalities",
    title="Ways to join pictures and words",
    question="A picture can meet words in one product (dual encoder), in one transformer (early fusion), behind a "
    "projector, in a few tokens (resampler), or in layers that look at it (gated cross-attention). Which way answers "
    "questions best at equal budget, and what does it cost?",
    question_zh="图片与文字可以在一次内积中相遇（双编码器），在同一个 Transformer 中（早期融合），"
    "经过投影层，压成少数令牌（重采样器），"
    "或由专门的层去看（门控交叉注意力）。预算相同时，哪种方式答得最好，代价又是什么？",
    claims=CLAIMS,
    factors={
        "way": "dual encoder; early fusion; MLP; resampler with three queries; gated cross-attention with one gated "
        "layer, before the second block",
        "tower": "has learned what a single place shows and stays as it is; or (for the MLP) is learned with the rest",
        "budget": "equal parameters (within a tenth, tower included) and equal examples; also read off the same "
        "trainings where each has spent as many operations as the cheapest way that answers in words spends in all",
    },
    held_fixed=(
        "strips, questions and their order by seed; width, words, first block (queries and keys alike) and batches of "
        "64 strips with six questions each, all in one row behind the picture",
        "the projectors, the resampler and the gated layer are the workbench's own; blocks of the transformer are "
        "added or left out so that parameters are equal",
        "the dual encoder scores every statement that can answer a question and says the best; it is taught with the "
        "same answers",
        "each arm's own rate, by right answers about validation strips of the first tuning seed alone; no schedule",
    ),
    data="strips of six places, two to five of them showing emoji of different kinds, by either of two artists, under "
    "noise; 24 kinds, drawn for each seed; is there one of a kind, where is it, what stands in a place, how many are "
    "there",
    networks="causal transformers of two to four blocks and width 32, a tower of one hidden layer of 64 units that "
    "sees each place by itself",
    seeds={"quick": 3, "full": 8},
    would_change=(
        "far longer training: what a way has not learned by now it may still learn; the curves show who is on the way",
        "a pretrained language model that stays frozen: gated layers, closed at the start, are made for that",
        "pictures of hundreds of places: fewer tokens then save most of the cost, which hardly shows with six",
        "a dual encoder with a wider product, or with more than one vector a picture",
    ),
    sources=(
        ("Liu et al. 2023, LLaVA-1.5", "https://arxiv.org/abs/2310.03744"),
        ("Alayrac et al. 2022, Flamingo", "https://arxiv.org/abs/2204.14198"),
        ("Chameleon Team 2024, Mixed-modal early-fusion foundation models", "https://arxiv.org/abs/2405.09818"),
        (
            "Laurençon et al. 2024, What matters when building vision-language models?",
            "https://arxiv.org/abs/2405.02246",
        ),
        ("Radford et al. 2021, CLIP", "https://arxiv.org/abs/2103.00020"),
    ),
)


def present(found: Observations) -> Sequence[Section]:
    """What each way answers, how it gets there, and what it costs."""
    ends = TableFigure(
        "Right answers after all examples",
        (*KINDS, ALL),
        tuple((way, tuple(f"{RIGHT}, {kind}/{way}" for kind in (*KINDS, ALL))) for way in WAYS),
        shares=(True,) * 5,
    )
    flops = TableFigure(
        "Right answers after as many operations",
        (*KINDS, ALL),
        tuple((way, tuple(f"{EQUAL}, {kind}/{way}" for kind in (*KINDS, ALL))) for way in WAYS),
        caption="At the look that is nearest to the operations which the cheapest way that answers in words spends.",
        shares=(True,) * 5,
    )
    towers = TableFigure(
        "With a tower that knows, and with all learned together",
        (KNOWS, LEARNS),
        tuple((way, tuple(f"{BY_TOWER}/{way}/{level}" for level in (KNOWS, LEARNS))) for way in (MLP, EARLY)),
        caption="Early fusion has no tower: both numbers are the same training.",
        shares=(True, True),
    )
    figures = tuple(
        LinesFigure(
            f"“{kind} …?” along the training",
            tuple(found.series(f"{kind}/{way}", way) for way in WAYS),
            x_label="strips learned from",
            y_label="answered right",
            share=True,
        )
        for kind in KINDS
    )
    costs = TableFigure(
        "What a way costs",
        ("parameters", "training", "tokens", "a question", "kept"),
        tuple((way, tuple(f"{name}/{way}" for name in (PARAMETERS, FLOPS, TOKENS, MORE, KEPT))) for way in WAYS),
        caption="Training: million operations a strip, which has six questions; operations of products, counted, "
        "forward and backward. Tokens: of the picture. A question: thousand operations for one more about a picture "
        "that has been read. Kept: numbers kept of a picture for that, keys and values, or the dual encoder's vector; "
        "its statements are read beforehand.",
    )
    return (
        Section("At equal parameters and examples", ENDS_TEXT, (ends, towers)),
        Section("How they get there", CURVES_TEXT, figures),
        Section("What it costs", COST_TEXT, (costs, flops)),
    )


ENDS_TEXT = (
    "Guessing answers half of “is there …?” right, a fourth of “how many …?”; who knows how far things reach, but not "
    "what they are, places about a third of them right. After all examples the projector answers "
    f"{{{RIGHT}, {ALL}/{MLP}:%}} right over the four kinds, gated cross-attention {{{RIGHT}, {ALL}/{GATED}:%}}, early "
    f"fusion {{{RIGHT}, {ALL}/{EARLY}:%}}, the resampler {{{RIGHT}, {ALL}/{RESAMPLER}:%}}, the dual encoder "
    f"{{{RIGHT}, {ALL}/{DUAL}:%}}. How many things there are is told by all: that needs no word to meet a place. The "
    "other questions do, and who has to learn where to look waits longer for it."
)
CURVES_TEXT = (
    "How many things there are is told first and by all; what stands in a place comes next, and where a thing is, and "
    "whether it is there, last: those take all places at once. In a token for each place a question finds its place by "
    "likeness, with the attention that is there from the start; queries and gated layers have to learn their own "
    "first. Wide bands say that some seeds had found it and others had not. A curve that still lies flat at the end "
    "says that this budget was too small for it, not that it never would."
)
COST_TEXT = (
    f"A strip costs {{{FLOPS}/{MLP}}} million operations to learn from behind a projector, {{{FLOPS}/{EARLY}}} in "
    f"early fusion, {{{FLOPS}/{RESAMPLER}}} with a resampler and {{{FLOPS}/{GATED}}} with gated layers. Once a "
    f"picture has been read, one more question costs {{{MORE}/{MLP}}} thousand behind a projector and "
    f"{{{MORE}/{DUAL}}} in a dual encoder, which is what makes that one the way to search millions of pictures."
)

_FUSION = "{claim/a_projector_beats_early_fusion/effect:points ci}"
_BEATS: dict[Word, tuple[str, str]] = {
    "supported": (
        f"At equal parameters and examples a projector behind a tower beats early fusion: by {_FUSION}. ",
        f"参数与样本数相同时，视觉塔加投影层胜过早期融合：{_FUSION}。",
    ),
    "refuted": (
        f"At equal parameters and examples a projector is not better than early fusion by what matters: {_FUSION}. ",
        f"参数与样本数相同时，投影层并没有比早期融合好到值得在意的程度：{_FUSION}。",
    ),
    "depends": (
        "Whether a projector beats early fusion at equal parameters and examples depends on the tower: by "
        f"{{claim/a_projector_beats_early_fusion/effect/{KNOWS}:points}} with one that knows, by "
        f"{{claim/a_projector_beats_early_fusion/effect/{LEARNS}:points}} with all learned together. ",
        "参数与样本数相同时，投影层是否胜过早期融合取决于视觉塔：塔已会看时 "
        f"{{claim/a_projector_beats_early_fusion/effect/{KNOWS}:points}}，一同学习时 "
        f"{{claim/a_projector_beats_early_fusion/effect/{LEARNS}:points}}。",
    ),
    "inconclusive": (
        f"Whether a projector beats early fusion could not be told: {_FUSION}. ",
        f"投影层是否胜过早期融合还不能断定：{_FUSION}。",
    ),
}
_QUERIES = "{claim/few_queries_lose_places/effect:points ci}"
_LOSE: dict[Word, tuple[str, str]] = {
    "supported": (
        f"A resampler with fewer tokens than places is behind it at telling where: {_QUERIES}. ",
        f"令牌少于位置的重采样器在“在哪里”上落后：{_QUERIES}。",
    ),
    "refuted": (
        f"A resampler with fewer tokens than places is not behind it at telling where: {_QUERIES}. ",
        f"令牌少于位置的重采样器在“在哪里”上并不落后：{_QUERIES}。",
    ),
    "inconclusive": (
        f"Whether a resampler with fewer tokens than places is behind it at telling where is open: {_QUERIES}. ",
        f"令牌少于位置的重采样器在“在哪里”上是否落后尚无定论：{_QUERIES}。",
    ),
}
_BESIDE = "{claim/in_the_sequence_is_better_than_beside_it/effect:points ci}"
_SEQUENCE: dict[Word, tuple[str, str]] = {
    "supported": (
        f"Pictures in the sequence beat gated cross-attention: by {_BESIDE}.",
        f"放进序列胜过门控交叉注意力：{_BESIDE}。",
    ),
    "refuted": (
        f"Pictures in the sequence are not better than gated cross-attention by what matters: {_BESIDE}.",
        f"放进序列并没有比门控交叉注意力好到值得在意的程度：{_BESIDE}。",
    ),
    "inconclusive": (
        f"Whether pictures in the sequence beat gated cross-attention could not be told: {_BESIDE}.",
        f"放进序列是否胜过门控交叉注意力还不能断定：{_BESIDE}。",
    ),
}

EXPERIMENT = Experiment(
    DESIGN,
    SETTINGS,
    measure,
    present,
    answers_from(_BEATS, _LOSE, _SEQUENCE),
    "lab/experiments/joining_modalities.py",
    (
        "lab/joined_answerers.py",
        "lab/strip_questions.py",
        "lab/strips.py",
        "lab/experiments/answers_or_everything_network.py",
        "models/projectors.py",
        "models/resampler.py",
        "models/gated_cross_attention.py",
    ),
)
