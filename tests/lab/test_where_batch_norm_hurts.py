"""What the page on batch norm looks at, against closed forms and against what PyTorch computes."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lucida.lab.batch_statistics import (
    ExactlyTested,
    accuracies,
    accuracy,
    batch_norms,
    batches,
    by_share_of_padding,
    by_word,
    companions_noise,
    expected_distance,
    gains_and_biases,
    gaussian_noise_share,
    in_training_mode,
    moments,
    recomputed,
    running,
    seen_by,
    sequence_accuracies,
    share_of_the_mean,
    shifts,
    trimmed,
    without_gain_and_bias,
)
from lucida.lab.datasets import training_batch
from lucida.lab.experiments import load
from lucida.lab.experiments.where_batch_norm_hurts import ExactInTests, for_exact, sized
from lucida.lab.networks import ConvNet, NetworkConfig, Perceptron
from lucida.lab.norms import RootMeanSquareNorm, SequenceBatchNorm, SequenceNorm, SequenceNormName
from lucida.lab.sequence_networks import Recurrent, Transformer
from lucida.lab.training import Member, Moment, Training, train_members
from tests.lab.drawn_bench import whole_page

WORDS, CLASSES, LONGEST = 30, 4, 6


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def texts(n: int = 96) -> tuple[Tensor, Tensor]:
    """Token numbers and mask of texts of 1 to 6 words; none of them is the padding's 0."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(LONGEST) < torch.randint(1, LONGEST + 1, (n, 1), generator=generator)
    return torch.randint(1, WORDS, (n, LONGEST), generator=generator) * mask, mask


def reader(norm: SequenceNormName, *, recurrent: bool = False) -> nn.Module:
    config: NetworkConfig = (
        Recurrent(WORDS, CLASSES, width=8, words=True, norm=norm)
        if recurrent
        else Transformer(WORDS, CLASSES, width=8, longest=LONGEST, norm=norm)
    )
    return config.build(0)


def perceptron(depth: int = 3) -> nn.Module:
    return Perceptron(9, CLASSES, depth, width=16, norm="batch").build(0)


def state(network: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def test_masked_statistics_are_those_without_padding() -> None:
    x, mask = numbers(7, LONGEST, 5), texts(7)[1]
    masked, plain = SequenceBatchNorm(5, masked=True).train(), nn.BatchNorm1d(5).train()
    torch.testing.assert_close(masked(x, mask)[mask], plain(x[mask]))
    torch.testing.assert_close(masked.running_mean, plain.running_mean)
    torch.testing.assert_close(masked.running_var, plain.running_var)
    found = moments(x, mask)
    torch.testing.assert_close(found.mean, x[mask].mean(dim=0))
    torch.testing.assert_close(found.deviation, x[mask].std(dim=0))


def test_statistics_that_count_padding_are_a_mixture() -> None:
    """With a share p of padding the mean is off by p times the distance of the padding's mean."""
    x, mask = numbers(50, LONGEST, 5), texts(50)[1]
    x[~mask] += 3
    real, all_ = moments(x, mask), moments(x, torch.ones_like(mask))
    share = 1 - mask.double().mean()
    torch.testing.assert_close(all_.mean - real.mean, (share * (x[~mask].mean(dim=0) - real.mean)).float())


def test_layer_norm_and_rms_are_those_of_pytorch() -> None:
    x, mask = numbers(7, LONGEST, 5), texts(7)[1]
    plain = SequenceNorm("layer_plain", 5)(x, mask)
    torch.testing.assert_close(plain, nn.functional.layer_norm(x, (5,)))
    torch.testing.assert_close(SequenceNorm("layer", 5)(x, mask), plain)  # gain 1 and bias 0 before training
    torch.testing.assert_close(SequenceNorm("rms", 5)(x, mask), nn.functional.rms_norm(x, (5,), eps=1e-5))
    torch.testing.assert_close(RootMeanSquareNorm(5)(x[:, 0]), nn.functional.rms_norm(x[:, 0], (5,), eps=1e-5))
    centred = x - x.mean(dim=-1, keepdim=True)  # of numbers with mean zero the two are the same
    torch.testing.assert_close(SequenceNorm("rms", 5)(centred, mask), plain)


@pytest.mark.parametrize("network", [perceptron(), ConvNet(1, CLASSES, 2, 4, norm="batch").build(0)])
def test_exact_statistics_have_no_shift(network: nn.Module) -> None:
    train = (numbers(1200, 1, 3, 3),)
    exact = recomputed(network, [train])
    found = shifts(exact, train, 1200)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-5, rtol=0)
    with in_training_mode(network):
        in_training = network(*train)
    torch.testing.assert_close(exact(*train), in_training, atol=0.01, rtol=0)  # n and n - 1 in the variance


