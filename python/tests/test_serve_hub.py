"""`modelkeep serve` as a Hub for unmodified huggingface_hub and the `hf` command."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_drive import Fake, start
from serving import ROOT, Machine, Serving, files, modelkeep, serve

__all__ = ["serve", "start"]

REPO = "banking/banking-v2"


@pytest.fixture
def stored(machine: Path, drive: Path, train: Callable[..., Path]) -> list[dict[str, bytes]]:
    """Two versions of a model in the current workspace; the first one is called `prod`."""
    one, two = train("one", seed=1), train("two", seed=2)
    # More than a client fetches in one piece.
    (one / "large.bin").write_bytes(bytes(range(256)) * (100 << 10))
    modelkeep("init", "--remote", drive, "--name", "banking")
    modelkeep("push", one, "banking-v2", "--label", "prod")
    modelkeep("push", two, "banking-v2")
    return [files(one), files(two)]


@pytest.fixture
def hub(stored: list[dict[str, bytes]], serve: Callable[..., Serving]) -> Serving:
    return serve()


@pytest.fixture
def user(tmp_path: Path, hub: Serving) -> Machine:
    return Machine(tmp_path / "user", hub.url)


SNAPSHOT = """
from huggingface_hub import snapshot_download
result = snapshot_download(argv[0], revision=argv[1] if argv[1:] else None)
"""


def test_snapshots_by_every_name(user: Machine, hub: Serving, stored: list[dict[str, bytes]]) -> None:
    (second, first) = [push["revision"] for push in modelkeep("show", "banking-v2")["history"]]
    for name, number in [("prod", 0), ("1", 0), (first, 0), (first[:12], 0), ("main", 1), ("latest", 1), ("2", 1)]:
        folder = user.python(SNAPSHOT, REPO, name)
        assert files(folder) == stored[number], name
        assert Path(folder).name == (first, second)[number]
    assert files(user.python(SNAPSHOT, REPO)) == stored[1]
    # What is here already is not asked for again.
    before = len(hub.requests())
    user.python(SNAPSHOT, REPO, "prod")
    assert [line for line in hub.requests()[before:] if "/resolve/" in line] == []


def test_questions_about_models(user: Machine, stored: list[dict[str, bytes]]) -> None:
    told = user.python(
        """
from huggingface_hub import HfApi
api, repo = HfApi(), argv[0]
info = api.model_info(repo, revision="prod", files_metadata=True)
refs = api.list_repo_refs(repo, include_pull_requests=True)
result = {
    "files": sorted(api.list_repo_files(repo, revision="prod")),
    "info": {s.rfilename: [s.size, s.lfs.sha256] for s in info.siblings},
    "commit": info.sha, "library": info.library_name, "tags": info.tags,
    "names": {tag.name: tag.target_commit for tag in refs.tags},
    "branches": [branch.name for branch in refs.branches],
    "commits": [[c.commit_id, c.title, c.authors] for c in api.list_repo_commits(repo)],
    "models": [model.id for model in api.list_models(search="bank", author="banking", limit=5)],
    "paths": [[p.path, type(p).__name__] for p in api.get_paths_info(repo, ["checkpoint-500", "empty.txt", "no"])],
    "tree": [entry.path for entry in api.list_repo_tree(repo, "checkpoint-500", revision="1", expand=True)],
    "exist": [api.repo_exists(repo), api.repo_exists("banking/no"), api.file_exists(repo, "empty.txt"),
        api.file_exists(repo, "no.txt"), api.revision_exists(repo, "prod"), api.revision_exists(repo, "no")],
}
""",
        REPO,
    )
    first = stored[0]
    assert told["files"] == sorted(first) == sorted(told["info"])
    assert {path: size for path, (size, _) in told["info"].items()} == {path: len(data) for path, data in first.items()}
    assert told["names"]["prod"] == told["names"]["1"] == told["commit"]
    assert told["branches"] == ["main"] and told["names"]["latest"] == told["names"]["2"] == told["commits"][0][0]
    assert told["library"] == "peft" and {"peft", "prod", "base_model:meta-llama/Llama-2-7b-hf"} <= set(told["tags"])
    assert len(told["commits"]) == 2 and told["models"] == [REPO]
    assert told["paths"] == [["checkpoint-500", "RepoFolder"], ["empty.txt", "RepoFile"]]
    assert told["tree"] == ["checkpoint-500/adapter_model.safetensors"]
    assert told["exist"] == [True, False, True, False, True, False]


def test_errors_are_those_that_programs_catch(user: Machine) -> None:
    told = user.python(
        """
