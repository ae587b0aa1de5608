"""The contrastive loss in tiles against open_clip's `ClipLoss`, and against the four matrix products that bound it.

    python benchmarks/contrastive_loss.py [--out docs/results/benchmarks/contrastive-loss.json] [--large]

16,384 pairs of width 512, float32, logit_scale 50, gradients of both features and of the scale. Every way runs in a
process of its own, in turns: a warm-up call on a quarter of the rows; a first call, whose memory is what the process
holds in no file (``RssAnon``) above what it holds before, the gradients (67 MB) among it; then warm ones, as in a
training, of which the median counts (the first call also pays for memory that the process has not had before: it is
kept as "first call"). `ClipLoss` is that of the installed open_clip (its file alone is loaded, since the package needs
torchvision); without it, pass --open-clip the folder it lies in. Loss and gradients must agree to 1e-4.

What bounds it. Scores once for the sums and once for the gradient, and two products with that: 4 · 2·B²·d operations,
1.1·10^12 here. "Four products" is their time in the same process in turns with the warm calls, over the whole matrix,
with ``out=``: 1 GB of scores that no loss would have to hold. Beside them the tiles take three passes over B² numbers
in the forward pass (exponential, sums of rows, sums of columns) and three in the backward pass (exponential, sum of two
weights, product), each in a processor's cache. --large measures 65,536 pairs (16 times the operations) for memory and
for the same ratio to the products, which are timed on 16,384 and multiplied by 16; a single, first call.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from anonymous_memory import Peak
from torch import Tensor
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.losses.contrastive import contrastive_loss

ROWS, LARGE, WIDTH, SCALE, REPEATS, WARM = 16_384, 65_536, 512, 50.0, 3, 3
OURS, PEER = "in tiles", "open_clip ClipLoss"
VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {},
    "identities": {"ids": True},
    "smoothing": {"label_smoothing": 0.1},
    "hard negatives": {"hard_negatives": 0.5},
    "all three": {"ids": True, "label_smoothing": 0.1, "hard_negatives": 0.5},
}


def inputs(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features of which the pairs belong together, and the scale; the same in every process."""
    generator = torch.Generator().manual_seed(0)
    images, noise = (F.normalize(torch.randn(rows, WIDTH, generator=generator), dim=-1) for _ in range(2))
    texts = F.normalize(images + 6 * noise, dim=-1)
    return images.requires_grad_(), texts.requires_grad_(), torch.tensor(SCALE, requires_grad=True)


