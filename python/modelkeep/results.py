"""What operations answer: the JSON of the command line, with attributes.

Each result is a `dict` of plain values, so that ``result['revision']``, ``json.dumps(result)`` and
``dict(result)`` work, and ``result.revision`` does too. A field that a newer core adds is there without a new class.
Sizes are in bytes, times RFC 3339 in UTC, digests lower-case hex.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, SupportsIndex, TypeVar, overload

R = TypeVar("R", bound="Result")


class Result(dict[str, Any]):
    """A report: a `dict` whose items are attributes too."""

    __slots__ = ()
    _parts: ClassVar[Mapping[str, type[Result]]] = {}
    """Fields that hold results, or lists of them."""

    @classmethod
    def of(cls: type[R], report: Mapping[str, Any]) -> R:
        """Makes a result of a report.

        Parameters
        ----------
        report : mapping
            What the core answered.

        Returns
        -------
        Result
            The same, typed all the way down.
        """
        result = cls(report)
        for name, part in cls._parts.items():
            value = result.get(name)
            if isinstance(value, list):
                result[name] = [part.of(item) for item in value]
            elif isinstance(value, dict):
                result[name] = part.of(value)
        return result

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has: {', '.join(self)}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self})

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"{type(self).__name__}({fields})"


class Step(Result):
    """One step of a plan, with its reason."""

    __slots__ = ()
    action: str
    target: str
    bytes: int
    reason: str


class InitResult(Result):
    """What `Workspace.init` made."""

    __slots__ = ()
    workspace: str
    name: str
    remote: str | None
    remote_id: str | None
    created: list[str]
    adoptable: int
    simulated: bool


class PushResult(Result):
    """What a push, or `upload_model`, did.

    Attributes
    ----------
    model : str
        The model's id.
    revision : str
        The id of the content.
    number : int
        The number of the push; of the one that has this content already when nothing was created.
    labels : list of str
        The labels of the revision, ``latest`` included when it is the newest.
    created : bool
        Whether a new push was made; false when the content was there already.
    files : int
        How many files.
    size_bytes, sent_bytes, skipped_bytes : int
        Bytes in all, sent, and had by the remote already.
    base_model : str or None
        What it was trained from.
    metrics : dict of str to float or None
        Its metrics; a NaN or infinity is None.
    simulated : bool
        Whether it went to the simulation.
    confirmed : bool
        Whether the store itself has acknowledged it; through a mount it may still be on its way.
    """

    __slots__ = ()
    _parts = {"steps": Step}
    model: str
    revision: str
    number: int
    labels: list[str]
    created: bool
    latest: bool
    files: int
    size_bytes: int
    sent_bytes: int
    skipped_bytes: int
    base_model: str | None
    metrics: dict[str, float | None]
    type: str | None
    training_date: str | None
    path: str
    warnings: list[str]
    simulated: bool
    confirmed: bool
    dry_run: bool


class PullResult(Result):
    """What a pull, or `download_model`, did.

    Attributes
    ----------
    model : str
        The model's id.
    revision : str
        The id of the content.
    path : str
        The folder that holds it now.
    files : int
        How many files.
    size_bytes, fetched_bytes, reused_bytes : int
        Bytes in all, from the remote, and found here.
    simulated : bool
        Whether it came from the simulation.
    """

    __slots__ = ()
    _parts = {"steps": Step}
    model: str
    revision: str
    path: str
    files: int
    size_bytes: int
    fetched_bytes: int
    reused_bytes: int
    simulated: bool
    confirmed: bool
    dry_run: bool


class ModelItem(Result):
    """One model of a list."""

    __slots__ = ()
    id: str
    kind: str
    type: str | None
    status: str
    revision: str | None
    number: int | None
    revisions: int
    size_bytes: int
    base_model: str | None
    metrics: dict[str, float | None]
    labels: list[str]
    deployed: bool
    created_at: str | None
    pushed_at: str | None
    training_date: str | None
    source: str | None
    purpose: str | None


class FileItem(Result):
    """One file of a revision."""

    __slots__ = ()
    path: str
    size_bytes: int
    sha256: str


class PushItem(Result):
    """One push in a model's history."""

    __slots__ = ()
    number: int
    revision: str
    txn: str
    at: str
    by: str
    size_bytes: int
    labels: list[str]
    removed: bool


class ModelDetails(ModelItem):
    """One model, its files and its pushes, newest first."""

    __slots__ = ()
    _parts = {"files": FileItem, "history": PushItem}
    files: list[FileItem]
    history: list[PushItem]
    all_labels: dict[str, str]
    fields: dict[str, Any]
    notes: list[str]
    path: str


class Change(Result):
    """What a change of the registry did."""

    __slots__ = ()
    _parts = {"steps": Step}
    model: str
    revision: str
    changed: bool
    steps: list[Step]
    simulated: bool
    confirmed: bool
    dry_run: bool


class ModelList(list[ModelItem]):
    """The models of a store: a list of them that also has the fields of the report.

    ``for model in models``, ``models[0].id``, ``models['models']``, ``models.simulated``.

    Attributes
    ----------
    models : list of ModelItem
        The models.
    simulated : bool
        Whether this is the simulation.
    """

    __slots__ = ("_report",)
    _report: dict[str, Any]

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(ModelItem.of(item) for item in report["models"])
        self._report = {name: value for name, value in report.items() if name != "models"}

    @property
    def models(self) -> list[ModelItem]:
        return list(self)

    @property
    def simulated(self) -> bool:
        return bool(self._report["simulated"])

    def keys(self) -> Iterable[str]:
        """The fields of the report."""
        return ["models", *self._report]

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the report, or `default`."""
        return self[key] if key in self.keys() else default

    @overload
    def __getitem__(self, key: SupportsIndex) -> ModelItem: ...
    @overload
    def __getitem__(self, key: slice) -> list[ModelItem]: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        return self.models if key == "models" else self._report[key]

    def __contains__(self, key: object) -> bool:
        return key in self.keys() if isinstance(key, str) else super().__contains__(key)

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()}, simulated={self.simulated})"
