"""The language-modelling loss against the plain one over all logits, and what it never computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.losses.language_modeling import (
    IGNORE_INDEX,
    language_modeling_loss,
    plain_language_modeling_loss,
    shift_labels,
)


def example(seed: int, rows: int = 12, width: int = 5, words: int = 11) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(words, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(words, (rows,), generator=generator)
    labels[torch.rand(rows, generator=generator) < 0.5] = IGNORE_INDEX
    labels[0] = 3
    return hidden, weight, labels


@given(seed=st.integers(0, 100), reduction=st.sampled_from(["mean", "sum"]))
@settings(max_examples=30, deadline=None)
def test_equals_the_loss_over_all_logits(seed: int, reduction: str) -> None:
    hidden, weight, labels = example(seed)
    ours = [t.clone().requires_grad_() for t in (hidden, weight)]
    theirs = [t.clone().requires_grad_() for t in (hidden, weight)]
    mine = language_modeling_loss(*ours, labels, reduction=reduction)
    plain = F.cross_entropy(theirs[0] @ theirs[1].T, labels, ignore_index=IGNORE_INDEX, reduction=reduction)
    torch.testing.assert_close(mine, plain)
    mine.backward()
    plain.backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@given(
    seed=st.integers(0, 100),
    reduction=st.sampled_from(["mean", "sum"]),
    smoothing=st.sampled_from([0.0, 0.1]),
    z_loss=st.sampled_from([0.0, 0.01]),
    weighted=st.booleans(),
    rows_at_once=st.integers(1, 12),
    upstream=st.sampled_from([1.0, -2.5]),
)
@settings(max_examples=60, deadline=None)
def test_chunks_equal_the_plain_loss(
    seed: int, reduction: str, smoothing: float, z_loss: float, weighted: bool, rows_at_once: int, upstream: float
) -> None:
    hidden, weight, labels = example(seed)
    own = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed)) + 0.1 if weighted else None
    ours, theirs = ([t.clone().requires_grad_() for t in (hidden, weight)] for _ in range(2))
    form = {"reduction": reduction, "label_smoothing": smoothing, "z_loss": z_loss, "token_weights": own}
    mine = language_modeling_loss(*ours, labels, **form, chunk_bytes=rows_at_once * 11 * 8)
    plain = plain_language_modeling_loss(*theirs, labels, **form)
    torch.testing.assert_close(mine, plain)
    (upstream * mine).backward()
    (upstream * plain).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_gets_no_gradient(frozen: int) -> None:
    hidden, weight, labels = example(8)
    both = [hidden, weight]
    both[1 - frozen].requires_grad_()
    language_modeling_loss(*both, labels).backward()
    assert both[frozen].grad is None
    plain = [t.detach().clone().requires_grad_() for t in both]
    plain_language_modeling_loss(*plain, labels).backward()
    torch.testing.assert_close(both[1 - frozen].grad, plain[1 - frozen].grad)
    with torch.no_grad():
        assert not language_modeling_loss(*both, labels).requires_grad


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_logits_neither_overflow_nor_vanish(size: float) -> None:
    hidden, weight, labels = example(9)
    states = (hidden * size).float().requires_grad_()
    loss = language_modeling_loss(states, weight.float(), labels)
    loss.backward()
    plain = plain_language_modeling_loss(states, weight.float(), labels)
    torch.testing.assert_close(loss, plain)
    assert torch.isfinite(states.grad).all()


def test_going_back_twice_gives_the_same_gradient_and_leaves_the_first_alone() -> None:
    hidden, weight, labels = example(12)
    both = [hidden.requires_grad_(), weight.requires_grad_()]
    loss = language_modeling_loss(*both, labels)
    first = torch.autograd.grad(3 * loss, both, retain_graph=True)
    kept = [one.clone() for one in first]
    for one, again in zip(kept, torch.autograd.grad(3 * loss, both, retain_graph=True), strict=True):
        torch.testing.assert_close(one, again)
    assert all(map(torch.equal, first, kept))


def test_autocast_multiplies_in_the_low_type_and_sums_in_float32() -> None:
    hidden, weight, labels = example(10, rows=200, width=16, words=40)
    grads = []
    for loss_of in (language_modeling_loss, plain_language_modeling_loss):
        both = [t.float().clone().requires_grad_() for t in (hidden, weight)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(*both, labels)
        assert loss.dtype == torch.float32
        loss.backward()
        assert {t.grad.dtype for t in both} == {torch.float32}
        grads.append((loss.detach(), *(t.grad for t in both)))
    for ours, plain in zip(*grads, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0.03, atol=2e-3)


def test_the_vocabulary_may_be_the_input_embedding() -> None:
    """Tied embeddings: the gradient of both uses adds up."""
    _, weight, labels = example(11)
    grads = []
    for loss_of in (language_modeling_loss, plain_language_modeling_loss):
        table = weight.clone().requires_grad_()
        loss_of(table[labels.clamp_min(0)].tanh(), table, labels).backward()
        grads.append(table.grad)
    torch.testing.assert_close(*grads)


@given(seed=st.integers(0, 100), cut=st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_sums_of_parts_add_up(seed: int, cut: int) -> None:
    hidden, weight, labels = example(seed)
    whole = language_modeling_loss(hidden, weight, labels, reduction="sum")
    parts = [
        language_modeling_loss(hidden[part], weight, labels[part], reduction="sum")
        for part in (slice(0, cut), slice(cut, None))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_gradcheck() -> None:
    hidden, weight, labels = example(3, rows=5)
    both = (hidden.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda h, w: language_modeling_loss(h, w, labels, label_smoothing=0.1, z_loss=0.01, chunk_bytes=200), both
    )


def test_rows_that_are_not_supervised_never_meet_the_vocabulary() -> None:
    """NaN in them neither changes the value nor reaches a gradient."""
    hidden, weight, labels = example(4)
    expected = language_modeling_loss(hidden, weight, labels)
    hidden[labels == IGNORE_INDEX] = float("nan")
    hidden.requires_grad_()
    weight.requires_grad_()
    loss = language_modeling_loss(hidden, weight, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(weight.grad).all()
    assert (hidden.grad[labels == IGNORE_INDEX] == 0).all()


def test_nothing_supervised_is_zero_as_a_sum_and_an_error_as_a_mean() -> None:
    hidden, weight, labels = example(5)
    labels[:] = IGNORE_INDEX
    hidden.requires_grad_()
    loss = language_modeling_loss(hidden, weight, labels, reduction="sum")
    loss.backward()
    assert loss.item() == 0
    assert (hidden.grad == 0).all()
    with pytest.raises(LucidaError, match="no supervised token"):
        language_modeling_loss(hidden, weight, labels)


def test_half_precision_is_normalised_in_float32() -> None:
    hidden, weight, labels = example(6)
    loss = language_modeling_loss(hidden.bfloat16(), weight.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, language_modeling_loss(hidden, weight, labels).float(), rtol=0.02, atol=0.02)


def test_bad_input_is_named() -> None:
    hidden, weight, labels = example(7)
    with pytest.raises(ValueError, match="expected states"):
        language_modeling_loss(hidden[None], weight, labels)
    with pytest.raises(ValueError, match=r"labels must be \[12\]"):
        language_modeling_loss(hidden, weight, labels[1:])
    with pytest.raises(ValueError, match=r"token_weights must be \[12\]"):
        language_modeling_loss(hidden, weight, labels, token_weights=torch.ones(3))
    with pytest.raises(ValueError, match="label_smoothing cannot be 1"):
        language_modeling_loss(hidden, weight, labels, label_smoothing=1)
    with pytest.raises(LucidaError, match="no supervised token"):
        language_modeling_loss(hidden, weight, labels, token_weights=torch.zeros(12))
    labels[2] = 11
    with pytest.raises(ValueError, match="between 0 and 10"):
        language_modeling_loss(hidden, weight, labels)


def test_shifted_labels_stand_at_the_state_that_predicts_them() -> None:
    labels = torch.tensor([[IGNORE_INDEX, 4, 5], [1, IGNORE_INDEX, 2]])
    expected = torch.tensor([[4, 5, IGNORE_INDEX], [IGNORE_INDEX, 2, IGNORE_INDEX]])
    assert torch.equal(shift_labels(labels), expected)
