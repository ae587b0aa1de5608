"""Zero-shot scores: perfect, constant and random encoders; tiles; candidates; prompt ensembles."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.core.statistics import wilson
from lucida.evaluation.zero_shot import TEMPLATES, class_embeddings, true_class_ranks, zero_shot_metrics


def encode(texts: list[str]) -> torch.Tensor:
    """A text encoder whose features depend on the text alone; not normalised."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
    return torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(seed)) * 3 for seed in seeds])


def features(seed: int, n: int, d: int = 6) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_embeddings_are_the_normalised_mean_of_normalised_prompts() -> None:
    made = class_embeddings(encode, ["cat", "dog"], ["a {}", "the {}!"], batch_size=3)
    for row, name in zip(made, ["cat", "dog"], strict=True):
        each = [x / x.norm() for x in encode([f"a {name}", f"the {name}!"])]
        mean = (each[0] + each[1]) / 2
        assert torch.allclose(row, mean / mean.norm(), atol=1e-6)
    assert torch.allclose(class_embeddings(lambda t: encode(t).numpy(), ["cat"], ["a {}"])[0].norm(), torch.tensor(1.0))


def test_templates_are_checked() -> None:
    for bad in ([], ["no place"], ["{} and {}"]):
        with pytest.raises(LucidaError, match="template"):
            class_embeddings(encode, ["cat"], bad)
    for templates in TEMPLATES.values():
        assert class_embeddings(encode, ["a {curly} name"], templates).shape == (1, 8)


def test_a_perfect_encoder_scores_one() -> None:
    classes = features(0, 20)
    metrics = zero_shot_metrics(classes.repeat(2, 1), classes, list(range(20)) * 2, prefix="zero_shot/here")
    assert metrics["zero_shot/here/top1"].value == metrics["zero_shot/here/top5"].value == 1
    assert metrics["zero_shot/here/top1"].ci95 == pytest.approx(wilson(40, 40).ci95)
    assert metrics["zero_shot/here/chance_top1"].value == metrics["zero_shot/here/majority_top1"].value == 1 / 20
    assert "zero_shot/here/top1_class_mean" not in metrics


def test_a_constant_picture_encoder_scores_the_share_of_one_class() -> None:
    metrics = zero_shot_metrics(torch.ones(40, 6), features(0, 20), list(range(20)) * 2)
    assert metrics["zero_shot/top1"].value == 1 / 20
    assert metrics["zero_shot/top5"].value == 5 / 20


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_equal_scores_count_against_the_model(value: float) -> None:
    metrics = zero_shot_metrics(features(1, 30), torch.full((10, 6), value), [i % 10 for i in range(30)])
    assert metrics["zero_shot/top1"].value == metrics["zero_shot/top5"].value == 0


@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 12), st.integers(1, 50))
def test_ranks_by_hand_by_tile_and_in_any_order(seed: int, n: int, k: int, tile: int) -> None:
    generator = np.random.default_rng(seed)
    images, classes, labels = features(seed, n), features(seed + 1, k), generator.integers(k, size=n)
    ranks = true_class_ranks(images, classes, labels, tile=tile)
    unit = [rows.double() / rows.double().norm(dim=1, keepdim=True) for rows in (images, classes)]
    scores = (unit[0] @ unit[1].T).numpy()
    assert ranks.tolist() == [int((row >= row[own] - 1e-9).sum()) for row, own in zip(scores, labels, strict=True)]
    order, classes_order = generator.permutation(n), generator.permutation(k)
    moved = true_class_ranks(images[order], classes[classes_order], np.argsort(classes_order)[labels[order]])
    assert (moved == ranks[order]).all()
    for metric in zero_shot_metrics(images, classes, labels).values():
        assert 0 <= metric.value <= 1
        assert metric.ci95 is None or metric.ci95[0] <= metric.value <= metric.ci95[1]


def test_candidates_are_the_only_choice() -> None:
    classes = features(0, 10)
    images, labels = classes[[2, 5]] + 0.1 * classes[[7, 8]], [2, 5]
    chosen = zero_shot_metrics(images, classes, labels, candidates=[5, 2, 9])
    alone = zero_shot_metrics(images, classes[[2, 5, 9]], [0, 1])
    assert chosen == alone
    assert chosen["zero_shot/chance_top1"].value == pytest.approx(1 / 3)
    with pytest.raises(LucidaError, match="class 5 is the label of a picture but no candidate"):
        zero_shot_metrics(images, classes, labels, candidates=[2, 9])


def test_unbalanced_classes_get_a_class_mean() -> None:
    classes = torch.eye(3)
    images = classes[[0, 0, 0, 0, 1, 0]]
    metrics = zero_shot_metrics(images, classes, [0, 0, 0, 0, 1, 2])
    assert metrics["zero_shot/top1"].value == pytest.approx(5 / 6)
    assert metrics["zero_shot/top1_class_mean"].value == pytest.approx(2 / 3)
    assert metrics["zero_shot/majority_top1"].value == pytest.approx(4 / 6)


def test_views_of_one_picture_are_no_independent_evidence() -> None:
    classes = torch.eye(4)
    images, labels = classes[[0, 1, 2, 0]].repeat_interleave(10, 0), np.repeat([0, 1, 2, 3], 10)
    wide = zero_shot_metrics(images, classes, labels, clusters=labels.tolist())["zero_shot/top1"]
    narrow = zero_shot_metrics(images, classes, labels)["zero_shot/top1"]
    assert (wide.n, narrow.n, wide.value) == (4, 40, narrow.value)
    assert wide.ci95[0] < narrow.ci95[0] - 0.1


def test_bad_input_is_named() -> None:
    good = features(0, 4)
    with pytest.raises(LucidaError, match="image_features, row 2"):
        true_class_ranks(torch.where(torch.arange(4)[:, None] == 2, torch.nan, good), good, [0, 1, 2, 3])
    with pytest.raises(LucidaError, match="there are 4 classes"):
        true_class_ranks(good, good, [0, 1, 2, 4])
    with pytest.raises(LucidaError, match="do not fit"):
        true_class_ranks(good, good, [0])
    with pytest.raises(LucidaError, match=r"\[n, d\]"):
        true_class_ranks(good[0], good, [0])
