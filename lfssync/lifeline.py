"""The word to stop, which tells in turn whether those who look for it still live.

Carried by every pass as its `stop`, and read by the daemon, which tells the service manager only as long as all of them
live. The one thing to know: whatever may take long looks again and again whether it shall stop: at every block that is
read or sent, at every folder, at every turn of waiting for a child. So looking *is* the sign of life. A wait that looks
at nothing meanwhile says beforehand how long it may take; what is silent for longer than that hangs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class Lifeline(threading.Event):
    """An event that notes when it was last looked at.

    Args:
        clock: Gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._heard_at = 0.0
        self._at_work = 0
        self._silences: list[float] = []

    def is_set(self) -> bool:
        """Whether to stop; a sign of life."""
        self._heard_at = self._clock()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the word to stop, at most so many seconds; that long is no sign of hanging."""
        with self.silent(float("inf") if timeout is None else timeout):
            return super().wait(timeout)

    @contextlib.contextmanager
    def silent(self, limit_s: float) -> Iterator[None]:
        """Nothing may be heard for so many seconds on end within the block."""
        with self._lock:
            self._silences.append(limit_s)
            self._heard_at = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._silences.remove(limit_s)
                self._heard_at = self._clock()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Only within such a block is anything expected to be heard."""
        with self._lock:
            self._at_work += 1
            self._heard_at = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1

    def hangs(self, limit_s: float) -> bool:
        """Whether work is under way of which nothing was heard for too long.

        Args:
            limit_s: So many seconds are too long where no other limit was given.
        """
        with self._lock:
            is_silent = self._clock() - self._heard_at > max([limit_s, *self._silences])
            return self._at_work > 0 and is_silent


def silent(stop: threading.Event, limit_s: float) -> contextlib.AbstractContextManager[None]:
    """`Lifeline.silent`, for who was given the word to stop and does not know whose it is."""
    return stop.silent(limit_s) if isinstance(stop, Lifeline) else contextlib.nullcontext()
