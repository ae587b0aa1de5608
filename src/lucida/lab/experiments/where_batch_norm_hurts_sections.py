"""What the page on where batch norm hurts shows of the measurements, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucida.lab.experiment import Bench, Section
from lucida.lab.experiments.where_batch_norm_hurts import (
    ALL_POSITIONS,
    LAYER,
    NORMS,
    PERCEPTRONS,
    PICTURES,
    PIXELS,
    PLAIN,
    REAL_POSITIONS,
    RMS,
    SEQUENCE_NORMS,
    SEQUENCES,
    measure,
    sized,
)
from lucida.lab.experiments.where_batch_norm_hurts_texts import (
    LAYER_NORM_TEXT,
    PADDING_TEXT,
    SHIFT_TEXT,
    SMALL_BATCHES_TEXT,
    TWO_TEXT,
)
from lucida.lab.observations import Observations, points
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

PERCEPTRON, CONV_NET = PICTURES[0], PICTURES[2]
_ACCURACY = "test accuracy"
_CONSTANT = "No share of the logits: a network whose answers do not depend on the picture at all any more."
_PARTS = ("in all", "to the statistics of the test", "in training")


def measured(bench: Bench, settings: Any) -> Observations:
    """The measurements, and names for the points of curves that the texts speak of."""
    found = measure(bench, settings)
    for size in settings.batch_sizes:
        arm = sized(ALL_POSITIONS, size)
        for level in PICTURES:
            shares = found.curves[f"companions/{level}/{size}"][1]
            found.record("companions, first layer", arm, shares[:, 0], level)
            for what in ("mean", "deviation"):
                for source in ("running", "averaged", "batch"):
                    distances = found.curves[f"shift/{what}/{source}/{level}/{size}"][1]
                    found.record(f"{source} {what}, first layer", arm, distances[:, 0], level)
                    found.record(f"{source} {what}, second layer", arm, distances[:, 1], level)
    for norm in (ALL_POSITIONS, REAL_POSITIONS):
        batch, running = (found.curves[f"words/{name}/{norm}"][1] for name in ("batch", "running"))
        found.record("running mean, first word", norm, running[:, 0])
        found.record("batch mean, second word", norm, batch[:, 1])
        found.record("batch mean, ninth word", norm, batch[:, 8])
    for level in SEQUENCES:
        errors = found.curves[f"padding/mean/{level}/{ALL_POSITIONS}"][1]
        found.record("mean with padding", "a tenth", np.nan_to_num(errors[:, 0]), level)
        found.record("mean with padding", "nine tenths", np.nan_to_num(errors[:, -1]), level)
    return found


def present(found: Observations) -> Sequence[Section]:
    """Small batches, what a batch of two is, the shift, padding, layer norm."""
    sizes = sorted({int(x) for x in found.curves[f"accuracy/{PERCEPTRON}/batch norm"][0]})
    return _small_batches(found), _two(found, sizes), _shift(found, sizes), _padding(found), _layer_norm(found)


def _small_batches(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(
            f"Accuracy by batch size, {level}",
            tuple(found.series(f"accuracy/{level}/{norm}", norm) for norm in NORMS),
            x_label="examples in a batch",
            y_label="test accuracy at the best rate",
            caption="Every point is trained on the same number of examples.",
            log_x=True,
            share=True,
        )
        for level in PICTURES
    )
    return Section("The batch gets small", SMALL_BATCHES_TEXT, figures)


def _two(found: Observations, sizes: Sequence[int]) -> Section:
    drawn = {float(size): found.facts[f"companions/normal numbers/{size}"] for size in sizes}
    figures = tuple(
        LinesFigure(
            f"What the companions decide: {name}",
            (
                *(found.series(f"companions/{name}/{level}", level) for level in PICTURES),
                points(drawn, "one normal number"),
            ),
            x_label="examples in a batch",
            y_label="share of the variance",
            caption=_CONSTANT,
            log_x=True,
            share=True,
        )
        for name in ("first layer", "logits")
    )
    by_layer = LinesFigure(
        "What the companions decide, layer by layer, batch 2",
        tuple(found.series(f"companions/{level}/2", level) for level in PICTURES),
        x_label="layer, from the input; the last are the logits",
        y_label="share of the variance",
        caption=_CONSTANT,
        share=True,
    )
    return Section("What two examples leave of a number", TWO_TEXT, (*figures, by_layer, _losses(sizes)))


def _losses(sizes: Sequence[int]) -> TableFigure:
    """The loss a network has while it trains, with the batch's own statistics."""
    rows = [(level, norm) for level in PICTURES for norm in NORMS]
    return TableFigure(
        "Loss of the last tenth of the training batches",
        tuple(f"batch {size}" for size in sizes),
        tuple(
            (f"{level}, {norm}", tuple(f"loss, training mode/{sized(norm, size)}/{level}" for size in sizes))
            for level, norm in rows
        ),
        caption="In nats. Guessing among ten digits has `ln 10 = 2.30`, among eight kinds of emoji `ln 8 = 2.08`.",
    )


