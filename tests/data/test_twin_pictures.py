"""Twin pictures: what is taken out, what is left alone, and what fills the hole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.data.galleries import SceneGallery
from lucida.data.truth import Box, Facts, PictureObject
from lucida.data.twin_pictures import LARGEST, SMALLEST, find_twins, overlap, twin_pixels, without
from tests.data.test_scenes import WORLD

boxes = st.builds(
    Box, *(st.floats(0, 60) for _ in range(2)), *(st.floats(1, 60) for _ in range(2))
)  # of a picture of 120 x 120


def facts(*objects: tuple[str, Box | None], size: float = 120) -> Facts:
    return Facts(tuple(PictureObject(name, box) for name, box in objects), size, size, exhaustive=True)


@given(st.lists(st.tuples(st.sampled_from("abc"), boxes), max_size=5), st.integers(1, 3))
def test_a_twin_is_the_only_one_of_its_name_and_its_control_is_beside_it(
    listed: list[tuple[str, Box]], each: int
) -> None:
    one = facts(*listed)
    found = find_twins([Facts(), one], each=each, seed=3)
    assert found == find_twins([Facts(), one], each=each, seed=3)
    assert len(found) <= each
    for twin in found:
        thing = one.only(twin.name)
        assert thing is not None
        assert thing.box is not None
        assert twin.picture == 1
        assert SMALLEST <= thing.box.width * thing.box.height / 120**2 <= LARGEST
        assert overlap(twin.hole, thing.box) == pytest.approx(thing.box.width * thing.box.height)
        assert overlap(twin.hole, twin.elsewhere) == 0
        assert (twin.hole.width, twin.hole.height) == (twin.elsewhere.width, twin.elsewhere.height)
        for box in (twin.hole, twin.elsewhere):
            assert box.x >= 0
            assert box.y >= 0
            assert box.x + box.width <= 120 + 1e-9
            assert box.y + box.height <= 120 + 1e-9


def test_what_has_no_twin() -> None:
    half = Box(0, 0, 120, 60)
    unclear = [
        facts(("a", None)),
        facts(("a", half)),
        facts(("a", Box(0, 0, 2, 2))),
        facts(("a", Box(1, 1, 30, 30)), ("a", half)),
    ]
    assert find_twins(unclear) == []
    assert find_twins([Facts((PictureObject("a", Box(1, 1, 30, 30)),), exhaustive=True)]) == []  # its size is not known


def test_the_control_avoids_other_objects() -> None:
    left = Box(0, 0, 60, 120)
    twin = find_twins([facts(("a", Box(70, 50, 20, 20)), ("b", left))])[0]
    assert twin.name == "a"
    assert overlap(twin.elsewhere, left) == 0


@given(boxes)
def test_pixels_outside_stay_and_even_ground_is_restored(hole: Box) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (121, 119, 3), dtype=np.uint8)
    filled = without(pixels, hole)
    rows, columns = np.indices(pixels.shape[:2])
    inside = (
        (columns + 1 > hole.x) & (columns < hole.x + hole.width) & (rows + 1 > hole.y) & (rows < hole.y + hole.height)
    )
    np.testing.assert_array_equal(filled[~inside], pixels[~inside])
    even = np.full_like(pixels, 77)
    even[inside] = 200
    np.testing.assert_array_equal(without(even, hole), 77)


def test_a_slope_goes_on_through_the_hole() -> None:
    slope = np.repeat(np.linspace(40, 220, 96)[None, :, None], 96, axis=0).repeat(3, axis=2).astype(np.uint8)
    marked = slope.copy()
    marked[30:60, 30:60] = 0
    filled = without(marked, Box(30, 30, 30, 30))
    assert np.abs(filled.astype(int) - slope).max() < 25


def test_a_hole_as_large_as_the_picture_is_grey() -> None:
    assert (without(np.zeros((8, 8, 3), np.uint8), Box(0, 0, 8, 8)) == 128).all()


def test_a_twin_scene_changes_where_its_object_was_and_nowhere_else() -> None:
    world = WORLD
    gallery = SceneGallery(world, "test", 12)
    found = twin_pixels(gallery, 8, seed=1)
    assert 4 <= len(found.names) <= 8
    assert found.pixels.shape == (3, len(found.names), world.config.size, world.config.size, 3)
    np.testing.assert_array_equal(found.pixels[0], gallery.pixels(found.pictures))
    for i, (number, name) in enumerate(zip(found.pictures, found.names, strict=True)):
        thing = gallery.facts(number).only(name)
        assert thing is not None
        assert thing.box is not None
        rows, columns = (
            slice(int(start), int(start + side) + 1)
            for start, side in ((thing.box.y, thing.box.height), (thing.box.x, thing.box.width))
        )
        changed = (found.pixels[1, i] != found.pixels[0, i]).any(axis=-1)
        assert changed[rows, columns].any()
        changed[rows, columns] = False
        assert not changed.any()
        assert (found.pixels[2, i] != found.pixels[0, i]).any()
