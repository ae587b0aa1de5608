"""Gains of a layer are those of the closed forms, fifty layers explode with batch norm alone, and the page is whole."""

from __future__ import annotations

import numpy as np
import pytest

from lucida.lab.experiments.batch_norm_in_five_layers import FIFTY, NORMS, predicted_gain
from lucida.lab.experiments.batch_norm_in_five_layers_page import EXPERIMENT
from lucida.lab.networks import perceptron_for
from lucida.lab.norms import NormName
from lucida.lab.signal_propagation import decades, layer_gain, observe_layers
from lucida.lab.training import Member, Training, train_members
from tests.lab.drawn_bench import whole_page


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("gain", [0.5, 4.0])
def test_closed_forms_are_what_mean_field_theory_says(norm: NormName, gain: float) -> None:
    theory = layer_gain(perceptron_for("digits", 5, 64, norm=norm, gain=gain))
    assert predicted_gain(norm, gain) == pytest.approx(theory, rel=2e-3)


def test_fifty_layers_explode_with_batch_norm_alone() -> None:
    found = {}
    for norm, residual in (("none", False), ("batch", False), ("batch", True), ("layer", False)):
        network = perceptron_for("digits", FIFTY, 64, norm=norm, residual=residual)
        members = [Member(seed, 0.0, network) for seed in (0, 1)]
        outcome = train_members(Training("digits", 128, 1, 1), members, observers={"layers": observe_layers})
        found[norm, residual] = float(decades(outcome.observed["layers"][:, 0, 0]).mean())
    predicted = (FIFTY - 1) * np.log10(predicted_gain("batch", 1.0))
    assert found["batch", False] == pytest.approx(predicted, abs=1.0)
    assert found["batch", True] < found["batch", False] - 1
    assert abs(found["none", False]) < 1
    assert abs(found["layer", False]) < 1


def test_the_page_shows_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained."""
    whole_page(monkeypatch, EXPERIMENT, "quick", 50)
