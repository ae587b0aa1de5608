"""Contrastive losses in tiles beside their plain twins, which have the whole matrix: values and all gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lucida.losses import contrastive, pair_scores, row_parts, sigmoid
from lucida.losses.contrastive import contrastive_loss, plain_contrastive_loss
from lucida.losses.hard_negatives import plain_hardened
from lucida.losses.pair_scores import Gradients, LogSums, add_gradients, log_sums
from lucida.losses.ring import Ring
from lucida.losses.sigmoid import plain_sigmoid_loss, sigmoid_loss

Loss = Callable[..., Tensor]


@pytest.fixture(autouse=True, params=[1, 3], ids=["one part", "parts"])
def small_tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seven rows by four columns, of batches of any size: many tiles, and incomplete ones; a part a thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_scores, "TILE", (7, 4))
        patch.setattr(pair_scores, "PIECE", 3)
        for module in (contrastive, sigmoid):
            patch.setattr(module, "SMALL", 0)
        yield
    torch.set_num_threads(before)


def features(seed: int, rows: int, dtype: torch.dtype = torch.float64, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, noise = (torch.randn(rows, width, generator=generator, dtype=dtype) for _ in range(2))
    return F.normalize(images, dim=-1), F.normalize(2 * images + noise, dim=-1)


def measured(loss: Loss, tensors: tuple[Tensor, ...], **settings: Any) -> list[Tensor]:
    """Its value, and its gradients at each tensor when something else follows it."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = loss(*leaves, **settings)
    (3 * value).backward()
    return [value.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def assert_alike(ours: list[Tensor], plain: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(plain)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 33),
    kinds=st.sampled_from([0, 1, 3, 20]),
    scale=st.sampled_from([0.0, 1.0, 50.0, 300.0, 5000.0]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    hard=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_the_contrastive_loss_is_its_plain_twin(
    seed: int, rows: int, kinds: int, scale: float, smoothing: float, hard: float
) -> None:
    """Large scales are beyond what one exponential a pair can do: there the careful way is taken."""
    tensors = (*features(seed, rows), torch.tensor(scale, dtype=torch.float64))
    ids = torch.randint(kinds, (rows,), generator=torch.Generator().manual_seed(seed)) if kinds else None
    how = {"ids": ids, "label_smoothing": smoothing, "hard_negatives": hard}
    ours, plain = measured(contrastive_loss, tensors, **how), measured(plain_contrastive_loss, tensors, **how)
    largest = max(1.0, scale)  # of the scores: what is lost to rounding grows with it, and once more in gradients
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-10, atol=1e-13 * largest)
    for one, other in zip(ours[1:], plain[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=4e-15 * largest**2 + 1e-13)


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 33),
    kinds=st.sampled_from([0, 1, 3, 20]),
    scale=st.sampled_from([0.0, 10.0, 200.0]),
    weight=st.sampled_from([1.0, 7.0]),
)
@settings(max_examples=80, deadline=None)
def test_the_sigmoid_loss_is_its_plain_twin(seed: int, rows: int, kinds: int, scale: float, weight: float) -> None:
    tensors = (*features(seed, rows), *torch.tensor([scale, -10.0], dtype=torch.float64))
    ids = torch.randint(kinds, (rows,), generator=torch.Generator().manual_seed(seed)) if kinds else None
    ours, plain = (
        measured(loss, tensors, ids=ids, positive_weight=weight) for loss in (sigmoid_loss, plain_sigmoid_loss)
    )
    assert_alike(ours, plain, 1e-9)


@pytest.mark.parametrize("scale", [-30.0, 14.3, 60.0, 75.0, 100.0, 130.0, 400.0])
@pytest.mark.parametrize("hard", [0.0, 0.5])
def test_single_precision_is_near_double(scale: float, hard: float) -> None:
    exact = (*features(0, 40, width=64), torch.tensor(scale, dtype=torch.float64))
    single = tuple(tensor.float() for tensor in exact)
    ids = torch.arange(40) // 2
    ours = measured(contrastive_loss, single, ids=ids, hard_negatives=hard)
    plain = measured(plain_contrastive_loss, exact, ids=ids, hard_negatives=hard)
    assert ours[0].dtype == torch.float32
    assert_alike([one.double() for one in ours], plain, 2e-6 * max(10.0, abs(scale)))


