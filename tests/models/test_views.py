"""Features of views: the tower's own on the views themselves, the same for a picture whoever asks, and cached."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.picture_augmentation import PRESETS, draws
from lucida.models.features import vision_features
from lucida.models.towers import VisionFeatures
from lucida.models.views import balanced_views, view_features


class Tower(nn.Module):
    """A tiny tower that counts the pictures it sees."""

    name, image_size, hidden_size, pooled_size, grid_tokens = "tiny", 16, 4, 4, 16

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, stride=4)
        self._seen = []

    def preprocess(self, pixels):
        return pixels.permute(0, 3, 1, 2).float() / 255

    def forward(self, pixel_values):
        self._seen.append(len(pixel_values))
        x = self.conv(pixel_values)
        return VisionFeatures(x.amax((2, 3)), x.flatten(2).transpose(1, 2))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return Tower()


PIXELS = np.random.default_rng(0).integers(0, 256, (21, 16, 16, 3), np.uint8)
ALL = PRESETS["all"]


def test_views_are_the_towers_features_of_augmented_pictures(tower):
    features = view_features(tower, PIXELS, ALL, 3, 5, key="k")
    assert features.shape == (3, 21, 4)
    assert features.dtype == np.float16
    assert not features.flags.writeable
    assert isinstance(features, np.memmap)
    assert (features[0] == vision_features(tower, PIXELS, key="k")).all()
    for view in (1, 2):
        numbers = np.stack([draws(stream(5, "views", view, row)) for row in range(21)])
        pictures = ALL.view(torch.from_numpy(PIXELS), torch.from_numpy(numbers))
        with torch.no_grad():
            expected = tower(tower.preprocess(pictures)).pooled.numpy()
        np.testing.assert_allclose(features[view], expected, atol=4e-3)  # a level of grey where rounding differs


def test_a_picture_has_the_same_views_whoever_asks(tower):
    whole = view_features(tower, PIXELS, ALL, 3, 5, key="k")
    rows = np.array([17, 3, 3, 20])
    some = view_features(tower, PIXELS, ALL, 3, 5, key="k", rows=rows, batch=3)
    np.testing.assert_allclose(some, whole[:, rows], atol=4e-3)


def test_what_is_known_is_not_computed_again(tower):
    first = np.array(view_features(tower, PIXELS, ALL, 2, 5, key="k"))
    assert sum(tower._seen) == 2 * 21
    again = view_features(tower, PIXELS, ALL, 2, 5, key="k")
    assert sum(tower._seen) == 2 * 21
    assert (again == first).all()
    more = view_features(tower, PIXELS, ALL, 3, 5, key="k")
    assert sum(tower._seen) == 3 * 21  # one view more
    assert (more[:2] == first).all()
    view_features(tower, PIXELS, ALL, 4, 5, key="k", rows=[2, 4])
    assert sum(tower._seen) == 3 * 21 + 3 * 2


@pytest.mark.parametrize("change", ["seed", "augmentation", "key", "pixels", "rows", "weights"])
def test_whatever_matters_makes_other_features(tower, change):
    options = {"pixels": PIXELS, "augmentation": ALL, "views": 2, "seed": 5, "key": "k", "rows": np.arange(5)}
    first = np.array(view_features(tower, **options))
    if change == "weights":
        tower.conv.weight.data.mul_(2)
    else:
        options |= {
            "seed": {"seed": 6},
            "augmentation": {"augmentation": PRESETS["rotate"]},
            "key": {"key": "other", "pixels": 255 - PIXELS},
            "pixels": {"pixels": PIXELS[:12]},
            "rows": {"rows": np.arange(5)[::-1]},
        }[change]
    seen = sum(tower._seen)
    other = view_features(tower, **options)
    assert sum(tower._seen) > seen
    if change == "pixels":
        np.testing.assert_allclose(other, first, atol=4e-3)
    else:
        assert (other[1] != first[1]).any()


def test_views_of_another_size_and_no_rows(tower):
    larger = dataclasses.replace(ALL, size=32)
    assert view_features(tower, PIXELS, larger, 2, 0, key="k", rows=[1, 2]).shape == (2, 2, 4)
    assert view_features(tower, PIXELS, ALL, 1, 0, key="k").shape == (1, 21, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 0}, "0 views of a picture"),
        ({"views": 2, "rows": [0, 21]}, "rows must be numbers of the 21 pictures"),
        ({"views": 2, "rows": [-1]}, "rows must be numbers of the 21 pictures"),
        ({"views": 2, "rows": []}, "rows must be numbers of the 21 pictures"),
        ({"views": 2, "rows": [[1]]}, "rows must be numbers of the 21 pictures"),
    ],
)
def test_bad_input_is_one_line(tower, options, message):
    with pytest.raises(LucidaError, match=message):
        view_features(tower, PIXELS, ALL, seed=0, key="k", **options)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=12).filter(any), st.integers(1, 30))
def test_every_class_reaches_the_largest_or_the_limit(counts, most):
    numbers = balanced_views(counts, most)
    for count, number in zip(counts, numbers, strict=True):
        assert number == 0 if count == 0 else (number == most or number * count >= max(counts))
        assert count == 0 or (number - 1) * count < max(counts)  # none too many
    assert numbers[int(np.argmax(counts))] == 1


@pytest.mark.parametrize(("counts", "most"), [([], 2), ([3, -1], 2), ([[1]], 2), ([3], 0)])
def test_impossible_counts_are_refused(counts, most):
    with pytest.raises(LucidaError):
        balanced_views(counts, most)
