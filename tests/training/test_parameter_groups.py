"""One table decides what is trained, how fast and with which decay."""

from __future__ import annotations

import pytest
from torch import nn

from lucida.core.errors import LucidaError
from lucida.training.parameter_groups import ParameterRow, parameter_groups, trainable_by_block


def model() -> nn.Module:
    return nn.ModuleDict({"tower": nn.Linear(3, 3), "head": nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))})


def settings(net: nn.Module, *rows: ParameterRow) -> dict[str, tuple[float, float]]:
    """``{name: (learning rate, decay)}``"""
    groups = parameter_groups(net, learning_rate=1.0, weight_decay=0.1, rows=rows)
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_matrices_decay_vectors_do_not() -> None:
    found = settings(model())
    assert found["tower.weight"] == found["head.0.weight"] == (1.0, 0.1)
    assert found["tower.bias"] == found["head.1.weight"] == found["head.1.bias"] == (1.0, 0.0)


def test_the_first_row_that_matches_counts() -> None:
    found = settings(model(), ParameterRow("head.0.*", 0.5, 0.3), ParameterRow("head.*", 0.25))
    assert found["head.0.weight"] == found["head.0.bias"] == (0.5, 0.3)
    assert found["head.1.weight"] == (0.25, 0.0)
    assert found["tower.weight"] == (1.0, 0.1)


def test_rate_zero_freezes() -> None:
    net = model()
    assert {name.split(".")[0] for name in settings(net, ParameterRow("tower.*", 0))} == {"head"}
    assert not any(p.requires_grad for p in net["tower"].parameters())
    assert trainable_by_block(net) == {"tower": (0, 12), "head": (12, 12)}


def test_frozen_parameters_stay_frozen() -> None:
    net = model()
    net["tower"].requires_grad_(False)
    assert not any(name.startswith("tower") for name in settings(net, ParameterRow("tower.*", 2.0)))


def test_names_and_parameters_stand_in_the_same_order() -> None:
    net = model()
    known = dict(net.named_parameters())
    groups = parameter_groups(net, learning_rate=1.0, weight_decay=0.1)
    pairs = [(name, p) for group in groups for name, p in zip(group["names"], group["params"], strict=True)]
    assert len(pairs) == len(known)
    assert all(known[name] is parameter for name, parameter in pairs)


def test_tied_parameters_are_trained_once() -> None:
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    assert sorted(settings(net)) == ["a.bias", "a.weight", "b.bias"]


def test_a_pattern_without_a_match_names_the_nearest_parameter() -> None:
    with pytest.raises(
        LucidaError, match=r"no parameter matches 'hed\.0\.weight' .*nearest parameter is 'head\.0\.weight'"
    ):
        settings(model(), ParameterRow("hed.0.weight"))
    with pytest.raises(LucidaError, match="no parameter matches"):
        settings(model(), ParameterRow("vision_tower.*"))


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(LucidaError, match=r"nothing to train.*ModuleDict"):
        settings(model().requires_grad_(False))
    with pytest.raises(LucidaError, match="nothing to train"):
        settings(model(), ParameterRow("*", 0))
