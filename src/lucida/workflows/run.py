"""``lucida run``: artwork, dual encoder, multimodal LLM, and a report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.corpus import Corpus
from lucida.data.emoji import ARTISTS, concepts, load_artwork, read_emoji
from lucida.data.scenes import SceneWorld
from lucida.data.worlds import build_world
from lucida.report.material import CorpusFacts, Curve, Example, Material, TrainableRow, save_thumbnail
from lucida.report.page import write_report
from lucida.training.parameter_groups import trainable_by_block
from lucida.workflows.encoder_stage import EncoderRun, run_encoder
from lucida.workflows.language_stage import LanguageRun, run_language
from lucida.workflows.run_config import RunConfig

TITLES = {
    "artwork": "Drawing the artwork",
    "features": "Features of frozen towers",
    "frozen_start": "Frozen start",
    "dual_encoder": "Dual encoder",
    "multimodal_llm": "Multimodal LLM",
    "hallucination": "Measuring what it makes up",
}


def run(config: RunConfig) -> Path:
    """Train, measure, report; a run that was stopped goes on where it was.

    Returns:
        The report.
    """
    folder = RunFolder.create(config.out, config, seed=config.seed)
    results = Results()
    with results.timed("artwork"):
        corpus = read_emoji(config.split_seed)
        world = emoji_world(corpus, config)
    encoder = run_encoder(corpus, config.encoder, config.frozen_start, config.artwork_size, folder, results)
    language = run_language(world, config.language, folder, results, seed=config.seed)
    results.save(folder.results)
    _material(corpus, encoder, language, folder, config).save(folder)
    return write_report(folder)


def emoji_world(corpus: Corpus, config: RunConfig) -> SceneWorld:
    """Scenes of training concepts; pictures outside the training split appear in ``test_second_artist`` alone."""
    row = {concept.code: i for i, concept in enumerate(concepts())}
    known = {p.identity for p in corpus.split("train") if p.attributes["artist"] == "openmoji"}
    drawn = {artist: load_artwork(artist, config.artwork_size) for artist in ARTISTS}
    pictures = [p for p in corpus if p.identity in known and p.label]
    artwork = {(str(p.label), p.attributes["artist"]): drawn[p.attributes["artist"]][row[p.identity]] for p in pictures}
    held_out = {(str(p.label), p.attributes["artist"]) for p in pictures if p.split != "train"}
    return build_world(artwork, config.scenes, held_out=held_out, seed=config.split_seed)


def _material(
    corpus: Corpus, encoder: EncoderRun, language: LanguageRun, folder: RunFolder, config: RunConfig
) -> Material:
    """What the report shows beside the numbers."""
    stages = ("frozen_start", "dual_encoder", "naming", "language")
    return Material(
        title="From artwork to a measured vision-language model",
        summary=(
            f"A dual encoder on {len(corpus.split('train')):,} pictures by two artists, and a multimodal LLM on "
            f"{config.language.scenes:,} scenes of {len(language.world.names)} kinds of object composed of them."
        ),
        corpora=(
            CorpusFacts(
                corpus.name,
                corpus.splits,
                n_used=len(corpus),
                split_seed=config.split_seed,
                credit=corpus.credit,
                note="Whole groups of variants are held out, so that no unseen concept has a near twin in training.",
            ),
        ),
        examples=tuple([*_named(encoder, corpus, folder), *_asked(language, folder)]),
        curves=tuple(Curve(TITLES.get(s, s), f"stages/{s}/metrics.jsonl") for s in stages),
        trainable=tuple(
            TrainableRow(name, block, *sizes)
            for name, model in (("dual encoder", encoder.model), ("multimodal LLM", language.model))
            for block, sizes in trainable_by_block(model).items()
        ),
        stage_titles=TITLES,
    )


def _named(encoder: EncoderRun, corpus: Corpus, folder: RunFolder, n: int = 12) -> Iterable[Example]:
    """Pictures of unseen concepts with the name that is nearest."""
    pictures = [p for p in corpus.split("unseen_concepts") if p.attributes["artist"] == "openmoji"]
    rows = np.array([encoder.row[p.identity] for p in pictures])
    similarity = encoder.encode_pictures("openmoji", rows) @ encoder.encode_names([str(p.label) for p in pictures]).T
    confidence = (encoder.model.logit_scale.detach() * similarity).softmax(dim=1)
    chosen = np.linspace(0, len(pictures) - 1, n).astype(int)
    for i in chosen:
        best = int(similarity[i].argmax())
        pixels = np.asarray(pictures[i].source.open())
        yield Example(
            thumbnail=save_thumbnail(folder, pictures[i].id, pixels),
            answer=str(pictures[best].label),
            truth=str(pictures[i].label),
            right=best == i,
            confidence=float(confidence[i, best]),
            group="Naming unseen concepts",
            id=pictures[i].id,
        )


def _asked(language: LanguageRun, folder: RunFolder, n: int = 6) -> Iterable[Example]:
    """Test scenes with a question each, and with a caption."""
    scenes, features = language.see("test", n)
    questions = language.questions("test", scenes, "adversarial")
    probability = language.probabilities(questions, features)
    captions = language.describe(features)
    for i, scene in enumerate(scenes):
        thumbnail = save_thumbnail(folder, f"test-{i}", language.world.compose(scene))
        there = ", ".join(scene.facts.counts)
        yield Example(thumbnail, captions[i].text, there, question="Describe the picture.", group="Describing scenes")
        for question, p in zip(questions, probability, strict=True):
            if question.picture_id == str(i):
                said = "yes" if p > 0.5 else "no"
                yield Example(
                    thumbnail,
                    said,
                    "yes" if question.label else "no",
                    (p > 0.5) == question.label,
                    f"Is there a {question.object} in the picture?",
                    float(max(p, 1 - p)),
                    "Asking whether something is there",
                )
