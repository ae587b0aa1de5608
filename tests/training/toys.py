"""A few tiny problems with everything that makes real ones hard, and a run of them as a script of its own.

Answers of different length, epochs that no batch size divides, a random draw for each example, dropout, several pairs
of one identity. The script is what the tests kill, resume and launch in several processes::

    python tests/training/toys.py FOLDER contrastive language:4 --steps 50
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss, shift_labels
from lucida.models.captioner import Captioner
from lucida.models.image_text_models import ImageTextModel
from lucida.models.seen_pictures import SeenPictures
from lucida.training.batches import Batch, Draw
from lucida.training.chats import ChatData
from lucida.training.distributed import Accelerator, leave_processes
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import ClassificationTask, ContrastiveTask, LanguageTask, MultiTask, Part


class DualEncoder(nn.Module):
    """Two linear encoders, dropout on one of them, a learned scale."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.image = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 8))
        self.text = nn.Linear(5, 8)
        self.log_logit_scale = nn.Parameter(torch.tensor(2.0))

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=100)

    def encode_image(self, x: Tensor) -> Tensor:
        return F.normalize(self.image(x), dim=-1)

    def encode_text(self, x: Tensor) -> Tensor:
        return F.normalize(self.text(x), dim=-1)


@dataclass(frozen=True)
class Pairs:
    """Noisy views of ``count`` pairs; every third pair shares its identity with the one before."""

    count: int = 53
    noise: float = 0.1

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        concepts = [index - (index % 3 == 2) for index in indices]
        hidden = np.stack([np.random.default_rng(c).normal(size=6) for c in concepts])
        images = hidden + self.noise * np.stack([draw(k).normal(size=6) for k in range(len(indices))])
        return {
            "image": {"x": torch.tensor(images, dtype=torch.float32)},
            "text": {"x": torch.tensor(hidden[:, :5] ** 2, dtype=torch.float32)},
            "ids": torch.tensor(concepts),
        }


class Told(Pairs):
    """The same pairs with a caption of one to nine words each, and a class for two in three of them."""

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        said = Sentences().batch(indices, draw)
        classes = [index % 4 if index % 3 else IGNORE_INDEX for index in indices]
        told = {"words": said["input_ids"], "next": shift_labels(said["labels"]), "classes": torch.tensor(classes)}
        return super().batch(indices, draw) | told


class Named(nn.Module):
    """Classes by a linear layer on picture features."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, image_features: Tensor) -> Tensor:
        return self.linear(image_features)


class LanguageOutput(NamedTuple):
    loss_sum: Tensor
    n_supervised: Tensor


class LanguageModel(nn.Module):
    """Embedding, one hidden layer, tied output."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.hidden = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(dropout))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, input_ids: Tensor, labels: Tensor) -> LanguageOutput:
        self.calls += 1
        states = self.hidden(self.embedding(input_ids))
        aligned = shift_labels(labels).flatten()
        loss = language_modeling_loss(states.flatten(0, 1), self.embedding.weight, aligned, reduction="sum")
        return LanguageOutput(loss, (aligned != IGNORE_INDEX).sum())


@dataclass(frozen=True)
class Sentences:
    """Counting modulo 12 from a drawn start; between 1 and 9 supervised tokens, so means of means would be wrong."""

    count: int = 53

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        ids = np.full((len(indices), 10), 0)
        labels = np.full((len(indices), 10), IGNORE_INDEX)
        for k, index in enumerate(indices):
            supervised = 1 + index % 9
            ids[k] = (draw(k).integers(12) + np.arange(10)) % 12
            labels[k, 10 - supervised :] = ids[k, 10 - supervised :]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


class Tokens(NamedTuple):
    input_ids: np.ndarray
    labels: np.ndarray


def chats() -> ChatData:
    """Conversations of different length about none, one or two pictures of two tokens each."""
    generator = np.random.default_rng(0)
    pictures = [list(range(k % 3)) for k in range(53)]
    encoded = []
    for k, own in enumerate(pictures):
        ids = np.concatenate([[4, 4] * len(own), generator.integers(5, 30, size=6 + k % 5)]).astype(np.int64)
        encoded.append(Tokens(ids, np.where(np.arange(len(ids)) >= len(ids) - 1 - k % 4, ids, IGNORE_INDEX)))
    values = generator.normal(size=(4, 16)).astype(np.float32)
    return ChatData(encoded, pictures, SeenPictures(values, np.array([0, 2, 4])))


def adapted(dropout: float) -> ImageTextModel:
    """A small LLaVA under LoRA."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=8
        ),
        text_config=LlamaConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=30
        ),
        image_token_id=4,
    )
    lora = LoraConfig(r=2, lora_alpha=4, lora_dropout=dropout, target_modules=r".*language_model.*_proj")
    model = LlavaForConditionalGeneration(config)
    get_peft_model(model, lora)
    return ImageTextModel(model)


def toy(name: str, dropout: float = 0.0) -> tuple[Any, Any]:
    """Task and data of a toy, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "contrastive":
            return ContrastiveTask(DualEncoder(dropout), label_smoothing=0.05), Pairs()
        if name == "multi":
            said = {"image_features": "image_features", "input_ids": "words", "labels": "next"}
            captioner = LanguageTask(Captioner(8, 12, hidden_size=8, heads=2, dropout=dropout))
            classes = ClassificationTask(Named())
            main = ContrastiveTask(DualEncoder(dropout), label_smoothing=0.05, hard_negatives=0.3)
            parts = {
                "captioning": Part(captioner, 0.7, said),
                "classification": Part(classes, 0.3, {"image_features": "image_features", "labels": "classes"}),
            }
            return MultiTask(main, parts), Told()
        if name == "chats":
            return LanguageTask(adapted(dropout)), chats()
        return LanguageTask(LanguageModel(dropout)), Sentences()


def settings(steps: int, **changes: Any) -> TrainConfig:
    """A short run that logs every step."""
    every = {"log_every": Duration(1, "steps"), "checkpoint_every": None}
    return TrainConfig(**({"duration": Duration(steps, "steps"), "batch_size": 16} | every | changes))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "task", nargs="+", help="one run each: contrastive, multi, language, chats, or with micro-batches language:3"
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--checkpoint-every", type=int)
    parser.add_argument("--sharding", default="none")
    options = parser.parse_args(arguments)
    every = Duration(options.checkpoint_every, "steps") if options.checkpoint_every else None
    for run in options.task:
        name, _, size = run.partition(":")
        task, data = toy(name, options.dropout)
        config = settings(
            options.steps,
            micro_batch_size=int(size) if size else None,
            checkpoint_every=every,
            sharding=options.sharding,
        )
        train(task, data, config, RunFolder(options.folder / run), resume=True, progress=False)
    assert Accelerator().num_processes == int(os.environ.get("WORLD_SIZE", 1))  # the launcher's processes took part
    sys.stdout.write(f"processes: {Accelerator().num_processes}\n")  # one write: the processes share the stream
    leave_processes()


if __name__ == "__main__":
    main(globals().get("ARGUMENTS"))
