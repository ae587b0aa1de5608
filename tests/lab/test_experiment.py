"""A toy experiment from its declaration to its page: cache, resume, tuning, verdicts, the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lucida.cli import main
from lucida.core.cache import content_hash
from lucida.core.results import Results
from lucida.lab import experiments
from lucida.lab.design import Claim, Design
from lucida.lab.experiment import (
    TUNING_SEEDS,
    Answer,
    Bench,
    Experiment,
    Score,
    Section,
    final_loss,
    told,
    validation_error,
)
from lucida.lab.networks import Perceptron
from lucida.lab.observations import Observations, points
from lucida.lab.pages import FIRST_SEED, run_experiment
from lucida.lab.training import Member, Observer, Training
from lucida.report.lab_page import EffectRow, EffectsFigure, read_page
from lucida.report.sourced import shown_metric


@dataclass(frozen=True)
class Settings:
    steps: int
    rates: tuple[float, ...] = (0.003, 0.03)


def measure(bench: Bench, settings: Settings) -> Observations:
    found = Observations()
    for width in (4, 32):
        network = Perceptron(64, 10, depth=1, width=width)
        training = Training("digits", 32, settings.steps, every=settings.steps)
        rate = bench.tuned(f"width {width}", training, network, settings.rates, final_loss)
        outcome = bench.over_seeds(f"width {width}", training, network, rate)
        found.record("accuracy", f"width {width}", outcome.final("test_accuracy"))
    found.facts["classes"] = 10
    return found


def present(found: Observations) -> Sequence[Section]:
    rows = tuple(EffectRow(f"width {w}", f"accuracy/width {w}") for w in (4, 32))
    return (Section("Widths", "{accuracy/width 4:%}", (EffectsFigure("Accuracy", rows, "accuracy", share=True),)),)


CLAIM = Claim("wider", "Wider is better.", "越宽越好。", "p", "accuracy", "test accuracy", "width 32", "width 4", 0.05)
TOY = Experiment(
    Design("toy", "Toy", "Is wider better?", "更宽更好吗？", (CLAIM,), {"width": "4, 32"}, ("steps",), "digits", "one"),
    {"quick": Settings(20), "full": Settings(40)},
    measure,
    present,
    (Answer(("supported",), "Yes: {claim/wider/effect:ci}.", "是：{claim/wider/effect:ci}。"),),
    "lab/experiment.py",
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))


def test_a_run_ends_with_a_verdict_and_a_page(tmp_path: Path) -> None:
    results = run_experiment(TOY, "quick", seeds=3)
    results.save(tmp_path / "results.json")
    page = read_page(Results.load(tmp_path / "results.json"), "toy")
    (ruling,) = page.rulings
    assert ruling.word == "supported"
    assert page.answer.startswith("Yes")
    effect = results.metrics["claim/wider/effect"]
    numbers = results.details["observations"]["numbers"]
    differences = np.subtract(numbers["accuracy/width 32"], numbers["accuracy/width 4"])
    assert effect.value == pytest.approx(differences.mean())
    assert (effect.n, page.seeds, page.scale) == (3, 3, "quick")
    assert page.rerun == "lucida lab run toy --scale quick --seeds 3"
    assert page.design_hash == TOY.design.hash(Settings(20), 3)
    assert results.seconds["measured"] > 0
    assert results.metrics["rate/width 4"].value in map(float, results.details["rates"]["width 4"])


def test_a_second_run_measures_nothing_and_says_the_same() -> None:
    first, second = (run_experiment(TOY, "quick", seeds=3) for _ in range(2))
    assert first.details["parts"]["remembered"] == 0
    assert first.details["parts"]["measured"] >= 4  # two arms, each tuned and trained; more where a grid was extended
    assert second.details["parts"]["measured"] == 0
    assert second.metrics == first.metrics
    assert second.seconds == pytest.approx(first.seconds)
    other = run_experiment(replace(TOY, settings={"quick": Settings(21)}), "quick", seeds=3)
    assert other.details["parts"]["remembered"] == 0


def test_a_run_that_was_stopped_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_experiment(TOY, "quick", seeds=4)
    parts = whole.details["parts"]["measured"]

    def stopped(bench: Bench, settings: Settings) -> Observations:
        train = bench.train

        def until(*args: object, **options: object) -> object:
            if bench.measured == 2:
                raise KeyboardInterrupt
            return train(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(bench, "train", until)
        return measure(bench, settings)

    fresh = replace(TOY, settings={"quick": Settings(22)})
    with pytest.raises(KeyboardInterrupt):
        run_experiment(replace(fresh, measure=stopped), "quick", seeds=4)
    resumed = run_experiment(fresh, "quick", seeds=4)
    assert resumed.details["parts"]["remembered"] == 2
    assert resumed.details["parts"]["measured"] >= parts - 3


def test_a_part_that_is_asked_for_again_costs_nothing() -> None:
    bench = Bench(TOY, (0, 1, 2))
    bench.remember("part", ("key",), lambda: {"x": np.zeros(1)})
    once = bench.seconds
    bench.remember("part", ("key",), lambda: {"x": np.zeros(1)})
    assert (bench.measured, bench.remembered) == (1, 1)
    assert bench.seconds == once > 0


def test_parts_keep_where_they_were_measured() -> None:
    bench = Bench(TOY, (0, 1, 2), environment={"commit": "old", "uncommitted_changes": True, "processor": "p"})
    bench.remember("part", ("key",), lambda: {"x": np.zeros(1)})
    later = Bench(TOY, (0, 1, 2), environment={"commit": "new", "uncommitted_changes": False, "processor": "p"})
    later.remember("part", ("key",), lambda: {"x": np.ones(1)})
    assert list(later.origins.values()) == [{"commit": "old", "uncommitted_changes": True, "processor": "p"}]


def test_a_part_is_measured_on_one_thread() -> None:
    threads = torch.get_num_threads()
    bench = Bench(TOY, (0, 1, 2))
    arrays = bench.remember("part", ("threads",), lambda: {"threads": np.array(torch.get_num_threads())})
    assert arrays["threads"] == 1
    assert torch.get_num_threads() == threads


def test_observers_of_one_name_with_other_settings_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an observer was made with is in the key."""

    def observer(shift: Tensor) -> Observer:
        return lambda moment: moment.rates + shift

    training, members = Training("digits", 32, 2, every=2), [Member(0, 0.1, Perceptron(64, 10, 1, 4))]
    bench = Bench(TOY, (0,))
    for shift in (0.0, 1.0, 0.0):
        outcome = bench.train("part", training, members, {"rate": observer(torch.tensor(shift))})
        assert outcome.observed["rate"][0, 0] == pytest.approx(0.1 + shift)
    assert (bench.measured, bench.remembered) == (2, 1)


