"""The contrastive loss against the formula written out, its gradients and its invariances."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.losses.contrastive import contrastive_loss, identity_targets


def features(seed: int, rows: int = 6, width: int = 4, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = (torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2))
    return F.normalize(images, dim=-1).to(dtype), F.normalize(texts, dim=-1).to(dtype)


def open_clip_loss(images: torch.Tensor, texts: torch.Tensor, logit_scale: float) -> torch.Tensor:
    """open_clip's ``ClipLoss`` in one process, written out."""
    logits_per_image = logit_scale * images @ texts.T
    logits_per_text = logit_scale * texts @ images.T
    labels = torch.arange(len(images))
    return (F.cross_entropy(logits_per_image, labels) + F.cross_entropy(logits_per_text, labels)) / 2


def by_definition(
    images: torch.Tensor, texts: torch.Tensor, scale: float, ids: torch.Tensor, smoothing: float
) -> float:
    """The double sum of the docstring, number by number."""
    count = len(images)
    s = (scale * images @ texts.T).tolist()
    total = 0.0
    for i in range(count):
        twins = [j for j in range(count) if ids[j] == ids[i]]
        for j in range(count):
            p = (1 - smoothing) * (j in twins) / len(twins) + smoothing / count
            row = s[i][j] - math.log(sum(math.exp(s[i][k]) for k in range(count)))
            column = s[j][i] - math.log(sum(math.exp(s[k][i]) for k in range(count)))
            total -= p * (row + column)
    return total / (2 * count)


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_equals_open_clip_forward_and_gradient(scale: float) -> None:
    images, texts = features(0, rows=9)
    ours = [t.clone().requires_grad_() for t in (images, texts)]
    theirs = [t.clone().requires_grad_() for t in (images, texts)]
    mine, other = contrastive_loss(*ours, scale), open_clip_loss(*theirs, scale)
    torch.testing.assert_close(mine, other)
    mine.backward()
    other.backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@given(seed=st.integers(0, 50), smoothing=st.sampled_from([0.0, 0.1, 1.0]), kinds=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_equals_the_definition_with_ids_and_smoothing(seed: int, smoothing: float, kinds: int) -> None:
    images, texts = features(seed)
    ids = torch.randint(kinds, (6,), generator=torch.Generator().manual_seed(seed))
    value = contrastive_loss(images, texts, 5.0, ids=ids, label_smoothing=smoothing).item()
    assert value == pytest.approx(by_definition(images, texts, 5.0, ids, smoothing), rel=1e-9)


@given(seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_order_names_of_ids_and_roles_do_not_matter(seed: int) -> None:
    images, texts = features(seed)
    generator = torch.Generator().manual_seed(seed)
    ids, order = torch.randint(3, (6,), generator=generator), torch.randperm(6, generator=generator)
    value = contrastive_loss(images, texts, 5.0, ids=ids)
    torch.testing.assert_close(contrastive_loss(images[order], texts[order], 5.0, ids=ids[order]), value)
    torch.testing.assert_close(contrastive_loss(images, texts, 5.0, ids=ids * 1000 - 7), value)
    torch.testing.assert_close(contrastive_loss(texts, images, 5.0, ids=ids), value)


def test_distinct_ids_are_the_plain_loss() -> None:
    images, texts = features(1)
    plain = contrastive_loss(images, texts, 5.0, label_smoothing=0.1)
    torch.testing.assert_close(
        contrastive_loss(images, texts, 5.0, ids=torch.arange(6) + 3, label_smoothing=0.1), plain
    )


def test_a_duplicate_is_no_negative() -> None:
    """With ids, the gradient no longer pushes a picture away from its own second caption."""
    images, texts = torch.eye(3), torch.eye(3)
    images[1], texts[1] = images[0], texts[0]
    ids = torch.tensor([4, 4, 9])
    sharp = contrastive_loss(images, texts, 100.0, ids=ids)
    assert sharp.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-5)  # its entropy: nothing left to learn
    torch.testing.assert_close(identity_targets(ids).sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("with_ids", [False, True])
def test_gradcheck(with_ids: bool) -> None:
    images, texts = (t.requires_grad_() for t in features(2, rows=4))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 1, 0, 2]) if with_ids else None
    assert torch.autograd.gradcheck(
        lambda i, t, s: contrastive_loss(i, t, s, ids=ids, label_smoothing=0.1), (images, texts, scale)
    )


def test_half_precision_is_scored_in_float32() -> None:
    images, texts = features(3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        value = contrastive_loss(images, texts, 100.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, contrastive_loss(images.float(), texts.float(), 100.0))


def test_bad_shapes_are_named() -> None:
    images, texts = features(4)
    with pytest.raises(ValueError, match=r"\(6, 4\) and \(5, 4\)"):
        contrastive_loss(images, texts[:5], 1.0)
    with pytest.raises(ValueError, match="same shape"):
        contrastive_loss(images[:0], texts[:0], 1.0)
    with pytest.raises(ValueError, match=r"ids must be \[6\]"):
        contrastive_loss(images, texts, 1.0, ids=torch.arange(5))
    with pytest.raises(ValueError, match="label_smoothing"):
        contrastive_loss(images, texts, 1.0, label_smoothing=1.5)
