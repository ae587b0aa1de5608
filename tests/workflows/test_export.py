"""`lucida export` of dual encoders: from one library to another, a run on its base, weights between, one line else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file

from lucida.cli import main
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.models.imported_encoders import load_dual_encoder, save_dual_encoder
from lucida.training.checkpoint import save_checkpoint
from lucida.workflows.exported_encoders import export_encoder, sample_logits
from lucida.workflows.recipes import load

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny_encoders import clip, siglip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "clip"
    clip(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["export", *map(str, words)])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_there_and_back_again(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(base), str(tmp_path / "open"), "--format", "open_clip"])
    assert "for open_clip in float32: read again, its logits differ by at most 0" in capsys.readouterr().out
    assert (tmp_path / "open" / "open_clip_config.json").is_file()
    main(["export", str(tmp_path / "open"), str(tmp_path / "back")])
    assert f"model: {tmp_path / 'back'}" in capsys.readouterr().out
    before, after = weights(base), weights(tmp_path / "back")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_precision_of_the_source_is_kept(base: Path, tmp_path: Path) -> None:
    save_dual_encoder(load_dual_encoder(base), tmp_path / "half", dtype=torch.float16)
    done = export_encoder(str(tmp_path / "half"), tmp_path / "open", "open_clip")
    assert (done.dtype, done.max_logit_difference) == ("float16", 0.0)
    assert {tensor.dtype for tensor in weights(tmp_path / "open").values()} == {torch.float16}


def tuned_run(base: Path, folder: Path) -> None:
    """As training leaves it: a checkpoint of the parameters that were trained."""
    encoder = load_dual_encoder(base, frozen=True)
    with torch.no_grad():
        encoder.image_head.linear.weight.mul_(-1).add_(0.01)
    save_checkpoint(folder / "checkpoints", 7, encoder, {})


def test_a_run_on_its_base_whole_and_in_part(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = load_dual_encoder(base)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.01)
    save_checkpoint(tmp_path / "run" / "checkpoints", 7, encoder, {})
    assert "--base" in refused(capsys, tmp_path / "run", tmp_path / "out")
    main(["export", str(tmp_path / "run"), str(tmp_path / "tuned"), "--base", str(base)])
    start, end = weights(base), weights(tmp_path / "tuned")
    assert all(torch.equal(end[name], start[name] + 0.01) for name in start)
    options = ["--base", str(base), "--share", "0.25"]
    main(["export", str(tmp_path / "tuned"), str(tmp_path / "between"), *options])
    main(["export", str(tmp_path / "run"), str(tmp_path / "again"), *options])
    found, again = weights(tmp_path / "between"), weights(tmp_path / "again")
    for name in start:
        torch.testing.assert_close(found[name], 0.75 * start[name] + 0.25 * end[name])
        assert torch.equal(found[name], again[name])
    model = hf.AutoModel.from_pretrained(tmp_path / "between")
    assert float((model.logit_scale - load_dual_encoder(tmp_path / "between").log_logit_scale).detach()) == 0


def test_frozen_towers_come_from_the_base(base: Path, tmp_path: Path) -> None:
    tuned_run(base, tmp_path / "run")
    done = export_encoder(str(tmp_path / "run"), tmp_path / "tuned", base=str(base))
    assert done.max_logit_difference == 0
    start, end = weights(base), weights(tmp_path / "tuned")
    assert {name for name in start if not torch.equal(start[name], end[name])} == {"visual_projection.weight"}
    rows = [sample_logits(load_dual_encoder(folder)) for folder in (base, tmp_path / "tuned")]
    assert float((rows[0] - rows[1]).abs().max()) > 1


def test_a_hub_name_is_taken_from_the_cache(base: Path, tmp_path: Path) -> None:
    stored = tmp_path / "models--org--tiny"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("0" * 40)
    shutil.copytree(base, stored / "snapshots" / ("0" * 40))
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    program = "import sys; from lucida.cli import main; main(['export', *sys.argv[1:]])"
    for name, code in (("org/tiny", 0), ("org/gone", 2)):
        call = [sys.executable, "-c", program, name, str(tmp_path / "out"), "--format", "open_clip"]
        answer = subprocess.run(call, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert answer.returncode == code, answer.stderr
    assert answer.stderr.startswith("lucida: cannot load the model")
    start = sample_logits(load_dual_encoder(base))
    assert float((sample_logits(load_dual_encoder(tmp_path / "out")) - start).abs().max()) <= 1e-5


def test_rounding_is_said(base: Path, tmp_path: Path) -> None:
    """What was tuned in float32 on a base in float16 is written as the base is, and the person is told."""
    save_dual_encoder(load_dual_encoder(base), tmp_path / "half", dtype=torch.float16)
    tuned_run(tmp_path / "half", tmp_path / "run")
    done = export_encoder(str(tmp_path / "run"), tmp_path / "tuned", base=str(tmp_path / "half"))
    assert done.dtype == "float16"
    assert 0 < done.max_logit_difference < 0.1
    assert f"differ by at most {done.max_logit_difference:.2g}" in str(done)


def test_an_open_clip_folder_serves_a_run(base: Path, tmp_path: Path) -> None:
    """As every tower: of the dual encoder for pictures and texts, and of the multimodal LLM."""
    export_encoder(str(base), tmp_path / "open", "open_clip")
    generator = np.random.default_rng(0)
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(16):
            pixels = np.clip(colour + generator.normal(0, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    towers = ("encoder.vision-tower", "encoder.text-tower", "language.vision-tower")
    options = [word for tower in towers for word in (f"--{tower}", str(tmp_path / "open"))]
    out = ["--pictures", str(tmp_path / "pictures"), "--out", str(tmp_path / "run")]
    main(["run", "--recipe", "tiny", *out, *options])
    metrics = Results.load(RunFolder(tmp_path / "run").results).metrics
    assert metrics["zero_shot/test/top1"].n > 0
    main(["ask", str(tmp_path / "run"), str(tmp_path / "pictures" / "red" / "0.png"), "What is it?"])


def test_what_is_not_exported_is_said_in_one_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    RunFolder.create(tmp_path / "run", load("tiny"), seed=0)
    said = refused(capsys, tmp_path / "run", out)
    assert "the vision tower 'efficientnet-lite0' and the text tower 'minilm'" in said
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"margin": 1}))
    assert "no model to export" in refused(capsys, tmp_path / "other", out)
    siglip(tmp_path / "siglip")
    assert "vision tower of SigLIP" in refused(capsys, tmp_path / "siglip", out, "--format", "open_clip")
    assert "there are huggingface and open_clip" in refused(capsys, base, out, "--format", "onnx")
    assert "between 0 and 1" in refused(capsys, base, out, "--base", base, "--share", "2")
    assert "--share half is no share" in refused(capsys, base, out, "--base", base, "--share", "half")
    assert "--base" in refused(capsys, base, out, "--share", "0.5")
    assert "have not" in refused(capsys, tmp_path / "siglip", out, "--base", base, "--share", "0.5")
    assert "no such folder" in refused(capsys, tmp_path / "gone", out)
    assert "a source and a folder" in refused(capsys, base)
    assert "a source and a folder" in refused(capsys, base, out, "--quick")
    (tmp_path / "adapted" / "adapter").mkdir(parents=True)
    assert "no dual encoder" in refused(capsys, tmp_path / "adapted", out, "--format", "open_clip")
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    assert "not empty" in refused(capsys, base, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
