"""Zero-shot by class names on long-tailed pictures: heads on frozen towers, as they are and with logits adjusted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import stream
from lucida.data.text_augmentation import class_phrasings
from lucida.models.dual_encoder import HeadConfig
from lucida.models.hugging_face import load_text_tower
from lucida.models.prototypes import prototype_logits
from lucida.models.text_features import TextFeatures
from lucida.training.classifier import ClassifierConfig
from lucida.training.imbalance import folds_of
from lucida.training.post_hoc import adjusted_logits, score
from lucida.training.prototypes import PrototypeConfig, class_prototypes, encoded_pictures, fit_prototypes
from lucida.workflows.long_tail_features import Part
from lucida.workflows.long_tail_methods import FOLDS, Answered

ZERO_SHOT, ADJUSTED = "zero_shot", "zero_shot_adjusted"
PHRASINGS = 8  # of a class's name
# Contrastive training on class texts corrects for the classes' frequency already (training.prototypes), so that what is
# left to adjust is small, and may be too much correction.
TAUS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75)
_HEADS = HeadConfig(128, 256, 0.3)


class ZeroShot:
    """Answers by the nearest class name, the adjustment chosen by cross-validation in training pictures.

    Args:
        names: of the classes.
        text_tower: built in, a Hugging Face folder, or a hub name.
        config: whose steps and batch size the training has.
        metric: the adjustment is chosen by it.
        again: look for it in every part; see :class:`~lucida.workflows.long_tail_methods.Answerer`.
    """

    def __init__(self, names: Sequence[str], text_tower: str, config: ClassifierConfig, metric: str, *, again: bool):
        self.texts = [list(class_phrasings(name, stream(0, "phrasings", name), PHRASINGS)) for name in names]
        self.read = TextFeatures(load_text_tower(text_tower))
        self.config, self.metric, self.again = config, metric, again
        self._tau: float | None = None

    def __call__(self, part: Part) -> Iterator[tuple[str, Answered]]:
        """Both methods' answers about the part's test pictures."""
        searched = 0.0
        if self.again or self._tau is None:
            began = time.perf_counter()
            self._tau = self._tuned(part)
            searched = time.perf_counter() - began
        began = time.perf_counter()
        logits = self._logits(part.features, part.labels, part.test_features, part.seed)
        took = time.perf_counter() - began
        yield ZERO_SHOT, Answered(logits.numpy(), {}, took)
        after = adjusted_logits(logits, part.counts, self._tau).numpy()
        yield ADJUSTED, Answered(after, {"tau": self._tau}, took, searched)

    def _logits(self, features: NDArray, labels: NDArray[np.int64], asked: NDArray, seed: int) -> Tensor:
        """Of the pictures that are asked about, ``[m, C]``, by heads trained on the others."""
        train = replace(
            PrototypeConfig().train,
            duration=Duration(self.config.steps, "steps"),
            batch_size=min(self.config.batch_size, len(labels)),
            seed=seed,
            probe_every=None,
        )
        config = PrototypeConfig(_HEADS, train=train)
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder.create(Path(folder), config, seed=seed)
            model = fit_prototypes(features, labels, self.texts, self.read, config, run)
        with torch.inference_mode():
            prototypes = class_prototypes(model, self.texts, self.read)
            return prototype_logits(encoded_pictures(model, asked), prototypes, float(model.logit_scale))

    def _tuned(self, part: Part) -> float:
        fold = folds_of(part.labels, FOLDS, part.seed)
        scores = np.zeros(len(TAUS))
        held_out: list[tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]] = []
        for k in range(FOLDS):
            kept, held = fold != k, fold == k
            logits = self._logits(part.features[kept], part.labels[kept], part.features[held], part.seed)
            counts = np.bincount(part.labels[kept], minlength=part.classes)
            held_out.append((logits, counts, part.labels[held]))
        labels = np.concatenate([truth for *_, truth in held_out])
        for i, tau in enumerate(TAUS):
            rows = torch.cat([adjusted_logits(logits, counts, tau) for logits, counts, _ in held_out])
            scores[i] = score(rows, labels, self.metric)
        return TAUS[int(scores.argmax())]
