"""``lucida evaluate zero-shot-ablation``: what each step of the default dual encoder is worth, over split seeds.

Every step is turned off in turn, everything else as it is; then what the recipe does without is added in turn. A split
seed holds out other concepts and pictures; differences are paired by it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lucida
from lucida.core.cache import content_hash
from lucida.core.config import check_settings, to_dict
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import Metric, Results, read_json, write_json
from lucida.core.run_folder import RunFolder, environment
from lucida.core.statistics import mean_interval
from lucida.data.emoji import read_emoji
from lucida.models.text_features import TextFeatures
from lucida.models.text_towers import MiniLM
from lucida.training.objectives import ObjectiveConfig
from lucida.workflows.described_encoder import DescribedEncoder, ReaderConfig
from lucida.workflows.encoder_stage import FROZEN_START, PROMPTS, EncoderStage, make_encoder

MEASURES: Mapping[str, str] = {
    "unseen, OpenMoji": "zero_shot/unseen_concepts/openmoji/top1",
    "unseen, Twemoji": "zero_shot/unseen_concepts/twemoji/top1",
    "second artist": "transfer/second_artist/top1",
}
DEFAULT, START = "the default", "the frozen start"
Change = Callable[[EncoderStage], EncoderStage]


def _reader(**changes: Any) -> Change:
    def change(stage: EncoderStage) -> EncoderStage:
        return replace(stage, reader=replace(stage.reader or ReaderConfig(), **changes))

    return change


def _objective(**changes: Any) -> Change:
    """A loss of its own starts from its defaults, as another's settings say nothing of it."""

    def change(stage: EncoderStage) -> EncoderStage:
        own = ObjectiveConfig() if "loss" in changes else stage.objective
        return replace(stage, objective=replace(own, **changes))

    return change


OFF: Mapping[str, Change] = {
    "keywords": _reader(keywords=False),
    "words as dimensions": _reader(words=False),
    "several prompts": lambda stage: replace(stage, prompts=1),
    "two sizes and two views": _reader(image_sizes=(224,), views=1),
    "shapes": _reader(shape_share=0.0, looks_shape_share=0.0),
    "the kernel reader, and with it hubs": _reader(reader_weight=0.0),
    "the contrastive heads": _reader(head_weight=0.0),
    "hubs give back": _reader(hub_weight=0.0),
    "looks of example pictures": _reader(looks_weight=0.0),
}
"""Steps of the recipe, each turned off."""

ADDED: Mapping[str, Change] = {
    "sigmoid for softmax": _objective(loss="sigmoid"),
    "hard negatives (0.5)": _objective(hard_negatives=0.5),
    "captioning and classification (0.5 each)": _objective(captioning=0.5, classification=0.5),
    "templates searched on validation": lambda stage: replace(stage, template_search=True),
}
"""What the recipe does without, each added."""


@dataclass(frozen=True)
class ZeroShotAblationConfig:
    """The default dual encoder of the artwork, step by step.

    Attributes:
        seeds: of the splits; two or more for intervals.
        out: the folder of the results; a row that is there already is not measured again.
        encoder: the recipe.
        frozen_start: what it is measured against.
        artwork_size: pixels at which artwork is drawn.

    Raises:
        LucidaError: a seed comes twice, or the recipe is one of two heads, which has none of these steps.
    """

    seeds: tuple[int, ...] = (31, 32, 33, 34, 35)
    out: Path = Path("runs/zero-shot-ablation")
    encoder: EncoderStage = field(default_factory=EncoderStage)
    frozen_start: EncoderStage = FROZEN_START
    artwork_size: int = 224

    def __post_init__(self) -> None:
        check_settings(self, {"seeds": len(set(self.seeds)) == len(self.seeds) > 0})
        if self.encoder.reader is None:
            raise LucidaError(
                "two heads alone have none of the steps that are turned off",
                where="encoder.reader",
                remedy="leave it out, or compare with two heads by --frozen-start",
            )
        if self.frozen_start.template_search:
            raise LucidaError("templates are searched in a row of their own", where="frozen_start.template_search")


def zero_shot_ablation(config: ZeroShotAblationConfig) -> Results:
    """``{row}/{measure}/top1``, and ``…/difference`` from the default; also in ``results.json``."""
    rows = all_rows(config)
    folder = RunFolder.create(config.out, config, seed=config.seeds[0])
    read = TextFeatures(MiniLM())
    by_seed = {seed: measured(seed, rows, config, folder.path / "rows", read) for seed in config.seeds}
    results = Results()
    for name in rows:
        for measure in MEASURES:
            tops = [by_seed[seed][name][measure] for seed in config.seeds]
            differences = [top - by_seed[seed][DEFAULT][measure] for top, seed in zip(tops, config.seeds, strict=True)]
            results.add(f"{name}/{measure}/top1", Metric(sum(tops) / len(tops), None, len(tops)))
            if name != DEFAULT:
                results.add(f"{name}/{measure}/difference", mean_interval(differences))
    results.details = {
        "environment": environment(config.seeds[0]),
        "split_seeds": [*config.seeds],
        "rows": {name: to_dict(stage) for name, stage in rows.items()},
        "top1": {str(seed): found for seed, found in by_seed.items()},
    }
    results.save(folder.results)
    return results


