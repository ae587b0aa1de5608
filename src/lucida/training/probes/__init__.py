"""Probes: what goes on inside a network while it trains, by plain hooks, without a change to the loop.

    with lucida.training.probes.watch(model, optimizer, folder="runs/mine"):
        for batch in loader: ...                     # your loop, as it was

Then ``lucida diagnose runs/mine``, or :func:`lucida.training.findings.find` on ``watch.rows``.
For Hugging Face ``Trainer`` and TRL's trainers::

    from lucida.training.probes import ProbeCallback
    trainer.add_callback(ProbeCallback())

What a probed step records (and what :meth:`Watch.note` was told since the last one), one file a quantity:

- :mod:`~lucida.training.probes.activations`: the outputs of each layer (size, share that varies between examples,
  silent and saturated units, rows that are not finite), the gradient at them, batch norm's batch;
- :mod:`~lucida.training.probes.weights`: gradient, weight and update of each parameter, scalars such as a temperature;
- :mod:`~lucida.training.probes.pairs`: two gradients in a row: their cosine, and what the noise scale comes from;
- :mod:`~lucida.training.probes.pulse`: the norm of one small gradient, at every step; what comes after the last probe
  stands in a row of kind ``pulse``;
- :mod:`~lucida.training.probes.attention`: the entropy of the attention of each layer;
- :mod:`~lucida.training.probes.inputs`: the share of supervised tokens; the loss with the true and with other pictures.

What it costs. Let ``P`` be the number of trainable parameters in ``T`` tensors and ``M`` the number of measured layers.
A probed step reads all gradients once (``4 P`` bytes, ``2 P`` in half precision) and copies none; on a CPU, one tensor
of half precision at a time is widened. Weights and updates are read at a sample of at most 8,192, two gradients in a
row at one of 4,096 numbers a tensor (whole rows, evenly spaced), which needs ``3 x 32 kB x T`` of memory at most and is
exact for smaller tensors. Activations and the gradients at them are read at a sample of at most 8,192
numbers a layer and call; in all some 20 small operations a layer and 20 a tensor. A layer called again within a step (a
recurrent cell) is measured at its calls 1, 2, 4, 8, …. Attention is computed once more for two examples and 32 queries.
Every other step counts examples, and takes the norm of one small gradient, to know the very step at which gradients
leap or stop being finite (12 small operations); the step before a probed one copies the gradients' sample. The
model's last inputs and output are held until the optimizer's step ends where they may be looked into for values that
are not finite: at every step on a CPU, where that is known at once, and at probed steps alone elsewhere. The
other-pictures probe is two forward passes on every tenth probed step, for which it holds the batch, and off unless
asked for.

What it leaves alone: hooks return nothing, draw no random number and are gone afterwards, so the trained weights are
bit for bit those of the run without. A hook or a measurement that fails ends no training: see
:mod:`~lucida.training.probes.guard`. Not supported: several processes that shard one parameter, and modules compiled
before (their hooks do not fire; parameters are measured all the same).
"""

from __future__ import annotations

from typing import Any

from lucida.training.probes.guard import ProbeWarning
from lucida.training.probes.watch import PROBES, Watch, watch

__all__ = ["PROBES", "ProbeCallback", "ProbeWarning", "Watch", "watch"]


def __getattr__(name: str) -> Any:
    """``ProbeCallback`` on first use: transformers takes seconds to import."""
    if name == "ProbeCallback":
        from lucida.training.probes.callback import ProbeCallback

        return ProbeCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
