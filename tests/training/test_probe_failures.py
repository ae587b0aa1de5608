"""A probe never ends a training: what fails is told once and left out, and the weights are those of the run without."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from lucida.core.errors import LucidaError
from lucida.training.findings import diagnose, find, read_rows
from lucida.training.probes import watch
from lucida.training.probes.guard import ProbeWarning
from lucida.training.probes.weights import WeightProbe
from lucida.workflows.diagnose import as_text

Loop = Callable[[nn.Module, torch.optim.Optimizer], None]


def loop(steps: int = 12, batch: Callable[[int], int] = lambda step: 6) -> Loop:
    """Plain steps on vectors of eight numbers."""

    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for step in range(steps):
            optimizer.zero_grad()
            x = torch.randn(batch(step), 8)
            (model(x).float() - x[:, :1]).square().sum().backward()
            optimizer.step()

    return go


def both(
    make: Callable[[], nn.Module],
    go: Loop | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    **options: Any,
) -> list[dict[str, Any]]:
    """Run without and with a watch; the weights are compared, the rows returned."""
    states = []
    rows: list[dict[str, Any]] = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = make()
        held = optimizer([p for p in model.parameters() if p.requires_grad])
        if watched:
            with watch(model, held, **({"every": 2} | options)) as w:
                (go or loop())(model, held)
            rows = w.rows
        else:
            (go or loop())(model, held)
        states.append((model.state_dict(), torch.random.get_rng_state()))
    assert torch.equal(states[0][1], states[1][1])
    for (name, a), b in zip(states[0][0].items(), states[1][0].values(), strict=True):
        assert torch.equal(a, b), name
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert _get_current_function_mode_stack() == []
    return rows


def steps(rows: list[dict[str, Any]]) -> list[int]:
    return [row["step"] for row in rows if row["kind"] == "probe"]


class Sparse(nn.Module):
    """Puts out a matrix that no statistic here can read."""

    def forward(self, x: Tensor) -> Tensor:
        return x.to_sparse()


class Dense(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to_dense()


def odd() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), Sparse(), Dense(), Sparse(), Dense(), nn.Linear(8, 1))


def test_a_layer_whose_hook_fails_is_left_out_and_told_once() -> None:
    with pytest.warns(ProbeWarning, match=r"could not watch 1 at step 1: .*; watching goes on without it") as told:
        rows = both(odd)
    assert len(told) == 1
    assert steps(rows) == [1, 2, 4, 6, 8, 10, 12]
    assert all({"0", "2", "4", "5"} == set(row["layers"]) for row in rows if row["kind"] == "probe")
    one = diagnose(rows)
    assert set(one.not_watched) == {"1", "3"}
    assert one.not_watched["1"].startswith("since step 1: ")
    assert "not watched: 1, since step 1" in as_text({".": one})
    assert one.findings == ()


def test_a_failure_in_measuring_ends_the_watch_and_not_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fail(self: WeightProbe, gradients: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            raise ValueError("no norm today")
        return {"grad_norm": 1.0, "gradients": {}, "silent": {}}

    monkeypatch.setattr(WeightProbe, "before", fail)
    with pytest.warns(
        ProbeWarning, match="the whole run at step 4: ValueError: no norm today; watching has end"
    ) as told:
        rows = both(lambda: nn.Linear(8, 1))
    assert len(told) == 1
    assert len(asked) == 3
    assert [(row["kind"], row["step"]) for row in rows][1:] == [("probe", 1), ("probe", 2), ("left out", 4)]


def test_a_disk_that_fails_ends_the_watch(tmp_path: Path) -> None:
    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loop(3)(model, optimizer)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "run").write_text("in the way")
        loop(5)(model, optimizer)
        (tmp_path / "run").unlink()

    with pytest.warns(ProbeWarning, match="watching has ended") as told:
        both(lambda: nn.Linear(8, 1), go, folder=tmp_path / "run")
    assert len(told) == 1


@pytest.mark.parametrize("closure", ["positional", "named"])
def test_an_optimizer_that_evaluates_its_closure_several_times(closure: str) -> None:
    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        x, y = torch.randn(64, 8), torch.randn(64, 1)

        def evaluate() -> Tensor:
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            return loss

        for _ in range(8):
            optimizer.step(evaluate) if closure == "positional" else optimizer.step(closure=evaluate)

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))

    rows = both(make, go, torch.optim.LBFGS)
    probes = [row for row in rows if row["kind"] == "probe"]
    assert probes[0]["evaluations"] > 5
    assert all(layer["calls"] == 1 for layer in probes[0]["layers"].values())  # those of the first evaluation alone
    one = diagnose(rows)
    assert one.findings == ()
    assert "evaluates the loss up to" in one.not_judged["learning rate too high"]

    plain = both(make, go, lambda p: torch.optim.SGD(p, lr=0.1))
    assert [row["evaluations"] for row in plain if row["kind"] == "probe"] == [1] * 5
    assert "learning rate too high" not in diagnose(plain).not_judged
    gradient = probes[0]["parameters"]["0.weight"][0]
    assert gradient == plain[1]["parameters"]["0.weight"][0] > 0  # at the weights before the step


def test_an_empty_batch_is_a_step_like_any_other() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = x[:, None]
            return self.head(self.attention(x, x, x)[0])[:, 0]

    with warnings.catch_warnings():
        warnings.simplefilter("error", ProbeWarning)
        rows = both(Attending, loop(batch=lambda step: 0 if step in (0, 3, 6) else 6))
    assert steps(rows) == [1, 2, 4, 6, 8, 10, 12]
    assert find(rows) == []


def test_parameters_without_elements_frozen_ones_and_one_that_is_handed_out() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.empty, self.none = nn.Linear(8, 0), nn.Parameter(torch.zeros(0, 3))
            self.frozen = nn.Linear(8, 8).requires_grad_(False)
            self.places = Places()
            self.head = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            extra = self.empty(x).sum() + self.none.sum()
            return self.head(F.relu(self.frozen(x)) + self.places()) + extra

    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(8))

        def forward(self) -> Tensor:
            return self.table

    with warnings.catch_warnings():
        warnings.simplefilter("error", ProbeWarning)
        rows = both(Mixed)
    assert steps(rows) == [1, 2, 4, 6, 8, 10, 12]
    model = Mixed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=2):
        loop()(model, optimizer)
    assert not model.places.table._backward_hooks


def test_a_module_that_is_replaced_is_watched_from_then_on() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))

    def replaced(held: bool) -> Loop:
        def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            loop(7)(model, optimizer)
            head = nn.Linear(8, 1)
            nn.init.normal_(head.weight, std=20.0)
            model[2] = head  # type: ignore[index]
            if held:
                optimizer.add_param_group({"params": head.parameters()})
            loop(12)(model, optimizer)

        return go

    rows = both(make, replaced(held=True))
    assert [row["step"] for row in rows if row["kind"] == "model"] == [0, 7]
    one = diagnose(rows)
    assert one.findings == ()  # the new weights are larger, but none has grown
    assert (one.first, one.last) == (8, 18)
    assert "2.bias, 2.weight replaced" in one.not_watched["steps 1 to 7"]
    assert rows[-2]["layers"]["2"]["calls"] == 1
    forgotten = find(both(make, replaced(held=False)))
    assert [(x.name, x.layer) for x in forgotten] == [("part-not-trained", "2")]


def test_a_part_that_is_unfrozen_is_watched_from_then_on() -> None:
    def make() -> nn.Module:
        model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
        model[0].requires_grad_(False)
        return model

    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loop(7)(model, optimizer)
        first = model.get_submodule("0").requires_grad_(True)
        optimizer.add_param_group({"params": first.parameters()})
        loop(7)(model, optimizer)

    rows = both(make, go)
    assert "0.weight" not in rows[1]["parameters"]
    assert rows[-1]["parameters"]["0.weight"][2] > 0
    assert diagnose(rows).first == 1


def test_modules_under_vmap_and_compile() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(8, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.vmap(self.inner)(x))

    with pytest.warns(ProbeWarning, match=r"could not watch inner at step 1: .* within torch\.func") as told:
        rows = both(Mapped)
    assert len(told) == 1
    assert set(rows[-1]["layers"]) == {"head"}

    def compiled() -> nn.Module:
        torch._dynamo.reset()
        layers = (nn.Linear(8, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1))
        first, attention, last = layers

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.attention, self.last = first, attention, last

            def forward(self, x: Tensor) -> Tensor:
                x = self.first(x)[:, None]
                return self.last(self.attention(x, x, x)[0])[:, 0]

        whole = Whole()
        whole.compile(backend="eager", fullgraph=True)
        return whole

    with warnings.catch_warnings():
        warnings.simplefilter("error", ProbeWarning)
        rows = both(compiled)
    assert steps(rows) == [1, 2, 4, 6, 8, 10, 12]
    assert rows[-1]["parameters"]["first.weight"][2] > 0


def test_a_step_that_is_compiled_is_not_seen_and_that_is_said() -> None:
    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        torch._dynamo.reset()
        step = torch.compile(optimizer.step, backend="eager")
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(6, 8)).square().sum().backward()
            step()

    with pytest.warns(ProbeWarning, match=r"no call of optimizer\.step\(\) was seen") as told:
        rows = both(lambda: nn.Linear(8, 1), go, lambda p: torch.optim.SGD(p, lr=0.1))
    assert sum(issubclass(one.category, ProbeWarning) for one in told) == 1
    assert steps(rows) == []


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler(fused: bool) -> None:
    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
        for step in range(12):
            optimizer.zero_grad()
            x = torch.randn(6, 8)
            loss = (model(x) - x[:, :1]).square().mean() * (float("inf") if step == 4 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    rows = both(lambda: nn.Linear(8, 1), go, lambda p: torch.optim.AdamW(p, fused=fused))
    probes = [row for row in rows if row["kind"] == "probe"]
    assert max(row["grad_norm"] for row in probes if row["grad_norm"] is not None) < 50  # without the scale
    assert find(rows) == []


class Pictured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 1)

    def forward(self, x: Tensor, pixel_values: Tensor | None = None) -> Tensor:
        return self.net(x if pixel_values is None else x + pixel_values)


def test_pictures_that_cannot_be_looked_at() -> None:
    def fail() -> tuple[float, float]:
        torch.randn(3)
        raise RuntimeError("no pictures here")

    with pytest.warns(ProbeWarning, match="the pictures at step 1: RuntimeError: no pictures here"):
        rows = both(lambda: nn.Linear(8, 1), pictures=fail)
    assert steps(rows) == [1, 2, 4, 6, 8, 10, 12]

    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for step in range(6):
            optimizer.zero_grad()
            pictures = {"pixel_values": torch.randn(4, 8)} if step > 2 else {}  # text alone at first
            model(torch.randn(4, 8), **pictures).square().sum().backward()
            optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error", ProbeWarning)
        both(Pictured, go, every=20, pictures="pixel_values")


def test_a_model_without_a_loss_has_no_look_at_its_pictures() -> None:
    model = Pictured()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = watch(model, optimizer, pictures="pixel_values")

    def go() -> None:
        with watched:
            model(x=torch.randn(4, 8), pixel_values=torch.randn(4, 8)).sum().backward()
            optimizer.step()

    with pytest.warns(ProbeWarning, match="returns no loss"):
        go()
    assert steps(watched.rows) == [1]
    assert "the pictures" in diagnose(watched.rows).not_watched


class PlainAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 5:
            raise ValueError("five are too many")
        x = x[:, None, None]
        return F.scaled_dot_product_attention(x, x, x)[:, 0, 0]


def test_attention_that_cannot_be_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("not here")

    monkeypatch.setattr("lucida.training.probes.attention.probabilities_of", fail)
    with pytest.warns(ProbeWarning, match="could not watch the attention of 1 at step 1: RuntimeError: not here"):
        rows = both(lambda: nn.Sequential(nn.Linear(8, 8), PlainAttention(), nn.Linear(8, 1)))
    assert "1" in rows[-1]["layers"]  # its outputs are measured all the same


def test_nothing_listens_on_after_an_error_in_a_forward_pass() -> None:
    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loop(3)(model, optimizer)
        with pytest.raises(ValueError, match="too many"):
            model(torch.randn(5, 8))
        loop(4)(model, optimizer)

    both(lambda: nn.Sequential(nn.Linear(8, 8), PlainAttention(), nn.Linear(8, 1)), go)


def test_an_error_of_the_training_is_not_hidden_by_one_of_the_watch(tmp_path: Path) -> None:
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def go() -> None:
        with watch(model, optimizer, folder=tmp_path / "run"):
            loop(2)(model, optimizer)
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "run").write_text("in the way")
            raise ZeroDivisionError("the training's own")

    with pytest.warns(ProbeWarning), pytest.raises(ZeroDivisionError, match="own"):
        go()


def test_a_lazy_layer_must_be_made_before() -> None:
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(lazy[1].parameters(), lr=0.1)
    with pytest.raises(LucidaError, match=r"no shape yet.*0\.weight.*one batch"):
        watch(lazy, optimizer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_model_takes_no_hooks_and_its_parameters_are_measured() -> None:
    def make() -> nn.Module:
        return torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)))

    with pytest.warns(ProbeWarning, match="not supported on ScriptModules") as told:
        rows = both(make)
    assert sum(issubclass(one.category, ProbeWarning) for one in told) == 1
    assert rows[-1]["parameters"]["0.weight"][2] > 0


def test_what_was_left_out_is_read_back(tmp_path: Path) -> None:
    model = odd()
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, every=2, folder=tmp_path), pytest.warns(ProbeWarning):
        loop()(model, optimizer)
    assert set(diagnose(read_rows(tmp_path / "probes.jsonl")).not_watched) == {"1", "3"}
