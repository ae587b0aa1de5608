"""``lucida evaluate remedies``: every remedy against making things up, on the model of a run, in one fair table."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lucida.core.cache import content_hash
from lucida.core.config import check_settings
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import Metric, Results, read_json, write_json, write_text
from lucida.core.run_folder import RunFolder, environment
from lucida.data.emoji import read_emoji
from lucida.data.lessons import ConversationData, Lesson
from lucida.data.scenes import SceneConfig, SceneWorld
from lucida.inference.answerer import WEIGHTS, Answerer
from lucida.models.joining import no_words
from lucida.report.remedy_frontier import frontier_picture
from lucida.training.loop import train
from lucida.training.tasks import LanguageTask
from lucida.workflows.artwork_run import emoji_world
from lucida.workflows.grounding_fit import fit_grounding
from lucida.workflows.hallucination_stage import Examination
from lucida.workflows.language_stage import MODEL, answering, answering_config, free_for_answers, keep_words
from lucida.workflows.preference_stage import PreferenceStage, prefer
from lucida.workflows.remedy_abilities import BLIND, alone
from lucida.workflows.remedy_trials import GROUNDED, Trial, Trials, decoding_trials
from lucida.workflows.run_config import RunConfig

MORE, BALANCED, PREFERRED = "more of the same training", "training on balanced and true data", "preference tuning"
BOTH = f"{PREFERRED}, {GROUNDED}"
PICTURE = "remedies.svg"
MODEL_OF = "model.json"  # which model was treated
_SHIFTED = 500_000  # scenes of the training stream that no run has seen begin here


@dataclass(frozen=True)
class EvaluateRemediesConfig:
    """Remedies on the multimodal LLM of a run on scenes, whose truth is exact.

    Attributes:
        run: a folder of `lucida run` on the artwork.
        out: gets results.json, a picture of it, and what is trained.
        pictures: test scenes that are described; half as many again are asked about. Half as many more
            show one thing each.
        examples: scenes of further training, on balanced and true data and on more of its own; 0 to leave both out.
        preference_pictures: scenes that it describes, to be tuned against what it makes up; 0 to leave that out.
        seed: of further training.
    """

    run: Path = Path("runs/default")
    out: Path = Path("runs/remedies")
    pictures: int = 200
    examples: int = 6_400
    preference_pictures: int = 1_500
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "pictures": self.pictures >= 1,
            "examples": self.examples >= 0,
            "preference_pictures": self.preference_pictures >= 0,
        }
        check_settings(self, allowed)


def evaluate_remedies(config: EvaluateRemediesConfig) -> Results:
    """The table's numbers, ``{remedy}/{measure}``; also in ``results.json``, drawn in ``remedies.svg``.

    Raises:
        LucidaError: the run is not finished, or not one on scenes.
    """
    answerer, world = treated(config.run)
    folder = folder_for(config.run, config.out, config, seed=config.seed)
    results, trials = Results(), decoding_trials(answerer)
    trials += list(_trained(answerer, world, config, folder))
    say(f"{len(trials)} remedies on {config.pictures} test scenes")
    exam = Examination(answerer, Lesson.of_scenes(world, "test", config.pictures * 3 // 2), config.pictures * 3 // 2)
    one_thing = alone(world, max(1, config.pictures // 2))
    for name, metric in Trials(exam, trials, config.pictures, one_thing).metrics().items():
        results.add(name, metric)
    results.details = {"environment": environment(config.seed), "trials": [trial.name for trial in trials]}
    results.save(folder.results)
    write_text(folder.path / PICTURE, frontier_picture(results.metrics, results.details["trials"]))
    return results


def finished(run: Path) -> tuple[Answerer, SceneWorld]:
    """The model of a run and its world.

    Raises:
        LucidaError: the run is not finished, or not one on scenes.
    """
    own = _config_of(run)
    answerer = Answerer.load(RunFolder.open(run).path / MODEL)
    return answerer, emoji_world(read_emoji(own.split_seed), own)


def treated(run: Path) -> tuple[Answerer, SceneWorld]:
    """The model of a run, grounded on its validation scenes, and its world.

    Raises:
        LucidaError: as :func:`finished`, or its pictures are not written in words.
    """
    answerer, world = finished(run)
    if answerer.join != "words":
        raise LucidaError(f"remedies are tried beside grounded answers, but {no_words(answerer.join)}", where=run)
    held_out = Lesson.of_scenes(world, "validation", _config_of(run).language.test_pictures)
    answerer.grounding = fit_grounding(answerer, held_out, answerer.see(held_out.gallery))
    return answerer, world


def folder_for(run: Path, out: Path, config: Any, *, seed: int) -> RunFolder:
    """The folder of what is done to the model of a run; what was trained there goes on with the very same model alone.

    Raises:
        LucidaError: another model was treated there.
    """
    weights, known = run / MODEL / WEIGHTS, out / MODEL_OF
    own = {"weights": content_hash(weights.read_bytes())}
    if known.is_file() and read_json(known) != own:
        raise LucidaError("another model was treated in this folder", where=out, remedy="name another with --out")
    folder = RunFolder.create(out, config, seed=seed)
    write_json(known, own)
    return folder


def _config_of(run: Path) -> RunConfig:
    """What decides which scenes a run saw."""
    stored: dict[str, Any] = RunFolder.open(run).load_config()
    if "scenes" not in stored or stored.get("pictures") is not None:
        raise LucidaError("only runs on scenes can be treated", where=run, remedy="lucida run without --pictures")
    scenes = SceneConfig(**stored["scenes"])
    return replace(
        RunConfig(), scenes=scenes, split_seed=int(stored["split_seed"]), artwork_size=int(stored["artwork_size"])
    )


def _trained(
    answerer: Answerer, world: SceneWorld, config: EvaluateRemediesConfig, folder: RunFolder
) -> Iterator[Trial]:
    """Models that were trained further, each from the model as it is."""
    if config.examples:
        same = Lesson.of_scenes(world, "train", config.examples, _SHIFTED)
        for name, lesson in ((MORE, same), (BALANCED, _balanced(world, config.examples))):
            yield _further(name, answerer, lesson, config, folder)
    if config.preference_pictures:
        yield from _preferred(answerer, world, config, folder)


def _balanced(world: SceneWorld, n: int) -> Lesson:
    """Scenes without skew, true captions, and as many noes as yeses."""
    even = replace(world.config, co_occurrence_skew=0.0, concept_frequency=0.0, negative_share=0.5, caption_noise=0.0)
    own = SceneWorld(world.sprites, world.kinds, even, held_out=world.held_out, seed=world.seed)
    return Lesson.of_scenes(own, "train", n, _SHIFTED)


def _further(name: str, answerer: Answerer, lesson: Lesson, config: EvaluateRemediesConfig, folder: RunFolder) -> Trial:
    say(f"{name}: {config.examples:,} scenes")
    own = copy.deepcopy(answerer)
    free_for_answers(own)
    keep_words(own)  # scenes have boxes: their places were named
    training = answering_config(
        answering(config.examples, learning_rate=5e-4, warmup_share=0.1, seed=config.seed), own, named=True
    )
    part = RunFolder.create(folder.path / "stages" / name.replace(" ", "_"), training, seed=config.seed)
    data = ConversationData(lesson, own.chat, lambda: own.see(lesson.gallery))
    state = train(LanguageTask(own.model), data, training, part, resume=True, pictures="vision_features")
    own.model.eval().requires_grad_(False)
    return Trial(name, answerer=own, training=state.seconds)


def _preferred(
    answerer: Answerer, world: SceneWorld, config: EvaluateRemediesConfig, folder: RunFolder
) -> Iterator[Trial]:
    stage = PreferenceStage(pictures=config.preference_pictures)
    lesson = Lesson.of_scenes(world, "train", stage.pictures, _SHIFTED)
    done = prefer(answerer, lesson, stage, folder, seed=config.seed)
    if done.reason:
        say(f"{PREFERRED}: {done.reason}")
        return
    took, own = done.pair_seconds + done.train_seconds, done.answerer
    held_out = Lesson.of_scenes(world, "validation", RunConfig().language.test_pictures)
    own.grounding = fit_grounding(own, held_out, own.see(held_out.gallery))
    yield Trial(PREFERRED, answerer=own, training=took)
    yield Trial(BOTH, (own.grounded(),), grounded=True, answerer=own, training=took)


_COLUMNS = {
    "chair_i": "made up",
    "recall": "named",
    "adversarial/false_yes": "false yes",
    "adversarial/yes_recall": "yes there",
    "adversarial/false_yes_at_true_yes": "false yes =",
    "adversarial/false_yes_at_equal_recall": "same recall",
    "count_accuracy": "counted",
    "count_balanced_accuracy": "each count",
    "where_accuracy": "places",
    "naming_accuracy": "one thing",
    "sampled/chair_i": "made up ~",
    "sampled/adversarial/false_yes": "false yes ~",
}


def as_text(results: Results) -> str:
    """The table for a terminal: shares in percent; "=" is at as many yeses as are true, "~" with sampled words.

    What was not measured is left empty. The last row is that of who does not look.
    """
    names: list[str] = [*results.details["trials"], BLIND]
    width = max(map(len, names))
    lines = [" ".join([" " * width, *(f"{title:>11}" for title in _COLUMNS.values()), f"{'cost':>6} {'training':>9}"])]
    for name in names:
        cells = [_percent(results.metrics.get(f"{name}/{column}")) for column in _COLUMNS]
        cost, training = (results.metrics.get(f"{name}/{what}") for what in ("decoding_cost", "training_seconds"))
        spent = f"{cost.value:6.2f} {training.value:7.0f} s" if cost and training else ""
        lines.append(" ".join([f"{name:<{width}}", *cells, spent]).rstrip())
    return "\n".join(lines)


def _percent(metric: Metric | None) -> str:
    return f"{'':>11}" if metric is None or not math.isfinite(metric.value) else f"{100 * metric.value:11.1f}"
