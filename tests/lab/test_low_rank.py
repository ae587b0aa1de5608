"""Adapters in a stack against peft's, and the pages on LoRA's start and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lucida.lab.experiment import Bench
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments import lora_initialisation, lora_parameters
from lucida.lab.experiments.lora_initialisation import ARMS, NEITHER, STARTS, largest_borne
from lucida.lab.low_rank import LowRank, LowRankLinear, adapted
from lucida.lab.networks import perceptron_for
from lucida.lab.stack import Stack, StackTask
from lucida.lab.turned_digits import Course, Member, adapt, bases, borne, lying, upright
from lucida.models.adapters import INITIALISATIONS, LoraSettings, add_lora
from lucida.training.tasks import ClassificationTask
from tests.lab.drawn_bench import whole_page


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))


@pytest.mark.parametrize("stabilised", [False, True])
def test_an_adapter_is_that_of_peft(stabilised: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    ours = adapted(plain, LowRank(2, 6.0, rank_stabilised=stabilised), 0, but=("0",))
    theirs = add_lora(plain, LoraSettings(2, 6.0, target_modules="1", use_rslora=stabilised), seed=0)
    layer = theirs.base_model.model[1]
    own = ours.get_submodule("1")
    assert isinstance(own, LowRankLinear)
    with torch.no_grad():
        for matrix, given in ((layer.lora_A["default"].weight, own.a), (layer.lora_B["default"].weight, own.b)):
            given.normal_()
            matrix.copy_(given)
    x = torch.randn(7, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    grads = [torch.autograd.grad(model(x).square().sum(), trained(model)) for model in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1])


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("init", INITIALISATIONS)
def test_every_start_leaves_the_network_as_it_is(init: str) -> None:
    network = perceptron_for("digits", 3, 16).build(0)
    own = adapted(network, LowRank(4, 8.0, init), 1)
    x = upright([0], "test")["inputs"][0]
    torch.testing.assert_close(own(x), network(x), atol=1e-5, rtol=1e-5)
    names = {name.rsplit(".", 1)[-1] for name, _ in own.named_parameters()}
    assert names == {"a", "b"}


def test_a_stack_of_adapted_networks_trains_as_each_alone() -> None:
    networks = [adapted(perceptron_for("digits", 2, 8).build(s), LowRank(2, 4.0 + s), s) for s in range(3)]
    stack, batch = Stack(networks), lying(range(3), "validation")
    losses = StackTask(stack, ClassificationTask).member_losses(batch)
    for k, network in enumerate(networks):
        own = nn.functional.cross_entropy(network(batch["inputs"][k]), batch["labels"][k])
        torch.testing.assert_close(losses[k], own)


def test_lying_digits_are_the_upright_ones_turned() -> None:
    turned, known = lying([5], "train", 30), upright([5], "train")
    assert torch.equal(turned["labels"][0], known["labels"][0, :30])
    assert torch.equal(turned["inputs"][0, :, 0, 0, 0], known["inputs"][0, :30, 0, 0, -1])


def test_adapters_learn_from_three_starts_and_not_from_the_fourth() -> None:
    seeds, course = (0, 1), Course(32, 0, 60, (0, 1, 5))
    known = bases(32, seeds)
    assert known["accuracy"].mean() > 0.8
    for arm, init in STARTS.items():
        members = [Member(seed, 0.01, LowRank(4, 8.0, init)) for seed in seeds]
        found = adapt(known, seeds, members, course)
        assert found["losses"].shape == (2, 60)
        assert found["grad_a"].shape == found["moved_b"].shape == found["features"].shape == (2, 4)
        gained = found["test"][:, 1] - found["test"][:, 0]
        if arm == NEITHER:
            assert (gained == 0).all()
            assert (found["grad_a"] == 0).all()
            assert (found["grad_b"] == 0).all()
            continue
        assert (gained > 0.2).all(), arm
        assert ((found["grad_a"][:, 0] == 0) == (init == "a_random")).all()
        assert ((found["grad_b"][:, 0] == 0) == (init == "b_random")).all()
        assert (found["values"][:, 0] > found["values"][:, 3]).all()
        assert borne(found["losses"]).all()


def test_what_never_beats_guessing_is_not_borne() -> None:
    losses = np.array([[9.0, 1.0], [1.0, 2.4], [1.0, np.nan]])
    assert borne(losses).tolist() == [True, False, False]
    slow_or_lost = np.array([[False, True, False], [True, True, True], [True, False, True]])
    largest, cut = largest_borne(slow_or_lost, np.array([0.5, 1.0, 2.0]), 1)
    assert largest.tolist() == [0.0, 1.0, 0.0]  # where nothing is borne it counts as the best one
    assert cut.tolist() == [False, True, False]


def drawn(known: Any, of: Sequence[int], members: Sequence[Member], course: Course) -> dict[str, NDArray]:
    draw, m, looks = np.random.default_rng(len(members)), len(members), len(course.looks) + 1
    each = {name: draw.random((m, looks)) for name in ("grad_a", "grad_b", "moved_a", "moved_b", "features")}
    values = draw.random((m, 2 * members[0].adapters.r)) + 0.1
    accuracies = {name: draw.random((m, 2)) for name in ("validation", "test")}
    return each | accuracies | {"losses": draw.random((m, course.steps)), "values": values, "upright": draw.random(m)}


def known(width: int, seeds: Sequence[int]) -> Mapping[str, NDArray]:
    return {"accuracy": np.random.default_rng(width).random(len(seeds))}


@pytest.mark.parametrize(("name", "module", "cells"), [
    ("lora-initialisation", lora_initialisation, 60), ("lora-parameters", lora_parameters, 60),
])  # fmt: skip
def test_the_pages_are_whole(monkeypatch: pytest.MonkeyPatch, name: str, module: Any, cells: int) -> None:
    monkeypatch.setattr(module, "adapt", drawn)
    monkeypatch.setattr(module, "bases", known)
    whole_page(monkeypatch, load_experiment(name), "quick", cells)


def test_every_start_is_measured_at_every_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_initialisation, "adapt", drawn)
    monkeypatch.setattr(lora_initialisation, "bases", known)
    experiment = load_experiment("lora-initialisation")
    found = lora_initialisation.measure(Bench(experiment, (0, 1, 2)), experiment.settings["quick"])
    for arm in ARMS:
        for width in experiment.settings["quick"].widths:
            assert found.curves[f"accuracy/{arm}/width {width}"][1].shape == (3, 6)