def clip_loss(folder: str | None) -> Any:
    """open_clip's `ClipLoss` in one process."""
    found = Path(folder) if folder else None
    if found is None and (specification := importlib.util.find_spec("open_clip")) is not None:
        found = Path(str(specification.origin)).parent
    if found is None or not (found / "loss.py").is_file():
        raise LucidaError(
            "open_clip's loss.py is not there", remedy="--open-clip FOLDER, or pip install open_clip_torch"
        )
    specification = importlib.util.spec_from_file_location("open_clip_loss", found / "loss.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.ClipLoss()


def child(way: str, rows: int, folder: str | None) -> dict[str, float]:
    """One measured call, with numbers by which gradients can be compared; and the products, in the same process."""
    peer = clip_loss(folder) if way == PEER else None
    settings = dict(VARIANTS.get(way, {}))
    repeated = settings.pop("ids", False)

    def call(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        if peer is not None:
            return peer(images, texts, scale)
        ids = torch.arange(len(images)) // 2 if repeated else None
        return contrastive_loss(images, texts, scale, ids=ids, **settings)

    call(*inputs(min(rows, ROWS) // 4)).backward()
    images, texts, scale = inputs(rows)
    with Peak(every=0.02) as peak:
        loss = call(images, texts, scale)
        loss.backward()
    found = {"first": peak.seconds, "mb": peak.mb, "loss": loss.item()}
    probe = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))
    for name, leaf in (("images", images), ("texts", texts)):
        assert leaf.grad is not None
        found[f"of {name}"] = float((leaf.grad * probe).sum())
    assert scale.grad is not None
    found["of the scale"] = scale.grad.item()
    if rows > ROWS:  # once: a call takes minutes
        small = [each.detach()[:ROWS] for each in (images, texts)]
        return found | {"seconds": peak.seconds, "products": products(*small)[-1] * (rows / ROWS) ** 2}
    seconds, bound = [], []
    for _ in range(WARM):
        images.grad = texts.grad = scale.grad = None  # as a training does
        began = time.perf_counter()
        call(images, texts, scale).backward()
        seconds.append(time.perf_counter() - began)
        if way == OURS:
            bound.append(products(images.detach(), texts.detach())[-1])
    found["seconds"] = statistics.median(seconds)
    return found | ({"products": statistics.median(bound)} if bound else {})


def products(images: Tensor, texts: Tensor) -> list[float]:
    """Seconds of four products over the whole matrix, scores twice, and once with either side; the last are warm."""
    scores, out = torch.zeros(len(images), len(texts)), torch.zeros_like(images)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        torch.mm(images, texts.T, out=scores)
        torch.mm(images, texts.T, out=scores)
        torch.mm(scores, texts, out=out)
        torch.mm(scores.T, images, out=out)
        seconds.append(time.perf_counter() - began)
    return seconds


def measured(way: str, rows: int, folder: str | None) -> dict[str, float]:
    """A call in a process of its own."""
    command = [sys.executable, __file__, "--child", way, "--rows", str(rows)]
    command += ["--open-clip", folder] if folder else []
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return found


def measure(results: Results, folder: str | None) -> None:
    """All ways in turns."""
    ways = (PEER, *VARIANTS)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way in ways:
            found[way].append(measured(way, ROWS, folder))
    for name in ("loss", "of images", "of texts", "of the scale"):
        off = abs(found[PEER][0][name] / found[OURS][0][name] - 1)
        assert off < 1e-4, f"{name} differs by {off:.1e}"
        results.add(f"difference/{name}", Metric(off, None, 1))
    ours = [run["seconds"] for run in found[OURS]]
    for way, runs in found.items():
        results.add(f"{way}/seconds", _spread([run["seconds"] for run in runs]))
        results.add(f"{way}/seconds of the first call", _spread([run["first"] for run in runs]))
        results.add(f"{way}/extra MB", _spread([run["mb"] for run in runs]))
        results.add(
            f"{way}/times the seconds in tiles", _spread([r["seconds"] / o for r, o in zip(runs, ours, strict=True)])
        )
    results.add("times the four products", _spread([run["seconds"] / run["products"] for run in found[OURS]]))
    peer = statistics.median(run["mb"] for run in found[PEER])
    results.add("share of the peer's extra memory", _spread([run["mb"] / peer for run in found[OURS]]))


def measure_large(results: Results) -> None:
    """65,536 pairs, once."""
    found = measured(OURS, LARGE, None)
    results.add("65,536 pairs/seconds", Metric(found["seconds"], None, 1))
    results.add("65,536 pairs/extra MB", Metric(found["mb"], None, 1))
    results.add("65,536 pairs/times the four products", Metric(found["seconds"] / found["products"], None, 1))


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/contrastive-loss.json"))
    parser.add_argument("--large", action="store_true", help="65,536 pairs, too")
    parser.add_argument("--open-clip", help="the folder of open_clip's loss.py")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child, given.rows, given.open_clip)))
        return
    results = Results()
    measure(results, given.open_clip)
    if given.large:
        measure_large(results)
    for name, metric in results.metrics.items():
        print(f"{name:60} {metric.value:11.4g}  {metric.ci95}")
    results.details = {
        "interval": "smallest and largest of the repeats",
        "rows": ROWS, "width": WIDTH, "scale": SCALE, "repeats": REPEATS, "warm calls": WARM,
        "threads": torch.get_num_threads(), "environment": environment(seed=0),
    }  # fmt: skip
    results.save(given.out)


def _spread(values: list[float]) -> Metric:
    return Metric(statistics.median(values), (min(values), max(values)), len(values))


if __name__ == "__main__":
    main()
