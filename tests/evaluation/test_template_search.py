"""Greedy template search: never worse than a single template where it looked, and equal to a plain search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from lucida.core.errors import LucidaError
from lucida.evaluation.template_search import Score, greedy_templates, margins, score_of, search_templates
from lucida.evaluation.zero_shot import class_embeddings, template_embeddings, true_class_ranks


def drawn(seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Pictures of six classes and five templates of different quality."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(6, 8, generator=generator)
    labels = torch.arange(24) % 6
    images = classes[labels] + noise * torch.randn(24, 8, generator=generator)
    spread = torch.linspace(0.5, 2.5, 5)[None, :, None]
    templates = classes[:, None] + spread * torch.randn(6, 5, 8, generator=generator)
    return images, templates, labels.numpy()


def accuracy(images: torch.Tensor, templates: torch.Tensor, labels: np.ndarray, some: tuple[int, ...]) -> float:
    """By the module that measures zero-shot, from a mean written out."""
    classes = normalize(normalize(templates.double(), dim=-1)[:, list(some)].mean(dim=1), dim=-1)
    return float((true_class_ranks(images, classes, labels) <= 1).mean())


@given(seed=st.integers(0, 200), by=st.sampled_from(["accuracy", "margin"]))
def test_never_worse_on_validation_than_any_single_template(seed: int, by: str) -> None:
    images, templates, labels = drawn(seed)
    found = search_templates(images, templates, labels, by=by)
    assert len(set(found.chosen)) == len(found.chosen) == len(found.scores) >= 1
    assert getattr(found.scores[-1], by) >= max(getattr(single, by) for single in found.singles)
    keys = [score.key(by) for score in found.scores]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)  # every template that was added helped
    for k, score in enumerate(found.scores, start=1):
        assert score.accuracy == accuracy(images, templates, labels, found.chosen[:k])


@given(seed=st.integers(0, 50))
def test_no_further_template_would_help(seed: int) -> None:
    images, templates, labels = drawn(seed)
    found = search_templates(images, templates, labels)
    for other in set(range(5)) - set(found.chosen):
        assert accuracy(images, templates, labels, (*found.chosen, other)) <= found.scores[-1].accuracy


def test_an_ensemble_is_found_where_it_helps() -> None:
    sizes = [len(search_templates(*drawn(seed)).chosen) for seed in range(20)]
    assert max(sizes) > 1  # else the properties above hold of the best single template alone


def test_the_ensemble_is_that_of_class_embeddings() -> None:
    generator = torch.Generator().manual_seed(0)
    table = {text: torch.randn(8, generator=generator) for text in ("a cat", "the cat", "a dog", "the dog")}

    def encode(texts: list[str]) -> torch.Tensor:
        return torch.stack([table[text] for text in texts])

    each = template_embeddings(encode, ["cat", "dog"], ["a {}", "the {}"])
    assert each.shape == (2, 2, 8)
    joined = class_embeddings(encode, ["cat", "dog"], ["a {}", "the {}"])
    assert torch.equal(joined, normalize(each.mean(dim=1), dim=-1))
    found = search_templates(torch.stack([table["a cat"], table["the dog"]]), each, [0, 1])
    if len(found.chosen) == 2:
        expected = score_of(margins(torch.stack([table["a cat"], table["the dog"]]), joined, [0, 1]))
        assert found.scores[-1].margin == pytest.approx(expected.margin, abs=1e-6)


def test_a_tie_is_no_success() -> None:
    assert score_of([0.0, 1e-12, 0.5]).accuracy == pytest.approx(1 / 3)


def test_the_first_of_equals_is_taken_and_enough_is_enough() -> None:
    found = greedy_templates(4, lambda some: Score(0.5, 0.0))
    assert found.chosen == (0,)
    assert len(found.singles) == 4


def test_what_cannot_be_searched_is_refused() -> None:
    images, templates, labels = drawn(0)
    for bad in (
        {"labels": labels[:3]},
        {"labels": np.full(24, 6)},
        {"image_features": images[:0], "labels": labels[:0]},
        {"template_features": templates[:1]},
        {"template_features": torch.full_like(templates, torch.nan)},
        {"by": "luck"},
    ):
        with pytest.raises(LucidaError):
            search_templates(**({"image_features": images, "template_features": templates, "labels": labels} | bad))
    with pytest.raises(LucidaError, match="no prompt template"):
        greedy_templates(0, lambda some: Score(0.0, 0.0))
