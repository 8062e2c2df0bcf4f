"""The tree of exceptions."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

import modelkeep
from modelkeep import errors

TREE = {
    "usage": (errors.UsageError, ValueError),
    "not_found": (errors.NotFoundError, FileNotFoundError),
    "conflict": (errors.ConflictError, FileExistsError),
    "integrity": (errors.IntegrityError, OSError),
    "auth": (errors.AuthError, PermissionError),
    "unavailable": (errors.UnavailableError, ConnectionError),
    "quota": (errors.QuotaError, OSError),
    "local": (errors.LocalError, OSError),
    "check_failed": (errors.CheckFailedError, RuntimeError),
    "internal": (errors.InternalError, RuntimeError),
}


@pytest.mark.parametrize("kind", TREE)
def test_every_kind_has_its_class_and_its_builtin(kind: str) -> None:
    error = errors.of_kind(kind, "it failed", "try this")
    ours, builtin = TREE[kind]
    assert type(error) is ours and isinstance(error, modelkeep.Error) and isinstance(error, builtin)
    assert (error.kind, error.message, error.hint) == (kind, "it failed", "try this")
    assert str(error) == "it failed\nhint: try this"
    assert str(errors.of_kind(kind, "it failed")) == "it failed"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (ours, str(error))


def test_errors_of_the_core_arrive_with_kind_and_hint(drive: Path, output: Path) -> None:
    manager = modelkeep.GoogleDriveManager(drive)
    manager.upload_model(output, "banking-v2")
    with pytest.raises(modelkeep.Error) as caught:
        manager.download_model("bankng-v2", "./models")
    assert caught.value.kind == "not_found"
    assert "banking-v2" in str(caught.value)
    with pytest.raises(FileNotFoundError):
        manager.download_model("banking-v2", "./models", "no-such-label")
    with pytest.raises(ValueError, match="metric"):
        manager.upload_model(output, "banking-v3", metrics={"accuracy": "good"})
    with pytest.raises(ValueError):
        modelkeep.Workspace(remote=drive).list(status="no-such-status")
    with pytest.raises(FileNotFoundError):
        modelkeep.GoogleDriveManager("no-such-remote")


def test_wrong_types_are_exceptions_too(drive: Path) -> None:
    manager = modelkeep.GoogleDriveManager(drive)
    for call in (
        lambda: manager.upload_model(3, "banking-v2"),
        lambda: manager.upload_model(".", 3),
        lambda: manager.upload_model(".", "banking-v2", 7.5),
        lambda: manager.download_model("banking-v2", None),
        lambda: modelkeep.GoogleDriveManager(3),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert not drive.exists()


def test_damaged_content_is_found_and_nothing_is_left_behind(drive: Path, output: Path, tmp_path: Path) -> None:
    manager = modelkeep.GoogleDriveManager(drive)
    manager.upload_model(output, "banking-v2")
    shutil.rmtree(output)  # else a pull takes the right bytes from there
    for stored in drive.rglob("adapter_model.safetensors"):
        damaged = bytearray(stored.read_bytes())
        damaged[-1] ^= 1
        stored.chmod(0o644)
        stored.write_bytes(damaged)
    with pytest.raises(errors.IntegrityError):
        manager.download_model("banking-v2", tmp_path / "models")
    assert not (tmp_path / "models/banking-v2/latest").exists()
