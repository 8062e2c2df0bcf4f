"""A training that saves itself, with the real Trainer: what is stored, what a kill costs, what tokens that end cost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelkeep import ConflictError, Error, GoogleDriveManager, ModelkeepWarning, UsageError, Workspace
from fake_drive import FULL, Fake, start
from steps import content, deploy

__all__ = ["start"]  # A fixture.

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("default")]

SCRIPT = Path(__file__).with_name("training.py")


class Training:
    """A training in a process of its own; an iterator of what it tells."""

    def __init__(self, store: str, **options: object) -> None:
        command = [sys.executable, os.fspath(SCRIPT), store, *(f"{name}={value}" for name, value in options.items())]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # In a file: a pipe that nobody reads stops whoever writes much into it.
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith('{"'):
                yield json.loads(line)

    def until(self, **wanted: object) -> dict[str, Any]:
        for told in self:
            if wanted.items() <= told.items():
                return told
        raise AssertionError(f"it never told {wanted}:\n{self.errors()}")

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end_at_once(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._errors.close()
        if self.process.stdout:
            self.process.stdout.close()

    def end(self) -> list[dict[str, Any]]:
        told = list(self)
        assert self.process.wait() == 0, self.errors()
        self.process.communicate()
        return told


@pytest.fixture
def begin() -> Iterator[Callable[..., Training]]:
    """Starts trainings, which end with the test."""
    begun: list[Training] = []

    def begin(store: str | Path, **options: object) -> Training:
        begun.append(Training(os.fspath(store), **options))
        return begun[-1]

    yield begin
    for training in begun:
        training.end_at_once()


def test_checkpoints_log_and_final_model_are_stored(begin: Callable[..., Training], drive: Path) -> None:
    told = begin(drive, limit=2).end()
    assert told[-1]["stored"] == ["checkpoint-4", "checkpoint-8", "checkpoint-12"]
    workspace = Workspace(remote=drive)
    assert [item.step for item in workspace.checkpoints("banking-v3")] == [8, 12], "as many as the Trainer keeps"
    final = workspace.show("banking-v3")
    assert final.revision == told[-1]["revision"] and final.type == "LoRA adapter"
    assert {"loss", "train_loss"} <= final.metrics.keys()
    assert "optimizer.pt" not in {file.path for file in final.files}
    assert "optimizer.pt" in {file.path for file in workspace.show("banking-v3@checkpoint-12").files}
    (log,) = (drive / "results/training_logs").glob("*.live.jsonl")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10, 12, 12]
    assert not Path("output/_modelkeep-unsent").exists()
    assert workspace.verify(deep=True).problems == []


@pytest.mark.parametrize("hold", [1, 4, 5, 8, 9, 11])
def test_a_kill_costs_the_steps_since_the_last_finished_checkpoint(
    hold: int, begin: Callable[..., Training], drive: Path
) -> None:
    training = begin(drive, hold=hold, limit=1)
    training.until(step=hold)
    training.kill()
    # The checkpoint of step 4 is written after step 4 has ended, so a kill within that step finds none.
    expected = (hold - 1) // 4 * 4
    again = begin(drive, limit=1)
    resumed = again.until()["resume"]
    assert (Path(resumed).name if resumed else None) == (f"checkpoint-{expected}" if expected else None)
    told = again.end()
    assert told[-1]["stored"][-1] == "checkpoint-12"
    assert Workspace(remote=drive).verify(deep=True).problems == []


def test_a_lost_machine_costs_what_was_not_yet_stored(
    begin: Callable[..., Training], drive: Path, tmp_path: Path
) -> None:
    training = begin(drive, hold=11, settle=True)
    training.until(settled=True)
    training.kill()
    assert [item.step for item in Workspace(remote=drive).checkpoints("banking-v3")] == [4, 8]
    shutil.rmtree("output")
    again = begin(drive)
    assert Path(again.until()["resume"]).name == "checkpoint-8"
    assert again.until(step=9)
    again.end()
    whole = begin(tmp_path / "other")
    whole.end()
    ours = GoogleDriveManager(drive).download_model("banking-v3", tmp_path / "ours")
    theirs = GoogleDriveManager(tmp_path / "other").download_model("banking-v3", tmp_path / "theirs")
    name = "adapter_model.safetensors"
    assert (Path(ours.path) / name).read_bytes() == (Path(theirs.path) / name).read_bytes(), "as if nothing had been"


def test_tokens_that_end_every_few_requests(
    begin: Callable[..., Training], start: Callable[..., Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("--fault", "expire-token=20")
    monkeypatch.setenv("MODELKEEP_TESTING", "1")
    monkeypatch.setenv("MODELKEEP_GDRIVE_ENDPOINT", server.url)
    monkeypatch.setenv("MODELKEEP_GDRIVE_SETTLE_MS", "0")
    told = begin("gdrive:Banking LLM", fake=server.url, scope=FULL).end()
    assert told[-1]["stored"] == ["checkpoint-4", "checkpoint-8", "checkpoint-12"]
    assert sum("token" in happened for happened in told) > 5
    token = server.tokens()["access_token"]
    calls = server.control("calls", method="GET")["calls"]
    assert any(call["status"] == 401 for call in calls)
    server.control("fault", "expire-token=1000000")
    listed = GoogleDriveManager("gdrive:Banking LLM", credentials=lambda: token).list_models()
    assert listed[0].revision == told[-1]["revision"]


def test_what_cannot_be_stored_fails_before_the_first_step(drive: Path, output: Path) -> None:
    from training import adapter, base, trainer
    from modelkeep.integrations.transformers import autosave

    GoogleDriveManager(drive).upload_model(output, "banking-v3")
    deploy(drive, "banking-v3")
    training = trainer(adapter(base()), "trained", [])
    autosave(training, "banking-v3", remote=drive)
    with pytest.raises(ConflictError) as caught:
        training.train()
    assert caught.value.hint == "ModelkeepCallback(model='banking-v4')"
    assert training.state.global_step == 0
    with pytest.raises(PermissionError, match="no store"):
        autosave(trainer(adapter(base()), "trained", []), "banking-v4").on_train_begin(
            training.args, training.state, training.control
        )


def test_a_training_that_fails_keeps_what_was_finished(drive: Path) -> None:
    from training import adapter, base, trainer
    from transformers import TrainerCallback

    from modelkeep.integrations.transformers import ModelkeepCallback, last_checkpoint

    class Failing(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == 6:
                raise MemoryError("the graphics card is full")

    callback = ModelkeepCallback("banking-v3", remote=drive, optimizer=False)
    with pytest.raises(MemoryError):
        trainer(adapter(base()), "trained", [callback, Failing()]).train()
    callback.wait()
    assert [item.checkpoint for item in callback.stored] == ["checkpoint-4"]
    # Run again, as a cell is.
    resume = last_checkpoint("banking-v3", "trained", remote=drive, optimizer=False)
    again = ModelkeepCallback("banking-v3", remote=drive, optimizer=False)
    trainer(adapter(base()), "trained", [again]).train(resume_from_checkpoint=resume)
    assert [item.checkpoint for item in again.stored] == ["checkpoint-8", "checkpoint-12"]
    files = {file.path for file in Workspace(remote=drive).show("banking-v3@checkpoint-12").files}
    assert "optimizer.pt" not in files and "trainer_state.json" in files


def test_what_fails_costs_no_final_model(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong at the end, the model is written before, and stored by the next one."""
    from training import adapter, base, trainer

    from modelkeep.integrations.transformers import ModelkeepCallback, last_checkpoint

    callback = ModelkeepCallback("banking-v3", remote=drive, note="the end")
    training = trainer(adapter(base()), "trained", [callback], save_steps=12)
    gone = drive.with_name("unmounted")
    saved = callback.on_save

    def unmount(*args: Any, **more: Any) -> None:
        drive.rename(gone)
        saved(*args, **more)

    monkeypatch.setattr(callback, "on_save", unmount)
    with pytest.raises(Error):
        training.train()
    assert callback.result is None
    gone.rename(drive)
    assert Path(last_checkpoint("banking-v3", "trained", remote=drive) or "").name == "checkpoint-12"
    found = Workspace(remote=drive).show("banking-v3")
    assert found.fields["note"] == "the end" and found.number == 2 and found.type == "LoRA adapter"
    callback.wait()  # Its own are gone: somebody else has stored them.
    assert Workspace(remote=drive).show("banking-v3").number == 2


