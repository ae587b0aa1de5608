"""The gradient of a step: the same however the batch is cut, and nothing moves if a number goes bad."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.language_modeling import IGNORE_INDEX, shift_labels
from lucida.training.batches import BatchStream
from lucida.training.distributed import Accelerator, TaskModule
from lucida.training.loop import make_optimizer, set_training_modes
from lucida.training.step import StepOutput, cached_gradients, train_step
from lucida.training.tasks import LossOutput

STEP = 3  # its batch holds examples of two epochs


def one_step(task: Any, batches: list[Any], config: Any, **changes: Any) -> StepOutput:
    accelerator = Accelerator(mixed_precision="no")
    module = TaskModule(task, device=accelerator.device, precision=changes.pop("precision", "float32"))
    set_training_modes(task.model)
    optimizer = make_optimizer(task.model, config)
    return train_step(task, module, batches, optimizer, accelerator, **({"max_grad_norm": None} | changes))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["contrastive", "language", "multi"])
@pytest.mark.parametrize("size", [1, 3, 5, 8])
def test_micro_batches_give_the_gradient_of_one_batch(toys: ModuleType, name: str, size: int) -> None:
    results = []
    for micro_batch_size in (None, size):
        task, data = toys.toy(name)
        stream = BatchStream(data, batch_size=16, micro_batch_size=micro_batch_size)
        output = one_step(task, stream.micro_batches(STEP), toys.settings(9))
        results.append((output, gradients(task.model)))
    (whole, expected), (parts, found) = results
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    assert parts.weight == whole.weight
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("size", [None, 3, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_gradient_of_several_tasks_is_that_of_their_weighted_means(
    toys: ModuleType, size: int | None, dropout: float
) -> None:
    """Against one plain sum of means over the whole batch, with the dropout that each micro-batch drew."""
    task, data = toys.toy("multi", dropout)
    batches = BatchStream(data, batch_size=16, micro_batch_size=size).micro_batches(STEP)
    torch.manual_seed(7)
    output = one_step(task, batches, toys.settings(9))
    found = gradients(task.model)

    task, data = toys.toy("multi", dropout)
    torch.manual_seed(7)
    task.model.train()
    model, said, told = task.main.model, task.parts["captioning"].task.model, task.parts["classification"].task.model
    images, texts, caption_sum, words, logits, classes, ids = [], [], 0.0, 0, [], [], []
    for batch in batches:
        images.append(model.encode_image(**batch["image"]))
        texts.append(model.encode_text(**batch["text"]))
        caption = said(images[-1], batch["words"], batch["next"])
        caption_sum, words = caption_sum + caption.loss_sum, words + caption.n_supervised
        logits.append(told(images[-1]))
        classes.append(batch["classes"])
        ids.append(batch["ids"])
    options = {"ids": torch.cat(ids), "label_smoothing": 0.05, "hard_negatives": 0.3}
    loss = contrastive_loss(torch.cat(images), torch.cat(texts), model.logit_scale, **options)
    named = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(classes))  # the mean over labelled ones
    (loss + 0.7 * caption_sum / words + 0.3 * named).backward()
    for key, gradient in gradients(task.model).items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-6, msg=key)
    assert output.loss == pytest.approx((loss + 0.7 * caption_sum / words + 0.3 * named).item(), rel=1e-5)
    assert output.metrics["captioning"] == pytest.approx((caption_sum / words).item(), rel=1e-5)
    assert output.metrics["classification"] == pytest.approx(named.item(), rel=1e-5)


def test_a_part_that_nothing_in_the_batch_belongs_to_adds_nothing(toys: ModuleType) -> None:
    task, data = toys.toy("multi")
    batches = BatchStream(data, batch_size=16, micro_batch_size=5).micro_batches(STEP)
    unlabelled = [batch | {"classes": torch.full_like(batch["classes"], IGNORE_INDEX)} for batch in batches]
    output = one_step(task, unlabelled, toys.settings(9))
    assert output.metrics["classification"] == 0
    assert not task.parts["classification"].task.model.linear.weight.grad.any()
    other, _ = toys.toy("multi")
    assert one_step(other, batches, toys.settings(9)).metrics["classification"] > 0


@pytest.mark.parametrize("size", [None, 5])
def test_the_contrastive_gradient_is_plain_autograd_of_the_mean_loss(toys: ModuleType, size: int | None) -> None:
    task, data = toys.toy("contrastive")
    one_step(task, BatchStream(data, batch_size=16, micro_batch_size=size).micro_batches(STEP), toys.settings(9))
    found = gradients(task.model)

    task, data = toys.toy("contrastive")
    (batch,) = BatchStream(data, batch_size=16).micro_batches(STEP)
    model = task.model
    images, texts = model.encode_image(**batch["image"]), model.encode_text(**batch["text"])
    contrastive_loss(images, texts, model.logit_scale, ids=batch["ids"], label_smoothing=0.05).backward()
    for key, gradient in gradients(model).items():  # the scale's too: not once for each micro-batch
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-6, msg=key)


def test_cached_features_replay_their_dropout(toys: ModuleType) -> None:
    """The second pass of a micro-batch draws the same masks: its gradient is that of the loss that was measured."""
    task, data = toys.toy("contrastive", dropout=0.5)
    batches = BatchStream(data, batch_size=16, micro_batch_size=4).micro_batches(STEP)
    torch.manual_seed(7)
    output = one_step(task, batches, toys.settings(9))
    found = gradients(task.model)

    task, _ = toys.toy("contrastive", dropout=0.5)
    torch.manual_seed(7)
    model = task.model.train()
    images = torch.cat([model.encode_image(**batch["image"]) for batch in batches])
    texts = torch.cat([model.encode_text(**batch["text"]) for batch in batches])
    ids = torch.cat([batch["ids"] for batch in batches])
    loss = contrastive_loss(images, texts, model.logit_scale, ids=ids, label_smoothing=0.05)
    loss.backward()
    assert output.loss == pytest.approx(loss.item(), rel=1e-6)
    for key, gradient in gradients(model).items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm_is_not_trained_on_parts_of_a_batch(toys: ModuleType, frozen: bool) -> None:
    task, data = toys.toy("contrastive")
    task.model.norm = nn.BatchNorm1d(3).requires_grad_(not frozen)
    whole, parts = (BatchStream(data, batch_size=16, micro_batch_size=size).micro_batches(STEP) for size in (None, 5))
    one_step(task, whole, toys.settings(9))
    if frozen:
        one_step(task, parts, toys.settings(9))
        return
    before = [parameter.clone() for parameter in task.model.parameters()]
    with pytest.raises(LucidaError, match=r"part of the batch.*\(norm\)"):
        one_step(task, parts, toys.settings(9))
    assert all(torch.equal(a, b) for a, b in zip(before, task.model.parameters(), strict=True))


def test_batch_norm_is_not_trained_on_the_share_of_one_process(toys: ModuleType) -> None:
    task, data = toys.toy("contrastive")
    task.model.norm = nn.BatchNorm1d(3)
    whole = BatchStream(data, batch_size=16).micro_batches(STEP)
    for processes in (1, 2):
        accelerator: Any = SimpleNamespace(num_processes=processes, device=torch.device("cpu"))
        module = TaskModule(task, device=accelerator.device, precision="float32")
        if processes == 1:
            accelerator.backward = torch.Tensor.backward
            cached_gradients(task, module, whole, accelerator)
            continue
        with pytest.raises(LucidaError, match="part of the batch"):
            cached_gradients(task, module, whole, accelerator)


def test_a_mean_of_means_would_be_another_gradient(toys: ModuleType) -> None:
    """Shows that the toy can tell: its micro-batches differ in their number of supervised tokens."""
    task, data = toys.toy("language")
    batches = BatchStream(data, batch_size=16, micro_batch_size=4).micro_batches(STEP)
    output = one_step(task, batches, toys.settings(9))
    task, _ = toys.toy("language")
    losses = [task.loss(batch) for batch in batches]
    mean_of_means = sum((part.loss_sum / part.weight).item() for part in losses) / len(losses)
    assert abs(mean_of_means - output.loss) > 1e-3


def test_the_gradient_is_scaled_down_to_the_largest_norm(toys: ModuleType) -> None:
    task, data = toys.toy("language")
    output = one_step(task, BatchStream(data, batch_size=16).micro_batches(0), toys.settings(9), max_grad_norm=1e-3)
    norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients(task.model).values()]))
    assert output.grad_norm > 1e-2  # as it was before
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_a_frozen_part_gets_no_gradient(toys: ModuleType) -> None:
    task, data = toys.toy("contrastive")
    task.model.text.requires_grad_(False)
    one_step(task, BatchStream(data, batch_size=16, micro_batch_size=8).micro_batches(0), toys.settings(9))
    assert task.model.text.weight.grad is None
    assert task.model.image[0].weight.grad is not None


@pytest.mark.parametrize("name", ["contrastive", "language"])
def test_bfloat16_is_close_and_keeps_float32_weights(toys: ModuleType, name: str) -> None:
    outputs = []
    for precision in ("float32", "bfloat16"):
        task, data = toys.toy(name)
        batches = BatchStream(data, batch_size=16, micro_batch_size=8).micro_batches(0)
        outputs.append(one_step(task, batches, toys.settings(9), precision=precision))
        assert {p.dtype for p in task.model.parameters()} == {torch.float32}
    assert outputs[0].loss != outputs[1].loss
    assert outputs[1].loss == pytest.approx(outputs[0].loss, rel=0.02)


@pytest.mark.parametrize("name", ["contrastive", "language"])
def test_a_bad_weight_is_named_and_nothing_moves(toys: ModuleType, name: str) -> None:
    task, data = toys.toy(name)
    bad = {"contrastive": "image.0.weight", "language": "hidden.0.weight"}[name]
    with torch.no_grad():
        dict(task.model.named_parameters())[bad][0, 0] = float("nan")
    before = {k: v.clone() for k, v in task.model.state_dict().items() if k != "calls"}
    batches = BatchStream(data, batch_size=16, micro_batch_size=8).micro_batches(0)
    with pytest.raises(NonFiniteError, match=rf"the loss is nan at step 4 \(first bad tensor: parameter {bad}\)"):
        one_step(task, batches, toys.settings(9), step=4)
    for key, value in before.items():
        torch.testing.assert_close(task.model.state_dict()[key], value, rtol=0, atol=0, equal_nan=True)


def test_a_bad_input_is_named(toys: ModuleType) -> None:
    task, data = toys.toy("contrastive")
    batches = BatchStream(data, batch_size=16, micro_batch_size=8).micro_batches(0)
    batches[1]["image"]["x"][0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match=r"first bad tensor: batch\[1\]\['image'\]\['x'\]"):
        one_step(task, batches, toys.settings(9))


def test_a_bad_gradient_of_a_finite_loss_is_named(toys: ModuleType) -> None:
    task, data = toys.toy("language")
    task.model.hidden[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    before = task.model.embedding.weight.detach().clone()
    with pytest.raises(
        NonFiniteError, match=r"gradient .* at step 2 \(first bad tensor: gradient of hidden\.0\.weight"
    ):
        one_step(task, BatchStream(data, batch_size=16).micro_batches(0), toys.settings(9), step=2)
    assert torch.equal(task.model.embedding.weight, before)


def test_a_batch_without_supervision_stops_the_run(toys: ModuleType) -> None:
    task, data = toys.toy("language")
    (batch,) = BatchStream(data, batch_size=16).micro_batches(0)
    batch["labels"][:] = IGNORE_INDEX
    with pytest.raises(LucidaError, match="nothing in this batch is supervised"):
        one_step(task, [batch], toys.settings(9))


def test_metrics_are_means_over_all_units(toys: ModuleType) -> None:
    """A metric of each micro-batch counts by its number of units, as the loss does."""

    class WithShare:
        def __init__(self, task: Any):
            self.model, self.task = task.model, task

        def loss(self, batch: Any) -> LossOutput:
            output = self.task.loss(batch)
            aligned = shift_labels(batch["labels"])
            even = aligned[aligned != IGNORE_INDEX] % 2 == 0
            return LossOutput(output.loss_sum, output.weight, {"even": even.float().mean(), "one": 1.0})

    found = []
    for size in (None, 5):
        task, data = toys.toy("language")
        batches = BatchStream(data, batch_size=16, micro_batch_size=size).micro_batches(STEP)
        found.append(one_step(WithShare(task), batches, toys.settings(9)).metrics)
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert found[0]["one"] == 1.0
    assert 0 < found[0]["even"] < 1
