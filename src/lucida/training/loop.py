"""The one training loop: every task, one process or many, killed and resumed at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lucida.core.config import to_dict
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed
from lucida.training.batches import BatchStream, TrainingData, prefetched
from lucida.training.checkpoint import latest_checkpoint, load_state, load_weights, save_checkpoint
from lucida.training.distributed import Accelerator, Precision, TaskModule, same_everywhere, seed_step, send_to_device
from lucida.training.parameter_groups import ParameterRow, parameter_groups, trainable_by_block
from lucida.training.progress import MetricsLog, Progress
from lucida.training.schedules import cosine_with_warmup
from lucida.training.step import StepOutput, train_step
from lucida.training.tasks import FeatureTask, Task

Validate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast and how carefully to train.

    Attributes:
        duration: of the whole run.
        batch_size: examples in one update, over all processes and micro-batches.
        micro_batch_size: examples in one forward pass of one process; ``None`` for the whole share. Smaller needs less
            memory and changes no gradient.
        learning_rate: the peak.
        weight_decay: AdamW's, of matrices.
        betas: AdamW's.
        num_warmup_steps: linear warm-up; ``None`` for ``warmup_share`` of the run.
        warmup_share: the warm-up as a share of the run.
        final_fraction: where the cosine ends, as a share of the peak.
        max_grad_norm: the gradient is scaled down to this norm; ``None`` for no clipping.
        precision: of the forward pass; parameters stay ``float32``.
        parameters: rows of (pattern, learning-rate multiplier, decay); the first that matches a parameter counts.
        seed: of the order, the examples' draws and dropout.
        validate_every, checkpoint_every, log_every: how often, besides at the end; ``None`` for only then.
    """

    duration: Duration = field(default=Duration(1, "epochs"))
    batch_size: int = 64
    micro_batch_size: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    num_warmup_steps: int | None = None
    warmup_share: float = 0.05
    final_fraction: float = 0.0
    max_grad_norm: float | None = 1.0
    precision: Precision = "float32"
    parameters: tuple[ParameterRow, ...] = ()
    seed: int = 0
    validate_every: Duration | None = None
    checkpoint_every: Duration | None = None
    log_every: Duration | None = field(default=Duration(10, "steps"))


# What may differ between a run and its continuation: it changes no weight (the micro-batch: none beyond rounding).
_FREE_TO_CHANGE = {"micro_batch_size", "validate_every", "checkpoint_every", "log_every"}


@dataclass
class TrainState:
    """Where a run is.

    Attributes:
        step: updates done.
        examples: examples seen.
        seconds: training time, over all resumed parts, without validation and checkpoints.
        loss: the mean loss of the last batch.
        validation: the last validation's metrics.
        checkpoint: the last checkpoint.
    """

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    validation: dict[str, float] = field(default_factory=dict)
    checkpoint: Path | None = None

    def advance(self, output: StepOutput, batch_size: int, seconds: float) -> None:
        """Count one more step."""
        self.step += 1
        self.examples += batch_size
        self.seconds += seconds
        self.loss = output.loss


def train(
    task: Task | FeatureTask,
    data: TrainingData,
    config: TrainConfig,
    folder: RunFolder,
    *,
    validate: Validate | None = None,
    resume: bool = False,
    progress: bool = True,
) -> TrainState:
    """Train ``task.model`` in place and leave metrics and checkpoints in the run folder.

    Every random number is a function of (seed, step), so a resumed run continues bit for bit, in the middle of an
    epoch too, and the global batch is the same for any number of processes (``accelerate launch``, ``torchrun``).

    Args:
        task: the model and its loss.
        data: the examples.
        validate: measures the model; called in every process, with the model in evaluation mode and without gradients.
        resume: go on from the folder's latest checkpoint, if there is one.
        progress: show a bar or lines.

    Raises:
        NonFiniteError: a loss, gradient or weight is NaN or infinite; the last checkpoint is untouched.
        LucidaError: nothing to train, nothing supervised, a pattern without a match, a folder that holds another run,
            a checkpoint that is broken or of another configuration.
    """
    accelerator = Accelerator(mixed_precision="no")  # the precision is the config's, not the launcher's
    model = task.model.to(accelerator.device)
    process = (accelerator.process_index, accelerator.num_processes)
    stream = BatchStream(
        data,
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        seed=config.seed,
        process=process,
    )
    optimizer = make_optimizer(model, config)
    total = in_steps(config.duration, config, data)
    state = _restored(model, optimizer, config, data, folder, resume=resume)
    if not same_everywhere(state.step, accelerator):
        raise LucidaError("the processes see different checkpoints", where=folder.path, remedy="share the run folder")
    module = accelerator.prepare(TaskModule(task, device=accelerator.device, precision=config.precision))

    def due(every: Duration | None) -> bool:
        return state.step == total or (every is not None and state.step % in_steps(every, config, data) == 0)

    main = accelerator.is_main_process
    with (
        torch.random.fork_rng(),
        MetricsLog(folder, state.step, enabled=main) as log,
        Progress(total, start=state.step, batch_size=config.batch_size, shown=progress and main) as bar,
        closing(prefetched(stream.micro_batches, range(state.step, total))) as batches,
    ):
        bar.say(describe_trainable(model))
        set_training_modes(model)
        clock = time.perf_counter()
        for micro_batches in batches:
            learning_rate = set_learning_rate(optimizer, config, state.step, total)
            seed_step(derive_seed(config.seed, "step", state.step, process[0]), accelerator.device)
            micro_batches = send_to_device(micro_batches, accelerator.device)
            output = train_step(
                task, module, micro_batches, optimizer, accelerator, max_grad_norm=config.max_grad_norm, step=state.step
            )
            state.advance(output, config.batch_size, time.perf_counter() - clock)
            bar.update(state.step, output.loss)
            if due(config.log_every):
                log.write("train", state, output.row() | {"learning_rate": learning_rate})
            if validate is not None and due(config.validate_every):
                state.validation = _validated(validate, model)
                log.write("validation", state, state.validation)
                bar.say(f"step {state.step}: " + "  ".join(f"{k} {v:.4f}" for k, v in state.validation.items()))
            if main and due(config.checkpoint_every):
                state.checkpoint = _saved(folder, state, model, optimizer, config, data)
            clock = time.perf_counter()
    accelerator.wait_for_everyone()
    return state


