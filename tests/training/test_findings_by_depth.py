"""Gradients that vanish by depth are told from layers whose units are dead, also where they shrink to exactly 0."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.training.findings import Finding, find
from lucida.training.probes import watch
from lucida.training.rules import reached_by_gradient

WIDTH = 32


class Perceptron(nn.Module):
    """Linear layers with a function between them."""

    def __init__(self, depth: int, act: Callable[[Tensor], Tensor]):
        super().__init__()
        sizes = [WIDTH] * (depth + 1) + [10]
        self.layers, self.act = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes)), act

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


def perceptron(depth: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    hidden = [module for _ in range(depth) for module in (nn.Linear(WIDTH, WIDTH), act())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 10))


def for_relu(model: nn.Module) -> nn.Module:
    """The same network, initialised so that signals keep their size (He)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


def kill(layer: nn.Module, units: int) -> None:
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.bias[:units] = -100.0


def trained(model: nn.Module, rate: float = 0.01, steps: int = 60) -> list[dict[str, Any]]:
    """The rows of a run with plain SGD on points around ten centres."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    centres = torch.randn(10, WIDTH)
    with watch(model, optimizer, every=10) as watched:
        for _ in range(steps):
            y = torch.randint(10, (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(centres[y] + 0.3 * torch.randn(64, WIDTH)), y).backward()
            optimizer.step()
    return watched.rows


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(2000)


def names(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings]


@pytest.mark.parametrize("model", [lambda: perceptron(60, nn.Sigmoid), lambda: Perceptron(60, torch.sigmoid)])
def test_gradients_that_shrink_to_0_have_vanished_and_no_unit_is_dead(model: Callable[[], nn.Module]) -> None:
    rows = trained(model())
    linear = [x for name, x in rows[1]["layers"].items() if rows[0]["layers"][name].startswith("linear")]
    assert linear[0]["grad"] == 0
    assert linear[-1]["grad"] > 0
    found = find(rows)
    assert names(found) == ["vanishing-gradients"]
    assert found[0].since_step == 1
    assert "layers before it, it is too small to measure" in found[0].evidence


@pytest.mark.parametrize("model", [lambda: perceptron(20), lambda: Perceptron(20, F.relu)])
def test_vanishing_by_depth_is_told_before_the_units_that_are_silent_with_it(model: Callable[[], nn.Module]) -> None:
    found = find(trained(model()))
    assert names(found) == ["vanishing-gradients", "dead-units"]
    assert found[0].layer in ("0", "layers.0")
    assert [finding.since_step for finding in found] == [1, 1]


@pytest.mark.parametrize("model", [lambda: perceptron(20), lambda: Perceptron(20, F.relu)])
def test_a_deep_network_that_was_initialised_for_its_activation_is_healthy(model: Callable[[], nn.Module]) -> None:
    assert find(trained(for_relu(model()))) == []


@pytest.mark.parametrize("units", [24, 32])
@pytest.mark.parametrize("functional", [False, True])
def test_dead_layers_are_told_and_their_gradient_has_not_vanished(units: int, functional: bool) -> None:
    model = for_relu(Perceptron(6, F.relu) if functional else perceptron(6))
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers[1:4]:
        kill(layer, units)
    assert names(find(trained(model))) == ["dead-units"]


def falling(ratio: float, silent: float, layers: int = 5) -> list[dict[str, Any]]:
    """Rows whose gradient falls to a ratio through some layers with a share of silent units each."""
    kinds = {f"{k}.linear": "linear: Linear" for k in range(layers + 1)}
    kinds |= {f"{k}.act": "activation: ReLU" for k in range(layers)}
    rows: list[dict[str, Any]] = [{"kind": "model", "step": 0, "layers": kinds, "parameters": {}}]
    measured: dict[str, dict[str, Any]] = {}
    for k in range(layers + 1):
        gradient = ratio ** (1 - k / layers)
        measured[f"{k}.linear"] = {"grad": gradient, "rows": 64, "rms": 1.0}
        if k < layers:
            measured[f"{k}.act"] = {"grad": gradient, "rows": 64, "rms": 1.0, "silent": silent}
    same = {"rates": [0.1], "grad_norm": 1.0, "parameters": {}, "scalars": {}, "attention": {}, "idle": []}
    return rows + [{"kind": "probe", "step": k, "layers": measured} | same for k in (1, 10, 20, 30)]


@pytest.mark.parametrize(
    ("silent", "expected"),
    [
        (0.0, ["vanishing-gradients"]),
        (0.5, ["vanishing-gradients"]),
        (0.6, ["vanishing-gradients", "dead-units"]),  # they would leave a half of it
        (31 / 32, ["dead-units"]),  # they would leave 1e-3
        (1.0, ["dead-units"]),
    ],
)
def test_silent_units_explain_as_much_of_a_fall_as_they_take(silent: float, expected: list[str]) -> None:
    assert names(find(falling(2e-5, silent))) == expected
    assert names(find(falling(1e-12, min(silent, 0.9))))[:1] == ["vanishing-gradients"]


def test_below_a_layer_without_a_living_unit_nothing_is_called_dead() -> None:
    """Biases below it have no gradient, and outputs may be below 0: they would look dead."""
    model = for_relu(perceptron(4))
    kill(model[6], WIDTH)  # type: ignore[index]
    rows = trained(model)
    for row in rows[1:]:
        row["layers"]["0"]["negative"] = 1.0
        assert row["parameters"]["0.bias"][3] == 1.0
    found = find(rows)
    assert [(x.name, x.layer) for x in found] == [("dead-units", "6")]
    assert "1 more layers like it" in found[0].evidence  # its activation


def test_a_layer_is_reached_by_its_own_gradient_or_by_that_of_the_next() -> None:
    gradients = {"a": 0.0, "b": None, "c": 0.0, "d": 1.0}
    row = {"layers": {name: {} if x is None else {"grad": x} for name, x in gradients.items()}}
    assert reached_by_gradient(row) == {"c", "d"}
