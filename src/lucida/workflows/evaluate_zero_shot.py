"""``lucida evaluate zero-shot``: a CLIP or SigLIP on your labelled pictures, and the templates that suit it best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from lucida.core.config import check_settings
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.pixels import write_skipped
from lucida.evaluation.intervals import share_difference
from lucida.evaluation.template_search import FoundTemplates, Measure, search_templates
from lucida.evaluation.zero_shot import (
    TEMPLATES,
    check_templates,
    template_embeddings,
    true_class_ranks,
    zero_shot_metrics,
)
from lucida.models.imported_encoders import load_dual_encoder
from lucida.workflows.labelled_zero_shot import (
    Labelled,
    class_names,
    encode_pictures,
    encode_words,
    labelled,
    read_for,
)

FOUND, BEST_SINGLE, YOURS = "found", "best_single", "yours"


@dataclass(frozen=True)
class EvaluateZeroShotConfig:
    """A dual encoder measured on your labelled pictures by the names of their classes.

    Attributes:
        model: a Hugging Face folder or hub name of CLIP or SigLIP, or an open_clip folder.
        pictures: labelled: a folder for each class, a table with a column "label", Parquet.
        templates: a file of your own templates, one a line, each with one {} for the name.
        by: what the search looks at: "accuracy", or the mean "margin", which says more where pictures are few.
        out: the run folder.
        max_pictures: if there are more, a sample of so many is taken.
        split_seed: draws the sample, and the test pictures where the source names none.
    """

    model: str = ""
    pictures: Path | None = None
    templates: Path | None = None
    by: Measure = "accuracy"
    out: Path = Path("runs/zero-shot")
    max_pictures: int = 4000
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, {"max_pictures": self.max_pictures >= 1})


@dataclass(frozen=True)
class ZeroShotTable:
    """What was measured.

    Attributes:
        results: ``zero_shot/test/{set}/…`` for every set of templates, and what the found set gains.
        sets: the templates of each, by name.
        on: pictures that the search looked at, and pictures that are measured on.
    """

    results: Results
    sets: Mapping[str, tuple[str, ...]]
    on: tuple[int, int]

    def as_text(self) -> str:
        """A table for a person."""
        lines = [f"{'templates':14}{'searched on':>13}  test top-1 (95 % interval)"]
        for name, templates in self.sets.items():
            looked = self.results.metrics[f"zero_shot/searched/{name}/top1"].value
            top = self.results.metrics[f"zero_shot/test/{name}/top1"]
            lines.append(f"{name:14}{100 * looked:11.1f} %  {_points(top)}   {len(templates)}")
        gain = self.results.metrics[f"zero_shot/test/{FOUND}/gain_over_best_single"]
        searched, tested = self.on
        return "\n".join(
            [
                *lines,
                "",
                f"found on {searched:,} pictures outside the test, measured on {tested:,} test pictures; against the "
                f"best single template there: {_points(gain, '+')} points",
                *(f"  {template}" for template in self.sets[FOUND]),
            ]
        )


def _points(metric: Metric, sign: str = "") -> str:
    """
    >>> _points(Metric(0.123, (0.1, 0.2))), _points(Metric(-0.01), "+")
    ('12.3 (10.0 to 20.0)', '-1.0')
    """
    ends = "" if metric.ci95 is None else " ({:{s}.1f} to {:{s}.1f})".format(*(100 * x for x in metric.ci95), s=sign)
    return f"{100 * metric.value:{sign}.1f}{ends}"


def evaluate_zero_shot(config: EvaluateZeroShotConfig) -> ZeroShotTable:
    """Search templates on all pictures outside the test split, measure on that; numbers go to ``results.json``.

    Raises:
        LucidaError: no model or pictures are named, one cannot be read, or the pictures have no classes.
    """
    if not config.model or config.pictures is None:
        missing = "model was named (--model)" if not config.model else "pictures were named (--pictures)"
        remedy = "lucida evaluate zero-shot --model FOLDER --pictures PATH"
        raise LucidaError(f"no {missing}", where="lucida evaluate zero-shot", remedy=remedy)
    sets = template_sets(config.templates)
    encoder = load_dual_encoder(config.model, frozen=True)
    decoded = read_for(encoder, config.pictures, limit=config.max_pictures, split_seed=config.split_seed)
    names = class_names(decoded.corpus)
    looked, test = (labelled(decoded.corpus, splits) for splits in (("train", "validation"), ("test",)))
    for which, part in (("outside the test", looked), ("of the test", test)):
        if len(part.rows) == 0:
            raise LucidaError(f"no picture {which} has a label", where=config.pictures, remedy="add some")
    every = tuple(dict.fromkeys(template for templates in sets.values() for template in templates))
    each = template_embeddings(partial(encode_words, encoder), names, every)
    seen = {name: encode_pictures(encoder, decoded.pixels, part.rows) for name, part in (("a", looked), ("b", test))}
    found = search_templates(seen["a"], each, looked.labels, by=config.by)
    sets |= {BEST_SINGLE: (every[found.chosen[0]],), FOUND: tuple(every[i] for i in found.chosen)}
    results = Results()
    for name, templates in sets.items():
        classes = normalize(each[:, [every.index(template) for template in templates]].mean(dim=1), dim=-1)
        for metric, value in _measured(name, seen["a"], seen["b"], classes, looked, test):
            results.add(metric, value)
    _gain(results, seen["b"], each, found, test)
    results.details = {"environment": environment(config.split_seed), "templates": {k: [*v] for k, v in sets.items()}}
    folder = RunFolder.create(config.out, config, seed=config.split_seed)
    write_skipped(folder.path, decoded.corpus.skipped)
    results.save(folder.results)
    return ZeroShotTable(results, sets, (len(looked.rows), len(test.rows)))


def template_sets(path: Path | None) -> dict[str, tuple[str, ...]]:
    """The sets of :data:`~lucida.evaluation.zero_shot.TEMPLATES`, and the lines of a file as one more.

    Raises:
        LucidaError: the file cannot be read, or a line has not exactly one ``{}``.
    """
    sets = {name: templates for name, templates in TEMPLATES.items()}
    if path is None:
        return sets
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise LucidaError("the templates cannot be read", where=path, remedy="a text file, one a line") from None
    own = tuple(dict.fromkeys(line for line in lines if line))
    check_templates(own)
    return sets | {YOURS: own}


def _measured(
    name: str, looked_at: Tensor, seen: Tensor, classes: Tensor, looked: Labelled, test: Labelled
) -> Iterator[tuple[str, Metric]]:
    yield from zero_shot_metrics(seen, classes, test.labels, prefix=f"zero_shot/test/{name}").items()
    share = float((true_class_ranks(looked_at, classes, looked.labels) <= 1).mean())
    yield f"zero_shot/searched/{name}/top1", Metric(share, None, len(looked.rows))  # too good: chosen by it


def _gain(results: Results, seen: Tensor, each: Tensor, found: FoundTemplates, test: Labelled) -> None:
    """The found set less the best single template on the same test pictures."""
    right = [
        true_class_ranks(seen, normalize(each[:, list(some)].mean(dim=1), dim=-1), test.labels) <= 1
        for some in (found.chosen, found.chosen[:1])
    ]
    trials = np.ones(len(test.rows))
    results.add(f"zero_shot/test/{FOUND}/gain_over_best_single", share_difference(*((r, trials) for r in right)))
