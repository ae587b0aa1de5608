"""What the page on held-out kinds of instruction shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.held_out_instructions import (
    ARMS,
    BLIND,
    CONSTANT,
    EARLY,
    FIRST,
    FIVE,
    FIVE_WORDED,
    HELD,
    IN_FORM,
    KNOWN,
    LATE,
    NAMED,
    ONE,
    ONE_WORDED,
    SIXTEEN,
    TEN,
    TRAINED,
    TWO,
)
from lucida.lab.observations import Observations
from lucida.lab.strip_instructions import ASKS, MEANT
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_SHOWN = (ONE, TWO, FIVE, FIVE_WORDED, TEN, SIXTEEN)


def present(found: Observations) -> Sequence[Section]:
    """Accuracy by number of kinds, kinds and wordings, on the way there, and which held-out kinds are followed."""
    return (_by_number(found), _arms(), _courses(found), _parts(found))


def _by_number(found: Observations) -> Section:
    figure = LinesFigure(
        "Right answers by number of kinds",
        (
            found.series("by number/held", "held-out kinds"),
            found.series("by number/trained", "kinds tuned on"),
            found.series("by number/constant", CONSTANT),
        ),
        x_label="kinds of instruction tuned on, at equal examples",
        y_label="right answers",
        log_x=True,
        share=True,
    )
    text = (
        f"{{examples:0}} instructions are learned from in every arm. Of held-out kinds {{{HELD}/{ONE}:%}} are "
        f"answered right after one kind, {{{HELD}/{TWO}:%}} after two, {{{HELD}/{FIVE}:%}} after five, "
        f"{{{HELD}/{TEN}:%}} after ten and {{{HELD}/{SIXTEEN}:%}} after sixteen. Who gives to each held-out kind its "
        f"most frequent answer is right in {{{HELD}/{CONSTANT}:%}}. With one kind or two most held-out kinds have "
        f"words that were never met ({{{KNOWN}/{TWO}:%}} have none such with two). From five on all words are "
        "known, and what grows is the number of combinations in which they were met."
    )
    return Section("By the number of kinds", text, (figure,))


def _arms() -> Section:
    figure = EffectsFigure(
        "Right answers to held-out kinds",
        (*(EffectRow(arm, f"{HELD}/{arm}") for arm in ARMS), EffectRow(CONSTANT, f"{HELD}/{CONSTANT}")),
        x_label="right answers, kinds that were held out",
        share=True,
    )
    columns = (HELD, IN_FORM, TRAINED, FIRST, KNOWN, NAMED)
    rows = []
    for arm, settings in ARMS.items():
        cells = [f"{column}/{arm}" for column in columns]
        cells[3] = cells[3] if settings.kinds >= ARMS[FIVE].kinds else ""
        cells[5] = "" if settings.blind else cells[5]
        rows.append((arm, tuple(cells)))
    table = TableFigure(
        "All arms",
        ("right, held out", "in form, held out", "right, own kinds", "right, the five", "words known", "places named"),
        tuple(rows),
        caption="In form: yes or no, a number, or a name, as was asked for. The five: kinds that are tuned on from "
        "five kinds on. Words known: of the held-out kinds, those all whose words were tuned on.",
        shares=(True,) * len(columns),
    )
    text = (
        "One kind in sixteen wordings has as many different texts as sixteen kinds in one: "
        f"{{{HELD}/{ONE_WORDED}:%}} and {{{HELD}/{SIXTEEN}:%}} of held-out kinds are right. Five kinds in all "
        f"wordings have {{{HELD}/{FIVE_WORDED}:%}}, in one wording {{{HELD}/{FIVE}:%}}. Sixteen kinds learned "
        f"without ever seeing a strip have {{{HELD}/{BLIND}:%}}. The form of the answer carries over first: "
        f"{{{IN_FORM}/{FIVE}:%}} of the answers to held-out kinds are in the form that was asked for after five "
        f"kinds, {{{IN_FORM}/{SIXTEEN}:%}} after sixteen."
    )
    return Section("Kinds, wordings, and no strips", text, (figure, table))


def _courses(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(
            title,
            tuple(found.series(f"course/{what}/{arm}", arm) for arm in _SHOWN),
            x_label="steps",
            y_label="right answers",
            share=True,
        )
        for what, title in (("held", "Held-out kinds along tuning"), ("trained", "Kinds tuned on, along tuning"))
    )
    text = (
        f"After a third of the examples sixteen kinds have {{{HELD}/{SIXTEEN}/{EARLY}:%}} of held-out kinds right "
        f"and five have {{{HELD}/{FIVE}/{EARLY}:%}}; after all of them {{{HELD}/{SIXTEEN}/{LATE}:%}} and "
        f"{{{HELD}/{FIVE}/{LATE}:%}}. Of the kinds that they were tuned on, {{{TRAINED}/{SIXTEEN}:%}} and "
        f"{{{TRAINED}/{FIVE}:%}} are right at the end; of the five that both were tuned on, {{{FIRST}/{SIXTEEN}:%}} "
        f"and {{{FIRST}/{FIVE}:%}}."
    )
    return Section("On the way there", text, figures)


def _parts(found: Observations) -> Section:
    rows = tuple(
        (word, tuple(_fact(found, f"right by part/{arm}/{word}") for arm in (FIVE, FIVE_WORDED, SIXTEEN)))
        for word in (*ASKS, *MEANT)
    )
    table = TableFigure(
        "Held-out kinds by what is asked and by what is meant",
        (FIVE, FIVE_WORDED, SIXTEEN),
        rows,
        caption="Over all seeds that held such a kind out; seeds differ in which they did.",
        shares=(True,) * 3,
    )
    text = (
        "A kind of instruction is a question about a thing that is meant in some way: `which group is` `what is left "
        "of` the cat. A yes or no is guessed right every other time, a name hardly ever; so rows are not to be "
        "compared with each other, but with themselves from column to column."
    )
    return Section("Which held-out kinds are followed", text, (table,))


def _fact(found: Observations, name: str) -> str:
    return name if name in found.facts else ""
