"""CLIP and SigLIP in and out: logits of transformers and open_clip, weights bit for bit, one line for the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.models.dual_encoder import DualEncoder, Head, HeadConfig, Projection
from lucida.models.efficientnet import EfficientNetLite0
from lucida.models.hugging_face import load_text_tower, load_vision_tower
from lucida.models.imported_encoders import load_dual_encoder, save_dual_encoder, stored_dtype
from lucida.models.open_clip_names import to_hugging_face, to_open_clip
from lucida.models.text_towers import MiniLM, encode_texts

sys.path.insert(0, str(Path(__file__).parent))
from tiny_encoders import LENGTH, TEXTS, clip, clip_tokenizer, siglip

Make = Callable[[Path], Any]
FAMILIES: dict[str, Make] = {
    "clip": clip,
    "clip, legacy pooling": lambda folder: clip(folder, legacy=True),
    "clip, gelu": lambda folder: clip(folder, act="gelu"),
    "clip above the clamp": lambda folder: clip(folder, scale=130.0),
    "siglip": siglip,
    "siglip, narrow text": lambda folder: siglip(folder, hidden_size=24, projection_size=32),
}


def batch(encoder: DualEncoder, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 32, 32, generator=generator), encoder.text_tower.tokenize(TEXTS)


@torch.no_grad()
def logits(model: Any, pixels: Tensor, text: dict[str, Tensor]) -> Tensor:
    if isinstance(model, DualEncoder):
        return model({"pixel_values": pixels}, text)
    return model(pixel_values=pixels, **text).logits_per_image


def off(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference; where logits are all alike it would say nothing."""
    assert float(theirs.std()) > 0.3
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers_before_and_after(family: str, tmp_path: Path) -> None:
    model = FAMILIES[family](tmp_path / "model")
    encoder = load_dual_encoder(tmp_path / "model")
    x, text = batch(encoder)
    expected = logits(model, x, text)
    save_dual_encoder(encoder, tmp_path / "again")
    again, report = hf.AutoModel.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert type(again) is type(model)
    assert not any(report.values())
    found = off(logits(encoder, x, text), expected), off(logits(again, x, text), expected)
    print(f"{family}: max difference {found[0]:.1e} imported, {found[1]:.1e} exported")
    assert found[0] <= max(1e-5, 3 * torch.finfo(torch.float32).eps * float(expected.abs().max()))
    assert found[1] == 0
    config, same = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("model", "again"))
    assert config == same
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_pictures_and_texts_are_prepared_as_by_the_processor(family: str, tmp_path: Path) -> None:
    FAMILIES[family](tmp_path / "model")
    encoder = load_dual_encoder(tmp_path / "model")
    save_dual_encoder(encoder, tmp_path / "again")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 41, 58, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]
    padding = "max_length" if family == "siglip" else True
    given, again = (
        hf.AutoProcessor.from_pretrained(tmp_path / name)(
            images=pictures, text=TEXTS, padding=padding, truncation=True, return_tensors="pt"
        )
        for name in ("model", "again")
    )
    level = 1 / (255 * 0.26)  # of a channel, after it was divided by its deviation
    found = encoder.vision_tower.preprocess(torch.from_numpy(pixels))
    assert float((found - given["pixel_values"]).abs().max()) <= 1.01 * level
    assert torch.equal(encoder.text_tower.tokenize(TEXTS)["input_ids"], given["input_ids"])
    assert given["input_ids"].shape[1] == LENGTH
    for name in ("pixel_values", "input_ids"):
        assert torch.equal(given[name], again[name])


def test_which_token_is_pooled_survives(tmp_path: Path) -> None:
    """Here the end of text is not the highest token: pooling at the highest would take the start of every text."""
    clip(tmp_path / "new")
    encoder = load_dual_encoder(tmp_path / "new")
    _, text = batch(encoder)
    highest = text["input_ids"].argmax(dim=1)
    assert (highest == 0).all()
    for layout in ("huggingface", "open_clip"):
        save_dual_encoder(encoder, tmp_path / layout, layout=layout)
        again = load_dual_encoder(tmp_path / layout)
        with torch.no_grad():
            rows = again.encode_text(**text)
            assert torch.equal(rows, encoder.encode_text(**text))
        assert float((rows[0] - rows[1]).abs().max()) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["huggingface", "open_clip"])
