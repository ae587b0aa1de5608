"""The set-up, the pins, the layers and what the light packages may import; each test says how much it looked at."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lucida

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LIGHT = ("algorithms", "clustering", "core", "evaluation", "losses")


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def set_up() -> ModuleType:
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "tools" / "set_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_stated_once_more_and_equal() -> None:
    assert lucida.__version__ == PROJECT["project"]["version"] == metadata.version("camera-lucida")


# The set-up.


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_old_or_missing_python_gives_one_clear_line() -> None:
    answer = run("make", "--no-print-directory", "run", "PYTHON=false no-such-python")
    ours = [line for line in answer.stderr.splitlines() if line.startswith("lucida: ")]
    assert answer.returncode == 2
    assert len(ours) == 1
    assert "Python 3.11 or newer is needed" in ours[0]


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package(module: str, tmp_path: Path) -> None:
    program = f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = (str(ROOT / "tools" / "set_up.py"), str(tmp_path / "venv"), "--default-torch", "torch")
    answer = run(sys.executable, "-c", f"import sys; sys.argv = {list(arguments)!r}; {program}")
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == [
        "lucida: Python's venv module is missing; install the package python3-venv (sudo apt install python3-venv)"
    ]
    assert not (tmp_path / "venv").exists()


class TestSteps:
    """Which pip calls the set-up makes; pip itself is replaced, its real calls are CI's."""

    @pytest.fixture
    def calls(self, set_up: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def make_venv(path: Path) -> None:
            (path / "bin").mkdir(parents=True, exist_ok=True)
            (path / "bin" / "python").touch()

        monkeypatch.setattr(set_up, "make_venv", make_venv)
        monkeypatch.setattr(set_up, "pip", lambda venv, *arguments: calls.append(arguments))
        monkeypatch.setattr(set_up, "index_arguments", lambda index: [index])
        return calls

    @staticmethod
    def call(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["set_up", *map(str, arguments)])
        set_up.main()

    def test_torch_comes_first_and_alone(self, set_up, calls, monkeypatch, tmp_path):
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        assert calls[0] == ("--no-deps", "--force-reinstall", "auto", "torch==2")
        assert calls[1][-2:] == ("--editable", str(ROOT))
        assert len(calls) == 2

    def test_a_second_call_does_nothing(self, set_up, calls, monkeypatch, tmp_path):
        for _ in range(2):
            self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        assert len(calls) == 2

    def test_an_extra_leaves_torch_alone_and_stays(self, set_up, calls, monkeypatch, tmp_path):
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2", "--extra", "dev")
        assert calls[2][-1] == f"{ROOT}[dev]"
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        assert len(calls) == 3

    def test_a_torch_chosen_by_hand_stays_chosen(self, set_up, calls, monkeypatch, tmp_path):
        self.call(set_up, monkeypatch, tmp_path, "--torch", "torch==3", "--torch-index", "https://example.org")
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        assert calls[0] == ("--no-deps", "--force-reinstall", "https://example.org", "torch==3")
        assert len(calls) == 2

    def test_new_pins_install_again(self, set_up, calls, monkeypatch, tmp_path):
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        monkeypatch.setattr(set_up, "fingerprint", lambda: "other")
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        assert len(calls) == 3
        assert "torch==2" not in calls[2]

    def test_a_broken_state_installs_from_the_start(self, set_up, calls, monkeypatch, tmp_path):
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        (tmp_path / "lucida.json").write_text("{", encoding="utf-8")
        self.call(set_up, monkeypatch, tmp_path, "--default-torch", "torch==2")
        assert len(calls) == 4


def test_the_cpu_index_is_used_only_where_it_answers(set_up, monkeypatch, capsys) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(set_up.sys, "platform", "linux")
    monkeypatch.setattr(set_up.urllib.request, "urlopen", unreachable)
    assert set_up.index_arguments("auto") == []
    assert "does not answer" in capsys.readouterr().out
    monkeypatch.setattr(set_up.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"a page"))
    assert set_up.index_arguments("auto") == ["--index-url", set_up.CPU_INDEX]
    assert set_up.index_arguments("default") == []
    assert set_up.index_arguments("https://example.org/simple") == ["--index-url", "https://example.org/simple"]
    monkeypatch.setattr(set_up.sys, "platform", "darwin")
    assert set_up.index_arguments("auto") == []


