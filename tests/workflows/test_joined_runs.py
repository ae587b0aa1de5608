"""Every way to join pictures to words through the language stage of a run: trained, kept, asked, audited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lucida.arguments import override
from lucida.cli import main
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.results import Results, read_json, write_json
from lucida.core.run_folder import RunFolder
from lucida.data.lessons import Lesson
from lucida.inference.answerer import SETTINGS, Answerer
from lucida.models.joining import Join
from lucida.workflows import recipes
from lucida.workflows.audit import AuditConfig, audit
from lucida.workflows.evaluate_remedies import EvaluateRemediesConfig, evaluate_remedies
from lucida.workflows.language_stage import MODEL, LanguageRun, LanguageStage
from lucida.workflows.run_config import RunConfig
from lucida.workflows.subjects import View, load_subject
from tests.models.tiny_joins import JOINS
from tests.workflows.test_audit import coco
from tests.workflows.test_preference import lesson  # noqa: F401  # a fixture

OTHERS = [join for join in JOINS if join != "words"]


def stage(join: Join) -> LanguageStage:
    """A few steps."""
    few, own = Duration(48, "examples"), recipes.load("tiny").language
    settings = {"duration": few, "batch_size": 16, "log_every": None, "probe_every": None}
    return replace(
        own,
        join=join,
        queries=3,
        looking=replace(own.looking, **settings),
        train=replace(own.train, **settings),
    )


@pytest.fixture(scope="module", params=OTHERS)
def trained(
    request: pytest.FixtureRequest,
    lesson: Lesson,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[LanguageRun, RunFolder]:
    run = LanguageRun(lesson, stage(request.param), size=64)
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / request.param, RunConfig(language=run.stage), seed=0)
    run.fit(folder, lesson, resume=True)
    return run, folder


def test_a_run_says_what_it_leaves_out_and_trains_the_rest(trained: tuple[LanguageRun, RunFolder]) -> None:
    run, folder = trained
    assert (folder.path / "stages" / "naming").exists() == (run.stage.join != "early-fusion")
    assert (folder.path / "stages" / "looking").exists()
    results = Results()
    run.leave_out(results)
    assert f"joined by '{run.stage.join}'" in results.left_out["grounding"]
    assert run.answerer.grounding is None
    fresh = LanguageRun(run.lesson, run.stage, size=64).model.state_dict()
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, fresh[name])}
    assert any(name.startswith("multi_modal_projector") for name in changed)
    assert any(name.startswith("language_model") for name in changed)
    assert any(name.startswith("vision_tower") for name in changed) == (run.stage.join != "early-fusion")


def test_the_kept_model_answers_as_the_trained_one(trained: tuple[LanguageRun, RunFolder]) -> None:
    run, folder = trained
    own, kept, gallery = run.answerer, Answerer.load(folder.path / MODEL), run.lesson.gallery
    assert kept.join == run.stage.join
    features = own.see(gallery, 4)
    assert torch.equal(kept.see(gallery, 4), features)
    asked = [(i, name) for i in range(4) for name in own.names]
    assert np.array_equal(kept.ask_yes_no(features, asked).p_yes, own.ask_yes_no(features, asked).p_yes)
    pixels = gallery.pixels([0])[0]
    assert kept.reply(pixels, "Describe the picture.") == own.reply(pixels, "Describe the picture.")
    with pytest.raises(LucidaError, match="not written in words"):
        kept.support(features)


def test_it_is_asked_and_audited_like_any_run(
    trained: tuple[LanguageRun, RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, folder = trained
    gallery, answerer = run.lesson.gallery, run.answerer
    Image.fromarray(gallery.pixels([0])[0]).save(tmp_path / "0.png")
    main(["ask", str(folder.path), str(tmp_path / "0.png"), f"Is there a {answerer.names[0]}?"])
    assert "confidence" in capsys.readouterr().out
    subject = load_subject(str(folder.path))
    views = [View(f"{i}.png", (64, 64), lambda i=i: Image.fromarray(gallery.pixels([i])[0])) for i in range(3)]  # type: ignore[misc]
    asked = [(i, name) for i in range(3) for name in answerer.names]
    found = subject.answers(views, [(i, subject.asks(name)) for i, name in asked], max_new_tokens=3)
    own = answerer.ask_yes_no(answerer.see(gallery, 3), asked)
    assert [one.p_yes for one in found] == pytest.approx(own.p_yes.tolist(), abs=1e-4)
    audit(str(folder.path), AuditConfig(pictures=coco(tmp_path), out=tmp_path / "audit", captions=4, twins=2))
    assert Results.load(tmp_path / "audit" / "results.json").metrics["pope/random/accuracy"].n


def test_remedies_that_need_words_are_refused_in_one_line(
    trained: tuple[LanguageRun, RunFolder], tmp_path: Path
) -> None:
    _, folder = trained
    with pytest.raises(LucidaError, match="stand for no words"):
        evaluate_remedies(EvaluateRemediesConfig(run=folder.path, out=tmp_path / "remedies"))
    assert not (tmp_path / "remedies").exists()


@pytest.mark.parametrize("join", JOINS)
def test_one_value_on_the_command_line_chooses_the_way(join: Join) -> None:
    config = override(recipes.load("tiny"), ["--language.join", join, "--language.queries", "5"], command="lucida run")
    assert config.language.join == join
    assert config.language.queries == 5


def test_folders_of_before_are_joined_by_words(lesson: Lesson, tmp_path: Path) -> None:  # noqa: F811
    run = LanguageRun(lesson, stage("words"), size=64)
    run.answerer.save(tmp_path)
    settings = read_json(tmp_path / SETTINGS)
    assert settings.pop("join") == "words"
    settings.pop("queries")
    write_json(tmp_path / SETTINGS, settings)
    assert Answerer.load(tmp_path).join == "words"
