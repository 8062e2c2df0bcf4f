"""The package as it is installed."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
from importlib.resources import files

import modelkeep
from modelkeep import GoogleDriveManager, init_drive_manager


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
import sys, time
before = set(sys.modules)
start = time.perf_counter()
import modelkeep
took = time.perf_counter() - start
print(took)
print(*sorted(name for name in set(sys.modules) - before if name.startswith("modelkeep")))
"""
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(5)]
    assert min(float(run.stdout.splitlines()[0]) for run in runs) < 0.05
    assert runs[0].stdout.splitlines()[1] == "modelkeep"
