"""A run of lucida as a model to examine: the same answers as its own way of asking gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lucida.core.errors import LucidaError
from lucida.data.galleries import PixelGallery
from lucida.data.pixels import as_square
from lucida.data.tokenization import train_tokenizer
from lucida.inference.answerer import Answerer, build
from lucida.models.language_models import SmallLlama
from lucida.workflows.language_stage import MODEL
from lucida.workflows.subjects import View, load_subject

NAMES = ("dog", "cat", "fire engine")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose multimodal LLM has not been trained."""
    torch.manual_seed(0)
    texts = [f"Is there a {name} in the picture?" for name in NAMES] + ["Describe the picture."]
    tokenizer = train_tokenizer(texts * 3, vocab_size=300, words=("yes", "no", *NAMES))
    words = SmallLlama(hidden_size=32, layers=2, head_size=16, heads=2).build(tokenizer, max_length=512)
    folder = tmp_path_factory.mktemp("run")
    build(tokenizer, words, size=64, tower_size=64, names=NAMES, forms=("exists", "describe")).save(folder / MODEL)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_run_is_asked_as_it_was_taught(run: Path) -> None:
    generator, views = np.random.default_rng(0), []
    for i in range(3):
        picture = Image.fromarray(generator.integers(0, 256, (50 + i, 70, 3), dtype=np.uint8))
        views.append(View(f"{i}.png", picture.size, lambda own=picture: own))  # type: ignore[misc]
    subject, answerer = load_subject(str(run)), Answerer.load(run / MODEL)
    assert subject.asks("fire engine") == "Is there a fire engine in the picture?"
    asked = [(i, name) for i in range(3) for name in NAMES]
    found = subject.answers(views, [(i, subject.asks(name)) for i, name in asked], max_new_tokens=3)
    features = answerer.see(PixelGallery(np.stack([as_square(view.open(), 64) for view in views])))
    own = answerer.ask_yes_no(features, asked)
    assert [one.p_yes for one in found] == pytest.approx(own.p_yes.tolist(), abs=1e-4)
    described = subject.answers(views, [(0, subject.describe)], max_new_tokens=5)[0]
    assert described.text == answerer.answers(features, [(0, subject.describe)], max_new_tokens=5)[0].text


def test_another_wording_needs_a_place_for_the_object(run: Path) -> None:
    assert load_subject(str(run), exists="Do you see {a} {name}?").asks("apple") == "Do you see an apple?"
    with pytest.raises(LucidaError, match="no place for the object"):
        load_subject(str(run), exists="Do you see it?")
