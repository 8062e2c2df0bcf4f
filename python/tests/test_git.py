"""The programs that people use beside us on a repository: pre-commit runs our hook, git filter-repo takes what we say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

BINARY = os.environ.get("MODELKEEP_BIN", "")
pytestmark = pytest.mark.skipif(not BINARY, reason="MODELKEEP_BIN names no binary")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, with our program and those of this Python on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "modelkeep").symlink_to(BINARY)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    project = tmp_path / "project"
    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.name", "Ana")
    run("git", "config", "user.email", "ana@example.com")
    (project / "README.md").write_text("hello\n")
    return project


def run(*command: str, code: int = 0) -> str:
    """Runs a command; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def weights(path: Path) -> None:
    """A real safetensors file of 400 kB, under any name."""
    random = numpy.random.default_rng(1)
    save_file({"w": random.standard_normal((100, 1000), dtype=numpy.float32)}, path)


def test_pre_commit_runs_the_hook_that_we_offer(repository: Path) -> None:
    hooks = repository.parent / "hooks"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    subprocess.run(["git", "init", "-q"], cwd=hooks, check=True)
    subprocess.run(["git", "add", "-A"], cwd=hooks, check=True)
    identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
    subprocess.run(["git", *identity, "commit", "-q", "-m", "hooks"], cwd=hooks, check=True)
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=hooks, capture_output=True, text=True, check=True)
    (repository / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: {revision.stdout.strip()}\n  hooks:\n  - id: modelkeep-guard\n"
    )
    run("pre-commit", "install")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "begin")
    weights(repository / "notes.txt")
    run("git", "add", "-A")
    refused = subprocess.run(["git", "commit", "-m", "notes"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "notes.txt" in refused.stdout + refused.stderr
    # Beside it, in whichever order: both run, and nothing runs for ever.
    run("modelkeep", "guard", "install")
    refused = subprocess.run(["git", "commit", "-m", "notes"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "notes.txt" in refused.stdout + refused.stderr
    run("pre-commit", "install")
    run("modelkeep", "guard", "install")
    run("git", "rm", "-q", "--cached", "notes.txt")
    (repository / "a.py").write_text("1\n")
    run("git", "add", "a.py", ".gitignore")
    run("git", "commit", "-q", "-m", "code")


def test_pre_commit_installed_after_us_calls_us(repository: Path) -> None:
    run("modelkeep", "guard", "install")
    (repository / ".pre-commit-config.yaml").write_text("repos: []\n")
    run("pre-commit", "install")
    weights(repository / "notes.txt")
    run("git", "add", "-A")
    refused = subprocess.run(["git", "commit", "-m", "notes"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "notes.txt" in refused.stdout + refused.stderr


def test_filter_repo_takes_out_what_we_say_and_nothing_else(repository: Path) -> None:
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "one")
    weights(repository / "model.bin")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "two")
    # The same name, with a content that may stay.
    (repository / "model.bin").write_text("see the store\n")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "three")
    found = run("modelkeep", "guard", "history", code=9)
    assert "model.bin" in found and "git filter-repo --strip-blobs-with-ids too-big.txt" in found
    ids = repository.parent / "too-big.txt"
    ids.write_text(run("modelkeep", "guard", "history", "--ids"))
    run("git", "filter-repo", "--force", "--strip-blobs-with-ids", str(ids))
    run("modelkeep", "guard", "history")
    assert (repository / "model.bin").read_text() == "see the store\n"
    # A commit in which nothing is left goes with it.
    assert run("git", "log", "--format=%s").split() == ["three", "one"]
