"""Checkpoints of others trained, measured and given back with lucida's own loop, losses and measures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.evaluation.retrieval import retrieval_metrics
from lucida.evaluation.zero_shot import class_embeddings, zero_shot_metrics
from lucida.models.dual_encoder import DualEncoder
from lucida.models.imported_encoders import load_dual_encoder, save_dual_encoder
from lucida.models.interpolation import interpolated
from lucida.models.weights import load_weights
from lucida.training.checkpoint import latest_checkpoint
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import ContrastiveTask, SigmoidTask

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny_encoders import clip, siglip

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}
FAMILIES = {"clip": (clip, ContrastiveTask), "siglip": (siglip, SigmoidTask)}


class ColouredPictures:
    """Plain pictures with noise and their colours' names, as an encoder takes them."""

    def __init__(self, encoder: DualEncoder, count: int = 16):
        generator = np.random.default_rng(0)
        names = [*COLOURS]
        self.labels = torch.arange(count) % len(names)
        pixels = np.array([COLOURS[names[i]] for i in self.labels])[:, None, None] + generator.normal(
            0, 20, (count, 40, 48, 3)
        )
        self.pixels = encoder.vision_tower.preprocess(torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)))
        self.text = encoder.text_tower.tokenize([f"a {names[i]} cat" for i in self.labels])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int], draw: Callable[[int], Any]) -> dict[str, Any]:
        rows = torch.tensor(indices)
        text = {name: tensor[rows] for name, tensor in self.text.items()}
        return {"image": {"pixel_values": self.pixels[rows]}, "text": text, "ids": self.labels[rows]}


def settings(steps: int, **changes: Any) -> TrainConfig:
    return TrainConfig(
        Duration(steps, "steps"),
        batch_size=8,
        **{"learning_rate": 1e-3, "probe_every": None, "log_every": None} | changes,
    )


@torch.no_grad()
def logits(model: Any, data: ColouredPictures) -> Tensor:
    if isinstance(model, DualEncoder):
        return model({"pixel_values": data.pixels}, data.text)
    return model.eval()(pixel_values=data.pixels, **data.text).logits_per_image


@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_is_in_the_checkpoint_and_in_the_folder(family: str, tmp_path: Path) -> None:
    make, task = FAMILIES[family]
    original = make(tmp_path / "base")
    encoder = load_dual_encoder(tmp_path / "base")
    data = ColouredPictures(encoder)
    before = logits(original, data)
    run = RunFolder(tmp_path / "run")
    train(task(encoder), data, settings(1, warmup_share=0.0, final_fraction=1.0), run, progress=False)
    resumed = load_dual_encoder(tmp_path / "base")
    checkpoint = latest_checkpoint(run.checkpoints)
    assert checkpoint is not None
    load_weights(resumed, checkpoint)
    save_dual_encoder(resumed, tmp_path / "tuned")
    tuned = hf.AutoModel.from_pretrained(tmp_path / "tuned")
    after = logits(tuned, data)
    assert float((after - logits(encoder, data)).abs().max()) <= 1e-5
    assert float((after - before).abs().max()) > 0.01
    own = original.state_dict()
    still = {name for name, tensor in tuned.state_dict().items() if torch.equal(tensor, own[name])}
    # A bias on all keys changes no attention: its gradient is rounding. Unread rows of the vocabulary have none.
    assert all("k_proj.bias" in name or "embedding" in name for name in still), still


@pytest.mark.parametrize("family", FAMILIES)
def test_tuned_pictures_are_named_and_found(family: str, tmp_path: Path) -> None:
    make, task = FAMILIES[family]
    scale = {"scale": 10.0} if family == "clip" else {"scale": 10.0, "bias": -2.0}
    make(tmp_path / "base", **scale)
    encoder = load_dual_encoder(tmp_path / "base")
    data = ColouredPictures(encoder)

    @torch.no_grad()
    def measure() -> tuple[float, float]:
        images = encoder.encode_image(data.pixels)
        classes = class_embeddings(
            lambda texts: encoder.encode_text(**encoder.text_tower.tokenize(texts)), [*COLOURS], ["a {} cat"]
        )
        texts = encoder.encode_text(**data.text)
        named = zero_shot_metrics(images, classes, data.labels, prefix="z")["z/top1"].value
        found = retrieval_metrics(images, texts, identities=data.labels.tolist(), prefix="r")
        return named, found["r/image_to_text/recall_at_1"].value

    before = measure()
    run = RunFolder(tmp_path / "run")
    train(task(encoder), data, settings(40, micro_batch_size=4), run, progress=False)  # in halves: exact all the same
    after = measure()
    print(f"{family}: named {before[0]:.2f} to {after[0]:.2f}, found {before[1]:.2f} to {after[1]:.2f}")
    assert before[0] < 0.8
    assert after == (1.0, 1.0)


def test_halfway_to_a_tuned_model_is_a_model(tmp_path: Path) -> None:
    clip(tmp_path / "base")
    base, tuned, between = (load_dual_encoder(tmp_path / "base") for _ in range(3))
    data = ColouredPictures(base)
    train(ContrastiveTask(tuned), data, settings(5), RunFolder(tmp_path / "run"), progress=False)
    between.load_state_dict(interpolated(base.state_dict(), tuned.state_dict(), 0.5))
    save_dual_encoder(between, tmp_path / "between")
    written = hf.AutoModel.from_pretrained(tmp_path / "between")
    assert float((logits(written, data) - logits(between, data)).abs().max()) <= 1e-5
    start, end = (float((logits(written, data) - logits(each, data)).abs().max()) for each in (base, tuned))
    assert min(start, end) > 1e-3


def test_the_sigmoid_task_asks_for_a_bias(tmp_path: Path) -> None:
    clip(tmp_path / "base")
    with pytest.raises(LucidaError, match="needs a logit_bias"):
        SigmoidTask(load_dual_encoder(tmp_path / "base"))
    with pytest.raises(LucidaError, match="needs a logit_bias"):
        SigmoidTask(nn.Linear(2, 2))


def test_parts_of_a_batch_give_the_sigmoid_loss_of_the_whole(tmp_path: Path) -> None:
    ends = []
    for micro in (8, 2):
        siglip(tmp_path / f"base{micro}")
        encoder = load_dual_encoder(tmp_path / f"base{micro}")
        run = RunFolder(tmp_path / f"run{micro}")
        train(SigmoidTask(encoder), ColouredPictures(encoder), settings(2, micro_batch_size=micro), run, progress=False)
        ends.append(encoder.state_dict())
    assert float(ends[0]["logit_bias"]) != pytest.approx(-12.9, abs=1e-6)
    for name in ends[0]:
        if "k_proj.bias" not in name:  # its gradient is rounding, of which Adam makes whole steps
            torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-3, atol=2e-4)
