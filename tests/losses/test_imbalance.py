"""The losses for imbalanced classes against their papers' formulas, number by number, with their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.losses.imbalance import (
    LOSSES,
    ClassLoss,
    CrossEntropy,
    Deferred,
    Focal,
    ScheduledLoss,
    deferred,
    effective_number,
    inverse_frequency,
    make_loss,
)

COUNTS = [120, 30, 4, 9]


def example(seed: int, rows: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, len(COUNTS), generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(len(COUNTS), (rows,), generator=generator)


def softmax(z: Tensor, y: int) -> Tensor:
    return z[y].exp() / z.exp().sum()


# One row of each loss as its paper writes it: logits [C] and the label to (loss without weight, weight).
N = sum(COUNTS)
RARE = min(COUNTS)
Twin = Callable[[Tensor, int], tuple[Tensor, float]]
TWINS: dict[str, tuple[str, dict[str, float | str], Twin]] = {
    "cross-entropy": ("cross_entropy", {}, lambda z, y: (-softmax(z, y).log(), 1.0)),
    "inverse frequency": ("weighted", {}, lambda z, y: (-softmax(z, y).log(), 1 / COUNTS[y])),
    "square root": ("weighted", {"exponent": 0.5}, lambda z, y: (-softmax(z, y).log(), COUNTS[y] ** -0.5)),
    "focal": ("focal", {}, lambda z, y: (-((1 - softmax(z, y)) ** 2) * softmax(z, y).log(), 1.0)),
    "focal, root": ("focal", {"gamma": 0.5}, lambda z, y: (-((1 - softmax(z, y)) ** 0.5) * softmax(z, y).log(), 1.0)),
    "class-balanced": (
        "class_balanced",
        {"beta": 0.99},
        lambda z, y: (-softmax(z, y).log(), (1 - 0.99) / (1 - 0.99 ** COUNTS[y])),
    ),
    "class-balanced focal": (
        "class_balanced",
        {"beta": 0.9, "base": "focal", "gamma": 1.0},
        lambda z, y: (-(1 - softmax(z, y)) * softmax(z, y).log(), (1 - 0.9) / (1 - 0.9 ** COUNTS[y])),
    ),
    "ldam": (
        "ldam",
        {"max_margin": 0.4, "scale": 3.0},
        lambda z, y: (margin_loss(z, y, 0.4 * RARE**0.25 / COUNTS[y] ** 0.25, 3.0), 1.0),
    ),
    "logit-adjusted": (
        "logit_adjusted",
        {"tau": 1.5},
        lambda z, y: (-softmax(z + 1.5 * torch.tensor([math.log(n / N) for n in COUNTS]), y).log(), 1.0),
    ),
}


def margin_loss(z: Tensor, y: int, margin: float, scale: float) -> Tensor:
    """Equation 13 of Cao et al. 2019, with the scale of its code."""
    top = (scale * (z[y] - margin)).exp()
    rest = sum((scale * z[j]).exp() for j in range(len(z)) if j != y)
    return -(top / (top + rest)).log()


@pytest.mark.parametrize("name", TWINS)
@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_equals_its_formula_in_value_and_gradient(name: str, seed: int) -> None:
    """As a mean over the batch: weights are known up to a factor only, which the mean takes out."""
    loss_name, chosen, twin = TWINS[name]
    loss = make_loss(loss_name, COUNTS, **chosen)
    logits, labels = example(seed)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    mean = loss(ours, labels).sum() / loss.weights(labels).sum()
    rows = [twin(z, int(y)) for z, y in zip(theirs, labels, strict=True)]
    plain = sum(weight * value for value, weight in rows) / sum(weight for _, weight in rows)
    torch.testing.assert_close(mean, plain, rtol=1e-6, atol=1e-9)
    mean.backward()
    plain.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)


def test_every_loss_has_a_twin() -> None:
    assert {loss for loss, _, _ in TWINS.values()} == set(LOSSES)


def test_weighted_equals_torch_with_the_weights_of_scikit_learn() -> None:
    weights = pytest.importorskip("sklearn.utils.class_weight")
    every = np.repeat(np.arange(4), COUNTS)
    balanced = weights.compute_class_weight("balanced", classes=np.arange(4), y=every)
    torch.testing.assert_close(inverse_frequency(COUNTS).double(), torch.tensor(balanced / balanced.mean()))
    logits, labels = example(0)
    theirs = F.cross_entropy(logits, labels, weight=torch.tensor(balanced))
    loss = make_loss("weighted", COUNTS)
    torch.testing.assert_close(loss(logits, labels).sum() / loss.weights(labels).sum(), theirs)


@pytest.mark.parametrize("name", LOSSES)
def test_neutral_settings_are_plain_cross_entropy(name: str) -> None:
    neutral = {
        "weighted": {"exponent": 0.0},
        "focal": {"gamma": 0.0},
        "class_balanced": {"beta": 0.0},
        "ldam": {"max_margin": 0.0, "scale": 1.0},
        "logit_adjusted": {"tau": 0.0},
    }.get(name, {})
    logits, labels = example(1)
    loss = make_loss(name, COUNTS, **neutral)
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, reduction="none"))
    torch.testing.assert_close(loss.weights(labels), torch.ones(7))


@pytest.mark.parametrize("name", LOSSES)
def test_it_works_under_vmap(name: str) -> None:
    """Members of a stack, each with its own rows and gradient: as one after another."""
    loss = make_loss(name, COUNTS)
    batches = [example(seed, dtype=torch.float32) for seed in range(3)]
    logits, labels = torch.stack([z for z, _ in batches]), torch.stack([y for _, y in batches])

    def mean(z: Tensor, y: Tensor) -> Tensor:
        return loss(z, y).sum() / loss.weights(y).sum()

    gradients, values = torch.vmap(torch.func.grad_and_value(mean))(logits, labels)
    for k, (z, y) in enumerate(batches):
        gradient, value = torch.func.grad_and_value(mean)(z, y)
        torch.testing.assert_close(values[k], value)
        torch.testing.assert_close(gradients[k], gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_scored_in_float32(name: str) -> None:
    logits, labels = example(2, dtype=torch.bfloat16)
    loss = make_loss(name, COUNTS)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), labels))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_finite_where_the_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    loss = Focal(gamma)(logits, torch.tensor([0, 0]))
    loss.sum().backward()
    assert loss[0].item() == pytest.approx(0.0, abs=1e-12)
    assert loss[1].item() == pytest.approx(200.0)
    assert torch.isfinite(logits.grad).all()


def test_deferred_weights_set_in_at_their_share() -> None:
    loss = deferred("cross_entropy", COUNTS, share=0.8, beta=0.99)
    assert isinstance(loss, ScheduledLoss)
    assert not isinstance(CrossEntropy(), ScheduledLoss)
    logits, labels = example(3)
    plain, balanced = make_loss("cross_entropy", COUNTS), make_loss("class_balanced", COUNTS, beta=0.99)
    for progress, phase in ((0.0, plain), (0.79, plain), (0.8, balanced), (1.0, balanced)):
        loss.progress = progress
        torch.testing.assert_close(loss(logits, labels), phase(logits, labels))
        torch.testing.assert_close(loss.weights(labels), phase.weights(labels))


def test_margins_of_the_papers_code() -> None:
    """n ** -1/4, scaled so that the rarest class has the largest margin: the cosine must beat the others by it."""
    loss: ClassLoss = make_loss("ldam", [16, 1], max_margin=0.5, scale=30.0)
    cosines = torch.tensor([[0.25, 0.0], [0.0, 0.5]])  # ahead by exactly their margins: 0.5/2 and 0.5
    torch.testing.assert_close(loss(cosines, torch.tensor([0, 1])), torch.full((2,), math.log(2)))


@given(counts=st.lists(st.integers(1, 10**7), min_size=2, max_size=9), beta=st.sampled_from([0.0, 0.9, 0.9999]))
@settings(max_examples=40, deadline=None)
def test_weights_have_the_mean_one_and_fall_with_the_count(counts: list[int], beta: float) -> None:
    for weights in (inverse_frequency(counts), effective_number(counts, beta)):
        assert weights.mean().item() == pytest.approx(1.0, rel=1e-5)
        order = np.argsort(counts)
        assert (np.diff(weights.numpy()[order]) <= 1e-6 * weights.max().item()).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_loss("focul", COUNTS), "there is no loss 'focul'; use cross_entropy"),
        (lambda: make_loss("focal", COUNTS, tau=1.0), r"'focal' has no setting 'tau'; it has gamma"),
        (lambda: make_loss("class_balanced", COUNTS, base="focal", tau=1.0), "'focal' has no setting 'tau'"),
        (lambda: make_loss("focal", COUNTS, gamma=-1.0), "gamma cannot be -1.0"),
        (lambda: make_loss("class_balanced", COUNTS, beta=1.0), "beta cannot be 1.0"),
        (lambda: make_loss("ldam", COUNTS, scale=0.0), "scale cannot be 0.0"),
        (lambda: make_loss("logit_adjusted", COUNTS, tau=float("nan")), "tau cannot be nan"),
        (lambda: Deferred(CrossEntropy(), torch.ones(4), share=1.5), "share cannot be 1.5"),
        (lambda: make_loss("cross_entropy", [4, 0, 2]), r"no example \(class 1\)"),
        (lambda: make_loss("cross_entropy", [4]), "at least two"),
    ],
)
def test_bad_settings_are_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(LucidaError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