def test_half_precision_goes_through_unchanged(dtype: torch.dtype, layout: Any, tmp_path: Path) -> None:
    clip(tmp_path / "full")
    save_dual_encoder(load_dual_encoder(tmp_path / "full"), tmp_path / "half", layout=layout, dtype=dtype)
    assert (stored_dtype(tmp_path / "full"), stored_dtype(tmp_path / "half")) == (torch.float32, dtype)
    encoder = load_dual_encoder(tmp_path / "half")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    save_dual_encoder(encoder, tmp_path / "again", layout=layout, dtype=dtype)
    (first,), (second,) = ([*(tmp_path / name).glob("*.safetensors")] for name in ("half", "again"))
    before, after = load_file(first), load_file(second)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    if layout == "huggingface":
        assert hf.AutoModel.from_pretrained(tmp_path / "half").dtype == dtype


def test_frozen_towers_are_written_too_and_the_tuned_rest_has_changed(tmp_path: Path) -> None:
    clip(tmp_path / "model")
    encoder = load_dual_encoder(tmp_path / "model", frozen=True)
    names = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert names == {"log_logit_scale", "image_head.linear.weight", "text_head.linear.weight"}
    x, text = batch(encoder)
    encoder({"pixel_values": x[:3]}, text).diagonal().sum().neg().backward()
    torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1).step()
    save_dual_encoder(encoder, tmp_path / "tuned")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "tuned"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"logit_scale", "visual_projection.weight", "text_projection.weight"}


def test_a_multiplier_beyond_the_clamp_is_written_as_it_counts(tmp_path: Path) -> None:
    clip(tmp_path / "model")
    encoder = load_dual_encoder(tmp_path / "model")
    encoder.log_logit_scale.data.fill_(6.0)
    x, text = batch(encoder)
    save_dual_encoder(encoder, tmp_path / "again")
    again = hf.AutoModel.from_pretrained(tmp_path / "again")
    assert again.logit_scale.exp().item() == pytest.approx(100, rel=1e-5)
    assert off(logits(again, x, text), logits(encoder, x, text)) <= 2e-5  # logits of up to 100


class Block(nn.Module):
    """A residual attention block as OpenAI's code has it, written out: parameters under open_clip's names."""

    def __init__(self, state: dict[str, Tensor], prefix: str, heads: int, quick: bool):
        super().__init__()
        self.w, self.heads, self.quick = {k.removeprefix(prefix): v for k, v in state.items()}, heads, quick

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        w, (b, length, d) = self.w, x.shape
        y = nn.functional.layer_norm(x, (d,), w["ln_1.weight"], w["ln_1.bias"])
        joined = y @ w["attn.in_proj_weight"].T + w["attn.in_proj_bias"]
        q, k, v = (part.reshape(b, length, self.heads, -1).transpose(1, 2) for part in joined.split(d, dim=-1))
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5
        seen = (scores if mask is None else scores + mask).softmax(dim=-1) @ v
        x = x + seen.transpose(1, 2).reshape(b, length, d) @ w["attn.out_proj.weight"].T + w["attn.out_proj.bias"]
        y = nn.functional.layer_norm(x, (d,), w["ln_2.weight"], w["ln_2.bias"])
        y = y @ w["mlp.c_fc.weight"].T + w["mlp.c_fc.bias"]
        y = y * torch.sigmoid(1.702 * y) if self.quick else nn.functional.gelu(y)
        return x + y @ w["mlp.c_proj.weight"].T + w["mlp.c_proj.bias"]


