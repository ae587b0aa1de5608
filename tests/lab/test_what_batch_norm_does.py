"""The measures of the page on batch norm against closed forms; planted saddles are what they claim; looking is idle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lucida.lab import saddles
from lucida.lab.datasets import training_batch
from lucida.lab.experiments import load, what_batch_norm_does
from lucida.lab.experiments.what_batch_norm_does import (
    BATCH,
    CONTEXTS,
    NOISE_ALONE,
    NOISY,
    NORMS,
    OBSERVERS,
    PLAIN,
    SADDLES,
    SAME_RATE,
    SMALL_GAINS,
    NoiseAlone,
    Noised,
    left,
    noisy,
    observe_plateau,
    reaching,
    steps_to_leave,
)
from lucida.lab.experiments.what_batch_norm_does_page import _count
from lucida.lab.experiments.what_batch_norm_does_texts import fewer
from lucida.lab.input_shift import drift, layer_inputs, moments, observe_shift, shape_drift
from lucida.lab.networks import ConvNet, NetworkConfig, Perceptron
from lucida.lab.norms import NoisyBatchNorm
from lucida.lab.observations import Observations
from lucida.lab.saddles import Curvature, DoubledUnits, NearOrigin, curvature, doubled, lanczos
from lucida.lab.smoothness import walk
from lucida.lab.stack import Stack
from lucida.lab.training import Member, Moment, Outcome, Training, train_members
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput, Task
from tests.lab.drawn_bench import whole_page

PERCEPTRON, CONVOLUTIONS = Perceptron(64, 10, depth=3, width=8), ConvNet(1, 10, depth=2, width=4)


class Bowl(nn.Module):
    """``Σ c w² / 2``: a quadratic of known curvature."""

    def __init__(self, curvatures: list[float], start: list[float]):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.register_buffer("curvatures", torch.tensor(curvatures, dtype=torch.float64))

    def forward(self) -> Tensor:
        return (self.curvatures * self.weight.square()).sum() / 2  # type: ignore[operator]


class BowlTask:
    """The quadratic itself is the loss."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        return LossOutput(self.model(), 1.0)


def bowl_task(model: nn.Module) -> Task:
    return BowlTask(model)


def moment_of(network: NetworkConfig, members: int = 2, rate: float = 0.1) -> Moment:
    batch = {name: x[:, :32] for name, x in training_batch("digits", range(members)).items()}
    stack = Stack([network.build(seed) for seed in range(members)]).train()
    return Moment(stack, batch, batch, batch, 0, torch.full((members,), rate))


def test_a_walk_down_a_bowl_finds_its_curvature() -> None:
    stack = Stack([Bowl([3.0, 3.0], [1.0, 2.0]), Bowl([0.5, 0.5], [1.0, 2.0])])
    batch = {"labels": torch.zeros(2, 1)}
    seen = walk(stack, batch, (0.01, 0.1), bowl_task)
    torch.testing.assert_close(seen.beta, torch.tensor([3.0, 0.5], dtype=torch.float64))
    # The gradient is c·w: a walk of a share s of the length of w leaves (1 - s) of it.
    torch.testing.assert_close(seen.change, torch.tensor([[0.01, 0.1]] * 2, dtype=torch.float64))
    torch.testing.assert_close(seen.cosine, torch.ones(2, 2, dtype=torch.float64))
    torch.testing.assert_close(seen.loss_range, torch.tensor([7.5, 1.25], dtype=torch.float64) * (1 - 0.9**2))
    assert seen.weights.tolist() == pytest.approx([5**0.5] * 2)


def test_beta_is_that_of_the_direction_of_the_gradient() -> None:
    curvatures, start = np.array([4.0, 1.0]), np.array([1.0, 1.0])
    seen = walk(Stack([Bowl(list(curvatures), list(start))]), {"labels": torch.zeros(1, 1)}, (0.02,), bowl_task)
    gradient = curvatures * start
    expected = np.linalg.norm(curvatures * gradient) / np.linalg.norm(gradient)
    assert seen.beta.item() == pytest.approx(expected)


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize("config", [PERCEPTRON, CONVOLUTIONS])
def test_looking_changes_nothing(norm: str, config: Perceptron | ConvNet) -> None:
    moment = moment_of(replace(config, norm=norm))  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in moment.stack.state_dict().items()}
    torch.manual_seed(5)
    for observer in (*OBSERVERS.values(), observe_plateau):
        if observer is observe_plateau and norm == "batch_noisy":
            continue  # saddles have no noise
        assert torch.isfinite(observer(moment)).all()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1)), "the stream of random numbers moved"
    assert all(torch.equal(before[name], tensor) for name, tensor in moment.stack.state_dict().items())


def test_moments_are_of_what_activations_see() -> None:
    moment = moment_of(replace(PERCEPTRON, norm="batch"))
    means, spreads = moments(layer_inputs(moment.stack, moment.batch))
    assert means.shape == (2, 3, 8)
    assert means.abs().max() < 1e-5
    assert spreads.max() < 1.001


