"""The rules, on small runs: each planted fault is named, healthy runs raise no alarm."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lucida.core.errors import LucidaError
from lucida.core.run_folder import append_jsonl
from lucida.report.page import read_rows as rows_of_a_page
from lucida.training.findings import diagnose, find, read_rows
from lucida.training.progress import truncate_metrics
from lucida.training.remedies import EXPLAINS, LAB_PAGES, REMEDIES
from lucida.training.rules import judge, runs_of

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PATIENTS = TOOLS / "patients"
SEED = 2000


def _load() -> ModuleType:
    folder = [str(PATIENTS)]
    specification = importlib.util.spec_from_file_location(
        "lucida_patients", PATIENTS / "__init__.py", submodule_search_locations=folder
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


patients = _load()


@pytest.mark.parametrize("name", patients.FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    found = find(patients.run(patients.case(patients.FAULTS[name], SEED)))
    assert {finding.name for finding in found} & patients.EXPECTED[name]
    for finding in found:
        assert finding.evidence
        assert finding.remedy


QUICK = ("mlp", "functional", "dual", "low_rank", "recurrent", "layer_scale", "unused_part", "frozen_on_purpose")


@pytest.mark.parametrize("name", QUICK)  # all kinds on many seeds: tools/diagnosis_bench.py
def test_a_healthy_run_raises_no_alarm(name: str) -> None:
    case = patients.case(patients.HEALTHY[name], SEED)
    assert find(patients.run(case)) == []


@pytest.fixture
def healthy() -> list[dict[str, Any]]:
    return patients.run(patients.case(patients.HEALTHY["mlp"], SEED))


def probes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == "probe"]


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [finding.name for finding in find(rows)]


def test_leaps_between_probes_are_found_only_where_they_come_again(healthy: list[dict[str, Any]]) -> None:
    for hit, expected in ((5, []), (9, ["exploding-gradients"])):
        pulse = probes(healthy)[hit]["pulse"]
        pulse["max"] = 1e3 * max(row["pulse"]["median"] for row in probes(healthy))
        assert names(healthy) == expected


def test_explosion_through_many_calls_of_a_cell(healthy: list[dict[str, Any]]) -> None:
    for row in probes(healthy):
        next(iter(row["layers"].values()))["grad_calls"] = [5e3, 70.0, 1.0]
    assert names(healthy) == ["exploding-gradients"]


def test_attention_that_collapses(healthy: list[dict[str, Any]]) -> None:
    for k, row in enumerate(probes(healthy)):
        row["attention"] = {"block.attention": 0.8 if k < 4 else 0.001, "other": 0.001}
    found = find(healthy)
    assert [(x.name, x.layer, x.since_step) for x in found] == [("attention-collapse", "block.attention", 40)]


def test_a_group_with_rate_0_is_no_training(healthy: list[dict[str, Any]]) -> None:
    for row in probes(healthy):
        row["rates"] = [0.0]
    assert names(healthy) == ["part-not-trained"]


@pytest.mark.parametrize(("own", "expected"), [(0.5, ["ignores-pictures"]), (2.0, [])])
def test_pictures_count_only_once_something_is_learned(
    healthy: list[dict[str, Any]], own: float, expected: list[str]
) -> None:
    healthy[0]["pictures"] = True
    for k, row in enumerate(probes(healthy)):
        row["pictures"] = {"own": 2.0 if k == 0 else own, "other": 2.1 if k == 0 else own + 0.001}
    assert names(healthy) == expected
    for row in probes(healthy)[1:]:
        row["pictures"]["other"] = own + 1
    assert names(healthy) == []


def test_temperatures_by_their_names(healthy: list[dict[str, Any]]) -> None:
    for name, bad in (("log_logit_scale", 6.0), ("temperature", 0.001), ("head.logit_scale", 0.1), ("tau", -0.1)):
        start = 2.659 if "scale" in name else 0.07
        for k, row in enumerate(probes(healthy)):
            row["scalars"] = {name: start if k < 9 else bad, "gate": 1e9}
        found = find(healthy)
        assert [(x.name, x.layer, x.since_step) for x in found] == [("temperature-runaway", name, 90)]


def test_every_finding_has_its_remedy() -> None:
    assert set(LAB_PAGES) | set(EXPLAINS) | {x for xs in EXPLAINS.values() for x in xs} <= set(REMEDIES)
    assert {x for xs in patients.EXPECTED.values() for x in xs} <= set(REMEDIES)


def test_what_could_not_be_judged_is_said() -> None:
    rows = patients.run(patients.case(patients.HEALTHY["mlp"], SEED))
    one = diagnose(rows)
    assert (one.steps, one.first, one.last) == (16, 1, 150)
    assert one.layers >= 3
    assert set(one.not_judged) >= {"pictures ignored", "batch norm on small batches", "temperature"}
    assert one.rules + len(one.not_judged) == 13
    short = diagnose(rows[:3])
    assert "needs 3 probed steps, there are 2" in short.not_judged["dead units"]
    assert judge(type("Empty", (), {"probes": [], "header": {}, "kinds": {}, "error": None})())[1] == 0  # type: ignore[arg-type]


def test_a_step_that_the_loss_scaler_skipped_is_no_finding() -> None:
    """Float16 training with a loss scaler overflows now and then, on purpose."""
    rows = patients.run(patients.case(patients.HEALTHY["mlp"], SEED))
    watched = probes(rows)
    watched[4]["bad"] = {"gradients": 4, "of": 4, "weights": []}
    watched[4]["pulse"] |= {"bad": 1}
    assert find(rows) == []
    watched[-1]["bad"] = watched[4]["bad"]
    assert [finding.name for finding in find(rows)] == ["non-finite"]


def broken_off(seed: int, name: str) -> list[dict[str, Any]]:
    return patients.run(patients.case({**patients.FAULTS, **patients.HEALTHY}[name], seed))


def test_a_rate_that_ended_in_nan_before_the_second_probe_is_named() -> None:
    rows = broken_off(1026, "rate_too_high")  # plain SGD, NaN at step 9
    found = find(rows)
    assert [x.name for x in found] == ["learning-rate-too-high", "non-finite"]
    assert probes(rows)[1]["step"] == found[0].since_step == 9
    assert "at step 1 one update is 0.13 of the weights" in found[0].evidence
    assert "the learning rate is the likely cause" in found[1].evidence


@pytest.mark.parametrize("weights", ["known", "not known"])
def test_growth_tells_a_rate_from_a_bad_example(weights: str) -> None:
    """On a GPU the weights are NaN by the next probe: the gradients before tell."""
    rows, calm = broken_off(1026, "rate_too_high"), broken_off(1000, "nan_example")
    if weights == "not known":
        for row in (x for some in (rows, calm) for x in probes(some) if x.get("bad")):
            row["parameters"] = {name: [None] * 4 for name in row["parameters"]}
    assert "learning-rate-too-high" in names(rows)
    assert names(calm) == ["non-finite"]
    assert "this batch or its loss is the cause" in find(calm)[0].evidence


def test_a_loss_that_raised_leaves_its_growth_in_the_error(healthy: list[dict[str, Any]]) -> None:
    """The loop of the workbench stops before a bad gradient is there: only the beats until then are known."""
    error = {"kind": "error", "step": 156, "error": "NonFiniteError", "message": "the loss is nan at step 155"}
    usual = probes(healthy)[-1]["pulse"]["median"]
    pulse = {"median": usual, "max": None, "at": 155, "steps": 5, "bad": 0}
    for last, expected in ((usual, ["non-finite"]), (1e6 * usual, ["learning-rate-too-high", "non-finite"])):
        found = find([*healthy, error | {"pulse": pulse | {"last": last}}])
        assert sorted(x.name for x in found) == expected


def test_an_error_is_told() -> None:
    rows: list[dict[str, Any]] = patients.run(patients.case(patients.HEALTHY["mlp"], SEED))
    message = "the gradient is not finite at step 151 (first bad tensor: gradient of 0.weight)"
    rows.append({"kind": "error", "step": 151, "error": "NonFiniteError", "message": message})
    one = diagnose(rows)
    assert one.stopped == f"NonFiniteError: {message}"
    assert message in one.findings[0].evidence
    rows.append({**rows[-2], "step": 160})  # resumed, and past it
    assert diagnose(rows).stopped is None


def test_an_error_before_the_first_probe_is_told_and_not_every_error_is_of_nan(tmp_path: Path) -> None:
    rows = [
        {"kind": "model", "step": 0, "layers": {}, "parameters": {}},
        {"kind": "error", "step": 1, "error": "ValueError", "message": "no such key"},
    ]
    file = tmp_path / "probes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = diagnose(read_rows(file))
    assert (one.healthy, one.stopped, one.findings) == (False, "ValueError: no such key", ())
    healthy: list[dict[str, Any]] = patients.run(patients.case(patients.HEALTHY["mlp"], SEED))
    message = "linalg.cholesky: the input is not positive-definite"
    healthy.append({"kind": "error", "step": 151, "error": "LinAlgError", "message": message})
    assert find(healthy) == []


def test_files_that_are_not_probes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "probes.jsonl"
    with pytest.raises(LucidaError, match="no such file"):
        read_rows(file)
    good = {"kind": "probe", "step": 1, "layers": {}, "parameters": {}}
    file.write_text(json.dumps(good) + "\n{half")
    assert read_rows(file) == [good]
    for text, message in (("{half\n" + json.dumps(good), "line 1"), ("[1]\n", "not a row"), ("", "no probed step"),
                          ('{"kind": "probe", "step": 1}\n', "not a row")):  # fmt: skip
        file.write_text(text)
        with pytest.raises(LucidaError, match=message):
            read_rows(file)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x1c", "\x0b"])
def test_rows_end_at_new_lines_alone(tmp_path: Path, character: str) -> None:
    """JSON may hold what Unicode counts among the ends of lines."""
    row = {"kind": "error", "step": 1, "error": "ValueError", "message": f"one{character}two"}
    append_jsonl(tmp_path / "probes.jsonl", row)
    append_jsonl(tmp_path / "probes.jsonl", row | {"step": 2})
    assert read_rows(tmp_path / "probes.jsonl") == [row, row | {"step": 2}]
    assert rows_of_a_page(tmp_path / "probes.jsonl") == [row, row | {"step": 2}]
    truncate_metrics(tmp_path / "probes.jsonl", 1)
    assert read_rows(tmp_path / "probes.jsonl") == [row]


def test_runs_of_flags() -> None:
    assert runs_of([], [], 3) is None
    assert runs_of([1, 2, 3], [True, True, False], 3) is None


def test_a_fault_counts_once_however_many_seeds_it_has() -> None:
    sys.path.insert(0, str(TOOLS))
    try:
        from diagnosis_bench import share_of_kinds
    finally:
        sys.path.remove(str(TOOLS))
    few, many = (share_of_kinds([[False] * seeds] * 23) for seeds in (5, 500))
    assert few == many
    assert few.n == 23
    assert few.ci95 == pytest.approx((0.0, 0.143), abs=1e-3)
