"""The command line in Python: the same operations with the same fields, a file for each kind of them."""

from __future__ import annotations

from .. import results
from .._bridge import Bridge, Credentials
from ..progress import OnProgress
from ._caller import Path
from .caches import Caches
from .care import Care
from .files import Files
from .guard import Guard
from .looking import Looking
from .models import Models
from .registry import Registry
from .settings import Settings
from .training import Training


class Workspace(Models, Looking, Files, Caches, Registry, Training, Care, Guard, Settings):
    """A workspace and its store, as the command line finds them.

    Unlike `GoogleDriveManager` it makes no store and answers nothing from a simulation that was not asked for. Nothing
    asks back: what the command line asks about is done; ``dry_run=True`` says what would be.

    Parameters
    ----------
    path : str or path-like, optional
        The folder with ``modelkeep.toml``; otherwise found upward from the current one. None is needed where
        `remote` is given.
    remote : str or path-like, optional
        A store: a name in ``modelkeep.toml``, a path or a URL.
    progress : callable or bool, optional
        Called with a `Progress` while something runs; True shows bars, False none. Otherwise bars are shown in a
        notebook and in a terminal, when tqdm is installed.
    credentials : callable, optional
        Gives an access token for Drive, and is called again whenever the last one has ended.
    offline : bool, default False
        Use no network.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        remote: Path | None = None,
        progress: OnProgress | bool | None = None,
        credentials: Credentials | None = None,
        offline: bool = False,
    ) -> None:
        given = [] if path is None else [repr(path)]
        self._named = f"Workspace({', '.join(given + ([] if remote is None else [f'remote={remote!r}']))})"
        self._bridge = Bridge(
            path, remote, notebook=False, progress=progress, credentials=credentials, offline=offline
        )

    def __repr__(self) -> str:
        return self._named

    @classmethod
    def _over(cls, bridge: Bridge, owner: object) -> Workspace:
        """That of a `GoogleDriveManager`, which finds its store in its own way."""
        workspace = cls.__new__(cls)
        workspace._bridge, workspace._named = bridge, f"{owner!r}.workspace"
        return workspace

    @classmethod
    def init(
        cls,
        path: Path = ".",
        *,
        remote: Path | None = None,
        name: str | None = None,
        python: bool = False,
        account: str | None = None,
        credentials: Credentials | None = None,
    ) -> results.InitResult:
        """Makes a workspace, and the tree of its store; safe to run again: ``modelkeep init``.

        Parameters
        ----------
        path : str or path-like, default '.'
            The workspace's folder.
        remote : str or path-like, optional
            Its store; without, it is left unset.
        name : str, optional
            Its name; the folder's otherwise.
        python : bool, default False
            Write ``src/cloud``, so that ``from src.cloud import GoogleDriveManager`` works.
        account : str, optional
            On Drive, whose login is used.
        credentials : callable, optional
            Gives an access token for Drive.

        Returns
        -------
        InitResult
            What was made.

        Raises
        ------
        ConflictError
            When ``src/cloud`` is there already, or the workspace belongs to another store.
        """
        bridge = Bridge(None, None, notebook=False, progress=None, credentials=credentials)
        request = {"dir": path, "remote": remote, "name": name, "python": python, "account": account}
        return results.InitResult.of(bridge.call("init", request))