@pytest.mark.parametrize("network", [perceptron(), ConvNet(1, CLASSES, 2, 4, norm="batch").build(0)])
def test_exactly_tested_is_tested_with_recomputed_statistics(network: nn.Module) -> None:
    train, test = numbers(1200, 1, 3, 3) + 0.5, numbers(7, 1, 3, 3, seed=1)
    wrapped = ExactlyTested(copy.deepcopy(network), train)
    expected = recomputed(network, [(train,)])(test)
    torch.testing.assert_close(wrapped.eval()(test), expected, atol=0.01, rtol=0)  # n and n - 1 in the variance
    torch.testing.assert_close(wrapped.eval()(test[:1]), wrapped(test)[:1])
    torch.testing.assert_close(wrapped.train()(test), network.train()(test))


def test_the_rate_for_exact_statistics_is_chosen_by_what_they_test() -> None:
    """What training records of the wrapped networks is what exact statistics give in the plain ones."""
    seeds, network = (0, 1), Perceptron(64, 10, depth=2, width=8, norm="batch")

    def exact(moment: Moment) -> Tensor:
        found = []
        for k, seed in enumerate(seeds):
            once = recomputed(moment.stack.member(k), [(training_batch("digits", seed)["inputs"],)])
            found.append(accuracy(once, [((moment.test["inputs"][k],), moment.test["labels"][k])]))
        return torch.tensor(found)

    training = Training("digits", 4, 60, every=60)
    plain = train_members(training, [Member(seed, 0.1, network) for seed in seeds], observers={"exact": exact})
    wrapped = train_members(training, [Member(seed, 0.1, ExactInTests("digits", network)) for seed in seeds])
    assert wrapped.final("test_accuracy") == pytest.approx(plain.observed["exact"][:, -1], abs=0.005)
    assert wrapped.batch_loss == pytest.approx(plain.batch_loss, rel=1e-3)
    assert not np.allclose(wrapped.final("test_accuracy"), plain.final("test_accuracy"), atol=0.005)


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    whole_page(monkeypatch, load("where-batch-norm-hurts"), "quick", 100)


def test_the_page_has_the_batch_sizes_it_claims_for() -> None:
    experiment = load("where-batch-norm-hurts")
    arms = {arm for claim in experiment.design.claims for arm in (claim.treatment, claim.control)}
    assert f"{for_exact(2)}, exact statistics" in arms
    for settings in experiment.settings.values():
        assert settings.batch_sizes[0] == 2, "the arm whose rate is chosen with exact statistics has the smallest"
        assert {sized("batch norm", size) for size in (8, 32)} <= {sized("batch norm", s) for s in settings.batch_sizes}


def test_recomputed_statistics_are_plain_means_over_batches() -> None:
    network, parts = perceptron(1), batches((numbers(60, 9),), 6)
    norm = batch_norms(recomputed(network, parts))[0]
    with in_training_mode(network), seen_by(batch_norms(network)) as seen:
        for part in parts:
            network(*part)
    each = [moments(*call) for call in seen[0]]
    torch.testing.assert_close(running(norm).mean, torch.stack([m.mean for m in each]).mean(dim=0))
    torch.testing.assert_close(
        running(norm).deviation.square(), torch.stack([m.deviation.square() for m in each]).mean(dim=0)
    )


def test_distances_of_normal_numbers_are_as_expected() -> None:
    x = numbers(20_000, 40)
    whole = moments(x)
    for size in (2, 32):
        found = np.mean([whole.distances(moments(part), whole)[0] for part in x[:4000].split(size)])
        assert found == pytest.approx(expected_distance(size), rel=0.05)
    kept = torch.zeros(40)
    steady = []
    for k, part in enumerate(x.split(8)):
        kept = 0.9 * kept + 0.1 * part.mean(dim=0)
        steady += [float(kept.abs().mean())] if k > 50 else []
    assert np.mean(steady) == pytest.approx(expected_distance(8, 0.1), rel=0.1)


