"""The seed's three calls on a folder: scenarios 3 and 4."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import load_file

from modelkeep import ConflictError, GoogleDriveManager, NotFoundError, Progress, UsageError, init_drive_manager
from steps import content, deploy


def test_train_in_one_place_use_in_another(drive: Path, output: Path, tmp_path: Path) -> None:
    manager = init_drive_manager(drive)
    saved = manager.upload_model("./output", "banking-v2", "latest")
    assert saved.created and saved["created"] is True
    assert (saved.model, saved.number, saved.labels) == ("banking-v2", 1, ["latest"])
    assert saved.base_model == "meta-llama/Llama-2-7b-hf"
    assert saved.metrics == {"accuracy": 0.952, "eval_loss": 0.098}
    assert not saved.simulated
    assert (drive / "models/finetuned/banking-v2/adapter_model.safetensors").is_file()

    elsewhere = GoogleDriveManager(str(drive))
    result = elsewhere.download_model("banking-v2", tmp_path / "models")
    here = tmp_path / "models/banking-v2/latest"
    assert Path(result.path) == here
    assert result["revision"] == saved["revision"]
    assert content(here) == content(output)
    ours, theirs = load_file(here / "adapter_model.safetensors"), load_file(output / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(numpy.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_relative_destination_is_below_the_current_folder(drive: Path, output: Path) -> None:
    manager = GoogleDriveManager(drive)
    manager.upload_model("output", "banking-v2")
    manager.download_model("banking-v2", "./models")
    assert content(Path("models/banking-v2/latest")) == content(output)


def test_versions_are_labels_on_upload_and_selectors_on_download(
    drive: Path, train: Callable[..., Path], tmp_path: Path
) -> None:
    manager = GoogleDriveManager(drive)
    first, second = train("one", seed=1), train("two", seed=2)
    one = manager.upload_model(first, "banking-v2", "candidate", metrics={"f1": numpy.float32(0.5)}, note="first")
    assert one.labels == ["latest", "candidate"]
    assert one.metrics["f1"] == 0.5
    manager.upload_model(second, "banking-v2")
    for version, wanted in [("candidate", first), (1, first), ("2", second), (one.revision[:12], first)]:
        manager.download_model("banking-v2", tmp_path / "models", version)
        assert content(tmp_path / "models/banking-v2" / str(version)) == content(wanted)


def test_the_same_again_sends_nothing(drive: Path, output: Path, tmp_path: Path) -> None:
    manager = GoogleDriveManager(drive)
    first = manager.upload_model(output, "banking-v2")
    again = manager.upload_model(output, "banking-v2")
    assert (again.created, again.sent_bytes, again.revision) == (False, 0, first.revision)
    manager.download_model("banking-v2", tmp_path / "models")
    assert manager.download_model("banking-v2", tmp_path / "models").fetched_bytes == 0


def test_the_list_is_a_list_and_a_report(drive: Path, train: Callable[..., Path]) -> None:
    manager = GoogleDriveManager(drive)
    manager.upload_model(train("one", seed=1), "banking-v1")
    manager.upload_model(train("two", seed=2), "banking-v2", purpose="intents")
    models = manager.list_models()
    assert [model.id for model in models] == ["banking-v1", "banking-v2"]
    assert models["models"][1]["purpose"] == models[1].purpose == "intents"
    assert not models.simulated and not models["simulated"]
    assert dict(models).keys() == {"models", "simulated"}
    assert json.loads(json.dumps(models))[0]["id"] == "banking-v1"
    assert pickle.loads(pickle.dumps(models)) == models
    assert "banking-v2" in repr(models)


def test_results_are_dicts_with_attributes(drive: Path, output: Path) -> None:
    result = GoogleDriveManager(drive).upload_model(output, "banking-v2")
    assert isinstance(result, Mapping)
    assert json.loads(json.dumps(result)) == result
    assert pickle.loads(pickle.dumps(result)) == result
    assert "revision" in dir(result)
    with pytest.raises(AttributeError, match="it has: model"):
        _ = result.no_such_field


def test_a_deployed_model_is_not_written(drive: Path, train: Callable[..., Path]) -> None:
    first, second = train("one", seed=1), train("output", seed=2)
    manager = GoogleDriveManager(drive)
    saved = manager.upload_model(first, "banking-v2")
    deploy(drive, "banking-v2")
    with pytest.raises(FileExistsError) as caught:
        manager.upload_model("./output", "banking-v2", "latest")
    assert isinstance(caught.value, ConflictError)
    assert caught.value.hint == "manager.upload_model('./output', 'banking-v3', 'latest')"
    assert caught.value.next_model == "banking-v3"
    assert manager.list_models()[0].revision == saved.revision
    # The same content is no conflict, and what the hint says works.
    assert not manager.upload_model(first, "banking-v2").created
    assert eval(caught.value.hint, {"manager": manager}).created
    assert GoogleDriveManager(drive).upload_model(second, "banking-v3").created is False


def test_another_conflict_keeps_its_hint(drive: Path, output: Path, tmp_path: Path) -> None:
    manager = GoogleDriveManager(drive)
    manager.upload_model(output, "banking-v2")
    mine = tmp_path / "models/banking-v2/latest/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConflictError) as caught:
        manager.download_model("banking-v2", tmp_path / "models")
    assert caught.value.next_model is None
    assert content(mine.parent) == {"notes.txt": b"mine"}


def test_a_slip_makes_no_store(drive: Path, output: Path) -> None:
    manager = GoogleDriveManager(drive)
    with pytest.raises(NotFoundError, match="nowhere"):
        manager.upload_model("./nowhere", "banking-v2")
    with pytest.raises(UsageError) as caught:
        manager.upload_model(output, "Banking V2")
    assert caught.value.hint is not None and "banking-v2" in caught.value.hint
    assert not drive.exists()
    with pytest.raises(NotFoundError):
        GoogleDriveManager(drive / "with/a/slip").upload_model(output, "banking-v2")
    assert not drive.exists()


def test_a_store_that_was_named_stays_where_it_is(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = GoogleDriveManager("./drive")
    (tmp_path / "project/deeper").mkdir()
    monkeypatch.chdir(tmp_path / "project/deeper")
    manager.upload_model(output, "banking-v2")
    assert (tmp_path / "project/drive/models/finetuned/banking-v2").exists()


def test_progress_is_told(drive: Path, output: Path) -> None:
    told: list[Progress] = []
    saved = GoogleDriveManager(drive, progress=told.append).upload_model(output, "banking-v2")
    assert any(progress.kind == "stage" and progress.bytes == saved.size_bytes for progress in told)
    assert sum(progress.bytes or 0 for progress in told if progress.kind == "bytes") >= saved.sent_bytes


def test_a_callback_that_raises_stops_the_work(drive: Path, output: Path) -> None:
    def refuse(progress: Progress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        GoogleDriveManager(drive, progress=refuse).upload_model(output, "banking-v2")
    assert GoogleDriveManager(drive).upload_model(output, "banking-v2").revision
