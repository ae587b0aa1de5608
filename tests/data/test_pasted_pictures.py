"""Twin pictures with an object put in: what is cut, where it goes, and what its border does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.data.galleries import SceneGallery
from lucida.data.pasted_pictures import cut, find_pastes, pasted_pixels, pasted_scenes, with_patch
from lucida.data.truth import Box, Facts, PictureObject
from lucida.data.twin_pictures import SMALLEST, overlap
from tests.data.test_scenes import WORLD, assert_visible

boxes = st.builds(Box, *(st.floats(0, 60) for _ in range(2)), *(st.floats(1, 60) for _ in range(2)))
pictures = st.lists(st.lists(st.tuples(st.sampled_from("abcd"), boxes), max_size=4), min_size=2, max_size=5)


def facts(*objects: tuple[str, Box | None], size: float = 120, exhaustive: bool = True) -> Facts:
    return Facts(tuple(PictureObject(name, box) for name, box in objects), size, size, exhaustive=exhaustive)


class Photographs:
    """Pictures whose ground and objects are even, ``40 (i + 1)`` and ``200 + i`` in picture ``i``."""

    def __init__(self, known: list[Facts], size: int = 120):
        self.known = known
        self.own = np.stack([np.full((size, size, 3), 40 * (i + 1), np.uint8) for i in range(len(known))])
        for i, one in enumerate(known):
            for box in (thing.box for thing in one.objects if thing.box):
                rows, columns = slice(int(box.y), int(box.y + box.height)), slice(int(box.x), int(box.x + box.width))
                self.own[i, rows, columns] = 200 + i

    def __len__(self) -> int:
        return len(self.known)

    def facts(self, i: int) -> Facts:
        return self.known[i]

    def pixels(self, numbers: list[int]) -> np.ndarray:
        return np.array(self.own[list(numbers)])


@given(pictures, st.integers(0, 9))
def test_what_goes_in_was_absent_and_covers_nothing_that_is_there(
    listed: list[list[tuple[str, Box]]], seed: int
) -> None:
    known = [facts(*objects, size=120 + 30 * i) for i, objects in enumerate(listed)]
    found = find_pastes(known, seed=seed)
    assert found == find_pastes(known, seed=seed)
    assert len({paste.picture for paste in found}) == len(found)
    for paste in found:
        own, source = known[paste.picture], known[paste.source]
        assert paste.name not in own.counts
        cut_out = source.only(paste.name)
        assert cut_out is not None
        assert cut_out.box is not None
        assert overlap(paste.crop, cut_out.box) == pytest.approx(cut_out.box.width * cut_out.box.height)
        assert overlap(paste.other, cut_out.box) == 0
        assert (paste.other.width, paste.other.height) == (paste.crop.width, paste.crop.height)
        assert all(overlap(paste.place, thing.box) < 1e-6 for thing in own.objects if thing.box)
        assert min(paste.place.x, paste.place.y) >= 0
        assert max(paste.place.x + paste.place.width, paste.place.y + paste.place.height) <= own.width + 1e-9
        assert paste.place.width * paste.place.height >= SMALLEST * own.width * own.height
        assert paste.place.width * paste.crop.height == pytest.approx(paste.place.height * paste.crop.width)


def test_what_cannot_be_put_in() -> None:
    small = Box(10, 10, 30, 30)
    source, empty = facts(("a", small)), facts()
    assert [paste.picture for paste in find_pastes([source, empty])] == [1]
    unclear = [
        facts(exhaustive=False),  # it may be there, not listed
        facts(("a", small)),
        facts(("b", None)),  # it might cover this one
        facts(("b", Box(0, 0, 120, 120))),
        Facts(exhaustive=True),  # its size is not known
        Facts((), 120, 120, exhaustive=True, uncounted=("a",)),
    ]
    for other in unclear:
        assert find_pastes([source, other]) == []
    assert find_pastes([facts(("a", small), exhaustive=False), empty]) == []  # the control might show another one


def test_an_object_is_made_smaller_where_there_is_little_room() -> None:
    source = facts(("a", Box(10, 10, 40, 40)))
    (paste,) = find_pastes([source, facts(("b", Box(0, 0, 120, 90)))])
    assert paste.place.height <= 30 < paste.crop.height


@given(boxes, st.integers(1, 50), st.integers(1, 50))
def test_a_patch_changes_its_place_alone(place: Box, height: int, width: int) -> None:
    pixels = np.full((121, 120, 3), 50, np.uint8)
    found = with_patch(pixels, np.full((height, width, 3), 200, np.uint8), place)
    changed = (found != pixels).any(axis=-1)
    rows, columns = np.indices(changed.shape)
    near = (np.abs(columns + 0.5 - place.x - place.width / 2) <= place.width / 2 + 1) & (
        np.abs(rows + 0.5 - place.y - place.height / 2) <= place.height / 2 + 1
    )
    assert not (changed & ~near).any()
    assert found.min() >= 50
    assert found.max() <= 200
    assert (pixels == 50).all()  # it is a copy


def test_the_middle_is_the_patch_and_the_border_is_soft() -> None:
    found = with_patch(np.zeros((100, 100, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8), Box(20, 20, 60, 60))
    assert (found[35:65, 35:65] == 200).all()
    line = found[50, 20:50, 0].astype(int)
    assert line[0] < 20
    assert (np.diff(line) >= 0).all()
    assert np.diff(line).max() < 100
    assert (found[20, 20] == 0).all()  # corners are left out


def test_photographs_get_the_crop_of_another_one() -> None:
    gallery = Photographs([facts(("a", Box(10, 10, 30, 30))), facts(("b", Box(60, 60, 25, 30)))])
    found = pasted_pixels(gallery, 8, seed=1)
    assert (found.pictures, found.names) == ((0, 1), ("b", "a"))
    np.testing.assert_array_equal(found.pixels[0], gallery.own)
    for i, paste in enumerate(find_pastes(gallery.known, seed=1)):
        middle = Box(paste.place.x + paste.place.width / 2, paste.place.y + paste.place.height / 2, 0.1, 0.1)
        assert (cut(found.pixels[1, i], middle) == 200 + paste.source).all()
        assert (cut(found.pixels[2, i], middle) == 40 * (paste.source + 1)).all()
    assert pasted_pixels(Photographs([facts(), facts()]), 3).names == ()


@given(st.sampled_from(["test", "test_second_artist", "test_unseen_pairs"]), st.integers(0, 10**5))
@settings(max_examples=40)
def test_a_scene_gets_an_absent_kind_and_its_control_one_that_is_there(stream: str, index: int) -> None:
    scene = WORLD.draw(stream, index)
    twins = pasted_scenes(WORLD, scene)
    assert twins == pasted_scenes(WORLD, scene)
    if twins is None:
        return
    twin, control = twins
    added, other = twin.objects[-1], control.objects[-1]
    assert twin.objects[:-1] == control.objects[:-1] == scene.objects
    assert added.kind not in scene.facts.counts
    assert other.kind in scene.facts.counts
    assert overlap(added.box, other.box) == other.box.width * other.box.height
    assert ((added.kind, added.artist) in WORLD.held_out) == (stream == "test_second_artist")
    strange = [WORLD.forbidden_pairs[WORLD.names.index(added.kind), WORLD.names.index(k)] for k in scene.facts.counts]
    assert stream == "test_unseen_pairs" or not any(strange)
    assert_visible(WORLD, twin)


def test_a_scene_changes_where_the_object_goes_and_nowhere_else() -> None:
    gallery = SceneGallery(WORLD, "test", 12)
    found = pasted_pixels(gallery, 8, seed=1)
    assert len(found.names) == 8
    assert found.pixels.shape == (3, 8, WORLD.config.size, WORLD.config.size, 3)
    np.testing.assert_array_equal(found.pixels[0], gallery.pixels(found.pictures))
    for i, (number, name) in enumerate(zip(found.pictures, found.names, strict=True)):
        twins = pasted_scenes(WORLD, gallery.scenes[number], seed=1)
        assert twins is not None
        box = twins[0].objects[-1].box
        assert twins[0].objects[-1].kind == name
        for k in (1, 2):
            changed = (found.pixels[k, i] != found.pixels[0, i]).any(axis=-1)
            assert changed.any()
            changed[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)] = False
            assert not changed.any()
