"""Which store a notebook means, and that nothing is saved where it would be lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelkeep import AuthError, GoogleDriveManager, ModelkeepWarning, NotFoundError, UsageError, Workspace
from modelkeep import init_drive_manager
from steps import content


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A pretended Colab, its Drive not mounted yet; where `MyDrive` comes."""
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260210")
    monkeypatch.setenv("MODELKEEP_TESTING", "1")
    monkeypatch.setenv("MODELKEEP_COLAB_MOUNT", str(tmp_path / "content/drive"))
    yield tmp_path / "content/drive/MyDrive"


def test_with_no_store_a_write_raises_with_the_way_out(output: Path, machine: Path) -> None:
    before = content(machine.parent)
    for manager in (GoogleDriveManager(), init_drive_manager()):
        with pytest.raises(PermissionError) as caught:
            manager.upload_model(output, "banking-v2")
        assert isinstance(caught.value, AuthError)
        assert "modelkeep init --remote" in str(caught.value) and "simulate=True" in str(caught.value)
    assert content(machine.parent) == before


def test_with_no_store_a_read_answers_from_the_simulation_and_says_so(simulation: Path) -> None:
    manager = GoogleDriveManager()
    with pytest.warns(ModelkeepWarning, match="simulation") as warned:
        models = manager.list_models()
    assert warned[0].filename == __file__
    assert models.simulated and list(models) == []
    with pytest.warns(ModelkeepWarning), pytest.raises(NotFoundError, match="banking-v2"):
        manager.download_model("banking-v2", "./models")
    assert not simulation.exists() and not Path("models").exists()


@pytest.mark.parametrize("asked", [{"simulate": True}, {"remote": "sim:"}, {"remote": "sim:", "simulate": True}])
def test_the_simulation_asked_for_by_name(asked: dict[str, object], output: Path, simulation: Path) -> None:
    manager = GoogleDriveManager(**asked)
    assert list(manager.list_models()) == []
    saved = manager.upload_model(output, "banking-v2")
    assert saved.simulated
    assert (simulation / "models/finetuned/banking-v2").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = manager.download_model("banking-v2", "./models")
    assert got.simulated and content(Path(got.path)) == content(output)
    # Now that there is one, it is what reads without a store show; a write still needs it named.
    with pytest.warns(ModelkeepWarning):
        assert [model.id for model in GoogleDriveManager().list_models()] == ["banking-v2"]
    with pytest.raises(AuthError):
        GoogleDriveManager().upload_model(output, "banking-v3")


def test_simulate_and_another_store_contradict_each_other(drive: Path) -> None:
    with pytest.raises(UsageError):
        GoogleDriveManager(drive, simulate=True)


