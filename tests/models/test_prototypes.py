"""Prototypes: logits as of the dual encoder, shrinkage that recovers what is planted, and heads in between."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from lucida.core.errors import LucidaError
from lucida.evaluation.zero_shot import class_embeddings
from lucida.models.dual_encoder import HeadConfig, seeded_heads
from lucida.models.prototypes import LinearHead, blended_prototypes, prior_strength, prototype_logits, text_prototypes


def planted(*, classes=60, d=48, within=0.6, between=0.3, counts=None, seed=0, scale=0.5):
    """Centres around ``offset + scale · text``, pictures around centres; both scatters are total, over ``d`` numbers.

    Rows have length one only nearly, as the space is made: the estimate must bear that.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(n, size):
        return size / d**0.5 * torch.randn(n, d, generator=generator)

    texts = normalize(torch.randn(classes, d, generator=generator), dim=-1)
    offset = torch.randn(d, generator=generator)
    if classes < d:  # as trained encoders have it: the gap favours no class
        offset -= texts.T @ torch.linalg.lstsq(texts.T, offset[:, None]).solution[:, 0]
    offset = 4 * normalize(offset, dim=-1)
    centres = offset + scale * texts + noise(classes, between)
    counts = torch.randint(1, 12, (classes,), generator=generator) if counts is None else torch.tensor(counts)
    labels = torch.repeat_interleave(torch.arange(classes), counts)
    return texts, centres, centres[labels] + noise(len(labels), within), labels


def test_logits_are_those_of_the_dual_encoder():
    model = seeded_heads(6, 5, HeadConfig(4, 8, 0.0), seed=0).eval()
    pictures, texts = torch.randn(7, 6), torch.randn(3, 5)
    with torch.no_grad():
        images, classes = model.encode_image(features=pictures), model.encode_text(features=texts)
        expected = model({"features": pictures}, {"features": texts})
        torch.testing.assert_close(prototype_logits(images, classes, model.logit_scale), expected)
        torch.testing.assert_close(prototype_logits(3 * images, 2 * classes, model.logit_scale), expected)
        torch.testing.assert_close(LinearHead.zero_shot(classes, model.logit_scale).logits(images), expected)


def test_text_prototypes_are_the_prompt_ensemble():
    features = {f"{prompt} {name}": torch.randn(5) for prompt in ("a", "the", "no") for name in ("cat", "dog")}

    def encode(texts):
        return torch.stack([features[text] for text in texts])

    ours = text_prototypes(encode, [[f"{prompt} {name}" for prompt in ("a", "the")] for name in ("cat", "dog")])
    torch.testing.assert_close(ours, class_embeddings(encode, ["cat", "dog"], ["a {}", "the {}"]))
    uneven = text_prototypes(encode, [["a cat", "the cat", "no cat"], ["a dog"]])
    torch.testing.assert_close(uneven[1], normalize(features["a dog"], dim=0))
    with pytest.raises(LucidaError, match="without any text"):
        text_prototypes(encode, [["a cat"], []])


def test_the_strength_is_that_of_the_planted_scatter():
    for within, between in ((0.6, 0.3), (0.4, 0.8), (1.0, 0.25)):
        texts, _, pictures, labels = planted(within=within, between=between, classes=300)
        expected = (within / between) ** 2
        assert prior_strength(texts, pictures, labels) == pytest.approx(expected, rel=0.25)


def test_texts_that_say_all_are_worth_any_number_of_pictures():
    texts, _, pictures, labels = planted(between=0.0, classes=200)
    assert prior_strength(texts, pictures, labels) > 25


def test_the_blend_is_nearer_to_the_truth_than_texts_or_pictures():
    texts, centres, pictures, labels = planted(classes=80)
    truth = normalize(centres - centres.mean(dim=0), dim=-1)

    def off(prototypes):
        return float((1 - (normalize(prototypes - prototypes.mean(dim=0), dim=-1) * truth).sum(-1)).mean())

    blend = off(blended_prototypes(texts, pictures, labels, strength=prior_strength(texts, pictures, labels)))
    assert blend < 0.9 * off(texts)
    assert blend < 0.9 * off(blended_prototypes(texts, pictures, labels, strength=0.0))
    assert blend < off(blended_prototypes(texts, pictures, labels, strength=float("inf")))


