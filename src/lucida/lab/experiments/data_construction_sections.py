"""What the page on data construction shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.dirty_pairs import FAULTS, STEPS
from lucida.lab.experiment import Section
from lucida.lab.experiments.data_construction import (
    ACCURACY,
    ALL,
    ARMS,
    FALSE,
    FLATTERY,
    LEAKED,
    LEFT,
    LEVELS,
    NONE,
    SECOND,
    SHOWN,
    SOUND,
    UNSEEN,
    alone,
    without,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, TableFigure

_LEFT_OUT = {
    "clean": "cleaning_helps",
    "deduplicate": "deduplicating_helps",
    "filter": "the_filter_helps",
    "balance": "balancing_helps",
    "hard negatives": "hard_negatives_help",
}


def present(found: Observations) -> Sequence[Section]:
    """What each step buys, what it leaves, and what leaks pretend."""
    return (_bought(), _left(), _leaks())


def _bought() -> Section:
    figures = []
    for level in LEVELS:
        beside = tuple(
            EffectRow(f"{step}, beside the others", f"claim/{_LEFT_OUT[step]}/effect/{level}") for step in STEPS
        )
        by_itself = tuple(
            EffectRow(f"{step}, alone", f"claim/{step.replace(' ', '_')}_alone_helps/effect/{level}") for step in STEPS
        )
        figures.append(
            EffectsFigure(
                f"What a step buys: {level}",
                (EffectRow("all steps", f"claim/all_steps_help/effect/{level}"), *beside, *by_itself),
                "pictures named right, in points",
                caption="All steps and each alone: against none. Beside the others: all steps against all but this.",
                share=True,
            )
        )
    table = TableFigure(
        "Pictures named right",
        tuple(LEVELS),
        tuple((arm, tuple(f"{ACCURACY}/{arm}/{level}" for level in LEVELS)) for arm in ARMS),
        shares=(True, True),
    )
    return Section("What each step buys", BOUGHT_TEXT, (*figures, table))


def _left() -> Section:
    arms = (NONE, *(alone(step) for step in STEPS[:-1]), *(without(step) for step in STEPS[:-1]), ALL)
    pairs = TableFigure(
        "What the steps leave",
        ("pairs", "right", "wrong", "empty", "copied", "leaked"),
        tuple((arm, (f"{LEFT}/{arm}", *(f"pairs {fault}/{arm}" for fault in FAULTS))) for arm in arms),
        caption="Pairs by what is wrong with them: nothing; a caption of another picture; a caption that says nothing; "
        "one picture saved again; a copy of a test picture.",
    )
    sound = TableFigure(
        "How sound they are",
        ("captions that are true", "concepts with a picture"),
        tuple((arm, (f"{SOUND}/{arm}", f"{SHOWN}/{arm}")) for arm in arms),
        shares=(True, False),
    )
    return Section("What the steps leave", LEFT_TEXT, (pairs, sound))


def _leaks() -> Section:
    arms = (NONE, alone("deduplicate"), without("deduplicate"), ALL)
    table = TableFigure(
        "Pictures by the second artist",
        ("leaked", "not leaked", "difference"),
        tuple((arm, (f"{LEAKED}/{arm}", f"{ACCURACY}/{arm}/{SECOND}", f"{FLATTERY}/{arm}")) for arm in arms),
        caption="The same pictures are called leaked in every row: where copies are dropped, none of them is there.",
        shares=(True, True, True),
    )
    return Section("What leaks pretend", LEAKS_TEXT, (table,))


BOUGHT_TEXT = (
    f"On the crawl as it is {{{ACCURACY}/{NONE}/{UNSEEN}:%}} of pictures of unseen concepts are named right and "
    f"{{{ACCURACY}/{NONE}/{SECOND}:%}} of those by the second artist; after all steps "
    f"{{{ACCURACY}/{ALL}/{UNSEEN}:%}} and {{{ACCURACY}/{ALL}/{SECOND}:%}}. That is little, after one pass over so few "
    "pairs: who names at random is right about one in sixty of the former, and one in two hundred of the latter. A "
    "step that drops pairs is paid for: with as many examples to see, fewer pairs are seen more often. What a step "
    "buys beside the others may be less than what it buys alone, where two steps find the same faults, or more, where "
    "one makes room for the other."
)
LEFT_TEXT = (
    f"Of {{{LEFT}/{NONE}:0}} pairs of a crawl {{{SOUND}/{NONE}:%}} have a caption that is true of their picture; all "
    f"steps leave {{{LEFT}/{ALL}:0}}, of which {{{SOUND}/{ALL}:%}} have. Hard negatives drop nothing; of those noted "
    f"after all steps {{{FALSE}/{ALL}:%}} show what their pair shows, under another caption, and without the other "
    f"steps {{{FALSE}/{alone('hard negatives')}:%}}: such a negative teaches what is wrong. Drawings that "
    "look almost alike (faces, hands) may be dropped as copies of each other though they are not, and balancing drops "
    "captions that name no concept of its list, so some faults are found by a step that was not made for them."
)
LEAKS_TEXT = (
    "Some test pictures lie in the crawl, too, saved again at another size. The test pictures were named first, so "
    "deduplicating drops the copies, whose first is the test's. Without it, "
    f"{{{LEAKED}/{NONE}:%}} of the leaked pictures are named right and {{{ACCURACY}/{NONE}/{SECOND}:%}} of the others; "
    f"with it alone, {{{LEAKED}/{alone('deduplicate')}:%}} and {{{ACCURACY}/{alone('deduplicate')}/{SECOND}:%}}. What "
    "leaks add to a result is no knowledge of anything else: judge a training by pictures that were compared with it."
)
