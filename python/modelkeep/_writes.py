"""Results that others hold: steps of plans, what every write says, a push."""

from __future__ import annotations

from ._result import Result


class Step(Result):
    """One step of a plan, with its reason; ``bytes`` is how many it is about."""

    __slots__ = ()
    action: str
    target: str
    bytes: int
    reason: str


class Spent(Result):
    """What was asked of Google: requests, and quota units (a minute allows 325,000)."""

    __slots__ = ()
    calls: int
    units: int


class Write(Result):
    """What every write says of where it went.

    Attributes
    ----------
    simulated : bool
        Whether it went to the simulation.
    confirmed : bool
        Whether the store itself has acknowledged it; through a mount it may still be on its way.
    dry_run : bool
        Whether nothing was done, only planned.
    spent : Spent or None
        What it took, where the store is a Drive.
    """

    __slots__ = ()
    simulated: bool
    confirmed: bool
    dry_run: bool
    spent: Spent | None


class PushResult(Write):
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
    latest : bool
        Whether it is the newest push of the model.
    files : int
        How many files.
    size_bytes, sent_bytes, skipped_bytes : int
        Bytes in all, sent, and had by the remote already.
    base_model : str or None
        What it was trained from.
    metrics : dict of str to float or None
        Its metrics; a NaN or infinity is None.
    """

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
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
    steps: list[Step]
