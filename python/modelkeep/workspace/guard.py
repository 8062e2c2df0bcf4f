"""Keep models out of git."""

from __future__ import annotations

from .. import results
from ._caller import Caller, Path


class Guard(Caller):
    """Keep models out of git. What is found is in the result, and raises nothing."""

    def guard_check(self, *paths: Path, all: bool = False, range: str | None = None) -> results.GuardResult:
        """Looks for what does not belong in git, among what is staged: ``modelkeep guard check``.

        Parameters
        ----------
        *paths : str or path-like
            Only these files and folders.
        all : bool, default False
            Everything that git tracks.
        range : str, optional
            What the commits ``FROM..TO`` bring.

        Returns
        -------
        GuardResult
            What was found.

        Raises
        ------
        NotFoundError
            When here is no git repository.
        """
        return results.GuardResult.of(self._call("guard-check", paths=paths, all=all, range=range))

    def guard_history(self) -> results.GuardHistory:
        """Looks for it in all that git ever had: ``modelkeep guard history``.

        Returns
        -------
        GuardHistory
            What was found, and the commands that take it out.

        Raises
        ------
        NotFoundError
            When here is no git repository.
        """
        return results.GuardHistory.of(self._call("guard-history"))

    def guard_install(self, *, remove: bool = False, dry_run: bool = False) -> results.GuardInstalled:
        """Puts hooks into git that ask the guard before a commit and a push: ``modelkeep guard install``.

        Parameters
        ----------
        remove : bool, default False
            Take them away.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        GuardInstalled
            What was done.

        Raises
        ------
        NotFoundError
            When here is no git repository.
        """
        return results.GuardInstalled.of(self._call("guard-install", remove=remove, dry_run=dry_run))
