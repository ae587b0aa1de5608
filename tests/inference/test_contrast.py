"""Contrastive decoding: its formula, its plain twin, and the two readings in step inside transformers' ``generate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList

from lucida.core.errors import LucidaError
from lucida.inference.contrast import ContrastProcessor, EarlyLayer, OtherReading, contrasted, noised
from lucida.models.image_text_models import load_image_text_model
from tests.workflows.test_adapt import save_model

LONGEST = 6


@pytest.fixture(scope="module", params=["llava", "smolvlm"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Tensor]]:
    """A random model and two conversations of different length, padded on the left."""
    folder = save_model(request.param, tmp_path_factory.mktemp(request.param))
    model, processor = load_image_text_model(folder)
    generator, texts, pictures = np.random.default_rng(0), [], []
    for question in ("What do you see?", "red blue green red blue?"):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        texts.append(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
        pictures.append([Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8))])
    inputs = processor(text=texts, images=pictures, padding=True, padding_side="left", return_tensors="pt")
    return model.hugging_face.eval(), dict(inputs)


def generate(model: Any, inputs: dict[str, Tensor], *processors: Any) -> Tensor:
    found: Tensor = model.generate(
        **inputs, max_new_tokens=LONGEST, do_sample=False, pad_token_id=0, eos_token_id=None,
        logits_processor=LogitsProcessorList(processors),
    )  # fmt: skip
    return found[:, inputs["input_ids"].shape[1] :]


@torch.no_grad()
def plain(model: Any, inputs: dict[str, Tensor], other: dict[str, Tensor], alpha: float, beta: float) -> Tensor:
    """Both conversations read anew for every token, each by itself, as the formula stands."""
    rows = []
    for row in range(len(inputs["input_ids"])):
        said: list[int] = []
        for _ in range(LONGEST):
            logits = []
            for each in (inputs, other):
                seen = each["attention_mask"][row].bool()
                one = {
                    name: t[row : row + 1] for name, t in each.items() if name not in ("input_ids", "attention_mask")
                }
                ids = torch.cat([each["input_ids"][row][seen], torch.tensor(said, dtype=torch.long)])[None]
                logits.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), **one).logits[0, -1])
            probable = logits[0].softmax(dim=0) >= beta * logits[0].softmax(dim=0).max()
            scores = (1 + alpha) * logits[0] - alpha * logits[1]
            said.append(int(torch.where(probable, scores, -torch.inf).argmax()))
        rows.append(said)
    return torch.tensor(rows)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.1), (3.0, 0.0), (0.5, 0.9)])
def test_it_is_the_formula_read_anew_for_every_token(asked: Any, alpha: float, beta: float) -> None:
    model, inputs = asked
    other = inputs | {"pixel_values": noised(inputs["pixel_values"], 900, torch.Generator().manual_seed(1))}
    own = generate(model, inputs, ContrastProcessor(OtherReading(model, other), alpha=alpha, beta=beta))
    assert torch.equal(own, plain(model, inputs, other, alpha, beta))


def test_a_contrast_of_nothing_changes_nothing(asked: Any) -> None:
    model, inputs = asked
    greedy = generate(model, inputs)
    for other, alpha in ((inputs, 1.0), (inputs | {"pixel_values": torch.full_like(inputs["pixel_values"], 0.1)}, 0.0)):
        assert torch.equal(generate(model, inputs, ContrastProcessor(OtherReading(model, other), alpha=alpha)), greedy)


def test_the_contrast_may_have_no_picture(asked: Any) -> None:
    model, inputs = asked
    image = model.config.image_token_id
    rows = [
        ids[(ids != image) & seen.bool()]
        for ids, seen in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    width = max(map(len, rows))
    ids, mask = torch.zeros(2, width, dtype=torch.long), torch.zeros(2, width, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, width - len(row) :], mask[k, width - len(row) :] = row, 1
    blind = {"input_ids": ids, "attention_mask": mask}
    own = generate(model, inputs, ContrastProcessor(OtherReading(model, blind), alpha=2.0, beta=0.05))
    assert torch.equal(own, plain(model, inputs, blind, 2.0, 0.05))


def test_an_early_layer_of_the_same_reading(asked: Any) -> None:
    model, inputs = asked
    early = EarlyLayer(model, 0)
    seen: list[Tensor] = []

    class Keep(ContrastProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            found = super().__call__(input_ids, scores)
            seen.append(found)
            return found

    generate(model, inputs, Keep(early, alpha=math.inf, beta=0.0))
    early.close()
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True)
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    first = head(decoder.norm(states.hidden_states[1][:, -1]))
    expected = states.logits[:, -1].log_softmax(dim=-1) - first.log_softmax(dim=-1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(LucidaError, match="layers 0 to 1"):
        EarlyLayer(model, 2)


@given(st.integers(0, 1000), st.floats(0, 4), st.floats(0.01, 1))
def test_only_plausible_tokens_are_left(seed: int, alpha: float, beta: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, other = (3 * torch.randn(4, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    found, p = contrasted(logits, other, alpha=alpha, beta=beta), logits.softmax(dim=-1)
    kept = found.isfinite()
    assert kept.any(dim=-1).all()
    assert (p[kept] >= (beta * p.amax(dim=-1, keepdim=True).expand_as(p))[kept] - 1e-12).all()
    assert contrasted(logits, other, alpha=alpha, beta=0).isfinite().all()


def test_noise_grows_and_is_drawn_from_a_seed() -> None:
    pixels = torch.randn(2, 3, 8, 8)
    kept = [float((noised(pixels, step, torch.Generator().manual_seed(0)) * pixels).mean()) for step in (0, 500, 999)]
    assert kept[0] > kept[1] > kept[2] > 0
    torch.testing.assert_close(noised(pixels, 0, torch.Generator().manual_seed(0)), pixels, rtol=0, atol=0.05)
    one, other = (noised(pixels, 700, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert noised(pixels, 999).std() == pytest.approx(1, abs=0.15)  # of normalised pictures it keeps the spread
    for step in (-1, 1000):
        with pytest.raises(LucidaError, match="no noise step"):
            noised(pixels, step)


def test_a_reading_of_other_conversations_is_refused(asked: Any, tmp_path: Path) -> None:
    model, inputs = asked
    reading = OtherReading(model, {name: t[:1] for name, t in inputs.items()})
    with torch.no_grad():
        reading.logits(None)
    with pytest.raises(LucidaError, match="2 answers to 1 conversations"):
        reading.logits(torch.tensor([1, 2]))
    with pytest.raises(LucidaError, match="beta from 0 to 1"):
        ContrastProcessor(reading, beta=2.0)
