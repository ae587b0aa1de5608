"""Gaussian mixtures beside scikit-learn's: an iteration, the time to an equal fit, memory, and cost against n, d and k.

    python benchmarks/gaussian_mixture.py peer | iteration | target [--data tower] [--seed 4]
    python benchmarks/gaussian_mixture.py check | memory | cost
    python benchmarks/gaussian_mixture.py report [--out docs/results/benchmarks/gaussian-mixture.json]

Each part writes its numbers into ``--parts`` and can be run alone; ``target`` needs ``peer`` of all five seeds;
``report`` puts everything together. Both sides see the same float32 rows on the same threads, full covariances, 64
components:

- ``synthetic``: 200,000 rows of 64 features from 64 overlapping Gaussians, one draw; 20,000 more are held out.
- ``tower``: EfficientNet-Lite0's features of every emoji by two artists in eight views, 64 principal components; a
  tenth of the concepts is held out.

An iteration is an expectation and a maximisation from the same mixture, timed in turns; results must agree. A fit of
scikit-learn costs its k-means and as many of its iterations as its EM takes from there (default ``tol``). Ours costs
what it took until the held-out log-likelihood reached the median of scikit-learn's five fits; the clock stands still
while that is looked up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lucida.clustering import GaussianMixture
from lucida.clustering.covariances import Parameters, Sums
from lucida.clustering.em import Ascent, Climb, add_sums, climb, expectation, maximisation
from lucida.clustering.rows import Rows
from lucida.clustering.starts import start
from lucida.core.results import Metric, Results, read_json, write_json
from lucida.core.run_folder import environment
from lucida.core.seeds import stream

K, D, SEEDS = 64, 64, 5
DATA = ("synthetic", "tower")
OURS: dict[str, Any] = {"breathing": True}


@cache
def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows held out, float32."""
    if name == "synthetic":
        X = synthetic(220_000, D, K)
        return X[:200_000], X[200_000:]
    from lucida.data.emoji import ARTISTS
    from lucida.models.principal_components import principal_components
    from lucida.workflows.artwork_features import artwork_features

    views = [artwork_features(a, 96, image_size=96, pooled="last", views=8) for a in ARTISTS]
    features = np.stack(views, axis=2).astype(np.float32)  # [views, N, artists, D]
    order = stream(0, "mixture benchmark").permutation(features.shape[1])
    held_out, fitted = np.split(features[:, order], [len(order) // 10], axis=1)
    fitted, held_out = (x.reshape(-1, x.shape[-1]) for x in (fitted, held_out))
    components = principal_components(fitted, at_most=D)
    return components.project(fitted), components.project(held_out)


def synthetic(n: int, d: int, k: int) -> np.ndarray:
    """Overlapping Gaussians: means half a deviation apart in each feature, covariances of one shape, varied."""
    random = stream(0, "mixture benchmark", "synthetic")
    means = random.normal(size=(k, d)) * 0.6
    base = np.linalg.qr(random.normal(size=(d, d)))[0] * np.geomspace(2.0, 0.5, d)
    own = random.choice(k, size=n, p=random.dirichlet(np.full(k, 5.0)))
    X = np.empty((n, d), np.float32)
    for j in range(k):
        axes = base + 0.25 * random.normal(size=(d, d)) / np.sqrt(d)
        X[own == j] = random.normal(size=(int((own == j).sum()), d)) @ axes.T + means[j]
    return X


def peer(data: str, seed: int) -> dict[str, Any]:
    """The course of scikit-learn's fit: its own k-means, timed, then EM to its default ``tol``.

    The iterations are done by this library: they are the same to 1e-4 (``iteration`` asserts it, ``check`` compares a
    whole fit), and scikit-learn would take an hour for all.
    """
    from sklearn.cluster import KMeans

    X, held_out = rows_of(data)
    began = time.perf_counter()
    labels = KMeans(K, n_init=1, random_state=np.random.RandomState(seed)).fit(X).labels_
    seconds = time.perf_counter() - began
    rows = Rows(X)
    means = np.stack([X[labels == j].mean(0, dtype=np.float64) for j in range(K)]) - rows.shift
    sums = Sums.zeros("full", means.astype(np.float32).astype(np.float64))
    for at in range(0, len(X), rows.block):
        block = rows.read(at, at + rows.block)
        own = torch.from_numpy(labels[at : at + len(block)]).long()
        add_sums(sums, block, torch.nn.functional.one_hot(own, K))
    ascent = climb(rows, maximisation(rows, sums, 1e-6), Climb())
    score = shown(ascent.mixture, rows.shift).score(held_out)
    return {"n_iter": len(ascent.bounds), "converged": ascent.converged, "held out": score, "k-means seconds": seconds}


def check(data: str, seed: int, parts: Path) -> dict[str, Any]:
    """A whole fit of scikit-learn's beside the course that ``peer`` found."""
    from sklearn.mixture import GaussianMixture as Peer

    X, held_out = rows_of(data)
    fitted = Peer(K, random_state=seed).fit(X)
    course = read_json(parts / f"peer-{data}-{seed}.json")
    score = fitted.score(held_out)
    assert abs(fitted.n_iter_ - course["n_iter"]) <= 1, (fitted.n_iter_, course)
    assert abs(score - course["held out"]) < 0.01, (score, course)
    return {"n_iter": fitted.n_iter_, "held out": score, "course": course}


def shown(mixture: Parameters, shift: np.ndarray) -> GaussianMixture:
    """A mixture that can be asked for its score."""
    whole = GaussianMixture(len(mixture.weights))
    whole.weights_, whole.means_ = mixture.weights, mixture.means + shift
    whole.covariances_, whole.precisions_cholesky_ = mixture.covariances, mixture.precisions_cholesky
    whole.n_features_in_ = mixture.means.shape[1]
    return whole


def iteration(data: str, seed: int) -> dict[str, Any]:
    """One iteration of both from one mixture, in turns; the results are compared."""
    from sklearn.mixture import GaussianMixture as Peer

    X, _ = rows_of(data)
    rows = Rows(X)
    first = start(rows.part(np.arange(0, len(X), 4)), "kmeans", "full", K, np.random.RandomState(seed))
    mixture = maximisation(rows, first, 1e-6)
    for _ in range(3):
        mixture = maximisation(rows, expectation(rows, mixture), 1e-6)
    theirs = Peer(K)
    theirs.weights_, theirs.means_ = mixture.weights.astype(np.float32), (mixture.means + rows.shift).astype(np.float32)
    theirs.precisions_cholesky_ = mixture.precisions_cholesky.astype(np.float32)
    taken: tuple[list[float], list[float]] = ([], [])
    worked: tuple[list[float], list[float]] = ([], [])
    for _ in range(2):
        began, work_began = time.perf_counter(), time.process_time()
        sums = expectation(rows, mixture)
        after = maximisation(rows, sums, 1e-6)
        between, work_between = time.perf_counter(), time.process_time()
        bound, log_responsibilities = theirs._e_step(X)
        kept = theirs.weights_, theirs.means_, theirs.precisions_cholesky_
        theirs._m_step(X, log_responsibilities)
        ended, work_ended = time.perf_counter(), time.process_time()
        found = theirs.weights_, theirs.means_ - rows.shift, theirs.covariances_
        theirs.weights_, theirs.means_, theirs.precisions_cholesky_ = kept
        taken[0].append(between - began)
        taken[1].append(ended - between)
        worked[0].append(work_between - work_began)
        worked[1].append(work_ended - work_between)
    ours = after.weights, after.means, after.covariances
    names = ("weights", "means", "covariances")
    differences = {n: float(np.abs(a - b).max() / np.abs(a).max()) for n, a, b in zip(names, ours, found, strict=True)}
    differences["log-likelihood"] = abs(float(sums.log_likelihood) / len(X) - float(bound))
    assert max(differences.values()) < 2e-3, f"one iteration differs: {differences}"
    seconds = {"ours": min(taken[0]), "scikit-learn": min(taken[1])}
    processor = {"ours": min(worked[0]), "scikit-learn": min(worked[1])}
    return {**seconds, "processor": processor, "differences": differences}


class Watched(GaussianMixture):
    """A mixture whose clock stands still while its held-out log-likelihood is looked up after each step."""

    def follow(self, X: np.ndarray, held_out: np.ndarray) -> list[tuple[float, float]]:
        """Fit; after each step seconds and mean held-out log-likelihood."""
        self._course: list[tuple[float, float]] = []
        self._held_out, self._seconds, self._since = held_out, 0.0, time.perf_counter()
        self.fit(X)
        return self._course

    def _best_of_starts(self, rows: Rows) -> Ascent:
        self._shift = rows.shift
        return super()._best_of_starts(rows)

    def _tell(self, ascent: Ascent) -> None:
        self._seconds += time.perf_counter() - self._since
        self._course.append((self._seconds, shown(ascent.mixture, self._shift).score(self._held_out)))
        self._since = time.perf_counter()


def target(data: str, seed: int, parts: Path) -> dict[str, Any]:
    """Seconds until the held-out log-likelihood reaches the median of scikit-learn's fits."""
    wanted = float(np.median([read_json(parts / f"peer-{data}-{s}.json")["held out"] for s in range(SEEDS)]))
    course = Watched(K, random_state=seed, **OURS).follow(*rows_of(data))
    reached = [seconds for seconds, score in course if score >= wanted]
    return {
        "wanted": wanted,
        "seconds": reached[0] if reached else None,
        "whole fit": course[-1][0],
        "held out": course[-1][1],
        "course": [[round(seconds, 3), round(score, 5)] for seconds, score in course],
    }


CHILD = """
import json, sys, threading, time, warnings
import numpy as np
from lucida.clustering import GaussianMixture
warnings.simplefilter("ignore")

def anonymous():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024

before, peak, done = anonymous(), [0.0], []
def watch():
    while not done:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.02)
thread = threading.Thread(target=watch)
thread.start()
X = np.load(sys.argv[1], mmap_mode="r")
began = time.perf_counter()
mixture = GaussianMixture(64, random_state=0, max_iter=2).fit(X)
seconds = time.perf_counter() - began
done.append(1)
thread.join()
print(json.dumps({"before": before, "peak": peak[0], "seconds": seconds, "bounds": mixture.lower_bounds_}))
"""


def memory(n: int = 5_000_000) -> dict[str, Any]:
    """Peak of anonymous memory of a process that fits ``n`` rows from a file: the start and two iterations."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, D))
        X, _ = rows_of("synthetic")
        for begin in range(0, n, len(X)):
            rows[begin : begin + len(X)] = X[: n - begin]
        rows.flush()
        del rows
        done = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True)
    return {"rows": n, **json.loads(done.stdout)}


def cost() -> dict[str, Any]:
    """Seconds of an iteration against n, d and k, each around 50,000 rows of 32 features and 32 components."""
    found: dict[str, Any] = {}
    for name, sizes in (
        ("n", (12_500, 25_000, 50_000, 100_000, 200_000)),
        ("d", (8, 16, 32, 64, 128)),
        ("k", (8, 16, 32, 64, 128)),
    ):
        for size in sizes:
            chosen = {"n": 50_000, "d": 32, "k": 32} | {name: size}
            rows = Rows(synthetic(**chosen))
            sums = start(
                rows.part(np.arange(0, len(rows.X), 10)), "k-means++", "full", chosen["k"], np.random.RandomState(0)
            )
            mixture = maximisation(rows, sums, 1e-2)
            seconds = []
            for _ in range(4):
                began = time.perf_counter()
                mixture = maximisation(rows, expectation(rows, mixture), 1e-6)
                seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
            expectation(rows, mixture, screened=False)
            found[f"{name}={size}"] = {**chosen, "seconds": min(seconds), "plain": time.perf_counter() - began}
    return found


def report(parts: Path) -> Results:
    """All parts in one file, with ratios."""
    results = Results()
    details: dict[str, Any] = {"threads": torch.get_num_threads(), "environment": environment(seed=0)}
    for data in DATA:
        found = {part: _parts(parts, f"{part}-{data}") for part in ("peer", "iteration", "target")}
        if any(len(x) < SEEDS for x in found.values()):
            results.leave_out(data, "not all parts have been measured")
            continue
        ratios = [x["scikit-learn"] / x["ours"] for x in found["iteration"]]
        _add(results, f"{data}/iteration, times faster", ratios)
        work = [x["processor"]["scikit-learn"] / x["processor"]["ours"] for x in found["iteration"]]
        _add(results, f"{data}/iteration, times less processor time", work)
        _add(results, f"{data}/iteration, seconds", [x["ours"] for x in found["iteration"]])
        _add(results, f"{data}/iteration of scikit-learn, seconds", [x["scikit-learn"] for x in found["iteration"]])
        step = float(np.median([x["scikit-learn"] for x in found["iteration"]]))
        fits = [x["k-means seconds"] + x["n_iter"] * step for x in found["peer"]]
        _add(results, f"{data}/fit of scikit-learn, seconds", fits)
        reached = [x["seconds"] for x in found["target"]]
        late = [float("inf") if second is None else second for second in reached]
        _add(results, f"{data}/to its median held-out log-likelihood, seconds", late, censored=reached.count(None))
        _add(
            results,
            f"{data}/to its median, times faster",
            list(np.median(fits) / np.asarray(late)),
            censored=reached.count(None),
        )
        _add(results, f"{data}/held-out log-likelihood of scikit-learn", [x["held out"] for x in found["peer"]])
        _add(results, f"{data}/held-out log-likelihood", [x["held out"] for x in found["target"]])
        details[data] = found
    for part in ("memory", "cost", "check-tower-0", "check-synthetic-0"):
        if (parts / f"{part}.json").exists():
            details[part] = read_json(parts / f"{part}.json")
    if "memory" in details:
        results.add("memory/anonymous, MB", Metric(details["memory"]["peak"]))
        results.add("memory/seconds", Metric(details["memory"]["seconds"]))
    results.details = details
    return results


def figure(cost_of: dict[str, Any], path: Path) -> None:
    """Seconds of an iteration against n, d and k, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, panels = pyplot.subplots(1, 3, figsize=(10.5, 3.4), sharey=True, layout="constrained")
    names = {"n": "rows n", "d": "features d", "k": "components k"}
    for panel, (name, label) in zip(panels, names.items(), strict=True):
        points = [x for key, x in cost_of.items() if key.startswith(f"{name}=")]
        for key, word, style in (("plain", "all pairs", "o--"), ("seconds", "pairs that matter", "o-")):
            panel.loglog([x[name] for x in points], [x[key] for x in points], style, label=word, markersize=4)
        panel.set_xlabel(label)
        panel.set_xticks([x[name] for x in points], [f"{x[name]:,}" for x in points], fontsize=8)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    marks = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    low, high = panels[0].get_ylim()
    panels[0].set_yticks([x for x in marks if low < x < high], [str(x) for x in marks if low < x < high])
    panels[0].set_ylabel("seconds an iteration")
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=130, metadata={"Software": None})


def _parts(folder: Path, name: str) -> list[dict[str, Any]]:
    paths = [folder / f"{name}-{seed}.json" for seed in range(SEEDS)]
    return [read_json(path) for path in paths if path.exists()]


def _add(results: Results, name: str, values: list[float], *, censored: int = 0) -> None:
    """The median; in place of an interval the smallest and the largest."""
    results.add(name, Metric(float(np.median(values)), (min(values), max(values)), len(values), censored))


def main() -> None:
    """Measure one part, or put all together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["peer", "check", "iteration", "target", "memory", "cost", "report"])
    parser.add_argument("--data", choices=DATA, default="synthetic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", type=Path, default=Path(".cache/benchmarks/gaussian-mixture"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/gaussian-mixture.json"))
    arguments = parser.parse_args()
    data, seed, parts = arguments.data, arguments.seed, arguments.parts
    if arguments.part == "report":
        results = report(parts)
        results.save(arguments.out)
        if "cost" in results.details:
            figure(results.details["cost"], Path("docs/images/gaussian-mixture-cost.png"))
        return
    if arguments.part in ("memory", "cost"):
        found, name = (memory() if arguments.part == "memory" else cost()), arguments.part
    else:
        if arguments.part in ("check", "target"):
            found = (check if arguments.part == "check" else target)(data, seed, parts)
        else:
            found = (peer if arguments.part == "peer" else iteration)(data, seed)
        name = f"{arguments.part}-{data}-{seed}"
    write_json(parts / f"{name}.json", found)
    print(json.dumps({key: x for key, x in found.items() if key != "course"}, indent=1))


if __name__ == "__main__":
    main()
