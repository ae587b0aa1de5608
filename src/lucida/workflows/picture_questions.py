"""POPE questions about pictures of a lesson, whose lists of objects are complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lucida.data.lessons import Lesson
from lucida.data.truth import PictureObject
from lucida.evaluation.pope import SETS, PopeQuestion, corpus_questions


class Labelled(NamedTuple):
    """One picture as :func:`lucida.evaluation.pope.corpus_questions` reads it."""

    id: str
    objects: tuple[PictureObject, ...]
    label: str | None = None


class CompleteLists(NamedTuple):
    """Those pictures of a lesson whose lists of objects are complete."""

    pictures: tuple[Labelled, ...]

    @property
    def exhaustive_objects(self) -> bool:
        """There are such pictures."""
        return bool(self.pictures)


def pope_questions(lesson: Lesson, n: int, sets: Sequence[str] = SETS) -> tuple[list[PopeQuestion], dict[str, str]]:
    """POPE questions about the first ``n`` pictures, by number, and why a set is missing."""
    facts = [(i, lesson.gallery.facts(i)) for i in range(n)]
    complete = CompleteLists(tuple(Labelled(str(i), one.objects) for i, one in facts if one.exhaustive))
    return corpus_questions(complete, sets=sets, statistics=lesson.statistics)
