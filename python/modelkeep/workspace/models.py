"""Bring models to the store, and from it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .. import results
from .._bridge import metric_texts
from ._caller import Caller, Kind, Path, texts

class Models(Caller):
    """Bring models to the store, and from it here."""

    def push(
        self,
        path: Path,
        model: str,
        *,
        labels: Sequence[str] = (),
        kind: Kind | None = None,
        base: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        metrics_file: Path | None = None,
        purpose: str | None = None,
        note: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        even_if_deployed: bool = False,
        verify: bool = False,
        dry_run: bool = False,
    ) -> results.PushResult:
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
        report = self._call(
            "push",
            path=path,
            model=model,
            labels=texts("labels", labels),
            kind=kind,
            base=base,
            metrics=metric_texts(metrics),
            metrics_file=metrics_file,
            purpose=purpose,
            note=note,
            include=texts("include", include),
            exclude=texts("exclude", exclude),
            even_if_deployed=even_if_deployed,
            verify=verify,
            dry_run=dry_run,
        )
        return results.PushResult.of(report)

    def pull(
        self,
        model: str,
        *,
        to: Path | None = None,
        into: Literal["hf-cache"] | None = None,
        with_base: bool = False,
        force: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
    ) -> results.PullResult:
        """Brings ``MODEL[@REV]`` here: ``modelkeep pull``.

        Parameters
        ----------
        model : str
            The model, and with ``@`` a label, a number or the beginning of a revision's id.
        to : str or path-like, optional
            The folder; ``models/<id>/<label>`` otherwise.
        into : {'hf-cache'}, optional
            Into Hugging Face's cache, where ``from_pretrained("NAMESPACE/MODEL")`` finds it with no network.
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
        report = self._call(
            "pull",
            model=model,
            to=to,
            into=into,
            with_base=with_base,
            force=force,
            include=texts("include", include),
            exclude=texts("exclude", exclude),
            dry_run=dry_run,
        )
        return results.PullResult.of(report)

    def pull_all(self, *, with_base: bool = False, force: bool = False, dry_run: bool = False) -> results.PullList:
        """Brings everything that ``modelkeep.lock`` pins: ``modelkeep pull`` without a model.

        Parameters
        ----------
        with_base : bool, default False
            Bring base models too.
        force : bool, default False
            Move files that stand in the way aside.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        PullList
            What was brought.
        """
        return results.PullList(self._call("pull-all", with_base=with_base, force=force, dry_run=dry_run))

    def use(self, model: str) -> results.Pin:
        """Pins ``MODEL[@REV]`` in ``modelkeep.lock``: ``modelkeep use``.

        Parameters
        ----------
        model : str
            ``MODEL[@REV]``.

        Returns
        -------
        Pin
            What is pinned.
        """
        return results.Pin.of(self._call("use", model=model))

    def unuse(self, model: str) -> results.Pin:
        """Takes a pin away: ``modelkeep unuse``.

        Parameters
        ----------
        model : str
            The model's id.

        Returns
        -------
        Pin
            What was pinned.
        """
        return results.Pin.of(self._call("unuse", model=model))
