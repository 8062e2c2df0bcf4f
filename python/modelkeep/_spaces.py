"""Results about space: what takes it here and on the store, the caches, base models that were fetched."""

from __future__ import annotations

from ._result import Result, ResultList
from ._writes import PushResult, Spent, Step, Write


class Category(Result):
    """A part of a store; ``share`` is its share of the quota, when that is known."""

    __slots__ = ()
    name: str
    files: int
    size_bytes: int
    share: float | None


class Space(Result):
    """Something that takes space here, against its budget; ``state`` is ``ok``, ``over`` or ``temporary``."""

    __slots__ = ()
    name: str
    path: str
    size_bytes: int
    allocated_bytes: int
    files: int
    budget_bytes: int | None
    state: str


class LocalSpace(Result):
    """Space on this machine. ``items`` is a method of every `dict`, so what takes it is ``local['items']``."""

    __slots__ = ()
    _parts = {"items": Space}
    _table = "items"
    budget_bytes: int
    used_bytes: int
    free_bytes: int
    items: list[Space]  # type: ignore[assignment]
    unread: list[str]


class RemoteSpace(Result):
    """Space on the store."""

    __slots__ = ()
    _parts = {"categories": Category}
    _table = "categories"
    name: str
    quota_bytes: int | None
    used_bytes: int
    trash_bytes: int
    categories: list[Category]
    simulated: bool


class Status(Result):
    """Space here and on the store, against the budgets; ``remote_error`` says why the store could not be asked."""

    __slots__ = ()
    _parts = {"local": LocalSpace, "remote": RemoteSpace}
    local: LocalSpace
    remote: RemoteSpace | None
    remote_error: str | None


class LeftOutFile(Result):
    """A file of a repository that was not fetched, and why."""

    __slots__ = ()
    path: str
    size_bytes: int
    reason: str


class FetchResult(Result):
    """A base model that was fetched.

    Attributes
    ----------
    repo, revision, commit : str
        The repository, what was asked of it, and the commit that is.
    path : str or None
        Where it is here; None when it went to the store alone.
    files : int
        How many files.
    size_bytes, fetched_bytes, reused_bytes : int
        Bytes in all, from the network, and found here.
    source : str
        Where it came from.
    stored : PushResult or None
        What became of it on the store.
    """

    __slots__ = ()
    _parts = {"left_out": LeftOutFile, "steps": Step, "stored": PushResult}
    repo: str
    revision: str
    commit: str
    path: str | None
    files: int
    size_bytes: int
    fetched_bytes: int
    reused_bytes: int
    source: str
    license: str | None
    left_out: list[LeftOutFile]
    steps: list[Step]
    stored: PushResult | None
    dry_run: bool


class Cache(Result):
    """A cache of this machine; ``reclaimable_bytes`` is what nothing needs."""

    __slots__ = ()
    name: str
    path: str
    size_bytes: int
    reclaimable_bytes: int
    entries: int
    revisions: int | None
    clean: str


class CacheStatus(ResultList[Cache]):
    """The caches of this machine."""

    __slots__ = ()
    _rows = "caches"
    _item = Cache
    caches: list[Cache]
    models_bytes: int
    models_budget_bytes: int
    warnings: list[str]


class CacheEntry(Result):
    """An entry of a cache: when it was used, where it can be had again, and why it stays, if it does."""

    __slots__ = ()
    name: str
    commit: str | None
    refs: list[str]
    size_bytes: int
    files: int
    last_used: str | None
    again: str
    keep: str | None


class CacheList(ResultList[CacheEntry]):
    """What is in the caches."""

    __slots__ = ()
    _rows = "entries"
    _item = CacheEntry
    entries: list[CacheEntry]
    warnings: list[str]


class EvictResult(Write):
    """What a cache let go, what stays and why, and how long it takes to be had again (``back_seconds``)."""

    __slots__ = ()
    _parts = {"steps": Step, "stays": Step, "spent": Spent}
    _table = "steps"
    steps: list[Step]
    stays: list[Step]
    used_bytes: int
    target_bytes: int
    freed_bytes: int
    short_bytes: int
    back_seconds: float
    rate_bytes: int
    changed: bool


class CacheRepairResult(Write):
    """What was mended in a cache, and what was left."""

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    _table = "steps"
    steps: list[Step]
    left: list[str]
    freed_bytes: int
    changed: bool
