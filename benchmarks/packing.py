"""Conversations of different lengths in one row without padding, beside the padded batch of the same model.

    python benchmarks/packing.py [--out docs/results/benchmarks/packing.json]

A Llama of 8 layers x 384 with adapters (r = 16) on its attention, batches of 16 conversations of 64 picture tokens, a
question and an answer of 6 to 200 tokens, float32, forward and backward, loss on answers. Three ways, in turn: the
padded batch with its mask, one row with attention by sequence (``packed_states``), and the same with the lean layers
that training uses (``lean_states``). The losses must agree to 1e-5 of their value, the gradients to 1e-4 of theirs.

What bounds it: linear layers and loss cost by token, so that a padded batch costs the longest conversation for all of
them: ``share of padding`` is what packing can save there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.losses.language_modeling import IGNORE_INDEX, language_modeling_loss
from lucida.models.adapters import LoraSettings, add_lora
from lucida.models.image_text_models import packed_labels
from lucida.models.lean_decoder import lean_states
from lucida.models.packed_attention import packed_states

WIDTH, WORDS, PICTURE, BATCH, ROUNDS = 384, 32_000, 64, 16, 12
WAYS = "padded", "packed", "lean"


def make() -> Any:
    """The language model with adapters that say something."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6, vocab_size=WORDS,
        max_position_embeddings=512,
    )  # fmt: skip
    model = LlamaForCausalLM(config).requires_grad_(False)
    add_lora(model, LoraSettings(r=16, lora_alpha=16), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def conversations(generator: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings ``[N, D]``, labels ``[N]`` and lengths ``[B]``."""
    answers = generator.integers(6, 201, BATCH)
    lengths = torch.tensor(PICTURE + 27 + answers)
    labels = torch.full((int(lengths.sum()),), IGNORE_INDEX)
    for end, answer in zip(lengths.cumsum(0).tolist(), answers.tolist(), strict=True):
        labels[end - answer : end] = torch.from_numpy(generator.integers(0, WORDS, answer))
    return torch.from_numpy(generator.standard_normal((len(labels), WIDTH), dtype=np.float32)), labels, lengths


def loss(model: Any, way: str, embedded: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Summed over answers."""
    targets, decoder = packed_labels(labels, lengths), model.get_decoder()
    rows = (targets != IGNORE_INDEX).nonzero()[:, 0]
    if way == "padded":
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        given = embedded.new_zeros(*mask.shape, WIDTH)
        given[mask] = embedded
        states = decoder(inputs_embeds=given, attention_mask=mask.long(), use_cache=False).last_hidden_state[mask][rows]
    elif way == "packed":
        states = packed_states(decoder, embedded[None], lengths)[0, rows]
    else:
        states = lean_states(decoder, embedded, lengths, rows)
    return language_modeling_loss(states, model.get_output_embeddings().weight, targets[rows], reduction="sum")


def main() -> None:
    """Time all three in turn, compare them, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/packing.json"))
    given = parser.parse_args()
    model, generator = make(), np.random.default_rng(0)
    adapters = [p for p in model.parameters() if p.requires_grad]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    apart, apart_gradients, padding = 0.0, 0.0, []
    for _ in range(ROUNDS + 1):
        batch = conversations(generator)
        padding.append(1 - float(batch[2].sum() / (BATCH * batch[2].max())))
        found = {}
        for way in WAYS:
            began = time.perf_counter()
            value = loss(model, way, *batch)
            gradients = torch.autograd.grad(value, adapters)
            seconds[way].append(time.perf_counter() - began)
            found[way] = float(value.detach()), torch.cat([g.flatten() for g in gradients])
        for way in WAYS[1:]:
            apart = max(apart, abs(found[way][0] / found["padded"][0] - 1))
            difference = (found[way][1] - found["padded"][1]).norm() / found["padded"][1].norm()
            apart_gradients = max(apart_gradients, float(difference))
    assert apart < 1e-5, f"the losses differ by {apart} of their value"
    assert apart_gradients < 1e-4, f"the gradients differ by {apart_gradients} of their norm"
    results = Results()
    results.add("largest difference of losses", Metric(apart, None, ROUNDS + 1))
    results.add("largest difference of gradients", Metric(apart_gradients, None, ROUNDS + 1))
    results.add("share of padding", Metric(float(np.mean(padding[1:])), None, ROUNDS))
    times = {way: np.array(taken[1:]) for way, taken in seconds.items()}  # the first one warms up
    for way, taken in times.items():
        results.add(f"ms a batch/{way}", Metric(1e3 * float(np.median(taken)), None, ROUNDS))
    for way in WAYS[1:]:
        ratios = times["padded"] / times[way]
        low, high = np.quantile(ratios, [0.25, 0.75])
        results.add(f"times faster than padded/{way}", Metric(float(np.median(ratios)), None, ROUNDS))
        results.add(f"times faster than padded/{way}/lower quartile", Metric(float(low)))
        results.add(f"times faster than padded/{way}/upper quartile", Metric(float(high)))
    for metric, value in results.metrics.items():
        print(f"{metric:50} {value.value:10.4g}")
    results.details = {"environment": environment(0)}
    results.save(given.out)


if __name__ == "__main__":
    main()
