from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.grounds import PATTERNS, Ground, paint
from lucida.data.kinds import Kind, all_kinds, choose_kinds
from lucida.data.scenes import STREAMS, Scene, SceneConfig, SceneWorld
from lucida.data.sprites import SpriteSet, shape_artwork
from lucida.data.truth import Box, Facts, place, relation

CONTEXTS = ("farm", "sea", "market", "road")
TABLE = [kind for kind in all_kinds() if kind.context in CONTEXTS]
KINDS = choose_kinds([kind.concept for kind in TABLE], 24, seed=0, table=TABLE)
HELD_OUT = {(kind.name, "second") for kind in KINDS[::2]}


def make_world(seed: int = 0, **settings: float) -> SceneWorld:
    config = SceneConfig(kinds=len(KINDS), **settings)  # type: ignore[arg-type]  # mixed numbers
    sprites = SpriteSet(shape_artwork([kind.name for kind in KINDS]), config.sprite_sizes)
    return SceneWorld(sprites, KINDS, config, held_out=HELD_OUT, seed=seed)


WORLD = make_world()
scenes = st.builds(WORLD.draw, st.sampled_from(STREAMS), st.integers(0, 10**6))


@given(scenes)
def test_objects_lie_inside_the_picture_and_have_the_asked_sizes(scene):
    config = WORLD.config
    assert config.objects_min <= len(scene.objects) <= config.objects_max
    for thing in scene.objects:
        box = thing.box
        assert min(box.x, box.y) >= 0
        assert max(box.x + box.width, box.y + box.height) <= scene.size
        longer = max(box.width, box.height) / scene.size
        assert config.width_min <= longer <= config.width_max
    assert max(scene.facts.counts.values()) <= 4


def assert_visible(world: SceneWorld, scene: Scene) -> None:
    """At least three quarters of each object's own pixels are not under later objects: measured on the masks."""
    on_top = np.zeros((scene.size, scene.size), bool)
    for thing in reversed(scene.objects):
        box, mask = thing.box, world.mask(thing)
        assert mask.shape == (box.height, box.width)
        region = on_top[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)]
        assert (mask & ~region).sum() >= 0.75 * mask.sum()
        region |= mask


@given(scenes)
@settings(max_examples=50)
def test_every_object_stays_visible(scene):
    assert_visible(WORLD, scene)


def test_composing_changes_pixels_inside_the_boxes_only():
    for index in range(20):
        scene = WORLD.draw("train", index)
        empty = WORLD.compose(scene.without(0)) if len(scene.objects) == 1 else None
        ground = np.empty((scene.size, scene.size, 3), np.uint8)
        paint(scene.ground, ground)
        changed = (WORLD.compose(scene) != ground).any(axis=-1)
        outside = np.ones_like(changed)
        for thing in scene.objects:
            x, y, w, h = (int(v) for v in (thing.box.x, thing.box.y, thing.box.width, thing.box.height))
            assert changed[y : y + h, x : x + w].mean() > 0.1
            outside[y : y + h, x : x + w] = False
        assert not (changed & outside).any()
        assert empty is None or (empty == ground).all()


def test_a_twin_differs_only_where_the_object_was():
    scene = WORLD.draw("test", 3)
    box = scene.objects[-1].box
    different = (WORLD.compose(scene) != WORLD.compose(scene.without(len(scene.objects) - 1))).any(axis=-1)
    ys, xs = np.nonzero(different)
    assert ys.size
    assert box.x <= xs.min() <= xs.max() < box.x + box.width
    assert box.y <= ys.min() <= ys.max() < box.y + box.height


@given(scenes, st.sampled_from(WORLD.names))
@settings(max_examples=40)
def test_a_twin_with_another_object_shows_it(scene, kind):
    twin = WORLD.with_another(scene, kind)
    assert twin == WORLD.with_another(scene, kind)
    if twin is None:  # no room
        return
    assert twin.objects[:-1] == scene.objects
    assert twin.facts.counts[kind] == scene.facts.counts[kind] + 1
    assert (twin.objects[-1].kind, twin.objects[-1].artist) not in HELD_OUT
    different = (WORLD.compose(twin) != WORLD.compose(scene)).any(axis=-1)
    box = twin.objects[-1].box
    inside = different[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)]
    assert 0 < inside.sum() == different.sum()
    assert_visible(WORLD, twin)