def test_what_is_left_of_pairs_that_are_told_apart_keeps_its_digits() -> None:
    """At a scale of 100 sums are near 100, and what is left of a probability is smaller than single precision there."""
    generator = torch.Generator().manual_seed(0)
    images, noise = (F.normalize(torch.randn(300, 64, generator=generator, dtype=torch.float64), dim=-1) for _ in "ab")
    exact = images, F.normalize(images + 1.25 * noise, dim=-1), torch.tensor(100.0, dtype=torch.float64)
    plain = measured(plain_contrastive_loss, exact)
    ours = measured(contrastive_loss, tuple(tensor.float() for tensor in exact))
    assert 1e-7 < plain[0] < 1e-2
    assert_alike([one.double() for one in ours[1:3]], plain[1:3], 1e-4)
    assert ours[3].item() == pytest.approx(plain[3].item(), rel=1e-2)


@pytest.mark.parametrize("rows", [1025, 2049])
def test_tiles_as_they_are_begin_beyond_small_batches(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_scores, "TILE", (1024, 2048))
    monkeypatch.setattr(pair_scores, "PIECE", 128)
    monkeypatch.setattr(contrastive, "SMALL", 1024)
    monkeypatch.setattr(sigmoid, "SMALL", 1024)
    tensors = (*features(2, rows, torch.float32), torch.tensor([20.0]))  # a scale of one number, in a vector
    ids = torch.arange(rows) // 3
    for loss, plain in ((contrastive_loss, plain_contrastive_loss), (sigmoid_loss, plain_sigmoid_loss)):
        bias = {"logit_bias": torch.tensor([-5.0])} if loss is sigmoid_loss else {}
        assert_alike(measured(loss, tensors, ids=ids, **bias), measured(plain, tensors, ids=ids, **bias), 1e-4)