def written_out(state: dict[str, Tensor], x: Tensor, ids: Tensor, heads: int, quick: bool) -> Tensor:
    """Logits of open_clip's model from its state dict and the papers' formulas alone."""
    d = len(state["visual.class_embedding"])
    seen = nn.functional.conv2d(x, state["visual.conv1.weight"], stride=state["visual.conv1.weight"].shape[-1])
    seen = seen.flatten(2).transpose(1, 2)
    seen = torch.cat([state["visual.class_embedding"].expand(len(x), 1, d), seen], dim=1)
    seen = seen + state["visual.positional_embedding"]
    seen = nn.functional.layer_norm(seen, (d,), state["visual.ln_pre.weight"], state["visual.ln_pre.bias"])
    read = state["token_embedding.weight"][ids] + state["positional_embedding"][: ids.shape[1]]
    mask = torch.full((ids.shape[1], ids.shape[1]), -torch.inf).triu(1)
    for i in range(2):
        seen = Block(state, f"visual.transformer.resblocks.{i}.", heads, quick)(seen, None)
        read = Block(state, f"transformer.resblocks.{i}.", heads, quick)(read, mask)
    seen = nn.functional.layer_norm(seen[:, 0], (d,), state["visual.ln_post.weight"], state["visual.ln_post.bias"])
    read = nn.functional.layer_norm(read, read.shape[-1:], state["ln_final.weight"], state["ln_final.bias"])
    read = read[torch.arange(len(ids)), ids.argmax(dim=1)]
    image, text = seen @ state["visual.proj"], read @ state["text_projection"]
    return state["logit_scale"].exp() * nn.functional.normalize(image) @ nn.functional.normalize(text).T


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_the_open_clip_layout_holds_what_its_formulas_read(act: str, tmp_path: Path) -> None:
    model = clip(tmp_path / "model", legacy=True, act=act)
    encoder = load_dual_encoder(tmp_path / "model")
    save_dual_encoder(encoder, tmp_path / "open", layout="open_clip")
    state = load_file(tmp_path / "open" / "open_clip_model.safetensors")
    config = json.loads((tmp_path / "open" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] == (act == "quick_gelu")
    assert state["visual.proj"].shape == (32, 20)
    assert state["transformer.resblocks.1.attn.in_proj_weight"].shape == (72, 24)
    x, text = batch(encoder)
    expected = logits(model, x, text)
    found = written_out(state, x, text["input_ids"], heads=2, quick=act == "quick_gelu")
    assert off(found, expected) <= 1e-5
    wrong = written_out(state, x, text["input_ids"], heads=2, quick=act != "quick_gelu")
    assert off(wrong, expected) > 1e-4  # the activation matters here
    again = load_dual_encoder(tmp_path / "open")
    assert off(logits(again, x, text), expected) <= 1e-5
    save_dual_encoder(again, tmp_path / "back")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_names_there_and_back(tmp_path: Path) -> None:
    state = clip(tmp_path).state_dict()
    theirs = to_open_clip(state)
    back = to_hugging_face({f"text.{k}" if not k.startswith(("visual", "logit")) else k: v for k, v in theirs.items()})
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert len(theirs) == len(state) - 4 * 2 * 2  # of three matrices and three biases a layer, one each is left
    with pytest.raises(LucidaError, match=r"no place for 'visual\.attnpool\.weight'"):
        to_hugging_face({"visual.attnpool.weight": torch.zeros(1)})


def open_clip_folder(folder: Path, **model_cfg: Any) -> tuple[Any, dict[str, Any]]:
    """open_clip's own model with random weights, written as its hub function writes it."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed here")
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    vision = {"layers": 2, "width": 64, "head_width": 16, "image_size": 32, "patch_size": 8}
    text = {"layers": 2, "width": 32, "heads": 4, "vocab_size": len(tokenizer), "context_length": LENGTH}
    for part, own in (("vision_cfg", vision), ("text_cfg", text)):
        own |= model_cfg.pop(part, {})
    config = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text, **model_cfg}
    model = open_clip.model.CLIP(**config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("logit"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    tokenizer.save_pretrained(folder)
    return model, config


TANH = {"act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-4}}


@pytest.mark.parametrize(
    "settings",
    [{}, {"quick_gelu": True}, {"init_logit_bias": -10.0}, {"vision_cfg": TANH, "text_cfg": TANH}],
    ids=["gelu", "quick_gelu", "logit_bias", "tanh, eps"],
)
def test_open_clip_models_give_their_own_logits_and_state_dict(settings: dict[str, Any], tmp_path: Path) -> None:
    model, _ = open_clip_folder(tmp_path / "theirs", **settings)
    import open_clip

    encoder = load_dual_encoder(tmp_path / "theirs")
    x, text = batch(encoder)
    ids = nn.functional.pad(text["input_ids"], (0, LENGTH - text["input_ids"].shape[1]))
    with torch.no_grad():
        expected = model.get_logits(x, ids)[0]
    found = off(logits(encoder, x, text), expected)
    save_dual_encoder(encoder, tmp_path / "ours", layout="open_clip")
    source = f"local-dir:{tmp_path / 'ours'}"
    again, prepare = open_clip.create_model_from_pretrained(source)
    with torch.no_grad():
        exported = off(again.eval().get_logits(x, ids)[0], expected)
    print(f"max difference {found:.1e} imported, {exported:.1e} exported")
    assert found <= 1e-5
    assert exported == 0
    before, after = (load_file(tmp_path / name / "open_clip_model.safetensors") for name in ("theirs", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    ours = encoder.vision_tower.preprocess(torch.from_numpy(pixels)[None])[0]
    assert float((ours - prepare(Image.fromarray(pixels))).abs().max()) <= 1.01 / (255 * 0.2)
    read = open_clip.get_tokenizer(source)(TEXTS)
    assert torch.equal(read[:, : text["input_ids"].shape[1]], text["input_ids"])


def test_open_clip_loads_what_transformers_wrote(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed here")
    model = clip(tmp_path / "model")
    encoder = load_dual_encoder(tmp_path / "model")
    save_dual_encoder(encoder, tmp_path / "open", layout="open_clip")
    theirs, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'open'}")
    x, text = batch(encoder)
    ids = nn.functional.pad(text["input_ids"], (0, LENGTH - text["input_ids"].shape[1]))
    with torch.no_grad():
        assert off(theirs.eval().get_logits(x, ids)[0], logits(model, x, text)) <= 1e-5


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LucidaError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CLIP in open_clip's layout."""
    clip(tmp_path / "model")
    save_dual_encoder(load_dual_encoder(tmp_path / "model"), tmp_path / "open", layout="open_clip")
    return tmp_path / "open"


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("vision_cfg", "timm_model_name", "vit_base_patch16_siglip_224"),
        ("vision_cfg", "layers", [3, 4, 6, 3]),
        ("vision_cfg", "no_ln_pre", True),
        ("vision_cfg", "pool_type", "avg"),
        ("vision_cfg", "patch_dropout", 0.5),
        ("vision_cfg", "image_size", [32, 64]),
        ("text_cfg", "hf_model_name", "roberta-base"),
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "pool_type", "last"),
        ("text_cfg", "proj_bias", True),
        ("text_cfg", "act_kwargs", {"inplace": True}),
        ("text_cfg", "norm_kwargs", {"bias": False}),
        (None, "multimodal_cfg", {"layers": 2}),
    ],
)
def test_what_open_clip_has_and_clip_has_not(part: str | None, setting: str, value: Any, folder: Path) -> None:
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    (content["model_cfg"][part] if part else content["model_cfg"])[setting] = value
    path.write_text(json.dumps(content))
    said = refusal(lambda: load_dual_encoder(folder))
    assert setting in said
    assert part is None or f"the {part.removesuffix('_cfg')} tower" in said


