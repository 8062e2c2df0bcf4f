"""`modelkeep serve` as a process, and Hugging Face's own programs sent to it, each in a process and a cache of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("MODELKEEP_BIN", str(ROOT / "target/debug/modelkeep"))


def modelkeep(*arguments: str | Path) -> Any:
    """Runs a command that must succeed; its JSON."""
    command = [PROGRAM, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


class Serving:
    """A running server; the log of its requests is in `log`."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--listen", "127.0.0.1:0", "-v", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout
        first = self.process.stdout.readline()
        assert first.startswith("listening on http://127.0.0.1:"), first + log.read_text()
        self.url = first.removeprefix("listening on ").strip()

    def requests(self) -> list[str]:
        """What was asked so far: method and path."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [" ".join(words[1:3]) for words in lines if words and words[0].isdigit()]

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        return code


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Starts servers of the workspace in the current folder, which stop with the test."""
    started: list[Serving] = []

    def start(*arguments: str) -> Serving:
        started.append(Serving(tmp_path / f"serve-{len(started)}.log", *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            assert one.stop() == 0, one.log.read_text()


class Counting:
    """Stands before a Hub and counts what it is asked: by method and file, or what else it is about."""

    def __init__(self, hub: str) -> None:
        self.asked: Counter[str] = Counter()
        address, asked = urlsplit(hub), self.asked

        class Pass(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, _, path = self.path.partition("?")[0].partition("/resolve/")
                asked[f"{self.command} {path.partition('/')[2] if path else 'the rest'}"] += 1
                to = HTTPConnection(address.hostname or "", address.port)
                to.request(self.command, self.path, headers=dict(self.headers))
                answer = to.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "date", "transfer-encoding"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                to.close()

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Machine:
    """Somebody's machine, which knows the Hub under another address."""

    def __init__(self, home: Path, endpoint: str, **more: str) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": endpoint}
        self.env |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        self.env |= {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "TOKENIZERS_PARALLELISM": "false", **more}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, cwd=self.home, capture_output=True, text=True)

    def hf(self, *arguments: str) -> str:
        """The `hf` command, which must succeed."""
        done = self.run(str(Path(sys.executable).parent / "hf"), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, program: str, *arguments: str) -> Any:
        """Runs a program that sets `result`, with `argv` being the arguments."""
        lines = ["import json, sys", "argv = sys.argv[1:]", program, "print(json.dumps(result))"]
        done = self.run(sys.executable, "-c", "\n".join(lines), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def files(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder, by path."""
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