def test_a_rate_that_is_no_clear_best_is_told() -> None:
    network = Perceptron(64, 10, depth=1, width=16)

    def nowhere(bench: Bench, settings: Settings) -> Observations:
        training = Training("digits", 32, 2, every=2)
        bench.tuned("lost", training, network, (1e-3, 1e-2), lambda outcome: np.full(len(outcome.alive), np.inf))
        bench.tuned("wild", training, network, (1e30, 1e35), validation_error)
        bench.tuned("slow", training, network, (1e-5, 1e-4), final_loss)
        return measure(bench, settings)

    results = run_experiment(replace(TOY, measure=nowhere), "quick", seeds=3)
    assert results.details["reservations"]["lost"] == results.details["reservations"]["wild"] == "not sound"
    assert results.details["reservations"]["slow"] == "at the end of the grid"
    rows = dict(read_page(results, "toy").design)
    assert [arms for title, arms in rows.items() if title.startswith("At the best rate")] == ["lost; wild"]


def test_of_equal_scores_the_lower_training_loss_decides() -> None:
    bench = Bench(TOY, (0, 1))
    network, training = Perceptron(64, 10, depth=1, width=16), Training("digits", 32, 20, every=20)
    flat: Score = lambda outcome: np.zeros(len(outcome.alive))  # noqa: E731
    rate = bench.tuned("flat", training, network, (1e-4, 1e-2, 1.0, 100.0), flat)
    assert rate == bench.tuned("loss", training, network, (1e-4, 1e-2, 1.0, 100.0), final_loss)
    assert bench.reservations == {"flat": "tied"}


