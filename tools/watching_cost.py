"""What watching costs the workbench's own runs, at its default settings.

    python tools/watching_cost.py --out docs/results/watching-cost.json

Each stage that trains (naming places, answering, the heads of the dual encoder) runs twice side by side, watched every
tenth step and unwatched, ten steps in turn; processor time of one thread. The data are few, their sizes the default's.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.data.emoji import read_emoji
from lucida.data.lessons import Lesson
from lucida.models.dual_encoder import DualEncoder, Head, HeadConfig
from lucida.training.batches import BatchStream
from lucida.training.distributed import Accelerator
from lucida.training.loop import TrainConfig, make_optimizer, training_steps
from lucida.training.probes import watch
from lucida.training.state import TrainState
from lucida.training.tasks import ContrastiveTask, LanguageTask
from lucida.workflows.artwork_run import emoji_world
from lucida.workflows.language_stage import LanguageRun
from lucida.workflows.recipes import load

Stage = tuple[str, Any, Any, TrainConfig]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/watching-cost.json"))
    parser.add_argument("--pairs", type=int, default=6)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = Results()
    for name, task, data, config in stages():
        ratios, seconds = cost(task, data, config, options.pairs)
        results.add(f"cost/{name}", Metric(statistics.median(ratios), None, len(ratios)))
        results.details[name] = {"milliseconds_a_step": 1000 * seconds, "ratios": ratios}
        print(f"{name:20} {1000 * seconds:8.1f} ms a step  x {statistics.median(ratios):.4f}", flush=True)
    results.details["environment"] = environment(0)
    results.save(options.out)


class Random:
    """Features of the sizes of the default's towers."""

    def __len__(self) -> int:
        return 4096

    def batch(self, indices: Sequence[int], draw: Any) -> dict[str, Any]:
        n = len(indices)
        image, text = torch.randn(n, 1280), torch.randn(n, 384)
        return {"image": {"features": image}, "text": {"features": text}, "ids": torch.tensor(list(indices))}


def stages() -> Iterator[Stage]:
    """The default recipe's stages on few data."""
    from lucida.workflows.language_stage import ConversationData

    config = load("default")
    heads = DualEncoder(Head(1280, HeadConfig()), Head(384, HeadConfig()))
    yield "dual_encoder", ContrastiveTask(heads), Random(), config.encoder.train
    world = emoji_world(read_emoji(split_seed=0), config)
    run = LanguageRun(Lesson.of_scenes(world, "train", 200), config.language, size=config.scenes.size)
    run.model.requires_grad_(True)
    run.answerer.tower.requires_grad_(False)
    data = ConversationData(run.lesson, run.answerer.chat, lambda: run.answerer.see(run.lesson.gallery))
    yield "language", LanguageTask(run.model), data, config.language.train


def cost(task: Any, data: Any, config: TrainConfig, pairs: int) -> tuple[list[float], float]:
    """``(ratios, seconds of an unwatched step)``."""
    accelerator, total = Accelerator(mixed_precision="no"), 10 * (pairs + 2)
    plain, ratios, seconds = copy.deepcopy(task), [], []
    sides: list[Any] = []
    for one in (task, plain):
        optimizer = make_optimizer(one.model, config)
        stream = BatchStream(data, batch_size=config.batch_size, seed=0)
        steps = training_steps(one, stream, config, optimizer, accelerator, TrainState(), total)
        sides.append((steps, optimizer))

    def ten(side: int) -> float:
        start = time.process_time()
        for _ in range(10):
            next(sides[side][0])
        return time.process_time() - start

    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sides[0][0]),
        closing(sides[1][0]),
        watch(task.model, sides[0][1], folder=folder),
    ):
        ten(0), ten(1)
        for k in range(pairs):
            took = {side: ten(side) for side in ((0, 1) if k % 2 else (1, 0))}
            ratios.append(took[0] / took[1])
            seconds.append(took[1] / 10)
    return ratios, statistics.median(seconds)


if __name__ == "__main__":
    main()