def test_scenes_do_not_depend_on_the_order_or_on_another_world_object():
    again = make_world()
    forward = WORLD.draw_many("train", range(10))
    backward = again.draw_many("train", range(9, -1, -1))
    assert forward == backward[::-1]
    assert (WORLD.compose_many(forward) == again.compose_many(forward)).all()


def test_a_world_travels_to_another_process():
    again = pickle.loads(pickle.dumps(WORLD))
    scene = again.draw("test", 11)
    assert scene == WORLD.draw("test", 11)
    assert (again.compose(scene) == WORLD.compose(scene)).all()


@pytest.mark.parametrize("size", [32, 96, 224])
def test_worlds_of_other_sizes(size):
    world = make_world(size=size, objects_max=8)
    drawn = world.draw_many("train", range(20))
    pictures = world.compose_many(drawn)
    assert pictures.shape == (20, size, size, 3)
    out = np.zeros_like(pictures)
    assert world.compose_many(drawn, out) is out
    assert (out == pictures).all()
    for scene in drawn:
        assert_visible(world, scene)


def test_streams_and_seeds_share_no_scene():
    drawn = [WORLD.draw(stream, i).objects for stream in STREAMS for i in range(200)]
    other = make_world(seed=1)
    drawn += [other.draw("train", i).objects for i in range(200)]
    assert len(set(drawn)) == len(drawn)


def test_training_never_shows_held_out_artwork_or_forbidden_pairs():
    names = WORLD.names
    forbidden = {frozenset((names[i], names[j])) for i, j in zip(*np.nonzero(WORLD.forbidden_pairs), strict=True)}
    assert len(forbidden) == round(0.1 * 24 * 23 / 2)
    for stream, index in itertools.product(STREAMS, range(300)):
        scene = WORLD.draw(stream, index)
        pairs = {frozenset(pair) for pair in itertools.combinations(scene.facts.counts, 2)}
        shown = {(thing.kind, thing.artist) for thing in scene.objects}
        assert bool(pairs & forbidden) == (stream == "test_unseen_pairs") or stream == "test_second_artist"
        assert not pairs & forbidden or stream == "test_unseen_pairs"
        assert shown <= HELD_OUT if stream == "test_second_artist" else not shown & HELD_OUT


def test_knobs_skew_training_and_leave_the_tests_alone():
    skewed = make_world(co_occurrence_skew=1.0, concept_frequency=1.5)
    assert skewed.draw_many("test", range(20)) == WORLD.draw_many("test", range(20))
    contexts = {kind.name: kind.context for kind in KINDS}

    def one_context_share(world: SceneWorld) -> float:
        drawn = [set(world.draw("train", i).facts.counts) for i in range(300)]
        return float(np.mean([len({contexts[name] for name in names}) == 1 for names in drawn if len(names) == 2]))

    assert one_context_share(skewed) > one_context_share(WORLD) + 0.3
    shown = [thing.kind for i in range(500) for thing in skewed.draw("train", i).objects]
    most = max(set(shown), key=shown.count)
    assert skewed.names[int(skewed.statistics.frequency.argmax())] == most
    assert shown.count(most) > 0.15 * len(shown)