def test_of_two_companions_only_a_sign_is_left() -> None:
    assert gaussian_noise_share(2) == pytest.approx(2 / 3, abs=0.01)
    assert gaussian_noise_share(64) == pytest.approx(1.5 / 64, abs=0.01)
    network = perceptron(1)
    with torch.no_grad():
        network.blocks[0].linear.weight.copy_(torch.eye(16)[:, :9])  # type: ignore[index,union-attr]
    with in_training_mode(network), seen_by(batch_norms(network), outputs=True) as seen:
        network(numbers(2, 9))
    torch.testing.assert_close(seen[0][0][0][:, :9].abs(), torch.ones(2, 9), atol=1e-2, rtol=0)
    shares = companions_noise(network, (numbers(512, 9),), 2)
    assert float(shares[0]) == pytest.approx(2 / 3, abs=0.03)
    assert float(companions_noise(network, (numbers(128, 9),), 64)[0]) < 0.1


@pytest.mark.parametrize("recurrent", [False, True])
def test_padding_moves_only_what_counts_it(recurrent: bool) -> None:
    part = texts()
    masked, blind = (reader(norm, recurrent=recurrent) for norm in ("batch_masked", "batch"))
    longer = tuple(nn.functional.pad(x[:, :4], (0, 2)) for x in (part[0], part[1]))
    assert trimmed(longer)[0].shape[1] == 4
    with in_training_mode(masked):
        torch.testing.assert_close(masked(*longer), masked(*trimmed(longer)), atol=1e-5, rtol=1e-4)
    if not recurrent:
        with in_training_mode(blind):
            assert float((blind(*longer) - blind(*trimmed(longer))).abs().max()) > 0.01
    blind.eval()  # with running statistics padding changes nothing in a test
    torch.testing.assert_close(blind(*longer), blind(*trimmed(longer)))
    errors = by_share_of_padding(blind, part)
    assert errors.shape == (5, 2)
    assert bool((errors[torch.isfinite(errors)] > 0).all())


def test_late_words_of_masked_statistics_rest_on_few_texts() -> None:
    part = texts(400)
    masked, blind = (by_word(reader(norm, recurrent=True), part, 16)[:, 0] for norm in ("batch_masked", "batch"))
    assert float(masked[-1]) > 1.5 * float(masked[0])
    assert float(blind[-1]) < 1.2 * float(blind[0])


def test_gains_and_biases_are_read_and_set_back() -> None:
    (inputs, mask), labels = texts(), torch.zeros(96, dtype=torch.long)
    network, plain = reader("layer"), reader("layer_plain")
    torch.testing.assert_close(gains_and_biases(network), gains_and_biases(plain))
    logits = network(inputs, mask)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(2.0)
                module.bias.fill_(-0.5)
    torch.testing.assert_close(gains_and_biases(network), torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64))
    expected = float((logits.argmax(dim=-1) == 0).double().mean())
    assert without_gain_and_bias(network, (inputs, mask), labels) == expected
    assert gains_and_biases(network)[0] == 2.0


def test_the_share_of_the_mean_is_that_of_shifted_numbers() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = SequenceNorm("rms", 4096)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.norm(x + 0.5, mask)

    found = share_of_the_mean(Shifted(), (numbers(4, 3, 4096), torch.ones(4, 3, dtype=torch.bool)))
    assert found == pytest.approx(0.25 / 1.25, rel=0.1)


def test_looking_changes_nothing() -> None:
    network, pictures, labels = perceptron(), (numbers(64, 9),), torch.zeros(64, dtype=torch.long)
    before = state(network)
    found = accuracies(network, pictures, pictures, labels, 4)
    assert found.shape == (4,)
    shifts(network, pictures, 4)
    companions_noise(network, pictures, 4)
    assert all(torch.equal(a, b) for a, b in zip(before, state(network), strict=True))
    part, rnn = texts(), reader("batch_masked", recurrent=True)
    before = state(rnn)
    sequence_accuracies(rnn, part, torch.zeros(96, dtype=torch.long), 16)
    by_word(rnn, part, 16)
    assert all(torch.equal(a, b) for a, b in zip(before, state(rnn), strict=True))
    assert math.isfinite(float(found.sum()))
