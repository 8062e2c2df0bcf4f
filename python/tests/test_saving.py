"""What hands checkpoints in and stores them in the background, without a framework: what it must survive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelkeep import GoogleDriveManager, Workspace
from modelkeep._bridge import Bridge
from modelkeep.errors import Error, UsageError
from modelkeep.integrations._saving import Saver
from modelkeep.integrations._unsent import ASIDE, UNSENT, alone
from steps import content


@pytest.fixture
def save(train: Callable[..., Path]) -> Callable[[int], Path]:
    """Writes a checkpoint as the Trainer leaves it."""

    def save(step: int) -> Path:
        folder = train(f"output/checkpoint-{step}", seed=step)
        shutil.rmtree(folder / "checkpoint-500")
        (folder / "optimizer.pt").write_bytes(bytes([step % 256]) * 4096)
        # As the Trainer writes it: with all that was logged before.
        history = [{"step": n, "loss": 1 / n} for n in range(1, step + 1)]
        state = {"global_step": step, "log_history": history}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        return folder

    return save


def saver(drive: Path, **options: object) -> Saver:
    bridge = Bridge(None, drive, notebook=True, progress=False)
    bridge.call("training", {"model": "banking-v3"})
    return Saver(bridge, "banking-v3", Path("output"), options, 0.0)


def stored(drive: Path) -> list[int]:
    return [item.step for item in Workspace(remote=drive).checkpoints("banking-v3")]


def unsent() -> list[str]:
    """What is held and not stored yet, in the order in which it was handed in."""
    found = sorted((Path("output") / UNSENT / "banking-v3").glob("[0-9]*/*/"))
    return [path.name for path in found if path.is_dir()]


def set_aside() -> list[str]:
    found = sorted((Path("output") / UNSENT / "banking-v3").glob(f"{ASIDE}*/*/"))
    return [path.name for path in found if path.is_dir()]


def run_on(drive: Path) -> list[int]:
    """Begins anew, with what was left; what is stored then."""
    again = saver(drive)
    again.start()
    again.close()
    return stored(drive)


def push(drive: Path, checkpoint: Path) -> None:
    """Stores a checkpoint from elsewhere."""
    saver(drive)._bridge.call("checkpoint", {"path": checkpoint, "model": "banking-v3"})
    shutil.rmtree(checkpoint)


def back(folder: Path, hours: int) -> Path:
    """Pretends that a folder was written at another time."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + hours * 3600,) * 2)
    return folder


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
    assert unsent() == ["checkpoint-2"], "kept until it is stored"
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
    assert run_on(drive) == [2, 10], "in the order in which they were handed in"
    assert not Path("output", UNSENT).exists()


def test_what_was_left_is_stored_as_it_was_asked_for(drive: Path, save: Callable[[int], Path]) -> None:
    first = saver(drive, optimizer=False, purpose="banking", keep_last=1)
    for step in (1, 2):
        first.checkpoint(save(step))
    assert run_on(drive) == [1, 2], "how many stay is for the training that runs now to say"
    found = Workspace(remote=drive).show("banking-v3@checkpoint-2")
    assert "optimizer.pt" not in {file.path for file in found.files} and found.purpose == "banking"


def test_a_kill_while_something_stored_is_taken_away_leaves_no_half_of_it(
    drive: Path, save: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, **options: object) -> None:
        if Path(path).name.endswith(".done"):
            next(Path(path).rglob("optimizer.pt")).unlink()
            raise KeyboardInterrupt  # Nothing after this happens.

    first = saver(drive)
    first.checkpoint(save(1))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        first._store(first._pending[0])
    assert (Path("output") / UNSENT).exists() and unsent() == []
    assert run_on(drive) == [1]
    assert len(Workspace(remote=drive).show("banking-v3").history) == 1, "half of it is never stored"
    assert not Path("output", UNSENT).exists()


def test_a_cell_that_is_run_again_takes_over_what_the_first_one_is_at(
    drive: Path, save: Callable[[int], Path]
) -> None:
    """The thread of the first one is still in the middle of a push, and ends it after the second has begun."""
    reached, go_on = threading.Event(), threading.Event()

    class Slow(Bridge):
        def call(self, operation: str, request: Mapping[str, Any], *, stacklevel: int = 2) -> dict[str, Any]:
            report = super().call(operation, request, stacklevel=stacklevel)
            if operation == "checkpoint":
                reached.set()
                assert go_on.wait(60)
            return report

    saver(drive)
    first = Saver(Slow(None, drive, notebook=True, progress=False), "banking-v3", Path("output"), {}, 0.0)
    first.start()
    first.checkpoint(save(1))
    assert reached.wait(60)
    # The same step again, with other content.
    shutil.rmtree("output/checkpoint-1")
    again = save(1)
    (again / "optimizer.pt").write_bytes(b"another")
    second = saver(drive)
    second.checkpoint(again)
    second.start()
    go_on.set()
    first.close()
    second.close()
    found = Workspace(remote=drive).show("banking-v3@checkpoint-1")
    assert {file.path: file.size_bytes for file in found.files}["optimizer.pt"] == len(b"another")
    assert not Path("output", UNSENT).exists()


