"""Every step once, in well under a minute: for tests and CI; its numbers mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lucida.core.durations import Duration
from lucida.data.scenes import SceneConfig
from lucida.models.dual_encoder import HeadConfig
from lucida.models.language_models import SmallLlama
from lucida.workflows.adaptation_stage import AdaptationStage
from lucida.workflows.described_encoder import ReaderConfig
from lucida.workflows.encoder_stage import FROZEN_START, EncoderStage
from lucida.workflows.instruction_stage import InstructionStage
from lucida.workflows.language_stage import LanguageStage
from lucida.workflows.run_config import RunConfig


def recipe() -> RunConfig:
    """A few steps of each stage on small pictures."""
    encoder, language, adaptation = EncoderStage(), LanguageStage(), AdaptationStage()
    few = replace(encoder.train, duration=Duration(10, "steps"))
    head = HeadConfig(32, 64, 0.0)
    encoder = replace(encoder, image_size=32, views=1, flat_views=1, prompts=1, captions=1, head=head, train=few)
    reader = ReaderConfig(image_sizes=(32,), views=1, looks_size=50, head=head, duration=few.duration)
    return RunConfig(
        out=Path("runs/tiny"),
        artwork_size=72,
        frozen_start=replace(encoder, reader=None, flat_views=0, pooled=FROZEN_START.pooled, example_weight=0.0),
        encoder=replace(encoder, reader=reader),
        scenes=SceneConfig(size=64, kinds=24, concept_frequency=0.3, co_occurrence_skew=0.3),
        language=replace(
            language,
            scenes=64,
            llama=SmallLlama(hidden_size=48, layers=1, head_size=16, heads=3),
            naming=replace(language.naming, duration=Duration(64, "examples"), batch_size=16),
            looking=replace(language.looking, duration=Duration(32, "examples"), batch_size=16),
            train=replace(language.train, duration=Duration(64, "examples"), batch_size=16, validate_every=None),
            test_pictures=16,
            captions=8,
            twins=8,
        ),
        instructions=InstructionStage(
            scenes=16, test_pictures=4, train=replace(adaptation.train, duration=few.duration)
        ),
        second_artist=replace(
            adaptation, scenes=16, test_pictures=8, train=replace(adaptation.train, duration=few.duration)
        ),
    )
