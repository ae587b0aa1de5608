"""Many seeds of a small network at once against one after another: ratios in one run, with equal results asserted.

    python benchmarks/stacked_training.py [--out docs/results/benchmarks/stacked-training.json]

The peer is the workbench's own ``train_step``, network after network: what a loop over seeds would do. The cases are
the networks of the lab's perceptron pages, with as many members as the pages stack: 16 seeds of results, or 4 tuning
seeds times 6 rates. A convolutional, a recurrent network and a transformer stand beside them: there the runner takes
what is faster, and the benchmark says which that is.

What bounds it. One step of a perceptron of depth L, width H on B examples is 6·B·H²·L operations (forward, and twice
that backward), and some forty calls a layer (autograd, optimizer) of a few microseconds each. At B = 32, H = 64, L = 5
that is 4 million operations, which one core does in about 0.1 ms, against about 1 ms of calls. Stacked, the calls are
paid once for all M members and the operations remain: the best ratio is M · (calls + operations) / (calls + M ·
operations), for M = 24 about 8, less what batched products of small matrices lose against large ones. Norm and
update pass over all members' numbers, which calls shared among members do not make cheaper: they are done on one
matrix with a member a row, in as few passes as there can be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.lab.networks import ConvNet, NetworkConfig, Perceptron
from lucida.lab.sequence_networks import Recurrent, Transformer
from lucida.lab.stack import SingleTrainer, Stack, StackTrainer, Updates
from lucida.training.tasks import ClassificationTask

STEPS, REPEATS = 5, 5


@dataclass(frozen=True)
class Case:
    """A network of the lab with its batch and number of members."""

    name: str
    network: NetworkConfig
    shape: tuple[int, ...]
    members: int = 24
    batch_size: int = 32
    words: int = 0
    rate: float = 0.05

    def batch(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """A batch for every member, ``[M, B, …]``."""
        size = (self.members, self.batch_size, *self.shape)
        if self.words:
            inputs = torch.randint(self.words, size, generator=generator)
            return {"inputs": inputs, "mask": torch.ones_like(inputs, dtype=torch.bool), **self._labels(generator)}
        return {"inputs": torch.randn(size, generator=generator, dtype=dtype), **self._labels(generator)}

    def _labels(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"labels": torch.randint(8, (self.members, self.batch_size), generator=generator)}


CASES = (
    Case("perceptron/five layers", Perceptron(64, 8, 5, 64), (64,)),
    Case("perceptron/five layers, batch norm", Perceptron(64, 8, 5, 64, norm="batch"), (64,)),
    Case("perceptron/five layers, 16 seeds", Perceptron(64, 8, 5, 64), (64,), members=16),
    Case("perceptron/five layers, width 32", Perceptron(64, 8, 5, 32), (64,)),
    Case("perceptron/twenty layers, width 32", Perceptron(64, 8, 20, 32, "sigmoid", initialisation="xavier"), (64,)),
    # Its gradients explode by four decades: at a usual rate rounding would grow into a difference of its own.
    Case("perceptron/fifty layers, batch norm", Perceptron(64, 8, 50, 32, norm="batch"), (64,), rate=1e-8),
    Case("other/convolutions", ConvNet(1, 8), (1, 8, 8)),
    Case("other/recurrent, 64 steps", Recurrent(1, 8), (64, 1)),
    Case("other/transformer", Transformer(600, 8), (12,), words=600),
)


def measure(case: Case, dtype: torch.dtype = torch.float32) -> tuple[list[float], list[float], float]:
    """Seconds of ``STEPS`` steps of all members, stacked and one after another, in pairs.

    Returns:
        Both lists, and the largest difference of a weight after the first pair.
    """
    networks = [case.network.build(seed).to(dtype).train() for seed in range(case.members)]
    stacked = StackTrainer(Stack(networks).train(), ClassificationTask, [case.rate] * case.members, Updates())
    singles = [SingleTrainer(network, ClassificationTask, case.rate, Updates()) for network in networks]
    generator = torch.Generator().manual_seed(0)
    batches = [case.batch(generator, dtype) for _ in range(STEPS)]
    shares = [[{name: x[k] for name, x in batch.items()} for batch in batches] for k in range(case.members)]

    def together() -> None:
        for batch in batches:
            stacked.step(batch)

    def one_by_one() -> None:
        for single, own in zip(singles, shares, strict=True):
            for batch in own:
                single.step(batch)

    taken: tuple[list[float], list[float]] = ([], [])
    difference = 0.0
    for repeat in range(REPEATS + 1):  # the first pair warms up
        pair = _seconds(together), _seconds(one_by_one)
        if repeat == 0:
            members = [stacked.stack.member(k).state_dict() for k in range(case.members)]
            difference = max(
                float((members[k][name].double() - tensor.double()).abs().max())
                for k, network in enumerate(networks)
                for name, tensor in network.state_dict().items()
            )
        else:
            taken[0].append(pair[0])
            taken[1].append(pair[1])
    return *taken, difference


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Measure all cases, assert equal results, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/stacked-training.json"))
    out: Path = parser.parse_args().out
    results = Results()
    for case in CASES:
        _, _, exact = measure(Case(**{**case.__dict__, "members": 4}), torch.float64)
        assert exact < 1e-8, f"{case.name}: weights differ by {exact} after {STEPS} steps in float64"
        stacked, single, _ = measure(case)
        ratios = np.asarray(single) / np.asarray(stacked)
        low, high = np.quantile(ratios, [0.0, 1.0])
        results.add(f"{case.name}/times faster", Metric(float(np.median(ratios)), (float(low), float(high)), REPEATS))
        results.add(f"{case.name}/ms a step of all", Metric(1000 * float(np.median(stacked)) / STEPS))
        print(f"{case.name:45} {np.median(ratios):5.1f} ×  [{low:.1f}, {high:.1f}]", flush=True)
    results.details = {
        "interval": "smallest and largest ratio of the pairs",
        "threads": torch.get_num_threads(),
        "members": {case.name: case.members for case in CASES},
        "environment": environment(seed=0),
    }
    results.save(out)


if __name__ == "__main__":
    main()
