"""Retrieval: by hand, by tile, with shared identities, and against encoders that know nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.evaluation.retrieval import retrieval_metrics, retrieval_ranks

WAYS = ("image_to_text", "text_to_image")


def features(seed: int, n: int, d: int = 5) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_a_perfect_encoder_scores_one_with_several_captions() -> None:
    pictures = features(0, 12)
    of_picture = np.repeat(np.arange(12), 3)
    metrics = retrieval_metrics(pictures, pictures[of_picture], of_picture, prefix="retrieval/here")
    for way in WAYS:
        for name in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank"):
            assert metrics[f"retrieval/here/{way}/{name}"].value == 1
        assert metrics[f"retrieval/here/{way}/chance_recall_at_1"].value == pytest.approx(1 / 12)
        assert metrics[f"retrieval/here/{way}/recall_at_1"].n == 12


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_a_constant_encoder_scores_nothing(value: float) -> None:
    constant = torch.full((30, 5), value)
    for pictures, captions in ((constant, constant), (features(0, 30), constant), (constant, features(1, 30))):
        metrics = retrieval_metrics(pictures, captions, tile=7)
        recalls = [metrics[f"retrieval/test/{way}/recall_at_1"].value for way in WAYS]
        assert max(recalls) <= 1 / 30
        assert min(recalls) == 0


@given(st.integers(0, 999), st.integers(1, 15), st.integers(1, 25), st.integers(1, 30))
def test_ranks_by_hand_by_tile_and_in_any_order(seed: int, n: int, m: int, tile: int) -> None:
    generator = np.random.default_rng(seed)
    query_ids = generator.integers(4, size=n)
    gallery_ids = np.concatenate([np.arange(4), generator.integers(5, size=m)])
    queries, gallery = features(seed, n).round(), features(seed + 1, m + 4).round()  # rounded: with ties
    ranks = retrieval_ranks(queries, gallery, query_ids, gallery_ids, tile=tile)
    unit = [torch.nn.functional.normalize(x.double(), dim=1) for x in (queries, gallery)]
    scores = (unit[0] @ unit[1].T).numpy()
    for row, own, rank in zip(scores, query_ids, ranks, strict=True):
        best = row[gallery_ids == own].max()
        assert rank == 1 + int((row[gallery_ids != own] >= best - 1e-9).sum())
    order, gallery_order = generator.permutation(n), generator.permutation(m + 4)
    moved = retrieval_ranks(queries[order], gallery[gallery_order], query_ids[order], gallery_ids[gallery_order])
    assert (moved == ranks[order]).all()


def test_pictures_of_one_identity_are_right_for_each_other() -> None:
    captions = torch.eye(4)
    pictures = captions[[1, 0, 2, 3]]  # the two pictures of "dog" have changed places
    strict = retrieval_metrics(pictures, captions)
    kind = retrieval_metrics(pictures, captions, identities=["dog", "dog", "cat", "cow"])
    for way in WAYS:
        assert strict[f"retrieval/test/{way}/recall_at_1"].value == 0.5
        assert kind[f"retrieval/test/{way}/recall_at_1"].value == 1
        assert kind[f"retrieval/test/{way}/recall_at_1"].n == 3
        assert kind[f"retrieval/test/{way}/chance_recall_at_1"].value == pytest.approx((2 * 2 + 1 + 1) / 16)


def test_a_picture_without_captions_only_distracts() -> None:
    metrics = retrieval_metrics(torch.eye(3)[[0, 1, 0]], torch.eye(3)[[0, 1]], [0, 1])
    assert metrics["retrieval/test/image_to_text/recall_at_1"].value == 1
    assert metrics["retrieval/test/image_to_text/recall_at_1"].n == 2
    assert metrics["retrieval/test/text_to_image/recall_at_1"].value == 0.5  # a tie counts against the model


@given(st.integers(0, 200))
def test_values_lie_in_their_intervals_and_recall_grows(seed: int) -> None:
    of_picture = np.random.default_rng(seed).integers(12, size=30)
    metrics = retrieval_metrics(features(seed, 12), features(seed + 1, 30), of_picture)
    for metric in metrics.values():
        assert metric.ci95 is None or metric.ci95[0] <= metric.value <= metric.ci95[1]
    for way in WAYS:
        recalls = [metrics[f"retrieval/test/{way}/recall_at_{k}"].value for k in (1, 5, 10)]
        assert recalls == sorted(recalls)


def test_five_captions_of_a_picture_are_not_five_pictures() -> None:
    pictures = features(3, 40)
    wrong = pictures[np.r_[20:40, 20:40]]
    for copies, clusters in ((1, 40), (5, 40)):
        of_picture = np.repeat(np.arange(40), copies)
        metric = retrieval_metrics(pictures, wrong[of_picture], of_picture)["retrieval/test/text_to_image/recall_at_1"]
        assert (metric.value, metric.n) == (0.5, clusters)
        assert metric.ci95 == pytest.approx((0.352, 0.648), abs=0.01)


def test_bad_input_is_named() -> None:
    with pytest.raises(LucidaError, match="retrieval query 1"):
        retrieval_ranks(torch.eye(2), torch.eye(2), [0, 7], [0, 1])
    with pytest.raises(LucidaError, match="do not fit"):
        retrieval_ranks(torch.eye(2), torch.eye(3), [0, 1], [0, 1, 2])
    for of_picture in ([0], [0, 2], [-1, 0]):
        with pytest.raises(LucidaError, match="captions do not fit"):
            retrieval_metrics(torch.eye(2), torch.eye(2), of_picture)
    with pytest.raises(LucidaError, match="gallery, row 0"):
        retrieval_ranks(torch.eye(2), torch.full((2, 2), torch.inf), [0, 1], [0, 1])
