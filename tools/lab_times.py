"""docs/results/lab-times.json: how long each page of the lab takes at quick scale, measured and again from the cache.

    python tools/lab_times.py [NAME ...]

Each page starts from an empty cache, in a process of its own, as ``lucida lab run NAME`` would; run it on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lucida.core.results import Results, read_json, write_json
from lucida.core.run_folder import environment
from lucida.lab.experiments import NAMES

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "results" / "lab-times.json"


def seconds(name: str, folder: Path) -> tuple[float, dict[str, int]]:
    """Wall seconds of a page's run, the start of Python counted, and how many of its parts were measured."""
    command = [sys.executable, "-m", "lucida", "lab", "run", name, "--scale", "quick", "--out", str(folder / "out")]
    began = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"LUCIDA_CACHE": str(folder / "cache")}, cwd=folder)
    taken = time.perf_counter() - began
    return taken, Results.load(folder / "out" / name / "results.json").details["parts"]


def main() -> None:
    """Measure the named pages, or all, and keep the others as they were recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; by default all")
    names = parser.parse_args().names or NAMES
    pages = read_json(OUT)["pages"] if OUT.exists() else {}
    here = environment(seed=0)
    for name in names:
        busy = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            (cold, parts), (warm, again) = (seconds(name, Path(folder)) for _ in range(2))
        assert again["measured"] == 0, again
        pages[name] = {
            "seconds": round(cold, 1),
            "seconds_from_the_cache": round(warm, 1),
            "parts": parts["measured"],
            "load_before": busy,
            "commit": here["commit"],
        }
        write_json(OUT, {"pages": pages, "environment": here})


if __name__ == "__main__":
    main()