def _shift(found: Observations, sizes: Sequence[int]) -> Section:
    figures = tuple(
        LinesFigure(
            f"Running against exact {name}, {level}",
            tuple(found.series(f"shift/{what}/running/{level}/{size}", f"batch {size}") for size in sizes),
            x_label="layer, from the input",
            y_label="distance in standard deviations",
        )
        for level in (PERCEPTRON, CONV_NET)
        for what, name in (("mean", "means"), ("deviation", "standard deviations"))
    )
    arms = [(level, size) for level in PICTURES for size in sizes]
    tested = TableFigure(
        "The same weights, tested with other statistics",
        ("running", "of the test batch", "means over training batches", "exact"),
        tuple(
            (
                f"{level}, batch {size}",
                tuple(
                    f"{_ACCURACY}/{sized(ALL_POSITIONS, size)}, {name} statistics/{level}"
                    for name in ("running", "batch", "averaged", "exact")
                ),
            )
            for level, size in arms
        ),
        caption="Test accuracy.",
        shares=(True,) * 4,
    )
    lost = TableFigure(
        "What batch norm loses against layer norm at batch 2, and where",
        _PARTS,
        tuple(
            (f"{level}, best rate with {tuned_with} statistics", tuple(f"{lost}/{part}/{level}" for part in _PARTS))
            for tuned_with, lost, levels in (
                ("running", "lost", PICTURES),
                ("exact", "lost, rate for exact statistics", PERCEPTRONS),
            )
            for level in levels
        ),
        caption="Test accuracy. In training: what is missing with exact statistics too. Layer norm at its own best "
        "rate.",
        shares=(True,) * 3,
    )
    return Section(
        "Trained with one set of statistics, tested with another", SHIFT_TEXT, (*figures, tested, lost, _far(sizes))
    )


def _far(sizes: Sequence[int]) -> TableFigure:
    """How far a batch's statistics are from the running ones."""
    rows = [(f"{level}, batch {size}", sized(ALL_POSITIONS, size), level) for level in PICTURES for size in sizes]
    return TableFigure(
        "How far the running statistics are from those of a batch",
        ("means, first layer", "means, all layers", "standard deviations, all layers"),
        tuple(
            (
                label,
                (
                    f"batch mean, first layer/{arm}/{level}",
                    f"shift of the mean/{arm}, batch/{level}",
                    f"shift of the deviation/{arm}, batch/{level}",
                ),
            )
            for label, arm, level in rows
        ),
        caption="In exact standard deviations. Deeper layers see batches that were each centred before.",
    )


def _padding(found: Observations) -> Section:
    scores = tuple(
        EffectsFigure(
            f"Accuracy on emoji words, {level}",
            tuple(
                EffectRow(norm, f"{_ACCURACY}/{norm}/{level}") for norm in SEQUENCE_NORMS if norm not in (PLAIN, RMS)
            ),
            x_label="test accuracy at the best rate",
            share=True,
        )
        for level in SEQUENCES
    )
    errors = tuple(
        LinesFigure(
            f"Error of statistics that count padding: {name}",
            tuple(found.series(f"padding/{what}/{level}/{ALL_POSITIONS}", level) for level in SEQUENCES),
            x_label="share of padding",
            y_label="standard deviations from those of the words",
        )
        for what, name in (("mean", "means"), ("deviation", "standard deviations"))
    )
    words = LinesFigure(
        "Recurrent net: means at each word",
        tuple(
            found.series(f"words/{name}/{norm}", f"{label}, {norm.partition(', ')[2] or 'all positions'}")
            for name, label in (("batch", "of a batch"), ("running", "running"))
            for norm in (ALL_POSITIONS, REAL_POSITIONS)
        ),
        x_label="word",
        y_label="standard deviations from those of all texts",
        caption="Gaps: too few texts are that long.",
    )
    names = ("running", "batch", "padded", "trimmed")
    tested = TableFigure(
        "The same weights, tested with other statistics",
        ("running", "of mixed batches", "of like lengths, padded", "of like lengths, trimmed"),
        tuple(
            (f"{level}, {norm}", tuple(f"{_ACCURACY}/{norm}, {name} statistics/{level}" for name in names))
            for level in SEQUENCES
            for norm in (ALL_POSITIONS, REAL_POSITIONS)
        ),
        caption="Test accuracy.",
        shares=(True,) * 4,
    )
    return Section("Sequences with padding", PADDING_TEXT, (*scores, *errors, words, tested))


def _layer_norm(found: Observations) -> Section:
    levels = [level for level in (*SEQUENCES, PIXELS) if (_ACCURACY, LAYER, level) in found.numbers]
    scores = tuple(
        EffectsFigure(
            f"Layer norm and its relatives, {level}",
            tuple(EffectRow(norm, f"{_ACCURACY}/{norm}/{level}") for norm in (LAYER, PLAIN, RMS)),
            x_label="test accuracy at the best rate",
            share=True,
        )
        for level in levels
    )
    learned = TableFigure(
        "What gain and bias learn, and what they are worth",
        (
            "spread of the gains",
            "size of the biases",
            "accuracy",
            "set back",
            "share of the mean",
        ),
        tuple(
            (
                f"{level}, {norm}",
                (
                    f"spread of the gains/{norm}/{level}",
                    f"size of the biases/{norm}/{level}",
                    f"{_ACCURACY}/{norm}/{level}",
                    f"{_ACCURACY}/{norm}, gain and bias set back/{level}",
                    f"share of the mean/{norm}/{level}",
                ),
            )
            for level in levels
            for norm in (LAYER, RMS)
        ),
        caption="Set back: accuracy of the same weights with all gains one and all biases zero. Share of the mean: the "
        "part of the mean square of what the norm sees that layer norm takes away and RMSNorm does not.",
        shares=(False, False, True, True, True),
    )
    return Section("Layer norm, its gain and its bias", LAYER_NORM_TEXT, (*scores, learned))
