"""What hands checkpoints in and stores them in the background, without a framework: what it must survive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkeep import GoogleDriveManager, Workspace
from modelkeep._bridge import Bridge
from modelkeep.errors import Error
from modelkeep.integrations._saving import UNSENT, Saver
from steps import content


@pytest.fixture
def save(train: Callable[..., Path]) -> Callable[[int], Path]:
    """Writes a checkpoint as the Trainer leaves it."""

    def save(step: int) -> Path:
        folder = train(f"output/checkpoint-{step}", seed=step)
        shutil.rmtree(folder / "checkpoint-500")
        (folder / "optimizer.pt").write_bytes(bytes([step % 256]) * 4096)
        state = {"global_step": step, "log_history": [{"step": step, "loss": 1 / step}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        return folder

    return save


def saver(drive: Path, **options: object) -> Saver:
    bridge = Bridge(None, drive, notebook=True, progress=False)
    bridge.call("training", {"model": "banking-v3"})
    return Saver(bridge, "banking-v3", Path("output"), options, 0.0)


def stored(drive: Path) -> list[int]:
    return [item.step for item in Workspace(remote=drive).checkpoints("banking-v3")]


def test_what_was_handed_in_may_go_away(drive: Path, save: Callable[[int], Path], tmp_path: Path) -> None:
    saving = saver(drive)
    saving.start()
    originals = {}
    for step in (1, 2, 3):
        folder = save(step)
        originals[step] = content(folder)
        saving.checkpoint(folder)
        shutil.rmtree(folder)  # As the Trainer does with save_total_limit.
    saving.close()
    assert [item.step for item in saving.stored] == [1, 2, 3] == stored(drive)
    for step in (1, 2, 3):
        pulled = GoogleDriveManager(drive).download_model("banking-v3", tmp_path / "back", f"checkpoint-{step}")
        assert content(Path(pulled.path)) == originals[step]
    assert not Path("output", UNSENT).exists()


def test_a_drive_that_goes_away_in_the_middle(drive: Path, save: Callable[[int], Path], tmp_path: Path) -> None:
    saving = saver(drive)
    saving.start()
    saving.checkpoint(save(1))
    saving.wait()
    drive.rename(tmp_path / "unmounted")
    saving.checkpoint(save(2))
    saving.entry({"step": 2, "loss": float("nan")})
    with pytest.raises(Error):
        saving.wait()
    assert (Path("output") / UNSENT / "banking-v3/checkpoint-2").is_dir(), "kept until it is stored"
    assert not drive.exists(), "no other store is made where it was"
    (tmp_path / "unmounted").rename(drive)
    saving.checkpoint(save(3))
    saving.close()
    assert stored(drive) == [1, 2, 3]
    (log,) = (drive / "results/training_logs").glob("*.live.jsonl")
    assert json.loads(log.read_text()) == {"step": 2, "loss": None}


def test_what_was_left_is_stored_next_time(drive: Path, save: Callable[[int], Path]) -> None:
    first = saver(drive)
    for step in (2, 10):
        first.checkpoint(save(step))  # Never started, as if it was killed before its first push.
    second = saver(drive)
    second.start()
    second.close()
    assert stored(drive) == [2, 10], "by step, not by name"


def test_what_is_left_is_no_part_of_a_push(drive: Path, save: Callable[[int], Path]) -> None:
    saver(drive).checkpoint(save(1))
    pushed = GoogleDriveManager(drive).upload_model("output", "banking-v9")
    names = [file.path for file in Workspace(remote=drive).show("banking-v9").files]
    assert pushed.created and not any(UNSENT in name for name in names)


KILLED = """
import sys
from pathlib import Path
from modelkeep._bridge import Bridge
from modelkeep.integrations._saving import Saver

drive, *checkpoints = sys.argv[1:]
bridge = Bridge(None, drive, notebook=True, progress=lambda progress: print(progress.kind, flush=True))
saver = Saver(bridge, "banking-v3", Path("output"), {}, 0.0)
for checkpoint in checkpoints:
    saver.checkpoint(Path(checkpoint))
