"""Near-duplicates: the blocked search finds what comparing all with all finds, and never joins mere likeness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.evaluation import near_duplicates as module
from lucida.evaluation.near_duplicates import Groups, likeness_of, near_duplicates, sketch, small_pictures
from lucida.models.principal_components import principal_components, unit_rows


def corpus(n: int, copies: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and pixels of unlike pictures, and copies of the first ones with a little noise."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, 40)) + 3
    pixels = generator.integers(0, 256, size=(n, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    features = np.concatenate([features, features[:copies] + 0.05 * generator.normal(size=(copies, 40))])
    noisy = np.clip(pixels[:copies] + generator.integers(-9, 10, size=(copies, 32, 32, 3)), 0, 255)
    return features.astype(np.float16), np.concatenate([pixels, noisy]).astype(np.uint8)


@pytest.mark.parametrize("dense", [0.0, 1.0])
@pytest.mark.parametrize("block", [7, 64, 2048])
def test_copies_are_found_whatever_the_blocks(block: int, dense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "_DENSE", dense)
    features, pixels = corpus(150, 20)
    components = principal_components(features, at_most=8)
    found = near_duplicates(features, lambda rows: pixels[rows], components, cosine=0.95, likeness=0.9)
    unit = unit_rows(components.centred(features))
    first, second = np.nonzero(np.triu(unit @ unit.T >= 0.95, 1))
    assert {(a, b) for a, b, _, _ in found.pairs} == set(zip(first.tolist(), second.tolist(), strict=True))
    assert [members.tolist() for members in found.members] == [[i, 150 + i] for i in range(20)]
    assert found.rejected == 0
    assert 0 < found.compared <= 1


@pytest.mark.parametrize("count", [2, 6])
def test_copies_of_one_picture_are_one_group(count: int) -> None:
    generator = np.random.default_rng(0)
    features = np.repeat(generator.normal(size=(1, 40)) + 3, count, axis=0) + 1e-3 * generator.normal(size=(count, 40))
    pixels = np.repeat(generator.integers(0, 256, size=(1, 32, 32, 3)).astype(np.uint8), count, axis=0)
    components = principal_components(features, at_most=8)
    found = near_duplicates(features, lambda rows: pixels[rows], components, cosine=0.95, likeness=0.9)
    assert [members.tolist() for members in found.members] == [list(range(count))]


def test_pictures_whose_pixels_differ_are_no_duplicates() -> None:
    features, pixels = corpus(100, 10)
    pixels[100:105] = pixels[50:55]
    components = principal_components(features, at_most=8)
    found = near_duplicates(features, lambda rows: pixels[rows], components, cosine=0.95, likeness=0.9)
    assert [members.tolist() for members in found.members] == [[i, 100 + i] for i in range(5, 10)]
    assert found.rejected == 5


def test_many_copies_need_few_links() -> None:
    features, pixels = np.tile(corpus(2, 0)[0], (300, 1)), np.tile(corpus(2, 0)[1], (300, 1, 1, 1))
    components = principal_components(features, at_most=2)
    found = near_duplicates(features, lambda rows: pixels[rows], components, cosine=0.9, likeness=0.9)
    assert [len(members) for members in found.members] == [300, 300]
    assert len(found.pairs) == 2 * 299


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_a_sketch_never_hides_a_pair(seed: int, dimensions: int) -> None:
    features = np.random.default_rng(seed).normal(size=(30, 25)) + 1
    components = principal_components(features, at_most=dimensions)
    own = sketch(features, components)
    unit = unit_rows(components.centred(features))
    assert ((own @ own.T) - unit @ unit.T >= -1e-5).all()
    assert np.square(own).sum(axis=1) == pytest.approx(np.ones(30), abs=1e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19))))
def test_union_find_makes_the_components_of_the_graph(links: list[tuple[int, int]]) -> None:
    groups, sets = Groups.of(20), [{i} for i in range(20)]
    for a, b in links:
        groups.join(a, b)
        joined = sets[a] | sets[b]
        for i in joined:
            sets[i] = joined
    assert groups.roots.tolist() == [min(own) for own in sets]


def test_likeness_is_blind_to_brightness_and_contrast() -> None:
    pixels = corpus(2, 0)[1].astype(float)
    small, other = (small_pictures(x.astype(np.uint8)) for x in (pixels, 0.6 * pixels + 40))
    assert likeness_of(small, other) == pytest.approx([1, 1], abs=1e-2)
    assert likeness_of(small, other[::-1])[0] < 0.5
    white, black = np.full((1, 16, 16, 3), 250.0), np.zeros((1, 16, 16, 3))
    assert [likeness_of(white, x)[0] for x in (white, black, small[:1])] == [1, 0, 0]


def test_what_other_pictures_reach_leaves_copies_out() -> None:
    features, pixels = corpus(150, 20)
    components = principal_components(features, at_most=8)
    unit = unit_rows(components.centred(features))
    others = unit @ unit.T - 2 * np.eye(170)
    for i in range(20):
        others[i, 150 + i] = others[150 + i, i] = -1
    reached = module.usual_nearness(features, lambda rows: pixels[rows], components, likeness=0.9, quantile=1.0)
    assert reached == pytest.approx(others[20:150].max(), abs=1e-3)  # nearest to the first ones are their copies
    alike = np.tile(pixels[:1], (170, 1, 1, 1))
    assert module.usual_nearness(features, lambda rows: alike[rows], components, likeness=0.9) == 0
