"""Calibration error: by hand, and zero within its interval for a calibrated model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lucida.evaluation.calibration import calibration_error


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