def test_open_clip_folders_that_do_not_fit_together(folder: Path) -> None:
    weights, path = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    state, content = load_file(weights), path.read_text()
    save_file({name: tensor for name, tensor in state.items() if name != "ln_final.bias"}, weights)
    assert "lack 'text_model.final_layer_norm.bias'" in refusal(lambda: load_dual_encoder(folder))
    save_file(state | {"visual.extra": torch.zeros(1)}, weights)
    assert "no place for 'visual.extra'" in refusal(lambda: load_dual_encoder(folder))
    save_file(state, weights)
    path.write_text(content.replace('"vocab_size": 520', '"vocab_size": 521'))
    assert "has shape [520, 24], not [521, 24]" in refusal(lambda: load_dual_encoder(folder))
    path.write_text(content.replace('"shortest"', '"longest"'))
    assert "resize_mode 'longest'" in refusal(lambda: load_dual_encoder(folder))
    path.write_text("{}")
    assert "no model_cfg" in refusal(lambda: load_dual_encoder(folder))
    path.write_text(content)
    for name in folder.glob("tokenizer*"):
        name.unlink()
    assert "openai/clip-vit-large-patch14" in refusal(lambda: load_dual_encoder(folder))
    weights.rename(folder / "open_clip_pytorch_model.bin")
    assert "pickle" in refusal(lambda: load_dual_encoder(folder))
    (folder / "open_clip_pytorch_model.bin").rename(weights)
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "broken" in refusal(lambda: load_dual_encoder(folder))


