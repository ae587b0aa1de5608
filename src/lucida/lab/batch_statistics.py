"""What batch norm's statistics are worth: looks at one network at a time, which leave it as it was.

Distances of statistics are means over a layer's units, in the units' own standard deviations: as a ratio of sums, so
that a unit which hardly varies does not decide. A network's inputs are a tuple of tensors ``[n, …]``, as it takes them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lucida.lab.norms import SequenceBatchNorm, SequenceNorm

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, SequenceBatchNorm)
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of every unit of a layer, ``[H]`` each."""

    mean: Tensor
    deviation: Tensor

    def distances(self, other: Moments, unit: Moments) -> tuple[float, float]:
        """How far ``other``'s means and standard deviations are from these, in standard deviations of ``unit``."""
        whole = unit.deviation.sum()
        means = (other.mean - self.mean).abs().sum() / whole
        return float(means), float((other.deviation - self.deviation).abs().sum() / whole)


def moments(x: Tensor, mask: Tensor | None = None) -> Moments:
    """Of ``[B, H]`` or ``[B, H, S, S]``; with a mask ``[B, T]`` of the real positions of ``[B, T, H]``."""
    rows = x.transpose(0, 1).flatten(1).T if mask is None else x[mask]
    return Moments(rows.mean(dim=0), rows.std(dim=0))


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """The batch norms, from the input on."""
    return [module for module in network.modules() if isinstance(module, BATCH_NORMS)]


def running(norm: nn.Module) -> Moments:
    """What a batch norm would use in a test."""
    mean, variance = norm.running_mean, norm.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    return Moments(mean.clone(), variance.sqrt())


@contextmanager
def in_training_mode(network: nn.Module) -> Iterator[nn.Module]:
    """The network normalises with the statistics of the batch; mode and running statistics are put back."""
    was, saved = network.training, {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    try:
        with torch.no_grad():
            yield network
    finally:
        network.train(was)
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(saved[name])


def batches(examples: Inputs, size: int, seed: int = 0) -> list[Inputs]:
    """Shuffled whole batches, the same for every network with as many examples; the rest is left out."""
    order = torch.randperm(len(examples[0]), generator=torch.Generator().manual_seed(seed))
    return [tuple(x[rows] for x in examples) for rows in order.split(size) if len(rows) == size]


def recomputed(network: nn.Module, parts: Sequence[Inputs]) -> nn.Module:
    """A copy whose running statistics are the plain means over the statistics of these batches.

    With the whole training set as the one batch they are exact. Networks that call a batch norm more than once in a
    pass have no such statistics: the calls would count as batches.
    """
    fresh = copy.deepcopy(network)
    kept = [norm.momentum for norm in batch_norms(fresh)]
    fresh.train()
    with torch.no_grad():
        for k, part in enumerate(parts):
            for norm in batch_norms(fresh):
                norm.momentum = 1 / (k + 1)  # type: ignore[assignment]  # makes the running mean a plain one
            fresh(*part)
    for norm, momentum in zip(batch_norms(fresh), kept, strict=True):
        norm.momentum = momentum
    return fresh.eval()


class ExactlyTested(nn.Module):
    """A network whose tests use the exact statistics of its training set; in training it is as it was.

    In a test all training inputs pass together with those to be answered, and every batch norm takes its statistics
    from the former alone: what :func:`recomputed` does once, as a part of the network, so that whatever tests it
    (tuning too) need not know.

    Args:
        network: with batch norms that are called once in a pass; it is changed.
        train: its training inputs, ``[n, …]``.
    """

    examples: Tensor

    def __init__(self, network: nn.Module, train: Tensor):
        super().__init__()
        self.network = network
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, BATCH_NORMS):
                    setattr(parent, name, _OfTheFirst(child, len(train)))
        self.register_buffer("examples", train)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            return self.network(inputs)
        return self.network(torch.cat([self.examples, inputs]))[len(self.examples) :]


