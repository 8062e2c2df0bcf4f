"""Keep what a training writes while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import results
from ._caller import Caller, Path, texts

class Training(Caller):
    """Keep what a training writes while it runs."""

    def checkpoints(self, model: str) -> results.CheckpointList:
        """The checkpoints of a model that are on the store; ``pull(f'{model}@{checkpoint}')`` brings one here.

        Parameters
        ----------
        model : str
            The model's id; one that nobody pushed has none.

        Returns
        -------
        CheckpointList
            In the order they were stored.
        """
        return results.CheckpointList(self._call("checkpoints", model=model))

    def watch(
        self,
        dir: Path,
        model: str,
        *,
        interval: float = 5.0,
        last: str | None = None,
        after: int | None = None,
        keep_last: int | None = None,
        optimizer: bool = True,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        base: str | None = None,
    ) -> results.Watched:
        """Stores the checkpoints in a directory that are finished: ``modelkeep watch --once``.

        To go on watching, run the command beside the training; inside transformers' `Trainer` a
        `modelkeep.integrations.transformers.ModelkeepCallback` knows better when a checkpoint is finished.

        Parameters
        ----------
        dir : str or path-like
            The directory that training writes its checkpoints into.
        model : str
            The model that is being trained.
        interval : float, default 5.0
            Seconds between the two looks in which nothing may change.
        last : str, optional
            A file in each checkpoint that the framework writes last, where modelkeep does not know the framework.
        after : int, optional
            Only checkpoints of later steps.
        keep_last : int, optional
            Checkpoints that stay on the store, beside the best one; all otherwise.
        optimizer : bool, default True
            Store the optimizer's state too.
        include, exclude : sequence of str
            Patterns of files, as in ``.gitignore``.
        base : str, optional
            The base model, over what the adapter says.

        Returns
        -------
        Watched
            What became of each finished checkpoint.
        """
        report = self._call(
            "watch",
            dir=dir,
            model=model,
            interval=interval,
            last=last,
            after=after,
            keep_last=keep_last,
            optimizer=optimizer,
            include=texts("include", include),
            exclude=texts("exclude", exclude),
            base=base,
        )
        return results.Watched(report)

    def log_append(
        self, model: str, run: str, entries: Sequence[Mapping[str, Any]], *, after: int | None = None
    ) -> results.LogResult:
        """Appends to the log of a training that is running: ``modelkeep log append``.

        Parameters
        ----------
        model : str
            The model that is being trained.
        run : str
            Which training of it, such as the day it began.
        entries : sequence of mapping
            What was logged, oldest first; values as JSON has them.
        after : int, optional
            How many entries of this run come before these. With it, a call of which nobody knows whether it succeeded
            can be made again.

        Returns
        -------
        LogResult
            What was appended.
        """
        entries = [dict(entry) for entry in entries]
        return results.LogResult.of(self._call("log-append", model=model, run=run, entries=entries, after=after))

    def log_list(self, model: str | None = None) -> results.LogList:
        """The logs of trainings on the store: of those that were pushed, and of those that run: ``modelkeep log list``.

        Parameters
        ----------
        model : str, optional
            Only this model.

        Returns
        -------
        LogList
            The newest first.
        """
        return results.LogList(self._call("log-list", model=model))

    def log_show(self, model: str, run: str | None = None, *, tail: int | None = None) -> results.TrainingLog:
        """The log of a training, step by step: ``modelkeep log show``.

        Parameters
        ----------
        model : str
            ``MODEL[@REV]``.
        run : str, optional
            A training that runs; otherwise the one that was pushed.
        tail : int, optional
            Only so many entries, the last ones.

        Returns
        -------
        TrainingLog
            What was logged, and what came of it.
        """
        return results.TrainingLog.of(self._call("log-show", model=model, run=run, tail=tail))
