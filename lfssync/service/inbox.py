"""Hints on their way from a watcher's thread to the main thread of the daemon.

Between `watch` and `worker`. The one thing to know: the main thread is woken for the first hint only, and not even for
that when it is known to look soon anyway; a storm of events costs it nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lfssync.model import Hint
from lfssync.rules.debounce import MAX_PATHS


class Inbox:
    """Hints on their way from the watching thread to the main thread; no more than `MAX_PATHS` of them.

    Args:
        wake: Called for the first hint, unless the main thread is known to look soon anyway.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.is_expected = False
        self.lost = 0
        """How often it was not known what had changed."""
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: dict[bytes | None, None] = {}
        self._first = 0.0
        self._last = 0.0

    def put(self, hint: Hint) -> None:
        """Add a hint of this moment."""
        now = time.monotonic()
        with self._lock:
            is_first = not self._paths
            self._first, self._last = (now if is_first else self._first), now
            if hint.path is None:
                self.lost += 1
            if len(self._paths) < MAX_PATHS:
                self._paths[hint.path] = None
            else:
                self.lost += 1
                self._paths = {None: None}
        if is_first and not self.is_expected:
            self._wake()

    def take(self) -> tuple[list[bytes | None], float, float]:
        """The paths that were hinted, and when the first and the last hint came in monotonic seconds."""
        with self._lock:
            paths, self._paths = list(self._paths), {}
            return paths, self._first, self._last
