"""A real model, as people have them: pushed, deployed, pulled in another workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from modelkeep import GoogleDriveManager, Workspace
from real_model import model_path
from steps import content, deploy


def test_push_deploy_pull_elsewhere(tmp_path: Path, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = model_path()
    Workspace.init(tmp_path / "one", remote=drive)
    monkeypatch.chdir(tmp_path / "one")
    saved = GoogleDriveManager().upload_model(source, "minilm-v1", purpose="sentence embeddings")
    assert saved.created and saved.size_bytes == sum(len(data) for data in content(source).values())
    deploy(drive, "minilm-v1")

    Workspace.init(tmp_path / "two", remote=drive)
    monkeypatch.chdir(tmp_path / "two")
    (model,) = Workspace().list(status="deployed")
    assert model.deployed and model.id == "minilm-v1"
    result = GoogleDriveManager().download_model("minilm-v1", "./models")
    assert content(Path(result.path)) == content(source)
    weights = [path for path in Path(result.path).rglob("*.safetensors")]
    assert weights
    for path in weights:
        with safe_open(path, framework="numpy") as tensors:
            assert all(tensors.get_tensor(name).size for name in tensors.keys())
    # The files can be read without the tool.
    assert content(drive / "models/deployed/current").items() >= content(source).items()
    shown = Workspace().show("minilm-v1")
    assert {file.path for file in shown.files} == set(content(source))