class _OfTheFirst(nn.Module):
    """A batch norm that in tests takes the statistics of the first ``count`` examples."""

    def __init__(self, norm: nn.Module, count: int):
        super().__init__()
        self.norm, self.count = norm, count

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.norm(x)
        exact, norm = moments(x[: self.count].detach()), self.norm
        mean, variance = exact.mean, exact.deviation.square()
        return nn.functional.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps)  # type: ignore[arg-type]


@contextmanager
def seen_by(modules: Sequence[nn.Module], *, outputs: bool = False) -> Iterator[list[list[tuple[Tensor, ...]]]]:
    """What modules get (or give), call by call: a list for each module."""
    seen: list[list[tuple[Tensor, ...]]] = [[] for _ in modules]

    def keep(calls: list[tuple[Tensor, ...]]):  # type: ignore[no-untyped-def]
        return lambda _module, args, output: calls.append((output,) if outputs else args)

    handles = [m.register_forward_hook(keep(calls)) for m, calls in zip(modules, seen, strict=True)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def accuracy(network: nn.Module, parts: Sequence[tuple[Inputs, Tensor]]) -> float:
    """Share of right answers over batches of inputs and labels, in the mode the network is in."""
    with torch.no_grad():
        right = [network(*inputs).argmax(dim=-1) == labels for inputs, labels in parts]
    return float(torch.cat(right).double().mean())


STATISTICS = ("running", "batch", "averaged", "exact")


def accuracies(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor, size: int) -> Tensor:
    """Of the same weights, by the statistics they are tested with (:data:`STATISTICS`), ``[4]``.

    The running ones; those of test batches of ``size``; the means over the training batches of ``size``; those of the
    whole training set.
    """
    whole = [(test, labels)]
    cut = [(part[:-1], part[-1]) for part in batches((*test, labels), size)]
    network.eval()
    values = [accuracy(network, whole)]
    with in_training_mode(network):
        values.append(accuracy(network, cut))
    values += [accuracy(recomputed(network, parts), whole) for parts in (batches(train, size), [train])]
    return torch.tensor(values, dtype=torch.float64)


SHIFTS = ("running", "averaged", "batch")


def shifts(network: nn.Module, train: Inputs, size: int) -> Tensor:
    """Distances ``[layers, 3, 2]``: of means and of standard deviations, in exact standard deviations.

    From the exact statistics to the running ones and to the means over all batches of ``size``; from the running ones
    to those of a batch.
    """
    exact, averaged = recomputed(network, [train]), recomputed(network, batches(train, size))
    layers = batch_norms(network)
    with in_training_mode(network), seen_by(layers) as seen:
        used = [running(norm) for norm in layers]  # before looking moves them
        for part in batches(train, size)[:64]:
            network(*part)
    found = []
    for k, (truth, mean) in enumerate(zip(batch_norms(exact), batch_norms(averaged), strict=True)):
        unit = running(truth)
        each = np.mean([used[k].distances(moments(*call), unit) for call in seen[k]], axis=0)
        found.append([unit.distances(used[k], unit), unit.distances(running(mean), unit), tuple(each)])
    return torch.tensor(found, dtype=torch.float64)


def companions_noise(network: nn.Module, examples: Inputs, size: int, repeats: int = 8) -> Tensor:
    """Share of the variance of what batch norm gives that is due to the companions in the batch, ``[layers + 1]``.

    The same examples pass several times, each time with other companions; the last number is that of the logits.
    """
    layers = [*batch_norms(network), network]
    n = len(examples[0]) // size * size
    rows = torch.arange(n)
    given: list[list[Tensor]] = [[] for _ in layers]
    with in_training_mode(network):
        for repeat in range(repeats):
            parts = batches((rows, *(x[:n] for x in examples)), size, seed=repeat)
            with seen_by(layers, outputs=True) as seen:
                for part in parts:
                    network(*part[1:])
            order = torch.cat([part[0] for part in parts]).argsort()
            for k, calls in enumerate(seen):
                given[k].append(torch.cat([call[0] for call in calls])[order])
    return torch.tensor([_noise_share(torch.stack(values)) for values in given], dtype=torch.float64)


def _noise_share(values: Tensor) -> float:
    """Of ``[repeats, n, …]``: variance over repeats against all variance, sums over units."""
    within = values.var(dim=0).mean(dim=0)
    between = (values.mean(dim=0).var(dim=0) - within / len(values)).clamp(min=0)
    return float(within.sum() / (within + between).sum().clamp(min=1e-12))


def gaussian_noise_share(size: int, draws: int = 100_000) -> float:
    """The same for one unit whose values are normal, by drawing; 2/3 for batches of two, where only a sign is left.

    (For normal z the mean of the sign of ``z - z'`` is ``2Φ(z) - 1``, uniform from -1 to 1: a variance of 1/3.)
    """
    generator = np.random.default_rng(0)
    own = generator.normal(size=(draws, 1))
    given = []
    for _ in range(2):
        batch = np.concatenate([own, generator.normal(size=(draws, size - 1))], axis=1)
        given.append((batch[:, 0] - batch.mean(axis=1)) / batch.std(axis=1))
    return 1 - float((given[0] * given[1]).mean() / np.mean([np.square(values).mean() for values in given]))


def expected_distance(size: float, momentum: float | None = None) -> float:
    """Mean distance of a batch's mean from the true one, in standard deviations, if all is normal and nothing moves.

    With a momentum, of the running mean: an average with weights ``m (1-m)^k``, whose squares sum to ``m / (2-m)``.
    """
    share = 1.0 if momentum is None else momentum / (2 - momentum)
    return math.sqrt(2 / math.pi * share / size)


BINS = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of padding, ± 0.1
_FEWEST = 30  # real positions on which a statistic that counts as true must rest


def by_share_of_padding(network: nn.Module, test: Inputs) -> Tensor:
    """Error of statistics that count padding, by its share, ``[bins, 2]``: of mean and of standard deviation.

    Against those of the real positions of the same call of the same norm, in standard deviations; NaN for shares that
    did not occur.
    """
    norms = [module for module in network.modules() if isinstance(module, SequenceNorm)]
    order = test[1].sum(dim=1).argsort(stable=True)
    parts = [test, *(tuple(x[rows] for x in test) for rows in order.split(48))]
    found: list[list[tuple[float, float]]] = [[] for _ in BINS]
    with in_training_mode(network), seen_by(norms) as seen:
        for part in parts:
            network(*part)
    for x, mask in (call for calls in seen for call in calls):
        share = 1 - float(mask.double().mean())
        if int(mask.sum()) >= _FEWEST and 0 < share < 1:
            real = moments(x, mask)
            place = min(int(share * len(BINS)), len(BINS) - 1)
            found[place].append(real.distances(moments(x, torch.ones_like(mask)), real))
    return torch.from_numpy(np.array([np.mean(each, axis=0) if each else (np.nan, np.nan) for each in found]))


def by_word(network: nn.Module, test: Inputs, size: int) -> Tensor:
    """Of a recurrent network with batch norm, at each word, ``[T, 2]``: how far the statistics are from the truth.

    The truth are those of all test texts at that word, of the positions that this norm counts. First the mean of a
    batch of ``size`` texts, then the running mean, in standard deviations; NaN where the texts are too few.
    """
    (norm,) = batch_norms(network)
    masked, used = bool(norm.masked), running(norm)
    with in_training_mode(network), seen_by([norm]) as seen:
        network(*test)
        truths = [_counted(x, mask, masked) for x, mask in seen[0]]
        seen[0].clear()
        for part in batches(test, size):
            network(*part)
    length, found = len(truths), []
    for t, truth in enumerate(truths):
        calls = [_counted(x, mask, masked) for x, mask in seen[0][t::length]]
        each = [truth.distances(call, truth)[0] for call in calls if call is not None and truth is not None]
        found.append((np.mean(each) if each else np.nan, truth.distances(used, truth)[0] if truth else np.nan))
    return torch.tensor(found, dtype=torch.float64)


def _counted(x: Tensor, mask: Tensor, masked: bool) -> Moments | None:
    """The moments of the positions a norm counts; ``None`` of fewer than two."""
    chosen = mask if masked else torch.ones_like(mask)
    return moments(x, chosen) if int(chosen.sum()) >= 2 else None


SEQUENCE_STATISTICS = ("running", "batch", "padded", "trimmed")


def sequence_accuracies(network: nn.Module, test: Inputs, labels: Tensor, size: int) -> Tensor:
    """Of the same weights (:data:`SEQUENCE_STATISTICS`), ``[4]``.

    With running statistics; with those of mixed batches; with those of batches of texts of about one length, which are
    padded to the common length, or trimmed to the longest of the batch.
    """
    mixed = batches((*test, labels), size)
    order = test[1].sum(dim=1).argsort(stable=True)
    sorted_ = [tuple(x[rows] for x in (*test, labels)) for rows in order.split(size) if len(rows) == size]
    network.eval()
    values = [accuracy(network, [(test, labels)])]
    with in_training_mode(network):
        for parts in (mixed, sorted_, [trimmed(part) for part in sorted_]):
            values.append(accuracy(network, [(part[:2], part[2]) for part in parts]))
    return torch.tensor(values, dtype=torch.float64)


def trimmed(part: Inputs) -> Inputs:
    """Token numbers and mask ``[B, T]`` without the positions that are padding in the whole batch."""
    longest = int(part[1].sum(dim=1).max())
    return part[0][:, :longest], part[1][:, :longest], *part[2:]


GAINS = ("mean gain", "spread of the gains", "size of the biases")


def gains_and_biases(network: nn.Module) -> Tensor:
    """What layer norm or RMSNorm learned (:data:`GAINS`), means over the norms, ``[3]``; without them 1, 0, 0."""
    found = []
    for norm in _affine_norms(network):
        gain, bias = norm.weight, getattr(norm, "bias", None)
        assert isinstance(gain, Tensor)
        size = float(bias.detach().square().mean().sqrt()) if isinstance(bias, Tensor) else 0.0
        found.append((float(gain.detach().mean()), float(gain.detach().std()), size))
    return torch.tensor(found or [(1.0, 0.0, 0.0)], dtype=torch.float64).mean(dim=0)


def without_gain_and_bias(network: nn.Module, test: Inputs, labels: Tensor) -> float:
    """Accuracy of trained weights whose gains are set back to one and biases to zero."""
    reset = copy.deepcopy(network).eval()
    with torch.no_grad():
        for norm in _affine_norms(reset):
            norm.weight.fill_(1.0)  # type: ignore[operator]
            if isinstance(getattr(norm, "bias", None), Tensor):
                norm.bias.zero_()  # type: ignore[operator]
    return accuracy(reset, [(test, labels)])


def _affine_norms(network: nn.Module) -> list[nn.Module]:
    kinds = (nn.LayerNorm, nn.RMSNorm)
    return [m for m in network.modules() if isinstance(m, kinds) and isinstance(m.weight, Tensor)]


def share_of_the_mean(network: nn.Module, test: Inputs) -> float:
    """How much of the mean square that a norm sees at a real position is the square of the mean over units.

    Layer norm takes that part away; RMSNorm does not.
    """
    norms = [module for module in network.modules() if isinstance(module, SequenceNorm)]
    network.eval()
    with torch.no_grad(), seen_by(norms) as seen:
        network(*test)
    calls = [x[mask] for calls in seen for x, mask in calls if mask.any()]
    shares = [x.mean(dim=1).square().mean() / x.square().mean() for x in calls]
    return float(torch.stack(shares).mean())
