"""The three calls of a notebook: `upload_model`, `download_model`, `list_models`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._bridge import Bridge, Credentials, metric_texts
from .errors import ConflictError, UsageError
from .progress import OnProgress
from .results import ModelList, PullResult, PushResult

if TYPE_CHECKING:
    from .workspace import Workspace

LATEST = "latest"
"""The newest revision; not a label that is set."""


class GoogleDriveManager:
    """Models on your Drive, or wherever your store is.

    Which store is meant, in this order, looked up at each call:

    1. ``remote``, when it is given;
    2. what the settings say: ``MODELKEEP_REMOTE``, else the ``modelkeep.toml`` found upward from the current folder;
    3. the folder ``Banking LLM`` on Drive: asked itself where there is access (``credentials``, a saved login, a token
       in the environment, in Colab ``auth.authenticate_user()``), else in Colab through the mounted Drive;
    4. with none of these, a read is answered from a simulation, with a warning and ``simulated=True``, and a write
       raises `AuthError`. Nothing is saved to a simulation that was not asked for by name.

    Parameters
    ----------
    remote : str or path-like, optional
        A store: a name in ``modelkeep.toml``, a path, a URL such as ``folder:PATH`` or ``sim:``; in Colab also the
        name of a folder on the mounted Drive. A store that is not there yet is made by the first upload.
    workspace : str or path-like, optional
        The folder with ``modelkeep.toml``; otherwise found upward from the current one.
    simulate : bool, default False
        Use the simulation, a folder under your data directory, to try things out.
    progress : callable or bool, optional
        Called with a `Progress` while something runs; True shows bars, False none. Otherwise bars are shown in a
        notebook and in a terminal, when tqdm is installed.
    credentials : callable, optional
        Gives an access token for Drive as a text, and is called again whenever the last one has ended.

    Raises
    ------
    UsageError
        When the arguments contradict each other.
    NotFoundError
        When `workspace` is no workspace, or `remote` names no store.
    """

    def __init__(
        self,
        remote: str | os.PathLike[str] | None = None,
        *,
        workspace: str | os.PathLike[str] | None = None,
        simulate: bool = False,
        progress: OnProgress | bool | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        remote = store_of(remote, simulate)
        self._remote = remote
        self._bridge = Bridge(workspace, remote, notebook=True, progress=progress, credentials=credentials)

    def __repr__(self) -> str:
        return f"GoogleDriveManager({'' if self._remote is None else repr(self._remote)})"

    def upload_model(
        self,
        path: str | os.PathLike[str],
        name: str,
        version: str = LATEST,
        *,
        metrics: Mapping[str, Any] | None = None,
        base: str | None = None,
        note: str | None = None,
        purpose: str | None = None,
    ) -> PushResult:
        """Stores a directory, or one file, as a new revision of a model.

        What the store has already is not sent again; the same content once more changes nothing.

        Parameters
        ----------
        path : str or path-like
            The training output.
        name : str
            The model's id, such as ``banking-v2``.
        version : str, default 'latest'
            A label for the revision; ``latest`` is the newest one anyway and sets none.
        metrics : mapping of str to float, optional
            Metrics, over those that are found in the directory.
        base : str, optional
            The base model, over what the adapter says.
        note : str, optional
            A note on this upload.
        purpose : str, optional
            What the model is for.

        Returns
        -------
        PushResult
            What was stored.

        Raises
        ------
        AuthError
            When no store is set, or it may not be written.
        ConflictError
            When the model is deployed; the hint is the same call with the next id.
        NotFoundError
            When there is nothing at `path`.
        UsageError
            When `name` cannot be a model id, or the directory holds what cannot be stored.
        """
        request = {
            "path": os.fspath(path),
            "model": name,
            "labels": [] if version == LATEST else [version],
            "metrics": metric_texts(metrics),
            "base": base,
            "note": note,
            "purpose": purpose,
        }
        try:
            return PushResult.of(self._bridge.call("push", request))
        except ConflictError as error:
            if error.next_model is not None:
                said = {"metrics": metrics, "base": base, "note": note, "purpose": purpose}
                more = "".join(f", {key}={value!r}" for key, value in said.items() if value is not None)
                call = f"{os.fspath(path)!r}, {error.next_model!r}, {version!r}{more}"
                error.hint = f"manager.upload_model({call})"
            raise

    def download_model(self, name: str, dest: str | os.PathLike[str], version: str | int = LATEST) -> PullResult:
        """Brings a revision to ``dest/name/version``, byte for byte, whole or not at all.

        Parameters
        ----------
        name : str
            The model's id.
        dest : str or path-like
            The folder below which it is put.
        version : str or int, default 'latest'
            A label, a number, or the beginning (7 or more) of a revision's id.

        Returns
        -------
        PullResult
            What was brought, and where it is.

        Raises
        ------
        NotFoundError
            When there is no such model or revision.
        ConflictError
            When files of your own stand in the way.
        IntegrityError
            When the store's bytes are not what was stored.
        """
        request = {"model": f"{name}@{version}", "to": Path(dest, name, str(version))}
        return PullResult.of(self._bridge.call("pull", request))

    def list_models(self) -> ModelList:
        """The models of the store.

        Returns
        -------
        ModelList
            A list of `ModelItem`, with ``simulated``.
        """
        return ModelList(self._bridge.call("list", {}))

    @property
    def workspace(self) -> Workspace:
        """Every other command on the same store: ``manager.workspace.diff('banking-v1', 'banking-v2')``."""
        from .workspace import Workspace

        return Workspace._over(self._bridge, self)


def store_of(remote: str | os.PathLike[str] | None, simulate: bool) -> str | os.PathLike[str] | None:
    """The store that two arguments mean together.

    Parameters
    ----------
    remote : str or path-like, optional
        A store.
    simulate : bool
        Use the simulation.

    Returns
    -------
    str, path-like or None
        The store.

    Raises
    ------
    UsageError
        When they contradict each other.
    """
    if not simulate or os.fspath(remote or "").startswith("sim:"):
        return remote
    if remote is not None:
        raise UsageError(f"simulate=True and remote={remote!r} contradict each other", hint="leave one of them out")
    return "sim:"


def init_drive_manager(
    remote: str | os.PathLike[str] | None = None,
    *,
    workspace: str | os.PathLike[str] | None = None,
    simulate: bool = False,
    progress: OnProgress | bool | None = None,
    credentials: Credentials | None = None,
) -> GoogleDriveManager:
    """A `GoogleDriveManager`; the arguments are the same.

    Parameters
    ----------
    remote : str or path-like, optional
        A store.
    workspace : str or path-like, optional
        The folder with ``modelkeep.toml``.
    simulate : bool, default False
        Use the simulation.
    progress : callable or bool, optional
        Called with a `Progress` while something runs; True shows bars, False none.
    credentials : callable, optional
        Gives an access token for Drive.

    Returns
    -------
    GoogleDriveManager
        Ready to use.
    """
    return GoogleDriveManager(
        remote, workspace=workspace, simulate=simulate, progress=progress, credentials=credentials
    )
