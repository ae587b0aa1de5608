"""The two order problems at 10^8 elements: times, memory and the bound of each.

    python benchmarks/order_problems.py [--size 100000000] [--folder TEMP] [--out FILE]

**The median.** Two memory maps of int64 or float64 in temporary files (1.6 GB of disk; deleted at the end). At most
⌈log₂(m + 1)⌉ = 27 steps read 2 · 27 elements, the ends 8 more: in memory, tens of microseconds of Python. Pages that
are not in memory cost a fault for each element; the last nine steps share a page (512 elements of 8 bytes) on each
side, which leaves about 40 faults one after another, since each decides where the next one is: a cold call takes what
the disk needs for them, and for what the system reads ahead of them ("no read-ahead": ``madvise`` turns that off).
"Cold" maps the files anew after the system was told to drop their pages (``posix_fadvise``), "resident" has them in
memory but not yet in this process's page table, "warm" has read the same places before. The peer is NumPy's median of
both (a copy of 1.6 GB and a partition).

**The ring.** Counting and checking read every element once; sliding reads it twice, where the window begins and where
it ends. So b bytes an element make 3·b bytes of traffic, at the rate "memory, GB/s" below (NumPy counting booleans).
The arithmetic is a second bound: sums along an array, each waiting for the one before, cost NumPy 2.7 ns an element
with a cast. So eight elements become a byte, and a table of pairs of bytes leaves an eighth of the sums. What was tried
beside it, on random booleans, in 10^9 elements a second: the table, 0.8; before it a gate of counts of 64, which looks
closely only where a window could beat the best, 1.5, but 0.7 against 0.8 where ones alternate and no window can be
ruled out: left out, for it doubles the code. Skipping whole blocks unread needs the counts of blocks smaller than the
√n by which a random window wanders, hence more than O(1) memory.
"""

from __future__ import annotations

import argparse
import mmap
import os
import resource
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucida.algorithms import median_of_two_sorted, min_swaps_to_gather_ones, swaps_to_gather_ones
from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment

REPEATS = 5
CHUNK = 1 << 20
OUT = Path("docs/results/benchmarks/order-problems.json")


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def spread(values: list[float]) -> Metric:
    """The median with the smallest and the largest."""
    return Metric(statistics.median(values), (min(values), max(values)), len(values))


