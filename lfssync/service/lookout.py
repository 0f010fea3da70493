"""Watches one mirror's directory as well as that can be done, and says when looking has to make up for it.

Owned by `worker`. The one thing to know: whatever cannot be watched is looked at from time to time instead, and
watching is tried again ever more seldom.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from lfssync.errors import TransientError
from lfssync.line.watch import Watcher, polling_reason
from lfssync.model import Hint, Mirror
from lfssync.service.journal import MirrorLog

POLL_S = 5.0
_POLL_SHARE = 0.05
"""Looking at all trees that cannot be watched takes at most so much of one processor."""

_RETRY_FIRST_S = 30.0
_RETRY_LAST_S = 900.0


class Lookout:
    """Watches a directory; without a thread besides the watcher's.

    Args:
        mirror: Whose directory.
        put: Takes hints, in the watcher's thread.
        log: Logs what goes wrong.
    """

    def __init__(self, mirror: Mirror, put: Callable[[Hint], None], log: MirrorLog) -> None:
        self._mirror = mirror
        self._watcher = Watcher(mirror.path, put)
        self._log = log
        self._polls: str | None = None
        self._watch_at = float("inf")
        self._pause_s = _RETRY_FIRST_S

    @property
    def is_polling(self) -> bool:
        """Whether events cannot be relied on."""
        return self._polls is not None

    def start(self, now: float) -> None:
        """Watch, or else poll and try to watch again later, ever more seldom.

        Args:
            now: Monotonic seconds.
        """
        self._polls = polling_reason(self._mirror.path) or self._watcher.start()
        if self._polls is None:
            self._pause_s = _RETRY_FIRST_S
            return
        self._log.say(logging.WARNING, f"looking from time to time instead of watching: {self._polls}", now)
        self._watch_at = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _RETRY_LAST_S)

    def stop(self) -> None:
        """Stop watching."""
        try:
            self._watcher.stop()
        except TransientError as error:
            self._log.warning("%s", error)

    def try_again(self) -> None:
        """Try to watch at the next look: a directory that was gone may be back."""
        self._watch_at = float("-inf")

    def look(self, now: float) -> bool:
        """See whether the watcher does its work; True when it does not any more, so that everything may have changed.

        Args:
            now: Monotonic seconds.
        """
        problem = self._polls or self._watcher.check()
        if problem is None or (self._polls and now < self._watch_at):
            return False
        was_polling = self.is_polling
        self.stop()
        self.start(now)
        if self._polls is None:
            self._log.info("watching again")
        return self.is_polling and not was_polling

    def rescan_s(self, polling: int, look_took_s: float) -> float:
        """Seconds until the whole tree is to be looked at again.

        Args:
            polling: How many mirrors of this daemon cannot be watched.
            look_took_s: How long a look takes, in seconds.
        """
        if self._polls is None:
            return self._mirror.rescan_s
        return min(max(POLL_S, look_took_s * polling / _POLL_SHARE), self._mirror.rescan_s)
