"""Calibration error: by hand, and zero within its interval for a calibrated model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.evaluation.calibration import calibration_error, risk_metrics


def test_by_hand() -> None:
    metric = calibration_error([0.9, 0.9, 0.9, 0.9, 0.2, 0.2], [True, True, False, False, False, True])
    assert metric.value == pytest.approx((4 * 0.4 + 2 * 0.3) / 6)
    assert metric.ci95[0] <= metric.value <= metric.ci95[1]
    assert calibration_error([0.0, 1.0], [False, True]).value == 0
    assert math.isnan(calibration_error([], []).value)


def test_pictures_are_resampled_whole() -> None:
    p, truth = np.full(400, 0.7), np.repeat(np.random.default_rng(0).random(40) < 0.5, 10)
    apart, together = calibration_error(p, truth), calibration_error(p, truth, np.repeat(np.arange(40), 10))
    assert apart.value == pytest.approx(together.value)
    assert np.ptp(together.ci95) > 2 * np.ptp(apart.ci95)
    assert (apart.n, together.n) == (400, 40)


def test_calibration_error_covers_a_calibrated_model() -> None:
    generator, holds = np.random.default_rng(0), []
    for _ in range(60):
        p = generator.random(400)
        metric = calibration_error(p, generator.random(400) < p, resamples=200)
        holds.append(metric.ci95[0] <= 0.015)  # the true error is zero
    assert np.mean(holds) > 0.8
    assert calibration_error([], []).n == 0
    assert calibration_error([0.5], [1]).ci95 is None


def test_risk_by_coverage_by_hand_and_with_ties() -> None:
    confidence, right = [0.9, 0.8, 0.8, 0.8, 0.6], [1, 1, 0, 1, 0]
    found = risk_metrics(confidence, right, coverages=(0.2, 0.4, 0.8, 1.0))
    values = [metric.value for metric in found.values()]
    assert values == pytest.approx([0, (1 / 3) / 2, 1 / 4, 2 / 5])
    assert next(iter(found)) == "risk/at_20/wrong_share"


@given(st.integers(0, 1000))
def test_a_model_that_knows_nothing_of_its_mistakes_gains_nothing(seed: int) -> None:
    right = np.random.default_rng(seed).random(50) < 0.7
    found = risk_metrics(np.full(50, 0.8), right)
    assert [metric.value for metric in found.values()] == pytest.approx([1 - right.mean()] * 4)
    knows = risk_metrics(np.where(right, 0.9, 0.6), right)
    values = [metric.value for metric in knows.values()]
    assert values == sorted(values)
