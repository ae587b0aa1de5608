"""Make the virtual environment and install lucida with pinned versions; does nothing where that is done.

Called by the Makefile with the user's own Python; standard library only. torch is installed first and alone, so that
an open range never pulls a second build of several GB.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--default-torch", help="the requirement to install unless another was chosen before")
    parser.add_argument("--torch", help="the requirement the user asks for now")
    parser.add_argument("--torch-index", help='an index address, "default" (pip\'s own) or "auto"')
    parser.add_argument("--extra", action="append", default=[])
    options = parser.parse_args()

    state_file = options.venv / "lucida.json"
    state = read_state(state_file)
    torch = options.torch or state.get("torch") or options.default_torch
    index = options.torch_index or state.get("index") or "auto"
    extras = sorted({*state.get("extras", []), *options.extra})
    wanted = {"inputs": fingerprint(), "torch": torch, "index": index, "extras": extras}
    if state == wanted:
        return
    make_venv(options.venv)
    if (state.get("torch"), state.get("index")) != (torch, index):
        state_file.unlink(missing_ok=True)
        say(f"installing {torch} into {options.venv} (once; some minutes)")
        # Without its dependencies: they come with the next line, from pip's own index and in the pinned versions.
        pip(options.venv, "--no-deps", "--force-reinstall", *index_arguments(index), torch)
        state_file.write_text(json.dumps({"torch": torch, "index": index}), encoding="utf-8")
    say("installing lucida and the pinned versions of constraints.txt")
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    quiet = ["--quiet"] if "inputs" in state else []  # an update: pip would list a hundred packages that stay
    pip(options.venv, *quiet, "--constraint", str(ROOT / "constraints.txt"), "--editable", target)
    state_file.write_text(json.dumps(wanted), encoding="utf-8")


def read_state(path: Path) -> dict:
    """What an earlier call finished; empty if it did not finish or its interpreter is gone."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if (path.parent / "bin" / "python").exists() else {}


def fingerprint() -> str:
    """Changes when one of the files that decide what is installed changes."""
    digest = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", ROOT / "constraints.txt"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_venv(path: Path) -> None:
    """Create the environment unless a working one is there."""
    python = path / "bin" / "python"
    if python.exists() and run_quietly(python, "-m", "pip", "--version"):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        stop("Python's venv module is missing; install the package python3-venv (sudo apt install python3-venv)")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(path)], check=False).returncode:
        stop(f"{sys.executable} could not create {path}; install the package python3-venv, or free some disk space")


def index_arguments(index: str) -> list[str]:
    """pip's arguments for the place torch comes from."""
    if index == "default":
        return []
    if index != "auto":
        return ["--index-url", index]
    if not sys.platform.startswith("linux"):
        return []
    try:
        urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=5).close()
    except (urllib.error.URLError, TimeoutError, OSError):
        say(f"{CPU_INDEX} does not answer: torch comes from pip's own index, which may hold a CUDA build (several GB)")
        return []
    return ["--index-url", CPU_INDEX]


def pip(venv: Path, *arguments: str) -> None:
    """``pip install``; a failure ends with one line after pip's own message."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", *arguments]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "1"}
    if subprocess.run(command, env=environment, check=False).returncode:
        stop("the installation failed (pip's message is above); the next call starts again where this one stopped")


def run_quietly(*command: object) -> bool:
    """Whether the command ends well."""
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0


def say(line: str) -> None:
    print(f"lucida: {line}", flush=True)


def stop(line: str) -> None:
    """End with one line and the exit code of bad input."""
    print(f"lucida: {line}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