def in_steps(duration: Duration, config: TrainConfig, data: TrainingData) -> int:
    """A duration as optimizer steps of this configuration."""
    return duration.steps(batch_size=config.batch_size, examples_per_epoch=len(data))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of a model, by the rows of the config.

    Raises:
        LucidaError: a row matches no parameter, or nothing is left to train.
    """
    groups = parameter_groups(
        model, learning_rate=config.learning_rate, weight_decay=config.weight_decay, rows=config.parameters
    )
    return torch.optim.AdamW(groups, betas=config.betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, total_steps: int) -> float:
    """Set the rate of every group for ``step``; returns the run's own."""
    warmup = config.num_warmup_steps
    share = cosine_with_warmup(
        step,
        total_steps=total_steps,
        num_warmup_steps=round(config.warmup_share * total_steps) if warmup is None else warmup,
        final_fraction=config.final_fraction,
    )
    for group in optimizer.param_groups:
        group["lr"] = group["base_learning_rate"] * share
    return config.learning_rate * share


def set_training_modes(model: nn.Module) -> None:
    """Training mode, except for frozen batch norms: their statistics belong to the weights that are frozen."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def describe_trainable(model: nn.Module) -> str:
    """One line for the reader before the first step: what is trained and what is frozen."""
    blocks = trainable_by_block(model)
    parts = [f"{name} {some:,}" + (f" of {size:,}" if some < size else "") for name, (some, size) in blocks.items()]
    return "trainable parameters: " + ", ".join(parts)


def _validated(validate: Validate, model: nn.Module) -> dict[str, float]:
    """What ``validate`` measures, in evaluation mode; every module's mode is as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return {name: float(value) for name, value in validate().items()}
    finally:
        for module, training in modes.items():
            module.training = training


def _saved(
    folder: RunFolder,
    state: TrainState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    data: TrainingData,
) -> Path:
    """Where the state of the run was saved. Random streams follow from the seed and the step: none is saved."""
    content = {
        "step": state.step,
        "examples": state.examples,
        "seconds": state.seconds,
        "loss": state.loss,
        "validation": state.validation,
        "settings": _settings(config, data),
        "optimizer": optimizer.state_dict(),
    }
    return save_checkpoint(folder.checkpoints, state.step, model, content)


def _restored(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    data: TrainingData,
    folder: RunFolder,
    *,
    resume: bool,
) -> TrainState:
    """The state of the latest checkpoint, with model and optimizer filled; a new state if there is none."""
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        return TrainState()
    if not resume:
        raise LucidaError(
            "the run folder already holds a training run",
            where=checkpoint,
            remedy="resume it, or choose another folder",
        )
    content = load_state(checkpoint)
    try:
        _check_same(content["settings"], _settings(config, data), checkpoint)
        names = [group["names"] for group in content["optimizer"]["param_groups"]]
        if names != [group["names"] for group in optimizer.param_groups]:
            raise LucidaError(
                "the checkpoint trained other parameters", where=checkpoint, remedy="choose another folder"
            )
        load_weights(model, checkpoint)
        optimizer.load_state_dict(content["optimizer"])
        kept = {key: content[key] for key in ("step", "examples", "seconds", "loss", "validation")}
    except (KeyError, TypeError, ValueError) as error:
        raise LucidaError(f"not a training state of lucida: {error!r}", where=checkpoint) from None
    return TrainState(**kept, checkpoint=checkpoint)


def _settings(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """What a continued run must have in common with its start."""
    return {key: value for key, value in to_dict(config).items() if key not in _FREE_TO_CHANGE} | {
        "examples in an epoch": len(data)
    }


def _check_same(stored: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    for key, value in now.items():
        if stored.get(key) != value:
            raise LucidaError(
                f"the run was started with {key} = {stored.get(key)}, not {value}",
                where=checkpoint,
                remedy="resume with the same value, or choose another folder",
            )
