"""The sigmoid contrastive loss against its formula, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lucida.losses.sigmoid import positives, sigmoid_loss


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def direct(
    images: Tensor, texts: Tensor, scale: float, bias: float, ids: list[int], weight: float = 1.0
) -> tuple[float, Tensor, Tensor, float, float]:
    """Value and gradients by images, texts, scale and bias, pair by pair, with the derivative written out."""
    b = len(images)
    value, by_scale, by_bias = 0.0, 0.0, 0.0
    by_image, by_text = torch.zeros_like(images), torch.zeros_like(texts)
    for i in range(b):
        for j in range(b):
            z, w = (1.0, weight) if ids[i] == ids[j] else (-1.0, 1.0)
            cosine = float(images[i] @ texts[j])
            s = scale * cosine + bias
            value += w * math.log1p(math.exp(-z * s)) / b
            slope = -w * z / (1 + math.exp(z * s)) / b  # of -log σ(z s) by s
            by_image[i] += slope * scale * texts[j]
            by_text[j] += slope * scale * images[i]
            by_scale += slope * cosine
            by_bias += slope
    return value, by_image, by_text, by_scale, by_bias


@pytest.mark.parametrize(("ids", "weight"), [(None, 1.0), ([3, 1, 3, 2, 1], 1.0), (None, 4.0), ([0, 0, 1, 1, 1], 2.5)])
def test_value_and_gradients_are_those_of_the_formula(ids: list[int] | None, weight: float) -> None:
    images, texts = unit(5, 7).requires_grad_(), unit(5, 7, seed=1).requires_grad_()
    scale, bias = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (8.0, -3.0))
    given_ids = None if ids is None else torch.tensor(ids)
    loss = sigmoid_loss(images, texts, scale, bias, ids=given_ids, positive_weight=weight)
    grads = torch.autograd.grad(loss, (images, texts, scale, bias))
    expected = direct(images.detach(), texts.detach(), 8.0, -3.0, ids or list(range(5)), weight)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected[0], rel=1e-12)
    for found, wanted in zip(grads, expected[1:], strict=True):
        torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-13)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.floats(0, 50), st.floats(-20, 20), st.integers(0, 99))
def test_rows_in_another_order_cost_the_same(b: int, scale: float, bias: float, seed: int) -> None:
    images, texts = unit(b, 3, seed=seed), unit(b, 3, seed=seed + 100)
    ids = torch.arange(b) % 3
    order = torch.randperm(b, generator=torch.Generator().manual_seed(seed))
    once = sigmoid_loss(images, texts, scale, bias, ids=ids)
    again = sigmoid_loss(images[order], texts[order], scale, bias, ids=ids[order])
    swapped = sigmoid_loss(texts, images, scale, bias, ids=ids)
    assert float(once) >= 0
    torch.testing.assert_close(once, again)
    torch.testing.assert_close(once, swapped)


def test_large_logits_stay_finite() -> None:
    images = torch.eye(2, dtype=torch.float64).requires_grad_()
    loss = sigmoid_loss(images, torch.eye(2, dtype=torch.float64).flip(0), 1e4, 0.0)
    assert loss.item() == pytest.approx(1e4 + math.log(2), rel=1e-9)  # each: a positive at log 2, a negative at 1e4
    assert bool(torch.isfinite(torch.autograd.grad(loss, images)[0]).all())


@pytest.mark.parametrize("b", [4, 64])
def test_a_bias_of_the_log_prior_begins_at_the_entropy_of_the_prior(b: int) -> None:
    """With a scale of zero and the bias -log(B - 1) every pair is answered by the share of positives."""
    share = 1 / b
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    at = {bias: sigmoid_loss(unit(b, 3), unit(b, 3), 0.0, bias).item() for bias in (-math.log(b - 1), 0.0, -10.0)}
    assert at[-math.log(b - 1)] == pytest.approx(b * entropy)
    assert min(at.values()) == at[-math.log(b - 1)]
    assert at[0.0] == pytest.approx(b * math.log(2))


def test_equal_ids_are_positives_and_half_precision_is_scored_in_float32() -> None:
    assert positives(3, torch.tensor([5, 6, 5])).sum() == 5
    images, texts = unit(4, 8).bfloat16(), unit(4, 8, seed=2).bfloat16()
    loss = sigmoid_loss(images, texts, 10.0, -10.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, sigmoid_loss(images.float(), texts.float(), 10.0, -10.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss, sigmoid_loss(images, texts, 10.0, -10.0))


def test_it_maps_over_members() -> None:
    images, texts, bias = unit(3, 5, 4), unit(3, 5, 4, seed=1), torch.tensor([-10.0, 0.0, -1.4], dtype=torch.float64)
    mapped = torch.vmap(lambda u, v, b: sigmoid_loss(u, v, 5.0, b))(images, texts, bias)
    for k in range(3):
        torch.testing.assert_close(mapped[k], sigmoid_loss(images[k], texts[k], 5.0, bias[k]))


@pytest.mark.parametrize(
    ("images", "texts", "ids", "weight"),
    [
        (torch.eye(3), torch.eye(2), None, 1.0),
        (torch.zeros(0, 3), torch.zeros(0, 3), None, 1.0),
        (torch.eye(3), torch.eye(3), torch.arange(2), 1.0),
        (torch.eye(3), torch.eye(3), None, 0.0),
    ],
)
def test_what_does_not_fit_is_an_error(images: Tensor, texts: Tensor, ids: Tensor | None, weight: float) -> None:
    with pytest.raises(ValueError, match=r"features must|ids must|positive_weight"):
        sigmoid_loss(images, texts, 1.0, 0.0, ids=ids, positive_weight=weight)
