"""open_clip's side of ``dual_encoder_training.py``, for an environment of its own: nothing of lucida is imported.

python benchmarks/open_clip_peer.py make FOLDER SEED       the model, its weights and its tokenizer's words
python benchmarks/open_clip_peer.py train FOLDER [options of open_clip_train.main]
python benchmarks/open_clip_peer.py look FOLDER            what the model makes of the first pictures and captions
python benchmarks/open_clip_peer.py profile FOLDER         where the time of its training step goes
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip_train import main as trainer
from PIL import Image
from safetensors.torch import load_file, save_file

NAME = "small"
MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 6, "width": 192, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3},
}
WEIGHTS = "open_clip_model.safetensors"


def make(folder: Path, seed: int) -> None:
    """A fresh model in open_clip's layout, and words and merges of its tokenizer."""
    (folder / f"{NAME}.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(seed)
    model = open_clip.create_model(NAME)
    out = folder / "model"
    out.mkdir()
    cfg = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "size": [64, 64]}}
    cfg["preprocess_cfg"] |= {"interpolation": "bicubic", "resize_mode": "shortest", "mode": "RGB"}
    (out / "open_clip_config.json").write_text(json.dumps(cfg))
    save_file(model.state_dict(), out / WEIGHTS)
    torch.save(model.state_dict(), folder / "weights.pt")
    words = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}  # as Hugging Face writes them
    (out / "vocab.json").write_text(json.dumps({names.get(word, word): k for word, k in words.encoder.items()}))
    (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in words.bpe_ranks))


def train(folder: Path, options: list[str]) -> None:
    """open_clip's own trainer, with the time of every step's end beside its log."""
    open_clip.add_model_config(folder / f"{NAME}.json")
    ends: list[float] = []
    log = trainer.logging.info

    def noted(message: str, *given: Any) -> None:
        if str(message).startswith("Train Epoch"):
            ends.append(time.perf_counter())
        log(message, *given)

    trainer.logging.info = noted
    trainer.main(["--model", NAME, "--pretrained", str(folder / "weights.pt"), *options])
    (folder / "ends.json").write_text(json.dumps(ends))
    checkpoints = sorted((folder / "logs").glob("*/checkpoints/epoch_*.pt"), key=lambda path: path.stat().st_mtime)
    if checkpoints:
        state = torch.load(checkpoints[-1], map_location="cpu", weights_only=False)["state_dict"]
        save_file({name.removeprefix("module."): tensor for name, tensor in state.items()}, folder / "model" / WEIGHTS)


def _model_and_rows(folder: Path, count: int) -> Any:
    open_clip.add_model_config(folder / f"{NAME}.json")
    statistics = {"image_mean": (0.5,) * 3, "image_std": (0.25,) * 3}
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, **statistics)
    model.load_state_dict(load_file(folder / "model" / WEIGHTS))
    rows = [line.split("\t") for line in (folder / "train.csv").read_text().splitlines()[1 : count + 1]]
    images = torch.stack([preprocess(Image.open(path)) for path, _ in rows])
    read = open_clip.get_tokenizer(NAME)([text for _, text in rows])
    return model, images, read, preprocess, [path for path, _ in rows]


@torch.no_grad()
def look(folder: Path) -> None:
    """Features of the first pictures and captions, and the captions' tokens."""
    model, images, tokens, *_ = _model_and_rows(folder, 32)
    model.eval()
    found = {"image": model.encode_image(images, normalize=True), "text": model.encode_text(tokens, normalize=True)}
    save_file({**found, "tokens": tokens}, folder / "look.safetensors")


def profile(folder: Path) -> None:
    """Milliseconds a picture of a training step, by operation."""
    model, images, tokens, preprocess, paths = _model_and_rows(folder, 64)
    torch.set_num_threads(1)
    loss = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    names, parts = ("pictures", "texts", "loss", "backward", "optimizer"), {}
    for _ in range(4):
        marks = [time.process_time()]
        features = model.train().encode_image(images, normalize=True)
        marks.append(time.process_time())
        read = model.encode_text(tokens, normalize=True)
        marks.append(time.process_time())
        value = loss(features, read, model.logit_scale.exp())
        marks.append(time.process_time())
        optimizer.zero_grad()
        value.backward()
        marks.append(time.process_time())
        optimizer.step()
        marks.append(time.process_time())
        for name, first, last in zip(names, marks, marks[1:], strict=False):
            parts.setdefault(name, []).append(1e3 * (last - first) / len(images))
    began = time.process_time()
    for path in paths[:64]:
        preprocess(Image.open(path))
    found = {name: sorted(times[1:])[1] for name, times in parts.items()}
    (folder / "profile.json").write_text(json.dumps(found | {"reading": 1e3 * (time.process_time() - began) / 64}))


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    verbs = {"make": make, "train": train, "look": look, "profile": profile}
    verbs[verb](Path(where), *([rest] if verb == "train" else map(int, rest)))
