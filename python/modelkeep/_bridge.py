"""The one way from Python into the core: a request as JSON, progress and warnings, the report as a dict."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from ._modelkeep import Session
from .progress import OnProgress, Progress, observer

Credentials = Callable[[], str]
"""Gives an access token for Drive; called again whenever the last one has ended."""


class Bridge:
    """A session, who is told of its progress, and who gives it tokens.

    With `warned`, what is in it is not warned of again: a training says the same of each checkpoint.
    """

    def __init__(
        self,
        workspace: str | os.PathLike[str] | None,
        remote: str | os.PathLike[str] | None,
        *,
        notebook: bool,
        progress: OnProgress | bool | None,
        credentials: Credentials | None = None,
        offline: bool = False,
        warned: set[str] | None = None,
    ) -> None:
        given = None if remote is None else os.fspath(remote)
        if credentials is not None and not callable(credentials):
            from .errors import UsageError

            hint = "credentials=lambda: my_token()"
            raise UsageError("credentials is to be a callable that returns an access token", hint=hint)
        self._session = Session(workspace, given, notebook=notebook, credentials=credentials, offline=offline)
        self._progress = progress
        self._warned = warned

    def call(self, operation: str, request: Mapping[str, Any], *, stacklevel: int = 2) -> dict[str, Any]:
        """Does an operation.

        Parameters
        ----------
        operation : str
            Its name in `crates/modelkeep-python/src/operations.rs`.
        request : mapping
            Its fields; those that are None are left out, paths may be path-like.
        stacklevel : int
            How many frames above this one a warning belongs to.

        Returns
        -------
        dict
            The report.
        """
        warned: list[str] = []
        told = observer(self._progress)

        def tell(kind: Any, text: str | None, count: int | None) -> None:
            if kind == "warning" and text is not None and (self._warned is None or text not in self._warned):
                warned.append(text)
            if kind == "note" and text is not None:
                import logging

                logging.getLogger("modelkeep").info(text)
            if told is not None:
                told(Progress(kind, text, count))

        asked = {name: value for name, value in request.items() if value is not None}
        try:
            report: dict[str, Any] = json.loads(self._session.call(operation, json.dumps(asked, default=os.fspath), tell))
        finally:
            close = getattr(told, "close", None)
            if told is not self._progress and close is not None:
                close()
            # Only now, so that a warning made an error cannot stop work half-way.
            if warned:
                import warnings

                from .errors import ModelkeepWarning

                if self._warned is not None:
                    self._warned.update(warned)
                for text in warned:
                    warnings.warn(text, ModelkeepWarning, stacklevel=stacklevel + 1)
        return report


def number(value: Any) -> float | None:
    """A number as JSON has it.

    Parameters
    ----------
    value : number
        Anything that `float` takes, so NumPy scalars and one-element tensors too.

    Returns
    -------
    float or None
        None for NaN and the infinities.
    """
    value = float(value)
    return value if math.isfinite(value) else None


def metric_texts(metrics: Mapping[str, Any] | None) -> list[str]:
    """Metrics as the command line takes them: ``name=value``.

    Parameters
    ----------
    metrics : mapping of str to number, optional
        Anything that `float` takes, so NumPy scalars and one-element tensors too.

    Returns
    -------
    list of str
        One a metric.
    """
    from .errors import UsageError

    texts = []
    for name, value in (metrics or {}).items():
        try:
            texts.append(f"{name}={float(value)!r}")
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the metric {name!r} is no number: {value!r}", hint="metrics={'accuracy': 0.952}"
            ) from error
    return texts