def test_what_was_taken_over_is_no_failure(drive: Path, save: Callable[[int], Path]) -> None:
    first = saver(drive)
    first.checkpoint(save(1))
    assert run_on(drive) == [1]
    first.start()
    first.close()
    assert first.stored == []


def test_an_old_leftover_does_not_become_the_newest(
    drive: Path, save: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    # Another machine went on from the first one, further than this one.
    push(drive, save(1))
    saver(drive).checkpoint(back(save(2), hours=-1))
    push(drive, save(4))
    assert stored(drive) == [1, 4]
    assert run_on(drive) == [1, 4]
    assert (unsent(), set_aside()) == ([], ["checkpoint-2"]), "kept, and not sent"
    assert "checkpoint-2 of banking-v3 is not stored" in caplog.text
    # And not again.
    assert run_on(drive) == [1, 4] and set_aside() == ["checkpoint-2"]


@pytest.mark.parametrize(("of", "sent"), [("the same training", True), ("another training", False)])
def test_a_leftover_goes_on_from_what_was_stored_after_it_was_written(
    of: str, sent: bool, drive: Path, save: Callable[[int], Path]
) -> None:
    """A checkpoint is often written while the one before is still on its way."""
    first = save(1)
    if not sent:
        state = {"global_step": 1, "log_history": [{"step": 1, "loss": 3.25}]}
        (first / "trainer_state.json").write_text(json.dumps(state))
    saver(drive).checkpoint(back(save(2), hours=-1))
    push(drive, first)
    assert stored(drive) == [1]
    assert run_on(drive) == ([1, 2] if sent else [1])
    assert set_aside() == ([] if sent else ["checkpoint-2"])


def test_a_training_that_began_anew_goes_on_from_its_own(drive: Path, save: Callable[[int], Path]) -> None:
    push(drive, save(4))
    saver(drive).checkpoint(back(save(1), hours=1))
    assert run_on(drive) == [4, 1]


def test_one_that_cannot_be_stored_does_not_hold_up_the_others(
    drive: Path, save: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    saving = saver(drive)
    bad = save(1)
    (bad / "a\nb").write_text("no name that every system can hold")
    for folder in (bad, save(2), save(3)):
        saving.checkpoint(folder)
    saving.start()
    saving.close()
    assert stored(drive) == [2, 3]
    assert set_aside() == ["checkpoint-1"] and [path.name for path in saving.aside] == ["checkpoint-1"]
    assert "checkpoint-1 of banking-v3 is not stored" in caplog.text
    # The last one of all is no matter of course, and is tried again.
    last = save(4)
    (last / "a\nb").write_text("no name that every system can hold")
    saving = saver(drive)
    saving.start()
    saving.checkpoint(last)
    for _ in range(2):
        with pytest.raises(UsageError):
            saving.wait()
    (name,) = (Path("output") / UNSENT / "banking-v3").glob("[0-9]*/checkpoint-4/a*b")
    name.unlink()
    saving.close()
    assert stored(drive) == [2, 3, 4]


def write_final(save: Callable[[int], Path], step: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        shutil.copytree(save(step), folder)
        (folder / "optimizer.pt").unlink()
        shutil.rmtree(f"output/checkpoint-{step}")

    return write


def test_a_log_that_cannot_be_written_costs_no_model(drive: Path, save: Callable[[int], Path]) -> None:
    saving = saver(drive)
    saving.run = "no name for a log"
    saving.start()
    saving.entry({"step": 1})
    saving.checkpoint(save(1))
    saving.final(write_final(save, 2), {"note": "the end"})
    with pytest.raises(UsageError, match="no name for a log"):
        saving.close()
    assert saving.result is not None and Workspace(remote=drive).show("banking-v3").revision == saving.result.revision
    assert stored(drive) == [1] and unsent() == []
    saving.run = "a-name"
    saving.close()


def test_a_final_model_that_was_left_is_stored_next_time(drive: Path, save: Callable[[int], Path]) -> None:
    first = saver(drive)
    first.checkpoint(save(2))
    first.final(write_final(save, 2), {"note": "the end"})
    assert unsent() == ["checkpoint-2", "final"]
    assert run_on(drive) == [2]
    found = Workspace(remote=drive).show("banking-v3")
    assert found.fields["note"] == "the end" and "optimizer.pt" not in {file.path for file in found.files}
    assert not Path("output", UNSENT).exists()


def test_a_final_model_makes_no_store_where_one_was(drive: Path, save: Callable[[int], Path], tmp_path: Path) -> None:
    saving = saver(drive)
    saving.start()
    drive.rename(tmp_path / "unmounted")
    saving.final(write_final(save, 2), {})
    with pytest.raises(Error):
        saving.close()
    assert not drive.exists() and unsent() == ["final"]
    (tmp_path / "unmounted").rename(drive)
    saving.close()
    assert Workspace(remote=drive).show("banking-v3").number == 1


def test_processes_of_one_training_look_one_after_the_other() -> None:
    fcntl = pytest.importorskip("fcntl")
    at_once = fcntl.LOCK_EX | fcntl.LOCK_NB
    with alone(Path("output")):
        other = os.open("output", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, at_once)
    fcntl.flock(other, at_once)
    os.close(other)
    assert list(Path("output").iterdir()) == [], "nothing is left of it"


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
    assert run_on(drive) == [1, 2]
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
    assert unsent() == ["checkpoint-1"]


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
