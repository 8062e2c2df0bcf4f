"""What the methods of a workspace share: the call, and the types of their arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from .._bridge import Bridge

Kind = Literal["base", "finetuned"]
Path = str | os.PathLike[str]


class Caller:
    """Something that has a bridge to the core."""

    _bridge: Bridge

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self._bridge.call(operation, request, stacklevel=3)


def texts(name: str, given: Sequence[str]) -> list[str]:
    """A list of texts; a single text in its place is the usual slip.

    Parameters
    ----------
    name : str
        What the argument is called.
    given : sequence of str
        What was given.

    Returns
    -------
    list of str
        The same.

    Raises
    ------
    UsageError
        When it is a text.
    """
    if isinstance(given, str):
        from ..errors import UsageError

        raise UsageError(f"{name} is to be a list of texts, not one", hint=f"{name}=[{given!r}]")
    return list(given)
