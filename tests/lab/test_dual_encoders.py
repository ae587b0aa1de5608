"""Small dual encoders: what they are shown, that they learn, that members at once are members one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lucida.lab.dual_encoders import (
    RETRIEVAL,
    SECOND_ARTIST,
    ZERO_SHOT,
    NamedArtwork,
    PacedEncoder,
    PairCourse,
    PairMember,
    Scoring,
    make_encoder,
    make_task,
    parts,
    shown,
    train_alike,
    train_pairs,
)
from lucida.lab.stack import SingleTrainer, Updates
from tests.lab.planted_artwork import planted_artwork

COURSE = PairCourse(batch_size=16, examples=640)


@pytest.fixture(scope="module")
def artwork() -> NamedArtwork:
    return planted_artwork(concepts=80)


def test_groups_are_held_out_whole_and_second_artists_are_not_shown(artwork: NamedArtwork) -> None:
    known = parts(artwork, 3)
    taught = set(artwork.groups[known.pairs[:, 1]])
    assert not taught & set(artwork.groups[known.unseen])
    assert not taught & set(artwork.groups[known.validation])
    assert not set(artwork.groups[known.unseen]) & set(artwork.groups[known.validation])
    assert set(known.second_artist) <= set(known.pairs[:, 1])
    assert not {(1, int(i)) for i in known.second_artist} & set(map(tuple, known.pairs.tolist()))
    assert len(known.unseen) + len(known.validation) + len(np.unique(known.pairs[:, 1])) == 80
    assert not np.array_equal(known.unseen, parts(artwork, 4).unseen)


def test_a_share_of_the_pictures_always_has_the_same_wrong_name(artwork: NamedArtwork) -> None:
    known = parts(artwork, 0)
    seen = shown(artwork, known, PairCourse(16, 16 * 50, wrong=0.25), 0)
    names = artwork.names.numpy()
    right = (names[seen.concept] == seen.text[:, None]).any(axis=1)
    by_picture: dict[tuple[int, int], set[bool]] = {}
    for artist, concept, true in zip(seen.artist, seen.concept, right, strict=True):
        by_picture.setdefault((artist, concept), set()).add(bool(true))
    assert all(len(found) == 1 for found in by_picture.values())
    assert len(by_picture) == len(known.pairs)
    wrong = sum(found == {False} for found in by_picture.values())
    assert wrong == round(0.25 * len(known.pairs))
    taught = set(names[np.unique(known.pairs[:, 1])].ravel())
    assert set(seen.text) <= taught  # a wrong name is no look at what is held out


def test_names_are_drawn_among_a_concepts_own(artwork: NamedArtwork) -> None:
    known, names = parts(artwork, 0), artwork.names.numpy()
    several = shown(artwork, known, PairCourse(16, 3200), 0)
    assert (names[several.concept] == several.text[:, None]).any(axis=1).all()
    assert (several.text != names[several.concept, 0]).mean() > 0.2
    first = shown(artwork, known, PairCourse(16, 3200, several_names=False), 0)
    assert np.array_equal(first.text, names[first.concept, 0])
    assert np.array_equal(first.concept, several.concept)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_they_learn_to_name_what_they_have_not_seen(artwork: NamedArtwork, loss: str) -> None:
    scoring = Scoring(loss)  # type: ignore[arg-type]
    found = train_pairs(artwork, PairCourse(16, 3200), [PairMember(seed, 3e-3, scoring) for seed in (0, 1)])
    assert found["alive"].all()
    assert (found["losses"][:, -1] < found["losses"][:, 0] / 2).all()
    assert (found[ZERO_SHOT] > 0.3).all()  # of 16
    assert (found[SECOND_ARTIST] > 0.3).all()  # of 80
    assert (found[RETRIEVAL] > 0.3).all()


def test_the_same_seed_trains_the_same(artwork: NamedArtwork) -> None:
    members = [PairMember(0, 1e-3), PairMember(0, 1e-3, Scoring("sigmoid"))]
    first, second = (train_pairs(artwork, COURSE, members) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["losses"][0], first["losses"][1])


def test_members_at_once_are_members_one_by_one(artwork: NamedArtwork) -> None:
    members = [PairMember(0, 1e-3), PairMember(1, 3e-3, start_scale=5.0)]
    together = train_alike(artwork, COURSE, members)
    for k, member in enumerate(members):
        known = parts(artwork, member.seed)
        encoder = make_encoder(artwork, known, member).eval()
        trainer = SingleTrainer(encoder, make_task(member.scoring), member.rate, Updates("adam"))
        seen = shown(artwork, known, COURSE, member.seed)
        artist, concept, text = (torch.from_numpy(np.ascontiguousarray(column)) for column in seen)
        for start in range(0, len(text), 16):
            part = slice(start, start + 16)
            image, words = artwork.pictures[artist[part], concept[part]], artwork.texts[text[part]]
            trainer.step({"image": {"features": image}, "text": {"features": words}, "ids": concept[part]})
        alone, stacked = encoder.state_dict(), together.encoder(k).state_dict()
        for name, tensor in alone.items():
            torch.testing.assert_close(stacked[name], tensor, rtol=2e-3, atol=2e-4, msg=name)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_scale_that_is_held_stays_and_a_learned_one_moves_at_its_pace(artwork: NamedArtwork, loss: str) -> None:
    def scales(**how: object) -> np.ndarray:
        scoring = Scoring(loss, **how)  # type: ignore[arg-type]
        return train_pairs(artwork, COURSE, [PairMember(0, 1e-3, scoring, start_scale=20.0)])["scales"][0]

    assert scales(learned=False) == pytest.approx(20.0, rel=1e-5)
    slow, quick = (abs(math.log(scales(pace=pace)[0] / 20)) for pace in (1.0, 10.0))  # after one step of Adam
    assert slow == pytest.approx(1e-3, rel=0.05)
    assert quick == pytest.approx(1e-2, rel=0.05)


def test_the_clamp_bounds_the_scale(artwork: NamedArtwork) -> None:
    known = parts(artwork, 0)
    member = PairMember(0, 1e-3, Scoring(max_logit_scale=100.0), start_scale=500.0)
    assert make_encoder(artwork, known, member).logit_scale.item() == pytest.approx(100.0)
    free = PairMember(0, 1e-3, Scoring(max_logit_scale=math.inf), start_scale=500.0)
    encoder = make_encoder(artwork, known, free)
    assert isinstance(encoder, PacedEncoder)
    assert encoder.logit_scale.item() == pytest.approx(500.0, rel=1e-5)
