"""The texts of the page on what batch norm does; a number stands as the name of its metric."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiments.what_batch_norm_does import (
    BATCH,
    CONTEXTS,
    NOISE_ALONE,
    NOISY,
    PLAIN,
    SADDLES,
    SAME_RATE,
    SMALL_GAINS,
)
from lucida.lab.experiments.what_batch_norm_does_design import HALF
from lucida.lab.observations import Observations

_SHORT = {
    CONTEXTS[0]: "perceptron on digits",
    CONTEXTS[1]: "perceptron on emoji",
    CONTEXTS[2]: "convolutions on digits",
}


def fewer(found: Observations, arm: str, contexts: Sequence[str], form: str) -> str:
    """How many times fewer steps an arm needs than the plain network, or that this is not known."""
    names = {f"times fewer steps/{arm}/{context}": _SHORT[context] for context in contexts}
    told = [
        f"not known, since runs were cut off ({what})" if name in found.left_out else f"{{{name}:{form}}} ({what})"
        for name, what in names.items()
    ]
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))


def speed_text(found: Observations) -> str:
    """On the speed at each network's own rate, and at the plain network's."""
    return (
        "How many times fewer steps than the plain network it takes with batch norm, each at its own best rate: "
        f"{fewer(found, BATCH, CONTEXTS, '1 ci')}. At the rate that is best without batch norm: "
        f"{fewer(found, SAME_RATE, CONTEXTS, '1')}. What the speed owes to the rate is the difference between the two. "
        "Rates are tuned for reaching the target, not for what comes after: further on the curves may cross, and who "
        "is ahead at this target need not be ahead at a much lower one."
    )


SMOOTHNESS_TEXT = (
    "From the weights as they are, one walks down the gradient by a given share of the length of all weights, and "
    "asks how the loss and its gradient change. Effective β is the fastest change of the gradient for a unit of "
    "the way; a step of SGD much longer than `1/β` overshoots. On the way to the target β with batch norm is "
    f"{{beta over plain/{BATCH}/{CONTEXTS[0]}:2}}, {{beta over plain/{BATCH}/{CONTEXTS[1]}:2}} and "
    f"{{beta over plain/{BATCH}/{CONTEXTS[2]}:2}} times that without. But training at a larger rate by itself "
    "leads to flatter places (the edge of stability), so the comparison is repeated at the plain network's rate: "
    f"{{beta over plain/{SAME_RATE}/{CONTEXTS[0]}:2}}, {{beta over plain/{SAME_RATE}/{CONTEXTS[1]}:2}} and "
    f"{{beta over plain/{SAME_RATE}/{CONTEXTS[2]}:2}}. Over a walk of one percent of the weights' "
    f"length the gradient changes by {{plain gradient change/{PLAIN}/{CONTEXTS[0]}:2}} of its norm without and by "
    f"{{plain gradient change/{BATCH}/{CONTEXTS[0]}:2}} with batch norm in the perceptron on digits, by "
    f"{{plain gradient change/{PLAIN}/{CONTEXTS[2]}:2}} and {{plain gradient change/{BATCH}/{CONTEXTS[2]}:2}} in "
    "the convolutions. All this is on the way: before the first step β is "
    f"{{plain beta before training/{BATCH}/{CONTEXTS[2]}:1}} with and "
    f"{{plain beta before training/{PLAIN}/{CONTEXTS[2]}:1}} without batch norm in the convolutions."
)

INPUTS_TEXT = (
    "What each activation sees has a mean and a spread over the examples of a batch; one step of training moves "
    "both. Drift is how far, in units of the spread (the distance between normal distributions of those means and "
    "spreads). In the perceptron on digits it is "
    f"{{plain drift/{PLAIN}/{CONTEXTS[0]}:3}} without batch norm, {{plain drift/{BATCH}/{CONTEXTS[0]}:3}} with it, "
    f"and {{plain drift/{NOISY}/{CONTEXTS[0]}:3}} with the noise. With batch norm it rests on construction: mean "
    "and spread over a batch are its bias and its gain, and drift is no more than what one step changes in those. "
    "So the rest is measured by itself: the shape of the distribution, its mean and spread taken out. Batch norm "
    "leaves it as it finds it. How far a step moves it is the `2`-Wasserstein distance between the standardised "
    "values of a unit before and after (its values in order, one by one), the mean over units: "
    f"{{plain shape drift/{PLAIN}/{CONTEXTS[0]}:3}} without batch norm, "
    f"{{plain shape drift/{BATCH}/{CONTEXTS[0]}:3}} with it, {{plain shape drift/{SAME_RATE}/{CONTEXTS[0]}:3}} with "
    f"it at the plain network's rate; in the convolutions {{plain shape drift/{PLAIN}/{CONTEXTS[2]}:3}}, "
    f"{{plain shape drift/{BATCH}/{CONTEXTS[2]}:3}} and {{plain shape drift/{SAME_RATE}/{CONTEXTS[2]}:3}}.\n\n"
    "Whether batch norm shields a layer from the others is another question: how far does the last hidden layer's "
    "gradient change when only the layers before it take their step? By "
    f"{{plain gradient shift/{PLAIN}/{CONTEXTS[0]}:2}} of its norm without and by "
    f"{{plain gradient shift/{BATCH}/{CONTEXTS[0]}:2}} with batch norm in the perceptron on digits, by "
    f"{{plain gradient shift/{PLAIN}/{CONTEXTS[2]}:2}} and {{plain gradient shift/{BATCH}/{CONTEXTS[2]}:2}} in the "
    "convolutions."
)


def noise_text(found: Observations) -> str:
    """On the noise behind batch norm, half of it, and the noise alone."""
    return (
        "If steady inputs were the reason, noise that makes them drift more than without batch norm would undo its "
        "work: the noisy network would be slower than the plain one. How many times fewer steps than that one it needs "
        f"(above one: faster): {fewer(found, NOISY, CONTEXTS, '2 ci')}. With half the noise: "
        f"{fewer(found, HALF, CONTEXTS[:2], '2')}, while its inputs drift by "
        f"{{plain drift/{HALF}/{CONTEXTS[0]}:2}} (digits) and {{plain drift/{HALF}/{CONTEXTS[1]}:2}} (emoji) of their "
        f"spread in every step, those of the plain network by {{plain drift/{PLAIN}/{CONTEXTS[0]}:2}} and "
        f"{{plain drift/{PLAIN}/{CONTEXTS[1]}:2}}. Noise is no free control, since it may cost by itself: in the "
        "perceptrons without batch norm (where its factors of one to two multiply from layer to layer), at the rate "
        "that is best for it, it lets "
        f"{{reached/{NOISE_ALONE}/{CONTEXTS[0]}:% 0}} (digits) and {{reached/{NOISE_ALONE}/{CONTEXTS[1]}:% 0}} (emoji) "
        "of the seeds reach the target in the steps they are given; behind batch norm it lets "
        f"{{reached/{NOISY}/{CONTEXTS[0]}:% 0}} and {{reached/{NOISY}/{CONTEXTS[1]}:% 0}}. So a noisy network that is "
        "still faster than the plain one speaks against stability as the reason; one that is slower leaves it open, "
        "because the drift and the price of the noise cannot be told apart there. The table also has the effective β "
        "(under one draw of the noise): whether the noisy networks walk over rougher ground."
    )


_DOUBLED, _ORIGIN = SADDLES[0], SADDLES[1]

SADDLES_TEXT = (
    "Doubled units: a network of two units a layer is trained until hardly any of its gradient is left, then each "
    "unit is split into equal copies. The wide network computes the same; only copies that part ways lower its "
    "loss, along directions in which the loss curves down. The least curvature there is "
    f"{{least curvature/{PLAIN}/{_DOUBLED}:2}} without and {{least curvature/{BATCH}/{_DOUBLED}:2}} with batch norm: "
    "per step of equal size, copies part the faster the more negative it is. The greatest curvature, which "
    f"bounds the rate, is {{greatest curvature/{PLAIN}/{_DOUBLED}:1}} without and "
    f"{{greatest curvature/{BATCH}/{_DOUBLED}:1}} with it, and the best rates are {{tuned rate/{PLAIN}/{_DOUBLED}}} "
    f"and {{tuned rate/{BATCH}/{_DOUBLED}}}. Near the origin: all matrices are "
    "scaled to a tenth. Without batch norm the gradient is "
    f"{{gradient at the saddle/{PLAIN}/{_ORIGIN}:3}} of an ordinary start's; with it "
    f"{{gradient at the saddle/{BATCH}/{_ORIGIN}:2}}: batch norm divides the scale of the weights out, so for it "
    "this point is no saddle at all. Its own saddle lies where its gains are small: there the gradient is "
    f"{{gradient at the saddle/{SMALL_GAINS}/{_ORIGIN}:2}}, and leaving takes "
    f"{{plain steps to leave/{SMALL_GAINS}/{_ORIGIN}:0}} steps instead of "
    f"{{plain steps to leave/{BATCH}/{_ORIGIN}:0}}."
)

OWN_TEXT = (
    "The same on the pictures that were named for this run (under Design it says which), shrunk to the size of an "
    "icon: the convolutional network, each arm at its own best rate, to nine tenths of the loss of guessing. No claim "
    "rests on it."
)
