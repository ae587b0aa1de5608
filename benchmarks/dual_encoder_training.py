"""Training a CLIP from scratch: lucida beside open_clip's trainer, all else equal.

    python benchmarks/dual_encoder_training.py --peer OTHER/bin/python [--seeds 0 1 2] [--cifar FOLDER] [--out FILE]

``OTHER`` is an environment with ``open_clip_torch==3.3.0`` and torchvision, where ``open_clip_train`` runs. A seed is a
round of two to four minutes; those that ``--work`` holds already are not run again.

The model is a vision transformer of 6 x 192 at 64 pixels in patches of 16, a text transformer of 3 x 128 with the usual
vocabulary of 49,408 and 77 places; both sides start from one file of weights, which open_clip made by the seed, and
read the same JPEG files (CIFAR-10 as it is, 32 pixels, resized to 64) and captions (8 to 21 words), in float32, AdamW
with the same rates, warm-up, cosine and clipping, batches of 256. Pictures are not augmented on either side. Every
caption counts as another, also where two say the same, as open_clip has it. Before training, features of both sides for
32 pictures and captions must agree to 1e-4, and the tokens exactly.

Steady pictures a second are those of the median step after the first of an epoch; over whole epochs it is all steps
after the very first. open_clip reads in one worker process and in two, of which the better counts. What lucida does
less, one after the other:

- ``equal padding``: every text is 77 tokens long and every JPEG is decoded anew each time, as on the other side. The
  last layer of each tower computes the token that is pooled alone; texts are causal, so no mask is needed; AdamW is one
  kernel. ``equal padding, whole layers`` is without the first two.
- ``trimmed``: texts are as long as the longest of their batch.
- ``all``: pictures are decoded once (``lucida train`` keeps them in a memory-mapped file).

What bounds it, in operations a picture (2 for each weight and token, three times with the way back): vision, 17 tokens
of 12 · 192² · 6 weights and 16 patches of 768 · 192, 0.29 · 10^9; texts, 77 tokens of 12 · 128² · 3 weights,
0.27 · 10^9, trimmed to 20 tokens 0.07 · 10^9. The last layers without what nobody reads take 10 of 12 parts of a layer
off for all tokens but one: 0.04 and 0.08 · 10^9. ``share of the products`` is the time of matrix products of the shapes
that are left, alone, over lucida's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from lucida.core.durations import Duration
from lucida.core.results import Metric, Results, read_json, write_json
from lucida.core.run_folder import RunFolder, environment
from lucida.core.seeds import stream
from lucida.data.decoding import FileSource
from lucida.data.pairs import PixelPairs
from lucida.data.pixels import as_square
from lucida.evaluation.zero_shot import class_embeddings, zero_shot_metrics
from lucida.losses.contrastive import contrastive_loss
from lucida.models.dual_encoder import DualEncoder
from lucida.models.imported_encoders import load_dual_encoder
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import ContrastiveTask
from lucida.workflows.labelled_zero_shot import encode_pictures, encode_words

PEER = Path(__file__).resolve().with_name("open_clip_peer.py")
TRAIN, TEST, BATCH, EPOCHS, SIDE, PLACES = 5120, 1000, 256, 4, 64, 77
RATE, DECAY, WARMUP = 1e-3, 0.1, 10
SHORT = 14  # steps of an arm that is timed alone
CAPTIONS = (
    "a photo of the {} that somebody took on a sunny day",
    "there is a {} in the middle of this small and rather blurred picture, seen from the side",
    "a {} outdoors, a close-up",
    "one large {} in front of a plain background, nothing else can be seen here",
    "somebody sent us this old photograph of a {} and we do not know where it was taken",
    "a low resolution picture of a {}",
)
ARMS = {  # every text padded to all places, pictures decoded anew, the last layer computed whole
    "all": (False, False, False),
    "trimmed": (False, True, False),
    "equal padding": (True, True, False),
    "equal padding, whole layers": (True, True, True),
}


def make(folder: Path, cifar: Path, seed: int, peer: str) -> None:
    """Pictures and captions as files, and the model that both start from."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    rows = pq.read_table(cifar / "train.parquet").to_pylist()
    draw, lines = stream(seed, "benchmark"), ["filepath\ttitle"]
    for i, k in enumerate(draw.permutation(len(rows))[:TRAIN]):
        path = folder / "pictures" / f"{i}.jpg"
        path.write_bytes(rows[k]["image"]["bytes"])
        lines.append(f"{path}\t{CAPTIONS[draw.integers(len(CAPTIONS))].format(rows[k]['label'])}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    run_peer(peer, "make", folder, str(seed))
    words = json.loads((folder / "model/vocab.json").read_text())
    merges = [tuple(line.split()) for line in (folder / "model/merges.txt").read_text().splitlines()[1:]]
    CLIPTokenizer(vocab=words, merges=merges, model_max_length=PLACES).save_pretrained(folder / "model")


def run_peer(peer: str, verb: str, folder: Path, *options: str) -> None:
    """open_clip's side in a process of its own environment."""
    done = subprocess.run([peer, str(PEER), verb, str(folder), *options], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        sys.exit(f"open_clip's side ended with an error:\n{done.stderr[-3000:]}")


def theirs(folder: Path, peer: str, seed: int, workers: int, epochs: int) -> list[float]:
    """When each step of open_clip's trainer ended."""
    shutil.rmtree(folder / "logs", ignore_errors=True)
    reading = ["--train-data", str(folder / "train.csv"), "--dataset-type", "csv", "--csv-separator", "\t"]
    reading += ["--csv-img-key", "filepath", "--csv-caption-key", "title", "--workers", str(workers)]
    reading += ["--aug-cfg", "scale=(1.0, 1.0)", "--train-num-samples", str(TRAIN)]
    learning = ["--batch-size", str(BATCH), "--epochs", str(epochs), "--lr", str(RATE), "--wd", str(DECAY)]
    learning += ["--beta1", "0.9", "--beta2", "0.98", "--eps", "1e-8", "--warmup", str(WARMUP), "--grad-clip-norm", "1"]
    other = ["--device", "cpu", "--precision", "fp32", "--log-every-n-steps", "1", "--logs", str(folder / "logs")]
    other += ["--image-mean", "0.5", "0.5", "0.5", "--image-std", "0.25", "0.25", "0.25", "--seed", str(seed)]
    run_peer(peer, "train", folder, *reading, *learning, *other, "--zeroshot-frequency", "0", "--save-frequency", "0")
    return read_json(folder / "ends.json")


class Files:
    """Pictures that are decoded whenever somebody looks at them."""

    def __init__(self, paths: Sequence[str]):
        self.paths = paths

    def __getitem__(self, i: int) -> np.ndarray:
        return as_square(FileSource(self.paths[i]).open_reduced(SIDE)[0], SIDE)


def captioned(folder: Path) -> tuple[list[str], list[str]]:
    """Paths and captions."""
    lines = [line.split("\t") for line in (folder / "train.csv").read_text().splitlines()[1:]]
    return [path for path, _ in lines], [text for _, text in lines]


def pairs(folder: Path, encoder: DualEncoder, *, padded: bool, decoding: bool) -> PixelPairs:
    """The pictures and captions as an arm has them."""
    paths, captions = captioned(folder)
    unique = list(dict.fromkeys(captions))
    place = {text: k for k, text in enumerate(unique)}
    tokens = encoder.text_tower.tokenize(unique)
    room = (0, PLACES - tokens["input_ids"].shape[1]) if padded else (0, 0)
    tokens = {name: torch.nn.functional.pad(tensor, room) for name, tensor in tokens.items()}
    pixels: Any = Files(paths)
    if not decoding:
        pixels = np.stack([pixels[i] for i in range(len(paths))])
    texts, count = [np.array([place[text]]) for text in captions], np.arange(len(paths))
    return PixelPairs(pixels, count, encoder.vision_tower.preprocess, tokens, texts, count, trimmed=not padded)


def ours(folder: Path, arm: str, seed: int, steps: int) -> tuple[list[float], DualEncoder]:
    """When each step of lucida ended, and what was trained."""
    padded, decoding, whole = ARMS[arm]
    encoder = load_dual_encoder(folder / "model")
    for tower in (encoder.vision_tower, encoder.text_tower):
        tower._pools_alone = tower._pools_alone and not whole
    data = pairs(folder, encoder, padded=padded, decoding=decoding)
    config = TrainConfig(
        Duration(steps, "steps"), batch_size=BATCH, learning_rate=RATE, weight_decay=DECAY, num_warmup_steps=WARMUP,
        seed=seed, log_every=Duration(1, "steps"), checkpoint_every=None, probe_every=None,
    )  # fmt: skip
    shutil.rmtree(folder / "run", ignore_errors=True)
    run = RunFolder(folder / "run")
    train(ContrastiveTask(encoder), data, config, run, progress=False)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [row["seconds"] for row in rows if row["kind"] == "train"], encoder


def rates(ends: Sequence[float]) -> dict[str, float]:
    """Pictures a second: of the median step within an epoch, and of all steps after the first."""
    steps = np.diff(ends)
    within = [step for k, step in enumerate(steps, 1) if k % (TRAIN // BATCH)]
    return {"steady": BATCH / float(np.median(within)), "whole epochs": BATCH * len(steps) / (ends[-1] - ends[0])}


def zero_shot(folder: Path, encoder: DualEncoder, cifar: Path) -> float:
    """Top-1 among the ten classes, on pictures that nobody trained on."""
    rows = pq.read_table(cifar / "test.parquet").to_pylist()[:: 5000 // TEST]
    names = sorted({row["label"] for row in rows})
    for i, row in enumerate(rows):
        (folder / f"test-{i}.jpg").write_bytes(row["image"]["bytes"])
    files = Files([str(folder / f"test-{i}.jpg") for i in range(len(rows))])
    seen = encode_pictures(encoder, files, np.arange(len(rows)))  # type: ignore[arg-type]  # it is read like an array
    classes = class_embeddings(lambda texts: encode_words(encoder, texts), names, CAPTIONS)
    labels = [names.index(row["label"]) for row in rows]
    return zero_shot_metrics(seen, classes, labels, prefix="z")["z/top1"].value


@torch.inference_mode()
def check_same(folder: Path, peer: str) -> None:
    """Both sides see and read the same, and make the same of it."""
    run_peer(peer, "look", folder)
    other = load_file(folder / "look.safetensors")
    encoder = load_dual_encoder(folder / "model")
    paths, captions = captioned(folder)
    tokens = encoder.text_tower.tokenize(captions[:32])
    width = tokens["input_ids"].shape[1]
    filled = tokens["attention_mask"].bool()
    assert torch.equal(other["tokens"][:, :width][filled], tokens["input_ids"][filled])
    assert not other["tokens"][:, width:].any()
    seen = encode_pictures(encoder, Files(paths), np.arange(32))  # type: ignore[arg-type]
    for name, own in (("image", seen), ("text", encode_words(encoder, captions[:32]))):
        apart = float((other[name] - own).abs().max())
        assert apart < 1e-4, f"{name} features differ by {apart}"


def parts(folder: Path) -> dict[str, float]:
    """Milliseconds of computing a picture in one thread, by part of a step, texts padded to all places."""
    encoder = load_dual_encoder(folder / "model").train()
    data = pairs(folder, encoder, padded=True, decoding=True)
    began = time.process_time()
    batch = data.batch(range(64), lambda k: stream(0, k))
    reading = 1e3 * (time.process_time() - began) / 64
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=RATE, fused=True)
    found: dict[str, list[float]] = {}
    for _ in range(4):
        marks = [time.process_time()]
        seen = encoder.encode_image(**batch["image"])
        marks.append(time.process_time())
        read = encoder.encode_text(**batch["text"])
        marks.append(time.process_time())
        loss = contrastive_loss(seen, read, encoder.logit_scale, ids=batch["ids"])
        marks.append(time.process_time())
        optimizer.zero_grad()
        loss.backward()
        marks.append(time.process_time())
        optimizer.step()
        marks.append(time.process_time())
        for name, first, last in zip(STEP, marks, marks[1:], strict=False):
            found.setdefault(name, []).append(1e3 * (last - first) / 64)
    return {name: float(np.median(times[1:])) for name, times in found.items()} | {"reading": reading}


STEP = ("pictures", "texts", "loss", "backward", "optimizer")


def products(tokens: int) -> float:
    """Seconds a picture of the matrix products that are left with texts of so many tokens, there and back."""
    shapes = [(16 * BATCH, 768, 192)]
    for width, layers, length in ((192, 6, 17), (128, 3, tokens)):
        layer = [(width, width)] * 4 + [(width, 4 * width), (4 * width, width)]
        shapes += [(length * BATCH, *shape) for shape in layer * (layers - 1) + layer[:2]]
        shapes += [(BATCH, *shape) for shape in layer[2:]]
    weights = [torch.randn(k, n) for _, k, n in shapes]
    given = {(m, k): torch.randn(m, k) for m, k, _ in shapes}
    taken = []
    for _ in range(4):
        began = time.perf_counter()
        for (m, k, _), weight in zip(shapes, weights, strict=True):
            torch.mm(given[m, k], weight)
        taken.append(time.perf_counter() - began)
    return 3 * float(np.median(taken[1:])) / BATCH


def one_round(folder: Path, peer: str, cifar: Path, seed: int) -> dict[str, Any]:
    """Both sides from one start, then each arm alone."""
    make(folder, cifar, seed, peer)
    check_same(folder, peer)
    found: dict[str, Any] = {"rates": {}, "zero-shot": {}}
    steps = TRAIN // BATCH * EPOCHS
    for arm in ARMS:
        ends, encoder = ours(folder, arm, seed, steps if arm == "all" else SHORT)
        found["rates"][arm] = rates(ends)
        if arm == "all":
            found["zero-shot"]["ours"] = zero_shot(folder, encoder, cifar)
    threads = torch.get_num_threads()
    found["products"] = {str(length): products(length) for length in (20, PLACES)}
    if seed == 0:
        torch.set_num_threads(1)
        found["parts"] = {"ours": parts(folder)}
        torch.set_num_threads(threads)
        run_peer(peer, "profile", folder)
        found["parts"]["theirs"] = read_json(folder / "profile.json")
    for workers, epochs in ((2, 1), (1, EPOCHS)):  # the last one is scored
        found["rates"][f"open_clip, {workers} workers"] = rates(theirs(folder, peer, seed, workers, epochs))
    found["zero-shot"]["theirs"] = zero_shot(folder, load_dual_encoder(folder / "model"), cifar)
    found["threads"] = threads
    return found


def report(rounds: dict[int, dict[str, Any]]) -> Results:
    """Rates, ratios with the smallest and largest of a round, zero-shot by seed."""
    results = Results()
    for name in rounds[min(rounds)]["rates"]:
        for kind in ("steady", "whole epochs"):
            values = [row["rates"][name][kind] for row in rounds.values()]
            results.add(f"{name}/pictures a second, {kind}", Metric(float(np.mean(values)), None, len(values)))
    for arm in ARMS:
        ratios = []
        for row in rounds.values():
            best = max(rate["steady"] for name, rate in row["rates"].items() if name.startswith("open_clip"))
            ratios.append(row["rates"][arm]["steady"] / best)
        results.add(f"times faster, {arm}", Metric(float(np.mean(ratios)), None, len(ratios)))
        results.add(f"times faster, {arm}/smallest of a round", Metric(min(ratios)))
        results.add(f"times faster, {arm}/largest of a round", Metric(max(ratios)))
    scores = {who: [row["zero-shot"][who] for row in rounds.values()] for who in ("ours", "theirs")}
    for who, values in scores.items():
        results.add(f"{who}/zero-shot top-1", Metric(float(np.mean(values)), None, len(values)))
    gaps = np.subtract(scores["ours"], scores["theirs"])
    results.add("zero-shot, ours less theirs", Metric(float(gaps.mean()), None, len(gaps)))
    for arm, length in (("all", "20"), ("equal padding", str(PLACES))):
        shares = [row["products"][length] * row["rates"][arm]["steady"] for row in rounds.values()]
        results.add(f"share of the products, {arm}", Metric(float(np.mean(shares)), None, len(shares)))
    for who, times in rounds[min(rounds)].get("parts", {}).items():
        for part, milliseconds in times.items():
            results.add(f"{who}/ms of one core a picture/{part}", Metric(milliseconds))
    results.details = {"zero-shot by seed": scores, "seeds": [*rounds], "environment": environment(0)}
    return results


def main() -> None:
    """Run the rounds that are missing, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the python of an environment with open_clip_train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cifar", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dual-encoder-training")
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/dual-encoder-training.json"))
    given = parser.parse_args()
    if not given.cifar.is_dir():
        print(f"skipped: there are no photographs in {given.cifar}")
        return
    for seed in given.seeds:
        kept = given.work / f"seed-{seed}.json"
        if not kept.exists():
            folder, peer = (
                (given.work / "round").resolve(),
                str(Path(given.peer).absolute()),
            )  # a link is the environment
            write_json(kept, one_round(folder, peer, given.cifar.resolve(), seed))
    results = report({seed: read_json(given.work / f"seed-{seed}.json") for seed in given.seeds})
    for metric, value in results.metrics.items():
        print(f"{metric:62} {value.value:10.4g}")
    results.save(given.out)


if __name__ == "__main__":
    main()
