"""Hugging Face towers: equal to transformers' own forward, and one clear line for what cannot be loaded."""

import json

import pytest
import torch
import transformers as hf

from lucida.core.errors import LucidaError
from lucida.data.tokenization import train_tokenizer
from lucida.models.efficientnet import EfficientNetLite0
from lucida.models.hugging_face import HuggingFaceVision, load_text_tower, load_vision_tower
from lucida.models.text_towers import MiniLM, PretrainedText, encode_texts
from lucida.models.towers import TextTower, VisionTower

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIGHT = {**TINY, "image_size": 32, "patch_size": 8}
RECIPE = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "size": {"height": 32, "width": 32}}
TEXTS = ["a red apple", "two dogs on the left of a house", "a cat"]


def _clip():
    return hf.CLIPModel(
        hf.CLIPConfig(text_config={**TINY, "vocab_size": 300, "eos_token_id": 2}, vision_config=SIGHT, projection_dim=8)
    )


def _siglip():
    text = {**TINY, "vocab_size": 300, "max_position_embeddings": 16}
    return hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=SIGHT))


VISION = {
    "vit": lambda: hf.ViTModel(hf.ViTConfig(**SIGHT)),
    "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**SIGHT)),
    "registers": lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**SIGHT, num_register_tokens=4)),
    "clip": _clip,
    "clip_vision": lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**SIGHT)),
    "siglip": _siglip,
    "resnet": lambda: hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
    "convnext": lambda: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)),
}
GRIDS = {"resnet": 16, "convnext": 16}  # 32 pixels: strides 4, 8 and 32 px / 8


def _save(model, folder, recipe=RECIPE):
    model.eval().save_pretrained(folder)
    if recipe is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(recipe))
    return folder


@pytest.fixture
def vit(tmp_path):
    torch.manual_seed(0)
    return _save(VISION["vit"](), tmp_path / "vit")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300)


@pytest.mark.parametrize("kind", VISION)
def test_vision_towers_equal_transformers(kind, tmp_path):
    torch.manual_seed(0)
    model = VISION[kind]()
    tower = load_vision_tower(_save(model, tmp_path / kind))
    assert isinstance(tower, VisionTower)
    values = tower.preprocess(torch.randint(0, 256, (3, 40, 40, 3), dtype=torch.uint8))
    assert values.shape == (3, 3, 32, 32)
    own = model.vision_model if kind in ("clip", "siglip") else model
    with torch.no_grad():
        seen, expected = tower(values), own(pixel_values=values)
    states = expected.last_hidden_state
    grid = states.flatten(2).mT if states.ndim == 4 else states[:, -16:]
    assert torch.allclose(seen.grid, grid, atol=1e-6)
    assert torch.allclose(seen.pooled, expected.pooler_output.flatten(1), atol=1e-6)
    assert seen.pooled.shape == (3, tower.pooled_size)
    assert seen.grid.shape == (3, tower.grid_tokens, tower.hidden_size)
    assert tower.grid_tokens == GRIDS.get(kind, 16)
    assert not any(p.requires_grad for p in tower.parameters())
    assert not tower.train().model.training


def test_the_preprocessing_is_that_of_the_file(vit):
    tower = load_vision_tower(vit)
    values = tower.preprocess(torch.full((1, 32, 32, 3), 51, dtype=torch.uint8))
    assert torch.allclose(values[0, :, 5, 5], torch.tensor([(0.2 - 0.5) / 0.2, (0.2 - 0.4) / 0.3, (0.2 - 0.3) / 0.4]))