def test_a_grid_is_extended_by_its_factor_at_that_end() -> None:
    bench = Bench(TOY, (0, 1))
    network, training = Perceptron(64, 10, depth=1, width=16), Training("digits", 32, 2, every=2)
    bench.tuned("arm", training, network, (1e-8, 1e-4, 1e-3), final_loss)
    assert sorted(bench.rates["arm"]) == pytest.approx([1e-8, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], rel=1e-6)
    bench.tuned("arm", training, network, (2e-2, 3e-2), final_loss)  # closer; what was tried before is kept
    assert {1e-8, 2e-2, 3e-2} <= set(bench.rates["arm"])


def test_what_an_observer_was_made_with_is_told() -> None:
    def look(moment: object, k: int = 1) -> int:
        return k

    class Counting:
        def __init__(self, step: int):
            self.step = step

        def look(self) -> int:
            return self.step

    made = [
        look, partial(look, k=1), partial(look, k=2), np.int64(3), np.int64(4), Counting(1), Counting(2),
        Counting(1).look, Counting(2).look, lambda moment, k=2: k, lambda moment, k=3: k,
    ]  # fmt: skip
    assert len({content_hash(told(each)) for each in made}) == len(made)
    with pytest.raises(TypeError, match="cannot be told"):
        told(object())


def test_an_answer_fits_only_the_verdicts_it_speaks_of() -> None:
    results = run_experiment(TOY, "quick", seeds=3)
    assert read_page(results, "toy").answer.startswith("Yes")
    (written,) = TOY.answers
    claims = (CLAIM, replace(CLAIM, name="other", smallest_effect=5.0, primary=False))
    both = replace(TOY, design=replace(TOY.design, claims=claims))
    for also, fits in (({"other": "refuted"}, True), ({"other": "supported"}, False)):
        answered = replace(both, answers=(replace(written, also=also),))
        assert read_page(run_experiment(answered, "quick", seeds=3), "toy").answer.startswith("Yes") == fits
    with pytest.raises(KeyError, match="nothing"):
        run_experiment(replace(both, answers=(replace(written, also={"nothing": "refuted"}),)), "quick", seeds=3)


def test_what_holds_or_not_has_an_interval_within_zero_and_one() -> None:
    found = Observations()
    found.record("reached", "a", np.array([True, True, False, True]))
    metric = found.metrics()["reached/a"]
    assert metric.value == 0.75
    assert metric.ci95 is not None
    assert 0 < metric.ci95[0] < 0.75 < metric.ci95[1] < 1


def test_what_was_cut_off_is_marked_as_a_lower_bound() -> None:
    found = Observations()
    found.record("steps", "a", [10.0, 20.0, 30.0], cut=[False, False, True])
    found.record("steps", "b", [10.0, 20.0, 30.0], cut=[False, False, False])
    metrics = found.metrics()
    assert (metrics["steps/a"].censored, metrics["steps/b"].censored) == (1, 0)
    assert "≥" in shown_metric("steps/a", metrics["steps/a"])
    assert "≥" not in shown_metric("steps/b", metrics["steps/b"])
    assert "…)" in shown_metric("steps/a", metrics["steps/a"])
    assert found.values()["cut"] == {"steps/a": [2]}


def test_ratios_are_geometric_means() -> None:
    found = Observations()
    found.record_ratio("times", "a", np.log2([1.0, 4.0, 16.0]))
    metric = found.metrics()["times/a"]
    assert metric.value == pytest.approx(4.0)
    assert metric.ci95 is not None
    assert metric.ci95[0] * metric.ci95[1] == pytest.approx(16.0)


def test_a_broken_part_is_measured_again(tmp_path: Path) -> None:
    first = run_experiment(TOY, "quick", seeds=3)
    for path in (tmp_path / "cache" / "lab").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    again = run_experiment(TOY, "quick", seeds=3)
    assert again.details["parts"]["remembered"] == 0
    assert again.metrics == first.metrics


