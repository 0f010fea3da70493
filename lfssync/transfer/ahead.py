"""A transfer that gets ready while the pass still asks git and reads files, in a thread of its own.

Stands before `http`. What that needs takes as long to load as a quarter of a gigabyte to hash, and a keyring its own
time; neither is needed before the first file has been read. The one thing to know: nothing is asked of the server
ahead, and who uses it without `begin` gets the same transfer, made at its first use.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from lfssync.errors import LfssyncError
from lfssync.model import LfsObject, Monitor
from lfssync.transfer import Source, Transfer, Uploaded


class Made(Transfer, Protocol):
    """What is made."""

    def get_ready(self) -> None:
        """Have at hand what the first question to the server takes."""


@runtime_checkable
class GetsReady(Protocol):
    """A transfer that has something to do before its first use."""

    def begin(self) -> None:
        """Begin with it, in a thread."""

    def end(self) -> None:
        """Wait for that thread, if there is one."""


@contextlib.contextmanager
def getting_ready(transfer: Transfer) -> Iterator[None]:
    """Have a transfer get ready while the block runs, if it can; nothing of that is left afterwards."""
    if not isinstance(transfer, GetsReady):
        yield
        return
    transfer.begin()
    try:
        yield
    finally:
        transfer.end()


class Ahead:
    """A transfer that is yet to be made; may be used by several threads.

    Args:
        endpoint: See `Transfer.endpoint`.
        make: Makes it.
    """

    def __init__(self, endpoint: str, make: Callable[[], Made]) -> None:
        self._endpoint = endpoint
        self._make = make
        self._lock = threading.Lock()
        self._made: Made | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """See `GetsReady.begin`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._get_ready, name="ahead")
            self._thread.start()

    def end(self) -> None:
        """See `GetsReady.end`; a keyring that does not answer is given up after its own time limit."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _get_ready(self) -> None:
        with contextlib.suppress(LfssyncError):  # whoever uses it meets the same
            self._now().get_ready()

    def _now(self) -> Made:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    @property
    def endpoint(self) -> str:
        """See `Transfer.endpoint`."""
        return self._endpoint

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`."""
        return self._now().missing(objects)

    def locked(self) -> Mapping[bytes, str] | None:
        """See `Transfer.locked`."""
        return self._now().locked()

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`."""
        return self._now().upload(sources, monitor)

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`."""
        self._now().confirm(objects)

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`."""
        self._now().download(lfs, destination, monitor)

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes | None:
        """See `Transfer.part`."""
        return self._now().part(lfs, offset, count)
