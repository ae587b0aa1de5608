"""The ablation of the default dual encoder: every row is another recipe, fits are shared where nothing differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.models.text_features import TextFeatures
from lucida.models.text_towers import MiniLM
from lucida.workflows import recipes
from lucida.workflows.encoder_stage import FROZEN_START
from lucida.workflows.zero_shot_ablation import (
    ADDED,
    DEFAULT,
    MEASURES,
    OFF,
    START,
    ZeroShotAblationConfig,
    all_rows,
    as_text,
    fit_key,
    measured,
)


def tiny(out: Path) -> ZeroShotAblationConfig:
    recipe = recipes.load("tiny")
    return ZeroShotAblationConfig((1000,), out, recipe.encoder, recipe.frozen_start, recipe.artwork_size)


def test_every_row_is_another_recipe() -> None:
    rows = all_rows(ZeroShotAblationConfig())
    assert len(rows) == len(OFF) + len(ADDED) + 2
    settings = [str(to_dict(stage)) for stage in rows.values()]
    assert len({*settings}) == len(settings)
    shared = [name for name, stage in rows.items() if fit_key(stage) == fit_key(rows[DEFAULT])]
    assert set(shared) - {DEFAULT} == {
        "without the kernel reader, and with it hubs",
        "without the contrastive heads",
        "without hubs give back",
        "without looks of example pictures",
        "with templates searched on validation",
    }


def test_rows_that_share_a_fit_are_what_each_would_be_alone(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    rows = all_rows(config)
    some = (DEFAULT, "without the contrastive heads", "with templates searched on validation")
    read = TextFeatures(MiniLM())
    together = measured(1000, {name: rows[name] for name in some}, config, tmp_path / "together", read)
    last = some[-1]
    assert measured(1000, {last: rows[last]}, config, tmp_path / "alone", read)[last] == together[last]
    assert together[DEFAULT] != together[some[1]]
    for tops in together.values():
        assert {*tops} == {*MEASURES}
    for path in (tmp_path / "together").iterdir():  # what is there is read, not measured
        path.write_text(path.read_text().replace('"top1": {', '"top1": {"read": 1, '))
    again = measured(1000, {name: rows[name] for name in some}, config, tmp_path / "together", read)
    assert all("read" in tops for tops in again.values())


def test_the_table_has_a_line_a_row() -> None:
    results = Results(details={"split_seeds": [1, 2], "rows": {DEFAULT: {}, START: {}}})
    for measure in MEASURES:
        results.add(f"{DEFAULT}/{measure}/top1", Metric(0.3))
        results.add(f"{START}/{measure}/top1", Metric(0.2))
        results.add(f"{START}/{measure}/difference", Metric(-0.1, (-0.12, -0.08), 2))
    text = as_text(results)
    assert "20.0 (-10.0; -12.0 to -8.0)" in text
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (1, 1)}, "seeds"),
        ({"encoder": FROZEN_START}, "two heads alone have none of the steps"),
        ({"frozen_start": replace(FROZEN_START, template_search=True)}, "a row of their own"),
    ],
)
def test_what_cannot_be_compared_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LucidaError, match=message):
        ZeroShotAblationConfig(**changes)
