"""A fresh CLIP: the weights follow the seed alone, and what is saved, transformers and open_clip's layout hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf

from lucida.core.errors import LucidaError
from lucida.models.imported_encoders import load_dual_encoder, save_dual_encoder
from lucida.models.new_encoders import NewEncoderConfig, new_dual_encoder

CAPTIONS = ["a red hat on a table", "two dogs left of a house with a roof", "a cat"]
SMALL = NewEncoderConfig(32, 8, 64, 2, 64, 1, embedding_size=16, vocabulary=300, max_tokens=12)


def test_weights_follow_the_seed() -> None:
    one = new_dual_encoder(SMALL, CAPTIONS, 0)
    torch.rand(3)
    again, other = (new_dual_encoder(SMALL, CAPTIONS, seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.state_dict().items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.state_dict().items())
    assert all(parameter.requires_grad for parameter in one.parameters())


@pytest.mark.parametrize("layout", ["huggingface", "open_clip"])
def test_it_is_saved_and_loaded(layout: str, tmp_path: Path) -> None:
    encoder = new_dual_encoder(SMALL, CAPTIONS, 0).eval()
    save_dual_encoder(encoder, tmp_path / "model", layout=layout)
    loaded = load_dual_encoder(tmp_path / "model")
    pixels = torch.randint(0, 256, (2, 40, 48, 3), dtype=torch.uint8)
    texts = ["a cat", "a red hat left of the house of the two dogs on the table with the roof"]  # the second is cut
    with torch.inference_mode():
        for each in (encoder, loaded):
            seen, read = each.vision_tower.preprocess(pixels), each.text_tower.tokenize(texts)
            found = each.encode_image(seen), each.encode_text(**read)
            if each is encoder:
                first = found
        assert read["input_ids"].shape == (2, 12)
        assert (read["input_ids"] == encoder.text_tower.tokenizer.eos_token_id).sum(dim=1).tolist() == [1, 1]
        for own, other in zip(first, found, strict=True):
            torch.testing.assert_close(other, own, rtol=1e-5, atol=1e-6)
        if layout == "huggingface":
            model = hf.CLIPModel.from_pretrained(tmp_path / "model")
            scores = model(pixel_values=seen, **read).logits_per_image
            torch.testing.assert_close(scores, encoder.logit_scale * first[0] @ first[1].T, rtol=1e-4, atol=1e-5)


def test_a_text_is_read_to_its_end() -> None:
    encoder = new_dual_encoder(SMALL, CAPTIONS, 0).eval()
    with torch.inference_mode():
        for first, second in (("a cat", "a hat"), ("a hat a", "a hat on"), ("a cat", "a cat a")):
            read = encoder.encode_text(**encoder.text_tower.tokenize([first, second]))
            assert (read[0] - read[1]).abs().max() > 1e-5
    assert encoder.text_tower.tokenizer.eos_token_id != 2  # which would be a legacy sign to pool another token


@pytest.mark.parametrize("wrong", [{"image_size": 60}, {"vision_width": 100}, {"text_layers": 0}, {"max_tokens": 2}])
def test_sizes_that_do_not_fit(wrong: dict[str, int]) -> None:
    with pytest.raises(LucidaError, match=next(iter(wrong))):
        NewEncoderConfig(**wrong)
