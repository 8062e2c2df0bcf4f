"""`Workspace`: each operation, done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from modelkeep import ConflictError, NotFoundError, UsageError, Workspace
from steps import content


@pytest.fixture
def workspace(drive: Path, train: Callable[..., Path]) -> Workspace:
    """A workspace with two models."""
    Workspace.init(remote=drive, name="banking")
    workspace = Workspace()
    workspace.push(train("one", seed=1, accuracy=0.938), "banking-v1", labels=["candidate"])
    workspace.push(train("two", seed=2), "banking-v2", purpose="intents")
    return workspace


def test_to_look(workspace: Workspace) -> None:
    assert [model.id for model in workspace.list(sort="accuracy")] == ["banking-v2", "banking-v1"]
    shown = workspace.show("banking-v1@candidate")
    assert shown.adapter.r == 8 and shown.tensors.tensors == 2 and shown.files[0].sha256
    diff = workspace.diff("banking-v1", "banking-v2")
    (accuracy,) = [metric for metric in diff.metrics if metric.name == "accuracy"]
    assert accuracy.change == pytest.approx(0.014)
    assert diff.files.changed[0].path == "adapter_model.safetensors"
    events = workspace.history()
    assert events.events == list(events) and {event.model for event in events} >= {"banking-v1", "banking-v2"}
    assert {event.model for event in workspace.history("banking-v1")} == {"banking-v1"}
    checked = workspace.verify(deep=True)
    assert checked.checked > 0 and checked.problems == []


def test_to_change_the_registry(workspace: Workspace) -> None:
    assert workspace.label("banking-v1", "prod", dry_run=True).dry_run
    assert workspace.label("banking-v1", "prod").changed
    assert workspace.unlabel("banking-v1", "prod").changed
    workspace.set("banking-v1", {"purpose": "intents", "metrics.f1": 0.9})
    assert (workspace.show("banking-v1").purpose, workspace.show("banking-v1").metrics["f1"]) == ("intents", 0.9)
    workspace.set("banking-v1", {"purpose": None})
    assert workspace.show("banking-v1").purpose is None
    workspace.deploy("banking-v1")
    workspace.deploy("banking-v2")
    assert workspace.rollback().model == "banking-v1"
    with pytest.raises(ConflictError):
        workspace.rm("banking-v1")
    workspace.archive("banking-v2")
    assert workspace.list(status="archived")[0].id == "banking-v2"
    workspace.unarchive("banking-v2")
    workspace.rm("banking-v2")
    assert [model.id for model in workspace.list()] == ["banking-v1"]
    assert workspace.restore("banking-v2").changed
    assert workspace.prune(keep=1, dry_run=True).steps == []
    assert workspace.repair(dry_run=True).steps == []


def test_what_code_uses_is_pinned_and_brought(workspace: Workspace) -> None:
    assert workspace.use("banking-v1@candidate").changed
    brought = workspace.pull_all()
    assert [pulled.model for pulled in brought] == ["banking-v1"] and Path(brought[0].path).is_dir()
    assert not workspace.unuse("banking-v1").pinned
    with pytest.raises(NotFoundError, match="pins nothing"):
        workspace.pull_all()


def test_stores_and_settings(workspace: Workspace, tmp_path: Path) -> None:
    workspace.remote_add("nas", tmp_path / "nas")
    assert [(remote.name, remote.default) for remote in workspace.remotes()] == [("default", True), ("nas", False)]
    assert workspace.remote_show("nas").url.endswith("nas")
    assert workspace.remote_test("nas").ok
    assert list(Workspace(remote="nas").list()) == []
    assert workspace.remote_remove("nas").name == "nas"
    with pytest.raises(NotFoundError):
        workspace.remote_show("nas")
    workspace.config_set("evict", "never")
    assert workspace.config_get("evict").value == "never"
    assert "evict" in {setting.key for setting in workspace.config()}
    with pytest.raises(Exception) as caught:
        workspace.logout()
    assert type(caught.value).__module__ == "modelkeep.errors"


def test_models_that_stand_there_are_taken_in(workspace: Workspace, drive: Path, train: Callable[..., Path]) -> None:
    shutil.copytree(train("three", seed=3), drive / "models/finetuned/by-hand-v1")
    adopted = workspace.adopt(now=True)
    assert [item.id for item in adopted["items"]] == ["by-hand-v1"]
    assert workspace.show("by-hand-v1").files


def test_checkpoints(workspace: Workspace, train: Callable[..., Path]) -> None:
    for step in (10, 20, 30):
        folder = train(f"training/checkpoint-{step}", seed=step)
        shutil.rmtree(folder / "checkpoint-500")
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": step, "loss": 1 / step}]}))
    watched = workspace.watch("training", "banking-v3", interval=0.01, keep_last=2)
    assert [(item.checkpoint, item.step, item.created) for item in watched] == [
        ("checkpoint-10", 10, True),
        ("checkpoint-20", 20, True),
        ("checkpoint-30", 30, True),
    ]
    assert watched[2].steps[0].action == "let go"
    stored = workspace.checkpoints("banking-v3")
    assert [item.step for item in stored] == [20, 30] and stored.model == "banking-v3"
    assert list(workspace.checkpoints("nothing-yet")) == []
    assert list(workspace.watch("training", "banking-v3", interval=0.01, after=30)) == []


def test_a_log_is_appended_to_once(workspace: Workspace, drive: Path) -> None:
    entries = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    for _ in range(2):  # The second time as after an answer that never came.
        logged = workspace.log_append("banking-v3", "monday", entries, after=0)
    assert (logged.added, logged.entries) == (0, 2)
    workspace.log_append("banking-v3", "monday", [{"step": 3}])
    lines = (drive / logged.path).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    (live,) = workspace.log_list("banking-v3")
    assert (live.run, live.number) == ("monday", None)
    assert {log.number for log in workspace.log_list("banking-v1")} == {1}
    shown = workspace.log_show("banking-v3", "monday", tail=1)
    assert (shown.total, shown.entries) == (3, [{"step": 3}])
    with pytest.raises(ConflictError):
        workspace.log_append("banking-v3", "monday", [{"step": 9}], after=8)


def test_data_sets_and_results_are_filed(workspace: Workspace, drive: Path) -> None:
    Path("data/train.csv").write_text("a,b\n1,2\n")
    assert workspace.file_push("data/train.csv", dry_run=True).steps and not (drive / "datasets/train.csv").exists()
    filed = workspace.file_push("data/train.csv")
    assert (filed.place, filed.shape, filed.created) == ("datasets/train.csv", "file", True)
    assert (drive / "datasets/train.csv").read_text() == "a,b\n1,2\n"
    Path("data/train.csv").write_text("a,b\n3,4\n")
    assert workspace.file_push("data/train.csv", to="datasets").number == 2
    (item,) = workspace.file_list("datasets")
    assert (item.place, item.revisions) == ("datasets/train.csv", 2)
    first = workspace.file_pull("train.csv@1", to="before.csv")
    assert Path(first.path).read_text() == "a,b\n1,2\n"
    Path("data/train.csv").write_text("mine")
    with pytest.raises(ConflictError):
        workspace.file_pull("train.csv")
    assert Path(workspace.file_pull("train.csv", force=True).moved_aside).read_text() == "mine"
    assert workspace.file_rm("train.csv").place == "datasets/train.csv"
    assert not workspace.file_list() and [item.removed for item in workspace.file_list(all=True)] == [True]
    with pytest.raises(NotFoundError):
        workspace.file_push("no-such-file.csv")


def test_things_are_brought_where_they_belong(workspace: Workspace, train: Callable[..., Path]) -> None:
    model = train("models/banking-v3", seed=3)
    (item,) = workspace.where(model)
    assert (item.category, item.git, item.stored) == ("finetuned", False, False) and item.command and item.reason
    assert workspace.place(model, dry_run=True).steps and not workspace.where(model)[0].stored
    placed = workspace.place(model)
    assert placed.changed and placed.confirmed and placed.left == []
    assert workspace.where(model)[0].stored and workspace.list(family="banking")[-1].id == "banking-v3"
    assert not workspace.place(model).changed
    with pytest.raises(UsageError, match="path"):
        workspace.where()
    with pytest.raises(NotFoundError):
        workspace.where("no-such-folder")


def test_how_it_stands(workspace: Workspace) -> None:
    told = workspace.maintain("monthly", dry_run=True)
    assert told.period == "monthly" and told.tasks and not told.applied
    assert workspace.maintain().applied
    assert workspace.maintain(dry_run=True).tasks == [], "nothing is due any more"
    found = workspace.doctor()
    assert len(found.criteria) == 7 and {item.id for item in found.health} >= {"versions", "remote"}
    assert found.ok == all(item.ok for item in found.criteria)
    assert len(workspace.doctor(fix=True).to_pandas()) == 7
    cost = workspace.cost()
    assert {model.model for model in cost.models} == {"banking-v1", "banking-v2"}
    assert cost.monthly_usd == pytest.approx(sum(item.monthly_usd for item in cost["items"]))
    assert cost.alternatives and "<table>" in cost._repr_html_()
    with pytest.raises(UsageError, match="hourly") as caught:
        workspace.maintain("hourly")  # type: ignore[arg-type]
    assert "weekly" in str(caught.value) and caught.value.hint == "help(modelkeep.Workspace.maintain)"


def test_models_are_kept_out_of_git(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError):
        workspace.guard_check()
    git = ("git", "-c", "user.name=one", "-c", "user.email=one@example.com")
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert workspace.guard_install(dry_run=True).steps and not Path(".git/hooks/pre-commit").exists()
    assert workspace.guard_install().changed and Path(".git/hooks/pre-commit").exists()
    assert not workspace.guard_install().changed
    subprocess.run([*git, "add", "--force", "one/adapter_model.safetensors"], check=True)
    checked = workspace.guard_check()
    assert [item.path for item in checked.findings] == ["one/adapter_model.safetensors"] and checked.scope == "staged"
    assert workspace.guard_check("two").findings == []
    Path("one/pytorch_model.bin").write_bytes(os.urandom(2 << 20))
    subprocess.run([*git, "add", "--force", "one/pytorch_model.bin"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--no-verify", "--message", "oops"], check=True)
    assert len(workspace.guard_check(all=True).findings) == 2
    (past,) = workspace.guard_history().findings
    assert past.in_use and past.commit and past.blob
    assert workspace.guard_install(remove=True).changed


def test_only_a_drive_can_be_shared(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="e-mail"):
        workspace.remote_share("bob")
    with pytest.raises(UsageError, match="not on Google Drive"):
        workspace.remote_share("bob@example.com", read_only=True)


def test_results_are_tables(workspace: Workspace) -> None:
    table = workspace.list().to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table["id"]) == ["banking-v1", "banking-v2"] and table["metrics.accuracy"].max() == 0.952
    assert len(workspace.history().to_pandas()) == 2
    assert set(workspace.show("banking-v1").to_pandas().columns) == {"path", "size_bytes", "sha256"}
    workspace.set("banking-v1", {"purpose": "<script>alert(1)</script>"})
    for result in (workspace.list(), workspace.show("banking-v1"), workspace.verify(), workspace.history()):
        html = result._repr_html_()
        assert "<table>" in html and "<script>" not in html
    shown = workspace.push("one", "banking-v1")
    html = shown._repr_html_()
    assert f'<code title="{shown.revision}">{shown.revision[:12]}</code>' in html, "whole when it is pointed at"
    assert f'<span title="{shown.size_bytes} bytes">8.9 kB</span>' in html and '<span title="0.938">0.938</span>' in html
    assert "<th>steps</th>" not in html, "what is empty is left out"


def test_a_field_that_was_left_out_is_empty(workspace: Workspace) -> None:
    pushed = workspace.push("one", "banking-v1", dry_run=True)
    assert pushed.steps == [] and pushed.spent is None and "steps" not in pushed
    with pytest.raises(AttributeError):
        _ = pushed.nothing_of_the_kind


def test_a_text_where_a_list_is_meant(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="labels") as caught:
        workspace.push("one", "banking-v1", labels="candidate")
    assert caught.value.hint == "labels=['candidate']"
    with pytest.raises(UsageError, match="credentials"):
        Workspace(credentials="a token")  # type: ignore[arg-type]


def test_offline_asks_no_network() -> None:
    with pytest.raises(ConnectionError, match="offline|network"):
        Workspace(remote="gdrive:Banking LLM", offline=True).list()


def test_a_dry_run_changes_nothing(workspace: Workspace, drive: Path) -> None:
    before = content(drive)
    workspace.push("two", "banking-v3", dry_run=True)
    workspace.deploy("banking-v1", dry_run=True)
    workspace.rm("banking-v1", dry_run=True)
    assert content(drive) == before


def test_upkeep_is_scheduled_where_it_is_asked_for(workspace: Workspace) -> None:
    printed = workspace.maintain_schedule("codespaces", print=True)
    assert printed.place == "codespaces" and "maintain due --yes" in printed.files[0].text
    done = workspace.maintain_schedule("codespaces")
    assert done.changed and done.scheduled == ["codespaces"]
    assert not workspace.maintain_schedule("codespaces").changed
    assert workspace.maintain_schedule(remove=True).changed
    assert not Path(".devcontainer/devcontainer.json").exists()
