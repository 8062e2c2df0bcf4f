"""Builds the wheel: maturin builds the module, and this the command that goes into the wheel's scripts.

maturin builds one kind of thing at a time, a module or a program. It does put what it finds in a data directory into the
wheel, so the program is built into that first. PEP 517 and 660: https://peps.python.org/pep-0517/.

``MODELKEEP_PROFILE`` names another cargo profile than ``release``, such as ``dev``, for whoever works on modelkeep.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import maturin
from maturin import (
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "python/modelkeep.data/scripts"
Settings = dict[str, Any] | None


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """The wheel, with module and command; its file name."""
    return _with_command(maturin.build_wheel, wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """The same for `pip install --editable`: the module's Python is read where it stands."""
    return _with_command(maturin.build_editable, wheel_directory, config_settings, metadata_directory)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """What the wheel will say of itself; the name of its folder."""
    with _data():
        return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Everything that is in git: the command needs more crates than the module, so maturin's own would not build."""
    with TemporaryDirectory() as folder:
        info = Path(folder) / prepare_metadata_for_build_wheel(folder, config_settings)
        metadata = (info / "METADATA").read_bytes()
    version = next(line for line in metadata.decode().splitlines() if line.startswith("Version:")).split()[1]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    base = f"modelkeep-{version}"
    with tarfile.open(Path(sdist_directory) / f"{base}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in listed.split("\0"):
            if path and (ROOT / path).is_file():
                archive.add(ROOT / path, f"{base}/{path}", recursive=False)
        about = tarfile.TarInfo(f"{base}/PKG-INFO")
        about.size = len(metadata)
        archive.addfile(about, BytesIO(metadata))
    return f"{base}.tar.gz"


@contextmanager
def _data() -> Iterator[None]:
    """The data directory, which maturin wants to be there whatever it is asked."""
    shutil.rmtree(SCRIPTS.parent, ignore_errors=True)
    SCRIPTS.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(SCRIPTS.parent, ignore_errors=True)


def _with_command(build: Callable[..., str], directory: str, settings: Settings, metadata: str | None) -> str:
    profile = os.environ.get("MODELKEEP_PROFILE", "release")
    arguments = os.environ.get("MATURIN_PEP517_ARGS", "")
    with _data():
        shutil.copy2(_command(profile), SCRIPTS)
        os.environ["MATURIN_PEP517_ARGS"] = f"{arguments} --locked --profile {profile}".strip()
        try:
            return build(directory, settings, metadata)
        finally:
            os.environ["MATURIN_PEP517_ARGS"] = arguments


def _command(profile: str) -> Path:
    """Builds the command; where it is. Cargo says so: a target, or a folder for targets, may be set anywhere."""
    cargo = [os.environ.get("CARGO", "cargo"), "build", "--locked", "--profile", profile, "--package", "modelkeep"]
    messages = [*cargo, "--message-format", "json-render-diagnostics"]
    try:
        built = subprocess.run(messages, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise SystemExit("cargo is not here: install Rust from https://rustup.rs, or install a built wheel") from None
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            return Path(message["executable"])
    raise SystemExit("cargo built no command")
