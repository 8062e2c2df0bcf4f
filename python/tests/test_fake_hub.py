"""Hugging Face's own client against the fake Hub, which is why others may trust it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from fake_hub import REPO, FakeHub, Machine, here, hub, start

__all__ = ["here", "hub", "start"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_there_is_listed_and_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.url)
    info = api.model_info(REPO, files_metadata=True)
    assert info.card_data is not None and info.card_data.license == "mit"
    sizes = {file.rfilename: file.size for file in info.siblings or []}
    assert sizes["model.safetensors"] == 256 * 160_000
    assert {file.path for file in api.list_repo_tree(REPO)} == {"README.md", "config.json", "sub", "model.safetensors"}
    assert [file.path for file in api.list_repo_tree(REPO, "sub", recursive=True)] == ["sub/tokenizer.json"]
    assert [branch.name for branch in api.list_repo_refs(REPO).branches] == ["main"]
    assert [info.path for info in api.get_paths_info(REPO, ["config.json", "none"])] == ["config.json"]
    assert [model.id for model in api.list_models()] == [REPO]
    assert api.file_exists(REPO, "config.json") and not api.file_exists(REPO, "none")
    assert not api.repo_exists("acme/none") and not api.revision_exists(REPO, "v9")
    place = Path(snapshot_download(REPO, endpoint=hub.url, cache_dir=tmp_path / "cache"))
    assert place.name == info.sha
    assert content(place) == content(hub.root / REPO)
    assert scan_cache_dir(tmp_path / "cache").warnings == []


def test_other_revisions_have_names(hub: FakeHub, tmp_path: Path) -> None:
    other = hub.root / f"{REPO}@v1"
    other.mkdir()
    (other / "config.json").write_bytes(b"{}")
    api = HfApi(endpoint=hub.url)
    assert [tag.name for tag in api.list_repo_refs(REPO).tags] == ["v1"]
    old, new = api.model_info(REPO, revision="v1").sha, api.model_info(REPO).sha
    assert old != new
    for revision in ("v1", old, (old or "")[:8]):
        place = hf_hub_download(REPO, "config.json", revision=revision, endpoint=hub.url, cache_dir=tmp_path / "cache")
        assert Path(place).read_bytes() == b"{}"


def test_every_no_is_understood(hub: FakeHub, start: Callable[..., FakeHub], tmp_path: Path) -> None:
    def download(file: str = "config.json", repo: str = REPO, of: FakeHub = hub, revision: str | None = None) -> str:
        return hf_hub_download(repo, file, revision=revision, endpoint=of.url, cache_dir=tmp_path / "cache")

    for failing, error in [
        (lambda: download(repo="acme/none"), RepositoryNotFoundError),
        (lambda: download(revision="v9"), RevisionNotFoundError),
        (lambda: download("none.json"), EntryNotFoundError),
        (lambda: download(of=start("--fault", "gated")), GatedRepoError),
        (lambda: download(of=start("--token", "secret")), RepositoryNotFoundError),
    ]:
        with pytest.raises(error):
            failing()
    # What a revision is known to lack is noted.
    commit = HfApi(endpoint=hub.url).model_info(REPO).sha
    assert (tmp_path / f"cache/models--acme--tiny/.no_exist/{commit}/none.json").exists()


def test_faults_are_what_they_are_called(hub: FakeHub, start: Callable[..., FakeHub], tmp_path: Path) -> None:
    def snapshot(name: str, *faults: str) -> Path:
        faulty = start(*faults)
        return Path(snapshot_download(REPO, endpoint=faulty.url, cache_dir=tmp_path / name))

    whole = content(hub.root / REPO)
    assert content(snapshot("cut", "--fault", "cut*2@resolve,seed:3")) == whole
    assert content(snapshot("moved", "--fault", "moved")) == whole
    assert content(snapshot("no-range", "--fault", "no-range")) == whole
    assert content(snapshot("pages", "--page", "1")) == whole
    # It checks nothing: bytes that are as many are good enough for it. That is what ours is for.
    wrong = content(snapshot("wrong", "--fault", "wrong-bytes"))
    assert wrong.keys() == whole.keys() and wrong != whole


def test_the_command_line_is_content(here: Machine) -> None:
    place = here.hf("download", REPO).strip().splitlines()[-1].removeprefix("path=").removeprefix("path: ").strip()
    assert os.path.basename(place) == (here.cache / "models--acme--tiny/refs/main").read_text()
    here.hf("cache", "verify", REPO)