def test_the_environment_names_a_store(drive: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_REMOTE", str(drive))
    GoogleDriveManager().upload_model(output, "banking-v2")
    assert [model.id for model in GoogleDriveManager(drive).list_models()] == ["banking-v2"]


def test_a_workspace_is_found_upward_and_an_argument_comes_first(
    drive: Path, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.init(remote=drive)
    Path("notebooks/deep").mkdir(parents=True)
    monkeypatch.chdir("notebooks/deep")
    GoogleDriveManager().upload_model(output, "banking-v2")
    assert [model.id for model in Workspace().list()] == ["banking-v2"]
    other = GoogleDriveManager(tmp_path / "other")
    other.upload_model(output, "banking-v1")
    assert [model.id for model in other.list_models()] == ["banking-v1"]
    monkeypatch.chdir(tmp_path)
    named = GoogleDriveManager(workspace=tmp_path / "project")
    assert [model.id for model in named.list_models()] == ["banking-v2"]
    with pytest.raises(NotFoundError, match="no workspace"):
        GoogleDriveManager(workspace=tmp_path / "home")


def test_a_workspace_without_a_store_is_no_store(output: Path) -> None:
    Workspace.init()
    with pytest.raises(AuthError):
        GoogleDriveManager().upload_model(output, "banking-v2")


def test_colab_saves_to_the_mounted_drive(colab: Path, output: Path) -> None:
    colab.mkdir(parents=True)
    manager = init_drive_manager()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first_look = manager.list_models()
    assert list(first_look) == [] and not first_look.simulated
    with pytest.raises(NotFoundError, match="banking-v2"):
        manager.download_model("banking-v2", "./models")
    assert list(colab.iterdir()) == []
    saved = manager.upload_model("./output", "banking-v2", "latest")
    assert not saved.simulated
    assert (colab / "Banking LLM/models/finetuned/banking-v2/adapter_config.json").is_file()
    assert (colab / "Banking LLM/docs/model_registry.json").is_file()


def test_colab_has_every_command_without_a_workspace(colab: Path, output: Path, train: Callable[..., Path]) -> None:
    manager = init_drive_manager()
    workspace = manager.workspace
    assert workspace.status().remote is None and not workspace.doctor().ok, "with no Drive there is this machine"
    with pytest.raises(AuthError, match="drive.mount"):
        workspace.label("banking-v1", "prod")
    colab.mkdir(parents=True)
    assert workspace.maintain(dry_run=True).period == "due" and workspace.cost()["items"], "no upload has made it yet"
    manager.upload_model(output, "banking-v1")
    manager.upload_model(train("second", seed=2), "banking-v2")
    assert workspace.diff("banking-v1", "banking-v2").files.changed
    workspace.deploy("banking-v2")
    assert workspace.show("banking-v2").deployed and workspace.verify().problems == []
    assert workspace.status().remote.name and len(workspace.cost().models) == 2
    assert {item.id: item.ok for item in workspace.doctor().criteria}["models_on_remote"]
    Path("results").mkdir()
    Path("results/speed.csv").write_text("a\n")
    workspace.file_push("results/speed.csv", to="results/benchmarks")
    assert (colab / "Banking LLM/results/benchmarks/speed.csv").is_file()
    assert repr(workspace) == "GoogleDriveManager().workspace"


@pytest.mark.parametrize("name", ["My Models", "gdrive:My Models"])
def test_colab_takes_a_folder_of_the_drive_by_name(name: str, colab: Path, output: Path) -> None:
    manager = GoogleDriveManager(name)
    with pytest.raises(AuthError, match="drive.mount"):
        manager.upload_model(output, "banking-v2")
    colab.mkdir(parents=True)
    manager.upload_model(output, "banking-v2")
    assert (colab / "My Models/models/finetuned/banking-v2").exists()


def test_colab_without_a_drive_saves_nothing(colab: Path, output: Path, tmp_path: Path) -> None:
    before = content(tmp_path)
    manager = init_drive_manager()
    for path in (None, colab / "Banking LLM"):
        with pytest.raises((AuthError, NotFoundError), match=r"drive\.mount"):
            GoogleDriveManager(path).upload_model(output, "banking-v2")
    with pytest.warns(ModelkeepWarning):
        assert manager.list_models().simulated
    assert content(tmp_path) == before
    # The cell that mounts, then the same cell again.
    colab.mkdir(parents=True)
    assert manager.upload_model(output, "banking-v2").created


def test_a_pretended_mount_needs_testing_to_be_on(
    colab: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab.mkdir(parents=True)
    monkeypatch.delenv("MODELKEEP_TESTING")
    with pytest.raises(AuthError):
        GoogleDriveManager().upload_model(output, "banking-v2")


def test_src_cloud_is_written_and_works(
    drive: Path, tmp_path: Path, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Workspace.init(remote=drive, python=True)
    assert "src/cloud/__init__.py" in made.created
    monkeypatch.syspath_prepend(Path.cwd())
    from src.cloud import GoogleDriveManager as ours
    from src.cloud import init_drive_manager as init

    assert ours is GoogleDriveManager
    manager = init()
    output = train()
    manager.upload_model("./output", "banking-v2", "latest")
    result = ours().download_model("banking-v2", "./models")
    assert content(Path("models/banking-v2/latest")) == content(output) and result.files == 5
    # Never over something that is there.
    Path("src/cloud/__init__.py").write_text("mine = 1\n")
    with pytest.raises(FileExistsError):
        Workspace.init(remote=drive, python=True)
    assert Path("src/cloud/__init__.py").read_text() == "mine = 1\n"
