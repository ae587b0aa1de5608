"""A multimodal LLM under a preference loss: pairs of answers, and the same answers beside another picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.data.preferences import PreferenceData
from lucida.losses.language_modeling import shift_labels
from lucida.losses.preference import (
    AnswerLogs,
    PreferenceSettings,
    answer_log_likelihoods,
    preference_terms,
    weighted,
)
from lucida.models.features import evaluating
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput


def answer_logs(model: VisionLanguageModel, batch: Batch) -> AnswerLogs:
    """The log-likelihoods of the answers of a batch of :class:`~lucida.data.preferences.PreferenceData`."""
    shown, distorted = (_turn_logs(model, batch[key], len(batch["pairs"]) * n) for key, n in _PACKED)
    return AnswerLogs(shown[batch["chosen"]], shown[batch["rejected"]], distorted[batch["beside"]])


_PACKED = (("shown", 2), ("distorted", 1))  # turns a pair


def _turn_logs(model: VisionLanguageModel, packed: Batch, count: int) -> Tensor:
    """Of each turn of a packed batch, ``[count]``."""
    inputs = {key: value for key, value in packed.items() if key not in ("labels", "turns")}
    states = model.hidden_states(**inputs)
    weight = model.language_model.get_output_embeddings().weight
    labels, turns = (shift_labels(packed[key]).flatten() for key in ("labels", "turns"))
    return answer_log_likelihoods(states.flatten(0, 1), weight, labels, turns, count)


@torch.no_grad()
def reference_logs(model: VisionLanguageModel, data: PreferenceData, *, batch_size: int = 32) -> Tensor:
    """Log-likelihoods of all pairs under the model as it is, ``[pairs, 3]``: what the reference says of them.

    Computed once, in evaluation mode, before anything is trained, so that no second model is kept.
    """
    found = torch.empty(len(data.pairs), 3)
    with evaluating(model):
        for start in range(0, len(data), batch_size):
            batch = data.batch(range(start, min(start + batch_size, len(data))), _no_draw)
            found[batch["pairs"]] = torch.stack(answer_logs(model, batch), dim=1)
    return found


def _no_draw(k: int) -> np.random.Generator:
    """Nothing of these batches is random."""
    raise AssertionError(f"example {k} was drawn")


class PreferenceTask:
    """A multimodal LLM whose answers are compared with what the reference said of them.

    A batch is one of :class:`~lucida.data.preferences.PreferenceData` with ``reference``. The log shows each term, the
    share of pairs whose chosen answer has gained more than the rejected one, and the same for the pictures.

    Args:
        model: the policy.
        settings: of the loss.
    """

    def __init__(self, model: VisionLanguageModel, settings: PreferenceSettings):
        self.model: Any = model
        self.settings = settings

    def loss(self, batch: Batch) -> LossOutput:
        own = self.settings
        policy, reference = answer_logs(self.model, batch), AnswerLogs(*batch["reference"].unbind(dim=1))
        terms = preference_terms(policy, reference, own)
        loss = weighted(terms, own)
        chosen, rejected, distorted = (new.detach() - old for new, old in zip(policy, reference, strict=True))
        metrics: dict[str, Tensor | float] = {
            name: term.detach().mean() for name, term in zip(terms._fields, terms, strict=True)
        }
        metrics |= {
            "better_answer": (chosen > rejected).float().mean(),
            "better_picture": (chosen > distorted).float().mean(),
        }
        return LossOutput(loss.sum(), float(len(loss)), metrics)