def test_many_pictures_outweigh_the_text_and_none_leave_it():
    texts, _, pictures, labels = planted(classes=4, counts=[4000, 0, 5, 5])
    blend = blended_prototypes(texts, pictures, labels, strength=5.0)
    alone = blended_prototypes(texts, pictures, labels, strength=0.0)
    assert float(blend[0] @ alone[0]) > 0.999
    torch.testing.assert_close(blend[1], texts[1])
    torch.testing.assert_close(alone[1], texts[1])
    torch.testing.assert_close(blended_prototypes(texts, pictures, labels, strength=1e9), texts)
    assert blended_prototypes(texts, pictures, labels, strength=float("inf")).equal(normalize(texts, dim=-1))


def test_the_gap_between_modalities_gives_frequent_classes_no_advantage():
    """A plain mean of text and pictures puts classes with many pictures nearer to all pictures; ours does not."""
    texts, centres, pictures, labels = planted(classes=10, counts=[300] * 5 + [3] * 5, within=0.5, between=0.1)
    fresh = centres.repeat_interleave(200, 0) + 0.5 / 48**0.5 * torch.randn(
        2000, 48, generator=torch.Generator().manual_seed(9)
    )
    truth = torch.arange(10).repeat_interleave(200)
    counts = torch.bincount(labels).float()[:, None]
    plain = (5 * texts + torch.zeros_like(texts).index_add_(0, labels, normalize(pictures, dim=-1))) / (5 + counts)
    shares = []
    for prototypes in (plain, blended_prototypes(texts, pictures, labels, strength=5.0)):
        answers = prototype_logits(fresh, prototypes).argmax(dim=1)
        shares.append((float((answers < 5).float().mean()), float((answers == truth).float().mean())))
    assert shares[0][0] > 0.7
    assert abs(shares[1][0] - 0.5) < 0.1
    assert shares[1][1] > shares[0][1] + 0.05


@given(st.integers(0, 10**6), st.floats(0, 100))
@settings(max_examples=25, deadline=None)
def test_prototypes_have_length_one_whatever_the_counts(seed, strength):
    counts = np.random.default_rng(seed).integers(0, 4, 6).tolist()
    texts, _, pictures, labels = planted(classes=6, counts=counts, seed=seed)
    blend = blended_prototypes(texts, pictures, labels, strength=strength)
    torch.testing.assert_close(blend.norm(dim=-1), torch.ones(6))


def test_without_pictures_the_texts_stay():
    texts = normalize(torch.randn(3, 4), dim=-1)
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    torch.testing.assert_close(blended_prototypes(texts, *nothing, strength=1.0), texts)


@given(st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_head_in_between_gives_logits_in_between(share):
    generator = torch.Generator().manual_seed(0)
    start, end = (LinearHead(torch.randn(3, 5, generator=generator), torch.randn(3, generator=generator)) for _ in "ab")
    x = torch.randn(8, 5, generator=generator)
    between = (1 - share) * start.logits(x) + share * end.logits(x)
    torch.testing.assert_close(start.interpolated(end, share).logits(x), between, atol=1e-5, rtol=1e-5)


def test_bad_input_is_one_line():
    texts, pictures, labels = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 2])
    for arguments, message in (
        ((texts, pictures[:, :2], labels), "are not of one space"),
        ((texts, pictures, labels[:3]), "3 labels do not fit 5 pictures and 3 classes"),
        ((texts, pictures, labels + 1), "5 labels do not fit 5 pictures and 3 classes"),
    ):
        with pytest.raises(LucidaError, match=message):
            blended_prototypes(*arguments, strength=1.0)
    with pytest.raises(LucidaError, match="4 pictures of 2 classes do not tell"):
        prior_strength(texts, pictures[:4], labels[:4])
    with pytest.raises(LucidaError, match="cannot be worth -1 pictures"):
        blended_prototypes(texts, pictures, labels, strength=-1)
    head = LinearHead(texts, torch.zeros(3))
    with pytest.raises(LucidaError, match="nothing in between"):
        head.interpolated(LinearHead(texts[:2], torch.zeros(2)), 0.5)
    with pytest.raises(LucidaError, match=r"cannot be 1\.5"):
        head.interpolated(head, 1.5)
