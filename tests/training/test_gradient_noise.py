"""The gradient noise scale of a run, against tasks where it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lucida.training.findings import Record, diagnose
from lucida.training.noise import NoiseScale, fieller, noise_scale
from lucida.training.probes import watch
from lucida.training.probes.pairs import GradientPair
from lucida.workflows.diagnose import as_json, as_text, noise_in_words

SIZE = 8


def regression(
    batch: int, *, accumulate: int = 1, clip: float | None = None, steps: int = 1200
) -> list[dict[str, Any]]:
    """A linear regression held still at distance 1 from its solution, residual noise of deviation 1.

    The gradient of an example is ``(v.x - e) x`` with ``x ~ N(0, I)`` of ``d`` dimensions and ``|v| = 1``: its mean is
    ``v``, its variances add up to ``(d + 1) |v|^2 + d s^2``, so the noise scale is ``d + 1 + d s^2 / |v|^2`` = 17.
    """
    torch.manual_seed(0)
    model = nn.Linear(SIZE, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()[0, 0] = 1.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=2) as watched:
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(accumulate):
                loss = (model(torch.randn(batch, SIZE)) - torch.randn(batch, 1)).square().mean() / 2
                (loss / accumulate).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
    return watched.rows


@pytest.mark.parametrize(
    ("batch", "options"), [(32, {}), (8, {"accumulate": 4}), (32, {"clip": 0.01}), (6, {"steps": 2400})]
)
def test_it_is_found_where_it_is_known(batch: int, options: dict[str, Any]) -> None:
    found = diagnose(regression(batch, **options)).noise_scale
    assert found is not None
    assert found.examples == pytest.approx(17, rel=0.15)
    assert found.low < 17 < found.high
    assert found.batch == batch * options.get("accumulate", 1)
    assert found.last - found.first == 2 * (found.pairs - 1)


def test_it_is_that_of_two_batch_sizes() -> None:
    """Appendix A.1 of McCandlish et al. with ``B_small = 4`` and ``B_big = 8``, the two batches taken as one."""
    torch.manual_seed(0)
    a, b = {"w": torch.randn(3, 5), "v": torch.randn(7)}, {"w": torch.randn(3, 5), "v": torch.randn(7)}
    pair = GradientPair()
    pair.remember(a, 4, torch.tensor(1.0))
    noise = pair.compare(b, 4, torch.tensor(1.0))["noise"]
    small = sum((x.square().sum() + y.square().sum()).item() / 2 for x, y in zip(a.values(), b.values(), strict=True))
    big = sum(((x + y) / 2).square().sum().item() for x, y in zip(a.values(), b.values(), strict=True))
    assert noise["squared"] == pytest.approx((8 * big - 4 * small) / 4, rel=1e-5)
    assert noise["trace"] == pytest.approx((small - big) / (1 / 4 - 1 / 8), rel=1e-5)
    assert noise["batch"] == 4


def test_samples_stand_for_the_whole_and_gradients_that_only_one_step_has_do_not_count() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(500, 100), torch.randn(500, 100)
    pair = GradientPair()
    pair.remember({"w": a, "gone": torch.ones(3)}, 10, torch.tensor(1.0))
    found = pair.compare({"w": b, "new": torch.ones(4)}, 30, torch.tensor(2.0))
    assert found["noise"]["batch"] == pytest.approx(15)
    whole = 15 * ((a - 2 * b).square().sum().item() / 2)
    assert found["noise"]["trace"] == pytest.approx(whole, rel=0.1)
    assert pair.compare({"w": b}, 30, None) == {"cosine": None}
    pair.remember({"w": a}, 0, torch.tensor(1.0))  # examples are not known
    assert "noise" not in pair.compare({"w": b}, 0, torch.tensor(1.0))


def rows_with(trace: list[float], squared: list[float]) -> Record:
    pairs = zip(trace, squared, strict=True)
    noise = [{"trace": t, "squared": s, "batch": 16.0} for t, s in pairs]
    row = {"kind": "probe", "layers": {}, "parameters": {}}
    return Record([row | {"step": 10 * k, "noise": pair} for k, pair in enumerate(noise, 1)])


def test_noise_that_drowns_the_gradient_is_said_to_be_open_above() -> None:
    found = noise_scale(rows_with([9.0, 1.0, 1.0, 1.1, 0.9], [5.0, 0.01, -0.02, 0.015, 0.0]))
    assert found is not None
    assert (found.examples, found.high, found.pairs, found.first) == (None, None, 3, 30)
    assert noise_in_words(found).startswith("above ")
    against = noise_scale(rows_with([1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0]))
    assert against is not None
    assert noise_in_words(against).startswith("not known: the gradients of two steps in a row do not agree, the batch")
    assert noise_scale(rows_with([1.0, 1.0], [1.0, 1.0])) is None


def test_the_interval_holds_as_often_as_it_says() -> None:
    """Fieller's interval of a ratio of means of normal numbers, 400 times."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = fieller(draw.normal(6, 2, 12), draw.normal(2, 2, 12))
        held += (low is None or low <= 3) and (high is None or high >= 3)
    assert 0.92 < held / 400 < 0.98


def test_it_is_told_in_words_and_as_json() -> None:
    one = diagnose(regression(32, steps=60))
    assert isinstance(one.noise_scale, NoiseScale)
    line = next(line for line in as_text({".": one}).splitlines() if "noise scale" in line)
    assert "the batch has 32; from 15 pairs of steps, 32 to 60" in line
    told = as_json({".": one})["parts"]["."]["noise_scale"]
    assert told.keys() == {"examples", "low", "high", "batch", "pairs", "first", "last"}
    assert told["batch"] == 32