def write_sorted(path: Path, size: int, dtype: str, seed: int) -> None:
    """An ascending array of random gaps on disk, written in chunks, and on the disk when this returns."""
    generator, last = np.random.default_rng(seed), 0
    with path.open("wb") as file:
        for start in range(0, size, CHUNK):
            chunk = last + np.cumsum(generator.integers(0, 100, size=min(CHUNK, size - start)))
            last = int(chunk[-1])
            file.write(chunk.astype(dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())


def drop(path: Path) -> None:
    """Ask the system to forget the file's pages."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pull(path: Path) -> None:
    """Read the file, so that its pages are in memory."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def searched(paths: list[Path], dtype: str, advice: int = mmap.MADV_NORMAL) -> tuple[float, float]:
    """Milliseconds of a first call on new maps, and how often it waited for the disk."""
    sides = []
    for path in paths:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pages.madvise(advice)
        sides.append(np.frombuffer(pages, dtype=dtype))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    taken = 1000 * seconds(lambda: median_of_two_sorted(*sides))
    return taken, float(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before)


def measure_median(results: Results, folder: Path, size: int, dtype: str) -> None:
    """Cold, resident and warm calls; faults, memory, and what NumPy says of both arrays."""
    paths = [folder / f"{side}-{dtype}" for side in "ab"]
    for seed, path in enumerate(paths):
        write_sorted(path, size, dtype, seed)
    for name, advice in (("cold", mmap.MADV_NORMAL), ("cold, no read-ahead", mmap.MADV_RANDOM)):
        calls = []
        for _ in range(REPEATS):
            for path in paths:
                drop(path)
            calls.append(searched(paths, dtype, advice))
        results.add(f"median/{dtype}/{name}, ms", spread([taken for taken, _ in calls]))
        results.add(f"median/{dtype}/{name}, waits for the disk", spread([waits for _, waits in calls]))
    for path in paths:
        pull(path)
    resident = [searched(paths, dtype)[0] for _ in range(REPEATS)]
    results.add(f"median/{dtype}/resident, ms", spread(resident))
    _in_memory(results, f"median/{dtype}", [np.memmap(path, dtype=dtype, mode="r") for path in paths])
    for path in paths:
        path.unlink()


def _in_memory(results: Results, name: str, sides: list[NDArray]) -> None:
    found = median_of_two_sorted(*sides)
    results.add(f"{name}/warm, ms", spread([1000 * seconds(lambda: median_of_two_sorted(*sides)) for _ in range(50)]))
    tracemalloc.start()
    median_of_two_sorted(*sides)
    results.add(f"{name}/memory, MB", Metric(tracemalloc.get_traced_memory()[1] / 1e6))
    tracemalloc.reset_peak()
    median_of_two_sorted(*sides, check=True)
    results.add(f"{name}/memory with check, MB", Metric(tracemalloc.get_traced_memory()[1] / 1e6))
    tracemalloc.stop()
    results.add(f"{name}/with check, s", Metric(seconds(lambda: median_of_two_sorted(*sides, check=True))))
    answers: list[float] = []
    results.add(f"{name}/peer: numpy, s", Metric(seconds(lambda: answers.append(np.median(np.concatenate(sides))))))
    assert found == answers[0], (found, answers)


def rings(size: int, generator: np.random.Generator) -> dict[str, NDArray]:
    """Random ones as bytes, and a pattern in which all windows are alike."""
    random = np.empty(size, dtype=bool)
    for start in range(0, size, CHUNK):
        part = random[start : start + CHUNK]
        part[:] = generator.random(len(part), dtype=np.float32) < 0.5
    return {"random": random, "alternating": np.tile(np.array([0, 1], dtype=np.uint8), size // 2)}


def swaps_by_sums(ring: NDArray) -> int:
    """The same number in the plainest way: the sums of all windows, all in memory."""
    sums = np.zeros(len(ring) + 1, np.int32)
    np.cumsum(ring, dtype=np.int32, out=sums[1:])
    ones, size = int(sums[-1]), len(ring)
    inside = int((sums[ones:] - sums[: size + 1 - ones]).max())
    around = int((sums[1 : ones + 1] - sums[size - ones + 1 :]).max(initial=-ones)) + ones
    return ones - max(inside, around)


def measure_ring(results: Results, size: int, folder: Path) -> None:
    """Elements a second by type; memory; the rate at which memory can be read."""
    kinds = rings(size, np.random.default_rng(0))
    random = kinds["random"]
    reading = [size / seconds(lambda: np.count_nonzero(random)) / 1e9 for _ in range(REPEATS)]
    results.add("ring/memory, GB/s", spread(reading))
    expected = swaps_by_sums(random)
    for dtype in ("bool", "uint8", "int8", "float32", "int64", "float64"):
        ring = random.view(dtype) if np.dtype(dtype).itemsize == 1 else random.astype(dtype)
        _ring_speed(results, f"ring/{dtype}, random", ring, expected)
        del ring
    _ring_speed(results, "ring/uint8, alternating", kinds["alternating"], size // 4)
    path = folder / "ring"
    random.tofile(path)
    ring = np.memmap(path, dtype=np.uint8, mode="r")
    _ring_speed(results, "ring/uint8, random, memory map", ring, expected)
    del ring
    path.unlink()
    results.add("ring/swaps, first 10^6, s", Metric(seconds(lambda: _first(swaps_to_gather_ones(random), 10**6))))
    tracemalloc.start()
    min_swaps_to_gather_ones(random)
    results.add("ring/memory, MB", Metric(tracemalloc.get_traced_memory()[1] / 1e6))
    tracemalloc.stop()


def _ring_speed(results: Results, name: str, ring: NDArray, expected: int) -> None:
    found: list[int] = []
    taken = [seconds(lambda: found.append(min_swaps_to_gather_ones(ring))) for _ in range(REPEATS)]
    assert set(found) == {expected}, (name, set(found), expected)
    results.add(f"{name}, 10^9 elements/s", spread([len(ring) / one / 1e9 for one in taken]))


def _first(swaps: Any, count: int) -> None:
    for _, _ in zip(range(count), swaps, strict=False):
        pass


def main() -> None:
    """Measure both, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10**8, help="elements of each array; even")
    parser.add_argument("--folder", type=Path, default=None, help="where the files go: a disk, not memory")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    results = Results()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for dtype in ("int64", "float64"):
            measure_median(results, Path(folder), given.size, dtype)
        measure_ring(results, given.size, Path(folder))
    for name, metric in results.metrics.items():
        low, high = metric.ci95 or (metric.value, metric.value)
        print(f"{name:48} {metric.value:10.4g}  [{low:.4g}, {high:.4g}]")
    results.details = {
        "interval": "smallest and largest of the repeats",
        "size": given.size,
        "repeats": REPEATS,
        "environment": environment(seed=0),
    }
    results.save(given.out)


if __name__ == "__main__":
    main()
