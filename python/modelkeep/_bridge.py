"""The one way from Python into the core: a request as JSON, progress and warnings, the report as a dict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ._modelkeep import Session
from .progress import OnProgress, Progress


class Bridge:
    """A session and whom to tell of its progress."""

    def __init__(
        self,
        workspace: str | os.PathLike[str] | None,
        remote: str | os.PathLike[str] | None,
        *,
        notebook: bool,
        progress: OnProgress | None,
    ) -> None:
        given = None if remote is None else os.fspath(remote)
        self._session = Session(workspace, given, notebook=notebook)
        self._progress = progress

    def call(self, operation: str, request: Mapping[str, Any], *, stacklevel: int = 2) -> dict[str, Any]:
        """Does an operation.

        Parameters
        ----------
        operation : str
            Its name on the command line.
        request : mapping
            Its fields; those that are None are left out.
        stacklevel : int
            How many frames above this one a warning belongs to.

        Returns
        -------
        dict
            The report.
        """
        warned: list[str] = []

        def tell(kind: Any, text: str | None, count: int | None) -> None:
            if kind == "warning" and text is not None:
                warned.append(text)
            if kind == "note" and text is not None:
                import logging

                logging.getLogger("modelkeep").info(text)
            if self._progress is not None:
                self._progress(Progress(kind, text, count))

        asked = {name: value for name, value in request.items() if value is not None}
        try:
            report: dict[str, Any] = json.loads(self._session.call(operation, json.dumps(asked), tell))
        finally:
            # Only now, so that a warning made an error cannot stop work half-way.
            if warned:
                import warnings

                from .errors import ModelkeepWarning

                for text in warned:
                    warnings.warn(text, ModelkeepWarning, stacklevel=stacklevel + 1)
        return report


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