def test_half_precision_is_scored_in_single() -> None:
    images, texts = features(3, 40, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value = contrastive_loss(images.bfloat16(), texts.bfloat16(), 100.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value, plain_contrastive_loss(images.bfloat16().float(), texts.bfloat16().float(), 100.0)
    )


@pytest.mark.parametrize("scale", [20.0, 400.0])
def test_log_sums_and_gradients_are_what_they_say(scale: float) -> None:
    images, texts = features(3, 19)
    texts = texts[:11]  # as many texts as pictures are not needed
    scores = scale * images @ texts.T
    sums = log_sums(images, texts, scale)
    torch.testing.assert_close(sums.rows, scores.logsumexp(dim=1))
    torch.testing.assert_close(sums.columns, scores.logsumexp(dim=0))
    pulls = (scores - sums.rows[:, None]).exp() + (scores - sums.columns).exp()
    found = Gradients(torch.zeros_like(images), torch.zeros_like(texts))
    add_gradients(found, images, texts, scale, LogSums(-sums.rows, -sums.columns))
    torch.testing.assert_close(found.images, pulls @ texts)
    torch.testing.assert_close(found.texts, pulls.T @ images)


def test_what_would_underflow_is_summed_carefully(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is far from every text has a sum that one exponential a pair would lose."""
    careful = []
    own = pair_scores._carefully
    monkeypatch.setattr(pair_scores, "_carefully", lambda *args: careful.append(1) or own(*args))
    images, texts = torch.eye(3), torch.eye(3)[:1].expand(4, -1)
    log_sums(images, texts, 100.0)
    assert not careful
    sums = log_sums(-images, texts, 100.0)
    assert careful
    torch.testing.assert_close(sums.rows.float(), torch.tensor([-100.0, 0.0, 0.0]) + math.log(4))


def test_harder_negatives_count_more_and_one_on_average() -> None:
    scores = torch.tensor([[5.0, 1.0, 3.0], [0.0, 5.0, 0.0], [2.0, 2.0, 5.0]])
    same = torch.eye(3, dtype=torch.bool)
    weights = torch.exp(torch.tensor([1.0, 3.0]))
    weights = 2 * weights / weights.sum()
    expected = torch.exp(torch.tensor([5.0, 1.0, 3.0])) @ torch.cat([torch.ones(1), weights])
    assert plain_hardened(scores, same, 1.0)[0].exp().item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(plain_hardened(scores, same, 1e-6), scores.logsumexp(dim=1), atol=1e-4)


def test_hard_weights_are_constants_of_the_gradient() -> None:
    """The gradient is that of the loss with the weights as they are, held still."""
    images, texts = features(5, 12)
    scores = (8 * images @ texts.T).requires_grad_()
    same = torch.eye(12, dtype=torch.bool)
    loss = plain_hardened(scores, same, 0.7).sum()
    weights = torch.where(same, 0.0, 0.7 * scores.detach())
    weights = 11 * weights.exp().masked_fill(same, 0) / weights.exp().masked_fill(same, 0).sum(dim=1, keepdim=True)
    still = (scores.exp() * (weights + same)).sum(dim=1).log().sum()
    torch.testing.assert_close(*(torch.autograd.grad(each, scores)[0] for each in (loss, still)))


def test_the_value_alone_takes_no_product_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = (*features(1, 20), torch.tensor(10.0, dtype=torch.float64))
    monkeypatch.setattr(Tensor, "addmm_", None, raising=False)
    with torch.no_grad():
        value = contrastive_loss(*tensors)
        other = sigmoid_loss(*tensors, -10.0)
    torch.testing.assert_close(value, plain_contrastive_loss(*tensors))
    torch.testing.assert_close(other, plain_sigmoid_loss(*tensors, -10.0))


def test_a_scale_that_is_a_number_has_no_gradient() -> None:
    tensors = features(1, 20)
    ours, plain = (measured(loss, tensors, logit_scale=10.0) for loss in (contrastive_loss, plain_contrastive_loss))
    assert_alike(ours, plain, 1e-10)
    ours, plain = (
        measured(loss, tensors, logit_scale=10.0, logit_bias=-10.0) for loss in (sigmoid_loss, plain_sigmoid_loss)
    )
    assert_alike(ours, plain, 1e-10)


def test_features_that_are_not_numbers_give_a_loss_that_is_none() -> None:
    images, texts = features(1, 20)
    images[3, 0] = torch.nan
    for loss in (contrastive_loss, plain_contrastive_loss):
        assert torch.isnan(loss(images, texts, 10.0))


def test_a_setting_out_of_range_is_named() -> None:
    images, texts = features(1, 4)
    with pytest.raises(ValueError, match=r"logit_scale must be one number, not \[4, 1\]"):
        sigmoid_loss(images, texts, torch.ones(4, 1), -10.0)
    with pytest.raises(ValueError, match=r"ids must be whole numbers, not torch\.bool"):
        contrastive_loss(images, texts, 10.0, ids=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="the ring is one of 5 rows here, and there are 4"):
        contrastive_loss(images, texts, 10.0, ring=Ring(5))
    with pytest.raises(ValueError, match="hard_negatives must be a number that is 0 or more, not -1"):
        contrastive_loss(images, texts, 10.0, hard_negatives=-1)


def test_threads_are_as_they_were_also_after_an_error() -> None:
    before = torch.get_num_threads()
    assert row_parts.in_parts(lambda part: part.stop, [slice(0, 2), slice(2, 5)]) == [2, 5]

    def fail(part: slice) -> None:
        assert not torch.is_grad_enabled()
        raise ValueError(f"{part.start}")

    with pytest.raises(ValueError, match="0"):
        row_parts.in_parts(fail, [slice(0, 2), slice(2, 5)])
    assert torch.get_num_threads() == before
    assert row_parts.parts_of(torch.zeros(6), least=7) == [slice(0, 6)]
