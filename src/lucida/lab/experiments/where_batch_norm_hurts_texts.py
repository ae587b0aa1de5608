"""The texts of the page on where batch norm hurts; a number stands as the name of its metric."""

from __future__ import annotations

SMALL_BATCHES_TEXT = (
    "All arms see the same number of examples, each at its own best learning rate; a smaller batch therefore takes "
    "more steps. Layer norm and no norm at all use those steps. Batch norm gives them back: with two examples in a "
    "batch the perceptron gets {test accuracy/batch norm, batch 2/perceptron, digits:%} of the digits right, "
    "against {test accuracy/layer norm, batch 2/perceptron, digits:%} with layer norm and "
    "{test accuracy/no norm, batch 2/perceptron, digits:%} with none; with 32 it gets "
    "{test accuracy/batch norm, batch 32/perceptron, digits:%}. The conv net has "
    "{test accuracy/batch norm, batch 2/conv net, digits:%} at batch 2 against "
    "{test accuracy/layer norm, batch 2/conv net, digits:%}: each of its units is seen at many places of each "
    "picture, so that its statistics rest on more numbers than there are pictures."
)

TWO_TEXT = (
    "Subtract the mean of two numbers and divide by their standard deviation: what is left is -1 and +1. Batch "
    "norm then keeps which of two examples is the larger and forgets by how much. Here the same examples pass "
    "again and again, each time with other companions; the figures show how much of the variance of what batch "
    "norm gives is due to the companions. For normal numbers that is two thirds in batches of two, and about 3/2B "
    "in batches of B (dashed; drawn, not fitted). The first layer of the perceptron has "
    "{companions, first layer/batch norm, batch 2/perceptron, digits:%} at batch 2 and "
    "{companions, first layer/batch norm, batch 32/perceptron, digits:%} at batch 32. In the conv net the first "
    "layer, which averages over all places, has {companions, first layer/batch norm, batch 2/conv net, digits:%} "
    "at batch 2; but the noise grows with each layer that has fewer places, and of its answers "
    "{companions, logits/batch norm, batch 2/conv net, digits:%} of the variance are due to the other picture."
)

SHIFT_TEXT = (
    "In tests batch norm uses running averages of the statistics of the last batches. They differ from the exact "
    "statistics of the training set, recomputed with the final weights, for three reasons. They rest on few "
    "examples: if all numbers were normal and nothing moved, their means would be {expected distance/running/2} "
    "standard deviations off at batch 2 and {expected distance/running/32} at batch 32; the perceptron's first "
    "layer has {running mean, first layer/batch norm, batch 2/perceptron, digits} and "
    "{running mean, first layer/batch norm, batch 32/perceptron, digits}. They are late: the weights move while "
    "the averages are taken, more so at the large rates that large batches bear. And deeper layers are fed other "
    "data in training than in tests: behind a layer that gives only signs the perceptron's second layer spreads "
    "differently, so that even plain means over all batches of two are off by "
    "{averaged deviation, second layer/batch norm, batch 2/perceptron, digits} standard deviations in their "
    "spread, against {averaged deviation, second layer/batch norm, batch 32/perceptron, digits} at batch 32.\n\n"
    "Is that the harm? The same weights are tested with the running statistics, with those of the test batch, with "
    "plain means over all training batches, and with the exact ones. At batch 2 the perceptron loses "
    "{lost/in all/perceptron, digits:ci} against layer norm on the digits, of which exact statistics give back "
    "{lost/to the statistics of the test/perceptron, digits:ci}; {lost/in training/perceptron, digits:ci} was lost "
    "in training. In the conv net it is {lost/in all/conv net, digits:ci}, of which "
    "{lost/to the statistics of the test/conv net, digits:ci} by the statistics of the test."
)

PADDING_TEXT = (
    "Texts of 1 to 12 words share a batch; more than half of its positions are padding. Statistics over all "
    "positions are a mixture of words and padding, and are off by the share of padding times the distance between "
    "the two: in the transformer {mean with padding/a tenth/transformer} standard deviations with a tenth of "
    "padding, {mean with padding/nine tenths/transformer} with nine tenths. Yet in a test with running statistics "
    "the mixture is a constant that the weights have learned to live with: the transformer gets "
    "{test accuracy/batch norm/transformer:%} right with all positions counted and "
    "{test accuracy/batch norm, masked/transformer:%} with the real ones alone. It hurts when the statistics come "
    "from the batch and the padding of the test is another: the same texts in the same batches give "
    "{test accuracy/batch norm, padded statistics/transformer:%} padded to the common length and "
    "{test accuracy/batch norm, trimmed statistics/transformer:%} trimmed to the longest of the batch; masked "
    "statistics give {test accuracy/batch norm, masked, padded statistics/transformer:%} both times.\n\n"
    "In the recurrent net the mask does harm of its own. There the statistics are taken anew at every word, and "
    "at the ninth word few texts of the batch still go on: masked statistics are those of a tiny batch. Their mean "
    "is {batch mean, ninth word/batch norm, masked} standard deviations off there, against "
    "{batch mean, second word/batch norm, masked} at the second word; with all positions counted, where ended "
    "texts stay in with their last state, it is {batch mean, ninth word/batch norm}. And one running statistic "
    "serves all words: for the first, before which there is no state, it is "
    "{running mean, first word/batch norm} standard deviations off, masked "
    "{running mean, first word/batch norm, masked}. Accuracy: {test accuracy/batch norm/recurrent net:%} with all "
    "positions, {test accuracy/batch norm, masked/recurrent net:%} masked, "
    "{test accuracy/layer norm/recurrent net:%} with layer norm, which knows neither batch nor padding."
)

LAYER_NORM_TEXT = (
    "Layer norm takes mean and standard deviation of one position over its units, then multiplies each unit by a "
    "learned gain and adds a learned bias; RMSNorm leaves out the mean and the bias. Trained networks use the "
    "gains: in the recurrent net they spread by {spread of the gains/layer norm/recurrent net} around "
    "{mean gain/layer norm/recurrent net}, and set back to 1 and 0 in the trained weights, accuracy falls from "
    "{test accuracy/layer norm/recurrent net:%} to "
    "{test accuracy/layer norm, gain and bias set back/recurrent net:%}. To use is not to need: trained without "
    "them it reaches {test accuracy/layer norm, no gain and bias/recurrent net:%}. In the transformer each norm "
    "stands before a linear map, which can take over any gain: {test accuracy/layer norm/transformer:%} with, "
    "{test accuracy/layer norm, no gain and bias/transformer:%} without. What RMSNorm leaves standing is little: "
    "of the mean square that the norms of a trained network with layer norm see, "
    "{share of the mean/layer norm/transformer:%} is the squared mean over units in the transformer and "
    "{share of the mean/layer norm/recurrent net:%} in the recurrent net."
)
