"""Stores the checkpoints of one training in a thread of its own, one after the other, and its log.

A checkpoint that was handed in is safe from then on: it is held by hard links in `.modelkeep-unsent`, so the training may
take its own directory away, and what a killed training left there is sent by the next one.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._bridge import Bridge, number
from ..errors import Error
from ..results import Checkpoint, LogResult

log = logging.getLogger("modelkeep")

UNSENT = ".modelkeep-unsent"
"""In a training's output directory: checkpoints that are finished and not stored yet. Never part of a push."""


class Saver:
    """Stores what one training hands in.

    Parameters
    ----------
    bridge : Bridge
        The store.
    model : str
        The model that is being trained.
    output : Path
        The training's output directory.
    options : mapping
        More fields of each request: ``keep_last``, ``optimizer``, ``base``, ``purpose``.
    log_every : float
        Seconds between two writes of the log, at least.
    """

    def __init__(self, bridge: Bridge, model: str, output: Path, options: Mapping[str, Any], log_every: float) -> None:
        self.stored: list[Checkpoint] = []
        self.failed: Error | None = None
        self.unsent = output / UNSENT / model
        self.run = time.strftime("%Y-%m-%d-%H%M%S", time.gmtime())
        self._bridge, self._model, self._options, self._log_every = bridge, model, options, log_every
        self._pending: deque[Path] = deque()
        self._entries: list[dict[str, Any]] = []
        self._logged, self._logged_at = 0, time.monotonic()
        self._changed = threading.Condition()
        self._busy, self._closing = False, False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._work, name="modelkeep-saving", daemon=True)

    def start(self) -> None:
        """Begins, with what an earlier training left unsent."""
        if self.unsent.is_dir():
            left = [path for path in self.unsent.iterdir() if path.is_dir() and step_of(path.name) is not None]
            self._pending.extend(sorted(left, key=lambda path: step_of(path.name) or 0))
        self._thread.start()
        # A script that ends early, with an error too, still stores what is finished.
        atexit.register(self._at_exit)

    def checkpoint(self, path: Path) -> None:
        """Hands in a finished checkpoint; returns at once.

        Parameters
        ----------
        path : Path
            Its directory, which may go away from now on.
        """
        held = hold(path, self.unsent / path.name)
        with self._changed:
            self._pending.append(held)
            self.failed = None
            self._changed.notify_all()

    def entry(self, entry: Mapping[str, Any]) -> None:
        """Hands in an entry of the log; returns at once.

        Parameters
        ----------
        entry : mapping
            What was logged.
        """
        plain = {name: _plain(value) for name, value in entry.items()}
        with self._changed:
            self._entries.append(plain)
            self._changed.notify_all()

    def wait(self) -> None:
        """Waits until everything that was handed in is stored.

        Raises
        ------
        Error
            When something could not be stored. It is still there, and is tried again by the next call.
        """
        with self._changed:
            self.failed = None
            self._closing = True
            self._changed.notify_all()
            # In steps, so that Ctrl-C is answered on every system.
            while (self._busy or self._work_left()) and self.failed is None and self._thread.is_alive():
                self._changed.wait(0.2)
            self._closing = False
            if self.failed is not None:
                raise self.failed

    def close(self) -> None:
        """Waits, then ends the thread and tidies up."""
        self.wait()
        atexit.unregister(self._at_exit)
        with self._changed:
            self._model = ""
            self._changed.notify_all()
        self._thread.join()
        for folder in (self.unsent, self.unsent.parent):
            try:
                folder.rmdir()
            except OSError:  # Another training's checkpoints are in it, or it was never made.
                break

    def _work_left(self) -> bool:
        return bool(self._pending) or self._logged < len(self._entries)

    def _next(self) -> Path | int | None:
        """The next thing to do: a checkpoint, so many entries of the log, or nothing any more."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while self._model:
                # After a failure only what is new, or somebody who waits, makes another attempt.
                if self._pending and self.failed is None:
                    self._busy = True
                    return self._pending[0]
                due = self._logged_at + self._log_every - time.monotonic()
                if self._logged < len(self._entries) and (due <= 0 or self._closing) and self.failed is None:
                    self._busy = True
                    return len(self._entries)
                waits_for_log = self._logged < len(self._entries) and self.failed is None
                self._changed.wait(max(due, 0.01) if waits_for_log else None)
            return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._store(job) if isinstance(job, Path) else self._append(job)
            except Error as error:
                log.warning("%s: %s", job.name if isinstance(job, Path) else "the log", error)
                with self._changed:
                    self.failed = error
            except Exception as error:  # What a callback of the user raises must not end the thread unseen.
                log.exception("storing a checkpoint of %s failed", self._model)
                with self._changed:
                    self.failed = Error(f"storing a checkpoint of {self._model} failed: {error!r}")
                    self.failed.__cause__ = error

    def _store(self, path: Path) -> None:
        request = {"path": path, "model": self._model, "name": path.name, **self._options}
        try:
            report = Checkpoint.of(self._bridge.call("checkpoint", request))
        except FileNotFoundError:
            if path.exists():
                raise
            log.warning("%s went away before it was stored; a higher save_total_limit keeps it longer", path)
        else:
            log.info("%s@%s is stored", report.model, report.checkpoint)
            self.stored.append(report)
        with self._changed:
            self._pending.popleft()
        if path.parent == self.unsent:
            shutil.rmtree(path, ignore_errors=True)

    def _append(self, upto: int) -> None:
        new = self._entries[self._logged : upto]
        request = {"model": self._model, "run": self.run, "entries": new, "after": self._logged}
        LogResult.of(self._bridge.call("log-append", request))
        with self._changed:
            self._logged, self._logged_at = upto, time.monotonic()

    def _at_exit(self) -> None:
        # A forked child has this object, and not its thread.
        if os.getpid() != self._process or not (self._busy or self._work_left()):
            return
        print(f"modelkeep: storing what is finished of {self._model} (Ctrl-C leaves it for next time)", file=sys.stderr)
        try:
            self.wait()
        except (Error, KeyboardInterrupt) as error:
            print(f"modelkeep: not stored, kept in {self.unsent}: {error}", file=sys.stderr)


def step_of(name: str) -> int | None:
    """The step of a checkpoint of the Trainer.

    Parameters
    ----------
    name : str
        The name of its directory.

    Returns
    -------
    int or None
        None when it is no checkpoint.
    """
    found = re.fullmatch(r"checkpoint-(\d+)", name)
    return int(found[1]) if found else None


def hold(path: Path, held: Path) -> Path:
    """Holds a directory by hard links, which costs no bytes.

    Parameters
    ----------
    path : Path
        The directory.
    held : Path
        Where to hold it.

    Returns
    -------
    Path
        `held`; or `path` itself on a file system without hard links, where copying would slow the training.
    """
    part = held.with_name(f".{held.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, part, copy_function=os.link)
        shutil.rmtree(held, ignore_errors=True)
        part.rename(held)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        return path
    return held


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    try:
        return number(value)
    except (TypeError, ValueError):
        return str(value)
