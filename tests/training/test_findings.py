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
from lucida.training.findings import diagnose, find, read_rows
from lucida.training.remedies import EXPLAINS, LAB_PAGES, REMEDIES
from lucida.training.rules import judge, runs_of

PATIENTS = Path(__file__).resolve().parents[2] / "tools" / "patients.py"
SEED = 2000


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("lucida_patients", PATIENTS)
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


@pytest.mark.parametrize("name", patients.HEALTHY)
def test_a_healthy_run_raises_no_alarm(name: str) -> None:
    case = patients.case(patients.HEALTHY[name], SEED)
    assert find(patients.run(case)) == []


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
    probes = [row for row in rows if row["kind"] == "probe"]
    probes[4]["bad"] = {"gradients": 4, "of": 4, "weights": []}
    probes[4]["pulse"] |= {"bad": 1}
    assert find(rows) == []
    probes[-1]["bad"] = probes[4]["bad"]
    assert [finding.name for finding in find(rows)] == ["non-finite"]


def test_an_error_is_told() -> None:
    rows: list[dict[str, Any]] = patients.run(patients.case(patients.HEALTHY["mlp"], SEED))
    message = "the gradient is not finite at step 151 (first bad tensor: gradient of 0.weight)"
    rows.append({"kind": "error", "step": 151, "error": "NonFiniteError", "message": message})
    one = diagnose(rows)
    assert one.stopped == f"NonFiniteError: {message}"
    assert message in one.findings[0].evidence
    rows.append({**rows[-2], "step": 160})  # resumed, and past it
    assert diagnose(rows).stopped is None


def test_files_that_are_not_probes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "probes.jsonl"
    with pytest.raises(LucidaError, match="no such file"):
        read_rows(file)
    good = {"kind": "probe", "step": 1}
    file.write_text(json.dumps(good) + "\n{half")
    assert read_rows(file) == [good]
    for text, message in (("{half\n" + json.dumps(good), "line 1"), ("[1]\n", "not a row"), ("", "no probed step")):
        file.write_text(text)
        with pytest.raises(LucidaError, match=message):
            read_rows(file)


def test_runs_of_flags() -> None:
    assert runs_of([], [], 3) is None
    assert runs_of([1, 2, 3], [True, True, False], 3) is None
