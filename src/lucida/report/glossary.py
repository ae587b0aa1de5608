"""What the words of the report mean, one sentence each; a report explains only the words it uses."""

from __future__ import annotations

import re
from collections.abc import Collection

# (word, what it means, pattern of the metric names or sections that use it)
_ENTRIES = (
    (
        "95 % interval",
        "The range in which the true value plausibly lies, given how much was measured: of many ranges made like this, "
        "95 in 100 hold it.",
        r".*",
    ),
    (
        "n",
        "How many independent units (mostly pictures) a number rests on; the questions about one picture are one unit.",
        r".*",
    ),
    (
        "Zero-shot top-1",
        "The share of pictures whose right name scores highest among all candidate names, with no example of the class "
        "shown beforehand.",
        r"(zero_shot|transfer)/.*top1",
    ),
    (
        "Transfer",
        "Naming pictures that look unlike the training pictures of the same things, for example by another artist.",
        r"transfer/.*",
    ),
    (
        "Frozen start",
        "The same measurement on the pretrained towers before this run trained anything: what training has to beat.",
        r".*frozen_start.*",
    ),
    ("Chance", "What guessing at random would score.", r".*chance.*"),
    (
        "Fixed answer, most frequent class",
        "What the most frequent answer (or class) would score if it were given every time.",
        r".*majority.*",
    ),
    (
        "Question only",
        "What can be guessed from the words of the question without seeing the picture.",
        r".*question_only.*",
    ),
    (
        "Recall at k (R@k)",
        "The share of queries whose right answer is among the first k results.",
        r"retrieval/.*recall_at.*",
    ),
    (
        "Median rank",
        "The place at which the right result stands for the typical query; 1 is best.",
        r".*median_rank",
    ),
    (
        "Low-rank adapters (LoRA)",
        "Two thin matrices beside each weight matrix, whose product is added to it; they alone are trained.",
        r"adaptation/.*",
    ),
    (
        "POPE",
        'Yes/no questions "is there a …?", half about objects that are there; the absent ones are drawn at random, '
        "from the most frequent objects (popular), or from those that usually come with what is there (adversarial).",
        r"pope/.*",
    ),
    (
        "Precision",
        "Of the answers yes, the share that is right: low precision means objects are made up.",
        r"pope/.*precision",
    ),
    ("Recall (yes/no)", "Of the objects that are there, the share for which the answer is yes.", r"pope/.*recall"),
    ("F1", "The harmonic mean of precision and recall.", r".*/f1"),
    ("Yes-ratio", "The share of questions answered yes; about half would be right here.", r".*yes_ratio"),
    (
        "Abstains",
        "The share of answers that are neither yes nor no; they count as wrong and are never guessed.",
        r".*abstain_ratio",
    ),
    (
        "AUROC",
        "How often the model finds yes likelier for an object that is there than for one that is not; 0.5 is guessing, "
        "1 is perfect, whatever the threshold.",
        r".*auroc",
    ),
    (
        "Calibration",
        "Whether answers given with, say, 80 % confidence are right 80 % of the time.",
        r".*calibration.*",
    ),
    (
        "CHAIR_i",
        "Of all objects that captions mention, the share that is not in the picture; lower is better.",
        r"chair/.*chair_i",
    ),
    (
        "CHAIR_s",
        "The share of captions that mention at least one object that is not there; lower is better.",
        r"chair/.*chair_s",
    ),
    ("Recall (captions)", "Of the objects in the picture, the share that the caption mentions.", r"chair/.*recall"),
    (
        "Wrong statements",
        "Of what captions say about how many objects there are, where they are, and how two stand to each other, the "
        "share that is not so; lower is better.",
        r"caption_facts/.*_error",
    ),
    (
        "Blind-picture probe",
        "The same questions asked with the true picture, with the picture of another question, and with a blank one.",
        r"blind/.*",
    ),
    (
        "Risk by coverage",
        "The share of wrong answers among the surest half, the surest 70 %, and so on.",
        r"risk/.*",
    ),
    (
        "Twin pictures",
        "A picture and the same one without an object: asked for it, a model that looks says yes to the first and no "
        "to the second. The control is a third picture, from which something else was taken. Pasted: the same the "
        "other way round, with an object put in.",
        r"twins/.*",
    ),
    (
        "Loss",
        "What training makes small: how surprised the model is by the right answer.",
        r"section/learning",
    ),
    (
        "Trainable parameters",
        "The numbers inside the model that this run was allowed to change; the others are frozen.",
        r"section/parameters",
    ),
)


def entries(names: Collection[str]) -> list[tuple[str, str]]:
    """The words that the given metric names and sections (``"section/learning"``) use, with their meaning.

    >>> [word for word, _ in entries(["pope/random/f1"])]
    ['95 % interval', 'n', 'POPE', 'F1']
    """
    return [
        (word, meaning) for word, meaning, pattern in _ENTRIES if any(re.fullmatch(pattern, name) for name in names)
    ]
