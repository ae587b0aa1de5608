"""WiSE-FT: ends bit for bit, the line between, what cannot be mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.models.interpolation import interpolated


def network(seed: int) -> nn.Module:
    """Weights, running means and a counter of batches."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    model(torch.randn(8, 4))
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_ends_are_the_models_themselves(dtype: torch.dtype) -> None:
    base, tuned = (network(seed).to(dtype).state_dict() for seed in (0, 1))
    for share, end in ((0, base), (1, tuned)):
        found = interpolated(base, tuned, share)
        assert list(found) == list(base)
        assert all(torch.equal(found[name], end[name]) and found[name].dtype == end[name].dtype for name in end)
        assert not any(found[name].data_ptr() == end[name].data_ptr() for name in end)


def test_between_them_weights_and_running_means_lie_on_the_line() -> None:
    base, tuned = network(0).state_dict(), network(1).state_dict()
    found = interpolated(base, tuned, 0.3)
    for name in ("0.weight", "1.running_mean", "2.bias"):
        torch.testing.assert_close(found[name], 0.7 * base[name] + 0.3 * tuned[name])
        assert not torch.equal(found[name], base[name])
    assert found["1.num_batches_tracked"] == 1
    network(2).load_state_dict(found)


def test_what_tuning_left_alone_stays_bit_for_bit() -> None:
    base = network(0).state_dict()
    tuned = base | {"2.weight": base["2.weight"] + 1}
    for share in (0.1, 0.37, 0.9):
        found = interpolated(base, tuned, share)
        assert {name for name in base if not torch.equal(found[name], base[name])} == {"2.weight"}


def test_halves_are_rounded_once() -> None:
    """In float16 itself 2048 and 2050 times a third and two thirds would be rounded before they are added."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4096, generator=generator).half() for _ in range(2))
    found = interpolated({"w": a}, {"w": b}, 1 / 3)["w"]
    exact = (2 * a.double() + b.double()) / 3
    assert (found.double() - exact).abs().max() <= (exact.half().double() - exact).abs().max() * 1.01


Change = Callable[[dict[str, Tensor]], Any]
MISFITS: dict[str, tuple[Change, str]] = {
    "a name too many": (lambda state: state.update(more=torch.zeros(1)), "the tuned weights have 'more'"),
    "a name too few": (lambda state: state.pop("2.bias"), "the base weights have '2.bias'"),
    "a shape": (lambda state: state.update({"2.bias": torch.zeros(3)}), r"'2.bias' differ in kind: \[2\]"),
    "a dtype": (lambda state: state.update({"2.bias": torch.zeros(2).half()}), "torch.float16"),
    "a counter": (lambda state: state["1.num_batches_tracked"].add_(1), "whole numbers and differ"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_models_that_do_not_fit_are_refused(what: str) -> None:
    change, said = MISFITS[what]
    base, tuned = network(0).state_dict(), network(0).state_dict()
    change(tuned)
    with pytest.raises(LucidaError, match=said):
        interpolated(base, tuned, 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_between_nothing_and_all(share: float) -> None:
    with pytest.raises(LucidaError, match="between 0 and 1"):
        interpolated({}, {}, share)
