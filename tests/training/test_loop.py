"""The loop: what it trains, logs, validates and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lucida.core.config import from_dict, to_dict
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError, NonFiniteError
from lucida.core.run_folder import RunFolder
from lucida.training.checkpoint import latest_checkpoint, load_state
from lucida.training.loop import TrainConfig, set_training_modes, train
from lucida.training.parameter_groups import ParameterRow


def rows(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def run(toys: ModuleType, folder: Path, name: str = "language", **changes: Any) -> Any:
    task, data = toys.toy(name)
    keywords = {key: changes.pop(key) for key in ("validate", "resume") if key in changes}
    config = toys.settings(changes.pop("steps", 5), **changes)
    return task, train(task, data, config, RunFolder(folder), progress=False, **keywords)


@pytest.mark.parametrize("name", ["contrastive", "language"])
def test_it_learns(toys: ModuleType, tmp_path: Path, name: str) -> None:
    task, state = run(toys, tmp_path, name, steps=150, learning_rate=0.03)
    losses = [row["loss"] for row in rows(tmp_path)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert (state.step, state.examples) == (150, 150 * 16)
    assert state.loss == losses[-1]
    assert state.checkpoint == latest_checkpoint(tmp_path / "checkpoints")
    assert not task.model.training  # ready to be measured, and its gradients are gone
    assert all(p.grad is None for p in task.model.parameters())


def test_a_duration_in_epochs_counts_examples(toys: ModuleType, tmp_path: Path) -> None:
    _, state = run(toys, tmp_path, duration=Duration(2, "epochs"))
    assert state.step == 7  # 106 examples in batches of 16, the last one reaching into the next epoch


def test_rows_of_the_log(toys: ModuleType, tmp_path: Path) -> None:
    run(toys, tmp_path, "contrastive", steps=7, log_every=Duration(3, "steps"), num_warmup_steps=2, learning_rate=0.5)
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [3, 6, 7]
    assert [row["examples"] for row in found] == [48, 96, 112]
    assert {"loss", "grad_norm", "learning_rate", "logit_scale", "seconds"} <= found[0].keys()
    assert found[-1]["learning_rate"] == 0.0
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_validation_sees_evaluation_mode_and_changes_nothing(toys: ModuleType, tmp_path: Path) -> None:
    """It may even draw random numbers: those of the next step are its own."""
    task, data = toys.toy("contrastive", dropout=0.3)
    modes = []

    def validate() -> dict[str, float]:
        modes.append(task.model.training or torch.is_grad_enabled())
        return {"accuracy": torch.rand(()).item()}

    every = Duration(2, "steps")
    state = train(task, data, toys.settings(5, validate_every=every), RunFolder(tmp_path / "a"), validate=validate)
    assert modes == [False] * 3
    assert [row["step"] for row in rows(tmp_path / "a", "validation")] == [2, 4, 5]
    assert state.validation == {"accuracy": rows(tmp_path / "a", "validation")[-1]["accuracy"]}

    other, data = toys.toy("contrastive", dropout=0.3)
    train(other, data, toys.settings(5), RunFolder(tmp_path / "b"))
    assert all(torch.equal(a, b) for a, b in zip(task.model.parameters(), other.model.parameters(), strict=True))


def test_the_callers_random_stream_is_left_alone(toys: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(toys, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_rows_of_parameters_are_obeyed(toys: ModuleType, tmp_path: Path) -> None:
    before, _ = toys.toy("contrastive")
    task, _ = run(toys, tmp_path, "contrastive", parameters=(ParameterRow("image.*", 0),))
    assert torch.equal(task.model.image[0].weight, before.model.image[0].weight)
    assert not torch.equal(task.model.text.weight, before.model.text.weight)


def test_frozen_batch_norm_stays_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).requires_grad_(False), nn.Dropout())
    set_training_modes(model.eval())
    assert [module.training for module in model] == [True, False, True]


def test_the_config_survives_json() -> None:
    config = TrainConfig(
        Duration(3, "epochs"), micro_batch_size=8, precision="bfloat16", parameters=(ParameterRow("a.*", 0.1, 0.0),)
    )
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
        {"num_warmup_steps": -1},
        {"warmup_share": 1.5},
        {"final_fraction": -0.1},
        {"max_grad_norm": 0.0},
        {"precision": "float16"},
    ],
)
def test_impossible_settings_are_named(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(LucidaError, match=f"{name} cannot be {value!r}"):
        TrainConfig(**wrong)


def test_a_bad_number_leaves_the_last_checkpoint(toys: ModuleType, tmp_path: Path) -> None:
    task, data = toys.toy("language")

    def poison() -> dict[str, float]:
        with torch.no_grad():
            task.model.embedding.weight[0] = float("nan")
        return {}

    config = toys.settings(9, validate_every=Duration(4, "steps"), checkpoint_every=Duration(2, "steps"))
    with pytest.raises(NonFiniteError, match=r"not finite: not saved \(embedding\.weight\)"):
        train(task, data, config, RunFolder(tmp_path), validate=poison, progress=False)
    latest = latest_checkpoint(tmp_path / "checkpoints")
    assert latest is not None
    assert load_state(latest)["step"] == 2


def test_refusals(toys: ModuleType, tmp_path: Path) -> None:
    task, data = toys.toy("language")
    with pytest.raises(LucidaError, match=r"no parameter matches 'hiden\.\*'"):
        run(toys, tmp_path, parameters=(ParameterRow("hiden.*"),))
    task.model.requires_grad_(False)
    with pytest.raises(LucidaError, match="nothing to train"):
        train(task, data, toys.settings(5), RunFolder(tmp_path), progress=False)
    assert list(tmp_path.iterdir()) == []  # refused before anything was written
    run(toys, tmp_path)
    with pytest.raises(LucidaError, match=r"already holds a training run .*; resume it, or choose another folder"):
        run(toys, tmp_path)
    with pytest.raises(LucidaError, match=r"started with learning_rate = 0\.001, not 0\.002"):
        run(toys, tmp_path, resume=True, learning_rate=0.002)
    task, _ = toys.toy("language")
    with pytest.raises(LucidaError, match="started with examples in an epoch = 53, not 54"):
        train(task, toys.Sentences(54), toys.settings(5), RunFolder(tmp_path), resume=True)
    task.model.embedding.requires_grad_(False)
    with pytest.raises(LucidaError, match="trained other parameters"):
        train(task, data, toys.settings(5), RunFolder(tmp_path), resume=True)


def test_resuming_a_finished_run_loads_it(toys: ModuleType, tmp_path: Path) -> None:
    done, state = run(toys, tmp_path)
    log = (tmp_path / "metrics.jsonl").read_text()
    again, found = run(toys, tmp_path, resume=True)
    assert (found.step, found.loss, found.checkpoint) == (state.step, state.loss, state.checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(done.model.parameters(), again.model.parameters(), strict=True))
    assert (tmp_path / "metrics.jsonl").read_text() == log


def test_an_error_in_the_data_ends_the_run_with_its_own_message(toys: ModuleType, tmp_path: Path) -> None:
    task, _ = toys.toy("language")

    class Bad(toys.Sentences):
        def batch(self, indices: Any, draw: Any) -> Any:
            raise LucidaError("no answer", where="row 3")

    with pytest.raises(LucidaError, match=r"no answer \(row 3\)"):
        train(task, Bad(), toys.settings(5), RunFolder(tmp_path), progress=False)


@pytest.mark.parametrize("name", ["contrastive", "language"])
def test_probes_change_no_weight_and_go_on_after_a_stop(toys: ModuleType, tmp_path: Path, name: str) -> None:
    """Watched or not, stopped or not: the same bits; and each probed step stands in the file once."""

    def go(folder: str, steps: int, *, probes: int | None, resume: bool = False) -> Any:
        task, data = toys.toy(name, dropout=0.2)
        every = None if probes is None else Duration(probes, "steps")
        # the rate must not know how many steps there will be, or a shorter run would be another one
        same = {"num_warmup_steps": 0, "final_fraction": 1.0, "learning_rate": 0.01, "micro_batch_size": 5}
        config = toys.settings(steps, probe_every=every, checkpoint_every=Duration(7, "steps"), **same)
        train(task, data, config, RunFolder(tmp_path / folder), progress=False, resume=resume)
        return task.model

    plain, watched = go("plain", 24, probes=None), go("watched", 24, probes=4)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert not (tmp_path / "plain" / "probes.jsonl").exists()
    found = [json.loads(line) for line in (tmp_path / "watched" / "probes.jsonl").read_text().splitlines()]
    assert [row["step"] for row in found] == [0, 1, 4, 8, 12, 16, 20, 24]
    assert all(row["layers"] for row in found[1:])
    assert all("loss" in row for row in found[2:])


def test_probes_of_a_resumed_run_stand_once(toys: ModuleType, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop() -> dict[str, float]:
        raise Stop

    every = {"probe_every": Duration(4, "steps"), "checkpoint_every": Duration(7, "steps")}
    with pytest.raises(Stop):
        run(toys, tmp_path, steps=24, validate=stop, validate_every=Duration(18, "steps"), **every)
    run(toys, tmp_path, steps=24, resume=True, **every)
    run(toys, tmp_path / "whole", steps=24, **every)
    found, whole = (
        [json.loads(line) for line in (folder / "probes.jsonl").read_text().splitlines()]
        for folder in (tmp_path, tmp_path / "whole")
    )
    assert [row["step"] for row in found] == [row["step"] for row in whole] == [0, 1, 4, 8, 12, 16, 20, 24]
    assert [row["grad_norm"] for row in found[1:]] == [row["grad_norm"] for row in whole[1:]]


def test_a_loss_that_is_not_finite_leaves_its_probe(toys: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        run(toys, tmp_path, "contrastive", steps=40, learning_rate=1e30, max_grad_norm=None)
    found = [json.loads(line) for line in (tmp_path / "probes.jsonl").read_text().splitlines()]
    assert found[-1]["kind"] == "error"
    assert found[-1]["error"] == "NonFiniteError"
