"""Everything that decides what ``lucida run`` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lucida.core.errors import LucidaError
from lucida.data.scenes import SceneConfig
from lucida.workflows.adaptation_stage import AdaptationStage
from lucida.workflows.encoder_stage import FROZEN_START, EncoderStage
from lucida.workflows.instruction_stage import InstructionStage
from lucida.workflows.language_stage import LanguageStage


@dataclass(frozen=True)
class RunConfig:
    """From pictures to a measured vision-language model.

    Attributes:
        out: the run folder.
        pictures: your own: a folder, a table, Parquet or a COCO file; by default the artwork that is always there.
        max_pictures: if there are more of your own, a sample of so many is taken.
        split_seed: draws which concepts and pictures are held out.
        seed: of the multimodal LLM's fresh weights; other parts have seeds of their own below.
        artwork_size: pixels at which artwork is drawn.
        frozen_start: the baseline of the dual encoder.
        encoder: the dual encoder.
        scenes: what the multimodal LLM is asked about; mildly skewed in training, so that some things are popular and
            some go together, which POPE's questions turn against the model.
        language: the multimodal LLM.
        instructions: how a copy of the multimodal LLM is tuned on kinds of instruction and asked about others; left out
            unless it is given scenes; for the artwork that is always there.
        second_artist: how it is adapted to the second artist; for the artwork that is always there.
    """

    out: Path = Path("runs/default")
    pictures: Path | None = None
    max_pictures: int = 4000
    split_seed: int = 0
    seed: int = 0
    artwork_size: int = 224
    frozen_start: EncoderStage = FROZEN_START
    encoder: EncoderStage = field(default_factory=EncoderStage)
    scenes: SceneConfig = field(default_factory=lambda: SceneConfig(concept_frequency=0.3, co_occurrence_skew=0.3))
    language: LanguageStage = field(default_factory=LanguageStage)
    instructions: InstructionStage = field(default_factory=InstructionStage)
    second_artist: AdaptationStage = field(default_factory=AdaptationStage)

    def __post_init__(self) -> None:
        if self.max_pictures < 1:
            raise LucidaError(f"max_pictures must be at least 1, not {self.max_pictures}", where="RunConfig")
