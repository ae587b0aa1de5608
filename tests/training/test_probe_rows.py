"""What stands in the rows and for how long: noted numbers, the last beats, batches that are kept or given again."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lucida.core.errors import LucidaError
from lucida.training.findings import Record, diagnose, read_rows
from lucida.training.probes import Watch, watch
from lucida.training.probes.pulse import Pulse
from lucida.training.probes.weights import norms


def probes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == "probe"]


# Noted numbers ----------------------------------------------------------------------------------------------------


class WithLoss(nn.Module):
    """Returns its loss, as models of Hugging Face do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.net(x).square().mean()}


def noting(notes: dict[int, dict[str, float]], steps: int = 6) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    model = WithLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=2) as watched:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.randn(5, 4))["loss"].backward()
            watched.note(**notes.get(step, {}))
            optimizer.step()
    return probes(watched.rows)


def test_noted_numbers_stand_in_the_next_row_alone() -> None:
    rows = noting({3: {"score": 0.5, "other": 1.0}, 4: {"score": 0.75}})
    assert [row["step"] for row in rows] == [1, 2, 4, 6]
    assert [row.get("score") for row in rows] == [None, None, 0.75, None]
    assert [row.get("other") for row in rows] == [None, None, 1.0, None]


def test_a_noted_loss_stands_before_the_model_s_own() -> None:
    rows = noting({2: {"loss": 123.0}})
    assert rows[1]["loss"] == 123.0
    assert all(0 < row["loss"] < 100 for row in (rows[0], rows[2], rows[3]))


@pytest.mark.parametrize("name", ["step", "kind", "rates", "layers", "grad_norm", "pulse"])
def test_a_key_of_the_rows_is_no_name_for_a_noted_number(name: str) -> None:
    model = nn.Linear(1, 1)
    watched = watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(LucidaError, match=f"'{name}' is a key of the rows"):
        watched.note(**{name: 1.0})


def test_every_key_of_a_row_is_reserved() -> None:
    from lucida.training.probes.rows import RESERVED

    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=2) as watched:
        for step in range(5):
            optimizer.zero_grad()
            (model(torch.randn(4, 3)).sum() * (float("nan") if step == 2 else 1.0)).backward()
            optimizer.step(lambda: 0.0)
    keys = {key for row in watched.rows if row["kind"] != "model" for key in row}
    assert keys - RESERVED == set()


# The last beats ---------------------------------------------------------------------------------------------------


def run(steps: int, *, bad: tuple[int, ...] = (), leap: tuple[int, ...] = (), every: int = 10) -> Watch:
    """Plain steps; the loss of some is NaN, that of others ten thousand times larger."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with watch(model, optimizer, every=every) as watched:
        steps_on(model, optimizer, steps, bad, leap)
    return watched


def steps_on(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    bad: tuple[int, ...] = (),
    leap: tuple[int, ...] = (),
) -> None:
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        factor = float("nan") if step in bad else 1e4 if step in leap else 1.0
        (model(torch.randn(6, 8)).square().mean() * factor).backward()
        optimizer.step()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where beats are not looked at until a row is written."""
    monkeypatch.setattr(Pulse, "at_once", False, raising=False)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("bad", [(35,), (34, 35)])
def test_values_that_break_after_the_last_probe_are_found(bad: tuple[int, ...]) -> None:
    rows = run(35, bad=bad).rows
    assert (rows[-1]["kind"], rows[-1]["step"]) == ("pulse", 35)
    one = diagnose(rows)
    assert one.healthy is False
    assert [(x.name, x.since_step) for x in one.findings] == [("non-finite", bad[0])]
    assert f"is not finite in {len(bad)} steps after the last probe, since step {bad[0]}" in one.findings[0].evidence


