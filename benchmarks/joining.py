"""What each way of joining pictures to words learns in the default run's time: the same scenes, steps and questions.

    python benchmarks/joining.py [--out docs/results/joining.json] [--split-seed 61] [--workers 2] [--ways words mlp]

Each way (``--language.join``) is a language stage of ``lucida run`` with all its defaults: places are named where
there is a tower, then questions are answered, and the result is asked about the test scenes of a split that nobody
developed on. With ``--workers`` several ways are trained at once, each on its share of the processors, so no seconds
are compared. ``--ways`` measures some of them again and keeps the others as they are in the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.emoji import read_emoji
from lucida.data.lessons import Lesson
from lucida.models.joining import WAYS, Join
from lucida.workflows.artwork_run import emoji_world
from lucida.workflows.hallucination_stage import Examination
from lucida.workflows.language_stage import LanguageRun
from lucida.workflows.run_config import RunConfig

LEARNED = ("vision_tower", "multi_modal_projector", "language_model")


def measured(join: Join, split_seed: int, threads: int, folder: Path) -> dict[str, Metric]:
    """POPE and CHAIR on test scenes, and how many numbers each part has."""
    torch.set_num_threads(threads)
    config = RunConfig(split_seed=split_seed)
    config = replace(config, language=replace(config.language, join=join))
    stage, world = config.language, emoji_world(read_emoji(split_seed), config)
    run = LanguageRun(Lesson.of_scenes(world, "train", stage.scenes), stage, size=config.scenes.size, seed=config.seed)
    out = RunFolder.create(folder / f"split-{split_seed}" / join, config, seed=config.seed)
    run.fit(out, Lesson.of_scenes(world, "validation", stage.test_pictures), resume=True)
    exam = Examination(run.answerer, Lesson.of_scenes(world, "test", stage.test_pictures), stage.test_pictures)
    found = exam.pope() | exam.blind() | exam.captions(stage.captions)[0]
    sizes = {part: sum(p.numel() for p in run.model.get_submodule(part).parameters()) for part in LEARNED}
    found |= {f"parameters/{part}": Metric(size) for part, size in sizes.items()}
    return {f"{join}/{name}": metric for name, metric in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/joining.json"))
    parser.add_argument("--split-seed", type=int, default=61)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--folder", type=Path, default=Path("runs/joining"), help="keeps finished parts")
    given = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // given.workers)
    one = partial(measured, split_seed=given.split_seed, threads=threads, folder=given.folder)
    results = Results.load(given.out) if given.out.exists() and {*given.ways} != {*WAYS} else Results()
    if (other := results.details.get("split_seed", given.split_seed)) != given.split_seed:
        parser.error(f"{given.out} holds split seed {other}: name another --out, or measure all ways")
    with ProcessPoolExecutor(given.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for way in pool.map(one, given.ways):
            for name, metric in way.items():
                results.add(name, metric)
    results.details = {"environment": environment(given.split_seed), "split_seed": given.split_seed}
    results.save(given.out)


if __name__ == "__main__":
    main()
