"""The whole life once, as a user would: through the command line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lucida.cli import main
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.conversations import FORMS
from lucida.data.kinds import article, plural
from lucida.inference.answerer import Answerer
from lucida.training.checkpoint import latest_checkpoint
from lucida.workflows.language_stage import MODEL, LanguageRun

EXPECTED = (
    "zero_shot/unseen_concepts/openmoji/top1",
    "zero_shot/unseen_concepts/openmoji/frozen_start_top1",
    "zero_shot/unseen_concepts/twemoji/top1",
    "transfer/second_artist/top1",
    "transfer/second_artist/frozen_start_top1",
    "transfer/second_artist/names_only_top1",
    "pope/random/accuracy",
    "pope/popular/auroc",
    "pope/adversarial/abstain_ratio",
    "pope/question_only/accuracy",
    "pope/second_artist/random/accuracy",
    "pope/unseen_pairs/random/accuracy",
    "chair/chair_s",
    "caption_facts/count_statements",
    "count/accuracy",
    "blind/shuffled/accuracy",
    "twins/pasted/no_ratio",
    "instructions/held_out/accuracy",
    "instructions/held_out/blind/shuffled/accuracy",
    "instructions/trained/new_wording_accuracy",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    main(["run", "--recipe", "tiny", "--out", str(out)])
    return RunFolder(out)


def test_a_run_leaves_everything(tiny):
    results = Results.load(tiny.results)
    for name in EXPECTED:
        assert results.metrics[name].n, name
    for kind in ("count", "place", "relation"):  # measured, or the reason why not
        measured, reason = (
            f"caption_facts/{kind}_error" in results.metrics,
            results.left_out.get(f"caption_facts/{kind}"),
        )
        assert measured != bool(reason), kind
    assert {"features", "dual_encoder", "multimodal_llm", "hallucination"} <= set(results.seconds)
    page = tiny.report.read_text(encoding="utf-8")
    assert len(page) > 50_000
    assert "OpenMoji" in page
    assert "http" not in page.split("<style")[0]
    assert tiny.config.exists()
    assert tiny.environment.exists()
    for stage in ("frozen_start", "dual_encoder", "naming", "language"):
        assert latest_checkpoint(tiny.path / "stages" / stage / "checkpoints")


def test_the_same_command_again_goes_on_and_measures_the_same(tiny):
    before = repr(Results.load(tiny.results).metrics)  # as text: one that names nothing has a CHAIR_i of NaN
    main(["run", "--recipe", "tiny", "--out", str(tiny.path)])
    assert repr(Results.load(tiny.results).metrics) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "unknown command 'fly'"),
        (["run", "--recipe", "tinny"], "did you mean 'tiny'?"),
        (["run", "--recipe"], "--recipe needs a value"),
        (["run", "--encoder.image-sze", "32"], "did you mean --encoder.image-size?"),
        (["run", "--encoder.image-size", "large"], "--encoder.image-size"),
        (["run", "--encoder.train.duration", "3"], "not a duration: '3'"),
        (["run", "somewhere"], "Unrecognized options: somewhere"),
        (["ask", "runs/none"], "ask needs a model, a picture and a question"),
        (["ask", "runs/none", "a.png", "is there a dog?"], "not a run folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_finished_run_can_be_asked(tiny, tmp_path, capsys):
    picture, text = tmp_path / "picture.png", tmp_path / "text.png"
    Image.new("RGB", (300, 200), "red").save(picture)
    text.write_text("no picture")
    name = Answerer.load(tiny.path / MODEL).names[0]
    for question, expected in (
        (f"Is there {article(name)} {name}?", "confidence"),
        ("Is there a zeppelin?", "never taught 'zeppelin'"),
        ("Who painted it?", "not trained on questions of this form"),
    ):
        main(["ask", str(tiny.path), str(picture), question])
        assert expected in capsys.readouterr().out
    for file, question, message in (
        (text, "Is there a dog?", "cannot be read"),
        (tmp_path / "none.png", "Is there a dog?", "no such file"),
        (picture, " ", "the question is empty"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["ask", str(tiny.path), str(file), question])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_a_question_is_put_as_it_was_taught_however_it_is_worded(tiny):
    answerer = Answerer.load(tiny.path / MODEL)
    pixels, name = np.full((answerer.size, answerer.size, 3), 90, np.uint8), answerer.names[3]
    taught = FORMS["exists"].plainly(name)
    said = answerer.reply(pixels, taught)
    for wording in (f"is there {article(name)} {name}?", f"are there any {plural(name)} in this photo", taught.upper()):
        assert answerer.reply(pixels, wording) == said
    assert answerer.ask_yes_no(answerer._grid(pixels[None]), [(0, name)]).texts == [said.text]


def test_a_saved_model_answers_as_before_and_a_broken_one_says_so(tiny, tmp_path):
    folder = tmp_path / MODEL
    shutil.copytree(tiny.path / MODEL, folder)
    first, second = Answerer.load(tiny.path / MODEL), Answerer.load(folder)
    pixels = np.full((first.size, first.size, 3), 90, np.uint8)
    assert first.reply(pixels, "Describe the picture.") == second.reply(pixels, "Describe the picture.")
    weights = folder / "weights.safetensors"
    for content, message in ((b"nonsense", "broken"), (b"\x80\x04K\x01.", "pickle")):
        weights.write_bytes(content)
        with pytest.raises(LucidaError, match=message):
            Answerer.load(folder)
    (folder / "settings.json").write_text("{}")
    with pytest.raises(LucidaError, match="settings are broken"):
        Answerer.load(folder)


def test_a_run_that_was_stopped_between_its_stages_ends_with_the_same_weights(tiny, tmp_path, monkeypatch):
    original, out = LanguageRun._converse, tmp_path / "stopped"

    def stop_before(name):
        def converse(self, stage, *arguments, **options):
            if stage == name:
                raise KeyboardInterrupt
            return original(self, stage, *arguments, **options)

        return converse

    for name in ("looking", "language"):
        monkeypatch.setattr(LanguageRun, "_converse", stop_before(name))
        with pytest.raises(SystemExit):
            main(["run", "--recipe", "tiny", "--out", str(out)])
    monkeypatch.undo()
    main(["run", "--recipe", "tiny", "--out", str(out)])
    first, second = (load_file(folder / MODEL / "weights.safetensors") for folder in (tiny.path, out))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_configuration_in_the_same_folder_is_refused(tiny, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "--recipe", "tiny", "--out", str(tiny.path), "--encoder.train.learning-rate", "0.5"])
    assert stop.value.code == 2
    assert "learning_rate" in capsys.readouterr().err


def test_help_and_version(capsys):
    main(["--help"])
    main(["--version"])
    said = capsys.readouterr().out
    assert "lucida run" in said
    assert "lucida 0" in said


def test_every_remedy_is_tried_on_a_run(tiny, tmp_path, capsys):
    given = ["--run", str(tiny.path), "--out", str(tmp_path / "remedies"), "--pictures", "6"]
    main(["evaluate", "remedies", *given, "--examples", "16", "--preference-pictures", "6"])
    said = capsys.readouterr().out
    results = Results.load(tmp_path / "remedies" / "results.json")
    names = results.details["trials"]
    assert {"as it is", "grounded in the picture", "contrast with no picture", "more of the same training"} <= {*names}
    for name in names:
        assert name in said
        for measure in ("adversarial/false_yes", "random/auroc", "count_accuracy", "decoding_cost", "recall"):
            assert results.metrics[f"{name}/{measure}"].n, (name, measure)
    plain = results.metrics["as it is/decoding_cost"]
    assert plain.value == 1.0
    equal = {results.metrics[f"{name}/random/false_yes_at_equal_yes"].n for name in names}
    assert len(equal) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nowhere"], "not a run folder"),
        (["--pictures", "0"], "pictures cannot be 0"),
        (["--example", "3"], "did you mean --examples?"),
    ],
)
def test_remedies_of_nothing_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "remedies", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_finished_run_is_asked_kinds_of_instruction(tiny, tmp_path, capsys):
    settings = ["--stage.scenes", "8", "--stage.test-pictures", "4", "--stage.train.duration", "2 steps"]
    command = ["evaluate", "instructions", "--run", str(tiny.path), "--out", str(tmp_path / "out"), *settings]
    main(command)
    said = capsys.readouterr().out
    found = Results.load(tmp_path / "out" / "results.json")
    assert found.metrics["instructions/held_out/accuracy"].n == 4
    assert all(kind in said for kind in found.details["instructions"]["held_out"])
    with pytest.raises(SystemExit):
        main([*command, "--stage.held-out", "40"])
    assert "cannot be held out" in capsys.readouterr().err
