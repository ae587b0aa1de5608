"""Feature blocks, the kernel reader and the metric of pairs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from lucida.models.kernel_reader import FeatureBlocks, KernelReader, PairMetric


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_blocks_count_by_their_weight_whatever_their_length_and_unit():
    features = torch.cat([torch.randn(40, 6), 100 * torch.randn(40, 30) + 7], dim=1)
    blocks = FeatureBlocks([6, 30], [3.0, 1.0]).fit(features)(features)
    torch.testing.assert_close(blocks.norm(dim=1), torch.ones(40))
    torch.testing.assert_close(blocks[:, :6].norm(dim=1) ** 2, torch.full((40,), 0.75))


def test_a_constant_feature_is_harmless():
    features = torch.cat([torch.ones(10, 3), torch.randn(10, 3)], dim=1)
    assert FeatureBlocks([3, 3], [1.0, 1.0]).fit(features)(features).isfinite().all()


def test_the_reader_equals_a_refit_without_the_picture():
    pictures, texts = normalize(torch.randn(30, 8), dim=1), torch.randn(30, 5)
    reader = KernelReader(pictures.double(), texts.double(), ridge=0.1)
    rest = torch.arange(30) != 4
    kernel = (pictures[rest].double() @ pictures[rest].double().T - 1).exp() + 0.1 * torch.eye(29)
    weights = torch.linalg.solve(kernel, texts[rest].double() - texts.double().mean(dim=0))
    alone = normalize((pictures[[4]].double() @ pictures[rest].double().T - 1).exp() @ weights, dim=1)
    torch.testing.assert_close(reader.held_out[[4]], alone)


def test_the_reader_reads_what_it_was_fitted_to():
    pictures, texts = normalize(torch.randn(40, 16), dim=1), normalize(torch.randn(40, 5), dim=1)
    reader = KernelReader(pictures, texts, ridge=1e-3)
    assert ((reader(pictures) @ reader.texts(texts).T).argmax(dim=1) == torch.arange(40)).float().mean() > 0.95


def test_the_metric_ignores_what_artists_differ_in():
    things = torch.randn(60, 4)
    style = 5 * torch.randn(2, 60, 6)
    first, second = (torch.cat([things, s], dim=1) for s in style)
    metric = PairMetric(torch.cat([first, second]), first[:40], second[:40], size=10, shrinkage=1e-3)
    right = (metric(first[40:]) @ metric(second[40:]).T).argmax(dim=1) == torch.arange(20)
    plain = (normalize(first[40:], dim=1) @ normalize(second[40:], dim=1).T).argmax(dim=1) == torch.arange(20)
    assert right.float().mean() > 0.8 > plain.float().mean()


def test_the_metric_keeps_at_most_its_size_and_takes_fewer_pictures():
    pictures = torch.randn(6, 20)
    assert PairMetric(pictures, pictures[:2], pictures[2:4], size=3, shrinkage=1.0)(pictures).shape == (6, 3)
    assert PairMetric(pictures, pictures[:2], pictures[2:4], size=50, shrinkage=1.0)(pictures).shape[1] <= 6
