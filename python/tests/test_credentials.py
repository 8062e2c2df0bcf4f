"""Access to Drive by a callable: asked when it is needed, asked again when a token has ended, never a hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkeep import AuthError, GoogleDriveManager, Workspace, init_drive_manager
from fake_drive import ME, YOU, Fake, start
from steps import content

__all__ = ["start"]  # A fixture.


@pytest.fixture
def google(start: Callable[..., Fake], monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A Drive whose tokens end after a few requests."""
    server = start("--fault", "expire-token=10")
    monkeypatch.setenv("MODELKEEP_TESTING", "1")
    monkeypatch.setenv("MODELKEEP_GDRIVE_ENDPOINT", server.url)
    monkeypatch.setenv("MODELKEEP_GDRIVE_SETTLE_MS", "0")
    monkeypatch.setenv("MODELKEEP_RETRY_BASE_MS", "1")
    return server


def test_it_is_asked_again_in_every_thread(google: Fake, output: Path, tmp_path: Path) -> None:
    asked_in: set[str] = set()

    def token() -> str:
        asked_in.add(threading.current_thread().name)
        return google.tokens()["access_token"]

    # In Colab with no mount, and anywhere else: with access, Drive itself is the store.
    manager = init_drive_manager(credentials=token)
    saved = manager.upload_model(output, "banking-v2")
    assert saved.confirmed and not saved.simulated and saved.spent.calls > 5
    thread = threading.Thread(target=manager.upload_model, args=(output, "banking-v3"), name="background")
    thread.start()
    thread.join()
    assert asked_in == {threading.current_thread().name, "background"}
    pulled = Workspace(remote="gdrive:Banking LLM", credentials=token).pull("banking-v3", to=tmp_path / "back")
    assert content(Path(pulled.path)) == content(output)
    assert [model.id for model in manager.list_models()] == ["banking-v2", "banking-v3"]


def test_what_it_raises_arrives(google: Fake, output: Path) -> None:
    def refuse() -> str:
        raise LookupError("no key in the vault")

    with pytest.raises(LookupError, match="no key"):
        GoogleDriveManager(credentials=refuse).upload_model(output, "banking-v2")
    with pytest.raises(TypeError, match="access token as a text, not int"):
        GoogleDriveManager(credentials=lambda: 3).list_models()  # type: ignore[arg-type, return-value]
    with pytest.raises(AuthError, match="no token"):
        GoogleDriveManager(credentials=lambda: " ").list_models()
    with pytest.raises(AuthError):
        GoogleDriveManager(credentials=lambda: "refused").list_models()


def test_in_colab_drive_itself_comes_before_the_mount(
    google: Fake, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260210")
    monkeypatch.setenv("MODELKEEP_COLAB_MOUNT", str(tmp_path / "content/drive"))
    mounted = tmp_path / "content/drive/MyDrive"
    mounted.mkdir(parents=True)
    for name in (None, "My Models"):
        manager = GoogleDriveManager(name, credentials=lambda: google.tokens()["access_token"])
        assert manager.upload_model(output, "banking-v2").confirmed
    assert list(mounted.iterdir()) == []


def test_a_store_is_shared_and_used_by_somebody_else(google: Fake, output: Path, tmp_path: Path) -> None:
    def token_of(account: str) -> Callable[[], str]:
        return lambda: google.tokens(account)["access_token"]

    ours = Workspace(remote="gdrive:Banking LLM", credentials=token_of(ME))
    Workspace.init("ours", remote="gdrive:Banking LLM", credentials=token_of(ME))
    ours.push(output, "banking-v2")
    shared = ours.remote_share(YOU)
    assert (shared["with"], shared.by, shared.writes) == (YOU, ME, True)
    theirs = Workspace(remote=f"gdrive:id:{shared.folder}", credentials=token_of(YOU))
    assert content(Path(theirs.pull("banking-v2", to=tmp_path / "back").path)) == content(output)
