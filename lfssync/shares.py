"""What all passes of a process share: processors for hashing, and uploads under way to one host and to all.

Used where blocks are hashed and where an object is sent. The one thing to know: a processor is held for one block at a
time and never while a disk is waited for, and one host can hold no more than its part of the uploads. So whatever
hangs, a disk or a server, holds up nobody else.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

UPLOADS = 32
UPLOADS_TO_ONE_HOST = 8
"""Two passes with all that they send at a time; with more, hosts take it for an attack, and nothing gets faster."""

_LOOK_S = 0.1


class _Digest(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...


def hash_block(digest: _Digest, block: bytes | memoryview) -> None:
    """Add a block to a digest, when one of the processors has time for it."""
    with _PROCESSORS:
        digest.update(block)


_PROCESSORS = threading.Semaphore(max(os.cpu_count() or 1, 2))


class Sharing:
    """So many of something at a time in all, and so many for one host.

    Args:
        everywhere: For all hosts together.
        for_one: For one of them.
    """

    def __init__(self, everywhere: int, for_one: int) -> None:
        self._everywhere = everywhere
        self._for_one = for_one
        self._changed = threading.Condition()
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def one(self, host: str, stop: threading.Event) -> Iterator[None]:
        """Have one for the length of a block, as soon as there is one.

        Args:
            host: For whom.
            stop: When set, nothing is waited for: what the block does notices that itself.
        """
        with self._changed:
            while not stop.is_set() and not self._is_free(host):
                self._changed.wait(_LOOK_S)
            self._taken[host] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[host] -= 1
                self._taken += Counter()  # hosts without any are forgotten
                self._changed.notify_all()

    def _is_free(self, host: str) -> bool:
        return self._taken[host] < self._for_one and self._taken.total() < self._everywhere


SENDING = Sharing(UPLOADS, UPLOADS_TO_ONE_HOST)
"""The uploads of this process."""