def test_towers_of_an_open_clip_folder_serve_a_run(folder: Path) -> None:
    encoder, other = load_dual_encoder(folder), load_dual_encoder(folder.with_name("model"))
    vision, text = load_vision_tower(folder), load_text_tower(folder)
    x, tokens = batch(other)
    with torch.no_grad():
        assert torch.equal(vision(x).pooled, other.vision_tower(x).pooled)
        assert torch.equal(text(**tokens), encoder.text_tower(**tokens))
    assert (vision.pooled_size, text.hidden_size) == (32, 24)


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    clip(tmp_path / "clip")
    siglip(tmp_path / "siglip")
    whole, sig = load_dual_encoder(tmp_path / "clip"), load_dual_encoder(tmp_path / "siglip")
    heads = Head(32, HeadConfig(20, 16)), Head(24, HeadConfig(20, 16))

    def save(*parts: Any, **options: Any) -> str:
        image, text, vision_tower, text_tower = parts
        encoder = DualEncoder(image, text, vision_tower=vision_tower, text_tower=text_tower)
        return refusal(lambda: save_dual_encoder(encoder, tmp_path / "out", **options))

    own = whole.image_head, whole.text_head
    assert "no vision tower" in save(*heads, None, None)
    assert "vision tower 'efficientnet-lite0'" in save(*own, EfficientNetLite0(image_size=64), whole.text_tower)
    assert "text tower 'minilm'" in save(*own, whole.vision_tower, MiniLM())
    assert "head of the vision tower (Head)" in save(*heads, whole.vision_tower, whole.text_tower)
    assert "clip and a text tower of siglip" in save(*own, whole.vision_tower, sig.text_tower)
    assert "pools by attention" in refusal(lambda: save_dual_encoder(sig, tmp_path / "out", layout="open_clip"))
    for other in ({"image_mean": [0.5] * 3}, {}):  # by default a tower sees the whole picture, nothing cut off
        alone = load_vision_tower(tmp_path / "clip", **other)
        assert "does not prepare pictures as its checkpoint says" in save(*own, alone, whole.text_tower)
    biased = Projection(nn.Linear(32, 20)), whole.text_head
    assert "head of the vision tower (Projection)" in save(*biased, whole.vision_tower, whole.text_tower)
    adapted = load_dual_encoder(tmp_path / "clip")
    adapted.text_tower.model = get_peft_model(adapted.text_tower.model, LoraConfig(target_modules=["q_proj"]))
    assert "text tower carries adapters" in refusal(lambda: save_dual_encoder(adapted, tmp_path / "out"))
    wide = Projection(nn.Linear(32, 21, bias=False)), Projection(nn.Linear(24, 20, bias=False))
    assert "'text_projection.weight' has shape [20, 24]" in save(*wide, whole.vision_tower, whole.text_tower)
    assert "no format 'onnx'" in refusal(lambda: save_dual_encoder(whole, tmp_path / "out", layout="onnx"))  # type: ignore[arg-type]
    biased = DualEncoder(*own, vision_tower=whole.vision_tower, text_tower=whole.text_tower, logit_bias=-10.0)
    assert "logit_bias" in refusal(lambda: save_dual_encoder(biased, tmp_path / "out"))
    whole.log_logit_scale.data.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="logit_scale"):
        save_dual_encoder(whole, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "siglip"], "nothing half-written"


