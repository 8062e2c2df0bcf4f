"""Stores the checkpoints of one training in a thread of its own, one after the other, its final model, and its log."""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .._bridge import Bridge, number
from ..errors import ConflictError, Error, IntegrityError, InternalError, NotFoundError, UsageError
from ..results import Checkpoint, CheckpointItem, CheckpointList, LogResult, ModelDetails, PushResult, TrainingLog
from ._unsent import FINAL, UNSENT, HandIn, hold, made, put_aside, remove, take_over, unique

log = logging.getLogger("modelkeep")

STATE = "trainer_state.json"
FLUSH = "before the machine ends: from google.colab import drive; drive.flush_and_unmount()"

FOR_GOOD = (UsageError, ConflictError, IntegrityError, InternalError)
"""What is wrong with one thing, and does not pass by waiting; anything else is wrong with the store or the machine. A store
that is not found is one that was unmounted."""


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
        More fields of each checkpoint's request: ``keep_last``, ``optimizer``, ``base``, ``purpose``.
    log_every : float
        Seconds between two writes of the log, at least.
    shown : Bridge, optional
        The store, with progress: for the model at the end, which somebody waits for.

    Attributes
    ----------
    stored : list of Checkpoint
        What became of each checkpoint.
    result : PushResult or None
        What became of the model at the end.
    aside : list of Path
        What is not stored and will not be, since a later one is.
    """

    def __init__(
        self,
        bridge: Bridge,
        model: str,
        output: Path,
        options: Mapping[str, Any],
        log_every: float,
        shown: Bridge | None = None,
    ) -> None:
        self.stored: list[Checkpoint] = []
        self.result: PushResult | None = None
        self.aside: list[Path] = []
        self.unsent = output / UNSENT / model
        self.run = time.strftime("%Y-%m-%d-%H%M%S", time.gmtime())
        self._bridge, self._shown, self._model = bridge, shown or bridge, model
        self._options, self._log_every = options, log_every
        # So many of those that are pending were tried in vain since the last attempt began.
        self._pending: list[HandIn] = []
        self._tried = 0
        self._failed: Error | None = None
        self._entries: list[dict[str, Any]] = []
        self._logged, self._logged_at = 0, time.monotonic()
        self._log_failed: Error | None = None
        self._changed = threading.Condition()
        self._busy, self._closing, self._ended = False, False, False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._work, name="modelkeep-saving", daemon=True)

    def start(self) -> None:
        """Begins, with what an earlier training left unsent."""
        self._pending[:0] = take_over(self.unsent, {item.path.parent for item in self._pending})
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
        self._hand_in(hold(path, self.unsent / unique(), self._options))

    def final(self, write: Callable[[Path], None], request: Mapping[str, Any]) -> None:
        """Hands in the model at the end; returns when it is written.

        Parameters
        ----------
        write : callable
            Writes it into the directory that it is given, which it makes.
        request : mapping
            More fields of the request.
        """
        folder = self.unsent / unique()
        with made(folder, request) as part:
            write(part / FINAL)
        self._hand_in(HandIn(folder / FINAL, request))

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
            When something could not be stored, and nothing later was. It is still there, and is tried again by the next
            call. Whatever else can be stored is.
        """
        with self._changed:
            self._begin_attempt()
            self._closing = True
            # In steps, so that Ctrl-C is answered on every system.
            while (self._busy or self._is_behind()) and self._thread.is_alive():
                self._changed.wait(0.2)
            self._closing = False
            if (failed := self._failed or self._log_failed) is not None:
                raise failed

    def close(self) -> None:
        """Waits, then ends the thread and tidies up."""
        self.wait()
        atexit.unregister(self._at_exit)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        for folder in (self.unsent, self.unsent.parent):
            try:
                folder.rmdir()
            except OSError:  # Something is aside, another training's checkpoints are in it, or it was never made.
                break

    @property
    def unconfirmed(self) -> bool:
        """Whether something was stored through a mount, and is known to be on its way only."""
        written = [*self.stored, *([] if self.result is None else [self.result])]
        return any(not (report.confirmed or report.simulated) for report in written)

    def _hand_in(self, item: HandIn) -> None:
        with self._changed:
            self._pending.append(item)
            self._begin_attempt()

    def _begin_attempt(self) -> None:
        # After a failure only what is new, or somebody who waits, makes another attempt.
        self._tried, self._failed, self._log_failed = 0, None, None
        self._changed.notify_all()

    def _is_behind(self) -> bool:
        """Whether there is more to do in this attempt."""
        return self._tried < len(self._pending) or (self._logged < len(self._entries) and self._log_failed is None)

    def _next(self) -> HandIn | int | None:
        """The next thing to do: something to store, so many entries of the log, or nothing any more."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while not self._ended:
                if self._tried < len(self._pending):
                    self._busy = True
                    return self._pending[self._tried]
                logs = self._is_behind()
                due = self._logged_at + self._log_every - time.monotonic()
                if logs and (due <= 0 or self._closing):
                    self._busy = True
                    return len(self._entries)
                self._changed.wait(max(due, 0.01) if logs else None)
            return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._store(job) if isinstance(job, HandIn) else self._append(job)
            except Error as error:
                log.warning("%s: %s", job.path.name if isinstance(job, HandIn) else "the log", error)
                self._fail(job, error)
            except Exception as error:  # What a callback of the user raises must not end the thread unseen.
                log.exception("storing a checkpoint of %s failed", self._model)
                failed = Error(f"storing a checkpoint of {self._model} failed: {error!r}")
                failed.__cause__ = error
                self._fail(job, failed)

    def _fail(self, job: HandIn | int, error: Error) -> None:
        with self._changed:
            if isinstance(job, int):
                self._log_failed = error
                return
            self._failed = self._failed or error
            # In order: those behind it are held up by a store that does not answer, not by what is wrong with one.
            for_good = isinstance(error, FOR_GOOD)
            self._tried = self._pending.index(job) + 1 if for_good else len(self._pending)

    def _store(self, item: HandIn) -> None:
        if item.left and not self._is_newest(item):
            self._take_off(item)
            self._set_aside(item)
            return
        request = {"path": item.path, "model": self._model, **item.request}
        try:
            if item.path.name == FINAL:
                # A push makes a store where there is none. Here it is one that was unmounted, which this notices.
                newest_stored(self._bridge, self._model)
                self.result = PushResult.of(self._shown.call("push", request))
            else:
                report = Checkpoint.of(self._bridge.call("checkpoint", {"name": item.path.name, **request}))
                log.info("%s@%s is stored", report.model, report.checkpoint)
                self.stored.append(report)
        except FileNotFoundError:
            if item.path.exists():
                raise
            self._take_off(item)
            if item.held:
                log.info("%s was taken over by another training in this directory", item.path.name)
            else:
                log.warning("%s went away before it was stored; a higher save_total_limit keeps it longer", item.path)
            return
        passed_over = self._take_off(item, stored=True)
        for older in passed_over:
            self._set_aside(older)
        if item.held:
            remove(item.path.parent)

    def _take_off(self, item: HandIn, *, stored: bool = False) -> list[HandIn]:
        """Takes something off the list; with `stored` what was passed over too, which would come after it now."""
        with self._changed:
            at = self._pending.index(item)
            first = 0 if stored else at
            passed_over = self._pending[first:at]
            del self._pending[first : at + 1]
            self._tried = min(self._tried, first)
            if stored:
                self._failed = None
            return passed_over

    def _set_aside(self, item: HandIn) -> None:
        kept = put_aside(item)
        self.aside.append(kept)
        log.warning(
            "%s of %s is not stored, for something later is, and a training would go on from the older; it is kept in %s",
            item.path.name,
            self._model,
            kept,
        )

    def _is_newest(self, item: HandIn) -> bool:
        """Whether what was left is later than what is stored of the model.

        It is when it was written after that was stored. It may have been written before, while that was still on its way:
        then it goes on from that, which its history tells.
        """
        newest, written = newest_stored(self._bridge, self._model), written_at(item.path)
        if newest is None:
            stored_at = self._stored_at() if item.path.name == FINAL else None
            return stored_at is None or written > stored_at
        if written > _seconds(newest.at):
            return True
        step, history = state_of(item.path)
        if step < newest.step:
            return False
        try:
            asked = {"model": f"{self._model}@{newest.checkpoint}"}
            return goes_on_from(history, TrainingLog.of(self._bridge.call("log-show", asked)).entries)
        except NotFoundError:  # It logged nothing.
            return True

    def _stored_at(self) -> float | None:
        """When the model was stored last, in seconds since 1970."""
        try:
            history = ModelDetails.of(self._bridge.call("show", {"model": self._model})).history
        except NotFoundError:
            return None
        return max((_seconds(push.at) for push in history), default=None)

    def _append(self, upto: int) -> None:
        new = self._entries[self._logged : upto]
        request = {"model": self._model, "run": self.run, "entries": new, "after": self._logged}
        LogResult.of(self._bridge.call("log-append", request))
        with self._changed:
            self._logged, self._logged_at = upto, time.monotonic()

    def _at_exit(self) -> None:
        # A forked child has this object, and not its thread.
        if os.getpid() != self._process or not (self._busy or self._pending or self._logged < len(self._entries)):
            return
        print(f"modelkeep: storing what is finished of {self._model} (Ctrl-C leaves it for next time)", file=sys.stderr)
        try:
            self.wait()
        except (Error, KeyboardInterrupt) as error:
            places = {os.fspath(self.unsent if item.held else item.path) for item in self._pending}
            kept = f"kept in {', '.join(sorted(places))}" if places else "the log"
            print(f"modelkeep: not stored, {kept}: {error}", file=sys.stderr)
        if self.unconfirmed:
            print(f"modelkeep: {self._model} may still be on its way to the store; {FLUSH}", file=sys.stderr)


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


def newest_stored(bridge: Bridge, model: str) -> CheckpointItem | None:
    """The checkpoint of the Trainer that was stored last.

    Parameters
    ----------
    bridge : Bridge
        The store.
    model : str
        The model's id.

    Returns
    -------
    CheckpointItem or None
        None when there is none.
    """
    stored = CheckpointList(bridge.call("checkpoints", {"model": model}))
    return next((item for item in reversed(stored) if step_of(item.checkpoint) is not None), None)


def written_at(folder: Path) -> float:
    """When a directory was written.

    Parameters
    ----------
    folder : Path
        The directory.

    Returns
    -------
    float
        When its last file was, in seconds since 1970.
    """
    return max((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=0.0)


def state_of(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """How far a training had come.

    Parameters
    ----------
    folder : Path
        A checkpoint of the Trainer, or a model with the state beside.

    Returns
    -------
    tuple of int and list of dict
        Its step, and what was logged by then; without a state the step that its name says, and nothing.
    """
    named = step_of(folder.name) or 0
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return int(state.get("global_step", named)), list(state.get("log_history", ()))
    except (OSError, ValueError, TypeError, AttributeError):
        return named, []


def goes_on_from(history: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a training went on from another: the same was logged by then.

    Parameters
    ----------
    history : sequence of mapping
        What it logged.
    earlier : sequence of mapping
        What the other one logged, as the store tells it.

    Returns
    -------
    bool
        Whether the one begins with the other.
    """
    return len(history) >= len(earlier) and all(map(_is_same, history, earlier))


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # Other programs read the last digit of a number in their own way.
    def equal(a: Any, b: Any) -> bool:
        numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
        return math.isclose(a, b, rel_tol=1e-9) if numbers else bool(a == b)

    return one.keys() == other.keys() and all(equal(_plain(one[name]), _plain(other[name])) for name in one)


def _seconds(at: str) -> float:
    """The end of the second that the store tells, since 1970."""
    return datetime.fromisoformat(at[:19]).replace(tzinfo=timezone.utc).timestamp() + 1


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    try:
        return number(value)
    except (TypeError, ValueError):
        return str(value)
