"""``lucida run`` on the artwork that is always there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.corpus import Corpus
from lucida.data.emoji import ARTISTS, concepts, load_artwork, read_emoji
from lucida.data.lessons import Lesson
from lucida.data.scenes import SceneWorld
from lucida.data.worlds import build_world
from lucida.report.material import (
    CorpusFacts,
    Example,
    Material,
    Retrieval,
    RetrievedPicture,
    save_thumbnail,
)
from lucida.workflows.adaptation_stage import adapt_to_second_artist
from lucida.workflows.before_and_after import grounded_too
from lucida.workflows.encoder_stage import EncoderRun, run_encoder
from lucida.workflows.hallucination_stage import examine
from lucida.workflows.instruction_stage import measure_instructions, tune_on_instructions
from lucida.workflows.language_stage import LanguageRun
from lucida.workflows.records import curves, open_run, trainable
from lucida.workflows.run_config import RunConfig
from lucida.workflows.stages import TITLES, timed_stage

EXAMPLES = 12
QUERIES, FOUND = 6, 5  # retrieval in the report


def run_artwork(config: RunConfig, results: Results) -> tuple[RunFolder, Material]:
    """The whole life; metrics go to ``results``."""
    corpus = read_emoji(config.split_seed)
    folder = open_run(config, corpus)
    with timed_stage(results, "artwork"):
        world = emoji_world(corpus, config)
    encoder = run_encoder(corpus, config.encoder, config.frozen_start, config.artwork_size, folder, results)
    stage, n = config.language, config.language.test_pictures
    with timed_stage(results, "multimodal_llm"):
        lesson = Lesson.of_scenes(world, "train", stage.scenes)
        language = LanguageRun(lesson, stage, size=config.scenes.size, seed=config.seed)
        language.fit(folder, Lesson.of_scenes(world, "validation", n), resume=True)
        language.leave_out(results)
    with timed_stage(results, "hallucination"):
        exams = {
            "pope": Lesson.of_scenes(world, "test", n),
            "pope/second_artist": Lesson.of_scenes(world, "test_second_artist", n),
            "pope/unseen_pairs": Lesson.of_scenes(world, "test_unseen_pairs", n),
        }
        findings = examine(language.answerer, exams, stage, folder)
        findings.add_to(results)
    with timed_stage(results, "remedy"):
        findings.examples += grounded_too(findings, stage.captions, folder, results)
    table = trainable({"dual encoder": encoder.model, "multimodal LLM": language.model})
    _instructed(language, world, config, folder, results)
    _adapted(language, world, config, folder, results)
    return folder, Material(
        title="From artwork to a measured vision-language model",
        summary=(
            f"A dual encoder on {len(corpus.split('train')):,} pictures by two artists, and a multimodal LLM on "
            f"{stage.scenes:,} scenes of {len(world.names)} kinds of object composed of them."
        ),
        corpora=(_facts(corpus, config.split_seed), _scene_facts(stage.scenes, n)),
        examples=(*_named(encoder, corpus, folder), *findings.examples),
        retrievals=tuple(_retrieved(encoder, corpus, folder)),
        kinds=findings.kinds,
        calibration=findings.calibration,
        curves=curves(folder),
        trainable=table,
        stage_titles=TITLES,
    )


def _instructed(
    language: LanguageRun, world: SceneWorld, config: RunConfig, folder: RunFolder, results: Results
) -> None:
    stage = config.instructions
    if not stage.scenes:
        results.leave_out("instructions", "no scenes to tune on instructions were asked for (instructions.scenes)")
        return
    with timed_stage(results, "instructions"):
        tuned = tune_on_instructions(language.answerer, world, stage, folder, seed=config.seed)
        exam = Lesson.of_scenes(world, "test", stage.test_pictures)
        measure_instructions(language.answerer, tuned, exam, stage, results, seed=config.seed)


def _adapted(language: LanguageRun, world: SceneWorld, config: RunConfig, folder: RunFolder, results: Results) -> None:
    if not config.second_artist.scenes:
        results.leave_out("adaptation", "no scenes of the second artist were asked for (second_artist.scenes)")
        return
    with timed_stage(results, "adaptation"):
        adapt_to_second_artist(language.answerer, world, config.second_artist, folder, results, seed=config.seed)


def emoji_world(corpus: Corpus, config: RunConfig) -> SceneWorld:
    """Scenes of training concepts; pictures outside the training split appear in ``test_second_artist`` alone."""
    row = {concept.code: i for i, concept in enumerate(concepts())}
    known = {p.identity for p in corpus.split("train") if p.attributes["artist"] == "openmoji"}
    drawn = {artist: load_artwork(artist, config.artwork_size) for artist in ARTISTS}
    pictures = [p for p in corpus if p.identity in known and p.label]
    artwork = {(str(p.label), p.attributes["artist"]): drawn[p.attributes["artist"]][row[p.identity]] for p in pictures}
    held_out = {(str(p.label), p.attributes["artist"]) for p in pictures if p.split != "train"}
    return build_world(artwork, config.scenes, held_out=held_out, seed=config.split_seed)


def _facts(corpus: Corpus, split_seed: int) -> CorpusFacts:
    return CorpusFacts(
        corpus.name,
        corpus.splits,
        n_used=len(corpus),
        split_seed=split_seed,
        credit=corpus.credit,
        note="Whole groups of variants are held out, so that no unseen concept has a near twin in training.",
    )


def _scene_facts(train: int, test: int) -> CorpusFacts:
    return CorpusFacts(
        "scenes",
        {"train": train, "test": test, "test_second_artist": test, "test_unseen_pairs": test},
        n_used=train + 3 * test,
        note="Composed of the artwork of training concepts; which things are frequent or go together in training is "
        "skewed, in testing it is not.",
    )


def _named(encoder: EncoderRun, corpus: Corpus, folder: RunFolder) -> Iterable[Example]:
    """Pictures of unseen concepts with the name that is nearest."""
    pictures = [p for p in corpus.split("unseen_concepts") if p.attributes["artist"] == "openmoji"]
    rows = np.array([encoder.row[p.identity] for p in pictures])
    similarity = encoder.encode_pictures("openmoji", rows) @ encoder.encode_names([str(p.label) for p in pictures]).T
    confidence = (encoder.model.logit_scale.detach() * similarity).softmax(dim=1)
    for i in np.linspace(0, len(pictures) - 1, EXAMPLES).astype(int):
        best = int(similarity[i].argmax())
        yield Example(
            thumbnail=save_thumbnail(folder, pictures[i].id, np.asarray(pictures[i].source.open())),
            answer=str(pictures[best].label),
            truth=str(pictures[i].label),
            right=best == i,
            confidence=float(confidence[i, best]),
            group="Naming unseen concepts",
            id=pictures[i].id,
        )


def _retrieved(encoder: EncoderRun, corpus: Corpus, folder: RunFolder) -> Iterable[Retrieval]:
    """Names of unseen concepts, and the pictures of unseen concepts that are nearest to each."""
    pictures = [p for p in corpus.split("unseen_concepts") if p.attributes["artist"] == "twemoji"]
    rows = np.array([encoder.row[p.identity] for p in pictures])
    candidates = encoder.encode_pictures("twemoji", rows)
    for i in np.linspace(0, len(pictures) - 1, QUERIES + 2).astype(int)[1:-1]:
        name = str(pictures[i].label)
        best = (candidates @ encoder.encode_names([name])[0]).topk(min(FOUND, len(pictures))).indices.tolist()
        found = [
            RetrievedPicture(
                save_thumbnail(folder, pictures[j].id, np.asarray(pictures[j].source.open())),
                j == i,
                str(pictures[j].label),
            )
            for j in best
        ]
        yield Retrieval(name, tuple(found), split="unseen concepts by the second artist", candidates=len(pictures))
