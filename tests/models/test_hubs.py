"""Offsets of classes that are near to everything."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from lucida.models.hubs import extend_classes, extend_pictures, hub_offsets


def test_offsets_are_the_mean_of_the_highest_scores():
    scores = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.1, 0.2]])
    torch.testing.assert_close(hub_offsets(scores, weight=0.5, neighbours=2), torch.tensor([0.4, 0.125]))
    torch.testing.assert_close(hub_offsets(scores, weight=0.0), torch.zeros(2))


def test_a_score_that_does_not_count_is_left_out():
    scores = torch.tensor([[-torch.inf, 0.4], [0.2, 0.4]])
    assert hub_offsets(scores, weight=1.0, neighbours=1).tolist() == torch.tensor([0.2, 0.4]).tolist()
    assert hub_offsets(scores, weight=1.0, neighbours=2).isfinite().all()


def test_cosines_of_extended_vectors_rank_as_corrected_dot_products():
    torch.manual_seed(0)
    pictures, classes = normalize(torch.randn(50, 8), dim=1), normalize(torch.randn(20, 8), dim=1)
    offsets = torch.rand(20)
    extended = extend_classes(classes, offsets, length=2.0)
    torch.testing.assert_close(extended.norm(dim=1), torch.full((20,), 2.0))
    cosines = normalize(extend_pictures(pictures), dim=1) @ normalize(extended, dim=1).T
    assert (cosines.argmax(dim=1) == (pictures @ classes.T - offsets).argmax(dim=1)).all()
