"""Remedies side by side in one picture, from numbers alone."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from lucida.core.results import Metric
from lucida.report.remedy_frontier import frontier_picture

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["as it is", "a remedy with a name that is longer than a line", "<one> & another"]


def metrics() -> dict[str, Metric]:
    found = {}
    for k, name in enumerate(NAMES):
        for kind in ("", "sampled/"):
            found[f"{name}/{kind}recall"] = Metric(0.4 + 0.1 * k, (0.3 + 0.1 * k, 0.5 + 0.1 * k), 50)
            found[f"{name}/{kind}chair_i"] = Metric(0.01 + 0.1 * k, (0.0, 0.2 + 0.1 * k), 50)
        found[f"{name}/decoding_cost"] = Metric(1.0 + k, None, 5)
        found[f"{name}/adversarial/false_yes_at_true_yes"] = Metric(0.03, (0.01, 0.05), 50)
    return found


def marks(picture: str, class_: str) -> list[tuple[float, float]]:
    found = []
    for element in ET.fromstring(picture).iter(f"{SVG}path"):
        if element.attrib["class"].rsplit(" ", 1)[0] == class_:
            x, y = element.attrib["transform"].removeprefix("translate(").rstrip(")").split()
            found.append((float(x), float(y)))
    return found


def words(picture: str) -> str:
    texts = ET.fromstring(picture).iter(f"{SVG}text")
    return " ".join("".join(text.itertext()) for text in texts if "name" in text.attrib["class"])


def test_likeliest_words_are_filled_and_sampled_ones_hollow() -> None:
    picture = frontier_picture(metrics(), NAMES)
    assert len(marks(picture, "marker")) == 2 * len(NAMES)  # in both drawings
    assert len(marks(picture, "marker hollow")) == len(NAMES)
    assert all(words(picture).count(name) == 2 for name in NAMES)


def test_more_named_lies_further_right_and_more_made_up_further_up() -> None:
    points = [at for at in reversed(marks(frontier_picture(metrics(), NAMES), "marker")) if at[1] < 430]
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert [y for _, y in points] == sorted({y for _, y in points}, reverse=True)


def test_what_was_not_measured_is_not_drawn() -> None:
    some = {name: metric for name, metric in metrics().items() if "sampled" not in name and "cost" not in name}
    some["as it is/chair_i"] = Metric(float("nan"), None, 0)
    picture = frontier_picture(some, NAMES)
    assert marks(picture, "marker hollow") == []
    assert len(marks(picture, "marker")) == 2
    assert "as it is" not in words(picture)
    assert "sampled" not in picture
    assert marks(frontier_picture({}, []), "marker") == []


def test_nothing_made_up_at_all_lies_at_the_lower_end_of_the_scale() -> None:
    none = metrics() | {"as it is/chair_i": Metric(0.0, (0.0, 0.02), 50)}
    lowest = max(y for _, y in marks(frontier_picture(none, NAMES), "marker") if y < 430)
    assert lowest == 424.0
