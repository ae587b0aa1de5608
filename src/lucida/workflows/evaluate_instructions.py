"""``lucida evaluate instructions``: how the model of a run follows kinds of instruction that it was not tuned on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lucida.core.config import check_settings
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.lessons import Lesson
from lucida.workflows.evaluate_remedies import finished, folder_for
from lucida.workflows.instruction_stage import (
    PREFIX,
    InstructionStage,
    measure_instructions,
    tune_on_instructions,
)


@dataclass(frozen=True)
class EvaluateInstructionsConfig:
    """Instructions to the multimodal LLM of a run on scenes, whose truth is exact.

    Attributes:
        run: a folder of `lucida run` on the artwork; its model is left as it is, a copy is tuned.
        out: gets results.json and the tuned model.
        seed: of the held-out kinds, the training and the questions.
        stage: which kinds, and how the copy is tuned; with no scenes the model is asked as it is.
    """

    run: Path = Path("runs/default")
    out: Path = Path("runs/instructions")
    seed: int = 0
    stage: InstructionStage = field(default_factory=lambda: InstructionStage(scenes=4_000))

    def __post_init__(self) -> None:
        check_settings(self, {"seed": self.seed >= 0})


def evaluate_instructions(config: EvaluateInstructionsConfig) -> Results:
    """Accuracy by kind, trained on and held out, before and after; also in ``results.json``.

    Raises:
        LucidaError: the run is not finished or not one on scenes, or another model was tuned in the same folder.
    """
    answerer, world = finished(config.run)
    folder: RunFolder = folder_for(config.run, config.out, config, seed=config.seed)
    results = Results()
    tuned = tune_on_instructions(answerer, world, config.stage, folder, seed=config.seed)
    exam = Lesson.of_scenes(world, "test", config.stage.test_pictures)
    measure_instructions(answerer, tuned, exam, config.stage, results, seed=config.seed)
    results.details["environment"] = environment(config.seed)
    results.save(folder.results)
    return results


_COLUMNS = {
    "before_accuracy": "before",
    "accuracy": "right",
    "new_wording_accuracy": "new words",
    "shuffled_accuracy": "shuffled",
    "majority_accuracy": "constant",
    "chance_accuracy": "chance",
}
_TOGETHER = {"shuffled_accuracy": "blind/shuffled/accuracy"}


def as_text(results: Results) -> str:
    """The table for a terminal, shares in percent: every kind, and the kinds of a part together.

    "Shuffled" is with another picture; "constant" is the best answer that is always the same, kind by kind.
    """
    lines = [" " * 20 + "".join(f"{title:>11}" for title in _COLUMNS.values())]
    for part, kinds in results.details[PREFIX].items():
        if not kinds:
            continue
        together = (results.metrics.get(f"{PREFIX}/{part}/{_TOGETHER.get(name, name)}") for name in _COLUMNS)
        lines += ["", _line(part.replace("_", " "), together)]
        for kind in kinds:
            lines.append(_line(f"  {kind}", (results.metrics.get(f"{PREFIX}/kind/{kind}/{c}") for c in _COLUMNS)))
    return "\n".join(lines)


def _line(title: str, metrics: Iterable[Metric | None]) -> str:
    cells = "".join(" " * 11 if metric is None else f"{100 * metric.value:11.1f}" for metric in metrics)
    return f"{title:20}{cells}".rstrip()
