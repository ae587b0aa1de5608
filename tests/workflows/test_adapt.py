"""``lucida adapt`` and ``lucida ask`` on tiny models of two families: files, numbers, the adapter in peft, errors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from lucida.cli import main
from lucida.core.durations import Duration
from lucida.core.results import Results
from lucida.data.chat_tokens import ChatTokens
from lucida.models.adapters import LoraSettings
from lucida.models.image_text_models import load_image_text_model
from lucida.training.loop import TrainConfig
from lucida.workflows.adapt import AdaptConfig, adapt
from lucida.workflows.adapted_models import load_model_or_run
from lucida.workflows.chat_material import chat_material, load_chats
from lucida.workflows.chat_measures import chat_loss

COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (30, 180, 60), "grey": (120, 120, 120)}
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
VISION = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
}


def _processors() -> ModuleType:
    path = Path(__file__).parents[1] / "data" / "tiny_processors.py"
    specification = importlib.util.spec_from_file_location("lucida_tiny_processors", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def save_model(family: str, folder: Path) -> Path:
    """A random model with its processor."""
    tiny = _processors()
    processor = tiny.llava_processor() if family == "llava" else tiny.smolvlm_processor()
    tokenizer = processor.tokenizer
    text = LlamaConfig(
        **TEXT, vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    if family == "llava":
        vision = CLIPVisionConfig(**VISION, patch_size=8)
        model: Any = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=text, image_token_id=image)
        )
    else:
        config = Idefics3Config(
            vision_config={**VISION, "patch_size": 8}, text_config=text, image_token_id=image, scale_factor=2
        )
        model = Idefics3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of four colours, asked for their colour."""
    folder, generator, rows = tmp_path_factory.mktemp("chats"), np.random.default_rng(0), []
    for i in range(24):
        name, colour = list(COLOURS.items())[i % 4]
        pixels = np.array(colour) + generator.normal(0, 8, (40, 40, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        asked = {"from": "human", "value": "<image>\nWhat do you see?"}
        rows.append({"image": f"{i}.png", "conversations": [asked, {"from": "gpt", "value": name}]})
    rows.append({"image": "missing.png", "conversations": rows[0]["conversations"]})
    (folder / "chats.json").write_text(json.dumps(rows))
    return folder / "chats.json"


def settings(model: Path, chats: Path, out: Path, **changes: Any) -> AdaptConfig:
    training = TrainConfig(
        Duration(12, "steps"), batch_size=8, micro_batch_size=4, learning_rate=0.02, weight_decay=0.0, probe_every=None
    )
    lora = LoraSettings(r=4, lora_alpha=8)
    given = {"validation_share": 0.3, "answers": 4, "max_new_tokens": 6, "train": training, "lora": lora}
    return AdaptConfig(str(model), chats, out=out, **(given | changes))


@pytest.fixture(scope="module", params=["llava", "smolvlm"])
def done(request: pytest.FixtureRequest, chats: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    model = save_model(request.param, folder / "model")
    report = adapt(settings(model, chats, folder / "run"))
    assert report == folder / "run" / "report.html"
    return model, folder / "run"


def test_held_out_chats_get_better_and_both_stand_in_the_results(done: tuple[Path, Path]) -> None:
    results = Results.load(done[1] / "results.json")
    before, after = (results.metrics[f"{when}/loss"].value for when in ("before", "after"))
    assert after < before - 0.05  # a random vocabulary of 32 dimensions allows no more
    assert results.metrics["after/exact_match"].n == 4
    trained, everything = (results.metrics[f"parameters/{which}"].value for which in ("trained", "all"))
    assert 0 < trained < 0.2 * everything
    page = (done[1] / "report.html").read_text("utf-8")
    assert "Before" in page
    assert "What do you see?" in page
    skipped = (done[1] / "skipped.jsonl").read_text("utf-8").splitlines()
    assert len(skipped) == 1
    assert "missing.png" in skipped[0]


def test_the_adapter_is_the_same_in_peft_and_when_it_is_asked(done: tuple[Path, Path], chats: Path) -> None:
    model, run = done
    ours, processor = load_model_or_run(run)
    base = AutoModelForImageTextToText.from_pretrained(model).eval()
    theirs = PeftModel.from_pretrained(base, run / "adapter").eval()
    picture = Image.open(chats.parent / "0.png")
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What do you see?"}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    inputs = processor(text=[text], images=[[picture]], return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(ours.hugging_face.eval()(**inputs).logits, theirs(**inputs).logits)


def test_the_recorded_loss_is_that_of_the_saved_adapter(done: tuple[Path, Path], chats: Path) -> None:
    model, processor = load_model_or_run(done[1])
    tokens = ChatTokens(processor)
    train, validation = load_chats(chats, None, tokens).split(0.3, 0)
    material = chat_material(model, tokens, train, validation, what="projected")
    recorded = Results.load(done[1] / "results.json").metrics["after/loss"].value
    assert chat_loss(model, material.validation_data)[0] == pytest.approx(recorded, abs=1e-4)


def test_a_run_and_its_model_are_measured_on_other_chats(
    done: tuple[Path, Path], chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = []
    for which in done:
        out = tmp_path / which.name
        given = ["--model", str(which), "--data", str(chats), "--out", str(out), "--answers", "5"]
        main(["evaluate", "chats", *given])
        results = Results.load(out / "results.json")
        assert results.metrics["chats/exact_match"].n == 5
        losses.append(results.metrics["chats/loss"].value)
        assert "What do you see?" in (out / "report.html").read_text("utf-8")
        assert "missing.png" in (out / "skipped.jsonl").read_text("utf-8")
    assert losses[1] < losses[0]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "chats", "--model", str(done[0])])
    assert stopped.value.code == 2
    assert "no chats were named" in capsys.readouterr().err


def test_the_exported_model_answers_alike_in_transformers_alone(
    done: tuple[Path, Path], chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(done[1]), str(tmp_path / "merged")])
    said = capsys.readouterr().out
    assert "100.00 %" in said
    ours, processor = load_model_or_run(done[1])
    theirs = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What do you see?"}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    inputs = processor(text=[text], images=[[Image.open(chats.parent / "2.png")]], return_tensors="pt")
    generated = [m.eval().generate(**inputs, max_new_tokens=8, do_sample=False) for m in (ours.hugging_face, theirs)]
    assert torch.equal(*generated)
    with pytest.raises(SystemExit):
        main(["export", str(done[1]), str(tmp_path / "merged")])
    assert "not empty" in capsys.readouterr().err


def test_a_run_and_a_model_can_be_asked(
    done: tuple[Path, Path], chats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in done:
        main(["ask", str(source), str(chats.parent / "1.png"), "What do you see?"])
        assert capsys.readouterr().out.strip()


def test_the_projector_is_trained_and_saved_with_the_adapter(chats: Path, tmp_path: Path) -> None:
    model = save_model("llava", tmp_path / "model")
    lora = LoraSettings(r=4, lora_alpha=8, train_projector=True)
    adapt(settings(model, chats, tmp_path / "run", lora=lora))
    before, _ = load_image_text_model(model)
    after, _ = load_model_or_run(tmp_path / "run")
    pixels = {"pixel_values": torch.randn(1, 3, 32, 32)}
    assert not torch.allclose(before.see(pixels)[0], after.see(pixels)[0])


def test_everything_supervises_questions_too(chats: Path, tmp_path: Path) -> None:
    model, processor = load_image_text_model(save_model("llava", tmp_path / "model"))
    tokens = ChatTokens(processor)
    train, validation = load_chats(chats, None, tokens).split(0.3, 0)
    answers, everything = (
        chat_material(model, tokens, train, validation, what="projected", everything=every) for every in (False, True)
    )
    for few, many in zip(answers.train_data.chats, everything.train_data.chats, strict=True):
        kept = few.labels != -100
        assert (many.labels[kept] == few.labels[kept]).all()
        assert (many.labels != -100).sum() > kept.sum()
        assert (many.labels[few.input_ids == model.image_token_id] == -100).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no model was named"),
        (["--model", "MODEL"], "no chats were named"),
        (["--model", "nowhere/at/all", "--data", "CHATS"], "no such folder"),
        (["--model", "MODEL", "--data", "nowhere.json"], "cannot read the chats"),
        (["--model", "MODEL", "--data", "CHATS", "--lora.target-modules", "nothing"], "nothing"),
        (["--model", "MODEL", "--data", "CHATS", "--max-length", "12"], "12"),
        (["--model", "MODEL", "--data", "CHATS", "--validation-share", "0"], "validation_share cannot be 0"),
    ],
)
def test_bad_input_is_one_line_before_training_starts(
    words: list[str], said: str, chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"MODEL": str(save_model("llava", tmp_path / "model")), "CHATS": str(chats)}
    with pytest.raises(SystemExit) as stopped:
        main(["adapt", "--out", str(tmp_path / "out"), *(given.get(word, word) for word in words)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 2
    assert error.startswith("lucida: ")
    assert said in error
    assert not list(tmp_path.glob("out/checkpoints/*"))
