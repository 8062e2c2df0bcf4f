"""The HF cache with huggingface_hub itself: both count the same, and it is content with what we leave."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hf_cache
import pytest
from huggingface_hub.utils import _cache_manager as hub_cache
from hf_cache import Repo, commit, weights


BINARY = os.environ.get("MODELKEEP_BIN", "")
pytestmark = pytest.mark.skipif(not BINARY, reason="MODELKEEP_BIN names no binary")


@pytest.fixture
def hub(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache where the variables say, and no network."""
    folder = machine / "hf" / "hub"
    folder.mkdir(parents=True)
    for name, value in {"HF_HOME": str(machine / "hf"), "MODELKEEP_TESTING": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODELKEEP_NOW", "2026-02-11T10:00:00Z")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield folder


def modelkeep(*args: str, code: int = 0) -> Any:
    ran = subprocess.run([BINARY, "cache", *args, "--json"], capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def size(hub: Path) -> tuple[int, list[str]]:
    """What theirs counts, and the folders that it warns about."""
    found = hub_cache.scan_cache_dir(hub)
    names = [str(warning) for warning in found.warnings]
    return found.size_on_disk, names


def assert_agrees(hub: Path) -> None:
    theirs = hub_cache.scan_cache_dir(hub)
    ours = modelkeep("status")
    cache = next(cache for cache in ours["caches"] if cache["name"] == "huggingface")
    assert cache["size_bytes"] == theirs.size_on_disk
    place = re.escape(str(hub.resolve()))
    warned = {re.findall(rf"{place}/([^/\s).]+(?:\.txt)?)", str(warning))[0] for warning in theirs.warnings}
    assert {warning.split(":")[0] for warning in ours["warnings"]} == warned
    listed = {entry["commit"]: entry for entry in modelkeep("list", "--assume-hub")["entries"] if entry.get("commit")}
    revisions = [(repo, revision) for repo in theirs.repos for revision in repo.revisions]
    assert {revision.commit_hash for _, revision in revisions} <= set(listed)
    for repo, revision in revisions:
        entry = listed[revision.commit_hash]
        assert entry["size_bytes"] == revision.size_on_disk, repo.repo_id
        assert entry["files"] == revision.nb_files, repo.repo_id
        assert sorted(entry.get("refs", [])) == sorted(revision.refs), repo.repo_id


def test_both_count_the_same(hub: Path) -> None:
    assert_agrees(hub)
    hf_cache.ordinary(hub)
    assert_agrees(hub)
    hf_cache.odd(hub)
    assert_agrees(hub)
    hf_cache.shared_store(hub)
    assert_agrees(hub)


def test_a_cache_that_was_moved_counts_the_same(hub: Path) -> None:
    hf_cache.ordinary(hub)
    hf_cache.shared_store(hub)
    moved = hub.with_name("moved")
    hub.rename(moved)
    hub.symlink_to(moved)
    assert_agrees(hub)


def test_after_a_repair_it_has_nothing_to_say(hub: Path) -> None:
    hf_cache.ordinary(hub)
    hf_cache.odd(hub)
    hf_cache.shared_store(hub)
    (hub / "version.txt").unlink()
    before = {repo.repo_id for repo in hub_cache.scan_cache_dir(hub).repos}
    planned = modelkeep("repair", "--dry-run")
    assert planned["steps"] and size(hub)[1]
    refused = modelkeep("repair", code=2)
    assert "--yes" in refused["error"]["hint"]
    done = modelkeep("repair", "--yes")
    assert done["steps"] == planned["steps"] and done["left"] == []
    found = hub_cache.scan_cache_dir(hub)
    assert not found.warnings and not found.incomplete_files
    assert before <= {repo.repo_id for repo in found.repos}
    # What is somebody's own is beside the cache.
    assert (hub.with_name("hub.set-aside") / "mine" / "notes.md").read_text() == "keep me"
    assert (hub.with_name("hub.set-aside") / "models--odd--file-in-snapshots" / "snapshots" / "note.txt").exists()
    assert modelkeep("repair", "--yes")["steps"] == []
    assert_agrees(hub)


def test_what_is_evicted_is_gone_for_it_and_the_rest_is_whole(hub: Path) -> None:
    hf_cache.ordinary(hub)
    hf_cache.shared_store(hub)
    kept = Repo(hub, "models--org--fresh")
    kept.revision(commit("fresh"), {"model.safetensors": weights(30)}, "main")
    os.utime(kept.blob(weights(30)), (1_770_800_000, 1_770_800_000))
    total = size(hub)[0]
    planned = modelkeep("evict", "--to", "200kB", "--assume-hub", "--dry-run")
    assert size(hub)[0] == total
    done = modelkeep("evict", "--to", "200kB", "--assume-hub", "--yes")
    assert done["steps"] == planned["steps"] and done["freed_bytes"] == planned["freed_bytes"]
    left, warnings = size(hub)
    assert not warnings
    assert left == total - done["freed_bytes"] <= 200_000
    assert hub_cache.scan_cache_dir(hub).repos
    assert any(repo.repo_id == "org/fresh" for repo in hub_cache.scan_cache_dir(hub).repos)
    assert_agrees(hub)


def test_without_proof_nothing_goes(hub: Path) -> None:
    hf_cache.ordinary(hub)
    before = size(hub)
    done = modelkeep("evict", "--to", "0", "--yes", "--offline")
    assert done["steps"] == [] and done["short_bytes"] > 0 and done["stays"]
    assert size(hub) == before


def test_a_revision_goes_and_the_weights_that_another_needs_stay(hub: Path) -> None:
    repo = hf_cache.ordinary(hub)
    strategy = hub_cache.scan_cache_dir(hub).delete_revisions(commit("bert 1"))
    shared = repo.blob(weights(1))
    os.utime(repo.blob(b'{"v": 2}'), (1_770_800_000, 1_770_800_000))
    goal = size(hub)[0] - strategy.expected_freed_size
    done = modelkeep("evict", "--to", str(goal), "--assume-hub", "--yes")
    assert [step["target"] for step in done["steps"]] in (
        [f"model/org/bert@{commit('bert 1')[:12]}"],
        [f"model/gpt2@{commit('gpt2')[:12]}"],
        [f"model/gpt2@{commit('gpt2')[:12]}", f"dataset/org/data@{commit('data')[:12]}"],
    )
    assert shared.exists()
    assert not size(hub)[1]


def test_clear_leaves_less_than_a_gigabyte(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf_cache.ordinary(hub)
    assert modelkeep("clear", "--assume-hub", "--yes")["steps"] == []
    monkeypatch.setenv("MODELKEEP_BUDGET_CACHES", "1")
    assert modelkeep("clear", "--assume-hub", "--yes")["short_bytes"] == 0
    assert size(hub) == (0, [])
    assert list(hub_cache.scan_cache_dir(hub).repos) == []


def test_what_is_being_downloaded_or_read_stays(hub: Path) -> None:
    hf_cache.ordinary(hub)
    lock = hub / ".locks" / "models--gpt2" / "x.lock"
    lock.parent.mkdir(parents=True)
    with hub_cache_lock(lock), open(hub / "datasets--org--data" / "snapshots" / commit("data") / "train.csv", "rb"):
        done = modelkeep("evict", "--to", "0", "--assume-hub", "--yes")
        left = {repo.repo_id for repo in hub_cache.scan_cache_dir(hub).repos}
    assert left == {"gpt2", "org/data"}
    reasons = {stays["target"].split("@")[0]: stays["reason"] for stays in done["stays"]}
    assert "downloading" in reasons["model/gpt2"] and "train.csv open" in reasons["dataset/org/data"]
    modelkeep("evict", "--to", "0", "--assume-hub", "--yes")
    assert size(hub) == (0, [])


def hub_cache_lock(path: Path) -> Any:
    from huggingface_hub.utils import WeakFileLock

    return WeakFileLock(path)


def test_the_hf_command_reads_what_is_left(hub: Path) -> None:
    hf = Path(os.sys.executable).with_name("hf")  # type: ignore[attr-defined]
    if not hf.exists():
        pytest.skip("the `hf` command is not installed")
    hf_cache.ordinary(hub)
    modelkeep("evict", "--to", "200kB", "--assume-hub", "--yes")
    environment = {**os.environ, "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    ran = subprocess.run([hf, "cache", "ls"], capture_output=True, text=True, env=environment, check=True)
    for repo in hub_cache.scan_cache_dir(hub).repos:
        assert repo.repo_id in ran.stdout
    assert "warning" not in (ran.stdout + ran.stderr).lower()
