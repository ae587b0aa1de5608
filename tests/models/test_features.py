"""Cached features: equal to the tower's own, found again, and made anew when anything that matters changes."""

import numpy as np
import pytest
import torch
from torch import nn

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.models.features import evaluating, fingerprint, vision_features
from lucida.models.towers import VisionFeatures, VisionTower


class Tower(nn.Module):
    """A tiny tower with dropout, which must not act, and a count of calls."""

    name, image_size, hidden_size, pooled_size, grid_tokens = "tiny", 8, 4, 4, 16

    def __init__(self, scale=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2, stride=2)
        self.dropout = nn.Dropout(0.5)
        self.scale = scale
        self._calls = []

    def preprocess(self, pixels):
        return pixels.permute(0, 3, 1, 2).float() / 255

    def forward(self, pixel_values):
        self._calls.append(len(pixel_values))
        x = self.dropout(self.conv(pixel_values)) * self.scale
        return VisionFeatures(x.mean((2, 3)), x.flatten(2).transpose(1, 2))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return Tower()


@pytest.fixture(scope="module")
def pixels():
    array = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(("what", "shape"), [("pooled", (11, 4)), ("grid", (11, 16, 4))])
def test_features_are_the_towers_own(tower, pixels, what, shape):
    assert isinstance(tower, VisionTower)
    features = vision_features(tower.train(), pixels, key="k", what=what, batch=4)
    assert features.shape == shape
    assert features.dtype == np.float16
    assert not features.flags.writeable
    assert tower.training
    with torch.no_grad():
        expected = getattr(tower.eval()(tower.preprocess(torch.from_numpy(pixels.copy()))), what)
    assert np.allclose(features, expected.numpy(), atol=2e-3)


def test_features_are_computed_once(tower, pixels):
    first = vision_features(tower, pixels, key="k")
    calls = len(tower._calls)
    second = vision_features(tower, pixels, key="k")
    assert len(tower._calls) == calls
    assert (first == second).all()


def test_another_key_weight_setting_kind_or_size_is_computed_anew(tower, pixels):
    vision_features(tower, pixels, key="k")

    def is_new(tower, pixels=pixels, **options):
        tower._calls.clear()
        vision_features(tower, pixels, **{"key": "k", **options})
        return bool(tower._calls)

    assert not is_new(tower)
    assert is_new(tower, key="other")
    assert is_new(tower, what="grid")
    assert is_new(tower, pixels[:5])
    tower.scale = 2.0
    assert is_new(tower)
    tower.scale = 1.0
    assert not is_new(tower)
    with torch.no_grad():
        tower.conv.bias[0] += 1e-3
    assert is_new(tower)


def test_training_mode_and_frozen_parts_do_not_change_the_fingerprint(tower):
    before = fingerprint(tower)
    assert fingerprint(tower.eval().requires_grad_(False)) == before


def test_fingerprint_covers_scalars_and_small_types():
    class Odd(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("scalar", torch.tensor(value), persistent=False)
            self.small = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))

    assert fingerprint(Odd(1)) == fingerprint(Odd(1)) != fingerprint(Odd(2))


def test_requests_that_make_no_sense_are_refused(tower, pixels):
    with pytest.raises(LucidaError, match="uint8"):
        vision_features(tower, pixels.astype(np.float32), key="k")
    with pytest.raises(LucidaError, match="'places'"):
        vision_features(tower, pixels, key="k", what="places")
    with pytest.raises(LucidaError, match="batch of 0"):
        vision_features(tower, pixels, key="k", batch=0)


def test_features_that_do_not_fit_are_refused_and_leave_no_file(tower, pixels, tmp_path):
    tower.scale = 1e8
    with pytest.raises(NonFiniteError, match="pooled features of tiny"):
        vision_features(tower, pixels, key="k")
    assert not [*(tmp_path / "features").glob("*")]


def test_modes_return_after_an_error(tower):
    tower.train()
    tower.dropout.eval()

    def fail():
        with evaluating(tower):
            assert not tower.training
            assert torch.is_inference_mode_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tower.training, tower.dropout.training) == (True, False)
    assert not torch.is_inference_mode_enabled()
