"""The reference patient: the default run on data that teach a model to make things up.

Skewed company and frequency, one "no" in four questions, and captions in which one name in seven is left out, replaced
or followed by one that is not there: what remedies are tried on. It is tested on the scenes of the default run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lucida.data.scenes import SceneConfig
from lucida.workflows.run_config import RunConfig


def recipe() -> RunConfig:
    """All defaults but for the scenes."""
    scenes = SceneConfig(concept_frequency=1.0, co_occurrence_skew=0.8, negative_share=0.25, caption_noise=0.15)
    return replace(RunConfig(), out=Path("runs/patient"), scenes=scenes)
