"""What decoding remedies cost: the time of describing pictures with each, over that of plain greedy decoding.

    python benchmarks/decoding_remedies.py RUN [--out docs/results/benchmarks/decoding-remedies.json]

RUN is a folder of `lucida run` on scenes. The model of it describes the same 64 test scenes with every remedy in turn,
in a batch of 64, 15 times after a warm-up; a ratio is of two neighbours in time. What a remedy shortens or lengthens
what is said is part of it. Towers are not: what the pictures look like to them is computed before, for contrasts too.

What bounds it: a contrast that reads another picture reads the prompt and every token twice, 2.0 times the operations.
The first layer's contrast is another product with the vocabulary for every token. Grounding reads what is there anyway
(the projector's shares of words, 64 places of 4 bytes a word), takes the largest over places once, and adds a row of
numbers to the logits of every token.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.data.lessons import Lesson
from lucida.workflows.evaluate_remedies import treated
from lucida.workflows.hallucination_stage import Examination
from lucida.workflows.remedy_abilities import alone
from lucida.workflows.remedy_trials import Trials, decoding_trials

PICTURES, ROUNDS = 64, 15


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/decoding-remedies.json"))
    given = parser.parse_args()
    answerer, world = treated(given.run)
    exam = Examination(answerer, Lesson.of_scenes(world, "test", PICTURES), PICTURES)
    trials = Trials(exam, decoding_trials(answerer), PICTURES, alone(world, 1))
    results = Results()
    for name, ratios in trials.costs(ROUNDS).items():
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        results.add(f"{name}/time of plain decoding", Metric(float(middle), (float(low), float(high)), ROUNDS))
        print(f"{name:40} {middle:.3f} [{low:.3f}, {high:.3f}]")
    results.details = {
        "interval": "quartiles of the rounds",
        "pictures": PICTURES, "rounds": ROUNDS, "threads": torch.get_num_threads(),
        "environment": environment(seed=0),
    }  # fmt: skip
    results.save(given.out)


if __name__ == "__main__":
    main()