def test_files_of_another_training_are_not_those_that_are_stored(drive: Path) -> None:
    from training import adapter, base, trainer

    from modelkeep.integrations.transformers import ModelkeepCallback, last_checkpoint

    trainer(adapter(base()), "trained", [ModelkeepCallback("banking-v3", remote=drive)]).train()
    file = Path("trained/checkpoint-12/adapter_model.safetensors")
    expected = file.read_bytes()
    file.write_bytes(bytes(reversed(expected)))
    resume = last_checkpoint("banking-v3", "trained", remote=drive)
    assert resume and file.read_bytes() == expected
    assert len(list(Path("trained").glob("checkpoint-12.before-*/adapter_model.safetensors"))) == 1, "moved aside"


@pytest.mark.parametrize("limit", [0, -1, None])
def test_no_limit_of_the_trainer_is_none_on_the_store(limit: int | None, drive: Path) -> None:
    from training import adapter, base, trainer

    from modelkeep.integrations.transformers import ModelkeepCallback

    callback = ModelkeepCallback("banking-v3", remote=drive)
    trainer(adapter(base()), "trained", [callback], save_total_limit=limit).train()
    assert [item.step for item in Workspace(remote=drive).checkpoints("banking-v3")] == [4, 8, 12]
    for keep in (0, -2):
        with pytest.raises(UsageError, match="the newest always does") as caught:
            ModelkeepCallback("banking-v3", remote=drive, keep_last=keep)
        assert caught.value.hint and "keep_last=1" in caught.value.hint


