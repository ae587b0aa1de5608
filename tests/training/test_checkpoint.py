"""Checkpoints: bit-exact, whole or absent, and never code."""

from __future__ import annotations

import pickle
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.models.weights import WEIGHTS, load_weights, save_weights
from lucida.training import checkpoint as module
from lucida.training.checkpoint import STATE, checkpoints, latest_checkpoint, load_state, save_checkpoint


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    net[0].requires_grad_(False)
    return net


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(a.state_dict()[key], value) for key, value in b.state_dict().items())


def test_trained_weights_and_buffers_come_back_bit_for_bit(tmp_path: Path) -> None:
    source, target = model(), model()
    with torch.no_grad():
        source[2].weight.normal_()
        source[1].running_mean.normal_()
    path = save_checkpoint(tmp_path, 7, source, {"step": 7, "rates": [0.1, 0.2], "moments": {"a": torch.ones(2)}})
    assert path == latest_checkpoint(tmp_path)
    assert "0.weight" not in load_file(path / WEIGHTS)  # frozen: it comes from where the model came from
    load_weights(target, path)
    assert same(source, target)
    state = load_state(path)
    assert state["step"] == 7
    assert torch.equal(state["moments"]["a"], torch.ones(2))


def test_tied_and_sliced_parameters_are_stored(tmp_path: Path) -> None:
    def tied() -> nn.ModuleDict:
        net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        net["b"].weight = net["a"].weight
        whole = torch.randn(4, 2)
        net["a"].bias, net["b"].bias = nn.Parameter(whole[0]), nn.Parameter(whole[1])
        return net

    source, target = tied(), tied()
    save_weights(tmp_path / WEIGHTS, source)
    load_weights(target, tmp_path)
    assert same(source, target)
    assert target["b"].weight is target["a"].weight


def test_only_the_last_checkpoints_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    for step in (1, 5, 20, 100):
        save_checkpoint(tmp_path, step, model(), {"step": step})
    assert [load_state(path)["step"] for path in checkpoints(tmp_path)] == [20, 100]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_write_that_dies_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = save_checkpoint(tmp_path, 1, model(), {"step": 1})
    for name in ("save_weights", "_flush"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _die)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, 2, model(), {"step": 2})
        assert latest_checkpoint(tmp_path) == good
    newer = save_checkpoint(tmp_path, 2, model(), {"step": 2})  # the leftovers are no obstacle
    assert latest_checkpoint(tmp_path) == newer


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


def test_unfinished_or_foreign_folders_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "none") is None
    (tmp_path / "step_000000009").mkdir()
    (tmp_path / ".step_000000010.partial").mkdir()
    (tmp_path / "step_x").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert latest_checkpoint(tmp_path) is None


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LucidaError, match="cannot write the checkpoint: "):
        save_checkpoint(tmp_path / "file", 1, model(), {})


def test_a_bad_weight_is_named_and_not_saved(tmp_path: Path) -> None:
    net = model()
    with torch.no_grad():
        net[2].bias[1] = float("inf")
    with pytest.raises(NonFiniteError, match=r"a weight is not finite.*\(2\.bias\)"):
        save_checkpoint(tmp_path, 1, net, {})
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", [WEIGHTS, STATE])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_broken_file_is_one_clear_line(tmp_path: Path, name: str, damage: str) -> None:
    path = save_checkpoint(tmp_path, 1, model(), {"step": 1, "numbers": torch.arange(1000)})
    content = (path / name).read_bytes()
    (path / name).write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"noise" * 50}[damage])
    with pytest.raises(LucidaError, match="the checkpoint is broken: ") as raised:
        load_state(path) if name == STATE else load_weights(model(), path)
    assert str(path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this code must not run",)


def test_pickles_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_checkpoint(tmp_path, 1, model(), {"step": 1})
    for write in (torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))):
        write(Evil(), path / STATE)
        with pytest.raises(LucidaError, match="needs pickle, which can run any code: refused"):
            load_state(path)
        write(Evil(), tmp_path / "weights.bin")
        with pytest.raises(LucidaError, match="convert it to safetensors"):
            load_weights(model(), tmp_path / "weights.bin")
    assert "must not run" not in capsys.readouterr().out


def test_weights_that_do_not_fit_leave_the_model_alone(tmp_path: Path) -> None:
    save_weights(tmp_path / WEIGHTS, model())
    others = {
        r"the model has no '2\.bias'.*nearest": nn.Sequential(*model()[:2], nn.Linear(4, 3, bias=False)),
        r"'2\.(weight|bias)' has shape \[5.*\], the checkpoint \[3": nn.Sequential(*model()[:2], nn.Linear(4, 5)),
        r"the checkpoint has no '3\.weight' \(2 missing\)": nn.Sequential(*model(), nn.Linear(3, 1)),
        r"frozen '0\.weight' has other values than in training": model(seed=1),
    }
    for message, other in others.items():
        before = {key: value.clone() for key, value in other.state_dict().items()}
        with pytest.raises(LucidaError, match=message):
            load_weights(other, tmp_path)
        assert all(torch.equal(other.state_dict()[key], value) for key, value in before.items())


def test_a_frozen_tower_in_half_precision_is_recognised(tmp_path: Path) -> None:
    save_weights(tmp_path / WEIGHTS, model())
    other = model()
    other[0].to(torch.bfloat16)
    load_weights(other, tmp_path)


def test_a_part_that_only_one_side_has_must_be_named(tmp_path: Path) -> None:
    head = nn.ModuleDict({"head": nn.Linear(3, 2)})
    whole = nn.ModuleDict({"tower": nn.BatchNorm1d(3).requires_grad_(False), "head": nn.Linear(3, 2)})
    for source, target in ((head, whole), (whole, head)):
        save_weights(tmp_path / WEIGHTS, source)
        with pytest.raises(LucidaError, match=r"has no 'tower\."):
            load_weights(target, tmp_path)
        with torch.no_grad():
            target["head"].weight.normal_()
        load_weights(target, tmp_path, except_for=["tower.*"])
        assert torch.equal(target["head"].weight, source["head"].weight)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match="no such weights"):
        load_weights(model(), tmp_path)
    (tmp_path / "step_000000001").mkdir()
    with pytest.raises(LucidaError, match="has no training state"):
        load_state(tmp_path / "step_000000001")


@pytest.mark.parametrize("bytes_left", [1000, 60_000])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path, bytes_left):
    """The weights do not fit, or the state does not."""
    model = torch.nn.Linear(100, 100)
    state = {"numbers": torch.zeros(100_000)}
    first = save_checkpoint(tmp_path, 1, model, {"numbers": torch.zeros(2)})
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        with pytest.raises(LucidaError, match="cannot write the checkpoint"):
            save_checkpoint(tmp_path, 2, model, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert latest_checkpoint(tmp_path) == first


def test_what_was_trained_beside_others_is_read_alone(tmp_path):
    both = nn.ModuleDict({"main": nn.Linear(2, 2), "captioning": nn.Linear(3, 3)})
    save_weights(tmp_path / "both.safetensors", both)
    save_weights(tmp_path / "one.safetensors", both["main"])
    for name in ("both", "one"):
        own = nn.Linear(2, 2)
        load_weights(own, tmp_path / f"{name}.safetensors", part="main")
        assert torch.equal(own.weight, both["main"].weight)
    with pytest.raises(LucidaError, match="the model has no"):
        load_weights(nn.Linear(2, 2), tmp_path / "both.safetensors")
