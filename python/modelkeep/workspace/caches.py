"""Bring base models from the Hub, and keep the caches of this machine within their budget."""

from __future__ import annotations

from collections.abc import Sequence

from .. import results
from ._caller import Caller, texts


class Caches(Caller):
    """Bring base models from the Hub, and keep the caches of this machine within their budget."""

    def fetch(
        self,
        repo: str,
        *,
        id: str | None = None,
        store: bool = False,
        stream: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        budget: str | int | None = None,
        dry_run: bool = False,
    ) -> results.FetchResult:
        """Brings a base model from the Hub into Hugging Face's cache: ``modelkeep fetch``.

        Parameters
        ----------
        repo : str
            ``NAMESPACE/NAME`` or ``NAMESPACE/NAME@REVISION``.
        id : str, optional
            Its id on the store; the last part of its name otherwise.
        store : bool, default False
            Put it on the store too.
        stream : bool, default False
            From the Hub to the store, with nothing kept here.
        include, exclude : sequence of str
            Patterns of files, as in ``.gitignore``.
        budget : str or int, optional
            The budget for models, for once: bytes, or a size such as ``4GB``.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        FetchResult
            What was fetched, and where it is.
        """
        report = self._call(
            "fetch",
            repo=repo,
            id=id,
            store=store,
            stream=stream,
            include=texts("include", include),
            exclude=texts("exclude", exclude),
            budget=budget,
            dry_run=dry_run,
        )
        return results.FetchResult.of(report)

    def cache_status(self) -> results.CacheStatus:
        """How much each cache of this machine holds: ``modelkeep cache status``.

        Returns
        -------
        CacheStatus
            The caches.
        """
        return results.CacheStatus(self._call("cache-status"))

    def cache_list(self, *, include: Sequence[str] = (), assume_hub: bool = False) -> results.CacheList:
        """What is in Hugging Face's cache, and where it can be had again: ``modelkeep cache list``.

        Parameters
        ----------
        include : sequence of str
            Other caches too, such as ``pip`` or ``torch``.
        assume_hub : bool, default False
            Take for granted that the Hub has what came from it.

        Returns
        -------
        CacheList
            The entries.
        """
        include = texts("include", include)
        return results.CacheList(self._call("cache-list", include=include, assume_hub=assume_hub))

    def cache_evict(
        self,
        *,
        to: str | int | None = None,
        include: Sequence[str] = (),
        assume_hub: bool = False,
        dry_run: bool = False,
    ) -> results.EvictResult:
        """Makes a cache smaller: what can be had again goes, least recently used first: ``modelkeep cache evict``.

        Parameters
        ----------
        to : str or int, optional
            Down to this size: bytes, or a size such as ``2GB``; within the budget otherwise.
        include : sequence of str
            Other caches too.
        assume_hub : bool, default False
            Take for granted that the Hub has what came from it.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        EvictResult
            What went, and what stays.
        """
        include = texts("include", include)
        report = self._call("cache-evict", to=to, include=include, assume_hub=assume_hub, dry_run=dry_run)
        return results.EvictResult.of(report)

    def cache_clear(
        self, *, include: Sequence[str] = (), assume_hub: bool = False, dry_run: bool = False
    ) -> results.EvictResult:
        """Makes caches as good as empty, but for what cannot be had again: ``modelkeep cache clear``.

        Parameters
        ----------
        include : sequence of str
            Other caches too.
        assume_hub : bool, default False
            Take for granted that the Hub has what came from it.
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        EvictResult
            What went, and what stays.
        """
        include = texts("include", include)
        report = self._call("cache-evict", include=include, assume_hub=assume_hub, clear=True, dry_run=dry_run)
        return results.EvictResult.of(report)

    def cache_repair(self, *, dry_run: bool = False) -> results.CacheRepairResult:
        """Mends broken entries of Hugging Face's cache: ``modelkeep cache repair``.

        Parameters
        ----------
        dry_run : bool, default False
            Only say what would be done.

        Returns
        -------
        CacheRepairResult
            What was mended.
        """
        return results.CacheRepairResult.of(self._call("cache-repair", dry_run=dry_run))
