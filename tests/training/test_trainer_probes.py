"""Probes in Hugging Face ``Trainer`` and in TRL's ``SFTTrainer``, on models of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from lucida.training.findings import find, read_rows
from lucida.training.probes import ProbeCallback


class Counting(Dataset[dict[str, torch.Tensor]]):
    """Counting modulo 30 from some start; ``masked``: no token is supervised."""

    def __init__(self, *, masked: bool = False):
        self.masked = masked

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = (torch.arange(12) + index) % 30
        labels = torch.full_like(ids, -100) if self.masked else ids.clone()
        labels[:3] = -100
        return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, max_position_embeddings=64, **sizes))


def settings(folder: Path, **changes: Any) -> Any:
    from transformers import TrainingArguments

    given = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_steps": 40,
        "learning_rate": 3e-3,
        "report_to": [],
        "logging_steps": 5,
        "save_steps": 20,
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    return TrainingArguments(output_dir=str(folder), **(given | changes))


def train(folder: Path, *callbacks: Any, masked: bool = False, resume: bool = False, **changes: Any) -> Any:
    from transformers import Trainer

    model = llama()
    trainer = Trainer(model, settings(folder, **changes), train_dataset=Counting(masked=masked))
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=resume or None)
    return model


def test_two_lines_watch_a_trainer(tmp_path: Path) -> None:
    model = train(tmp_path / "watched", ProbeCallback())
    rows = read_rows(tmp_path / "watched" / "probes.jsonl")
    assert [row["step"] for row in rows] == [0, 1, 10, 20, 30, 40]
    row = rows[-1]
    assert row["supervised"] == pytest.approx(0.75)
    assert {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "lm_head"} <= set(row["layers"])
    assert all(0 < row["attention"][f"model.layers.{k}.self_attn"] <= 1 for k in (0, 1))
    assert row["loss"] < rows[1]["loss"]
    assert row["logged_loss"] > 0
    assert find(rows) == []
    assert not any(m._forward_hooks for m in model.modules())

    plain = train(tmp_path / "plain")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_masked_labels_are_found(tmp_path: Path) -> None:
    train(tmp_path, ProbeCallback(every=5), masked=True)
    assert find(read_rows(tmp_path / "probes.jsonl"))[0].name == "nothing-supervised"


def test_a_resumed_trainer_goes_on_in_the_same_file(tmp_path: Path) -> None:
    train(tmp_path, ProbeCallback(), max_steps=20)
    train(tmp_path, ProbeCallback(), resume=True)
    rows = [json.loads(line) for line in (tmp_path / "probes.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 10, 20, 30, 40]


def test_a_trainer_of_trl(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="trl is not installed")
    from datasets import Dataset as Rows

    from lucida.data.tokenization import train_tokenizer

    texts = [f"question {k} answer {k % 7}" for k in range(64)]
    tokenizer = train_tokenizer(texts)
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path), max_steps=20, per_device_train_batch_size=4, report_to=[], use_cpu=True, bf16=False
    )
    trainer = trl.SFTTrainer(
        model=model, args=arguments, train_dataset=Rows.from_dict({"text": texts}), processing_class=tokenizer
    )
    trainer.add_callback(ProbeCallback())
    trainer.train()
    rows = read_rows(tmp_path / "probes.jsonl")
    assert [row["step"] for row in rows] == [0, 1, 10, 20]
    assert rows[-1]["supervised"] > 0
