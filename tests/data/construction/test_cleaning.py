"""Cleaning of captions: what says nothing is found, and what says something is left alone."""

from __future__ import annotations

import re

import pytest

from lucida.core.errors import LucidaError
from lucida.data.construction.cleaning import CleanSettings, caption_problem, count_words, tidy

SETTINGS = CleanSettings()
PATTERN = re.compile("|".join(f"(?:{p})" for p in SETTINGS.boilerplate), re.IGNORECASE)


def problem(caption: str, **settings) -> str:
    return caption_problem(tidy(caption), CleanSettings(**settings), PATTERN)


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("", "an empty caption"), (" \n ", "an empty caption"), ("x " * 600, "a caption that is too long"),
        ("dog", "a caption that is too short"), ("... !", "a caption that is too short"),
        ("a \ufffd dog", "a caption with broken characters"), ("a\x07 dog runs", "a caption with broken characters"),
        ("cafÃ©Ã© in Paris", "a caption with broken characters"), ("IMG_1234", "boilerplate"),
        ("DSC0001 (2)", "boilerplate"), ("my holiday.JPG", "boilerplate"), ("https://example.org/a b", ""),
        ("https://example.org/a", "boilerplate"), ("Image may contain: one person", "boilerplate"),
        ("Click to enlarge", "boilerplate"), ("No image available", ""), ("© 2020 Somebody", "boilerplate"),
        ("a photo", "boilerplate"), ("an image of a dog", ""), ("Photo 12", "boilerplate"), ("a dog.jpg runs", ""),
        ("Copyright law books on a shelf", "boilerplate"), ("犬が走る", ""), ("Ein großer Hund läuft", ""),
        ("😀 smile", "a caption that is too short"), ("photograph of the null island buoy", ""),
    ],
)  # fmt: skip
def test_captions_are_judged(caption, reason):
    assert problem(caption) == reason


def test_settings_decide():
    assert problem("dog", min_words=1) == ""
    assert problem("a dog runs", max_characters=5) == "a caption that is too long"
    assert count_words("— a dog, 3 犬 ...") == 4


@pytest.mark.parametrize(
    "settings",
    [{"min_words": -1}, {"max_characters": 0}, {"min_side": 0}, {"max_aspect": 0.5}, {"boilerplate": ("(",)}],
)
def test_settings_out_of_range_are_one_line(settings):
    with pytest.raises(LucidaError, match=r"clean|regular expression"):
        CleanSettings(**settings)
