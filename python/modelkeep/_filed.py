"""Results about files: data sets, notebooks, results, configs and documents on the store, and where each thing belongs."""

from __future__ import annotations

from ._result import Result, ResultList
from ._writes import Spent, Step, Write


class FilePushResult(Write):
    """What `Workspace.file_push` did.

    Attributes
    ----------
    place : str
        Where it is shown on the store, such as ``datasets/train.csv``.
    shape : str
        ``file``, ``folder``, or ``packed``: a folder as one tar with an index.
    revision : str
        The id of the content.
    number : int
        The number of the push; of the one that has this content already when nothing was created.
    created : bool
        Whether a new push was made.
    files : int
        How many files; of a packed folder the tar and its index.
    size_bytes, sent_bytes, skipped_bytes : int
        Bytes in all, sent, and had by the store already.
    steps : list of Step
        What would be done, of a dry run.
    """

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    place: str
    shape: str
    revision: str
    number: int
    created: bool
    files: int
    size_bytes: int
    sent_bytes: int
    skipped_bytes: int
    steps: list[Step]


class FilePullResult(Write):
    """What `Workspace.file_pull` did.

    Attributes
    ----------
    place : str
        Where it is shown on the store.
    revision : str
        The id of the content.
    path : str
        Where it is now.
    files : int
        How many files.
    size_bytes, fetched_bytes, reused_bytes : int
        Bytes in all, from the store, and found here.
    moved_aside : str or None
        Where files that stood in the way are now.
    steps : list of Step
        What would be done, of a dry run.
    """

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    place: str
    revision: str
    path: str
    files: int
    size_bytes: int
    fetched_bytes: int
    reused_bytes: int
    moved_aside: str | None
    steps: list[Step]


class FiledItem(Result):
    """Something that is filed on the store: its newest content, and ``revisions``, how many versions it has.

    ``pinned`` is the revision that ``modelkeep.lock`` pins, if any.
    """

    __slots__ = ()
    place: str
    shape: str
    revision: str
    number: int
    revisions: int
    files: int
    size_bytes: int
    pushed_at: str
    pushed_by: str
    removed: bool
    pinned: str | None


class FiledList(ResultList[FiledItem]):
    """What is filed on a store, by its place."""

    __slots__ = ()
    _rows = "files"
    _item = FiledItem
    files: list[FiledItem]


class PlacedItem(Result):
    """Where something belongs.

    Attributes
    ----------
    path : str
        As it was given.
    category : str
        The row of the matrix: ``base_model``, ``finetuned``, ``datasets``, ``notebooks``, ``training_logs``,
        ``configs``, ``source_code`` or ``requirements``.
    codespaces : str
        On the machine one works on: ``store``, ``temporary``, ``link`` (a pin) or ``no``.
    drive : str
        On the store: ``store`` or ``no``.
    hub : str
        On the Hub: ``preferred``, ``optional``, ``mlflow`` or ``no``.
    git : bool
        Whether it belongs in git.
    reason : str
        Why.
    command : str
        What puts it right; empty when it lies right.
    size_bytes, files : int
        All of it.
    stored : bool
        Whether the store has this very content.
    tracked : bool
        Whether git tracks some of it that it should not have.
    """

    __slots__ = ()
    path: str
    category: str
    codespaces: str
    drive: str
    hub: str
    git: bool
    reason: str
    command: str
    size_bytes: int
    files: int
    stored: bool
    tracked: bool


class PlacedList(ResultList[PlacedItem]):
    """Where each path belongs; ``notes`` says what should be known besides."""

    __slots__ = ()
    _rows = "items"
    _item = PlacedItem
    items: list[PlacedItem]
    notes: list[str]


class PlaceResult(Write):
    """What was brought where it belongs; ``left`` says what was not, and why.

    Where nothing had to go to the store, what every write says of that is None.
    """

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    _table = "steps"
    steps: list[Step]
    left: list[str]
    changed: bool
