"""Ctrl-C, threads, forks and the end of the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkeep import GoogleDriveManager, Progress
from steps import content


def run(script: str, *arguments: Path) -> tuple[str, str, int]:
    """What a script in its own interpreter printed, and how it ended."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr, done.returncode


@pytest.fixture
def large(output: Path) -> Path:
    """A file that takes long enough to be stopped in."""
    file = output / "optimizer.dat"
    with file.open("wb") as opened:
        opened.truncate(8 << 30)
    return file


INTERRUPTED = """
import os, signal, sys, threading
import modelkeep

output, drive = sys.argv[1:]
began = threading.Event()
# What starts tests in the background lets them ignore Ctrl-C, and so would this.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    began.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
manager = modelkeep.GoogleDriveManager(drive, progress=lambda progress: progress.kind == "bytes" and began.set())
try:
    manager.upload_model(output, "banking-v2")
except KeyboardInterrupt:
    print("interrupted", len(manager.list_models()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C cannot be sent to one process")
def test_ctrl_c_stops_and_the_cell_can_be_run_again(drive: Path, output: Path, large: Path, tmp_path: Path) -> None:
    assert run(INTERRUPTED, output, drive) == ("interrupted 0\n", "", 0)
    large.unlink()
    manager = GoogleDriveManager(drive)
    manager.upload_model(output, "banking-v2")
    manager.download_model("banking-v2", tmp_path / "models")
    assert content(tmp_path / "models/banking-v2/latest") == content(output)


def test_ctrl_c_as_the_last_byte_is_told_is_not_lost(drive: Path, output: Path) -> None:
    def interrupted(progress: Progress) -> None:
        if progress.kind == "bytes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GoogleDriveManager(drive, progress=interrupted).upload_model(output, "banking-v2")
    assert GoogleDriveManager(drive).upload_model(output, "banking-v2").model == "banking-v2"


LEFT = """
import sys, threading
import modelkeep

output, drive = sys.argv[1:]
began = threading.Event()
manager = modelkeep.GoogleDriveManager(drive, progress=lambda progress: progress.kind == "bytes" and began.set())
threading.Thread(target=manager.upload_model, args=(output, "banking-v2"), daemon=True).start()
began.wait()
"""


def test_the_interpreter_ends_while_a_thread_uploads(drive: Path, output: Path, large: Path) -> None:
    assert run(LEFT, output, drive) == ("", "", 0)
    assert list(GoogleDriveManager(drive).list_models()) == []


FORKED = """
import os, sys
import modelkeep

manager = modelkeep.GoogleDriveManager(sys.argv[1])
before = len(manager.list_models())
child = os.fork()
if child == 0:
    os._exit(0 if len(manager.list_models()) == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_works_too(drive: Path, output: Path) -> None:
    GoogleDriveManager(drive).upload_model(output, "banking-v2")
    # Newer Pythons warn of forks beside threads, which is what this is about.
    assert run(FORKED, drive)[2] == 0


def test_threads_share_a_manager(drive: Path, train: Callable[..., Path]) -> None:
    manager = GoogleDriveManager(drive)
    outputs = [train(f"output-{seed}", seed=seed) for seed in range(4)]
    manager.upload_model(outputs[0], "banking-v0")
    with ThreadPoolExecutor() as pool:
        uploads = [pool.submit(manager.upload_model, path, f"banking-v{n}") for n, path in enumerate(outputs)]
    assert [upload.result().model for upload in uploads] == [f"banking-v{n}" for n in range(4)]
    assert len(manager.list_models()) == 4
