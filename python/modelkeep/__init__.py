"""A model store on storage you already own: Google Drive, a NAS, a folder.

The three calls of a notebook::

    from modelkeep import init_drive_manager

    manager = init_drive_manager()
    manager.upload_model('./output', 'banking-v2', 'latest')
    manager.list_models()
    manager.download_model('banking-v2', './models')   # ./models/banking-v2/latest

`GoogleDriveManager` finds its store by itself; `Workspace` is the command line in Python: the same operations, the
same fields. Every failure is a `modelkeep.Error` with a hint.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._modelkeep import __version__ as __version__
    from .drive_manager import GoogleDriveManager as GoogleDriveManager
    from .drive_manager import init_drive_manager as init_drive_manager
    from .errors import AuthError as AuthError
    from .errors import CheckFailedError as CheckFailedError
    from .errors import ConflictError as ConflictError
    from .errors import Error as Error
    from .errors import IntegrityError as IntegrityError
    from .errors import InternalError as InternalError
    from .errors import LocalError as LocalError
    from .errors import ModelkeepWarning as ModelkeepWarning
    from .errors import NotFoundError as NotFoundError
    from .errors import QuotaError as QuotaError
    from .errors import UnavailableError as UnavailableError
    from .errors import UsageError as UsageError
    from .progress import Progress as Progress
    from .workspace import Workspace as Workspace

# Where each name lives; loaded when it is first asked for, so that importing costs nothing.
_HOMES = {
    "__version__": "_modelkeep",
    "GoogleDriveManager": "drive_manager",
    "init_drive_manager": "drive_manager",
    "Workspace": "workspace",
    "Progress": "progress",
    "Error": "errors",
    "UsageError": "errors",
    "NotFoundError": "errors",
    "ConflictError": "errors",
    "IntegrityError": "errors",
    "AuthError": "errors",
    "UnavailableError": "errors",
    "QuotaError": "errors",
    "LocalError": "errors",
    "CheckFailedError": "errors",
    "InternalError": "errors",
    "ModelkeepWarning": "errors",
}

__all__ = [
    "AuthError",
    "CheckFailedError",
    "ConflictError",
    "Error",
    "GoogleDriveManager",
    "IntegrityError",
    "InternalError",
    "LocalError",
    "ModelkeepWarning",
    "NotFoundError",
    "Progress",
    "QuotaError",
    "UnavailableError",
    "UsageError",
    "Workspace",
    "__version__",
    "init_drive_manager",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modelkeep' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
