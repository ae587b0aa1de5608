"""``lucida evaluate long-tail``: which remedy for rare classes helps here, and which difference is noise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.pixels import decode_all, write_skipped
from lucida.data.readers import read_pictures
from lucida.lab.experiment import one_thread
from lucida.report.classification_tables import as_table
from lucida.report.long_tail_page import COLUMNS, LongTail, advice, write_long_tail_page
from lucida.report.material import CorpusFacts, Material
from lucida.training.classifier import ClassifierConfig
from lucida.workflows.encoder_stage import BUILT_IN, EncoderStage
from lucida.workflows.labelled_pictures import LabelledPictures, capped
from lucida.workflows.long_tail_features import LongTailFeatures, training_rows
from lucida.workflows.long_tail_methods import Answerer, chosen_remedies
from lucida.workflows.long_tail_prototypes import ZeroShot
from lucida.workflows.long_tail_table import Comparison
from lucida.workflows.picture_encoder import make_tower
from lucida.workflows.stages import TITLES, timed_stage

_PRINTED = ("balanced_accuracy", "accuracy", "accuracy_many", "accuracy_medium", "accuracy_few")
FEWEST_SEEDS = 2  # one has no interval


@dataclass(frozen=True)
class LongTailConfig:
    """Remedies for rare classes, compared on your labelled pictures.

    Attributes:
        pictures: a folder with a subfolder for each class, a table with a column "label", or Parquet.
        out: the run folder.
        max_pictures: if there are more, the largest classes are cut to a common size, at random; 0 takes all.
        split_seed: the first seed; the others follow it.
        seeds: each has its own split (or draw of training pictures), and trainings.
        test_share: of every class, held out; a source with a test split of its own keeps that.
        ratio: thin the training classes to this imbalance first, most frequent to rarest; 1 leaves them as they are.
        profile: of the thinned classes.
        remedies: names of some; by default all, and zero-shot answers by class names beside them.
        metric: settings are tuned by it and methods ranked.
        head_loss: how much recall the most frequent third of the classes may lose against plain training, 0.08 for
            eight points: settings of remedies that take more are passed over (on held-out training pictures; thresholds
            and answers by class names have no such settings), and the best method that keeps to it is the one that is
            recommended. None for no limit.
        vision_tower, text_tower: built in, a Hugging Face folder, or a hub name; they stay frozen.
        image_size: side of the pictures the built-in tower sees.
        pooled: which of the built-in tower's layers is read.
        views: at most, of a training picture of the rarer half of the classes, itself among them, for the remedy that
            shows rare pictures in other views; 1 for none. Each costs a pass through the tower.
        classifier: on the features, the same for every remedy.
    """

    pictures: Path | None = None
    out: Path = Path("runs/long-tail")
    max_pictures: int = 20_000
    split_seed: int = 0
    seeds: int = 5
    test_share: float = 0.3
    ratio: float = 1.0
    profile: Literal["exponential", "step"] = "exponential"
    remedies: tuple[str, ...] = ()
    metric: Literal["balanced_accuracy", "f1_macro", "accuracy"] = "balanced_accuracy"
    head_loss: float | None = None
    vision_tower: str = BUILT_IN[0]
    text_tower: str = BUILT_IN[1]
    image_size: int = 192
    pooled: str = "stages"
    views: int = 1
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)

    def __post_init__(self) -> None:
        allowed = {
            "max_pictures": self.max_pictures >= 0,
            "seeds": self.seeds >= FEWEST_SEEDS,
            "test_share": 0 < self.test_share < 1,
            "ratio": self.ratio >= 1,
            "views": self.views >= 1,
            "head_loss": self.head_loss is None or 0 <= self.head_loss < 1,
        }
        for name, fine in allowed.items():
            if not fine:
                value = getattr(self, name)
                raise LucidaError(f"{name} cannot be {value}", where="--" + name.replace("_", "-"))


@dataclass(frozen=True)
class LongTailDone:
    """A finished comparison: the page, and what the terminal prints."""

    report: Path
    table: str
    recommendation: str


def evaluate_long_tail(config: LongTailConfig) -> LongTailDone:
    """Features once, then every remedy on every seed's training pictures, tuned there, measured on the test pictures.

    Raises:
        LucidaError: no pictures are named, they cannot be read or have no labels, a remedy is unknown.
    """
    if config.pictures is None:
        raise LucidaError(
            "no pictures were named", where="lucida evaluate long-tail", remedy="name some with --pictures"
        )
    remedies = chosen_remedies(config.remedies, views=config.views > 1)
    results = Results()
    with results.timed("pictures"):
        corpus = read_pictures(config.pictures, split_seed=config.split_seed)
        corpus = capped(corpus, config.max_pictures, config.split_seed) if config.max_pictures else corpus
        tower = make_tower(
            EncoderStage(vision_tower=config.vision_tower, image_size=config.image_size, pooled=config.pooled)
        )
        pictures = LabelledPictures.of(decode_all(corpus, tower.image_size), config.pictures)
    folder = RunFolder.create(config.out, config, seed=config.split_seed)
    write_skipped(folder.path, pictures.decoded.corpus.skipped)
    seeds = range(config.split_seed, config.split_seed + config.seeds)
    drawn = [
        training_rows(pictures, seed, test_share=config.test_share, ratio=config.ratio, profile=config.profile)
        for seed in seeds
    ]
    with timed_stage(results, "features"):
        source = LongTailFeatures(pictures, tower, [train for train, _ in drawn], views=config.views)
    overlap = 0.0 if pictures.own_test is not None else len(drawn[0][1]) / len(drawn[0][0])
    comparison = Comparison(pictures.names, config.metric, overlap, config.head_loss)
    answers = Answerer(
        remedies, config.classifier, config.metric, again=pictures.own_test is None, head_loss=config.head_loss
    )
    zero_shot = _zero_shot(config, pictures, again=answers.again) if not config.remedies else None
    with timed_stage(results, "remedies"), one_thread():
        for seed, (train, test) in zip(seeds, drawn, strict=True):
            part = source.part(seed, train, test)
            for name, answered in itertools.chain(answers(part), zero_shot(part) if zero_shot else ()):
                comparison.add(part, name, answered)
    facts = comparison.add_to(results, _varies(config, pictures))
    results.details["environment"] = environment(config.split_seed)
    results.save(folder.results)
    _material(config, pictures).save(folder)
    said = "\n".join(advice(results.metrics, facts))
    return LongTailDone(write_long_tail_page(folder), _table(facts, results), said)


def _zero_shot(config: LongTailConfig, pictures: LabelledPictures, *, again: bool) -> ZeroShot:
    return ZeroShot(pictures.names, config.text_tower, config.classifier, config.metric, again=again)


def _table(facts: LongTail, results: Results) -> str:
    """The ranked table for a terminal."""
    rows = {
        method.title: {c: results.metrics[name] for c in COLUMNS if (name := f"{method.name}/{c}") in results.metrics}
        for method in facts.methods
    }
    return as_table(rows, [column for column in _PRINTED if column in rows[facts.methods[0].title]])


def _varies(config: LongTailConfig, pictures: LabelledPictures) -> str:
    """What differs from seed to seed: what the intervals are about."""
    trained = "the training pictures that were kept" if config.ratio > 1 else ""
    tested = "the test pictures" if pictures.own_test is None else ""
    drawn = ", ".join(filter(None, (trained, tested)))
    started = "the order of the training and its first weights"
    if not drawn:
        same = "the pictures are the same: intervals say nothing about other pictures"
        return f"from seed to seed {started} differ, {same}."
    shared = "" if pictures.own_test is not None else "; intervals allow for the pictures that the splits share"
    return f"from seed to seed {drawn}, {started} differ{shared}."


def _material(config: LongTailConfig, pictures: LabelledPictures) -> Material:
    corpus = pictures.decoded.corpus
    thinned = f", its training classes thinned to {config.ratio:g} : 1 ({config.profile})" if config.ratio > 1 else ""
    counts = np.bincount(pictures.labels, minlength=len(pictures.names))
    summary = (
        f"{len(pictures.labels):,} pictures of {len(pictures.names)} classes{thinned}: every remedy for rare classes "
        "on the same frozen features, tuned inside the training pictures, measured on pictures that no training saw."
    )
    note = f"Classes have {counts.min():,} to {counts.max():,} pictures."
    facts = CorpusFacts(
        corpus.name, {}, n_used=len(corpus), n_available=corpus.n_available, split_seed=config.split_seed,
        credit=corpus.credit, note=note,
    )  # fmt: skip
    return Material(title=f"Rare classes of {corpus.name}", summary=summary, corpora=(facts,), stage_titles=TITLES)
