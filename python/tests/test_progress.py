"""What a person sees while something runs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from modelkeep import GoogleDriveManager, Progress, UsageError, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def look_on(monkeypatch: pytest.MonkeyPatch, soon: float) -> Terminal:
    """Standard error as a terminal of 80 columns, and what takes longer than `soon` seconds shows a bar."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr(progress, "SOON", soon)
    return shown


def test_a_bar_and_notes_where_somebody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look_on(monkeypatch, soon=0)
    bars = progress.observer(None)
    assert bars is not None
    bars(Progress("stage", "storing", 2_000_000))
    bars(Progress("note", "waiting: another push is at work", None))
    bars(Progress("bytes", None, 1_000_000))
    bars.close()  # type: ignore[attr-defined]
    lines = terminal.getvalue().replace("\r", "\n").splitlines()
    assert "waiting: another push is at work" in lines, "a line of its own"
    assert any(line.startswith("storing:") and "2.00M" in line for line in lines)
    assert lines[-1].strip() == "", "taken away when it is over"


def test_what_is_soon_done_shows_no_bar(drive: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look_on(monkeypatch, soon=1e9)
    GoogleDriveManager(drive).upload_model(output, "banking-v2")
    assert terminal.getvalue() == f"made a new store in {drive}\n"


def test_nothing_where_nobody_looks_on(drive: Path, output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    GoogleDriveManager(drive).upload_model(output, "banking-v2")
    assert capfd.readouterr() == ("", "")


def test_bars_are_tqdms(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert progress.observer(None) is None and progress.observer(False) is None
    with pytest.raises(UsageError, match="tqdm") as caught:
        progress.observer(True)
    assert caught.value.hint == "pip install tqdm"