from huggingface_hub import hf_hub_download, upload_file
def name(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except Exception as error:
        return [type(error).__name__, str(error)]
result = [
    name(hf_hub_download, argv[0], "no.json"),
    name(hf_hub_download, argv[0], "empty.txt", revision="no"),
    name(hf_hub_download, "banking/no", "empty.txt"),
    name(upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id=argv[0], token="hf_any"),
]
""",
        REPO,
    )
    kinds = [kind for kind, _ in told]
    assert kinds[:3] == ["RemoteEntryNotFoundError", "RevisionNotFoundError", "RepositoryNotFoundError"], told
    assert "modelkeep push" in told[3][1], told


def test_a_file_system(user: Machine, stored: list[dict[str, bytes]]) -> None:
    told = user.python(
        """
from huggingface_hub import HfFileSystem
fs, root = HfFileSystem(), argv[0] + "@prod"
with fs.open(root + "/large.bin", block_size=1 << 20) as file:
    file.seek(-10, 2)
    tail = file.read()
    file.seek(5_000_003)
    middle = file.read(7)
result = {
    "ls": sorted(entry["name"] for entry in fs.ls(root)),
    "glob": fs.glob(root + "/**/*.safetensors"),
    "size": fs.info(root + "/large.bin")["size"],
    "kind": fs.info(root + "/checkpoint-500")["type"],
    "bytes": [tail.hex(), middle.hex(), fs.cat_file(root + "/benchmark.json").hex()],
}
""",
        REPO,
    )
    first = stored[0]
    root = f"{REPO}@prod"
    assert told["ls"] == sorted({f"{root}/{path.split('/')[0]}" for path in first})
    assert sorted(told["glob"]) == [f"{root}/{path}" for path in sorted(first) if path.endswith(".safetensors")]
    assert (told["size"], told["kind"]) == (len(first["large.bin"]), "directory")
    large = first["large.bin"]
    wanted = [large[-10:], large[5_000_003:5_000_010], first["benchmark.json"]]
    assert told["bytes"] == [part.hex() for part in wanted]


def test_the_hf_command(user: Machine, stored: list[dict[str, bytes]], tmp_path: Path) -> None:
    user.hf("download", REPO, "--revision", "prod", "--local-dir", str(tmp_path / "there"))
    there = {path: data for path, data in files(tmp_path / "there").items() if not path.startswith(".cache")}
    assert there == stored[0]
    user.hf("download", REPO, "--revision", "prod")
    told = user.hf("cache", "verify", REPO, "--revision", "prod")
    assert str(len(stored[0])) in told, told
    assert REPO in user.hf("models", "list", "--search", "banking", "--quiet")


def test_the_guide(user: Machine, tmp_path: Path) -> None:
    """What the guide shows of clients, in the workspace that it makes."""
    text = (ROOT / "docs/guide/serve.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert sorted(user.python(program + "\nresult = versions")) == ["1", "2", "latest", "prod"]
    commands = re.findall(r"^\$ hf (.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        user.hf(*command.split())


def test_a_token(serve: Callable[..., Serving], stored: list[dict[str, bytes]], tmp_path: Path) -> None:
    hub = serve("--token", "hf_secret")
    user = Machine(tmp_path / "with", hub.url, HF_TOKEN="hf_secret")
    assert files(user.python(SNAPSHOT, REPO, "prod")) == stored[0]
    assert "banking" in user.hf("auth", "whoami")
    stranger = Machine(tmp_path / "without", hub.url)
    told: Any = stranger.python(
        """
from huggingface_hub import hf_hub_download
try:
    result = hf_hub_download(argv[0], "empty.txt")
except Exception as error:
    result = [type(error).__name__, str(error)]
""",
        REPO,
    )
    assert told[0] == "HfHubHTTPError" and "401" in told[1] and "HF_TOKEN" in told[1], told


def test_it_stops_politely(serve: Callable[..., Serving], stored: list[dict[str, bytes]]) -> None:
    hub = serve()
    assert hub.stop() == 0


def test_what_is_on_a_drive_comes_from_there_once(
    machine: Path,
    train: Callable[..., Path],
    serve: Callable[..., Serving],
    start: Callable[..., Fake],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    drive, output = start(), train()
    monkeypatch.setenv("MODELKEEP_GDRIVE_ENDPOINT", drive.url)
    monkeypatch.setenv("MODELKEEP_GDRIVE_TOKEN", drive.tokens()["access_token"])
    modelkeep("init", "--remote", "gdrive:Banking LLM", "--name", "banking")
    modelkeep("push", output, "banking-v2")
    hub = serve()
    drive.control("calls", method="DELETE")
    for name in ("one", "two"):
        folder = Machine(tmp_path / name, hub.url).python(SNAPSHOT, REPO)
        assert files(folder) == files(output)
    calls = drive.control("calls", method="GET")["calls"]
    asked = Counter(call["path"] for call in calls if call["name"] == "files.download")
    # The version's marker is read whenever one of its files is looked for.
    contents = len({content for content in files(output).values() if content})
    assert sorted(asked.values())[:contents] == [1] * contents and len(asked) <= contents + 1, asked
