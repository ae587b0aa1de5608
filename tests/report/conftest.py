"""Invented runs for the report: one with everything, one on a user's photographs with little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, append_jsonl
from lucida.core.seeds import stream
from lucida.core.statistics import wilson
from lucida.report.material import (
    CalibrationBin,
    CorpusFacts,
    Curve,
    Example,
    KindRate,
    Material,
    Retrieval,
    RetrievedPicture,
    TrainableRow,
    save_thumbnail,
)

COLOURS = {"red": (208, 60, 52), "green": (62, 142, 84), "blue": (46, 102, 176), "yellow": (234, 184, 44)}
SHAPES = ("square", "circle", "triangle")


def drawn(*objects: tuple[str, str], size: int = 128) -> np.ndarray:
    """A picture of coloured shapes, uint8 ``[size, size, 3]``."""
    picture = Image.new("RGB", (size, size), (236, 232, 222))
    pen = ImageDraw.Draw(picture)
    for place, (colour, shape) in enumerate(objects):
        x, y, s = 8 + 60 * (place % 2), 8 + 60 * (place // 2), 46 if len(objects) > 1 else 104
        box, fill = (x, y, x + s, y + s), COLOURS[colour]
        if shape == "square":
            pen.rectangle(box, fill=fill)
        elif shape == "circle":
            pen.ellipse(box, fill=fill)
        else:
            pen.polygon([(x, y + s), (x + s / 2, y), (x + s, y + s)], fill=fill)
    return np.asarray(picture)


def share(value: float, n: int) -> Metric:
    return wilson(round(value * n), n)


def curve(path: Path, steps: int, start: float, end: float, name: str) -> None:
    """Rows as the training loop writes them."""
    noise = stream(0, "curve", name)
    for step in range(10, steps + 1, 10):
        loss = end + (start - end) * np.exp(-4 * step / steps)
        place = {"step": step, "examples": step * 64, "seconds": step * 0.1}
        append_jsonl(path, {"kind": "train", **place, "loss": loss * noise.normal(1, 0.06), "grad_norm": 1.0})
        if step % (steps // 8) == 0:
            append_jsonl(path, {"kind": "validation", **place, "loss": loss * 1.06, name: 0.9 * (1 - loss / start)})


def full_results() -> Results:
    results = Results(peak_mb=3412.0)
    for split, own, start, chance, n in (
        ("zero_shot/unseen_concepts/openmoji", 0.391, 0.218, 1 / 381, 381),
        ("zero_shot/unseen_concepts/twemoji", 0.346, 0.205, 1 / 381, 381),
        ("transfer/second_artist", 0.342, 0.096, 1 / 1904, 762),
    ):
        results.add(f"{split}/top1", share(own, n))
        results.add(f"{split}/top5", share(own + 0.25, n))
        results.add(f"{split}/frozen_start_top1", share(start, n))
        results.add(f"{split}/chance_top1", Metric(chance, None, n))
    for way, recalls in (("image_to_text", (0.41, 0.67, 0.78)), ("text_to_image", (0.39, 0.66, 0.77))):
        for k, value in zip((1, 5, 10), recalls, strict=True):
            results.add(f"retrieval/unseen_concepts/{way}/recall_at_{k}", share(value, 381))
        results.add(f"retrieval/unseen_concepts/{way}/median_rank", Metric(2.0, (2.0, 3.0), 381))
        results.add(f"retrieval/unseen_concepts/{way}/chance_recall_at_1", Metric(1 / 381, None, 381))
    for part, drop in (("", 0.0), ("second_artist/", 0.05), ("unseen_pairs/", 0.02)):
        for how, value in (("random", 0.948), ("popular", 0.924), ("adversarial", 0.871)):
            for measure in ("accuracy", "precision", "recall", "f1"):
                results.add(f"pope/{part}{how}/{measure}", share(value - drop, 600))
            results.add(f"pope/{part}{how}/yes_ratio", share(0.49, 600))
            results.add(f"pope/{part}{how}/abstain_ratio", share(0.004, 600))
            results.add(f"pope/{part}{how}/auroc", Metric(0.985 - drop, (0.978 - drop, 0.99 - drop), 600))
            results.add(f"pope/{part}{how}/calibration_error", Metric(0.031, (0.02, 0.04), 600))
        results.add(f"pope/{part}question_only/accuracy", share(0.583, 600))
        results.add(f"pope/{part}majority/accuracy", Metric(0.5, None, 600))
        results.add(f"pope/{part}chance/accuracy", Metric(0.5, None, 600))
    results.add("pope/question_only/random/accuracy", share(0.55, 600))
    for variant, rate in (("", 0.072), ("second_artist/", 0.119)):
        results.add(f"chair/{variant}chair_i", share(rate, 600))
        results.add(f"chair/{variant}chair_s", share(2.6 * rate, 600))
        results.add(f"chair/{variant}recall", share(0.861, 600))
        results.add(f"chair/{variant}mean_words", Metric(13.4, (13.2, 13.6), 600))
    for family, value in (("count", 0.083), ("place", 0.12), ("relation", 0.21)):
        results.add(f"caption_facts/{family}_error", share(value, 90))
        results.add(f"caption_facts/{family}_statements", Metric(0.9, (0.7, 1.1), 200))
    for shown, value in (("true", 0.914), ("shuffled", 0.541), ("blank", 0.583)):
        results.add(f"blind/{shown}/accuracy", share(value, 600))
    for name, value in (("recall", 0.94), ("flip_rate", 0.88), ("control_flip_rate", 0.03)):
        results.add(f"twins/{name}", share(value, 180))
    for name, value in (("no_ratio", 0.95), ("flip_rate", 0.86), ("control_flip_rate", 0.04)):
        results.add(f"twins/pasted/{name}", share(value, 160))
    results.add("blind/gap", Metric(0.373, (0.343, 0.402), 600))
    results.add("count/accuracy", share(0.712, 400))
    results.add("count/majority/accuracy", Metric(0.31, None, 400))
    results.add("where/accuracy", share(0.803, 400))
    results.add("where/chance/accuracy", Metric(0.25, None, 400))
    results.add("something/nobody_knows", Metric(0.00042, None, 7))
    results.seconds = {
        "read": 21.4,
        "features": 163.0,
        "dual_encoder": 148.2,
        "scenes": 4.1,
        "vlm": 341.7,
        "measure": 92.3,
    }
    results.leave_out("compare", "only one checkpoint was given")
    return results


SINGLE = [(colour, shape) for colour in COLOURS for shape in SHAPES]
CORPORA = (
    CorpusFacts(
        "emoji artwork",
        {"train": 2290, "validation": 240, "unseen_concepts": 762, "second_artist": 762, "apart": 610},
        4664,
        None,
        0,
        "OpenMoji, CC BY-SA 4.0; Twemoji, CC BY 4.0",
    ),
    CorpusFacts("shop fronts", {"train": 9600, "test": 2400}, 12_000, 50_000, 3, "own photographs"),
)
KINDS = (
    KindRate("a kind with quite a long name indeed", 12, 60, 0, 40),
    *(KindRate(f"{c} {s}", 9 - i % 7, 60, (i * 5) % 11, 50 + i) for i, (c, s) in enumerate(SINGLE)),
)
CALIBRATION = tuple(
    CalibrationBin(c, round(n * (c - 0.04)), n)
    for c, n in ((0.53, 60), (0.65, 90), (0.75, 140), (0.85, 210), (0.96, 900))
)
TRAINABLE = (
    TrainableRow("Dual encoder", "vision_tower", 0, 3_413_024),
    TrainableRow("Dual encoder", "image_head", 917_504, 917_504),
    TrainableRow("Dual encoder", "log_logit_scale", 1, 1),
    TrainableRow("Multimodal LLM", "multi_modal_projector", 393_728, 393_728),
    TrainableRow("Multimodal LLM", "language_model", 6_291_456, 6_291_456),
)


def thumb(folder: RunFolder, *objects: tuple[str, str]) -> str:
    return save_thumbnail(folder, " ".join(map(" ".join, objects)), drawn(*objects))


def named(folder: RunFolder) -> list[Example]:
    return [
        Example(
            thumb(folder, o),
            answer=" ".join(o if i % 3 else SINGLE[i - 4]),
            truth=" ".join(o),
            right=bool(i % 3),
            confidence=0.35 + 0.05 * i,
            group="Naming concepts it never saw",
        )
        for i, o in enumerate(SINGLE[:9])
    ]


def asked(folder: RunFolder) -> list[Example]:
    pair = thumb(folder, ("red", "square"), ("blue", "circle"), ("green", "triangle"))
    group = "Answering about composed scenes"
    return [
        Example(pair, "yes", "yes", True, "Is there a red square?", 0.98, group, id="scene test/17"),
        Example(pair, "yes", "no", False, "Is there a yellow circle?", 0.64, group, id="scene test/17"),
        Example(pair, "three", "three", True, "How many objects are there?", 0.81, group),
        Example(
            pair,
            "A red square, a blue circle and a yellow triangle on a plain ground.",
            "a red square, a blue circle, a green triangle",
            False,
            "What is in the picture?",
            None,
            group,
            ("yellow triangle",),
        ),
    ]


def retrieved(folder: RunFolder) -> tuple[Retrieval, ...]:
    found = tuple(RetrievedPicture(thumb(folder, o), i in (0, 2), " ".join(o)) for i, o in enumerate(SINGLE[:8]))
    return (
        Retrieval("a red shape", found, split="unseen_concepts", candidates=762),
        Retrieval("a red square", found[::-1], thumb(folder, ("red", "square")), "second_artist", 762),
    )


def full_material(folder: RunFolder) -> Material:
    return Material(
        title="Pictures and words, from the artwork up",
        summary="A dual encoder and a small multimodal LLM, trained on two artists' pictures of the same concepts and "
        "on scenes composed of them.",
        corpora=CORPORA,
        examples=(*named(folder), *asked(folder)),
        retrievals=retrieved(folder),
        kinds=KINDS,
        calibration=CALIBRATION,
        curves=(Curve("Dual encoder", "dual_encoder/metrics.jsonl"), Curve("Multimodal LLM", "vlm/metrics.jsonl")),
        trainable=TRAINABLE,
        stage_titles={"vlm": "Multimodal LLM"},
        pictures_per_second={"encoding pictures": 77.3, "training the dual encoder": 4120.0},
        credits=("EfficientNet-Lite0 weights: Apache License 2.0", "all-MiniLM-L6-v2 weights: Apache License 2.0"),
        command="lucida run --split-seed 0 --seed 0",
    )


def make_full_run(path: Path) -> RunFolder:
    folder = RunFolder.create(path, {"split_seed": 0, "dual_encoder": {"learning_rate": 1e-3}}, seed=0)
    full_results().save(folder.results)
    curve(path / "dual_encoder" / "metrics.jsonl", 2400, 5.5, 1.1, "top1")
    curve(path / "vlm" / "metrics.jsonl", 1800, 3.9, 0.24, "accuracy")
    append_jsonl(folder.skipped, {"id": "broken.jpg", "where": "photos/broken.jpg", "reason": "the file is cut off"})
    full_material(folder).save(folder)
    return folder


def make_photo_run(path: Path) -> RunFolder:
    """A user's photographs without boxes: naming, retrieval and one curve; no scenes, no hallucination."""
    folder = RunFolder.create(path, {}, seed=1)
    results = Results(seconds={"features": 61.0, "dual_encoder": 42.0})
    results.add("zero_shot/test/top1", share(0.71, 240))
    results.add("zero_shot/test/chance_top1", Metric(0.1, None, 240))
    results.add("retrieval/test/text_to_image/recall_at_1", share(0.44, 240))
    results.leave_out("pope", "the corpus does not list every object of a picture, so an absent one is not known")
    results.save(folder.results)
    curve(folder.metrics, 400, 4.0, 1.5, "top1")
    shop = save_thumbnail(folder, "bakery & sons <1>.jpg", drawn(("yellow", "square")))
    Material(
        title="Shop fronts",
        corpora=(CorpusFacts("shop fronts", {"train": 9600, "test": 2400}, 12_000, 50_000, 1),),
        examples=(Example(shop, "<script>alert(1)</script> & co", "bakery & sons", False, id="bakery & sons <1>.jpg"),),
        curves=(Curve("Dual encoder"),),
    ).save(folder)
    return folder


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_full_run(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_photo_run(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def empty_run(tmp_path: Path) -> Callable[[Results], RunFolder]:
    """A run folder with nothing but the given results."""

    def make(results: Results) -> RunFolder:
        folder = RunFolder(tmp_path)
        results.save(folder.results)
        return folder

    return make
