"""A model tuned on kinds of instruction: the others are asked too, before and after, and the model itself stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.galleries import SceneGallery
from lucida.data.instruction_kinds import INSTRUCTION_KINDS
from lucida.data.lessons import Lesson
from lucida.inference.answerer import Answerer
from lucida.report.instructions import instruction_figures, instruction_lead, instruction_table
from lucida.training.loop import TrainConfig
from lucida.workflows.evaluate_instructions import as_text
from lucida.workflows.instruction_stage import (
    TUNED,
    InstructionExam,
    InstructionStage,
    measure_instructions,
    tune_on_instructions,
)
from tests.workflows.test_preference import answerer, lesson  # noqa: F401  # fixtures

STAGE = InstructionStage(
    scenes=40,
    kinds=2,
    rehearsed=0.0,
    test_pictures=24,
    train=TrainConfig(
        Duration(60, "steps"), batch_size=8, learning_rate=5e-3, weight_decay=0.0, probe_every=None, log_every=None
    ),
)


@pytest.fixture(scope="module")
def measured(answerer: Answerer, lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Results:  # noqa: F811
    assert isinstance(lesson.gallery, SceneGallery)
    folder = RunFolder.create(tmp_path_factory.mktemp("instructed"), STAGE, seed=3)
    before = {name: tensor.clone() for name, tensor in answerer.model.state_dict().items()}
    tuned = tune_on_instructions(answerer, lesson.gallery.world, STAGE, folder, seed=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in answerer.model.state_dict().items())
    results = Results()
    exam = Lesson.of_scenes(lesson.gallery.world, "test", STAGE.test_pictures)
    measure_instructions(answerer, tuned, exam, STAGE, results, seed=3)
    results.details["folder"] = str(folder.path)
    return results


def test_what_is_trained_on_is_learned_to_be_answered_in_its_form(measured: Results) -> None:
    """The world has six flat colours: kinds whose answers are two words are learned better than by guessing."""
    parts = measured.details["instructions"]
    assert len(parts["trained"]) == 2
    assert len(parts["held_out"]) == STAGE.held_out
    assert measured.metrics["instructions/trained/accuracy"].value > 0.3
    gained = measured.metrics["instructions/trained/gain"].ci95
    assert gained is not None
    assert gained[0] > 0


def test_all_kinds_stand_beside_what_needs_no_picture(measured: Results) -> None:
    asked = {kind for part in measured.details["instructions"].values() for kind in part}
    assert asked < {*INSTRUCTION_KINDS}
    for kind in asked:
        for name in ("accuracy", "before_accuracy", "shuffled_accuracy", "majority_accuracy", "chance_accuracy"):
            assert 0 <= measured.metrics[f"instructions/kind/{kind}/{name}"].value <= 1
    for part in ("trained", "held_out", "conversed"):
        assert measured.metrics[f"instructions/{part}/blind/blank/accuracy"].n
        assert measured.metrics[f"instructions/{part}/new_wording_accuracy"].n


def test_the_table_and_the_report_show_every_kind(measured: Results) -> None:
    text = as_text(measured)
    table = instruction_table(measured.metrics)
    assert table is not None
    for part in measured.details["instructions"].values():
        assert all(f"  {kind} " in text for kind in part)
    assert len(table.rows) == sum(map(len, measured.details["instructions"].values()))
    figures = instruction_figures(measured.metrics)
    assert len(figures) == 3
    assert all("points" in figure.caption for figure in figures)
    assert "held" not in instruction_lead({})
    assert instruction_lead(measured.metrics).endswith("%.")


def test_the_tuned_model_can_be_loaded_and_answers_the_same(
    measured: Results,
    answerer: Answerer,  # noqa: F811
    lesson: Lesson,  # noqa: F811
) -> None:
    tuned = Answerer.load(Path(measured.details["folder"]) / TUNED)
    assert isinstance(lesson.gallery, SceneGallery)
    exam = Lesson.of_scenes(lesson.gallery.world, "test", STAGE.test_pictures)
    kinds = measured.details["instructions"]["trained"]
    asked = InstructionExam(exam, STAGE.test_pictures, kinds, 3)
    right = asked.right(tuned, answerer.see(exam.gallery, asked.n))
    assert np.mean(right) == pytest.approx(measured.metrics["instructions/trained/accuracy"].value)


def test_without_scenes_nothing_is_tuned_and_the_model_is_asked_as_it_is(
    answerer: Answerer,  # noqa: F811
    lesson: Lesson,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert isinstance(lesson.gallery, SceneGallery)
    stage = InstructionStage(test_pictures=4)
    tuned = tune_on_instructions(answerer, lesson.gallery.world, stage, RunFolder(tmp_path), seed=0)
    assert tuned.answerer is answerer
    assert tuned.parts.trained == ()
    results = Results()
    measure_instructions(answerer, tuned, Lesson.of_scenes(lesson.gallery.world, "test", 4), stage, results, seed=0)
    assert results.metrics["instructions/held_out/gain"].value == 0
    assert not any(name.startswith("instructions/trained") for name in results.metrics)


@pytest.mark.parametrize("wrong", [{"held_out": 40}, {"kinds": 0}, {"rehearsed": 1.0}, {"test_pictures": 1}])
def test_settings_that_cannot_be_are_refused_before_anything_is_trained(wrong: dict[str, float]) -> None:
    with pytest.raises(LucidaError):
        InstructionStage(**wrong)  # type: ignore[arg-type]
