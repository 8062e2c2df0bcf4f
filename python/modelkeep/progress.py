"""What is told while an operation runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple


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
