"""Signals on their way up and gradients on their way down, before training: predicted from the settings, and measured.

The prediction is mean-field theory (Poole et al. 2016, 1606.05340; Schoenholz et al. 2017, 1611.01232): in a wide
network the pre-activations of a layer are a bell curve, of which only the variance matters. Layer ``l`` multiplies the
squared norm of a gradient by ``w · E[φ'(h)²] / d²``: ``w`` is the variance of its weights times their number per unit,
``d`` what its normalisation divides by. With ``h = z`` of unit variance,

* layer norm divides by ``√(w E[φ²])``: the gain is ``√(E[φ'²] / E[φ²])``;
* batch norm by ``√(w Var[φ])``, over the batch: ``√(E[φ'²] / Var[φ])`` (Yang et al. 2019, 1902.08129).

Neither depends on the weights. The two differ by the mean of the activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.lab.datasets import Dataset
from lucida.lab.experiment import Bench
from lucida.lab.networks import Activation, ActivationName, Perceptron
from lucida.lab.sequence_networks import Recurrent, RecurrentNetwork
from lucida.lab.training import Member, Moment, Observer, Training
from lucida.training.batches import Batch

_EPSILON = 1e-5  # of PyTorch's normalisations
LEAST_NORM = 1e-300  # of a gradient in double precision, for its logarithm
_LINE = torch.linspace(-9, 9, 4000, dtype=torch.float64)  # without 0, where a ReLU has its edge
_PLANE = torch.linspace(-7, 7, 200, dtype=torch.float64)


@dataclass(frozen=True)
class Averages:
    """Of an activation over normal pre-activations.

    Attributes:
        mean, square: ``E[φ]`` and ``E[φ²]``.
        slope: ``E[φ'²]``.
        difference: ``E[(φ(a) - φ(b))²] / 2`` for two examples whose pre-activations correlate by ``1 - apart``.
    """

    mean: float
    square: float
    slope: float
    difference: float


def averages(activation: ActivationName, variance: float, apart: float = 1.0) -> Averages:
    """By quadrature.

    >>> a = averages("relu", 1.0)
    >>> round(a.slope, 3), round(a.square, 3), round(a.difference, 3)  # 1/2, 1/2, 1/2 - 1/(2π)
    (0.5, 0.5, 0.341)
    """
    function = Activation(activation).double()
    deviation = variance**0.5
    x = (deviation * _LINE).requires_grad_()
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    weight = _normal(_LINE)
    both, own = torch.meshgrid(_PLANE, _PLANE, indexing="ij")
    both, own = both * (1 - apart / 2) ** 0.5 * deviation, own * (apart / 2) ** 0.5 * deviation
    with torch.no_grad():  # as a difference of two close numbers: 1 minus a correlation would be rounded away
        half = (function(both + own) - function(both - own)).square() / 2
        plane = _normal(_PLANE)
        difference = plane @ half @ plane
        mean, square = (weight * value).sum(), (weight * value.square()).sum()
    return Averages(float(mean), float(square), float((weight * slope.square()).sum()), float(difference))


def _normal(line: Tensor) -> Tensor:
    weight = torch.exp(-line.square() / 2)
    return weight / weight.sum()


@dataclass(frozen=True)
class Prediction:
    """By layer, from the input.

    Attributes:
        gradients: norm of the gradient by the output of the linear map, over that of the last hidden layer.
        varied: share of the pre-activations' squares that differs between examples.
    """

    gradients: NDArray
    varied: NDArray


def predicted(network: Perceptron, data: Dataset) -> Prediction:
    """What mean-field theory says of a perceptron with the inputs of a data set."""
    inputs = data.inputs["inputs"].flatten(1).double()
    square, difference, mean = float(inputs.square().mean()), float(inputs.var(dim=0).mean()), 0.0
    own, passed, varied = [], [], []
    for layer in range(network.depth):
        variance = _weight_variance(network, layer) * square
        apart, divisor = min(difference / square, 1.0), 1.0
        varied.append(apart)
        if network.norm == "batch":
            divisor, apart = variance * apart + _EPSILON, 1.0
            variance = 1 - _EPSILON / divisor
        elif network.norm != "none":
            divisor = variance + _EPSILON
            variance = 1 - _EPSILON / divisor
        found = averages(network.activation, variance, apart)
        kept = 1.0 if network.residual and layer > 0 else 0.0
        own.append(found.slope / divisor)
        passed.append(kept + _weight_variance(network, layer) * found.slope / divisor)
        square = kept * (square + 2 * mean * found.mean) + found.square
        difference = kept * difference + found.difference
        mean = kept * mean + found.mean
    above = np.append(np.cumprod(passed[::-1])[::-1][1:], 1.0)  # of all layers above
    squares = np.array(own) * above
    return Prediction(np.sqrt(squares / squares[-1]), np.array(varied))


def _weight_variance(network: Perceptron, layer: int) -> float:
    """Variance of the weights times how many a unit has."""
    fan_in = network.inputs if layer == 0 else network.width
    variances = {"small": 1e-4, "xavier": 2 / (fan_in + network.width), "he": 2 / fan_in}
    return variances[network.initialisation] * fan_in * network.gain**2


def layer_gain(network: Perceptron) -> float:
    """Predicted factor by which a layer deep inside multiplies a gradient's norm: layers far below the last one's.

    >>> round(layer_gain(Perceptron(64, 10, activation="sigmoid", norm="layer")), 2)
    0.39
    """
    inner = Perceptron(network.width, network.classes, 60, **_choices(network))
    inputs = torch.randn(512, network.width, generator=torch.Generator().manual_seed(0))
    gaussian = Dataset("", {"inputs": inputs}, torch.zeros(512), network.classes, np.arange(512), "")
    gradients = predicted(inner, gaussian).gradients
    return float(gradients[40] / gradients[41])


def _choices(network: Perceptron) -> dict:
    names = ("width", "activation", "norm", "initialisation", "gain", "residual")
    return {name: getattr(network, name) for name in names}


def layer_signals(network: nn.Module, batch: Batch) -> Tensor:
    """Measured in a perceptron, by hidden layer, ``[3, L]``.

    Norms of the gradients by the outputs of the linear maps and by their weights; the share of the squared outputs
    that differs between examples.
    """
    seen = network(batch["inputs"], trace=True)
    blocks: nn.ModuleList = network.blocks  # type: ignore[assignment]
    outputs = [seen[f"blocks.{k}"] for k in range(len(blocks))]
    weights = [block.linear.weight for block in blocks]  # type: ignore[union-attr]
    loss = F.cross_entropy(seen["head"], batch["labels"])
    grads = torch.autograd.grad(loss, [*outputs, *weights])
    norms = torch.stack([grad.norm() for grad in grads]).reshape(2, -1)
    varied = [output.var(dim=0).mean() / output.square().mean() for output in outputs]
    return torch.cat([norms, torch.stack(varied).detach().unsqueeze(0)])


def observe_layers(moment: Moment) -> Tensor:
    """Observer: :func:`layer_signals` of every member, ``[M, 3, L]``.

    On copies in double precision, so that a gradient which vanished in forty layers is a number and not 0.
    """
    return torch.stack([layer_signals(*_double(moment, k)) for k in range(moment.stack.members)])


def _double(moment: Moment, k: int) -> tuple[nn.Module, Batch]:
    own = {name: tensor[k] for name, tensor in moment.batch.items()}
    return moment.stack.member(k).train().double(), own | {"inputs": own["inputs"].double()}


def decades(gradients: NDArray) -> NDArray:
    """log10 of the first gradient over the last, ``[…]`` from ``[…, L]``: positive where it explodes.

    A gradient of which double precision has nothing left counts as its smallest number, so that it has a logarithm.

    >>> decades(np.array([[100.0, 10.0, 1.0], [0.0, 1.0, 1.0]])).round().tolist()
    [2.0, -300.0]
    """
    return np.log10(np.maximum(gradients[..., 0], LEAST_NORM) / np.maximum(gradients[..., -1], LEAST_NORM))


def before_training(
    bench: Bench, what: str, data: str, network: Perceptron | Recurrent, batch_size: int
) -> NDArray:  # fmt: skip
    """What a network of each seed looks like before its first step.

    Returns:
        of a perceptron :func:`layer_signals`, ``[seeds, 3, L]``; of a recurrent network :func:`state_gradients`,
        ``[seeds, T]``.
    """
    observers: dict[str, Observer] = (
        {"time": observe_time} if isinstance(network, Recurrent) else {"layers": observe_layers}
    )
    training = Training(data, batch_size, steps=1, every=1)
    members = [Member(seed, 0.0, network) for seed in bench.seeds]
    outcome = bench.train(f"before training: {what}", training, members, observers)
    (seen,) = outcome.observed.values()
    return seen[:, 0]


def state_gradients(network: nn.Module, batch: Batch) -> Tensor:
    """Norms of the gradients by the states of a recurrent network, from the first step to the last, ``[T]``."""
    assert isinstance(network, RecurrentNetwork)
    states: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        for layer in (network.state, network.head)
    ]
    logits = network(batch["inputs"])
    for handle in handles:
        handle.remove()
    loss = F.cross_entropy(logits, batch["labels"])
    return torch.stack([grad.norm() for grad in torch.autograd.grad(loss, states[1:])])  # the first one is zero


def observe_time(moment: Moment) -> Tensor:
    """Observer: :func:`state_gradients` of every member, ``[M, T]``, on copies in double precision."""
    return torch.stack([state_gradients(*_double(moment, k)) for k in range(moment.stack.members)])


def predicted_through_time(network: Recurrent, data: Dataset) -> NDArray:
    """Norm of the gradient by the state of each step over that of the last, ``[T]``, as if each step had own weights.

    For an orthogonal matrix times ``gain`` the factor of a step is ``gain · √E[φ'²] / d``.
    """
    read = data.inputs["inputs"].double().square().mean(dim=(0, 2)) * 2 * network.inputs
    factors, square = [], 0.0
    for own in read / (network.inputs + network.width):
        variance, divisor = float(own) + network.gain**2 * square, 1.0
        if network.norm != "none":
            divisor = variance + _EPSILON
            variance = 1 - _EPSILON / divisor
        found = averages(network.activation, variance)
        factors.append(network.gain * (found.slope / divisor) ** 0.5)
        square = found.square
    return np.append(np.cumprod(factors[::-1])[::-1][1:], 1.0)