# The pins.


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", row) for row in rows)
    return {canonicalize_name(name): version for name, version in (row.split("==") for row in rows)}


def needed(requirements: list[str]) -> dict[str, str]:
    """Distributions the requirements need on this machine, transitively, with the chain's last link."""
    found: dict[str, str] = {}
    todo = [(Requirement(text), "pyproject.toml") for text in requirements]
    while todo:
        requirement, why = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = why
        todo += [(Requirement(text), name) for text in metadata.requires(name) or []]
    return found


def test_every_package_that_is_installed_is_pinned() -> None:
    project = PROJECT["project"]
    wanted = needed(project["dependencies"] + project["optional-dependencies"]["dev"])
    missing = {name: why for name, why in wanted.items() if name not in pins()}
    print(f"{len(wanted)} packages needed, {len(pins())} pinned")
    assert len(wanted) > 60
    assert set(missing) == {"torch"}, f"add to constraints.txt: {missing}"


def test_the_pins_satisfy_the_ranges() -> None:
    project = PROJECT["project"]
    ranges = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    checked = [r for r in ranges if canonicalize_name(r.name) != "torch"]
    assert len(checked) >= 25
    for requirement in checked:
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


# The layers.


def test_the_layers_hold_and_the_check_can_fail(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    program = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports as check; "
    command = (sys.executable, "-c", program + "sys.exit(check(no_cache=True, no_logo=True))")
    good = run(*command, cwd=tmp_path)
    assert good.returncode == 0, good.stdout
    modules = len(list((tmp_path / "src" / "lucida").rglob("*.py")))
    analyzed = re.search(r"Analyzed (\d+) files", good.stdout)
    assert analyzed is not None
    assert int(analyzed[1]) == modules
    for upper, lower in [("models", "core"), ("report", "core"), ("data", "losses"), ("training", "inference")]:
        wrong = tmp_path / "src" / "lucida" / lower / "wrong.py"
        wrong.write_text(f"import lucida.{upper}\n", encoding="utf-8")
        assert run(*command, cwd=tmp_path).returncode == 1, f"lucida.{lower} may import lucida.{upper}"
        wrong.unlink()


def test_light_packages_import_with_torch_numpy_and_scipy_alone() -> None:
    """A subprocess in which every other third-party package is missing imports all modules of the light packages."""
    program = textwrap.dedent(
        """
        import importlib, json, pkgutil, sys
        from importlib.util import find_spec

        import lucida, numpy, scipy, torch

        blocked, light = set(json.loads(sys.argv[1])), json.loads(sys.argv[2])

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in blocked:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Missing())
        try:
            importlib.import_module("transformers")
        except ModuleNotFoundError:
            names = []
        else:
            sys.exit("the block does not work")
        for package in light:
            if find_spec(f"lucida.{package}") is None:
                continue
            module = importlib.import_module(f"lucida.{package}")
            names.append(module.__name__)
            for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"lucida.{package}."):
                importlib.import_module(found.name)
                names.append(found.name)
        print(json.dumps(names))
        """
    )
    allowed = set(needed(["torch", "numpy", "scipy"]))
    owners = {name: set(map(canonicalize_name, all_)) for name, all_ in metadata.packages_distributions().items()}
    blocked = sorted(name for name in owners if name != "lucida" and not allowed & owners[name])
    answer = run(sys.executable, "-c", program, json.dumps(blocked), json.dumps(LIGHT))
    assert answer.returncode == 0, answer.stderr
    names = json.loads(answer.stdout)
    print(f"imported {len(names)} modules while {len(blocked)} packages were missing")
    assert {"transformers", "pyarrow", "PIL", "pandas"} <= set(blocked)
    expected = [p for package in LIGHT for p in (ROOT / "src" / "lucida").glob(f"{package}/**/*.py")]
    expected += [p for package in LIGHT for p in (ROOT / "src" / "lucida").glob(f"{package}.py")]
    assert len(names) == len(expected) >= 12
