"""How well ``lucida diagnose`` does: planted faults it finds, healthy runs it leaves alone, and what watching costs.

    python tools/diagnosis_bench.py --seeds 0 1 2 3 4 --out docs/results/diagnosis.json
    python tools/diagnosis_bench.py --seeds 1000 --only rate_too_high mlp --pairs 0 --out trial.json

The patients are those of ``tools/patients``: every fault and every kind of healthy run, each with every seed.
Thresholds were fixed on seeds from 1000 on. Seeds of one fault resemble each other, so a fault (a kind of healthy run)
counts as one unit in the intervals over all, however many seeds it has.

Cost: two copies of a model, one of them watched every tenth step, take ten steps in turn; processor time of one thread,
so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the patients lie beside this file

import patients

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.training.findings import find
from lucida.training.probes import watch


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("docs/results/diagnosis.json"))
    parser.add_argument("--pairs", type=int, default=15, help="pairs of ten steps a model, for the cost")
    parser.add_argument("--only", nargs="+", default=[], help="faults and kinds of healthy runs; all by default")
    parser.add_argument("--note", default="", help="what a reader must know of these seeds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = Results()
    results.details["environment"] = environment(options.seeds[0])  # of the code that is about to judge
    if unknown := set(options.only) - set(patients.FAULTS) - set(patients.HEALTHY):
        parser.error(f"no such fault or kind of healthy run: {', '.join(sorted(unknown))}")
    cases = [one for one in patients.all_cases(options.seeds) if not options.only or one[1] in options.only]
    begun = time.process_time()
    with results.timed("patients"):
        rows = [examined(*one) for one in cases]
    add_shares(results, rows)
    judged = time.process_time()
    with results.timed("cost"):
        add_cost(results, options.pairs)
    results.details |= {
        "seeds": options.seeds,
        "processor_seconds": {"patients": judged - begun, "cost": time.process_time() - judged},
        "note": options.note,
        "runs": rows,
    }
    results.save(options.out)
    for name, metric in results.metrics.items():
        low_high = "" if metric.ci95 is None else f"  ({metric.ci95[0]:.3f} to {metric.ci95[1]:.3f})"
        print(f"{name:45} {metric.value:.4f}{low_high}  n = {metric.n}")


def examined(group: str, name: str, seed: int) -> dict[str, Any]:
    """One patient: what was found, and whether that was right."""
    case = patients.case((patients.HEALTHY if group == "healthy" else patients.FAULTS)[name], seed)
    found = find(patients.run(case))
    names = [finding.name for finding in found]
    losses = [x for x in case.losses if math.isfinite(x)]
    return {
        "group": group,
        "name": name,
        "seed": seed,
        "found": names,
        "since": [finding.since_step for finding in found],
        "layers": [finding.layer for finding in found],
        "right": bool(patients.EXPECTED[name] & set(names)) if group == "fault" else not names,
        "first": bool(names) and names[0] in patients.EXPECTED[name] if group == "fault" else None,
        "loss": [losses[0], statistics.median(losses[-20:])] if losses else None,
        "optimizer": type(case.optimizer).__name__,
    }


def add_shares(results: Results, rows: list[dict[str, Any]]) -> None:
    """Recall by fault and over all, false alarms by kind and over all."""
    faults = [row for row in rows if row["group"] == "fault"]
    healthy = [row for row in rows if row["group"] == "healthy"]
    judged = {
        "recall": (faults, lambda row: row["right"]),
        "recall/named_first": (faults, lambda row: row["first"]),
        "false_alarms": (healthy, lambda row: not row["right"]),
        "other_findings_beside_the_fault": (faults, lambda row: len(row["found"]) > row["right"]),
    }
    for name, (group, flag) in judged.items():
        by_kind: dict[str, list[bool]] = {}
        for row in group:
            by_kind.setdefault(row["name"], []).append(flag(row))
        if by_kind:
            results.add(name, share_of_kinds(list(by_kind.values())))
        if name in ("recall", "false_alarms"):
            for kind, flags in by_kind.items():
                results.add(f"{name}/{kind}", share(flags))


def share_of_kinds(kinds: list[list[bool]]) -> Metric:
    """The mean over kinds of each kind's share, with an interval that takes a kind for one unit.

    Runs of one kind may all go alike: then their number says nothing. The mean of ``k`` shares between 0 and 1 varies
    at most as that of ``k`` single trials does, so Wilson's interval of ``k`` trials is wide enough whatever the runs
    of one kind have in common; a bootstrap over kinds would have no width at all where no run failed.

    >>> share_of_kinds([[True, True], [True, False]]).value, share_of_kinds([[False] * 5] * 20).ci95[1] > 0.15
    (0.75, True)
    """
    shares = [sum(flags) / len(flags) for flags in kinds]
    return wilson(statistics.fmean(shares), len(shares))


def share(flags: list[bool]) -> Metric:
    """A share with its Wilson interval, of independent runs.

    >>> share([True] * 60).ci95[0] > 0.93
    True
    """
    return wilson(sum(flags) / len(flags), len(flags))


def wilson(p: float, n: int) -> Metric:
    """A share ``p`` of ``n`` independent units with its 95 % interval (Wilson 1927)."""
    z = 1.96
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Metric(p, (max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)), n)


# The cost ---------------------------------------------------------------------------------------------------------


def _perceptron() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    x, y = torch.randn(512, 784), torch.randint(10, (512,))
    return patients.mlp([784, 512, 512, 10]), lambda model: F.cross_entropy(model(x), y)


def _residual() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    x, y = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
    return patients.Residual(32, 4, 10), lambda model: F.cross_entropy(model(x), y)


def _transformer() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    ids = torch.randint(2000, (16, 64))
    model = patients.Language(2000, 192, 6, 64, pre=True)
    return model, lambda model: model(input_ids=ids, labels=ids)["loss"]


def _llama() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    ids = torch.randint(2000, (16, 64))
    return LlamaForCausalLM(LlamaConfig(vocab_size=2000, **sizes)), lambda model: model(input_ids=ids, labels=ids).loss


def _recurrent() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    x = torch.randn(32, 50, 16)
    return patients.Recurrent("gru", 16, 128, 1), lambda model: model(x).square().mean()


def _heads() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """Heads of the workbench's dual encoder's size, batch 512."""
    a, b = torch.randn(512, 1280), torch.randn(512, 384)
    return patients.Pair(1280, 384, 512), lambda model: model(a, b)


def _tiny() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """The worst case: a step of half a millisecond."""
    x, y = torch.randn(64, 32), torch.randint(10, (64,))
    return patients.mlp([32, 64, 64, 10]), lambda model: F.cross_entropy(model(x), y)


MODELS = {
    "perceptron": _perceptron,
    "residual network": _residual,
    "transformer": _transformer,
    "llama": _llama,
    "recurrent": _recurrent,
    "dual encoder heads": _heads,
    "tiny perceptron": _tiny,
}


def add_cost(results: Results, pairs: int) -> None:
    """The ratio of ten watched steps, one of them probed, to ten unwatched ones, for each model."""
    table: dict[str, Any] = {}
    for name, make in MODELS.items() if pairs else ():
        ratios, plain = cost(make, pairs)
        ratio = statistics.median(ratios)
        quartiles = statistics.quantiles(ratios, n=4)
        results.add(f"cost/{name.replace(' ', '_')}", Metric(ratio, None, len(ratios)))
        table[name] = {"milliseconds_a_step": 1000 * plain, "quartiles": [quartiles[0], quartiles[2]]}
    results.details["cost"] = table


def cost(make: Callable[[], Any], pairs: int) -> tuple[list[float], float]:
    """``(ratios, seconds of an unwatched step)``."""
    torch.manual_seed(0)
    watched, loss = make()
    plain = copy.deepcopy(watched)
    optimizers = {id(m): torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True) for m in (watched, plain)}

    def ten(model: nn.Module) -> float:
        start = time.process_time()
        for _ in range(10):
            optimizers[id(model)].zero_grad()
            loss(model).backward()
            optimizers[id(model)].step()
        return time.process_time() - start

    found, seconds = [], []
    with tempfile.TemporaryDirectory() as folder, watch(watched, optimizers[id(watched)], folder=folder):
        ten(watched), ten(plain)
        for k in range(pairs):
            order = (watched, plain) if k % 2 else (plain, watched)
            took = {id(model): ten(model) for model in order}
            found.append(took[id(watched)] / took[id(plain)])
            seconds.append(took[id(plain)] / 10)
    return found, statistics.median(seconds)


if __name__ == "__main__":
    main()
