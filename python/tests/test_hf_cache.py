"""What we write into Hugging Face's cache, seen by Hugging Face's own programs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir

from fake_hub import HF, MODELKEEP, REPO, FakeHub, Machine, here, hub, start

__all__ = ["here", "hub", "start"]


def refs(here: Machine, repo: str) -> dict[str, str]:
    """Names and commits, once the scan found nothing odd."""
    scanned = scan_cache_dir(here.cache)
    assert scanned.warnings == []
    found = [found for found in scanned.repos if found.repo_id == repo]
    return {name: revision.commit_hash for name, revision in found[0].refs.items()} if found else {}


def test_what_we_fetched_is_theirs(here: Machine) -> None:
    report = here.modelkeep("fetch", REPO)
    assert report["source"] == "hub" and report["fetched_bytes"] == report["size_bytes"]
    assert refs(here, REPO) == {"main": report["commit"]}
    here.hf("cache", "verify", REPO)
    code = f"""
from huggingface_hub import snapshot_download, hf_hub_download, try_to_load_from_cache, _CACHED_NO_EXIST
print(json.dumps([snapshot_download({REPO!r}), hf_hub_download({REPO!r}, "sub/tokenizer.json"),
                  try_to_load_from_cache({REPO!r}, "vocab.txt") is _CACHED_NO_EXIST]))
"""
    for offline in (False, True):
        place, file, missing = here.python(code, offline=offline)
        assert place == report["path"] and Path(file).read_bytes() == b"{}" and missing
    # Nothing was fetched a second time under another name.
    assert len(list((here.cache / "models--acme--tiny/blobs").iterdir())) == report["files"]
    # And they delete it as theirs.
    scan_cache_dir(here.cache).delete_revisions(report["commit"]).execute()
    assert not (here.cache / "models--acme--tiny").exists()
    assert here.modelkeep("fetch", REPO)["fetched_bytes"] == report["size_bytes"]


def test_what_they_fetched_is_ours(here: Machine) -> None:
    here.hf("download", REPO)
    report = here.modelkeep("fetch", REPO)
    assert report["fetched_bytes"] == 0
    assert here.modelkeep("fetch", REPO, offline=True)["source"] == "cache"


def test_ours_beside_theirs(here: Machine) -> None:
    for _ in range(3):
        together = [
            subprocess.Popen(command, env=here.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for command in ([MODELKEEP, "fetch", REPO, "--json"], [HF, "download", REPO], [MODELKEEP, "fetch", REPO])
        ]
        for process in together:
            out, errors = process.communicate()
            assert process.returncode == 0, out + errors
        assert set(refs(here, REPO)) == {"main"}
        here.hf("cache", "verify", REPO)
        blobs = list((here.cache / "models--acme--tiny/blobs").iterdir())
        assert len(blobs) == 4, blobs
        subprocess.run(["rm", "-rf", str(here.cache / "models--acme--tiny")], check=True)


def test_what_is_wrong_is_not_given_to_them(start: Callable[..., FakeHub], hub: FakeHub, machine: Path) -> None:
    wrong = Machine(machine, start("--fault", "wrong-bytes@resolve"))
    ran = subprocess.run([MODELKEEP, "fetch", REPO], env=wrong.environment(), capture_output=True, text=True)
    assert ran.returncode == 5, ran.stderr
    scanned = scan_cache_dir(wrong.cache)
    assert scanned.warnings == []
    assert not any(revision.files for repo in scanned.repos for revision in repo.revisions)
    assert Machine(machine, hub).modelkeep("fetch", REPO)["files"] == 4


def push(here: Machine, output: Path, **settings: Any) -> dict[str, Any]:
    config = json.loads((output / "adapter_config.json").read_text()) | settings
    (output / "adapter_config.json").write_text(json.dumps(config))
    pushed: dict[str, Any] = here.modelkeep("push", str(output), "banking-v2", "--label", "team/prod")
    return pushed


def test_a_version_loads_by_name(here: Machine, drive: Path, output: Path) -> None:
    here.modelkeep("init", "--remote", str(drive), "--name", "banking")
    pushed = push(here, output)
    report = here.modelkeep("pull", "banking-v2", "--into", "hf-cache")
    assert report["repo"] == "banking/banking-v2"
    names = refs(here, "banking/banking-v2")
    assert names == dict.fromkeys(("main", "latest", "1", "team/prod"), pushed["revision"])
    for revision in ("latest", "team/prod", "1", pushed["revision"], None):
        code = f"""
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download("banking/banking-v2", revision={revision!r}, local_files_only=True)))
"""
        place = Path(here.python(code, offline=True))
        assert place == Path(report["path"])
    assert {path.name for path in place.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert (place / "checkpoint-500/adapter_model.safetensors").resolve().parent.name == "blobs"


def test_an_adapter_brings_its_base(here: Machine, drive: Path, output: Path) -> None:
    here.modelkeep("init", "--remote", str(drive), "--name", "banking")
    commit = here.modelkeep("fetch", REPO)["commit"]
    push(here, output, base_model_name_or_path=REPO, revision=None)
    shown = here.modelkeep("show", "banking-v2")
    assert shown["base_model"] == REPO
    subprocess.run(["rm", "-rf", str(here.cache)], check=True)
    report = here.modelkeep("pull", "banking-v2", "--into", "hf-cache", "--with-base")
    assert report["base_fetched"]["commit"] == commit
    assert refs(here, REPO) == {"main": commit}
    here.modelkeep("fetch", REPO, "--store")
    subprocess.run(["rm", "-rf", str(here.cache)], check=True)
    assert here.hub
    here.hub.stop()
    report = here.modelkeep("pull", "banking-v2", "--into", "hf-cache", "--with-base", offline=True)
    assert report["base"]["repo"] == REPO
    assert refs(here, REPO) == {"main": commit}
