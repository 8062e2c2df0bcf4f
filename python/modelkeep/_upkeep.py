"""Results about how it stands: the criteria, the cost, what is due, what does not belong in git."""

from __future__ import annotations

from ._result import Result
from ._writes import Spent, Step, Write


class Criterion(Result):
    """Whether something is as it should be, what was seen, and what to type to mend it; empty when it holds."""

    __slots__ = ()
    id: str
    ok: bool
    evidence: str
    hint: str


class Diagnosis(Result):
    """The seven success criteria, and how the tool itself is; ``ok`` says whether every criterion holds.

    ``fixed`` is what was mended.
    """

    __slots__ = ()
    _parts = {"criteria": Criterion, "health": Criterion, "fixed": Step}
    _table = "criteria"
    criteria: list[Criterion]
    health: list[Criterion]
    fixed: list[Step]
    ok: bool


class CostItem(Result):
    """Something that one pays for now.

    Attributes
    ----------
    name : str
        What it is.
    monthly_usd : float
        What it costs, in US dollars a month.
    included : bool
        Whether all of it is within what the plan holds.
    size_bytes, included_bytes : int
        Bytes there, and bytes that the plan holds.
    date, source : str
        When that was the price, and who says so.
    """

    __slots__ = ()
    name: str
    monthly_usd: float
    included: bool
    size_bytes: int
    included_bytes: int
    date: str
    source: str


class Alternative(Result):
    """What the same bytes would cost elsewhere, in US dollars a month: the least and the most."""

    __slots__ = ()
    name: str
    monthly_usd_low: float
    monthly_usd_high: float
    date: str
    source: str


class ModelCost(Result):
    """What a model's versions take, and their share of the store's price in US dollars a month."""

    __slots__ = ()
    model: str
    size_bytes: int
    monthly_usd: float


class Cost(Result):
    """What it costs. ``items`` is a method of every `dict`, so what is paid for is ``cost['items']``.

    Attributes
    ----------
    monthly_usd : float
        All of it, in US dollars a month.
    alternatives : list of Alternative
        What the same bytes would cost elsewhere.
    models : list of ModelCost
        The models, the largest first.
    growth_bytes_per_month : int or None
        Bytes that are pushed in a month, at the pace of the last three; None while the log is younger than a week.
    months_until_full : float or None
        Months until the store is full at that pace; None when it does not grow.
    notes : list of str
        What should be known beside it.
    """

    __slots__ = ()
    _parts = {"items": CostItem, "alternatives": Alternative, "models": ModelCost}
    _table = "items"
    monthly_usd: float
    items: list[CostItem]  # type: ignore[assignment]
    alternatives: list[Alternative]
    models: list[ModelCost]
    growth_bytes_per_month: int | None
    months_until_full: float | None
    notes: list[str]


class UpkeepTask(Result):
    """A task of upkeep, such as ``hf_cache``: whether it is due by the log, and what it does, or did.

    ``error`` says why it could not be done, and is None when it could; the other tasks are done all the same.
    """

    __slots__ = ()
    _parts = {"steps": Step}
    id: str
    due: bool
    steps: list[Step]
    error: str | None


class MaintainResult(Write):
    """What upkeep did; ``applied`` says whether it was done and the log told, ``notes`` what could not be looked at.

    Without a store, what every write says of it is None.
    """

    __slots__ = ()
    _parts = {"tasks": UpkeepTask, "spent": Spent}
    _table = "tasks"
    period: str
    tasks: list[UpkeepTask]
    applied: bool
    notes: list[str]


class Finding(Result):
    """Something that does not belong in git.

    Attributes
    ----------
    path : str
        Where it is in the repository; ``.`` is the repository itself.
    size_bytes : int
        Its size.
    reason : str
        Why it does not belong there.
    hint : str
        What to type.
    commit : str or None
        The commit that brought it, where commits were looked at.
    """

    __slots__ = ()
    path: str
    size_bytes: int
    reason: str
    hint: str
    commit: str | None


class GuardResult(Result):
    """What does not belong in git.

    ``scope`` is what was looked at, ``staged``, ``all`` or ``range``; ``checked`` how many files; ``repository_bytes``
    the bytes that the history takes; ``notes`` what should be known besides and stops no commit.
    """

    __slots__ = ()
    _parts = {"findings": Finding}
    _table = "findings"
    findings: list[Finding]
    scope: str
    checked: int
    repository_bytes: int
    notes: list[str]


class PastFinding(Finding):
    """Something in git's history that does not belong there.

    ``blob`` is the content's id in git, ``stored_bytes`` what it takes there, packed as it is; ``in_use`` says whether
    the newest commit, or the index, still has it.
    """

    __slots__ = ()
    blob: str
    stored_bytes: int
    in_use: bool


class GuardHistory(Result):
    """What does not belong in git's history, the largest first, and what to type to take it out. Nothing is rewritten.

    Attributes
    ----------
    findings : list of PastFinding
        What is too big, or a model.
    checked : int
        How many files the commits bring that were looked at.
    repository_bytes, saves_bytes : int
        Bytes that the history takes, and about as many would be saved.
    oversized : bool
        Whether the history takes more than a repository should.
    shallow : bool
        Whether the clone has only the newest commits.
    filter_repo, bfg : list of str
        Commands, in order, with ``git filter-repo`` or with BFG.
    """

    __slots__ = ()
    _parts = {"findings": PastFinding}
    _table = "findings"
    findings: list[PastFinding]
    checked: int
    repository_bytes: int
    oversized: bool
    saves_bytes: int
    shallow: bool
    filter_repo: list[str]
    bfg: list[str]


class GuardInstalled(Result):
    """What was done to git's hooks; ``managed_by`` is ``git``, ``husky`` or ``pre-commit``."""

    __slots__ = ()
    _parts = {"steps": Step}
    _table = "steps"
    hooks_dir: str
    managed_by: str
    steps: list[Step]
    changed: bool


class ScheduleFile(Result):
    """What is written for upkeep to run by itself: a file, or ``crontab`` for the lines in it."""

    __slots__ = ()
    path: str
    text: str


class Schedule(Result):
    """Where upkeep runs by itself, and what was written for it."""

    __slots__ = ()
    _parts = {"files": ScheduleFile, "steps": Step}
    _table = "steps"
    place: str | None
    why: str
    files: list[ScheduleFile]
    steps: list[Step]
    scheduled: list[str]
    changed: bool
    notes: list[str]
