"""The page of :mod:`~lucida.lab.experiments.modality_gap`: what it declares, what it shows, and the short answers."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.design import Claim, Design, Scale
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.modality_gap import (
    ALIGNED,
    AS_TRAINED,
    BEST_SHIFT,
    BOTH,
    CLOSED,
    GAP,
    HALVES,
    LEARNED,
    NAMED,
    PARTED,
    PICTURE_CONE,
    START,
    TEXT_CONE,
    Settings,
    measure,
)
from lucida.lab.observations import Observations
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word
from lucida.report.lab_page import LinesFigure, TableFigure

SETTINGS: dict[Scale, Settings] = {
    "quick": Settings((0.01, 0.07, 0.2), (2e-3, 8e-3), 12_800),
    "full": Settings((0.01, 0.03, 0.07, 0.2, 0.5), (1e-3, 4e-3, 1.6e-2), 25_600),
}
FAR, MATTERS = 0.1, 0.01  # of a distance between vectors of length one; of a share named right
LOW, MIDDLE, HIGH = "0.01", "0.07", "0.2"
TEMPERATURES = f"{GAP}, by temperature"

CLAIMS = (
    Claim(
        "there_before_training",
        "Pictures and texts lie apart before anything is trained.",
        "在任何训练之前，图片与文本就已分开。",
        "With fresh weights the mean picture is farther from the mean text than the means of two halves of the "
        "pictures are from each other.",
        f"{GAP}, {START}",
        "distance of the means, features of length one",
        BOTH,
        HALVES,
        FAR,
    ),
    Claim(
        "low_temperature_keeps_them_apart",
        "The lower the temperature, the wider the gap after training.",
        "温度越低，训练后的间隙越大。",
        "After training at a fixed temperature of 0.01 the means are farther apart than after training at 0.2.",
        TEMPERATURES,
        "distance of the means, features of length one",
        LOW,
        HIGH,
        FAR,
    ),
    Claim(
        "closing_it_helps",
        "Moving pictures and texts together makes zero-shot better.",
        "把图片与文本移到一起，会使零样本识别更好。",
        "With the gap closed, more pictures of unseen concepts are given the right one of their names.",
        NAMED,
        "share of pictures of unseen concepts named right",
        CLOSED,
        AS_TRAINED,
        MATTERS,
        "temperature",
        (LOW, MIDDLE, HIGH),
        share=True,
    ),
    Claim(
        "training_widens_it",
        "Training at a low temperature widens the gap that was there.",
        "低温训练会扩大原有的间隙。",
        "After training at 0.01 the means are farther apart than before.",
        TEMPERATURES,
        "distance of the means, features of length one",
        LOW,
        START,
        FAR,
        primary=False,
    ),
    Claim(
        "a_learned_temperature_widens_it",
        "Training as CLIP does, with a learned temperature, leaves them farther apart than before.",
        "像 CLIP 那样训练（温度可学习）后，二者比之前离得更远。",
        "After training from 0.07 with a learned temperature the means are farther apart than before training.",
        TEMPERATURES,
        "distance of the means, features of length one",
        LEARNED,
        START,
        FAR,
        primary=False,
    ),
)

DESIGN = Design(
    name="modality-gap",
    title="Pictures here, texts there: the modality gap",
    question="A dual encoder brings pictures and texts into one space, yet they lie in two cones. Is that so before "
    "training, what does the temperature do to it, and is it any better to close the gap?",
    question_zh="双编码器把图片与文本放进同一空间，它们却位于两个锥体中。训练之前就如此吗？温度对它有何影响？把间隙合上会更好吗？",
    claims=CLAIMS,
    factors={
        "temperature": "held fixed at 0.01, 0.03, 0.07, 0.2 or 0.5, or learned from 0.07; and the fresh weights",
        "shift": "pictures and texts each moved half the way along the difference of the means, back to length one: "
        "from away from each other (-1) over as they are (0) and means together (1) to passed by each other (2)",
    },
    held_fixed=(
        "batches of 256 pairs, pairs of one concept positives of each other, Adam at a constant "
        "rate; first weights, split, order and names of a seed are the same at every temperature",
        "each temperature's own rate, by the mean reciprocal rank of the names of validation pictures",
        "the direction of the shift comes from training concepts, everything else is measured on unseen ones",
    ),
    data="emoji by two artists as a frozen network for photographs sees them, with their names as a "
    "frozen sentence encoder reads them; concepts held out by seed",
    networks="two heads of the workbench (a linear map and a perceptron each), 64 numbers of length one",
    seeds={"quick": 4, "full": 16},
    would_change=(
        "towers that are trained themselves: a deep network with fresh weights maps all inputs into a narrow cone, "
        "while features that are standardised, as here, start all round the sphere",
        "a batch of thousands: more negatives push harder at the same temperature",
        "tasks in which pictures are compared with pictures and texts in one list: there a gap does decide",
    ),
    sources=(
        ("Liang et al. 2022, Mind the gap", "https://arxiv.org/abs/2203.02053"),
        ("Radford et al. 2021, CLIP", "https://arxiv.org/abs/2103.00020"),
        ("Wang & Isola 2020, Alignment and uniformity", "https://arxiv.org/abs/2005.10242"),
    ),
)


def measured(bench: object, settings: Settings) -> Observations:
    """The measurements, with what the claims compare under names of their own."""
    found = measure(bench, settings)  # type: ignore[arg-type]  # the bench of the experiment
    for arm in (BOTH, HALVES):
        found.record(f"{GAP}, {START}", arm, found.numbers[GAP, arm, START])
    for level in (START, *settings.levels):
        found.record(TEMPERATURES, level, found.numbers[GAP, BOTH, level])
    return found


def present(found: Observations) -> Sequence[Section]:
    """How they lie; and what moving them does."""
    levels = [level for measure, arm, level in found.numbers if (measure, arm) == (GAP, BOTH)]
    trained = [level for level in levels if level != START]
    table = TableFigure(
        "How pictures and texts of unseen concepts lie",
        (GAP, "the same of two halves of the pictures", "told apart by a plane", PICTURE_CONE, TEXT_CONE, ALIGNED),
        tuple(
            (
                _titled(level),
                (
                    f"{GAP}/{BOTH}/{level}",
                    f"{GAP}/{HALVES}/{level}",
                    f"{PARTED}/{BOTH}/{level}",
                    f"{PICTURE_CONE}/{BOTH}/{level}",
                    f"{TEXT_CONE}/{BOTH}/{level}",
                    f"{ALIGNED}/{BOTH}/{level}",
                ),
            )
            for level in levels
        ),
        caption="Features have length one. Cosines of pictures and of texts are means over all pairs of different ones "
        "(0: all round the sphere, 1: one direction); a plane midway between the means of training concepts tells "
        "pictures from texts.",
        shares=(False, False, True, False, False, False),
    )
    figure = LinesFigure(
        "Zero-shot along the shift",
        tuple(found.series(f"{NAMED}/{level}", _titled(level)) for level in trained),
        x_label="shift: 0 as trained, 1 means together",
        y_label="pictures of unseen concepts named right",
        share=True,
    )
    moved = TableFigure(
        "Named right",
        (AS_TRAINED, CLOSED, BEST_SHIFT),
        tuple(
            (
                _titled(level),
                (f"{NAMED}/{AS_TRAINED}/{level}", f"{NAMED}/{CLOSED}/{level}", f"{BEST_SHIFT}/of those tried/{level}"),
            )
            for level in trained
        ),
        caption="The best shift is that of each seed's own test pictures, with hindsight.",
        shares=(True, True, False),
    )
    return (
        Section("How they lie", LYING_TEXT, (table,)),
        Section("Moved together and past each other", MOVING_TEXT, (figure, moved)),
    )


def _titled(level: str) -> str:
    return level if level == START else f"temperature {level}"


LYING_TEXT = (
    f"With fresh weights the means are {{{GAP}/{BOTH}/{START}}} apart, two halves of the pictures {{{GAP}/{HALVES}/"
    f"{START}}}: what is left is the mark of two networks that were drawn apart. After training at a temperature of "
    f"`0.01` it is {{{GAP}/{BOTH}/{LOW}}}, at `0.2` {{{GAP}/{BOTH}/{HIGH}}}. The softmax "
    "looks at differences of a row's scores alone: what all texts have in common with all pictures is in every score "
    "and changes none. A gap goes where features are spread all round the sphere, so that both means lie near its "
    "middle; this is done by the push between pairs that do not belong together. The sharper the softmax, the fewer of "
    f"them are pushed. There is a gap at the start, but no narrow cone: the mean cosine of pictures is "
    f"{{{PICTURE_CONE}/{BOTH}/{START}}} before training, {{{PICTURE_CONE}/{BOTH}/{LOW}}} after it at `0.01` and "
    f"{{{PICTURE_CONE}/{BOTH}/{HIGH}}} at `0.2`."
)
MOVING_TEXT = (
    "All texts are moved by one vector, all pictures by its opposite. Before the features are brought back to length "
    "one, that adds the same number to every score of a picture, and another for each text: how much of the shift the "
    "text has in it. So the shift decides little, unless texts differ much along it. "
    f"At a temperature of `0.01` {{{NAMED}/{AS_TRAINED}/{LOW}:%}} are named right as trained and "
    f"{{{NAMED}/{CLOSED}/{LOW}:%}} with the gap closed; at `0.2` {{{NAMED}/{AS_TRAINED}/{HIGH}:%}} and "
    f"{{{NAMED}/{CLOSED}/{HIGH}:%}}."
)

_APART = "{claim/there_before_training/effect:ci}"
_BEFORE: dict[Word, tuple[str, str]] = {
    "supported": (
        f"Before training there is a gap: the means are {_APART} farther apart than those of two halves of the "
        "pictures. ",
        f"训练之前就有间隙：两类均值的距离比图片两半的均值多 {_APART}。",
    ),
    "refuted": (
        f"Before training there is hardly a gap: {_APART} beyond what two halves of the pictures have. ",
        f"训练之前几乎没有间隙：只比图片两半的均值多 {_APART}。",
    ),
    "inconclusive": (
        f"Whether there is a gap before training could not be told: {_APART}. ",
        f"训练之前是否有间隙还不能断定：{_APART}。",
    ),
}
_WIDER = "{claim/low_temperature_keeps_them_apart/effect:ci}"
_LOWER: dict[Word, tuple[str, str]] = {
    "supported": (f"A low temperature leaves it wider: by {_WIDER}. ", f"低温使它更大：多 {_WIDER}。"),
    "refuted": (
        f"That a low temperature leaves it wider was not seen: {_WIDER}. ",
        f"没有看到低温使它更大：{_WIDER}。",
    ),
    "inconclusive": (
        f"Whether a low temperature leaves it wider could not be told: {_WIDER}. ",
        f"低温是否使它更大还不能断定：{_WIDER}。",
    ),
}
_CLOSING = "{claim/closing_it_helps/effect:points ci}"
_HELPS: dict[Word, tuple[str, str]] = {
    "supported": (f"Closing it makes zero-shot better: {_CLOSING}.", f"合上它使零样本识别更好：{_CLOSING}。"),
    "refuted": (
        f"Closing it does not make zero-shot better by what matters: {_CLOSING}.",
        f"合上它并没有使零样本识别好到值得在意的程度：{_CLOSING}。",
    ),
    "depends": (
        f"Whether closing it makes zero-shot better depends on the temperature: {_CLOSING} over all.",
        f"合上它是否使零样本识别更好取决于温度：总体 {_CLOSING}。",
    ),
    "inconclusive": (
        f"Whether closing it makes zero-shot better could not be told: {_CLOSING}.",
        f"合上它是否使零样本识别更好还不能断定：{_CLOSING}。",
    ),
}

EXPERIMENT = Experiment(
    DESIGN,
    SETTINGS,
    measured,
    present,
    answers_from(_BEFORE, _LOWER, _HELPS),
    "lab/experiments/modality_gap.py",
    (
        "lab/dual_encoders.py",
        "lab/feature_statistics.py",
        "lab/frozen_features.py",
        "losses/contrastive.py",
        "models/dual_encoder.py",
    ),
)