def all_rows(config: ZeroShotAblationConfig) -> dict[str, EncoderStage]:
    """The settings of every row of the table, the default first, the frozen start last."""
    rows = {DEFAULT: config.encoder}
    rows |= {f"without {name}": change(config.encoder) for name, change in OFF.items()}
    rows |= {f"with {name}": change(config.encoder) for name, change in ADDED.items()}
    return rows | {START: config.frozen_start}


Tops = dict[str, float]


def measured(
    seed: int, rows: Mapping[str, EncoderStage], config: ZeroShotAblationConfig, folder: Path, read: TextFeatures
) -> dict[str, Tops]:
    """The rows of a split seed; each is written when it is measured, so that a run that was stopped goes on."""
    own = {name: content_hash(to_dict(stage), config.artwork_size, seed, source()) for name, stage in rows.items()}
    found: dict[str, Tops] = {}
    for name in rows:
        path = folder / f"{own[name]}.json"
        if path.exists():
            found[name] = read_json(path)["top1"]
    for key in dict.fromkeys(fit_key(rows[name]) for name in rows if name not in found):
        group = {name: stage for name, stage in rows.items() if fit_key(stage) == key and name not in found}
        for name, tops in _fitted_once(seed, group, config.artwork_size, read):
            say(f"split seed {seed}, {name}: " + ", ".join(f"{m} {100 * top:.1f} %" for m, top in tops.items()))
            write_json(folder / f"{own[name]}.json", {"split_seed": seed, "row": name, "top1": tops})
            found[name] = tops
    return {name: found[name] for name in rows}


def fit_key(stage: EncoderStage) -> str:
    """The same for settings that differ in nothing that fitting looks at."""
    used = {"reader_weight": 1.0, "head_weight": 1.0, "hub_weight": 0.0, "looks_weight": 0.0}
    reader = None if stage.reader is None else replace(stage.reader, **used)  # type: ignore[arg-type]  # all floats
    return content_hash(to_dict(replace(stage, reader=reader, template_search=False)))


def _fitted_once(
    seed: int, group: Mapping[str, EncoderStage], artwork_size: int, read: TextFeatures
) -> Iterator[tuple[str, Tops]]:
    """Rows that share a fit; templates are searched in the last of them, if at all."""
    ordered = sorted(group.items(), key=lambda row: row[1].template_search)
    stage = replace(ordered[0][1], template_search=False)
    encoder = make_encoder(read_emoji(seed), stage, artwork_size, read)
    with tempfile.TemporaryDirectory() as scratch:
        encoder.fit(RunFolder.create(Path(scratch) / "run", stage, seed=seed), resume=False)
    for name, own in ordered:
        if isinstance(encoder, DescribedEncoder):
            encoder.config = own.reader or ReaderConfig()
            if own.template_search:
                encoder.candidates = PROMPTS
                encoder.search_prompts()
        metrics = encoder.measure()
        yield name, {measure: float(metrics[key].value) for measure, key in MEASURES.items()}


def source() -> str:
    """Another text when the library's code is another: its results may be too."""
    files = sorted(Path(lucida.__file__).parent.rglob("*.py"))
    return content_hash([file.read_bytes().hex() for file in files if not {"report", "cli.py"} & {*file.parts}])


def as_text(results: Results) -> str:
    """A table for a person: top-1 and the difference from the default, in percent, with 95 % intervals."""
    seeds = results.details["split_seeds"]
    lines = [f"{'':46}" + "".join(f"{measure:>28}" for measure in MEASURES)]
    for name in results.details["rows"]:
        cells = [f"{cell(results, name, measure):>28}" for measure in MEASURES]
        lines.append(f"{name:46}" + "".join(cells))
    told = f"mean top-1 in percent over split seeds {', '.join(map(str, seeds))}; differences from the default, paired"
    return "\n".join([*lines, "", told])


def cell(results: Results, name: str, measure: str) -> str:
    """``30.9`` for the default; for the others also what differs from it, with its interval over split seeds."""
    top = f"{100 * results.metrics[f'{name}/{measure}/top1'].value:.1f}"
    if name == DEFAULT:
        return top
    difference = results.metrics[f"{name}/{measure}/difference"]
    low, high = difference.ci95 or (float("nan"), float("nan"))
    return f"{top} ({100 * difference.value:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
