"""What to do about each finding, the page of the lab that explains it, and which findings explain which."""

from __future__ import annotations

_GAIN = "initialise for the activation: He for ReLU (variance 2 / inputs), Xavier for tanh; or normalise between layers"

REMEDIES = {
    "nothing-supervised": "print one example's labels: a template or tokenizer mismatch masks every answer",
    "part-not-trained": "give the part to the optimizer, and take away the detach() or no_grad() around it",
    "initialisation-too-small": _GAIN,
    "initialisation-too-large": _GAIN,
    "exploding-gradients": "clip the gradient norm at 1, start recurrent matrices orthogonal with gain 1, or use an "
    "LSTM or GRU",
    "learning-rate-too-high": "divide the learning rate by 10; then warm it up and search upwards",
    "non-finite": "look at the examples of that step (a value that is no number, log of 0, division by an empty mask); "
    "if the gradient norm grew before it, lower the rate or clip",
    "no-warm-up": "warm the rate up over the first 5 to 10 % of the steps, or put the norms before attention and MLP "
    "(pre-norm)",
    "vanishing-gradients": "use ReLU or GELU instead of sigmoids, add residual connections or a norm, initialise for "
    "the activation",
    "dead-units": "lower the rate, start biases at 0, or use leaky ReLU or GELU; dead units do not come back by "
    "themselves",
    "batch-norm-small-batch": "use group or layer norm, freeze the batch norm's statistics, or make the batch larger "
    "than 16 (accumulation does not help)",
    "temperature-runaway": "clamp the logarithm of the scale at ln 100, start it at ln(1/0.07), and give it the rate "
    "of the rest without weight decay; a scale that falls says that pairs do not match",
    "ignores-pictures": "check that each picture meets its own text and that gradients reach the projector; take "
    "questions that cannot be answered without looking",
    "attention-collapse": "lower the rate, normalise queries and keys, or warm the rate up",
}
"""In the order in which findings of one step are told: causes before symptoms."""

LAB_PAGES = {
    "learning-rate-too-high": "exploding-gradients",
    "no-warm-up": "vanishing-gradients",
    "initialisation-too-small": "vanishing-gradients",
    "initialisation-too-large": "batch-norm-in-five-layers",
    "exploding-gradients": "exploding-gradients",
    "vanishing-gradients": "vanishing-gradients",
    "dead-units": "vanishing-gradients",
    "batch-norm-small-batch": "where-batch-norm-hurts",
    "non-finite": "exploding-gradients",
}
"""Findings without an entry have no page of the lab yet."""

EXPLAINS = {
    "nothing-supervised": ("vanishing-gradients", "dead-units", "no-warm-up"),
    "no-warm-up": ("vanishing-gradients", "attention-collapse"),
    "initialisation-too-small": ("vanishing-gradients",),
    "initialisation-too-large": ("exploding-gradients",),
    "learning-rate-too-high": ("vanishing-gradients", "dead-units", "attention-collapse"),
}
"""``{cause: symptoms}``: where the cause is found, its symptoms are not told again."""
