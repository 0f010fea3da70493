"""The transfer for ssh remotes: over HTTP, as most hosts have it, else through stock git-lfs.

The one thing to know: which of the two it is turns out when the server is asked for the first time, and that is not
before there is something to ask, so that a mirror can be opened without a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lfssync.model import LfsObject, Monitor
from lfssync.transfer import Source, Transfer, Uploaded
from lfssync.transfer.ahead import GetsReady
from lfssync.transfer.endpoint import OnlyOverSshError

R = TypeVar("R")


class StockIfNeeded:
    """One transfer until the server turns out to speak LFS over ssh alone, then another.

    Args:
        first: Raises `OnlyOverSshError` then.
        stock: Takes over.
    """

    def __init__(self, first: Transfer, stock: Transfer) -> None:
        self._endpoint = first.endpoint
        self._first = first
        self._now = first
        self._stock = stock

    def begin(self) -> None:
        """See `GetsReady.begin`."""
        if isinstance(self._first, GetsReady):
            self._first.begin()

    def end(self) -> None:
        """See `GetsReady.end`."""
        if isinstance(self._first, GetsReady):
            self._first.end()

    @property
    def endpoint(self) -> str:
        """The same name for both: what the remote confirmed does not depend on the way to it."""
        return self._endpoint

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`."""
        return self._done(lambda transfer: transfer.missing(objects))

    def locked(self) -> Mapping[bytes, str] | None:
        """See `Transfer.locked`."""
        return self._done(lambda transfer: transfer.locked())

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`."""
        return self._done(lambda transfer: transfer.upload(sources, monitor))

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`."""
        self._done(lambda transfer: transfer.confirm(objects))

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`."""
        self._done(lambda transfer: transfer.download(lfs, destination, monitor))

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes | None:
        """See `Transfer.part`."""
        return self._done(lambda transfer: transfer.part(lfs, offset, count))

    def _done(self, action: Callable[[Transfer], R]) -> R:
        try:
            return action(self._now)
        except OnlyOverSshError:
            if self._now is self._stock:
                raise
            self._now = self._stock
            return action(self._stock)
