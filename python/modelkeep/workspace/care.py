"""Keep the store well, and know how it stands."""

from __future__ import annotations

from typing import Literal

from .. import results
from ._caller import Caller, Path

Period = Literal["daily", "weekly", "monthly", "quarterly"]
Place = Literal["cron", "systemd", "codespaces", "github"]


class Care(Caller):
    """Keep the store well, and know how it stands."""

    def adopt(
        self, *, map: Path | None = None, now: bool = False, edited: bool = False, dry_run: bool = False
    ) -> results.AdoptResult:
        """Takes in models that stand on the store already: ``modelkeep adopt``.

        Parameters
        ----------
        map : str or path-like, optional
            A file with corrections.
        now : bool, default False
            Take in also what was written within the last hour.
        edited : bool, default False
            Take in also what was edited by hand in a model's folder.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        AdoptResult
            What was understood, and taken in.
        """
        return results.AdoptResult.of(self._call("adopt", map=map, now=now, edited=edited, dry_run=dry_run))

    def repair(
        self, *, commit: str | None = None, deep: bool = False, dry_run: bool = False
    ) -> results.RepairResult:
        """Mends what an interrupted command or a foreign hand left: ``modelkeep repair``.

        Parameters
        ----------
        commit : str, optional
            A push that was never committed, to be committed now.
        deep : bool, default False
            Mend also what only reading every byte finds.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        RepairResult
            What was mended, and what was left for a person.
        """
        return results.RepairResult.of(self._call("repair", commit=commit, deep=deep, dry_run=dry_run))

    def prune(self, *, keep: int | None = None, dry_run: bool = False) -> results.PruneResult:
        """Applies retention, and empties the trash past its grace: ``modelkeep prune``.

        Parameters
        ----------
        keep : int, optional
            Newest pushes of each model that stay; as the settings say otherwise.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        PruneResult
            What went.
        """
        return results.PruneResult.of(self._call("prune", keep=keep, dry_run=dry_run))

    def maintain(self, period: Period | None = None, *, dry_run: bool = False) -> results.MaintainResult:
        """Does the upkeep that is due: ``modelkeep maintain``.

        Parameters
        ----------
        period : {'daily', 'weekly', 'monthly', 'quarterly'}, optional
            The tasks of this period, due or not; whatever is due otherwise.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        MaintainResult
            The tasks that were looked at, and what each did.
        """
        return results.MaintainResult.of(self._call("maintain", period=period, dry_run=dry_run))

    def maintain_schedule(
        self, place: Place | None = None, *, remove: bool = False, print: bool = False, dry_run: bool = False
    ) -> results.Schedule:
        """Lets upkeep run by itself, or no more: ``modelkeep maintain schedule``.

        Parameters
        ----------
        place : {'cron', 'systemd', 'codespaces', 'github'}, optional
            Where; otherwise where it is already, or what fits the machine.
        remove : bool, default False
            Take it out again; without a place, wherever it is.
        print : bool, default False
            Only say what would be written.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        Schedule
            What was written, and where upkeep is scheduled now.
        """
        report = self._call("maintain-schedule", place=place, remove=remove, print=print, dry_run=dry_run)
        return results.Schedule.of(report)

    def doctor(self, *, fix: bool = False) -> results.Diagnosis:
        """Whether all is well: the success criteria with evidence, and the tool's own health: ``modelkeep doctor``.

        A criterion that does not hold is in the result, and raises nothing.

        Parameters
        ----------
        fix : bool, default False
            Mend what is safe to mend.

        Returns
        -------
        Diagnosis
            How it stands.
        """
        return results.Diagnosis.of(self._call("doctor", fix=fix))

    def cost(self) -> results.Cost:
        """What it costs, against the alternatives: ``modelkeep cost``.

        Returns
        -------
        Cost
            US dollars a month, by what is stored where.

        Raises
        ------
        UsageError
            When prices in ``modelkeep.toml`` cannot be read.
        """
        return results.Cost.of(self._call("cost"))
