"""What can go wrong, as exceptions: one class for each kind of failure, each also the builtin that fits.

``except modelkeep.Error`` catches all of them; ``except FileNotFoundError`` catches those that mean just that.
Ctrl-C is `KeyboardInterrupt`, as everywhere.
"""

from __future__ import annotations

from typing import ClassVar


class ModelkeepWarning(UserWarning):
    """Something that should not be missed, and did not stop the operation."""


class Error(Exception):
    """Any failure of modelkeep.

    Parameters
    ----------
    message : str
        What failed, on what, and why.
    hint : str, optional
        What to type next.
    next_model : str, optional
        See below.

    Attributes
    ----------
    kind : str
        The kind of failure, as in the JSON of the command line: ``usage``, ``not_found``, ``conflict``,
        ``integrity``, ``auth``, ``unavailable``, ``quota``, ``local``, ``check_failed`` or ``internal``.
    message : str
        What failed, on what, and why.
    hint : str or None
        What to type next.
    next_model : str or None
        The id to take instead, where a model was not written because it is deployed.
    """

    kind: ClassVar[str] = "internal"

    message: str
    hint: str | None
    next_model: str | None

    def __init__(self, message: str, *, hint: str | None = None, next_model: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.next_model = next_model

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class UsageError(Error, ValueError):
    """The call, a setting or the input itself is wrong."""

    kind = "usage"


class NotFoundError(Error, FileNotFoundError):
    """No such model, revision, path, workspace or store."""

    kind = "not_found"


class ConflictError(Error, FileExistsError):
    """It would break something that stands: a taken id, a deployed model, a file of your own."""

    kind = "conflict"


class IntegrityError(Error, OSError):
    """Bytes are not what their checksum says."""

    kind = "integrity"


class AuthError(Error, PermissionError):
    """Not logged in, no permission, or no store set for a write."""

    kind = "auth"


class UnavailableError(Error, ConnectionError):
    """The remote does not answer."""

    kind = "unavailable"


class QuotaError(Error, OSError):
    """The remote has no room, or its limits are used up."""

    kind = "quota"


class LocalError(Error, OSError):
    """This machine: disk full, over budget."""

    kind = "local"


class CheckFailedError(Error, RuntimeError):
    """A check found something."""

    kind = "check_failed"


class InternalError(Error, RuntimeError):
    """A bug, or something nobody foresaw."""

    kind = "internal"


_BY_KIND: dict[str, type[Error]] = {
    error.kind: error
    for error in (
        UsageError,
        NotFoundError,
        ConflictError,
        IntegrityError,
        AuthError,
        UnavailableError,
        QuotaError,
        LocalError,
        CheckFailedError,
        InternalError,
    )
}


def of_kind(kind: str, message: str, hint: str | None = None, next_model: str | None = None) -> Error:
    """The exception for a kind of failure; called by the Rust core.

    Parameters
    ----------
    kind : str
        As in `Error.kind`; one that is not known is internal.
    message : str
        What failed, on what, and why.
    hint : str, optional
        What to type next.
    next_model : str, optional
        As in `Error.next_model`.

    Returns
    -------
    Error
        To be raised.
    """
    return _BY_KIND.get(kind, InternalError)(message, hint=hint, next_model=next_model)
