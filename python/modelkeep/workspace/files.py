"""File data sets, notebooks, results, configs and documents on the store, and bring each thing where it belongs."""

from __future__ import annotations

from .. import results
from ._caller import Caller, Path


class Files(Caller):
    """File data sets, notebooks, results, configs and documents on the store, and bring each thing where it belongs."""

    def file_push(
        self, path: Path, *, to: str | None = None, pack: bool = False, verify: bool = False, dry_run: bool = False
    ) -> results.FilePushResult:
        """Stores a file or a folder; every version is kept: ``modelkeep file push``.

        Parameters
        ----------
        path : str or path-like
            The file or folder.
        to : str, optional
            ``datasets``, ``notebooks``, ``results/benchmarks`` (or another in results), ``configs`` or ``docs``; by
            what it is otherwise.
        pack : bool, default False
            Store a folder of many small files as one tar with an index.
        verify : bool, default False
            Read everything back before it counts.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        FilePushResult
            What was stored.

        Raises
        ------
        NotFoundError
            When there is nothing at `path`.
        ConflictError
            When something stands at its place that is not ours.
        """
        report = self._call("file-push", path=path, to=to, pack=pack, verify=verify, dry_run=dry_run)
        return results.FilePushResult.of(report)

    def file_pull(
        self, place: str, *, to: Path | None = None, force: bool = False, dry_run: bool = False
    ) -> results.FilePullResult:
        """Brings something that is filed here: ``modelkeep file pull``.

        Parameters
        ----------
        place : str
            Where it is on the store, such as ``datasets/train.csv``, or its name; ``PLACE@REV`` for an earlier version.
        to : str or path-like, optional
            The path that it gets; its place in the workspace otherwise, such as ``data/train.csv``.
        force : bool, default False
            Move aside what stands in the way.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        FilePullResult
            What was brought, and where it is.

        Raises
        ------
        NotFoundError
            When nothing is filed there.
        ConflictError
            When files of your own stand in the way.
        IntegrityError
            When the store's bytes are not what was stored.
        """
        return results.FilePullResult.of(self._call("file-pull", place=place, to=to, force=force, dry_run=dry_run))

    def file_list(self, place: str | None = None, *, all: bool = False) -> results.FiledList:
        """What is filed: ``modelkeep file list``.

        Parameters
        ----------
        place : str, optional
            Only this folder of the store, or this file.
        all : bool, default False
            Removed ones too.

        Returns
        -------
        FiledList
            One a place.
        """
        return results.FiledList(self._call("file-list", place=place, all=all))

    def file_rm(self, place: str, *, dry_run: bool = False) -> results.Change:
        """Removes something that is filed; it can be restored for a while: ``modelkeep file rm``.

        Parameters
        ----------
        place : str
            Where it is on the store, with all its versions; ``PLACE@REV`` for one of them.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was done.

        Raises
        ------
        NotFoundError
            When nothing is filed there.
        """
        return results.Change.of(self._call("file-rm", place=place, dry_run=dry_run))

    def where(self, *paths: Path) -> results.PlacedList:
        """Where things belong, and why: ``modelkeep where``.

        Parameters
        ----------
        *paths : str or path-like
            Files and folders.

        Returns
        -------
        PlacedList
            One a path.

        Raises
        ------
        NotFoundError
            When there is nothing at a path.
        UsageError
            When no path is given.
        """
        return results.PlacedList(self._call("where", paths=paths))

    def place(self, *paths: Path, free: bool = False, dry_run: bool = False) -> results.PlaceResult:
        """Brings things where they belong: ``modelkeep place``.

        Parameters
        ----------
        *paths : str or path-like
            Files and folders; without any, what is in the folders of the workspace that hold such things.
        free : bool, default False
            Remove from here what belongs on the store alone, once it is there.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        PlaceResult
            What was done, and what was left.

        Raises
        ------
        AuthError
            When something belongs on the store and none is set.
        """
        return results.PlaceResult.of(self._call("place", paths=paths, free=free, dry_run=dry_run))