def test_the_best_rate_is_inside_the_grid_and_from_other_seeds() -> None:
    bench = Bench(TOY, (0, 1))
    network = Perceptron(64, 10, depth=1, width=16)
    rate = bench.tuned("arm", Training("digits", 32, 30, every=30), network, (1e-4, 1e-3), final_loss)
    table = bench.rates["arm"]
    assert table[rate] == min(table.values())
    assert rate > 1e-3
    assert len(table) > 2
    assert not set(TUNING_SEEDS) & set(range(FIRST_SEED["full"], FIRST_SEED["full"] + 100))
    assert not set(TUNING_SEEDS) & set(range(100))


def test_other_verdicts_than_the_written_answer_speak_for_themselves() -> None:
    claim = replace(CLAIM, smallest_effect=5.0)
    refuted = replace(TOY, design=replace(TOY.design, claims=(claim,)))
    page = read_page(run_experiment(refuted, "quick", seeds=3), "toy")
    assert page.rulings[0].word == "refuted"
    assert "refuted" in page.answer
    assert "不成立" in page.answer_zh


def test_observations_refuse_what_is_not_finite_or_said_twice() -> None:
    found = Observations()
    found.record("m", "a", [1.0, 2.0])
    with pytest.raises(ValueError, match="already"):
        found.record("m", "a", [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        found.record("m", "b", [1.0, float("inf")])
    with pytest.raises(ValueError, match="go with"):
        found.draw("c", [1, 2], np.zeros((3, 4)))


def test_curves_are_means_over_seeds_with_gaps() -> None:
    found = Observations()
    found.draw("c", [1, 2], [[1.0, np.nan], [3.0, 4.0]])
    series = found.series("c", "label")
    assert series.y == (2.0, None)
    found.draw("d", [1, 2], [[1.0, 0.0], [100.0, 4.0]])
    logarithmic = found.log_series("d", "label")
    assert logarithmic.y[0] == pytest.approx(10.0)
    assert logarithmic.y[1] is None
    assert points({1.0: 2.0}, "p").dashed


@pytest.fixture
def toy_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(experiments)("toy_module")
    module.EXPERIMENT = TOY  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, f"{experiments.__name__}.toy_module", module)
    monkeypatch.setattr(experiments, "PAGES", {"toy": "toy_module"})
    for where in (experiments, __import__("lucida.workflows.lab", fromlist=["NAMES"])):
        monkeypatch.setattr(where, "NAMES", ("toy",))


@pytest.mark.usefixtures("toy_is_listed")
def test_the_command_line_runs_lists_and_writes_the_book(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "lab")
    main(["lab", "list"])
    assert "Is wider better?" in capsys.readouterr().out
    main(["lab", "run", "toy", "--seeds", "3", "--out", out])
    said = capsys.readouterr()
    assert "supported" in said.err
    assert (tmp_path / "lab" / "book" / "toy.html").is_file()
    assert json.loads((tmp_path / "lab" / "toy" / "results.json").read_text())["metrics"]["classes"]["value"] == 10
    main(["lab", "run", "--seeds", "3", "--all", "--out", out])
    main(["lab", "run", "--seeds", "3", "toy", "--out", out, "--scale", "full"])
    with pytest.raises(SystemExit):
        main(["lab", "run", "toy", "--seeds", "3", "--out", out])
    assert "full-scale results" in capsys.readouterr().err
    main(["lab", "book", "--results", out, "--out", str(tmp_path / "book")])
    assert "Toy" in (tmp_path / "book" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lab", "run"], "no page is named"),
        (["lab", "run", "toi"], "did you mean 'toy'"),
        (["lab", "run", "toy", "--seeds", "2"], "3 or more"),
        (["lab", "run", "toy", "--scale", "tiny"], "--scale"),
        (["lab", "burn"], "list, run and book"),
        (["lab", "list", "more"], "list, run and book"),
        (["lab", "run", "toy", "--out", __file__], "cannot make the folder"),
        (["lab", "book", "--results", "nowhere"], "no results"),
    ],
)
@pytest.mark.usefixtures("toy_is_listed")
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
