"""A stack of networks is its members trained one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.lab.networks import ConvNet, NetworkConfig, Perceptron
from lucida.lab.sequence_networks import Recurrent, Transformer
from lucida.lab.stack import OptimizerName, SingleTrainer, Stack, StackTask, StackTrainer, Updates
from lucida.training.tasks import ClassificationTask

BATCH, CLASSES = 6, 4
RATES = (0.1, 0.01, 1.0)

NETWORKS: dict[str, NetworkConfig] = {
    "plain": Perceptron(9, CLASSES, depth=3, width=8),
    "batch norm": Perceptron(9, CLASSES, depth=3, width=8, norm="batch", activation="tanh"),
    "layer norm, residual": Perceptron(9, CLASSES, depth=3, width=8, norm="layer", activation="gelu", residual=True),
    "root mean square": Perceptron(9, CLASSES, depth=2, width=8, norm="rms", activation="prelu"),
    "convolutions": ConvNet(1, CLASSES, depth=2, width=4, norm="batch"),
    "convolutions, layer norm": ConvNet(1, CLASSES, depth=2, width=4, norm="layer"),
    "recurrent": Recurrent(3, CLASSES, width=6, norm="layer"),
    "recurrent, batch norm": Recurrent(11, CLASSES, width=6, words=True, norm="batch_masked"),
    "transformer": Transformer(11, CLASSES, width=8, depth=1, longest=5, norm="rms"),
    "transformer, batch norm": Transformer(11, CLASSES, width=8, depth=1, longest=5, norm="batch", order="post"),
}


def batches(config: NetworkConfig, steps: int, dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """Batches of all members, ``[M, B, …]``, as the network takes them."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(steps):
        batch = {"labels": torch.randint(CLASSES, (len(RATES), BATCH), generator=generator)}
        if isinstance(config, Transformer) or (isinstance(config, Recurrent) and config.words):
            batch["inputs"] = torch.randint(11, (len(RATES), BATCH, 5), generator=generator)
            lengths = torch.randint(1, 6, (len(RATES), BATCH, 1), generator=generator)
            batch["mask"] = torch.arange(5) < lengths
        else:
            shape = (5, 3) if isinstance(config, Recurrent) else (1, 3, 3)
            batch["inputs"] = torch.randn(len(RATES), BATCH, *shape, generator=generator, dtype=dtype)
        made.append(batch)
    return made


def members(config: NetworkConfig, dtype: torch.dtype = torch.float64) -> list[nn.Module]:
    return [config.build(seed).to(dtype) for seed in range(len(RATES))]


def own(batch: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    return {name: tensor[k] for name, tensor in batch.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_first_gradients_and_twenty_steps_are_those_of_one_by_one(name: str) -> None:
    config = NETWORKS[name]
    networks = members(config)
    trainer = StackTrainer(Stack(networks), ClassificationTask, RATES, Updates("momentum", max_grad_norm=0.5))
    singles = [
        SingleTrainer(network, ClassificationTask, rate, Updates("momentum", max_grad_norm=0.5))
        for network, rate in zip(networks, RATES, strict=True)
    ]
    for step, batch in enumerate(batches(config, 20, torch.float64)):
        trainer.step(batch)
        for k, single in enumerate(singles):
            single.step(own(batch, k))
            assert trainer.losses[k].item() == pytest.approx(single.loss, abs=1e-6)  # the step reports float32
            assert trainer.grad_norms[k].item() == pytest.approx(single.grad_norm, abs=1e-8)
        if step == 0:
            compare_gradients(trainer, networks, batch, clipped=0.5)
    for k, network in enumerate(networks):
        state = trainer.stack.member(k).state_dict()
        assert state.keys() == network.state_dict().keys()
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(state[key], tensor, rtol=0, atol=1e-8)


def compare_gradients(
    trainer: StackTrainer, networks: list[nn.Module], batch: dict[str, Tensor], clipped: float
) -> None:
    """The first gradients: the single ones are already clipped in place, those of the stack are not."""
    names = list(trainer.stack.stacked_parameters())
    grads = dict(zip(names, trainer.rows.parted(trainer.grads), strict=True))
    for k, network in enumerate(networks):
        scale = min(1.0, clipped / (trainer.grad_norms[k].item() + 1e-6))
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(grads[key][k] * scale, parameter.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "rmsprop"])
@pytest.mark.parametrize("clip", [{}, {"max_grad_norm": 0.1}, {"max_grad_value": 0.01}])
def test_every_optimizer_and_clipping_is_that_of_one_by_one(optimizer: OptimizerName, clip: dict[str, float]) -> None:
    config, updates = NETWORKS["plain"], Updates(optimizer, **clip)
    networks = members(config)
    rates = [rate / 100 for rate in RATES]
    trainer = StackTrainer(Stack(networks), ClassificationTask, rates, updates)
    singles = [
        SingleTrainer(network, ClassificationTask, rate, updates) for network, rate in zip(networks, rates, strict=True)
    ]
    for batch in batches(config, 20, torch.float64):
        trainer.step(batch)
        for k, single in enumerate(singles):
            single.step(own(batch, k))
    for k, network in enumerate(networks):
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(trainer.stack.member(k).state_dict()[key], tensor, rtol=0, atol=1e-8)


def test_a_member_that_diverges_stops_alone_where_it_was() -> None:
    config = NETWORKS["plain"]
    networks = members(config)
    updates, rates = Updates(), (0.1, 0.1, 0.1)
    trainer = StackTrainer(Stack(networks), ClassificationTask, rates, updates)
    singles = [SingleTrainer(n, ClassificationTask, r, updates) for n, r in zip(networks, rates, strict=True)]
    for step, batch in enumerate(batches(config, 6, torch.float64)):
        if step == 3:
            batch["inputs"][1, 0] = float("inf")
        trainer.step(batch)
        for k, single in enumerate(singles):
            single.step(own(batch, k))
    assert trainer.alive.tolist() == [True, False, True] == [single.alive for single in singles]
    for k, network in enumerate(networks):
        for key, tensor in network.state_dict().items():
            assert torch.isfinite(tensor).all()
            torch.testing.assert_close(trainer.stack.member(k).state_dict()[key], tensor, rtol=0, atol=1e-8)


def test_members_must_have_one_structure() -> None:
    with pytest.raises(LucidaError, match="structure"):
        Stack([Perceptron(4, 2, width=8).build(0), Perceptron(4, 2, width=9).build(0)])


def test_outputs_are_those_of_the_members_and_a_stack_copies() -> None:
    networks = members(NETWORKS["plain"], torch.float32)
    stack = Stack(networks)
    x = torch.randn(BATCH, 9)
    stacked = stack(x, shared=True)
    for k, network in enumerate(networks):
        torch.testing.assert_close(stacked[k], network(x))
    trace = stack(x, shared=True, trace=True)
    assert trace["blocks.0"].shape == (len(RATES), BATCH, 8)
    networks[0].head.weight.data.zero_()  # type: ignore[union-attr,operator]
    torch.testing.assert_close(stack(x, shared=True), stacked)
    assert stack.template not in list(stack.modules())


def test_the_losses_are_the_tasks_own() -> None:
    networks = members(NETWORKS["plain"], torch.float32)
    (batch,) = batches(NETWORKS["plain"], 1, torch.float32)
    losses = StackTask(Stack(networks), ClassificationTask).member_losses(batch)
    for k, network in enumerate(networks):
        output = ClassificationTask(network).loss(own(batch, k))
        torch.testing.assert_close(losses[k], output.loss_sum / output.weight)
