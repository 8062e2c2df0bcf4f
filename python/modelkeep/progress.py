"""What is told while an operation runs, and the bars that show it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Progress(NamedTuple):
    """Something that happened.

    Attributes
    ----------
    kind : {'stage', 'bytes', 'note', 'warning'}
        ``stage``: a stage begins. ``bytes``: bytes were moved and acknowledged. ``note`` and ``warning``: a sentence.
    text : str or None
        The stage's name, or the sentence.
    bytes : int or None
        Of a stage, the bytes to move in all when that is known; else the bytes moved since the last time.
    """

    kind: Literal["stage", "bytes", "note", "warning"]
    text: str | None
    bytes: int | None


OnProgress = Callable[[Progress], object]
"""Called about ten times a second, in the thread that made the call. What it raises stops the operation."""


SOON = 0.5
"""Seconds; what is done sooner shows no bar. A notebook that is kept would hold an empty one for each."""


class Bars:
    """Shows progress with `tqdm.auto`: a widget in a notebook, a bar in a terminal. One for each operation.

    Notes, such as that another push is waited for, are printed.
    """

    def __init__(self) -> None:
        import warnings

        with warnings.catch_warnings():
            # A notebook without widgets gets bars of text; that is nothing to be warned of.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm

        self._tqdm = tqdm
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        """Shows what happened.

        Parameters
        ----------
        progress : Progress
            What happened.
        """
        if progress.kind == "stage":
            self.close()
            total = progress.bytes or None
            shape = {"unit": "B", "unit_scale": True, "unit_divisor": 1000, "leave": False, "delay": SOON}
            self._bar = self._tqdm(total=total, desc=progress.text, **shape)
        elif progress.kind == "bytes" and self._bar is not None:
            self._bar.update(progress.bytes or 0)
        elif progress.kind == "note" and progress.text is not None:
            # What is on standard error looks like a fault in a notebook.
            self._tqdm.write(progress.text, file=sys.stdout if is_notebook() else sys.stderr)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def is_watched() -> bool:
    """Whether somebody looks on: a notebook, or a terminal.

    Returns
    -------
    bool
        False in a script whose output goes to a file or a pipe.
    """
    stderr = sys.stderr
    return is_notebook() or bool(stderr is not None and stderr.isatty())


def is_notebook() -> bool:
    """Whether this is a notebook, or what shows itself as one.

    Returns
    -------
    bool
        Whether output goes into cells: the shell of IPython belongs to a kernel. (That ``ipykernel`` is imported tells
        nothing; whoever runs notebooks imports it as well.)
    """
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def observer(wanted: OnProgress | bool | None) -> OnProgress | None:
    """Who is told of one operation.

    Parameters
    ----------
    wanted : callable, bool or None
        A callable is told itself; True shows bars; None shows them where somebody looks on and tqdm is installed;
        False shows none.

    Returns
    -------
    callable or None
        To be called with each `Progress`; one that has ``close`` is closed when the operation is over.

    Raises
    ------
    UsageError
        When `wanted` is True and tqdm is not installed.
    """
    if callable(wanted):
        return wanted
    if wanted is False or (wanted is None and not is_watched()):
        return None
    try:
        return Bars()
    except ImportError:
        if wanted is None:
            return None
        from .errors import UsageError

        raise UsageError("progress=True shows bars with tqdm, which is not installed", hint="pip install tqdm") from None
