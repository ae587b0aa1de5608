"""The dual encoder, its heads, and the pairs they train on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.augmentation import augmented_view, plain_view
from lucida.data.pairs import FeaturePairs
from lucida.models.dual_encoder import MAX_LOGIT_SCALE, DualEncoder, Head, HeadConfig, seeded_heads, with_examples

CONFIG = HeadConfig(embedding_size=16, hidden_size=32, dropout=0.0)


def build() -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder(Head(10, CONFIG), Head(6, CONFIG))


def test_features_have_length_one_and_logits_are_scaled_cosines():
    model = build()
    image, text = torch.randn(3, 10), torch.randn(5, 6)
    logits = model({"features": image}, {"features": text})
    assert logits.shape == (3, 5)
    torch.testing.assert_close(model.encode_image(features=image).norm(dim=-1), torch.ones(3))
    assert logits.abs().max() <= model.logit_scale + 1e-4


def test_the_temperature_is_clamped():
    model = build()
    with torch.no_grad():
        model.log_logit_scale.fill_(20.0)
    assert model.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE, rel=1e-5)


@pytest.mark.parametrize("start", [math.log(MAX_LOGIT_SCALE), 6.0])
def test_the_scale_leaves_its_bound_where_less_is_better(start):
    model = build()
    with torch.no_grad():
        model.log_logit_scale.fill_(start)
    for wanted, moves in ((150.0, False), (50.0, True)):
        model.zero_grad()
        (model.logit_scale - wanted).square().backward()
        assert (model.log_logit_scale.grad > 0) == moves
        assert (model.log_logit_scale.grad == 0) != moves


def test_pixels_without_a_tower_are_refused():
    with pytest.raises(LucidaError, match="vision tower"):
        build().encode_image(torch.zeros(1, 3, 8, 8))
    with pytest.raises(LucidaError, match="text tower"):
        build().encode_text(torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3))


def test_standardized_inputs_do_not_depend_on_units():
    torch.manual_seed(1)
    features = torch.randn(50, 10)
    first, second = Head(10, CONFIG), Head(10, CONFIG)
    second.load_state_dict(first.state_dict())
    first.standardize(features)
    second.standardize(features * 100 + 7)
    torch.testing.assert_close(first(features), second(features * 100 + 7), rtol=1e-2, atol=1e-2)


def test_examples_pull_their_class_and_no_other():
    names = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    seen = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    mixed = with_examples(names, seen, torch.tensor([1, 1, 2]), weight=2.0)
    torch.testing.assert_close(mixed[[0, 3]], names[[0, 3]])
    assert (mixed[2] @ seen[2]) > (names[2] @ seen[2])
    torch.testing.assert_close(with_examples(names, seen, torch.tensor([1, 1, 2]), weight=0.0), names)


def test_pairs_draw_views_and_true_texts():
    views = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4)
    texts = [np.array([0, 1]), np.array([2]), np.array([3, 4])]
    pairs = FeaturePairs(views, torch.arange(10.0).reshape(5, 2), texts, np.array([7, 8, 7]))
    drawn = [pairs.batch([0, 2], lambda k, s=s: stream(s, "draw", k)) for s in range(30)]
    assert {float(b["image"]["features"][0, 0]) for b in drawn} == {0.0, 12.0}
    assert {float(b["text"]["features"][1, 0]) for b in drawn} == {6.0, 8.0}
    assert drawn[0]["ids"].tolist() == [7, 7]
    with pytest.raises(LucidaError, match="without any text"):
        FeaturePairs(views, torch.zeros(5, 2), [*texts[:2], np.array([], int)], np.array([7, 8, 7]))


def test_views_are_seeded_and_over_white():
    rgba = torch.zeros(2, 32, 32, 4, dtype=torch.uint8)
    rgba[:, 8:24, 8:24] = torch.tensor([200, 30, 30, 255], dtype=torch.uint8)
    assert (plain_view(rgba, 16)[:, 0, 0] == 255).all()
    first, again, other = (augmented_view(rgba, 16, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (2, 16, 16, 3)
    assert first.dtype == torch.uint8


def test_fresh_heads_depend_on_their_seed_alone():
    first = seeded_heads(10, 6, CONFIG, 3).image_head.linear.weight
    torch.rand(5)
    again, other = (seeded_heads(10, 6, CONFIG, seed).image_head.linear.weight for seed in (3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
