"""One question a file; each holds an ``EXPERIMENT``."""

from __future__ import annotations

from importlib import import_module

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.lab.experiment import Experiment

PAGES = {  # in the order of the book: the name of a page and the module with its EXPERIMENT
    "data-construction": "data_construction_page",
    "batch-norm-in-five-layers": "batch_norm_in_five_layers_page",
    "batch-size": "batch_size_page",
    "vanishing-gradients": "vanishing_gradients_page",
    "exploding-gradients": "exploding_gradients_page",
    "what-batch-norm-does": "what_batch_norm_does_page",
    "where-batch-norm-hurts": "where_batch_norm_hurts_page",
    "mixtures-and-k-means": "mixtures_and_k_means_page",
    "temperature": "temperature_page",
    "softmax-or-sigmoid": "softmax_or_sigmoid_page",
    "long-tail": "long_tail_page",
    "few-positives": "few_positives_page",
    "answers-or-everything": "answers_or_everything_page",
    "held-out-instructions": "held_out_instructions_page",
    "lora-initialisation": "lora_initialisation_page",
    "lora-parameters": "lora_parameters_page",
    "lora-or-prompts": "lora_or_prompts_page",
    "hallucination-causes": "hallucination_causes_page",
    "hallucination-remedies": "hallucination_remedies_page",
    "joining-modalities": "joining_modalities_page",
    "modality-gap": "modality_gap_page",
    "median-of-two-sorted": "median_of_two_sorted_page",
    "fewest-swaps": "fewest_swaps_page",
}
NAMES = tuple(PAGES)


def load(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        LucidaError: there is none; the nearest is named.
    """
    if name not in NAMES:
        near = nearest(name, NAMES)
        remedy = f"did you mean {near!r}?" if near else "`lucida lab list` shows them"
        raise LucidaError(f"no lab page {name!r}", remedy=remedy)
    experiment: Experiment = import_module(f"{__name__}.{PAGES[name]}").EXPERIMENT
    assert experiment.code  # taken down now: who runs several pages for hours may edit them meanwhile
    return experiment
