"""Configs survive JSON; what is unknown or of the wrong kind is refused and named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.config import from_dict, nearest, to_dict
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    groups: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Recipe:
    length: Duration
    name: str = "tiny"
    steps: int = 3
    fit: Literal["pad", "crop"] = "pad"
    use_text: bool = True
    pictures: Path | None = None
    limit: int | None = None
    size: int | str = "auto"
    weights: dict[str, float] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    optimizer: Optimizer = field(default_factory=Optimizer)
    second: Optimizer | None = None


finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8"), max_size=8)
optimizers = st.builds(
    Optimizer,
    learning_rate=finite,
    betas=st.tuples(finite, finite),
    groups=st.lists(st.tuples(words, finite), max_size=3).map(tuple),
)
recipes = st.builds(
    Recipe,
    length=st.builds(Duration, st.floats(0, 1e18), st.sampled_from(["steps", "examples", "epochs"])),
    name=words,
    steps=st.integers(),
    fit=st.sampled_from(["pad", "crop"]),
    use_text=st.booleans(),
    pictures=st.none() | words.filter(lambda w: "\0" not in w).map(Path),
    limit=st.none() | st.integers(),
    size=st.integers() | words,
    weights=st.dictionaries(words, finite, max_size=3),
    names=st.lists(words, max_size=3),
    optimizer=optimizers,
    second=st.none() | optimizers,
)


@given(recipes)
def test_a_config_survives_json(recipe: Recipe) -> None:
    text = json.dumps(to_dict(recipe), allow_nan=False)
    assert from_dict(Recipe, json.loads(text)) == recipe


def test_missing_keys_take_their_defaults() -> None:
    assert from_dict(Recipe, {"length": "2 epochs"}) == Recipe(Duration(2, "epochs"))


def test_a_key_without_default_is_asked_for() -> None:
    with pytest.raises(LucidaError, match="length"):
        from_dict(Recipe, {}, where="config.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lenght": "1 steps"}, r"unknown config key 'lenght' \(config.json\); did you mean 'length'\?"),
        (
            {"optimizer": {"learning_rat": 1.0}},
            r"'learning_rat' \(config.json.optimizer\); did you mean 'lea",
        ),
        ({"zzz": 1}, r"unknown config key 'zzz' .*; known keys: length, name"),
        ({"steps": "3"}, r"expected int, found '3' \(config.json.steps\)"),
        ({"steps": 3.0}, r"expected int, found 3.0"),
        ({"steps": True}, r"expected int, found True"),
        ({"steps": None}, r"expected int, found None"),
        ({"use_text": 1}, r"expected bool, found 1"),
        ({"name": 7}, r"expected str, found 7"),
        ({"fit": "stretch"}, r"expected one of pad, crop, found 'stretch'"),
        ({"length": "3"}, r"not a duration: '3'"),
        ({"length": 3}, r"expected str, found 3"),
        ({"pictures": 3}, r"expected str, found 3 \(config.json.pictures\)"),
        ({"limit": "many"}, r"expected int, found 'many'"),
        ({"size": 1.5}, r"expected one of the types int, str, found 1.5"),
        ({"weights": [1]}, r"expected a group of settings, found \[1\]"),
        ({"weights": {"a": "b"}}, r"expected float, found 'b' \(config.json.weights.a\)"),
        ({"names": "abc"}, r"expected a list, found 'abc'"),
        ({"optimizer": 3}, r"expected a group of settings, found 3"),
        ({"optimizer": {"betas": [0.9]}}, r"expected 2 values, found 1"),
        ({"optimizer": {"groups": [["head", "x"]]}}, r"found 'x' \(config.json.optimizer.groups\[0\]\[1\]\)"),
        ([], r"expected a group of settings, found \[\]"),
    ],
)
def test_bad_content_gets_one_clear_line(content: object, message: str) -> None:
    if isinstance(content, dict):
        content = {"length": "1 steps", **content}
    with pytest.raises(LucidaError, match=message) as caught:
        from_dict(Recipe, content, where="config.json")  # type: ignore[arg-type]  # wrong on purpose
    assert "\n" not in str(caught.value)


def test_whole_numbers_serve_as_floats() -> None:
    made = from_dict(Optimizer, {"learning_rate": 1, "betas": [0, 1]})
    assert made == Optimizer(1.0, (0.0, 1.0))
    assert isinstance(made.betas[0], float)


def test_nearest_gives_up_on_strangers() -> None:
    assert nearest("batchsize", ["batch_size", "seed"]) == "batch_size"
    assert nearest("q", ["batch_size", "seed"]) is None