def test_drift_of_a_shifted_and_stretched_layer() -> None:
    mean, spread = torch.zeros(1, 1, 4), torch.full((1, 1, 4), 2.0)
    assert drift((mean, spread), (mean + 1.0, spread)).item() == pytest.approx(0.5)
    assert drift((mean, spread), (mean, 1.5 * spread)).item() == pytest.approx(0.5)
    assert drift((mean, spread), (mean, spread)).item() == 0.0


def test_the_shape_is_what_a_shift_and_a_stretch_leave() -> None:
    values = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    assert shape_drift([values], [3 * values.flip(1) - 5]).abs().max() < 1e-6, "nor does the order of the rows count"


def test_the_shape_drift_of_two_values_that_become_three() -> None:
    """Half at -1 and half at 1, against a quarter at ±√2 and half at 0: matched in order, 2 - √2 is the mean square."""
    two, three = torch.tensor([1.0, -1, -1, 1]), torch.tensor([0.0, 7, -7, 0])
    before, after = (4 * x.view(1, 4, 1).repeat(1, 8, 1) + 9 for x in (two, three))
    still = torch.zeros_like(before)  # a unit that does not vary
    found = shape_drift([torch.cat([before, still], dim=2), before], [torch.cat([after, still + 1], dim=2), before])
    torch.testing.assert_close(found, torch.tensor([[(2 - 2**0.5) ** 0.5 / 2, 0.0]]))


def test_without_a_step_nothing_shifts_but_noise_does() -> None:
    still = observe_shift(moment_of(replace(PERCEPTRON, norm="batch"), rate=0.0))
    assert still.shape == (2, 3 + 3 + 1)
    assert still.abs().max() == 0
    noisy = observe_shift(moment_of(replace(PERCEPTRON, norm="batch_noisy"), rate=0.0))
    assert noisy[:, :3].min() > 0.1
    assert noisy[:, 3:-1].min() > 0.05
    assert noisy[:, -1].abs().max() == 0, "the gradient's shift is taken under one draw of the noise"


def test_only_earlier_layers_shift_the_gradient() -> None:
    moment = moment_of(replace(PERCEPTRON, depth=1))
    assert observe_shift(moment)[:, -1].abs().max() == 0
    assert observe_shift(moment_of(PERCEPTRON))[:, -1].min() > 1e-3


def test_the_noise_can_be_turned_down() -> None:
    noisy = Noised(replace(PERCEPTRON, norm="batch_noisy"), 0.25).build(0)
    modules = [module for module in noisy.modules() if isinstance(module, NoisyBatchNorm)]
    assert [(module.shift, module.scale) for module in modules] == [(0.25, 1.25)] * 3


def test_the_noise_alone_has_no_normalisation() -> None:
    network, plain = NoiseAlone(PERCEPTRON).build(0), PERCEPTRON.build(0)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    inputs = training_batch("digits", 0)["inputs"][:4]
    assert not torch.equal(network.train()(inputs), plain(inputs))
    torch.testing.assert_close(network.eval()(inputs), plain(inputs))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_doubled_units_compute_the_same_with_a_gradient_as_small(norm: str) -> None:
    config = Perceptron(64, 10, depth=2, width=2, activation="tanh", norm=norm)  # type: ignore[arg-type]
    narrow, wide = config.build(0).train(), replace(config, width=8).build(1).train()
    doubled(narrow, wide)
    batch = training_batch("digits", 0)
    torch.testing.assert_close(wide(batch["inputs"]), narrow(batch["inputs"]), rtol=1e-4, atol=1e-4)
    a, b = (curvature(network, batch, steps=2).gradient for network in (narrow, wide))
    assert b <= a * 1.001


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_doubled_units_are_a_saddle(norm: str) -> None:
    network = Perceptron(64, 10, depth=2, width=8, activation="tanh", norm=norm, initialisation="xavier")  # type: ignore[arg-type]
    planted, batch = DoubledUnits("digits", network, 2, 0.0), training_batch("digits", 3)
    there, ordinary = curvature(planted.build(3), batch), curvature(network.build(3), batch, steps=2)
    assert there.gradient < 0.15 * ordinary.gradient
    assert there.least < -0.01
    perturbed, exact = replace(planted, perturbation=0.1).build(3), planted.build(3)
    pairs = zip(perturbed.named_parameters(), exact.parameters(), strict=True)
    shares = [((a - b).norm() / b.norm()).item() for (_, a), b in pairs if a.ndim >= 2]
    assert shares == pytest.approx([0.1] * 3, rel=1e-4)


def test_near_the_origin_only_batch_norm_has_a_gradient() -> None:
    batch, found = training_batch("digits", 0), {}
    for norm in ("none", "batch"):
        network = Perceptron(64, 10, depth=3, width=8, activation="tanh", norm=norm, initialisation="xavier")  # type: ignore[arg-type]
        at_origin = NearOrigin("digits", network, 0.1)
        found[norm] = curvature(at_origin.build(0), batch)
    assert found["none"].gradient < 0.01
    assert found["none"].least < 0
    assert found["batch"].gradient > 100 * found["none"].gradient