def test_what_is_still_on_its_way_is_said(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import adapter, base, trainer

    from modelkeep.integrations.transformers import ModelkeepCallback

    monkeypatch.setenv("MODELKEEP_TESTING", "1")
    monkeypatch.setenv("MODELKEEP_WRITE_BACK", "1")
    callback = ModelkeepCallback("banking-v3", remote=drive, final=False)
    with pytest.warns(ModelkeepWarning, match="flush_and_unmount"):
        trainer(adapter(base()), "trained", [callback]).train()
    assert len(callback.stored) == 3


def test_the_checkpoints_of_a_search_are_said_not_to_be_stored(drive: Path) -> None:
    from training import adapter, base, trainer

    from modelkeep.integrations.transformers import ModelkeepCallback

    callback = ModelkeepCallback("banking-v3", remote=drive, final=False)
    training = trainer(adapter(base()), "trained", [])
    callback.on_train_begin(training.args, training.state, training.control)
    training.state.is_hyper_param_search, training.state.global_step = True, 4
    with pytest.warns(ModelkeepWarning, match="hyperparameter search") as warned:
        for _ in range(2):
            callback.on_save(training.args, training.state, training.control)
    assert len(warned) == 1
    callback.on_train_end(training.args, training.state, training.control)


def test_the_four_scenarios(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base model, reuse, training in one place, use in another: the same logits."""
    import torch
    from peft import PeftModel
    from training import adapter, base, data, trainer
    from transformers import AutoModelForCausalLM

    # 1, 2: the base model is stored once and reused.
    Workspace.init(remote=drive, python=True)
    base().save_pretrained("llama-tiny")
    Workspace().push("llama-tiny", "llama-tiny", kind="base")
    monkeypatch.syspath_prepend(Path.cwd())
    # 3: train.
    from src.cloud import init_drive_manager

    manager = init_drive_manager()
    found = AutoModelForCausalLM.from_pretrained(manager.download_model("llama-tiny", "./models").path)
    trained = adapter(found)
    training = trainer(trained, "runs", [], save_strategy="no", learning_rate=0.05)
    training.train()
    training.save_model("./output")
    training.save_state()
    trained.eval()
    rows = torch.stack([row["input_ids"] for row in data(4)])
    with torch.no_grad():
        expected = trained(rows).logits
        assert not torch.equal(expected, base().eval()(rows).logits), "the adapter does something"
    result = manager.upload_model("./output", "banking-v2", "latest")
    assert result["created"] and not result.simulated
    # 4: use it elsewhere.
    elsewhere = tmp_path / "elsewhere"
    Workspace.init(elsewhere, remote=drive)
    monkeypatch.chdir(elsewhere)
    manager = GoogleDriveManager()
    result = manager.download_model("banking-v2", "./models")
    assert content(Path(result.path)) == content(tmp_path / "project/output")
    model = AutoModelForCausalLM.from_pretrained(manager.download_model("llama-tiny", "./models").path)
    model = PeftModel.from_pretrained(model, "./models/banking-v2/latest").eval()
    with torch.no_grad():
        assert torch.equal(model(rows).logits, expected)
    assert {item.id for item in manager.list_models()} == {"llama-tiny", "banking-v2"}
