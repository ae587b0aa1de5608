"""Models of others, part by part: losses and gradients against their own forward, features once, bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.models.image_text_models import ImageTextModel, in_one_row, load_image_text_model
from lucida.models.seen_pictures import LivePictures, see_pictures

sys.path.insert(0, str(Path(__file__).parent))
from tiny_vlms import IMAGE, SIDE, VOCABULARY, tiny_llava, tiny_smolvlm

FAMILIES = {"llava": (tiny_llava, 16), "smolvlm": (tiny_smolvlm, 4)}


def pictures(family: str, pieces: Sequence[int], seed: int = 0) -> Callable[[Sequence[int]], Mapping[str, Tensor]]:
    """What a processor would give: LLaVA's pictures are one piece each, SmolVLM's several, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    own = [torch.randn(n, 3, SIDE, SIDE, generator=generator) for n in pieces]

    def pixels(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        some = [own[i] for i in numbers]
        if family == "llava":
            return {"pixel_values": torch.cat(some)}
        return {"pixel_values": torch.nn.utils.rnn.pad_sequence(some, batch_first=True)}

    return pixels


def conversation(tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    """A picture of so many tokens between words; the last words are supervised."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(5, VOCABULARY, (9 + seed,), generator=generator)
    ids = torch.cat([words[:3], torch.full((tokens,), IMAGE), words[3:]])
    labels = torch.where(torch.arange(len(ids)) >= len(ids) - 4, ids, -100)
    return ids, labels


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", ["tower", "projected"])
def test_the_packed_loss_and_its_gradients_are_those_of_padding(family: str, what: Any) -> None:
    make, per_piece = FAMILIES[family]
    pieces = [1, 1, 1] if family == "llava" else [2, 1, 3]
    pixels = pictures(family, pieces)
    chats = [conversation(n * per_piece, seed) for seed, n in enumerate(pieces)]
    theirs, own = make(), make()
    ids = torch.nn.utils.rnn.pad_sequence([ids for ids, _ in chats], batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence([one for _, one in chats], batch_first=True, padding_value=-100)
    plain = theirs(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels, **pixels(range(3))).loss
    plain.backward()

    model = ImageTextModel(own)
    features, counts = model.see(pixels(range(3)), what)
    assert counts == [n * per_piece for n in pieces]
    name = "tower_features" if what == "tower" else "image_tokens"
    output = model(**in_one_row(chats), **{name: features})
    loss = output.loss_sum / output.n_supervised
    assert int(output.n_supervised) == 12
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    loss.backward()
    for (name, ours), other in zip(own.named_parameters(), theirs.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(ours.grad, other.grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", ["tower", "projected"])
def test_pictures_are_seen_once_and_found_again(
    family: str, what: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    make, per_piece = FAMILIES[family]
    pieces = [1] * 5 if family == "llava" else [2, 1, 3, 1, 2]
    pixels, model = pictures(family, pieces), ImageTextModel(make())
    tokens = [n * per_piece for n in pieces]
    seen = see_pictures(model, pixels, tokens, key="k", what=what, batch=2)
    assert len(seen) == 5
    for order in ([0], [3, 1], [4, 0, 2]):
        alone = torch.cat([model.see(pixels([i]), what)[0] for i in order])
        torch.testing.assert_close(seen[order], alone, rtol=1e-5, atol=1e-5)

    def never(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        assert list(numbers) == [0]  # the shape of what is kept
        return pixels(numbers)

    again = see_pictures(model, never, tokens, key="k", what=what)
    np.testing.assert_array_equal(again.values, seen.values)
    assert again.values.dtype == np.float32
    other = see_pictures(ImageTextModel(make(seed=1)), pixels, tokens, key="k", what=what)
    assert not np.array_equal(other.values, seen.values)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_seen_when_asked_for(family: str) -> None:
    make, per_piece = FAMILIES[family]
    pieces = [1] * 4 if family == "llava" else [2, 1, 3, 1]
    pixels, model = pictures(family, pieces), ImageTextModel(make())
    tokens = [n * per_piece for n in pieces]
    live = LivePictures(model, pixels, tokens, batch=2)
    alone = torch.cat([model.see(pixels([i]))[0] for i in (2, 0, 3)])
    torch.testing.assert_close(live[[2, 0, 3]], alone, rtol=1e-5, atol=1e-5)
    assert live[[]].shape == (0, alone.shape[1])
    with pytest.raises(LucidaError, match=r"image tokens for .* picture features \(picture 1\)"):
        LivePictures(model, pixels, [tokens[0], 99, *tokens[2:]])[[0, 1]]


def test_text_alone_needs_no_picture() -> None:
    own = tiny_llava()
    ids = torch.arange(5, 15)
    model = ImageTextModel(own)
    output = model(**in_one_row([(ids, ids)]))
    plain = own(input_ids=ids[None], labels=ids[None]).loss
    torch.testing.assert_close(output.loss_sum / output.n_supervised, plain, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    model = ImageTextModel(tiny_llava())
    ids, labels = conversation(15, 0)
    with pytest.raises(LucidaError, match="15 image tokens for 16 picture features"):
        model(**in_one_row([(ids, labels)]), image_tokens=torch.zeros(16, 32))
    with pytest.raises(LucidaError, match="there is no such folder"):
        load_image_text_model(tmp_path / "nowhere")
    tiny_llava().save_pretrained(tmp_path / "model")
    with pytest.raises(LucidaError, match="no processor"):
        load_image_text_model(tmp_path / "model")


def test_a_wrong_number_of_image_tokens_stops_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    model, pixels = ImageTextModel(tiny_llava()), pictures("llava", [1, 1])
    with pytest.raises(LucidaError, match="32 image tokens for 16 picture features"):
        see_pictures(model, pixels, [16, 32], key="k")
    assert not list(tmp_path.rglob("*.npy"))
