"""The whole life once, as a user would: through the command line."""

from __future__ import annotations

import pytest

from lucida.cli import main
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.training.checkpoint import latest_checkpoint

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
    "count/accuracy",
    "blind/shuffled/accuracy",
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
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


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
