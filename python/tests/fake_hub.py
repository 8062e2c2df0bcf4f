"""The fake Hub as a process, the program under test, and Hugging Face's own programs beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Read before a test's sealed machine hides the variables of ours.
PROGRAM = os.environ.get("MODELKEEP_FAKE_HUB", str(ROOT / "target/debug/fake-hub"))
MODELKEEP = os.environ.get("MODELKEEP_BIN", str(ROOT / "target/debug/modelkeep"))
HF = str(Path(sys.executable).parent / "hf")
REPO = "acme/tiny"


class FakeHub:
    """A running fake-hub over a folder of repositories."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.root = root
        command = [PROGRAM, "--root", str(root), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        first = self.process.stdout.readline()
        assert first.startswith("listening on http://127.0.0.1:"), first
        self.url = first.removeprefix("listening on ").strip()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def put(self, path: str, content: bytes, repo: str = REPO) -> None:
        file = self.root / repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


class Machine:
    """A home with Hugging Face's cache in it; every program is started as a user would."""

    def __init__(self, home: Path, hub: FakeHub | None) -> None:
        self.home = home
        self.cache = home / ".cache/huggingface/hub"
        self.hub = hub

    def environment(self, offline: bool = False) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
        more = {"HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        if offline or self.hub is None:
            return kept | more | {"HF_HUB_OFFLINE": "1"}
        return kept | more | {"HF_ENDPOINT": self.hub.url}

    def run(self, *command: str, offline: bool = False) -> str:
        ran = subprocess.run(command, env=self.environment(offline), capture_output=True, text=True)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def modelkeep(self, *arguments: str, offline: bool = False) -> Any:
        """Our program's one JSON document."""
        return json.loads(self.run(MODELKEEP, *arguments, "--json", offline=offline))

    def hf(self, *arguments: str) -> str:
        return self.run(HF, *arguments)

    def python(self, code: str, offline: bool = False) -> Any:
        """What a script prints as JSON, in a process of its own: these libraries read the environment once."""
        printed = self.run(sys.executable, "-W", "ignore", "-c", f"import json\n{code}", offline=offline)
        return json.loads(printed.splitlines()[-1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FakeHub]]:
    """Starts Hubs over one folder, which stop with the test."""
    hubs: list[FakeHub] = []
    (tmp_path / "hub").mkdir()

    def start(*arguments: str) -> FakeHub:
        hubs.append(FakeHub(tmp_path / "hub", *arguments))
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.stop()


@pytest.fixture
def hub(start: Callable[..., FakeHub]) -> FakeHub:
    """One with a model in it: small files, and a large one in several parts."""
    hub = start()
    hub.put("README.md", b"---\nlicense: mit\n---\n# tiny\n")
    hub.put("config.json", b'{"model_type": "bert"}')
    hub.put("sub/tokenizer.json", b"{}")
    hub.put("model.safetensors", bytes(range(256)) * 160_000)
    return hub


@pytest.fixture
def here(machine: Path, hub: FakeHub) -> Machine:
    """A machine that knows the Hub."""
    return Machine(machine, hub)
