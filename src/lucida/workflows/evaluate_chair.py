"""``lucida evaluate chair``: captions that were made elsewhere, and the objects they name that are not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.chair import chair_curve, chair_metrics
from lucida.evaluation.chair_files import read_caption_rows, read_truth
from lucida.evaluation.vocabulary import Vocabulary
from lucida.workflows.audited_pictures import own_vocabulary

LENGTHS = (8, 16, 32, 64, 128)
MEASURES = ("chair_i", "chair_s", "recall", "mean_words", "mean_objects")


@dataclass(frozen=True)
class EvaluateChairConfig:
    """Captions of pictures whose objects are known, scored without a model.

    Attributes:
        captions: JSON lines or a JSON list with image_id (or image) and caption (or text).
        objects: COCO's instances of the same pictures; the pictures themselves are not needed.
        references: COCO's captions: what people named counts as there, too, as in the authors' script.
        vocabulary: a file with a line for each name, "dog: puppy, hound"; the categories with COCO's synonyms unless
            given.
        keep_unfinished: score a caption's first words with the sentence that they cut off, or without it.
        json: one JSON object alone on the standard output.
    """

    captions: Path | None = None
    objects: Path | None = None
    references: Path | None = None
    vocabulary: Path | None = None
    keep_unfinished: bool = True
    json: bool = False


@dataclass(frozen=True)
class CaptionScores:
    """CHAIR of a file of captions, whole and by their first words.

    Attributes:
        metrics: by name.
        curve: the same by number of words.
        n: captions.
        keep_unfinished: the truncation policy of the curve.
    """

    metrics: Mapping[str, Metric]
    curve: Mapping[int, Mapping[str, Metric]]
    n: int
    keep_unfinished: bool

    def as_json(self) -> dict[str, Any]:
        """For other programs; null where a number is not defined."""
        return {
            **_numbers(self.metrics),
            "n": self.n,
            "ci95": {name: metric.ci95 for name, metric in self.metrics.items() if metric.ci95},
            "keep_unfinished": self.keep_unfinished,
            "first_words": {str(n): _numbers(metrics) for n, metrics in self.curve.items()},
        }

    def as_text(self) -> str:
        """For a person."""
        columns = {"whole": self.metrics, **{f"first {n}": metrics for n, metrics in self.curve.items()}}
        lines = ["".join([" " * 13, *(f"{name:>11}" for name in columns)])]
        lines += [
            f"{name:13}" + "".join(f"{_cell(name, one[name]):>11}" for one in columns.values()) for name in MEASURES
        ]
        policy = "with" if self.keep_unfinished else "without"
        return "\n".join(
            [*lines, "", f"{self.n:,} captions; by their first words {policy} the sentence that is cut off"]
        )


def evaluate_chair(config: EvaluateChairConfig) -> CaptionScores:
    """The scores of a file of captions.

    Raises:
        LucidaError: a file is not named, cannot be read, or a caption's picture is not annotated.
    """
    if config.captions is None or config.objects is None:
        missing = "captions" if config.captions is None else "objects"
        remedy = "lucida evaluate chair --captions C.jsonl --objects instances.json"
        raise LucidaError(f"no {missing} were named", where="lucida evaluate chair", remedy=remedy)
    known = own_vocabulary(config.vocabulary) if config.vocabulary else None
    truth = read_truth(config.objects, references=config.references, vocabulary=known)
    rows = read_caption_rows(config.captions)
    vocabulary = known or Vocabulary(truth.names)
    texts, present, pictures = [row.text for row in rows], [truth.of(row) for row in rows], [row.image for row in rows]
    whole = chair_metrics(texts, present, vocabulary, pictures=pictures)
    curve = chair_curve(texts, present, vocabulary, LENGTHS, keep_unfinished=config.keep_unfinished, pictures=pictures)
    return CaptionScores(
        {name: whole[f"chair/{name}"] for name in MEASURES},
        {n: {name: curve[f"chair/first_{n}_words/{name}"] for name in MEASURES} for n in LENGTHS},
        len(rows),
        config.keep_unfinished,
    )


def _numbers(metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    return {name: metrics[name].value if math.isfinite(metrics[name].value) else None for name in MEASURES}


def _cell(name: str, metric: Metric) -> str:
    if not math.isfinite(metric.value):
        return "–"
    return f"{metric.value:.1f}" if name.startswith("mean") else f"{100 * metric.value:.1f} %"
