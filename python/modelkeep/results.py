"""What operations answer: the JSON of the command line, with attributes.

Each result is a `dict` or a `list` of plain values, so that ``result['revision']``, ``json.dumps(result)`` and
``dict(result)`` work, and ``result.revision`` does too. A field that a newer core adds is there without a new class.
Sizes are in bytes, times RFC 3339 in UTC, digests lower-case hex. ``to_pandas()`` makes a table of each, and a notebook
shows each as one.
"""

from __future__ import annotations

from typing import Any

from ._filed import FilePullResult as FilePullResult
from ._filed import FilePushResult as FilePushResult
from ._filed import FiledItem as FiledItem
from ._filed import FiledList as FiledList
from ._filed import PlaceResult as PlaceResult
from ._filed import PlacedItem as PlacedItem
from ._filed import PlacedList as PlacedList
from ._result import Result, ResultList
from ._spaces import Cache as Cache
from ._spaces import CacheEntry as CacheEntry
from ._spaces import CacheList as CacheList
from ._spaces import CacheRepairResult as CacheRepairResult
from ._spaces import CacheStatus as CacheStatus
from ._spaces import Category as Category
from ._spaces import EvictResult as EvictResult
from ._spaces import FetchResult as FetchResult
from ._spaces import LeftOutFile as LeftOutFile
from ._spaces import LocalSpace as LocalSpace
from ._spaces import RemoteSpace as RemoteSpace
from ._spaces import Space as Space
from ._spaces import Status as Status
from ._upkeep import Alternative as Alternative
from ._upkeep import Cost as Cost
from ._upkeep import CostItem as CostItem
from ._upkeep import Criterion as Criterion
from ._upkeep import Diagnosis as Diagnosis
from ._upkeep import Finding as Finding
from ._upkeep import GuardHistory as GuardHistory
from ._upkeep import GuardInstalled as GuardInstalled
from ._upkeep import GuardResult as GuardResult
from ._upkeep import MaintainResult as MaintainResult
from ._upkeep import ModelCost as ModelCost
from ._upkeep import PastFinding as PastFinding
from ._upkeep import Schedule as Schedule
from ._upkeep import ScheduleFile as ScheduleFile
from ._upkeep import UpkeepTask as UpkeepTask
from ._writes import PushResult as PushResult
from ._writes import Spent as Spent
from ._writes import Step as Step
from ._writes import Write as Write


class InitResult(Result):
    """What `Workspace.init` made."""

    __slots__ = ()
    _parts = {"spent": Spent}
    workspace: str
    name: str
    remote: str | None
    remote_id: str | None
    created: list[str]
    offers: list[str]
    adoptable: int
    simulated: bool
    account: str | None
    folder: str | None
    spent: Spent | None