def test_size_crop_and_resampling_of_the_file(tmp_path):
    recipe = {**RECIPE, "size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 48}, "resample": 3}
    tower = load_vision_tower(_save(VISION["vit"](), tmp_path, recipe))
    assert (tower.image_size, tower.grid_tokens, tower.mode) == (48, 36, "bicubic")
    flat = {k: v for k, v in recipe.items() if k != "crop_size"} | {"size": 40}
    assert load_vision_tower(_save(VISION["vit"](), tmp_path, flat)).image_size == 40
    assert load_vision_tower(tmp_path, image_size=32, image_mean=[0, 0, 0]).image_size == 32


def test_the_newer_processor_file_is_read(tmp_path):
    _save(VISION["vit"](), tmp_path, None)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": RECIPE}))
    assert load_vision_tower(tmp_path).image_size == 32


def test_an_untrained_pooler_is_left_out(tmp_path):
    model = hf.ViTForImageClassification(hf.ViTConfig(**SIGHT))
    tower = load_vision_tower(_save(model, tmp_path))
    values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.vit(values).last_hidden_state
    assert torch.allclose(tower(values).pooled, expected[:, 0], atol=1e-6)


def test_a_tower_that_trains_gets_gradients(vit):
    tower = load_vision_tower(vit, frozen=False).train()
    assert tower.model.training
    tower(torch.randn(1, 3, 32, 32)).grid.sum().backward()
    assert tower.model.embeddings.cls_token.grad is not None


def test_built_in_names():
    assert isinstance(load_vision_tower("efficientnet-lite0", image_size=64), EfficientNetLite0)
    assert isinstance(load_text_tower("minilm"), MiniLM)


def test_mean_pooled_text_equals_transformers(tmp_path, tokenizer):
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(**TINY, vocab_size=300, max_position_embeddings=32), add_pooling_layer=False)
    _save(model, tmp_path, None)
    tokenizer.save_pretrained(tmp_path)
    tower = load_text_tower(tmp_path)
    assert isinstance(tower, TextTower)
    assert tower.max_tokens == 32
    for text, row in zip(TEXTS, encode_texts(tower, TEXTS), strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state
        assert torch.allclose(torch.from_numpy(row), expected.mean(dim=1)[0], atol=1e-5)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    first = load_text_tower(tmp_path)
    assert torch.allclose(torch.from_numpy(encode_texts(first, TEXTS[-1:])), expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("make", [_clip, _siglip])
def test_text_part_of_a_two_tower_model(make, tmp_path, tokenizer):
    torch.manual_seed(0)
    model = make()
    tokenizer.save_pretrained(_save(model, tmp_path))
    tower = load_text_tower(tmp_path)
    assert isinstance(tower, PretrainedText)
    batch = tower.tokenize(TEXTS)
    if make is _siglip:
        assert batch["input_ids"].shape == (3, 16)
        assert batch["attention_mask"].all()
    with torch.no_grad():
        assert torch.allclose(tower(**batch), model.text_model(**batch).pooler_output, atol=1e-6)


def test_a_decoder_without_padding_token_reads_texts(tmp_path, tokenizer):
    _save(hf.LlamaModel(hf.LlamaConfig(**TINY, vocab_size=300, max_position_embeddings=64)), tmp_path, None)
    bare = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")
    bare.save_pretrained(tmp_path)
    assert encode_texts(load_text_tower(tmp_path), TEXTS).shape == (3, 16)


def _refusal(load, *args, **options):
    with pytest.raises(LucidaError) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_near_names_are_named():
    assert "did you mean 'efficientnet-lite0'?" in _refusal(load_vision_tower, "efficientnet_lite0")
    assert "did you mean 'minilm'?" in _refusal(load_text_tower, "miniLM")
    assert "did you mean 'image_size'?" in _refusal(load_vision_tower, "efficientnet-lite0", image_sise=64)


def test_missing_and_empty_folders(tmp_path):
    assert "no such folder" in _refusal(load_vision_tower, tmp_path / "gone")
    assert "no such folder" in _refusal(load_text_tower, "./gone")
    assert "no such folder" in _refusal(load_vision_tower, "runs/gone/model")  # no name of the hub
    assert "no config.json" in _refusal(load_vision_tower, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert "no weights" in _refusal(load_vision_tower, tmp_path)


def test_broken_files(vit):
    weights = vit / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert "cannot load the model" in _refusal(load_vision_tower, vit)
    weights.write_bytes(whole)
    (vit / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json is broken" in _refusal(load_vision_tower, vit)
    (vit / "preprocessor_config.json").unlink()
    assert "no image_mean" in _refusal(load_vision_tower, vit)
    (vit / "config.json").write_text("[]")
    assert "config.json is broken" in _refusal(load_vision_tower, vit)
    (vit / "config.json").write_text('{"model_type": "no-such-model"}')
    assert "cannot load the model" in _refusal(load_vision_tower, vit)


def test_a_checkpoint_that_lacks_weights_is_refused(vit):
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert "lacks weights" in _refusal(load_vision_tower, vit)


def test_pickle_needs_permission(vit):
    state = hf.ViTModel.from_pretrained(vit).state_dict()
    torch.save(state, vit / "pytorch_model.bin")
    (vit / "model.safetensors").unlink()
    assert "allow_pickle=True" in _refusal(load_vision_tower, vit)
    assert load_vision_tower(vit, allow_pickle=True).grid_tokens == 16


def test_own_code_needs_permission(vit):
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.Model"}}))
    (vit / "own.py").write_text("raise SystemExit('ran')")
    assert "trust_remote_code=True" in _refusal(load_vision_tower, vit)


def test_a_model_of_the_other_kind(vit, tmp_path):
    assert "reads no text" in _refusal(load_text_tower, vit)
    text = hf.BertModel(hf.BertConfig(**TINY, vocab_size=300))
    assert "sees no pictures" in _refusal(load_vision_tower, _save(text, tmp_path / "bert"))
    assert "no tokenizer" in _refusal(load_text_tower, tmp_path / "bert")


def test_a_size_the_model_does_not_take(tmp_path):
    odd = hf.ViTModel(hf.ViTConfig(**SIGHT, num_channels=1)).eval()
    message = _refusal(HuggingFaceVision, odd, name="odd", image_mean=[0.5] * 3, image_std=[0.5] * 3)
    assert "does not take pictures of 32 x 32" in message


def test_pictures_are_prepared_where_they_are_and_not_where_the_weights_are(vit):
    tower = load_vision_tower(vit)
    pixels = torch.zeros(2, 40, 40, 3, dtype=torch.uint8, device="meta")
    assert tower.preprocess(pixels).device.type == "meta"
    assert tower.preprocess(torch.zeros(2, 40, 40, 3, dtype=torch.uint8)).device.type == "cpu"
