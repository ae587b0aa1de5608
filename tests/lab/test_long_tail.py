"""Skewed parts, remedies in stacks, and the page on the long tail."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.lab import datasets
from lucida.lab.datasets import Dataset, load
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments.long_tail import (
    CLAIMED_TAILS,
    DIGITS,
    LARGEST,
    TEST,
    VALIDATION,
    Tail,
    observe_recalls,
    record,
)
from lucida.lab.networks import Perceptron
from lucida.lab.observations import Observations
from lucida.lab.skew import AdjustedInTests, LinearHead, Skew, WithCosines, draw_order, with_new_head
from lucida.lab.stack import Updates
from lucida.lab.training import Member, Moment, Training, train_members
from lucida.training.imbalance import REMEDIES
from tests.lab.drawn_bench import whole_page

SKEW = Skew((40, 12, 4, 2), (5,) * 4, (6,) * 4)


def clusters(classes: int = 4, each: int = 80, width: int = 6) -> Dataset:
    """Pictures in pairs of one group, around a centre for each class."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(classes).repeat(each)
    centres = torch.randn(classes, width, generator=generator)
    inputs = centres[labels] + 0.7 * torch.randn(len(labels), width, generator=generator)
    groups = (
        np.repeat(np.arange(len(labels) // 2), 2)
        if classes == 1
        else labels.numpy() * 1000 + np.arange(len(labels)) // (2 * classes)
    )
    return Dataset("clusters", {"inputs": inputs}, labels, classes, groups, "made")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    data = clusters()
    monkeypatch.setitem(datasets.DATASETS, "clusters", lambda: data)
    return data


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_parts_have_the_counts_that_were_asked_for_and_share_no_group(seed: int) -> None:
    data = clusters()
    parts = SKEW.parts(data, seed)
    wanted = {"train": SKEW.train, "validation": SKEW.validation, "test": SKEW.test}
    groups = []
    for name, counts in wanted.items():
        rows = getattr(parts.split, name)
        assert torch.bincount(parts.names[data.labels[rows]], minlength=4).tolist() == list(counts)
        groups.append(set(data.groups[rows.numpy()]))
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert sorted(parts.names.tolist()) == [0, 1, 2, 3]


def test_seeds_draw_which_classes_are_rare_and_one_against_the_rest() -> None:
    data = clusters()
    assert len({tuple(SKEW.parts(data, seed).names.tolist()) for seed in range(8)}) > 2
    binary = Skew((60, 6), (20, 2), (30, 3))
    found = [binary.parts(data, seed) for seed in range(8)]
    assert len({int(parts.names.argmax()) for parts in found}) > 1
    for parts in found:
        assert parts.names.sum() == 1
        assert torch.bincount(parts.names[data.labels[parts.split.test]]).tolist() == [30, 3]
    with pytest.raises(LucidaError, match="too few examples"):
        Skew((40, 40, 40, 400), (5,) * 4, (6,) * 4).parts(data, 0)


@pytest.mark.parametrize("name", ["cross_entropy", "oversampling", "undersampling", "class_balanced_sampling"])
def test_batches_show_training_rows_as_the_remedy_samples_them(name: str) -> None:
    data = clusters()
    parts = SKEW.parts(data, 1)
    order = draw_order(data, parts, REMEDIES[name], 1, 100, 32)
    assert order.rows.shape == (100, 32)
    assert set(order.rows.flatten().tolist()) <= set(parts.split.train.tolist())
    assert not order.ways.any()
    shares = torch.bincount(parts.names[data.labels[order.rows.flatten()]]).double() / order.rows.numel()
    even = torch.full((4,), 0.25, dtype=torch.float64)
    prior = torch.tensor(SKEW.train).double() / sum(SKEW.train)
    torch.testing.assert_close(shares, prior if name == "cross_entropy" else even, atol=0.02, rtol=0)


def test_synthetic_examples_lie_between_an_example_and_a_neighbour_of_its_class() -> None:
    data = clusters()
    parts = SKEW.parts(data, 1)
    order = draw_order(data, parts, REMEDIES["smote"], 1, 40, 32)
    rows, partners, ways = (x.flatten() for x in order)
    assert set(partners.tolist()) <= set(parts.split.train.tolist())
    assert torch.equal(data.labels[rows], data.labels[partners])
    moved = ways > 0
    assert 0.3 < float(moved.double().mean()) < 0.8  # what an epoch shows for the first time stays
    most = parts.names[data.labels[rows]] == 0
    assert torch.equal(rows[most], partners[most])
    two = parts.names[data.labels[rows]] == 3  # a class of two: each is the other's neighbour
    assert bool((rows[two] != partners[two]).all())


@pytest.mark.parametrize("name", ["weighted", "ldam_drw", "smote", "logit_adjustment_loss"])
def test_members_of_a_stack_train_as_alone(made: Dataset, name: str) -> None:
    network = LinearHead(6, 4)
    chosen = WithCosines(network) if REMEDIES[name].head == "cosine" else network
    training = Training("clusters", 16, 30, 30, Updates("momentum"), skew=SKEW, remedy=REMEDIES[name])
    members = [Member(seed, 0.05, chosen) for seed in (0, 1, 2)]
    together, alone = train_members(training, members), train_members(training, members[1:2])
    assert together.batch_loss[1] == pytest.approx(alone.batch_loss[0], rel=1e-4, abs=1e-5)
    assert together.final("test_accuracy")[1] == alone.final("test_accuracy")[0]


def test_deferred_weights_set_in_at_the_end_of_training(made: Dataset) -> None:
    plain = Training("clusters", 16, 50, 50, skew=SKEW, remedy=REMEDIES["cross_entropy"])
    late = replace(plain, remedy=REMEDIES["cross_entropy_drw"])
    members = [Member(0, 0.05, LinearHead(6, 4))]
    a, b = (train_members(t, members).batch_loss[0] for t in (plain, late))
    assert np.array_equal(a[:40], b[:40])
    assert not np.allclose(a[40:], b[40:])


def test_only_the_head_is_trained_again(made: Dataset) -> None:
    network = Perceptron(6, 4, depth=2, width=8)
    first = Training("clusters", 16, 20, 20, skew=SKEW, remedy=REMEDIES["cross_entropy"])
    again = replace(
        first, before=(first, 0.1), head_alone=True, remedy=REMEDIES["class_balanced_sampling"], steps=30, every=30
    )  # fmt: skip
    seen = {}

    def look(moment: Moment) -> torch.Tensor:
        seen[moment.step] = {k: v.detach().clone() for k, v in moment.stack.stacked_parameters().items()}
        return torch.zeros(moment.stack.members)

    train_members(again, [Member(seed, 0.1, network) for seed in (0, 1)], observers={"look": look})
    for name, before in seen[0].items():
        assert torch.equal(before, seen[30][name]) != name.startswith("head."), name
    fresh = network.build(0)
    torch.testing.assert_close(seen[0]["head.weight"][0], fresh.head.weight.detach())  # type: ignore[union-attr]
    body = fresh.blocks[0].linear.weight  # type: ignore[union-attr,index]
    assert not torch.equal(seen[0]["blocks.0.linear.weight"][0], body)


def test_networks_of_the_remedies() -> None:
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    plain, cosine = LinearHead(6, 4).build(0), WithCosines(LinearHead(6, 4)).build(0)
    expected = F.cosine_similarity(x[:, None], plain.head.weight[None], dim=-1)  # type: ignore[union-attr,index]
    torch.testing.assert_close(cosine(x), expected)
    adjusted = AdjustedInTests(LinearHead(6, 4), SKEW.train).build(0)
    torch.testing.assert_close(adjusted.train()(x), plain(x))
    prior = torch.tensor(SKEW.train) / sum(SKEW.train)
    torch.testing.assert_close(adjusted.eval()(x), plain(x) - prior.log())
    retrained = with_new_head(Perceptron(6, 4, depth=1, width=3).build(0), Perceptron(6, 4, depth=1, width=3).build(1))
    copy.deepcopy(retrained)(x).sum().backward()
    assert torch.autograd.grad(retrained(x).sum(), list(retrained.parameters()), allow_unused=True)[0] is None


def test_a_remedy_needs_counts() -> None:
    with pytest.raises(LucidaError, match="without a skew"):
        Training("digits", 8, 1, 1, remedy=REMEDIES["weighted"])


def test_recalls_are_those_of_each_class_and_thirds_follow() -> None:
    tail = Tail(DIGITS, "step", 100)
    skew = tail.skew()
    assert skew.train == (LARGEST,) * 5 + (1,) * 5
    assert skew.test == (TEST,) * 10
    assert sum(skew.train) + 10 * (TEST + VALIDATION) <= len(load("digits").labels)
    training = Training("digits", 32, 60, 60, Updates("momentum"), skew=skew, remedy=REMEDIES["cross_entropy"])
    members = [Member(seed, 0.05, Perceptron(64, 10, depth=1, width=16)) for seed in (0, 1)]
    outcome = train_members(training, members, observers={"recalls": observe_recalls})
    recalls = outcome.observed["recalls"][:, -1]
    assert recalls.mean(axis=1) == pytest.approx(outcome.final("test_accuracy"))  # the test is balanced
    found = Observations()
    record(found, tail, "arm", recalls)
    assert found.numbers["most frequent third", "arm", str(tail)] == pytest.approx(recalls[:, :3].mean(axis=1))
    assert found.numbers["rarest third", "arm", str(tail)] == pytest.approx(recalls[:, -3:].mean(axis=1))
    assert recalls[:, :5].mean() > recalls[:, 5:].mean() + 0.3


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    features = replace(clusters(8, 200, 64), name="emoji features")
    monkeypatch.setitem(datasets.DATASETS, "emoji features", lambda: features)
    page = whole_page(monkeypatch, load_experiment("long-tail"), "quick", 300)
    tables = [d for d in page.drawings if d.kind == "table" and d.title.startswith("By frequency")]
    assert len(tables) == len(CLAIMED_TAILS)
    assert all(table.rows[-1][0] == "always the most frequent class" for table in tables)


def test_pictures_of_the_user_are_seen_by_the_tower_and_must_be_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from PIL import Image

    from lucida.lab.datasets import OWN_FEATURES, own_pictures, pictures_from
    from lucida.lab.experiments.long_tail import _why_not_own

    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for name, tint in (("blue", 2), ("red", 0)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(105):
            pixels = draw.integers(0, 120, (16, 16, 3), dtype=np.uint8)
            pixels[..., tint] += 120
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{k}.png")
    assert "no pictures were named" in str(_why_not_own())
    with pictures_from(tmp_path / "pictures"):
        features, pixels_alone = load(OWN_FEATURES), own_pictures()
        assert "the smallest class of your pictures has 105" in str(_why_not_own())
    assert torch.equal(features.labels, pixels_alone.labels)
    assert len(features.inputs["inputs"]) == 210
    centres = torch.stack([features.inputs["inputs"][features.labels == k].mean(dim=0) for k in range(2)])
    nearest = torch.cdist(features.inputs["inputs"], centres).argmin(dim=1)
    assert float((nearest == features.labels).double().mean()) > 0.95
