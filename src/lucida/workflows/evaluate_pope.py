"""``lucida evaluate pope``: answers to "is there a …?" scored, made here or elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.peer_scripts import PEER_METRICS
from lucida.evaluation.pope_files import OURS, FileScores, read_answer_rows, read_questions, score_answers

Parser = Literal["lucida", "pope", "llava", "opera", "vcd", "lmms-eval"]


@dataclass(frozen=True)
class EvaluatePopeConfig:
    """Answers to POPE's questions, scored without a model.

    Attributes:
        questions: JSON lines with question_id, image, text and label ("yes" or "no"), perhaps a category.
        answers: JSON lines with question_id and answer (or text), in any order.
        parser: what reads the answers: ours, which knows abstentions, or a published script, number for number.
        json: one JSON object alone on the standard output.
    """

    questions: Path | None = None
    answers: Path | None = None
    parser: Parser = OURS
    json: bool = False


def evaluate_pope(config: EvaluatePopeConfig) -> FileScores:
    """The scores of a file of answers.

    Raises:
        LucidaError: a file is not named, cannot be read, or the two do not fit together.
    """
    if config.questions is None or config.answers is None:
        missing = "questions" if config.questions is None else "answers"
        remedy = "lucida evaluate pope --questions Q.jsonl --answers A.jsonl"
        raise LucidaError(f"no {missing} were named", where="lucida evaluate pope", remedy=remedy)
    questions = read_questions(config.questions)
    return score_answers(questions, read_answer_rows(config.answers, questions), config.parser)


def as_json(found: FileScores) -> dict[str, Any]:
    """The numbers for other programs; null where one is not defined."""
    sets = {name: _numbers(metrics) for name, metrics in found.sets.items()}
    return {
        **_numbers(found.metrics),
        "n": found.n,
        "parser": found.parser,
        "question_set": found.question_set,
        "ci95": {name: metric.ci95 for name, metric in found.metrics.items() if metric.ci95},
        **({"sets": sets} if sets else {}),
    }


def _numbers(metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    return {name: metrics[name].value if math.isfinite(metrics[name].value) else None for name in PEER_METRICS}


def as_text(found: FileScores) -> str:
    """A table for a person."""
    columns = {"all": found.metrics, **found.sets} if found.sets else {"": found.metrics}
    width = max(14, *(len(name) + 2 for name in columns))
    lines = ["".join([" " * 14, *(f"{name:>{width}}" for name in columns)])] if found.sets else []
    for name in PEER_METRICS:
        lines.append(f"{name:14}" + "".join(f"{_share(metrics[name]):>{width}}" for metrics in columns.values()))
    told = f"{found.n:,} questions (set {found.question_set}), read by {found.parser}"
    return "\n".join([*lines, "", told])


def _share(metric: Metric) -> str:
    """
    >>> _share(Metric(0.5)), _share(Metric(float("nan"))), _share(Metric(0.5, (0.4, 0.6)))
    ('50.0 %', '–', '50.0 % (40.0 to 60.0)')
    """
    if not math.isfinite(metric.value):
        return "–"
    interval = f" ({metric.ci95[0]:.1%} to {metric.ci95[1]:.1%})".replace("%", "") if metric.ci95 else ""
    return f"{metric.value:.1%}".replace("%", " %") + interval
