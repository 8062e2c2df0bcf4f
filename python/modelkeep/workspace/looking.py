"""See what is there."""

from __future__ import annotations

from .. import results
from ._caller import Caller, Kind

class Looking(Caller):
    """See what is there."""

    def list(
        self,
        *,
        kind: Kind | None = None,
        status: str | None = None,
        family: str | None = None,
        sort: str | None = None,
        all: bool = False,
    ) -> results.ModelList:
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
        return results.ModelList(self._call("list", kind=kind, status=status, family=family, sort=sort, all=all))

    def show(self, model: str) -> results.ModelDetails:
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
        return results.ModelDetails.of(self._call("show", model=model))

    def history(self, model: str | None = None) -> results.History:
        """Who did what when: ``modelkeep history``.

        Parameters
        ----------
        model : str, optional
            Only what happened to this model.

        Returns
        -------
        History
            The events.
        """
        return results.History(self._call("history", model=model))

    def diff(self, before: str, after: str) -> results.Diff:
        """Compares two revisions: ``modelkeep diff``.

        Parameters
        ----------
        before, after : str
            ``MODEL[@REV]``.

        Returns
        -------
        Diff
            Metrics, configuration, files and tensors that differ.
        """
        return results.Diff.of(self._call("diff", before=before, after=after))

    def verify(self, model: str | None = None, *, deep: bool = False) -> results.VerifyResult:
        """Checks what the store holds against its log: ``modelkeep verify``. Damage is in the result and raises nothing.

        Parameters
        ----------
        model : str, optional
            Only this model.
        deep : bool, default False
            Read every byte.

        Returns
        -------
        VerifyResult
            The problems, if any.
        """
        return results.VerifyResult.of(self._call("verify", model=model, deep=deep))

    def status(self) -> results.Status:
        """Space here and on the store, against the budgets: ``modelkeep status``.

        Returns
        -------
        Status
            What takes it.
        """
        return results.Status.of(self._call("status"))
