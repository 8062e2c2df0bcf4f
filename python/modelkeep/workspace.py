"""The command line in Python: the same operations with the same fields."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ._bridge import Bridge, metric_texts
from .progress import OnProgress
from .results import Change, InitResult, ModelDetails, ModelList, PullResult, PushResult

Kind = Literal["base", "finetuned"]


class Workspace:
    """A workspace and its store, as the command line finds them.

    Unlike `GoogleDriveManager` it makes no store and answers nothing from a simulation that was not asked for.

    Parameters
    ----------
    path : str or path-like, optional
        The folder with ``modelkeep.toml``; otherwise found upward from the current one. None is needed where
        `remote` is given.
    remote : str or path-like, optional
        A store: a name in ``modelkeep.toml``, a path or a URL.
    progress : callable, optional
        Called with a `Progress` while something runs.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        remote: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> None:
        self._bridge = Bridge(path, remote, notebook=False, progress=progress)

    @classmethod
    def init(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        remote: str | os.PathLike[str] | None = None,
        name: str | None = None,
        python: bool = False,
    ) -> InitResult:
        """Makes a workspace, and the tree of its store; safe to run again.

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

        Returns
        -------
        InitResult
            What was made.

        Raises
        ------
        ConflictError
            When ``src/cloud`` is there already, or the workspace belongs to another store.
        """
        request = {
            "dir": os.fspath(path),
            "remote": None if remote is None else os.fspath(remote),
            "name": name,
            "python": python,
        }
        bridge = Bridge(None, None, notebook=False, progress=None)
        return InitResult.of(bridge.call("init", request))

    def push(
        self,
        path: str | os.PathLike[str],
        model: str,
        *,
        labels: Sequence[str] = (),
        kind: Kind | None = None,
        base: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        metrics_file: str | os.PathLike[str] | None = None,
        purpose: str | None = None,
        note: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        even_if_deployed: bool = False,
        verify: bool = False,
        dry_run: bool = False,
    ) -> PushResult:
        """Stores a directory, or one file, as a revision: ``modelkeep push``.

        Parameters
        ----------
        path : str or path-like
            The directory or file.
        model : str
            The model's id.
        labels : sequence of str
            Labels for the revision.
        kind : {'base', 'finetuned'}, optional
            Needed only for a new model.
        base : str, optional
            The base model, over what the adapter says.
        metrics : mapping of str to float, optional
            Metrics, over those that are found in the directory.
        metrics_file : str or path-like, optional
            A JSON file with metrics.
        purpose : str, optional
            What the model is for.
        note : str, optional
            A note on this push.
        include, exclude : sequence of str
            Patterns of files, as in ``.gitignore``.
        even_if_deployed : bool, default False
            Push although the model is deployed.
        verify : bool, default False
            Read everything back before it counts.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        PushResult
            What was stored.
        """
        request = {
            "path": os.fspath(path),
            "model": model,
            "labels": list(labels),
            "kind": kind,
            "base": base,
            "metrics": metric_texts(metrics),
            "metrics_file": None if metrics_file is None else os.fspath(metrics_file),
            "purpose": purpose,
            "note": note,
            "include": list(include),
            "exclude": list(exclude),
            "even_if_deployed": even_if_deployed,
            "verify": verify,
            "dry_run": dry_run,
        }
        return PushResult.of(self._bridge.call("push", request))

    def pull(
        self,
        model: str,
        *,
        to: str | os.PathLike[str] | None = None,
        with_base: bool = False,
        force: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
    ) -> PullResult:
        """Brings ``MODEL[@REV]`` here: ``modelkeep pull``.

        Parameters
        ----------
        model : str
            The model, and with ``@`` a label, a number or the beginning of a revision's id.
        to : str or path-like, optional
            The folder; ``models/<id>/<label>`` otherwise.
        with_base : bool, default False
            Bring its base model too.
        force : bool, default False
            Move files that stand in the way aside.
        include, exclude : sequence of str
            Patterns of files, as in ``.gitignore``.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        PullResult
            What was brought.
        """
        request = {
            "model": model,
            "to": None if to is None else os.fspath(to),
            "with_base": with_base,
            "force": force,
            "include": list(include),
            "exclude": list(exclude),
            "dry_run": dry_run,
        }
        return PullResult.of(self._bridge.call("pull", request))

    def list(
        self,
        *,
        kind: Kind | None = None,
        status: str | None = None,
        family: str | None = None,
        sort: str | None = None,
        all: bool = False,
    ) -> ModelList:
        """What is there: ``modelkeep list``.

        Parameters
        ----------
        kind : {'base', 'finetuned'}, optional
            Only these.
        status : {'active', 'deployed', 'archived', 'failed', 'removed'}, optional
            Only these.
        family : str, optional
            Only the models of this family.
        sort : str, optional
            ``name``, ``size``, ``date`` or a metric's name.
        all : bool, default False
            Removed ones too.

        Returns
        -------
        ModelList
            The models.
        """
        request = {"kind": kind, "status": status, "family": family, "sort": sort, "all": all}
        return ModelList(self._bridge.call("list", request))

    def show(self, model: str) -> ModelDetails:
        """One model, its files and its history: ``modelkeep show``.

        Parameters
        ----------
        model : str
            ``MODEL[@REV]``.

        Returns
        -------
        ModelDetails
            All that is known of it.
        """
        return ModelDetails.of(self._bridge.call("show", {"model": model}))

    def deploy(self, model: str, *, dry_run: bool = False) -> Change:
        """Makes ``MODEL[@REV]`` the deployed one: ``modelkeep deploy``, without asking.

        Parameters
        ----------
        model : str
            ``MODEL[@REV]``.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        return Change.of(self._bridge.call("deploy", {"model": model, "dry_run": dry_run}))
