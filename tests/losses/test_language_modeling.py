"""The language-modelling loss against the plain one over all logits, and what it never computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss, shift_labels


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
    assert torch.autograd.gradcheck(
        lambda h, w: language_modeling_loss(h, w, labels), (hidden.requires_grad_(), weight.requires_grad_())
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
    labels[2] = 11
    with pytest.raises(ValueError, match="between 0 and 10"):
        language_modeling_loss(hidden, weight, labels)


def test_shifted_labels_stand_at_the_state_that_predicts_them() -> None:
    labels = torch.tensor([[IGNORE_INDEX, 4, 5], [1, IGNORE_INDEX, 2]])
    expected = torch.tensor([[4, 5, IGNORE_INDEX], [IGNORE_INDEX, 2, IGNORE_INDEX]])
    assert torch.equal(shift_labels(labels), expected)