class PullResult(Write):
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
    moved_aside : str or None
        Where files that stood in the way are now.
    repo : str or None
        What it is loaded by, when it is in a cache.
    base : PullResult or None
        The base model, when it was brought from the store too.
    base_fetched : FetchResult or None
        The base model, when it was fetched from the Hub.
    """

    __slots__ = ()
    model: str
    revision: str
    path: str
    files: int
    size_bytes: int
    fetched_bytes: int
    reused_bytes: int
    moved_aside: str | None
    repo: str | None
    base: PullResult | None
    base_fetched: FetchResult | None
    steps: list[Step]


PullResult._parts = {"steps": Step, "spent": Spent, "base": PullResult, "base_fetched": FetchResult}


class PullList(ResultList[PullResult]):
    """What everything in ``modelkeep.lock`` came to."""

    __slots__ = ()
    _rows = "models"
    _item = PullResult
    models: list[PullResult]


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
    source_commit: str | None
    license: str | None
    purpose: str | None


class ModelList(ResultList[ModelItem]):
    """The models of a store."""

    __slots__ = ()
    _rows = "models"
    _item = ModelItem
    models: list[ModelItem]


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


class Adapter(Result):
    """LoRA parameters, as peft wrote them."""

    __slots__ = ()
    base_model_name_or_path: str | None
    revision: str | None
    peft_type: str | None
    task_type: str | None
    r: int | None
    lora_alpha: float | None
    lora_dropout: float | None
    target_modules: list[str] | str | None


class TensorSummary(Result):
    """What the safetensors headers say: how many tensors, their parameters, and these by dtype."""

    __slots__ = ()
    tensors: int
    parameters: int
    dtypes: dict[str, int]


class ModelDetails(ModelItem):
    """One model, its files and its pushes, newest first."""

    __slots__ = ()
    _parts = {"files": FileItem, "history": PushItem, "adapter": Adapter, "tensors": TensorSummary}
    _table = "files"
    files: list[FileItem]
    history: list[PushItem]
    all_labels: dict[str, str]
    adapter: Adapter | None
    tensors: TensorSummary | None
    fields: dict[str, Any]
    notes: list[str]
    path: str


class HistoryItem(Result):
    """One thing that happened on a store."""

    __slots__ = ()
    event: str
    at: str
    by: str
    kind: str
    model: str | None
    place: str | None
    what: str
    confirmed: bool


class History(ResultList[HistoryItem]):
    """What happened on a store, or to a model, newest first."""

    __slots__ = ()
    _rows = "events"
    _item = HistoryItem
    events: list[HistoryItem]


class Named(Result):
    """A revision that is compared."""

    __slots__ = ()
    model: str
    revision: str
    number: int


class MetricChange(Result):
    """A metric on both sides; ``change`` is after minus before."""

    __slots__ = ()
    name: str
    before: float | None
    after: float | None
    change: float | None


class FieldChange(Result):
    """A field of the configuration on both sides."""

    __slots__ = ()
    name: str
    before: Any
    after: Any


class FileSize(Result):
    """A file that one side alone has."""

    __slots__ = ()
    path: str
    size_bytes: int


class FileSizes(Result):
    """A file whose content differs."""

    __slots__ = ()
    path: str
    before_bytes: int
    after_bytes: int


class FileChanges(Result):
    """Files that came, went and changed; ``unchanged`` counts the others."""

    __slots__ = ()
    _parts = {"added": FileSize, "removed": FileSize, "changed": FileSizes}
    added: list[FileSize]
    removed: list[FileSize]
    changed: list[FileSizes]
    unchanged: int


class Tensor(Result):
    """A tensor: its dtype, its shape (one number a dimension), its bytes."""

    __slots__ = ()
    dtype: str
    shape: list[int]
    bytes: int


class TensorChange(Result):
    """A tensor whose dtype or shape differs."""

    __slots__ = ()
    _parts = {"before": Tensor, "after": Tensor}
    name: str
    before: Tensor
    after: Tensor


class TensorDiff(Result):
    """Tensors that came, went and changed."""

    __slots__ = ()
    _parts = {"changed": TensorChange}
    added: list[str]
    removed: list[str]
    changed: list[TensorChange]


class Diff(Result):
    """How two revisions differ."""

    __slots__ = ()
    _parts = {
        "before": Named,
        "after": Named,
        "metrics": MetricChange,
        "config": FieldChange,
        "files": FileChanges,
        "tensors": TensorDiff,
    }
    _table = "metrics"
    before: Named
    after: Named
    metrics: list[MetricChange]
    config: list[FieldChange]
    files: FileChanges
    tensors: TensorDiff | None


class Change(Write):
    """What a change of the registry did."""

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    model: str | None
    place: str | None
    revision: str | None
    changed: bool
    steps: list[Step]


class Pin(Result):
    """What is pinned in ``modelkeep.lock``, or no longer is."""

    __slots__ = ()
    model: str | None
    place: str | None
    revision: str
    requested: str
    path: str
    pinned: bool
    changed: bool


class Problem(Result):
    """Something that is not as it should be, with what to type."""

    __slots__ = ()
    model: str | None
    path: str
    kind: str
    hint: str


class VerifyResult(Result):
    """What a check of the store found; ``checked`` counts files, ``bytes`` those that were read or compared."""

    __slots__ = ()
    _parts = {"problems": Problem}
    _table = "problems"
    checked: int
    bytes: int
    problems: list[Problem]
    notes: list[str]


class RepairResult(Write):
    """What was mended, and what was left for a person."""

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    _table = "steps"
    steps: list[Step]
    left: list[str]
    changed: bool


class PruneResult(Write):
    """What retention let go, and how many bytes are free for good."""

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    _table = "steps"
    steps: list[Step]
    freed_bytes: int
    changed: bool


class AdoptItem(Result):
    """A folder that people made by hand, and what was understood of it."""

    __slots__ = ()
    folder: str
    id: str | None
    kind: str
    type: str | None
    files: int
    size_bytes: int
    understood: list[str]
    doubtful: list[str]
    adopted: bool


class AdoptResult(Write):
    """What was taken in. ``items`` is a method of every `dict`, so the folders are ``result['items']``."""

    __slots__ = ()
    _parts = {"items": AdoptItem, "steps": Step, "spent": Spent}
    _table = "items"
    items: list[AdoptItem]  # type: ignore[assignment]
    registry: list[str]
    steps: list[Step]


class Checkpoint(Write):
    """What became of a checkpoint.

    Attributes
    ----------
    model : str
        The model that is being trained.
    checkpoint : str
        Its label: ``model@checkpoint`` brings it back.
    step : int or None
        Its step, when its name says one.
    path : str
        Where it is here.
    created : bool
        Whether it was stored now; false when it was there, or was let go before.
    metrics : dict of str to float or None
        What training had measured by then.
    steps : list of Step
        Older checkpoints that were let go.
    """

    __slots__ = ()
    _parts = {"steps": Step, "spent": Spent}
    model: str
    checkpoint: str
    step: int | None
    path: str
    revision: str
    number: int
    created: bool
    files: int
    size_bytes: int
    sent_bytes: int
    metrics: dict[str, float | None]
    steps: list[Step]


class Watched(ResultList[Checkpoint]):
    """The checkpoints that a look at a directory stored."""

    __slots__ = ()
    _rows = "checkpoints"
    _item = Checkpoint
    checkpoints: list[Checkpoint]


class CheckpointItem(Result):
    """A checkpoint that is on the store."""

    __slots__ = ()
    checkpoint: str
    step: int
    revision: str
    number: int
    at: str
    size_bytes: int


class CheckpointList(ResultList[CheckpointItem]):
    """The checkpoints of a model, in the order they were stored."""

    __slots__ = ()
    _rows = "checkpoints"
    _item = CheckpointItem
    model: str
    checkpoints: list[CheckpointItem]


class LogResult(Write):
    """What was appended to the log of a training that is running."""

    __slots__ = ()
    _parts = {"spent": Spent}
    model: str
    run: str
    path: str
    added: int
    entries: int


class LogItem(Result):
    """A log of a training: of a push (``number``), or of one that runs (``run``)."""

    __slots__ = ()
    model: str
    number: int | None
    revision: str | None
    run: str | None
    path: str
    size_bytes: int
    at: str
    training_date: str | None
    metrics: dict[str, float | None]
    removed: bool


class LogList(ResultList[LogItem]):
    """The logs of trainings on a store, the newest first."""

    __slots__ = ()
    _rows = "logs"
    _item = LogItem
    logs: list[LogItem]


class TrainingLog(Result):
    """The log of a training; ``entries`` as they were logged, oldest first, ``total`` of them in all."""

    __slots__ = ()
    model: str
    number: int | None
    revision: str | None
    run: str | None
    path: str
    training_date: str | None
    metrics: dict[str, float | None]
    total: int
    entries: list[dict[str, Any]]
    unreadable: int


class RemoteItem(Result):
    """A configured store."""

    __slots__ = ()
    name: str
    url: str
    id: str | None
    account: str | None
    folder: str | None
    default: bool


class RemoteList(ResultList[RemoteItem]):
    """The configured stores."""

    __slots__ = ()
    _rows = "remotes"
    _item = RemoteItem
    remotes: list[RemoteItem]


class RemoteTest(Result):
    """Whether a store can be reached, and what it can do."""

    __slots__ = ()
    name: str
    url: str
    ok: bool
    can: list[str]
    cannot: list[str]
    calls: int


class Shared(Result):
    """With whom a store on Google Drive was shared; ``folder`` is its folder's id, ``writes`` whether they may write."""

    __slots__ = ()
    name: str
    folder: str
    by: str
    writes: bool


# A word of the language, so an attribute by name alone: ``getattr(shared, 'with')``, or as ever ``shared['with']``.
Shared.__annotations__["with"] = "str"


class Setting(Result):
    """A setting, and where its value comes from."""

    __slots__ = ()
    key: str
    value: str
    origin: str
    about: str


class Settings(ResultList[Setting]):
    """All settings."""

    __slots__ = ()
    _rows = "settings"
    _item = Setting
    settings: list[Setting]


class Login(Result):
    """A login to Google Drive."""

    __slots__ = ()
    account: str
    scope: str
    client_id: str
    since: str


class AccessUsed(Result):
    """Whose access a command here would use, where it comes from, and whether it works."""

    __slots__ = ()
    account: str | None
    by: str
    works: bool


class Who(Result):
    """Who is signed in to Google Drive."""

    __slots__ = ()
    _parts = {"logins": Login, "used": AccessUsed}
    _table = "logins"
    logins: list[Login]
    used: AccessUsed | None


class Logout(Result):
    """A login that was given back; ``revoked`` says whether Google has forgotten it."""

    __slots__ = ()
    account: str
    revoked: bool
