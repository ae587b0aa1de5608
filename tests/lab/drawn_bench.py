"""A bench that draws what training would have recorded: whether a page is whole does not need trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from lucida.lab import pages
from lucida.lab.batch_statistics import BINS, GAINS, SHIFTS, STATISTICS
from lucida.lab.datasets import LONGEST
from lucida.lab.design import Scale
from lucida.lab.experiment import Bench, Experiment
from lucida.lab.experiments.few_positives import MEASURES
from lucida.lab.smoothness import LENGTHS
from lucida.lab.training import Member, Observer, Outcome, Training
from lucida.report.lab_page import ExperimentPage, read_page
from lucida.report.sourced import filled

TIME = 64  # steps of the sequences


def depth_of(network: Any) -> int:
    """Layers of a network's settings, or of those that others wrap."""
    return depth_of(network.network) if hasattr(network, "network") else getattr(network, "depth", 0)


class DrawnBench(Bench):
    """Positive numbers of the right shapes."""

    def train(
        self,
        what: str,
        training: Training,
        members: Sequence[Member],
        observers: Mapping[str, Observer] | None = None,
    ) -> Outcome:
        drawn = np.random.default_rng(len(what))
        steps = np.unique([*range(0, training.steps, training.every), training.steps])
        n, evaluations = len(members), len(steps)
        depth = depth_of(members[0].network)
        shapes = {"layers": (3, depth), "time": (TIME,), "weights": ()}
        shapes |= {"sharpness": (), "noise": (4,), "rescaled": (2,), "departure": (2,)}
        shapes |= {"walk": (4 + 2 * len(LENGTHS),), "inputs": (depth, 2), "shift": (2 * depth + 1,), "plateau": ()}
        shapes |= {"accuracies": (len(STATISTICS),), "shifts": (depth, len(SHIFTS), 2), "companions": (depth + 1,)}
        if training.skew is not None:
            shapes |= {"recalls": (len(training.skew.train),), "ranking": (), "tested": (2, len(MEASURES))}
        shapes |= {"padding": (len(BINS), 2), "words": (LONGEST, 2), "learned": (len(GAINS) + 2,)}
        each = {name: drawn.random((n, evaluations)) for name in ("loss", "train_accuracy", "validation_accuracy")}
        return Outcome(
            steps=steps,
            **each,
            test_accuracy=drawn.random((n, evaluations)),
            batch_loss=drawn.random((n, training.steps)),
            grad_norm=drawn.random((n, training.steps)),
            alive=np.ones(n, dtype=bool),
            observed={name: drawn.random((n, evaluations, *shapes[name])) for name in observers or {}},
            seconds_per_step=1.0,
        )


def whole_page(monkeypatch: pytest.MonkeyPatch, experiment: Experiment, scale: Scale, cells: int) -> ExperimentPage:
    """The page of drawn numbers: claims find their arms, rows their metrics, texts their numbers, answers their claims.

    Args:
        cells: that rows and tables show at least.
    """
    monkeypatch.setattr(pages, "Bench", DrawnBench)
    results = pages.run_experiment(experiment, scale)
    page = read_page(results, "here")
    names = [row.metric for drawing in page.drawings if drawing.kind == "effects" for row in drawing.rows]
    names += [name for d in page.drawings if d.kind == "table" for _, row in d.rows for name in row if name]
    assert len(names) >= cells
    assert [name for name in names if name not in results.metrics] == []
    texts = [text for _, text in page.sections.values()]
    texts += [text for answer in experiment.answers for text in (answer.text, answer.text_zh)]
    assert not [text for text in texts if "{" in filled(text, results, "here")]
    claims = {claim.name: claim for claim in experiment.design.claims}
    assert {ruling.name for ruling in page.rulings} == set(claims)
    relied_on = {name for answer in experiment.answers for name in answer.also}
    levels = {f"{name}/{level}" for name, claim in claims.items() for level in claim.levels}
    assert relied_on <= set(claims) | levels
    assert len([d for d in page.drawings if d.kind == "lines" and len(d.series) > 6]) == 0
    return page
