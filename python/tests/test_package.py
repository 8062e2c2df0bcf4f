"""The package as it is installed."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

import modelkeep
from modelkeep import GoogleDriveManager, init_drive_manager, workspace

# Read before a test's sealed machine hides the variables of ours.
WHEEL = os.environ.get("MODELKEEP_WHEEL")


def test_it_is_the_installed_wheel() -> None:
    assert modelkeep.__version__ == importlib.metadata.version("modelkeep")
    assert not importlib.metadata.requires("modelkeep")
    assert files(modelkeep).joinpath("py.typed").is_file()
    assert files(modelkeep).joinpath("_modelkeep.pyi").is_file()


def test_every_name_is_there() -> None:
    for name in modelkeep.__all__:
        assert getattr(modelkeep, name) is not None
        assert name in dir(modelkeep)


def test_the_interface_is_the_seeds_to_the_letter() -> None:
    def positional(call: object) -> list[tuple[str, object]]:
        parameters = inspect.signature(call).parameters.values()
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]

    nothing = inspect.Parameter.empty
    upload = [("path", nothing), ("name", nothing), ("version", "latest")]
    download = [("name", nothing), ("dest", nothing), ("version", "latest")]
    assert positional(GoogleDriveManager.upload_model) == upload
    assert positional(GoogleDriveManager.download_model) == download
    assert positional(GoogleDriveManager.list_models) == []
    assert inspect.signature(init_drive_manager).parameters == inspect.signature(GoogleDriveManager).parameters


def test_importing_loads_next_to_nothing() -> None:
    script = """
import sys
before = set(sys.modules)
import modelkeep
print(*sorted(set(sys.modules) - before - {"__future__"}))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["modelkeep"]


def test_the_wheel_is_all_one_needs(tmp_path: Path) -> None:
    """In an environment of its own, with no Rust in reach: the module, and the command as the real program."""
    if WHEEL is None:
        pytest.fail("MODELKEEP_WHEEL names no wheel: run `cargo xtask test`, which builds one")
    bin = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    environment = {"PATH": os.fspath(bin), "HOME": os.fspath(tmp_path), "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}

    def run(program: str, *arguments: str) -> str:
        suffix = ".exe" if os.name == "nt" else ""
        command = [bin / f"{program}{suffix}", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    venv.create(tmp_path / "venv", with_pip=True)
    run("python", "-m", "pip", "install", "--quiet", "--no-index", WHEEL)
    assert run("modelkeep", "--version") == f"modelkeep {modelkeep.__version__}"
    (tmp_path / "output").mkdir()
    (tmp_path / "output/config.json").write_text("{}")
    run("modelkeep", "init", "--remote", "./store")
    run("modelkeep", "push", "./output", "banking-v1")
    script = "from modelkeep import GoogleDriveManager as M; print(M().download_model('banking-v1', 'models').files)"
    assert run("python", "-c", script) == "1"
    program = (bin / f"modelkeep{'.exe' if os.name == 'nt' else ''}").read_bytes()
    assert not program.startswith(b"#!"), "a script that starts Python first"


def test_types_are_checked() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "mypy", "--config-file", root / "pyproject.toml", "--no-incremental"]
    checked = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield f"{module.__name__}.{name}", value
            members = vars(value).items() if inspect.isclass(value) else ()
            for inner, member in members:
                member = member.__func__ if isinstance(member, classmethod) else member
                if not inner.startswith("_") and inspect.isfunction(member):
                    yield f"{module.__name__}.{name}.{inner}", member


MODULES = [
    *("drive_manager", "errors", "progress", "results", "workspace"),
    *(f"workspace.{module.name}" for module in pkgutil.iter_modules(workspace.__path__) if module.name[0] != "_"),
]


def test_everything_public_says_what_it_takes() -> None:
    for module in MODULES:
        for name, value in public(import_module(f"modelkeep.{module}")):
            text = inspect.getdoc(value)
            assert text, f"{name} has no docstring"
            if inspect.isfunction(value):
                parameters = [p for p in inspect.signature(value).parameters if p not in ("self", "cls")]
                documented = text.partition("Parameters\n----------\n")[2]
                missing = [p for p in parameters if not re.search(rf"(^|, )\*?{p}(,| :|$)", documented, re.MULTILINE)]
                assert not missing, f"{name} does not say what {missing} are"
                if inspect.signature(value).return_annotation not in ("None", None):
                    assert "Returns\n-------\n" in text, f"{name} does not say what it returns"
