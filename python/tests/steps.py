"""What several tests do: look at a folder, deploy a model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import modelkeep


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def deploy(drive: Path, model: str) -> None:
    """Deploys a model as a user does: with the command, where it was built."""
    binary = os.environ.get("MODELKEEP_BIN")
    if binary is None:
        modelkeep.Workspace(remote=drive).deploy(model)
        return
    command = [binary, "--remote", str(drive), "--yes", "deploy", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
