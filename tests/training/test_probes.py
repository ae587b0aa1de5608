"""Watching: what is recorded, that nothing is changed by it, that nothing stays behind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.training.findings import read_rows
from lucida.training.probes import watch
from lucida.training.probes.attention import probabilities_of, relative_entropy
from lucida.training.probes.guard import ProbeWarning


class Everything(nn.Module):
    """Shared and reused modules, dropout, batch norm, attention, a frozen part, a scalar, an unused part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.cell = nn.GRUCell(8, 8)
        self.shared = nn.Linear(8, 8)
        self.again = self.shared
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x.mT))).mT
        x = x + self.attention(x, x, x, need_weights=False)[0]
        state = torch.zeros(len(x), 8)
        for k in range(x.shape[1]):
            state = self.cell(self.drop(x[:, k]), state)
        return self.scale * self.again(torch.tanh(self.shared(self.frozen(state))))


def training(
    steps: int,
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    *,
    accumulate: int = 1,
    scaled: bool = False,
    watched: bool = True,
    **options: Any,
) -> tuple[list[dict[str, Any]], nn.Module]:
    torch.manual_seed(0)
    model = Everything()
    groups = [{"params": [model.scale], "lr": 0.01}]
    groups += [{"params": [p for n, p in model.named_parameters() if n != "scale" and p.requires_grad]}]
    optimizer = make(groups, lr=1e-3)

    def loop() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(accumulate):
                with torch.autocast("cpu", torch.bfloat16, enabled=scaled):
                    loss = model(torch.randn(6, 5, 4)).float().square().mean()
                loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    if not watched:
        loop()
        return [], model
    with watch(model, optimizer, **options) as w:
        loop()
    return w.rows, model


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"make": torch.optim.SGD}, {"scaled": True}])
def test_weights_are_the_same_bit_for_bit(options: dict[str, Any]) -> None:
    _, plain = training(23, watched=False, **options)
    rows, model = training(23, every=5, **options)
    assert [row["step"] for row in rows if row["kind"] == "probe"] == [1, 5, 10, 15, 20]
    for (name, a), b in zip(plain.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_nothing_stays_behind() -> None:
    model = Everything()
    optimizer = torch.optim.Adam(model.parameters())
    before = {name: dict(m.__dict__) for name, m in model.named_modules()}
    with watch(model, optimizer, every=1):
        for _ in range(2):
            model(torch.randn(6, 5, 4)).mean().backward()
            optimizer.step()
        assert any(m._forward_hooks for m in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    assert {name: set(m.__dict__) for name, m in model.named_modules()} == {n: set(d) for n, d in before.items()}


def test_between_probes_no_layer_has_a_hook() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    counts = []
    with watch(model, optimizer, every=4):
        for _ in range(8):
            counts.append(len(model[0]._forward_hooks))
            model(torch.randn(2, 3)).sum().backward()
            optimizer.step()
    assert counts == [1, 0, 0, 1, 0, 0, 0, 1]


def test_the_numbers_are_right() -> None:
    """Against the same quantities computed by hand."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x = torch.randn(16, 3)
    hidden = model[0](x)
    out = model[2](model[1](hidden))
    gradient = torch.autograd.grad(out.square().sum(), [hidden, *model.parameters()])
    weights = [p.detach().clone() for p in model.parameters()]
    with watch(model, optimizer, every=1) as w:
        model(x).square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    header, row = w.rows
    assert header["layers"] == {"0": "linear: Linear", "1": "activation: ReLU", "2": "linear: Linear"}
    layer = row["layers"]["0"]
    assert layer["rms"] == pytest.approx(hidden.square().mean().sqrt().item(), rel=1e-3)
    assert layer["spread"] == pytest.approx(
        (hidden.var(0, correction=0).mean() / hidden.square().mean()).sqrt().item(), 1e-3
    )
    assert layer["grad"] == pytest.approx(gradient[0].norm().item(), rel=1e-3)
    assert row["layers"]["1"]["silent"] == pytest.approx((hidden <= 0).all(0).float().mean().item())
    total = math.sqrt(sum(g.square().sum().item() for g in gradient[1:]))
    assert row["grad_norm"] == pytest.approx(0.1, rel=1e-3)
    assert row["parameters"]["0.weight"][1] == pytest.approx(weights[0].norm().item(), rel=1e-3)
    assert row["parameters"]["0.weight"][2] == pytest.approx(0.5 * 0.1 * gradient[1].norm().item() / total, rel=1e-3)
    assert row["rates"] == [0.5]


def test_the_norm_before_clipping_is_known() -> None:
    rows, _ = training(20, every=10)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.randn(8, 3)
    with watch(model, optimizer, every=1) as w:
        for clip in (1e9, 1e-3):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
    first, second = w.rows[1:]
    assert second["grad_norm"] == pytest.approx(1e-3, rel=1e-2)
    assert second["unclipped"] == pytest.approx(first["grad_norm"], rel=1e-2)
    assert all(row["pulse"]["steps"] <= 10 for row in rows[1:])


def test_the_cosine_is_that_of_two_steps_in_a_row() -> None:
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    a, b = torch.randn(1, 3), torch.randn(1, 3)
    with watch(model, optimizer, every=2) as w:
        for x in (a, b):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
    assert w.rows[-1]["cosine"] == pytest.approx(F.cosine_similarity(a, b).item(), abs=1e-3)


def test_every_part_is_seen() -> None:
    rows, _ = training(10, every=10)
    row = rows[-1]
    assert {"conv", "norm", "attention", "cell", "shared", "frozen"} <= set(row["layers"])
    assert "unused" not in row["layers"]
    assert row["layers"]["cell"]["calls"] == 5
    assert len(row["layers"]["cell"]["grad_calls"]) == 3  # calls 1, 2 and 4
    assert row["layers"]["shared"]["calls"] == 2
    assert row["layers"]["norm"]["examples"] == 6
    assert 0.9 < row["attention"]["attention"] <= 1
    assert row["scalars"].keys() == {"scale"}
    assert row["parameters"]["unused.weight"][0] is None
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_validation_is_not_looked_at() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as w:
        for _ in range(3):
            model.eval()
            with torch.no_grad():
                model(100 * torch.randn(50, 3))
            model(100 * torch.randn(50, 3))
            model.train()
            model(torch.randn(4, 3)).sum().backward()
            optimizer.step()
    assert [row["layers"]["0"]["rows"] for row in w.rows[2:]] == [4, 4]


def test_the_bad_step_is_known_between_probes(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, every=10, folder=tmp_path):
        for step in range(1, 26):
            optimizer.zero_grad()
            x = torch.randn(8, 3)
            x[3, 1] = float("nan") if step == 17 else 0.0
            model(x).mean().backward()
            optimizer.step()
    rows = read_rows(tmp_path / "probes.jsonl")
    bad = next(row for row in rows if row.get("bad"))
    assert bad["step"] == 17
    assert bad["bad"]["weights"] == []
    assert bad["bad"]["examples"] == {"where": "input 0", "bad": [3], "of": 8}


def test_an_error_leaves_its_last_step() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = watch(model, optimizer, every=100)

    def fail() -> None:
        with watched:
            for _ in range(7):
                model(torch.randn(2, 2)).sum().backward()
                optimizer.step()
            (model(torch.randn(2, 2)).sum() * float("inf") * 0).backward()
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        fail()
    assert [(row["kind"], row["step"]) for row in watched.rows] == [
        ("model", 0),
        ("probe", 1),
        ("probe", 8),
        ("error", 8),
    ]
    assert watched.rows[2]["unfinished"]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def go(first: int, last: int) -> None:
        with watch(model, optimizer, every=5, folder=tmp_path, start=first):
            for _ in range(first, last):
                model(torch.randn(2, 2)).sum().backward()
                optimizer.step()

    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    go(0, 18)
    go(12, 21)  # resumed from a checkpoint at step 12
    rows = read_rows(tmp_path / "probes.jsonl")
    assert [(row["kind"], row["step"]) for row in rows] == [
        ("model", 0),
        *(("probe", step) for step in (1, 5, 10, 15, 20)),
        ("pulse", 21),
    ]
    go(0, 3)
    assert [row["step"] for row in read_rows(tmp_path / "probes.jsonl")] == [0, 1, 3]


def test_pictures_are_exchanged_and_nothing_moves() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.norm = nn.Linear(4, 1), nn.BatchNorm1d(1)

        def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": (self.norm(self.net(pixel_values))[:, 0] - labels).square().mean()}

    def go(pictures: Any) -> tuple[list[dict[str, Any]], Model]:
        torch.manual_seed(0)
        model = Model()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        with watch(model, optimizer, every=1, pictures=pictures) as w:
            for _ in range(40):
                optimizer.zero_grad()
                x = torch.randn(16, 4)
                model(pixel_values=x, labels=x[:, 0])["loss"].backward()
                optimizer.step()
        return w.rows, model

    rows, model = go("pixel_values")
    looks = [row["pictures"] for row in rows[1:] if "pictures" in row]
    assert len(looks) == 5
    assert looks[-1]["other"] > 2 * looks[-1]["own"]
    assert all("loss" in row for row in rows[1:])
    _, plain = go(None)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True))
    assert go(lambda: (1.0, 2.0))[0][1]["pictures"] == {"own": 1.0, "other": 2.0}
    with pytest.warns(ProbeWarning, match="without .images.*pixel_values"):
        go("images")


def test_supervised_tokens_are_counted() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(1, 1)

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return self.net(x)

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as w:
        for masked in (6, 2):  # two micro-batches
            model(torch.ones(1, 1), labels=torch.tensor([[-100] * masked + [1] * (8 - masked)])).sum().backward()
        optimizer.step()
    assert w.rows[1]["supervised"] == 0.5


@pytest.mark.parametrize("causal", [False, True])
def test_entropy_of_attention(causal: bool) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    x = 3 * torch.randn(2, 7, 8)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
    _, weights = module(x, x, x, attn_mask=mask, average_attn_weights=False)
    model = nn.ModuleDict({"attention": module})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=1) as w:
        module(x, x, x, attn_mask=mask, need_weights=False)[0].sum().backward()
        optimizer.step()
    assert w.rows[1]["attention"]["attention"] == pytest.approx(relative_entropy(weights).item(), rel=1e-3)

    class OwnAttention(nn.Module):
        def forward(self, q: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, q, q, is_causal=causal)

    own = nn.Sequential(nn.Linear(4, 4), OwnAttention())
    q = torch.randn(2, 3, 5, 4)
    optimizer = torch.optim.SGD(own.parameters(), lr=0.0)
    with watch(own, optimizer, every=1) as w:
        own(q).sum().backward()
        optimizer.step()
    inside = own[0](q)
    expected = relative_entropy(probabilities_of(inside, inside, causal=causal)).item()
    assert w.rows[1]["attention"]["1"] == pytest.approx(expected, rel=1e-3)


def test_bad_settings_are_refused() -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(LucidaError, match="every 0 steps"):
        watch(model, optimizer, every=0)
    with pytest.raises(LucidaError, match=r"tower\.\*"):
        watch(model, optimizer, expected=["tower.*"])
    with pytest.raises(LucidaError, match="optimizer"):
        watch(model, object())


def test_a_watch_that_saw_nothing_does_not_pass_for_health(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    seen = watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(LucidaError, match="no step was probed"):
        seen.findings()
    with seen, pytest.raises(LucidaError, match="on already"):
        seen.__enter__()
    named = watch(model, torch.optim.SGD(model.parameters(), lr=0.1), expected="weight")
    assert named.expected == ["weight"]
    (tmp_path / "file").write_text("")
    blocked = watch(model, torch.optim.SGD(model.parameters(), lr=0.1), folder=tmp_path / "file")
    with pytest.raises(LucidaError, match="cannot write the probes"):
        blocked.__enter__()


def operators(steps: int, every: int | None) -> int:
    """How many operators some steps of a small perceptron take, watched or not."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def go() -> int:
        with torch.profiler.profile() as profile:
            for _ in range(steps):
                optimizer.zero_grad()
                model(torch.randn(4, 8)).sum().backward()
                optimizer.step()
        return sum(event.count for event in profile.key_averages() if event.key.startswith("aten::"))

    if every is None:
        return go()
    with watch(model, optimizer, every=every):
        model(torch.randn(4, 8)).sum().backward()
        optimizer.step()
        return go()


def test_what_watching_costs_in_operators() -> None:
    """Counted, since a clock means little on a busy machine: a probe of 5 layers and 6 tensors, and a step between."""
    plain = operators(10, None)
    between = (operators(10, 10_000) - plain) / 10
    probe = (operators(10, 1) - plain) / 10
    assert between <= 15
    assert probe <= 420
