from collections.abc import Callable
from os import PathLike

__version__: str

class Session:
    """The bridge to the Rust core: one operation a call, JSON in, JSON out."""

    def __init__(
        self,
        workspace: str | PathLike[str] | None = None,
        remote: str | None = None,
        *,
        notebook: bool = False,
        credentials: Callable[[], str] | None = None,
        offline: bool = False,
    ) -> None: ...
    def call(
        self,
        operation: str,
        request: str,
        progress: Callable[[str, str | None, int | None], object] | None = None,
    ) -> str: ...
