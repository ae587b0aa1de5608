"""What watching costs the workbench's own runs, at its default settings.

    python tools/watching_cost.py --out docs/results/watching-cost.json

Each stage that trains (the heads of the dual encoder, naming places, looking, answering) runs twice side by side,
watched every tenth step and unwatched, ten steps in turn; processor time of one thread. The stages of the multimodal
LLM are set up by the workbench itself and measured where it would train them, so with its frozen parts, and with the
pictures exchanged where it asks for that: once in a hundred steps, therefore a round is a hundred steps. The data are
few, their sizes the default's.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.emoji import read_emoji
from lucida.data.lessons import Lesson
from lucida.models.dual_encoder import DualEncoder, Head, HeadConfig
from lucida.training.batches import BatchStream
from lucida.training.distributed import Accelerator
from lucida.training.loop import TrainConfig, make_optimizer, training_steps
from lucida.training.probes import watch
from lucida.training.probes.watch import LOOKS_EVERY
from lucida.training.sharding import place
from lucida.training.state import TrainState
from lucida.training.tasks import ContrastiveTask
from lucida.workflows import language_stage
from lucida.workflows.artwork_run import emoji_world
from lucida.workflows.language_stage import LanguageRun
from lucida.workflows.recipes import load


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/watching-cost.json"))
    parser.add_argument("--rounds", type=int, default=3, help="of a hundred steps, for each stage")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = Results()
    results.details["environment"] = environment(0)  # of the code that is about to be measured

    def measure(name: str, task: Any, data: Any, config: TrainConfig, pictures: str | None) -> None:
        ratios, seconds = cost(task, data, config, options.rounds, pictures)
        results.add(f"cost/{name}", Metric(statistics.median(ratios), None, len(ratios)))
        details = {"milliseconds_a_step": 1000 * seconds, "ratios": ratios, "pictures": pictures}
        results.details[name] = details
        print(f"{name:20} {1000 * seconds:8.1f} ms a step  x {statistics.median(ratios):.4f}", flush=True)

    config = load("default")
    heads = DualEncoder(Head(1280, HeadConfig()), Head(384, HeadConfig()))
    measure("dual_encoder", ContrastiveTask(heads), Random(), config.encoder.train, None)
    with measured_instead(measure), tempfile.TemporaryDirectory() as folder:
        world = emoji_world(read_emoji(split_seed=0), config)
        run = LanguageRun(Lesson.of_scenes(world, "train", 200), config.language, size=config.scenes.size)
        run.fit(RunFolder.create(Path(folder), config.language, seed=0), resume=False)
    results.save(options.out)


Measure = Callable[[str, Any, Any, TrainConfig, str | None], None]


@contextmanager
def measured_instead(measure: Measure) -> Iterator[None]:
    """The stages of the multimodal LLM are handed to ``measure`` where they would be trained."""

    def instead(
        task: Any, data: Any, config: TrainConfig, folder: RunFolder, *, pictures: str | None = None, **_: Any
    ) -> None:
        measure(folder.path.name, task, data, config, pictures)

    train = language_stage.train
    language_stage.train = instead  # type: ignore[assignment]
    try:
        yield
    finally:
        language_stage.train = train


class Random:
    """Features of the sizes of the default's towers."""

    def __len__(self) -> int:
        return 4096

    def batch(self, indices: Sequence[int], draw: Any) -> dict[str, Any]:
        n = len(indices)
        image, text = torch.randn(n, 1280), torch.randn(n, 384)
        return {"image": {"features": image}, "text": {"features": text}, "ids": torch.tensor(list(indices))}


def cost(task: Any, data: Any, config: TrainConfig, rounds: int, pictures: str | None) -> tuple[list[float], float]:
    """``(ratio of each round, seconds of an unwatched step)``; a round has as many probes as lie between two looks."""
    accelerator, total = Accelerator(mixed_precision="no"), 10 * (LOOKS_EVERY * rounds + 2)
    plain, ratios, seconds = copy.deepcopy(task), [], []
    sides: list[Any] = []
    for one in (task, plain):
        optimizer = make_optimizer(one.model, config)
        stream = BatchStream(data, batch_size=config.batch_size, seed=0)
        placed = place(one, optimizer, accelerator, precision=config.precision, sharded=False)
        steps = training_steps(placed, stream, config, accelerator, TrainState(), total)
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
        watch(task.model, sides[0][1], folder=folder, pictures=pictures),
    ):
        ten(0), ten(1)
        for _ in range(rounds):
            took = [0.0, 0.0]
            for k in range(LOOKS_EVERY):
                for side in (0, 1) if k % 2 else (1, 0):
                    took[side] += ten(side)
            ratios.append(took[0] / took[1])
            seconds.append(took[1] / 10 / LOOKS_EVERY)
    return ratios, statistics.median(seconds)


if __name__ == "__main__":
    main()
