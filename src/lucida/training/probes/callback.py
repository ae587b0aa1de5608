"""Probes for Hugging Face ``Trainer``, and TRL's trainers, which are its subclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from lucida.core.errors import LucidaError
from lucida.training.probes.inputs import Pictures
from lucida.training.probes.watch import Watch


class ProbeCallback(TrainerCallback):
    """Watch a run of ``Trainer``: ``trainer.add_callback(ProbeCallback())``, then ``lucida diagnose OUTPUT_DIR``.

    Args:
        every: steps from one probe to the next.
        folder: where ``probes.jsonl`` is written; by default the trainer's ``output_dir``.
        pictures, expected: as in :func:`lucida.training.probes.watch`.

    Only the first process writes and measures. A run that is resumed from a checkpoint goes on in the same file.

    Raises:
        LucidaError: (when training begins) the trainer has no optimizer, as under DeepSpeed.
    """

    def __init__(
        self,
        every: int = 10,
        folder: str | Path | None = None,
        *,
        pictures: Pictures | None = None,
        expected: Sequence[str] = (),
    ):
        self.every, self.folder, self.pictures, self.expected = every, folder, pictures, expected
        self.watch: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the hooks on."""
        self._leave()  # a run before this one may have ended with an error
        if not state.is_world_process_zero:
            return
        if kwargs.get("optimizer") is None:
            raise LucidaError("the trainer handed over no optimizer to watch", where="ProbeCallback")
        self.watch = Watch(
            kwargs["model"],
            kwargs["optimizer"],
            every=self.every,
            folder=self.folder or args.output_dir,
            start=state.global_step,
            pictures=self.pictures,
            expected=self.expected,
        )
        self.watch.__enter__()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the loss that the trainer logs."""
        if self.watch is not None and logs and isinstance(logs.get("loss"), int | float):
            self.watch.note(logged_loss=float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the hooks off."""
        self._leave()

    def _leave(self) -> None:
        if self.watch is not None:
            self.watch.__exit__(None, None, None)
            self.watch = None