def test_statistics_agree_with_what_is_drawn():
    world = make_world(co_occurrence_skew=0.5, concept_frequency=0.8)
    drawn = [list(world.draw("train", i).facts.counts) for i in range(3000)]
    counted = type(world.statistics).count(drawn, world.names)
    expected = world.statistics
    assert np.corrcoef(counted.frequency, expected.frequency)[0, 1] > 0.9
    assert np.corrcoef(counted.together.ravel(), expected.together.ravel())[0, 1] > 0.85
    assert not counted.together[world.forbidden_pairs].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects_min": 5, "objects_max": 3}, "objects_min"),
        ({"width_min": 0.0}, "width_min"),
        ({"co_occurrence_skew": 1.5}, "co_occurrence_skew"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(LucidaError, match=message):
        SceneConfig(**change)


def test_impossible_requests_are_refused():
    crowded = make_world(objects_min=12, objects_max=12, width_min=0.4, width_max=0.5)
    with pytest.raises(LucidaError, match="do not fit"):
        crowded.draw("train", 0)
    with pytest.raises(LucidaError, match="no kind 'wombat'"):
        WORLD.with_another(WORLD.draw("test", 0), "wombat")
    with pytest.raises(LucidaError, match="unknown stream"):
        WORLD.draw("dev", 0)
    with pytest.raises(LucidaError, match="negative"):
        WORLD.draw("test", -1)
    one_artist = SpriteSet(shape_artwork([kind.name for kind in KINDS], ["first"]), SceneConfig().sprite_sizes)
    with pytest.raises(LucidaError, match="no artwork is held out"):
        SceneWorld(one_artist, KINDS, SceneConfig()).draw("test_second_artist", 0)
    with pytest.raises(LucidaError, match="no artwork for training"):
        SceneWorld(one_artist, [*KINDS, Kind("wheelbarrow")], SceneConfig())
    with pytest.raises(LucidaError, match="not prepared"):
        SceneWorld(one_artist, KINDS, SceneConfig(size=64))
    with pytest.raises(LucidaError, match="artwork for"):
        choose_kinds(["cat", "dog"], 3, seed=0)
    with pytest.raises(LucidaError, match="transparent"):
        SpriteSet({("cat", "first"): np.zeros((8, 8, 4), np.uint8)}, [4])


@pytest.mark.parametrize("n", [96, 24])
def test_kinds_are_spread_over_the_contexts(n):
    chosen = choose_kinds([kind.concept for kind in all_kinds()], n, seed=3)
    counts = [[kind.context for kind in chosen].count(context) for context in {kind.context for kind in all_kinds()}]
    assert sum(counts) == len({kind.name for kind in chosen}) == n
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("direction", range(4))
def test_grounds_use_their_two_colours(pattern, direction):
    canvas = np.zeros((32, 32, 3), np.uint8)
    paint(Ground(pattern, ((200, 10, 30), (100, 200, 90)), direction, 0.2, 5), canvas)
    assert (canvas >= (100, 10, 30)).all()
    assert (canvas <= (200, 200, 90)).all()
    assert (len(np.unique(canvas.reshape(-1, 3), axis=0)) > 1) == (pattern != "plain")


def test_pasting_is_the_exact_blend():
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (20, 20, 4), dtype=np.uint8)
    picture[[0, -1, 0, -1], [0, 0, -1, -1], 3] = 255  # nothing to crop
    sprite = SpriteSet({("cat", "first"): picture}, [20]).get("cat", "first", 20)
    canvas = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    alpha = picture[..., 3:] / 255
    expected = picture[..., :3] * alpha + canvas * (1 - alpha)
    sprite.paste(canvas, 0, 0)
    assert np.abs(canvas - expected).max() <= 0.51


boxes = st.builds(Box, st.floats(0, 90), st.floats(0, 90), st.floats(1, 10), st.floats(1, 10))
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", None: None}
MIRRORED = {"left": "right", "right": "left"}


@given(boxes, boxes)
def test_relations_are_opposite_from_the_other_side(box, other):
    assert relation(other, box, 100, 100) == OPPOSITE[relation(box, other, 100, 100)]


@given(boxes)
def test_places_mirror(box):
    mirrored = place(Box(100 - box.x - box.width, box.y, box.width, box.height), 100, 100)
    found = place(box, 100, 100)
    expected = found and " ".join(MIRRORED.get(word, word) for word in found.split())
    assert mirrored == expected


def test_nothing_is_clear_in_a_picture_of_unknown_size():
    scene = WORLD.draw("test", 0)
    facts = Facts(scene.facts.objects)
    assert not facts.places
    assert not facts.relations
