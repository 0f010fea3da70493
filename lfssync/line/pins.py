"""How many files the passes of this process may hold open at a time: a share for each, and never all there are.

An open descriptor is what keeps a file's bytes until they are secured, whatever rotation does to its name. `stage`
opens ahead of what it hands on, `securing` holds what it has not sent yet; both ask the `Share` of their pass.
The one thing to know: a share shrinks as soon as more passes begin, and whoever holds more than it then has sends what
it holds before it opens more. So no pass waits for another one, and none runs out of descriptors.

Source: getrlimit(2).
"""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST = 256
"""More files than this at a time make nothing faster."""

LEAST = 4
"""With so many a pass gets on, however many passes there are."""

_OTHERS = 64
"""So many descriptors are left to all that is no file of a mirror: databases, children, connections."""


def budget(limit: int) -> int:
    """How many files all passes together may hold open.

    Args:
        limit: The process's limit of open descriptors; half of what is left serves those who copy and send.
    """
    return max((limit - _OTHERS) // 2, LEAST)


def share_of(total: int, passes: int, held_by_others: int) -> int:
    """How many files one pass may hold open.

    Args:
        total: What there is for all passes together.
        passes: How many passes there are.
        held_by_others: How many files the other passes hold open just now.
    """
    return max(min(total // passes, total - held_by_others, MOST), LEAST)


@dataclass(eq=False, slots=True)
class Share:
    """What one pass may hold open; made by `Pins.share`.

    Args:
        pins: All shares of the process.
        read: How many files are being read, or have been and nobody took them.
        unsent: How many wait to be sent.
    """

    pins: Pins
    read: int = 0
    unsent: int = 0

    @property
    def reads(self) -> int:
        """How many files may be open for reading ahead."""
        return self.pins.width(self) // 2

    @property
    def sends(self) -> int:
        """How many may wait to be sent."""
        width = self.pins.width(self)
        return width - width // 2


class Pins:
    """The shares of all passes of a process.

    Args:
        limit: Tells how many descriptors the process may have open.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._shares: set[Share] = set()

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Take part for the length of a block."""
        share = Share(self)
        with self._lock:
            self._shares.add(share)
        try:
            yield share
        finally:
            with self._lock:
                self._shares.remove(share)

    def width(self, share: Share) -> int:
        """How many files a pass may hold open now."""
        with self._lock:
            others = self._shares - {share} if len(self._shares) > 1 else ()
            held_by_others = sum(one.read + one.unsent for one in others)
            return share_of(budget(self._limit()), len(self._shares), held_by_others)


def _soft_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


PINS = Pins(_soft_limit)
"""Those of this process."""
