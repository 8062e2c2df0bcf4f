"""What a training handed in and the store does not have yet, on disk: held by hard links in `_modelkeep-unsent`.

So the training may take its own directory away, and what a killed training left there is found by the next one. Each
hand-in has a folder of its own::

    _modelkeep-unsent/MODEL/TIME/checkpoint-500/…       under the name that it is stored as
    _modelkeep-unsent/MODEL/TIME/request.json           what was asked
    _modelkeep-unsent/MODEL/.TIME.part, .TIME.done      while it comes and goes: swept
    _modelkeep-unsent/MODEL/aside-TIME/checkpoint-500/… not stored, while a later one is: kept, not sent

A folder changes its name in one step and whole, so a kill leaves no half of a checkpoint under a name that is sent.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNSENT = "_modelkeep-unsent"
"""In a training's output directory: what is finished and not stored yet. Never part of a push; called so that the
Trainer does not upload it either: `push_to_hub` leaves out what begins with `_`."""
FINAL = "final"
REQUEST = "request.json"
ASIDE = "aside-"


@dataclass(frozen=True, eq=False)
class HandIn:
    """A checkpoint, or the model at the end.

    Attributes
    ----------
    path : Path
        The directory that is stored.
    request : mapping
        What is asked beside.
    held : bool
        Whether it is in a folder of ours, and not where the training wrote it.
    left : bool
        Whether an earlier training left it.
    """

    path: Path
    request: Mapping[str, Any]
    held: bool = True
    left: bool = False


def hold(path: Path, folder: Path, request: Mapping[str, Any]) -> HandIn:
    """Holds a directory by hard links, which costs no bytes.

    Parameters
    ----------
    path : Path
        The directory.
    folder : Path
        Where to hold it, under its own name.
    request : mapping
        What is asked beside.

    Returns
    -------
    HandIn
        What is held; or `path` itself on a file system without hard links, where copying would slow the training.
    """
    try:
        with made(folder, request) as part:
            shutil.copytree(path, part / path.name, copy_function=os.link)
    except OSError:
        return HandIn(path, request, held=False)
    return HandIn(folder / path.name, request)


@contextmanager
def made(folder: Path, request: Mapping[str, Any]) -> Iterator[Path]:
    """Makes a folder that has its name once everything is in it.

    Parameters
    ----------
    folder : Path
        The folder.
    request : mapping
        What is asked beside. How many checkpoints stay is left for those to say that come later.

    Yields
    ------
    Path
        Where to write.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        part.mkdir(parents=True)
        yield part
        asked = {name: value for name, value in request.items() if name != "keep_last"}
        (part / REQUEST).write_text(json.dumps(asked, default=os.fspath), encoding="utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove(folder: Path) -> None:
    """Takes a folder away, and its name first: a kill leaves no half of it that somebody takes for the whole.

    Parameters
    ----------
    folder : Path
        The folder; one that somebody has taken over already is left alone.
    """
    going = folder.with_name(f".{folder.name}.done")
    with suppress(OSError):
        shutil.rmtree(folder.rename(going), ignore_errors=True)


_count = itertools.count()


def unique() -> str:
    """A name that nothing else has, and that comes after those from before.

    Returns
    -------
    str
        The name.
    """
    return f"{time.time_ns()}-{os.getpid()}-{next(_count)}"


def take_over(folder: Path, mine: Collection[Path]) -> list[HandIn]:
    """Takes what an earlier training left.

    It has other names from then on: a thread that is still at it, as after a cell that was interrupted, finds it gone, and
    deletes nothing of ours.

    Parameters
    ----------
    folder : Path
        Where a model's hand-ins are.
    mine : collection of Path
        Folders there that are one's own.

    Returns
    -------
    list of HandIn
        In the order in which they were handed in.
    """
    left = []
    for there in sorted(folder.iterdir()) if folder.is_dir() else ():
        if there.name.startswith("."):
            shutil.rmtree(there, ignore_errors=True)
        elif there not in mine and not there.name.startswith(ASIDE):
            taken = folder / unique()
            with suppress(OSError):  # Somebody else was first.
                there.rename(taken)
                left += [HandIn(path, _asked(taken), left=True) for path in taken.iterdir() if path.is_dir()]
    return left


def put_aside(item: HandIn) -> Path:
    """Keeps what is not sent any more.

    Parameters
    ----------
    item : HandIn
        What was handed in.

    Returns
    -------
    Path
        Where it is now.
    """
    folder = item.path.parent
    if item.held:
        with suppress(OSError):
            return folder.rename(folder.with_name(f"{ASIDE}{folder.name}")) / item.path.name
    return item.path


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Looks at an output directory alone: processes of one training begin together, and all do the same there.

    Nobody waits where the system has no such locks, or its file system none of directories.

    Parameters
    ----------
    output : Path
        The training's output directory, which is made.
    """
    folder = None
    with suppress(ImportError, OSError):
        import fcntl

        output.mkdir(parents=True, exist_ok=True)
        folder = os.open(output, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if folder is not None:
            os.close(folder)


def _asked(folder: Path) -> dict[str, Any]:
    """What was asked of a hand-in; nothing more than its name says, where a power cut took it."""
    try:
        asked = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return asked if isinstance(asked, dict) else {}
