"""``lucida diagnose``: of a run, a folder, a file; in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lucida import cli
from lucida.training.probes import watch


def trained(folder: Path, *, batch: int = 32, steps: int = 60) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, folder=folder):
        for _ in range(steps):
            optimizer.zero_grad()
            x = torch.randn(batch, 8)
            (model(x) - x[:, :1]).square().mean().backward()
            optimizer.step()
    return folder


def test_healthy_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (trained(tmp_path), tmp_path / "probes.jsonl"):
        cli.main(["diagnose", str(path)])
        said = capsys.readouterr().out
        assert said.startswith("healthy; looked at 7 probed steps (1 to 60), 4 layers, 6 parameters,")
        assert "not judged:" in said
        assert "no pictures were named" in said


def test_a_finding_has_layer_step_evidence_remedy_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["diagnose", str(trained(tmp_path, batch=2))])
    said = capsys.readouterr().out
    assert "batch-norm-small-batch in 1, since step 1" in said
    assert "from 2 examples" in said
    assert "group or layer norm" in said
    assert "lab page where-batch-norm-hurts" in said


def test_a_short_run_is_not_called_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, steps=9)
    cli.main(["diagnose", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.startswith("nothing found, but too short to judge; looked at 1 probed step (1 to 1)")
    assert "it needs 3 probed steps, there are 1" in said
    cli.main(["diagnose", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["healthy"] is None


def test_json_is_one_object_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["diagnose", "--json", str(trained(tmp_path, batch=2))])
    content = json.loads(capsys.readouterr().out)
    assert content["healthy"] is False
    finding = content["parts"]["."]["findings"][0]
    assert finding.keys() == {"name", "layer", "since_step", "evidence", "remedy", "lab_page"}


def test_all_stages_of_a_run_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("language", "dual_encoder", "own"):
        trained(tmp_path / "stages" / name)
    cli.main(["diagnose", str(tmp_path)])
    heads = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if "looked at" in line]
    assert heads == ["dual_encoder", "language", "own"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such run"),
        (["."], "was not watched"),
        ([], "needs one run"),
        (["a", "b"], "needs one run"),
        (["--jsno", "a"], "needs one run"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["diagnose", *arguments])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