def test_a_full_folder_stays_as_it_is(tmp_path: Path) -> None:
    clip(tmp_path / "clip")
    encoder = load_dual_encoder(tmp_path / "clip")
    before = (tmp_path / "clip" / "model.safetensors").read_bytes()
    assert "not empty" in refusal(lambda: save_dual_encoder(encoder, tmp_path / "clip"))
    assert (tmp_path / "clip" / "model.safetensors").read_bytes() == before


def test_texts_of_a_narrow_siglip_are_as_wide_as_its_last_step(tmp_path: Path) -> None:
    siglip(tmp_path, hidden_size=24, projection_size=32)
    tower = load_text_tower(tmp_path)
    assert encode_texts(tower, TEXTS).shape == (3, 32) == (3, tower.hidden_size)


SQUARED = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}


def test_pictures_that_are_made_square_first_are_not_cut(tmp_path: Path) -> None:
    """Some files ask for a crop that cuts nothing off: as in transformers, the whole picture is seen."""
    clip(tmp_path / "model")
    path = tmp_path / "model" / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"] |= SQUARED
    path.write_text(json.dumps(content))
    encoder = load_dual_encoder(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 40, 60, 3), dtype=np.uint8)
    given = hf.AutoImageProcessor.from_pretrained(tmp_path / "model")(Image.fromarray(pixels[0]), return_tensors="pt")
    found = encoder.vision_tower.preprocess(torch.from_numpy(pixels))
    assert float((found - given["pixel_values"]).abs().max()) <= 1.01 / (255 * 0.26)
    save_dual_encoder(encoder, tmp_path / "open", layout="open_clip")
    written = json.loads((tmp_path / "open" / "open_clip_config.json").read_text())
    assert written["preprocess_cfg"]["resize_mode"] == "squash"
    assert torch.equal(load_dual_encoder(tmp_path / "open").vision_tower.preprocess(torch.from_numpy(pixels)), found)
    content["image_processor"]["size"] = {"height": 40, "width": 40}
    path.write_text(json.dumps(content))
    assert "made square and then cut" in refusal(lambda: load_dual_encoder(tmp_path / "model"))


def test_a_crop_out_of_more_pixels_stays_and_has_no_place_in_open_clip(tmp_path: Path) -> None:
    clip(tmp_path / "model")
    path = tmp_path / "model" / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"]["size"] = {"shortest_edge": 37}
    path.write_text(json.dumps(content))
    encoder = load_dual_encoder(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 80, 55, 3), dtype=np.uint8)
    given = hf.AutoImageProcessor.from_pretrained(tmp_path / "model")(Image.fromarray(pixels[0]), return_tensors="pt")
    found = encoder.vision_tower.preprocess(torch.from_numpy(pixels))
    assert float((found - given["pixel_values"]).abs().max()) <= 1.01 / (255 * 0.26)
    said = refusal(lambda: save_dual_encoder(encoder, tmp_path / "out", layout="open_clip"))
    assert "how the pictures are prepared" in said


def test_models_that_are_no_dual_encoder(tmp_path: Path) -> None:
    config = hf.CLIPVisionConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    hf.CLIPVisionModel(config).save_pretrained(tmp_path)
    assert "clip_vision_model model is not read as a dual encoder" in refusal(lambda: load_dual_encoder(tmp_path))
    assert "no such folder" in refusal(lambda: load_dual_encoder(tmp_path / "gone"))


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    clip(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights: visual_projection.weight" in refusal(lambda: load_dual_encoder(tmp_path))