saver.start()
print("begun", flush=True)
saver.close()
print("all", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
@pytest.mark.parametrize("line", range(1, 12))
def test_a_kernel_killed_during_a_background_push(line: int, drive: Path, save: Callable[[int], Path]) -> None:
    """Killed when it has told so many things; whatever was handed in is stored by the next one, each once."""
    checkpoints = [save(step) for step in (1, 2)]
    command = [sys.executable, "-c", KILLED, drive, *checkpoints]
    saver(drive)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for _ in range(line):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = saver(drive)
    again.start()
    again.close()
    assert stored(drive) == [1, 2]
    workspace = Workspace(remote=drive)
    # A push that was moved and not yet committed when it was killed waits for `repair`; nothing is damaged.
    assert not [problem for problem in workspace.verify(deep=True).problems if problem.kind in ("missing", "corrupt")]


ENDED = """
import sys
from pathlib import Path
from modelkeep._bridge import Bridge
from modelkeep.integrations._saving import Saver

drive, checkpoint = sys.argv[1:]
saver = Saver(Bridge(None, drive, notebook=True, progress=False), "banking-v3", Path("output"), {}, 0.0)
saver.start()
saver.checkpoint(Path(checkpoint))
raise MemoryError("the graphics card is full")
"""


def test_a_script_that_fails_still_stores_what_is_finished(drive: Path, save: Callable[[int], Path]) -> None:
    saver(drive)
    ended = subprocess.run([sys.executable, "-c", ENDED, drive, save(1)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "MemoryError" in ended.stderr
    assert stored(drive) == [1]


UNREACHABLE = ENDED.replace("raise MemoryError", "Path(drive).rename(drive + '-gone')\nraise MemoryError")


def test_the_end_of_a_script_does_not_hang_on_a_store_that_is_gone(drive: Path, save: Callable[[int], Path]) -> None:
    saver(drive)
    script = UNREACHABLE.replace("saver.checkpoint(Path(checkpoint))\n", "").replace(
        "raise MemoryError", "saver.checkpoint(Path(checkpoint))\nraise MemoryError"
    )
    ended = subprocess.run([sys.executable, "-c", script, drive, save(1)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "not stored, kept in" in ended.stderr
    assert (Path("output") / UNSENT / "banking-v3/checkpoint-1").is_dir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_of_a_data_loader_may_fork(drive: Path, save: Callable[[int], Path]) -> None:
    saving = saver(drive)
    saving.start()
    for step in (1, 2):
        saving.checkpoint(save(step))
        child = os.fork()
        if child == 0:
            # As a worker that ends by itself: what runs at exit must not wait for a thread that it does not have.
            saving._at_exit()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    saving.close()
    assert stored(drive) == [1, 2]


PUSHES = """
import sys
from modelkeep import GoogleDriveManager

for _ in range(4):
    GoogleDriveManager(sys.argv[1]).upload_model(sys.argv[2], "banking-v3", sys.argv[3])
"""


def test_two_notebooks_on_one_model(drive: Path, train: Callable[..., Path], tmp_path: Path) -> None:
    outputs = {name: train(name, seed=seed) for seed, name in enumerate(("one", "two"))}
    GoogleDriveManager(drive).upload_model(outputs["one"], "banking-v2")
    commands = [[sys.executable, "-c", PUSHES, drive, folder, name] for name, folder in outputs.items()]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    for name, folder in outputs.items():
        pulled = GoogleDriveManager(drive).download_model("banking-v3", tmp_path / "models", name)
        assert content(Path(pulled.path)) == content(folder)
    history = Workspace(remote=drive).show("banking-v3").history
    # Two may have claimed one number, which then asks for a label or an id; each push stands for itself.
    assert len({push.txn for push in history}) == len(history)
    assert Workspace(remote=drive).verify(deep=True).problems == []