@pytest.mark.usefixtures("later")
def test_a_step_that_a_scaler_skips_at_the_end_is_no_end() -> None:
    def go(bad: tuple[int, ...]) -> list[dict[str, Any]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        scaler = torch.amp.GradScaler("cpu")
        with watch(model, optimizer, every=10) as watched:
            for step in range(1, 36):
                optimizer.zero_grad()
                loss = model(torch.randn(6, 8)).square().mean() * (float("inf") if step in bad else 1.0)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        return watched.rows

    assert diagnose(go((35,))).findings == ()
    assert diagnose(go((32,))).findings == ()
    assert [x.name for x in diagnose(go((33, 34, 35))).findings] == ["non-finite"]


def test_leaps_after_the_last_probe_count() -> None:
    assert [x.name for x in diagnose(run(79, leap=(74,)).rows).findings] == []
    found = diagnose(run(79, leap=(64, 74)).rows).findings
    assert [(x.name, x.since_step) for x in found] == [("exploding-gradients", 64)]


def test_a_run_that_ends_with_a_probe_or_an_error_has_no_rest(tmp_path: Path) -> None:
    assert [row["kind"] for row in run(10).rows] == ["model", "probe", "probe"]
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def stopped(error: type[BaseException]) -> list[str]:
        def go() -> None:
            with watch(model, optimizer, folder=tmp_path):
                steps_on(model, optimizer, 13)
                raise error

        with pytest.raises(error):
            go()
        return [row["kind"] for row in read_rows(tmp_path / "probes.jsonl")]

    assert stopped(ValueError) == ["model", "probe", "probe", "error"]
    assert stopped(KeyboardInterrupt) == ["model", "probe", "probe", "pulse"]


def test_beats_before_parts_are_exchanged_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[2].parameters(), lr=1e-6)
    with watch(model, optimizer, every=10) as watched:
        steps_on(model, optimizer, 17, leap=(14,))
        optimizer.add_param_group({"params": model[0].requires_grad_(True).parameters()})
        steps_on(model, optimizer, 4)
    assert [(row["kind"], row["step"]) for row in watched.rows[3:]] == [
        ("pulse", 19),
        ("model", 19),
        ("probe", 20),
        ("pulse", 21),
    ]
    pulse = watched.rows[3]["pulse"]
    assert (pulse["at"], pulse["steps"], pulse["bad"]) == (14, 9, 0)
    assert pulse["max"] > 1000 * pulse["median"]
    assert [row["step"] for row in Record(watched.rows).pulses] == [1, 10, 19, 20, 21]


# Batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_a_batch_is_held_only_where_it_may_be_looked_into(monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    monkeypatch.setattr(Pulse, "at_once", at_once, raising=False)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    held = []
    with watch(model, optimizer, every=3) as watched:
        for step in range(1, 7):
            optimizer.zero_grad()
            x = torch.randn(6, 8)
            model(x).square().mean().backward()
            seen = weakref.ref(x)
            del x
            held += [step] if seen() is not None else []
            optimizer.step()
            assert seen() is None
    assert held == ([1, 2, 3, 4, 5, 6] if at_once else [1, 3, 6])
    assert [row["noise"]["batch"] for row in probes(watched.rows)[1:]] == [6, 6]


class Reader(nn.Module):
    """Reads off a picture what stands in its text; needs everything it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)

    def forward(self, text: Tensor, pictures: Tensor, *, shift: float) -> dict[str, Tensor]:
        return {"loss": (self.net(pictures) - text[:, :1] - shift).square().mean()}


@pytest.mark.parametrize("by_place", [0, 1, 2])
def test_arguments_by_place_are_given_again(by_place: int) -> None:
    torch.manual_seed(0)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1, pictures="pictures") as watched:
        for _ in range(80):
            optimizer.zero_grad()
            given = dict.fromkeys(("text", "pictures"), torch.randn(16, 4))
            args, kwargs = list(given.values())[:by_place], dict(list(given.items())[by_place:])
            model(*args, **kwargs, shift=1.0)["loss"].backward()
            optimizer.step()
    looks = [row["pictures"] for row in watched.rows if "pictures" in row and row["kind"] == "probe"]
    assert len(looks) == 9
    assert looks[-1]["other"] > 2 * looks[-1]["own"]
    assert diagnose(watched.rows).not_watched == {}


def test_the_batch_is_kept_for_a_look_at_its_pictures_alone() -> None:
    model = Reader()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    held = []
    with watch(model, optimizer, every=2, pictures="pictures") as watched:
        for step in range(1, 22):
            model(torch.randn(3, 4), torch.randn(3, 4), shift=0.0)["loss"].backward()
            held += [step] if watched.inputs._call is not None else []
            optimizer.step()
    assert held == [1, 20]


# Norms ------------------------------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The most numbers of any tensor that an operator made."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, list | tuple) else [out]:
            self.made = max(self.made, one.numel() if isinstance(one, Tensor) else 0)
        return out


def test_norms_of_half_precision_make_no_copies() -> None:
    torch.manual_seed(0)
    many = [torch.randn(50, 20).to(t) for t in (torch.bfloat16, torch.float16, torch.float32, torch.float64)]
    many += [torch.zeros(0, dtype=torch.bfloat16), torch.full((4,), 300.0, dtype=torch.float16)]
    with Largest() as largest:
        found = norms(many)
    assert largest.made < 50
    assert found == pytest.approx([t.double().norm().item() for t in many], rel=1e-5)
    assert norms([t.sign() for t in many], 0) == [t.count_nonzero().item() for t in many]


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_norms_where_torch_cannot_sum_in_float(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    plain = torch._foreach_norm

    def old(tensors: Any, order: float = 2, **options: Any) -> Any:
        if options:
            raise error("unexpected keyword argument 'dtype'")
        return plain(tensors, order)

    monkeypatch.setattr(torch, "_foreach_norm", old)
    assert norms([torch.full((4,), 300.0, dtype=torch.float16), torch.ones(9)]) == [600.0, 3.0]
