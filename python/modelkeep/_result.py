"""What every result is: a `dict` or a `list` of plain values with attributes, shown as a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from typing import Any, ClassVar, Generic, SupportsIndex, TypeVar, overload

R = TypeVar("R", bound="Result")


class Result(dict[str, Any]):
    """A report: a `dict` whose items are attributes too.

    A field that this class names and this report left out is None, or empty.
    """

    __slots__ = ()
    _parts: ClassVar[Mapping[str, type[Result]]] = {}
    """Fields that hold results, or lists of them."""
    _table: ClassVar[str | None] = None
    """The field that `to_pandas` makes a table of; without one, of the whole result as one row."""

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
            pass
        kind = _fields(type(self)).get(name)
        if kind is None:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has: {', '.join(self)}")
        return [] if kind.startswith("list") else {} if kind.startswith("dict") else None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self, *_fields(type(self))})

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"{type(self).__name__}({fields})"

    def to_pandas(self) -> Any:
        """As a table.

        Returns
        -------
        pandas.DataFrame
            Its rows (a plan's steps, a check's problems), else itself as one row.
        """
        return frame([self] if self._table is None else self[self._table])

    def _repr_html_(self) -> str:
        said = {name: value for name, value in self.items() if not _is_empty(value)}
        plain = {name: value for name, value in said.items() if not _is_nested(value)}
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{_cell(name, value)}</td></tr>" for name, value in plain.items())
        parts = [f"<b>{type(self).__name__}</b><table>{rows}</table>"]
        for name, value in said.items():
            if name not in plain and (shown := table(value if isinstance(value, list) else [value])):
                parts.append(f"{escape(name)}:{shown}")
        return "".join(parts)


@cache
def _fields(cls: type[Result]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        annotations = getattr(base, "__annotations__", {})
        found.update({name: str(kind) for name, kind in annotations.items() if not name.startswith("_")})
    return found


class ResultList(list[R], Generic[R]):
    """A report that is a list: a `list` of results that has the report's fields too.

    ``for model in models``, ``models[0].id``, ``models['models']``, ``dict(models)``, ``models.simulated``.
    """

    __slots__ = ("_report",)
    _report: dict[str, Any]
    _rows: ClassVar[str]
    """The field of the report that is the list."""
    _item: ClassVar[type[Result]]
    """What is in it."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(self._item.of(item) for item in report[self._rows])  # type: ignore[misc]
        self._report = {name: value for name, value in report.items() if name != self._rows}

    @property
    def simulated(self) -> bool:
        """Whether this is the simulation."""
        return bool(self._report.get("simulated", False))

    def keys(self) -> Iterable[str]:
        """The fields of the report."""
        return [self._rows, *self._report]

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the report, or `default`."""
        return self[key] if key in self.keys() else default

    def __getattr__(self, name: str) -> Any:
        # Before `__init__`, as while it is copied, there is no report.
        if name.startswith("_") or name not in self.keys():
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has: {', '.join(self.keys())}")
        return self[name]

    @overload
    def __getitem__(self, key: SupportsIndex) -> R: ...
    @overload
    def __getitem__(self, key: slice) -> list[R]: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        return list(self) if key == self._rows else self._report[key]

    def __contains__(self, key: object) -> bool:
        return key in self.keys() if isinstance(key, str) else super().__contains__(key)

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def __repr__(self) -> str:
        more = "".join(f", {name}={value!r}" for name, value in self._report.items())
        return f"{type(self).__name__}({super().__repr__()}{more})"

    def to_pandas(self) -> Any:
        """As a table: a row for each, nested fields as columns such as ``metrics.accuracy``.

        Returns
        -------
        pandas.DataFrame
            The table.
        """
        return frame(self)

    def _repr_html_(self) -> str:
        simulated = " (simulation: only on this machine)" if self.simulated else ""
        return f"<b>{type(self).__name__}</b>: {len(self)}{simulated}{table(self)}"


def frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a `pandas.DataFrame`.

    Parameters
    ----------
    rows : iterable of mapping
        The rows.

    Returns
    -------
    pandas.DataFrame
        The table.

    Raises
    ------
    UsageError
        When pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        from .errors import UsageError

        raise UsageError("to_pandas() needs pandas, which is not installed", hint="pip install pandas") from None
    return pandas.json_normalize([dict(row) for row in rows])


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as an HTML table.

    Parameters
    ----------
    rows : iterable of mapping
        The rows; a column for each field that one of them has.

    Returns
    -------
    str
        HTML, with everything that came from outside escaped.
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not _is_empty(value)))
    if not names:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    cells = ("".join(f"<td>{_cell(name, row.get(name))}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_empty(value: object) -> bool:
    return value is None or value == [] or value == {}


def _is_nested(value: object) -> bool:
    return isinstance(value, Result) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _cell(name: str, value: object) -> str:
    """A value as people read it; what was left out of it shows when it is pointed at."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        said = ((str(inner), held) for inner, held in value.items() if not _is_empty(held))
        return "<br>".join(f"{escape(inner)}: {_cell(inner, held)}" for inner, held in said)
    if isinstance(value, list):
        # Rows under one another, words beside one another.
        return ("<br>" if _is_nested(value) else ", ").join(_cell(name, inner) for inner in value)
    if isinstance(value, str) and len(value) in (40, 64) and set(value) <= set("0123456789abcdef"):
        return f'<code title="{value}">{value[:12]}</code>'
    if isinstance(value, int) and not isinstance(value, bool) and name.endswith("bytes"):
        return f'<span title="{value} bytes">{_size(value)}</span>'
    if isinstance(value, float):
        return f'<span title="{value!r}">{value:.6g}</span>'
    return escape(str(value))


def _size(count: float) -> str:
    """As the command line says it: in thousands."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
