"""Change what is known of models, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import results
from ._caller import Caller

class Registry(Caller):
    """Change what is known of models, and where they stand."""

    def label(self, model: str, name: str, *, dry_run: bool = False) -> results.Change:
        """Gives ``MODEL[@REV]`` a label, taking it from another revision that has it: ``modelkeep label``.

        Parameters
        ----------
        model : str
            ``MODEL[@REV]``.
        name : str
            The label.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        return results.Change.of(self._call("label", model=model, name=name, dry_run=dry_run))

    def unlabel(self, model: str, name: str, *, dry_run: bool = False) -> results.Change:
        """Takes a label away; the revision stays: ``modelkeep label --remove``.

        Parameters
        ----------
        model : str
            The model's id.
        name : str
            The label.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        return results.Change.of(self._call("unlabel", model=model, name=name, dry_run=dry_run))

    def set(self, model: str, values: Mapping[str, Any], *, dry_run: bool = False) -> results.Change:
        """Sets fields of a model, such as ``purpose``, ``note`` or ``metrics.f1``: ``modelkeep set``.

        Parameters
        ----------
        model : str
            The model's id.
        values : mapping of str to str, number or None
            New values by field name; None takes a field away.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        texts = [f"{name}={'' if value is None else value}" for name, value in values.items()]
        return results.Change.of(self._call("set", model=model, values=texts, dry_run=dry_run))

    def deploy(self, model: str, *, dry_run: bool = False) -> results.Change:
        """Makes ``MODEL[@REV]`` the deployed one: ``modelkeep deploy``.

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
        return results.Change.of(self._call("deploy", model=model, dry_run=dry_run))

    def rollback(self, *, dry_run: bool = False) -> results.Change:
        """Goes back to what was deployed before: ``modelkeep rollback``.

        Parameters
        ----------
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        return results.Change.of(self._call("rollback", dry_run=dry_run))

    def archive(self, model: str, *, dry_run: bool = False) -> results.Change:
        """Puts a model away; its content stays: ``modelkeep archive``.

        Parameters
        ----------
        model : str
            The model's id.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        return results.Change.of(self._call("archive", model=model, dry_run=dry_run))

    def unarchive(self, model: str, *, dry_run: bool = False) -> results.Change:
        """Makes an archived model active again: ``modelkeep unarchive``.

        Parameters
        ----------
        model : str
            The model's id.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Change
            What was changed.
        """
        return results.Change.of(self._call("unarchive", model=model, dry_run=dry_run))

    def rm(self, model: str, *, dry_run: bool = False) -> results.Change:
        """Removes a model, or with ``@`` one revision of it; for a while it can be restored: ``modelkeep rm``.

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
        return results.Change.of(self._call("rm", model=model, dry_run=dry_run))

    def restore(self, model: str, *, dry_run: bool = False) -> results.Change:
        """Brings back what was removed: ``modelkeep restore``.

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
        return results.Change.of(self._call("restore", model=model, dry_run=dry_run))
