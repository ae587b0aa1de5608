"""What the page on causes of hallucination shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.hallucination_causes import (
    ARMS,
    BAD_SIGHT,
    CAUSES,
    COMPANY_FIRST,
    FALSE_YES,
    FEW_NOES,
    GROUPS,
    LEFT_OUT,
    LONG,
    MADE_UP,
    MISSED,
    NOISE,
    NOTHING,
    OUTCOMES,
    SAMPLED,
    pairs,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, GridFigure, TableFigure

_RANDOM, _POPULAR, _ADVERSARIAL = FALSE_YES.values()
_FORCED, _SAMPLED = f"{MADE_UP}, {LONG}", f"{MADE_UP}, {SAMPLED}"


def present(found: Observations) -> Sequence[Section]:
    """One cause at a time; all at once; pairs; and causes told from errors."""
    return (_alone(), _kinds(), _together(found), _pairs(found), _told(found))


def _alone() -> Section:
    figure = EffectsFigure(
        "Made up in descriptions, one cause at a time",
        tuple(EffectRow(arm, f"{MADE_UP}/{arm}") for arm in ARMS),
        x_label="share of the kinds named that are not there (CHAIR_i)",
        caption="Likeliest words, up to the model's own end. Every model is examined on the same strips.",
        share=True,
    )
    answers = EffectsFigure(
        "False yes, one cause at a time",
        tuple(EffectRow(arm, f"{_ADVERSARIAL}/{arm}") for arm in ARMS),
        x_label="share of adversarial questions about absent kinds that are answered yes",
        share=True,
    )
    return Section("One cause at a time", ALONE_TEXT, (figure, answers))


def _kinds() -> Section:
    columns = (MADE_UP, _SAMPLED, _FORCED, LEFT_OUT, _RANDOM, _POPULAR, _ADVERSARIAL, MISSED)
    table = TableFigure(
        "Which cause makes which kind of error",
        columns,
        tuple((arm, tuple(f"{column}/{arm}" for column in columns)) for arm in ARMS),
        caption=f"Descriptions: {MADE_UP} (of the kinds named), {LEFT_OUT} (of the kinds there). Questions about "
        "absent kinds answered yes: kinds at random, the most frequent ones, those of the company that is shown; "
        f"about kinds that are there, {MISSED}.",
        shares=(True,) * len(columns),
    )
    return Section("Which cause makes which kind of error", KINDS_TEXT, (table,))


def _together(found: Observations) -> Section:
    effects = EffectsFigure(
        "What each cause adds to what is made up, over all others on and off",
        tuple(EffectRow(cause, f"effect on {MADE_UP}/{cause}") for cause in (*CAUSES, LONG, SAMPLED)),
        x_label="points of CHAIR_i, with the cause less without",
        share=True,
    )
    adversarial = EffectsFigure(
        "The same for false yes to adversarial questions",
        tuple(EffectRow(cause, f"effect on {_ADVERSARIAL}/{cause}") for cause in CAUSES),
        x_label="points, with the cause less without",
        share=True,
    )
    groups = (*GROUPS, "together")
    columns = tuple(outcome for outcome in OUTCOMES)
    share = TableFigure(
        "What the rates differ by",
        columns,
        tuple(
            (
                group if group != "together" else "pairs of causes",
                tuple(
                    f"share of {outcome}/{group}" if (f"share of {outcome}", group, "") in found.numbers else ""
                    for outcome in columns
                ),
            )
            for group in groups
        ),
        caption="Shares of the variance over all runs of the factorial experiment, by the group a cause belongs to; "
        "the rest is of three causes and more, and chance.",
        shares=(True,) * len(columns),
    )
    return Section("All at once", TOGETHER_TEXT, (effects, adversarial, share))


def _pairs(found: Observations) -> Section:
    factors = (*CAUSES, LONG, SAMPLED)
    known = pairs()

    def value(one: str, other: str) -> float | None:
        name = next((pair for pair in (f"{one} and {other}", f"{other} and {one}") if pair in known), None)
        return None if name is None else float(found.numbers[f"together on {MADE_UP}", name, ""].mean())

    grid = GridFigure(
        "What a cause adds where another is there, beyond what it adds without it",
        factors,
        factors,
        tuple(tuple(value(one, other) for other in factors) for one in factors),
        "cause",
        "where there is also",
        "points of CHAIR_i",
        caption="Means over seeds; intervals are in the results file, under together on made up.",
        share=True,
    )
    return Section("Pairs", PAIRS_TEXT, (grid,))


def _told(found: Observations) -> Section:
    grid = GridFigure(
        "Planted causes, and what they were told to be",
        CAUSES,
        CAUSES,
        tuple(tuple(found.facts[f"told/{one}/{other}"] for other in CAUSES) for one in CAUSES),
        "planted",
        "told",
        "models",
        caption="One model a seed and cause. The symptoms of each cause are those of models of other seeds.",
    )
    return Section("The cause, told from the errors", TOLD_TEXT, (grid,))


ALONE_TEXT = (
    f"Without any of the causes a model makes up {{{MADE_UP}/{NOTHING}:%}} of what it names: the strips are grainy, "
    f"and some things look alike. Of the causes alone, coarse pictures make that {{{MADE_UP}/{CAUSES[5]}:%}}, a small "
    f"tower {{{MADE_UP}/{CAUSES[6]}:%}}, short training {{{MADE_UP}/{CAUSES[7]}:%}}. All four of the data together "
    f"make it {{{MADE_UP}/all of the data:%}}."
)
KINDS_TEXT = (
    "Each cause has errors of its own. With few questions whose answer is no, descriptions stay as they are "
    f"({{{MADE_UP}/{FEW_NOES}:%}}), and {{{_RANDOM}/{FEW_NOES}:%}} of the answers about absent kinds are a false yes "
    f"({{{_RANDOM}/{NOTHING}:%}} without). Captions that are sometimes wrong show in sampled words "
    f"({{{_SAMPLED}/{NOISE}:%}}) far more than in the likeliest ones ({{{MADE_UP}/{NOISE}:%}}): what is wrong is "
    "another thing each time. Made to name five things where there are two to five, who sees all and names nothing "
    "twice must make up {made up at least:%}; a model without any cause then makes up "
    f"{{{_FORCED}/{NOTHING}:%}}. The numbers of every seed are in the results file."
)
TOGETHER_TEXT = (
    "All ten causes are switched on and off together: a quarter of all combinations of the eight that act in learning, "
    "in which no cause and no pair of causes is mixed up with another (resolution V), each with all four ways of "
    "speaking. Of the variance of what is made up, the data explain "
    f"{{share of {MADE_UP}/data:%}}, sight {{share of {MADE_UP}/sight:%}}, the language prior "
    f"{{share of {MADE_UP}/language prior:%}}, training {{share of {MADE_UP}/training:%}}, the way of speaking "
    f"{{share of {MADE_UP}/speaking:%}}, and pairs of them {{share of {MADE_UP}/together:%}}. Of false yes to "
    f"adversarial questions the data explain {{share of {_ADVERSARIAL}/data:%}}."
)
PAIRS_TEXT = (
    "A number above zero says that two causes together do more than the sum of both. Is what is not seen filled in "
    "with what is usual? With bad sight and skewed company, adversarial questions are a false yes more often than "
    f"random ones by {{{COMPANY_FIRST}/skewed company and bad sight:points}}; bad sight alone has "
    f"{{{COMPANY_FIRST}/{BAD_SIGHT}:points}}, skewed company alone {{{COMPANY_FIRST}/{CAUSES[0]}:points}}. Averaged "
    "over all other causes on and off, company and coarse pictures have "
    f"{{together on {COMPANY_FIRST}/{CAUSES[0]} and {CAUSES[5]}:points}} beyond what each has alone, company and a "
    f"small tower {{together on {COMPANY_FIRST}/{CAUSES[0]} and {CAUSES[6]}:points}}: who has other illnesses too says "
    "yes to much else, and the meeting is seen less."
)
TOLD_TEXT = (
    "Can the cause be told from how a model errs? What it makes up, leaves out and answers, as it is and sampled, made "
    "to go on, blurred, in mist and blind, and how much a little more of its training mends, is compared with the "
    "symptoms of models whose cause is known, of other seeds, by logistic regression. Of {cases:0} planted single "
    "causes {cases told rightly:0} are told rightly; by chance one in eight would be. Who asks needs to know which "
    "kinds were frequent and kept company in training, and to train on; every cause is there at one strength, and one "
    "of the eight is always there."
)
