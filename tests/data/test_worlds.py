from __future__ import annotations

import pytest

from lucida.core.errors import LucidaError
from lucida.data.kinds import all_kinds
from lucida.data.scenes import SceneConfig
from lucida.data.sprites import shape_artwork
from lucida.data.worlds import build_world, halves_of_held_out

CONCEPTS = [kind.concept for kind in all_kinds()]
ARTWORK = shape_artwork(CONCEPTS, size=24)


def test_half_of_the_kinds_have_held_out_pictures():
    held_out = {(concept, "second") for concept in CONCEPTS[::2]}
    world = build_world(ARTWORK, SceneConfig(kinds=96), held_out=held_out)
    assert len(set(world.names)) == 96
    assert len(world.vocabulary("test_second_artist")) == 48
    concepts = {kind.name: kind.concept for kind in world.kinds}
    assert all((concepts[name], artist) in held_out for name, artist in world.held_out)
    assert {(t.kind, t.artist) for t in world.draw("test_second_artist", 0).objects} <= world.held_out
    assert build_world(ARTWORK, SceneConfig(kinds=96), held_out=held_out).names == world.names
    assert build_world(ARTWORK, SceneConfig(kinds=96), held_out=held_out, seed=1).names != world.names


def test_concepts_never_seen_in_training_are_no_kinds():
    unseen = set(CONCEPTS[::3])
    held_out = {(concept, artist) for concept in unseen for artist in ("first", "second")}
    world = build_world(ARTWORK, SceneConfig(kinds=60), held_out=held_out)
    assert not unseen & {kind.concept for kind in world.kinds}
    assert not world.held_out


def test_too_little_artwork_is_an_error():
    with pytest.raises(LucidaError, match="artwork for"):
        build_world(shape_artwork(CONCEPTS[:10]), SceneConfig(kinds=96))


def test_halves_of_the_held_out_pictures_share_no_kind():
    held_out = {(concept, "second") for concept in CONCEPTS[::2]}
    world = build_world(ARTWORK, SceneConfig(kinds=60), held_out=held_out)
    taught, asked = halves_of_held_out(world)
    assert taught.held_out | asked.held_out == world.held_out
    names = [set(half.vocabulary("test_second_artist")) for half in (taught, asked)]
    assert not names[0] & names[1]
    assert abs(len(names[0]) - len(names[1])) <= 1
    for half, own in zip((taught, asked), names, strict=True):
        for index in range(20):
            for thing in half.draw("test_second_artist", index).objects:
                assert thing.kind in own
                assert (thing.kind, thing.artist) in world.held_out


def test_one_kind_cannot_be_halved():
    world = build_world(ARTWORK, SceneConfig(kinds=60), held_out={(CONCEPTS[0], "second")})
    with pytest.raises(LucidaError, match="not two kinds"):
        halves_of_held_out(world)
