"""The one training loop: every task, one process or many, killed and resumed at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lucida.core.config import to_dict
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed
from lucida.training.batches import BatchStream, OrderedData, TrainingData, prefetched
from lucida.training.distributed import Accelerator, Precision, same_everywhere, seed_step, send_to_device
from lucida.training.parameter_groups import ParameterRow, parameter_groups, trainable_by_block
from lucida.training.probes.watch import Watch, watch
from lucida.training.progress import MetricsLog, Progress
from lucida.training.schedules import cosine_with_warmup
from lucida.training.sharding import Placed, Sharding, place
from lucida.training.state import TrainState, restore_run, save_run
from lucida.training.step import StepOutput, train_step
from lucida.training.tasks import FeatureTask, ScheduledTask, Task

Validate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast and how carefully to train.

    Attributes:
        duration: of the whole run.
        batch_size: examples in one update, over all processes; with ``effective_batch``, those that are in memory at
            once.
        effective_batch: examples in one update where that is more than memory holds. They go through the model
            ``batch_size`` at a time: the gradient, dropout included, is that of the whole, negatives of a contrastive
            loss too, and its features are computed twice. ``None``: no more than ``batch_size``.
        micro_batch_size: the same from the other end: examples in one forward pass of one process, of an update of
            ``batch_size``; ``None`` for its whole share.
        sharding: ``"full"`` spreads weights, gradients and optimizer state over the processes
            (:class:`~lucida.training.sharding.Shards`); ``"none"``: each has them all.
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
        probe_every: how often the run is looked into for ``lucida diagnose``; ``None`` for never, as under
            sharding, where no process has whole weights to look at.
    """

    duration: Duration = field(default=Duration(1, "epochs"))
    batch_size: int = 64
    effective_batch: int | None = None
    micro_batch_size: int | None = None
    sharding: Sharding = "none"
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
    checkpoint_every: Duration | None = field(default=Duration(500, "steps"))
    log_every: Duration | None = field(default=Duration(10, "steps"))
    probe_every: Duration | None = field(default=Duration(10, "steps"))

    def __post_init__(self) -> None:
        allowed = {
            "batch_size": self.batch_size >= 1,
            "micro_batch_size": self.micro_batch_size is None or self.micro_batch_size >= 1,
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "num_warmup_steps": self.num_warmup_steps is None or self.num_warmup_steps >= 0,
            "warmup_share": 0 <= self.warmup_share <= 1,
            "final_fraction": 0 <= self.final_fraction <= 1,
            "max_grad_norm": self.max_grad_norm is None or self.max_grad_norm > 0,
            "precision": self.precision in get_args(Precision),
            "sharding": self.sharding in get_args(Sharding),
        }
        for name, fine in allowed.items():
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)!r}", where="TrainConfig")
        if self.effective_batch is not None and self.micro_batch_size is not None:
            remedy = "with effective_batch, batch_size says what goes through the model at once"
            raise LucidaError("micro_batch_size and effective_batch say the same", where="TrainConfig", remedy=remedy)
        if self.effective_batch is not None and self.effective_batch < self.batch_size:
            what = f"an effective batch of {self.effective_batch} is less than the {self.batch_size} in memory at once"
            raise LucidaError(what, where="TrainConfig", remedy="lower batch_size, or leave out effective_batch")

    @property
    def update_size(self) -> int:
        """Examples in one update, over all processes."""
        return self.effective_batch or self.batch_size

    def pass_size(self, num_processes: int) -> int | None:
        """Examples that one of so many processes takes through the model at once; ``None`` for its whole share.

        >>> TrainConfig(batch_size=64, effective_batch=512).pass_size(2)
        32
        """
        if self.effective_batch is None:
            return self.micro_batch_size
        return max(1, self.batch_size // num_processes)


# What may differ between a run and its continuation: it changes no weight, or none beyond rounding.
_FREE_TO_CHANGE = {"effective_batch", "micro_batch_size", "sharding"}
_FREE_TO_CHANGE |= {"validate_every", "checkpoint_every", "log_every", "probe_every"}


def train(
    task: Task | FeatureTask,
    data: TrainingData,
    config: TrainConfig,
    folder: RunFolder,
    *,
    validate: Validate | None = None,
    resume: bool = False,
    progress: bool = True,
    pictures: str | None = None,
) -> TrainState:
    """Train ``task.model`` in place, in evaluation mode afterwards; metrics and checkpoints are in the run folder.

    Every random number is a function of (seed, step), so a resumed run continues bit for bit, in the middle of an
    epoch too, and the global batch is the same for any number of processes (``torchrun --nproc-per-node 2 …``, with
    ``--nnodes`` on several machines that share the run folder; on GPUs ``accelerate launch`` too, which starts a single
    process on CPUs unless it finds MPI). A run may be resumed by another number of processes, sharded or not.

    Args:
        task: the model and its loss.
        data: the examples.
        validate: measures the model; called in every process, with the model in evaluation mode and without gradients.
        resume: go on from the folder's latest checkpoint, if there is one.
        progress: show a bar or lines.
        pictures: the entry of a batch that holds the pictures, for the probe that asks whether they matter.

    Returns:
        Where the run ended; at once, with the weights loaded, if the folder holds the finished run.

    Raises:
        NonFiniteError: a loss, gradient or weight is NaN or infinite; the last checkpoint is untouched.
        LucidaError: nothing to train, nothing supervised, a pattern without a match, a folder that holds another run,
            a checkpoint that is broken or of another configuration, or a model that cannot be sharded.
    """
    accelerator = Accelerator(mixed_precision="no", cpu=not torch.accelerator.is_available())  # or CPUs train apart
    main = accelerator.is_main_process
    model = task.model.to(accelerator.device)
    stream = BatchStream(
        data,
        batch_size=config.update_size,
        micro_batch_size=config.pass_size(accelerator.num_processes),
        seed=config.seed,
        process=(accelerator.process_index, accelerator.num_processes),
    )
    optimizer = make_optimizer(model, config)
    total, settings = in_steps(config.duration, config, data), _settings(config, data)
    state = restore_run(folder.checkpoints, model, optimizer, settings, resume=resume)
    if not same_everywhere(state.step, accelerator):
        raise LucidaError("the processes see different checkpoints", where=folder.path, remedy="share the run folder")
    placed = place(task, optimizer, accelerator, precision=config.precision, sharded=config.sharding == "full")

    def due(every: Duration | None) -> bool:
        return state.step == total or (every is not None and state.step % in_steps(every, config, data) == 0)

    probed = config.probe_every if main and placed.task is task and state.step < total else None
    every = None if probed is None else in_steps(probed, config, data)
    with (
        MetricsLog(folder, state.step, enabled=main) as log,
        Progress(total, start=state.step, batch_size=config.update_size, shown=progress and main) as bar,
        _watching(every, model, optimizer, folder, state, pictures) as watched,
        closing(training_steps(placed, stream, config, accelerator, state, total)) as steps,
    ):
        bar.say(describe_trainable(model) if state.step < total else f"already trained for {total} steps")
        for output, learning_rate in steps:
            bar.update(state.step, output.loss)
            if watched is not None:
                watched.note(loss=output.loss)
            if due(config.log_every):
                log.write("train", state, output.row() | {"learning_rate": learning_rate})
            if validate is not None and due(config.validate_every):
                with placed.whole():
                    state.validation = _validated(validate, model)
                log.write("validation", state, state.validation)
                bar.say(f"step {state.step}: " + "  ".join(f"{k} {v:.4f}" for k, v in state.validation.items()))
            if due(config.checkpoint_every):
                with placed.whole():
                    moments = placed.optimizer_state()
                    if main:
                        state.checkpoint = save_run(folder.checkpoints, state, model, moments, settings)
    accelerator.wait_for_everyone()
    placed.optimizer.zero_grad(set_to_none=True)
    model.to(accelerator.device).eval()
    return state


def _watching(
    every: int | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    folder: RunFolder,
    state: TrainState,
    pictures: str | None,
) -> AbstractContextManager[Watch | None]:
    """Looks into the run every so many steps; not at all for ``None``."""
    if every is None:
        return nullcontext()
    return watch(model, optimizer, every=every, folder=folder.path, start=state.step, pictures=pictures)


def training_steps(
    placed: Placed,
    stream: BatchStream,
    config: TrainConfig,
    accelerator: Accelerator,
    state: TrainState,
    total: int,
) -> Generator[tuple[StepOutput, float], None, None]:
    """Bring ``state`` from its step to ``total``; yields what each step did and its learning rate.

    The caller may do anything between two steps, draw random numbers too: each step seeds its own.
    """
    task, module, optimizer = placed.task, placed.module, placed.optimizer
    set_training_modes(task.model)
    with torch.random.fork_rng(), closing(prefetched(stream.micro_batches, range(state.step, total))) as batches:
        clock = time.perf_counter()
        for micro_batches in batches:
            learning_rate = set_learning_rate(optimizer, config, state.step, total)
            seed_step(derive_seed(config.seed, "step", state.step, accelerator.process_index), accelerator.device)
            micro_batches = send_to_device(micro_batches, accelerator.device)
            if isinstance(task, ScheduledTask):
                task.set_progress(state.step / total)
            output = train_step(
                task, module, micro_batches, optimizer, accelerator, max_grad_norm=config.max_grad_norm, step=state.step
            )
            state.advance(output, config.update_size, time.perf_counter() - clock)
            yield output, learning_rate
            clock = time.perf_counter()


def in_steps(duration: Duration, config: TrainConfig, data: TrainingData) -> int:
    """A duration as optimizer steps of this configuration."""
    return duration.steps(batch_size=config.update_size, examples_per_epoch=len(data))


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


def _settings(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """What a continued run must have in common with its start."""
    sampling = {"sampling": data.sampling} if isinstance(data, OrderedData) else {}
    return {key: value for key, value in to_dict(config).items() if key not in _FREE_TO_CHANGE} | {
        "examples in an epoch": len(data),
        "batch_size": config.update_size,  # however much of it was in memory at once
        **sampling,
    }
