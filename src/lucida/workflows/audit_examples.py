"""Pictures of an audit with what the model said of them, for the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lucida.core.run_folder import RunFolder
from lucida.evaluation.chair import read_captions
from lucida.report.material import Example, save_thumbnail

if TYPE_CHECKING:
    from lucida.workflows.audit import Audit

EXAMPLES, ASKED = 6, 3  # pictures that are shown with a description, and with their hardest questions


def audit_examples(done: Audit, folder: RunFolder) -> Iterator[Example]:
    """The first pictures, with their descriptions and with the hardest questions about them."""
    for i in range(min(EXAMPLES, len(done.pictures))):
        view = done.pictures.views[i]
        thumbnail = save_thumbnail(folder, f"audit-{i}", np.asarray(view.open()))
        if i < len(done.captions):
            yield _described(done, i, thumbnail)
        if i < ASKED and done.questions:
            yield from _asked(done, i, thumbnail)


def _described(done: Audit, i: int, thumbnail: str) -> Example:
    present = done.pictures.present(i)
    reading = read_captions([done.captions[i]], [present], done.pictures.vocabulary)[0]
    return Example(
        thumbnail,
        done.captions[i] or "(nothing)",
        ", ".join(present),
        not reading.hallucinated and {*reading.mentioned} == {*present},
        question=done.subject.describe,
        group="Describing pictures",
        made_up=reading.hallucinated,
        id=done.pictures.views[i].name,
    )


def _asked(done: Audit, i: int, thumbnail: str) -> Iterator[Example]:
    hardest = done.questions[-1].set
    for question, said, answer, p_yes in zip(done.questions, done.said, done.answers, done.p_yes, strict=True):
        if question.picture_id == str(i) and question.set == hardest:
            truth = "yes" if question.label else "no"
            yield Example(
                thumbnail,
                said.text or "(nothing)",
                truth,
                answer == truth,
                done.subject.asks(question.object),
                float(max(p_yes, 1 - p_yes)) if np.isfinite(p_yes) else None,
                "Asking whether something is there",
                id=done.pictures.views[i].name,
            )