def test_lanczos_finds_the_ends_of_a_known_spectrum() -> None:
    values = torch.linspace(-2, 5, 40, dtype=torch.float64)
    least, greatest = lanczos(lambda v: values * v, 40, 40, torch.float64)
    assert (least, greatest) == pytest.approx((-2.0, 5.0), abs=1e-8)
    few = lanczos(lambda v: values * v, 40, 8, torch.float64)
    assert -2.0 <= few[0] < 0 < few[1] <= 5.0


def outcome_of(losses: np.ndarray) -> Outcome:
    """A training with these losses of the batches, ``[M, steps]``, beside a plateau at 1."""
    records = dict.fromkeys(("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "grad_norm"), losses)
    return Outcome(
        steps=np.array([0]), batch_loss=losses, alive=np.isfinite(losses).all(axis=1),
        observed={"plateau": np.ones((len(losses), 2))}, seconds_per_step=0.0, **records,
    )  # fmt: skip


def test_leaving_is_for_good() -> None:
    losses = np.ones((4, 40))
    losses[0, 20:] = 0.5  # leaves
    losses[1, 20:30] = 0.5  # is thrown back
    losses[3, 20:] = np.nan  # diverges
    assert steps_to_leave(outcome_of(losses)).tolist() == [21, 40, 40, 40]
    assert left(outcome_of(losses)).tolist() == [True, False, False, False]


def test_rates_at_which_none_arrives_differ_by_how_much_is_missing() -> None:
    losses = np.full((5, 40), 2.0)
    losses[0, 20:] = 0.5  # arrives
    losses[1, 10:] = 1.5
    losses[2, 10:] = 1.2
    losses[3, 20:] = np.nan  # diverges
    losses[4, 1:] = 3.0  # gets worse
    assert reaching(1.0)(outcome_of(losses)).tolist() == pytest.approx([27, 60, 48, np.inf, np.inf])


def test_the_observers_see_a_training_that_goes_down() -> None:
    members = [Member(seed, 0.1, replace(PERCEPTRON, norm="batch", width=16)) for seed in (0, 1)]
    outcome = train_members(Training("digits", 32, 30, 15), members, observers=OBSERVERS)
    assert outcome.observed["walk"].shape == (2, 3, 4 + 2 * 3)
    assert outcome.observed["shift"].shape == (2, 3, 7)
    assert (outcome.loss[:, -1] < outcome.loss[:, 0]).all()


def test_how_many_times_fewer_is_a_geometric_mean_and_unknown_where_the_arm_was_cut_off() -> None:
    found, context = Observations(), CONTEXTS[0]
    fine = np.array([True, True])
    for arm, steps, reached in (
        (PLAIN, (64, 64), np.array([True, False])),
        (BATCH, (4, 16), fine),
        (NOISY, (32, 64), ~np.array([False, True])),
    ):
        found.record("steps", arm, np.log2(steps), context, cut=~reached)
        found.record("reached", arm, reached, context)
        _count(found, "steps", arm, context)
    metrics = found.metrics()
    assert metrics[f"plain steps/{BATCH}/{context}"].value == pytest.approx(8)
    assert metrics[f"times fewer steps/{BATCH}/{context}"].value == pytest.approx(8)
    assert metrics[f"times fewer steps/{BATCH}/{context}"].censored == 1, "a lower bound: the plain network was cut off"
    unknown = f"times fewer steps/{NOISY}/{context}"
    assert unknown not in metrics
    assert unknown in found.left_out
    assert fewer(found, NOISY, CONTEXTS[:1], "1").endswith("not known, since runs were cut off (perceptron on digits)")
    assert f"{{times fewer steps/{BATCH}/{context}:1}}" in fewer(found, BATCH, CONTEXTS[:1], "1")


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr(what_batch_norm_does, "curvature", lambda *_, **__: Curvature(0.1, -1.0, 2.0))
    monkeypatch.setattr(saddles, "settle", lambda *_: None)  # nor does that need a narrow network at rest
    whole_page(monkeypatch, load("what-batch-norm-does"), "quick", 100)
    saddles._doubled.cache_clear()


def test_the_page_claims_only_what_is_measured() -> None:
    experiment = load("what-batch-norm-does")
    arms = {*NORMS, SAME_RATE, SMALL_GAINS, NOISE_ALONE, noisy(0.5)}
    for claim in experiment.design.claims:
        assert {claim.treatment, claim.control} <= arms
        assert set(claim.levels) <= {*CONTEXTS, *SADDLES}
    for settings in experiment.settings.values():
        assert 0.5 in settings.amounts, "the claim on half the noise needs it"
        assert len(settings.targets) == len(CONTEXTS)
