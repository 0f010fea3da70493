"""What a person or the configuration says about when a mirror may go on: pauses, hours of the day, commits an hour.

Owned by `worker`, which asks before each pass. The one thing to know: all of it is by the wall clock and looked at
again every second, so nothing has to be made up for after the clock was set, or the machine slept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from lfssync.errors import TransientError
from lfssync.line.outofreach import WithheldError
from lfssync.model import Mirror
from lfssync.records.pausing import Pause, paused
from lfssync.records.store import reading
from lfssync.rules import budget, windows
from lfssync.rules.pace import Waits, Why
from lfssync.service.journal import MirrorLog


class Gate(IntEnum):
    """How far a mirror may go just now."""

    SHUT = 0
    """No pass."""
    HERE = 1
    """What settles is secured and committed here; the remote is not asked."""
    OPEN = 2


class Pace:
    """When one mirror may go on.

    Args:
        mirror: Which one.
        state_dir: Its state folder.
        clock: Seconds since the epoch.
    """

    def __init__(self, mirror: Mirror, state_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._mirror = mirror
        self._log = MirrorLog(mirror.name)
        self._state_dir = state_dir
        self._clock = clock
        self._pause: Pause | None = None
        self._opens_at: float | None = None
        self._commits: list[float] = []
        self._is_stale = True
        self._commit_at = float("-inf")

    @property
    def gate(self) -> Gate:
        """How far it may go, as of the last look."""
        if self._pause is not None:
            return Gate.SHUT
        if self._opens_at is not None:
            return Gate.HERE if self._mirror.offline_limit_bytes else Gate.SHUT
        return Gate.OPEN

    @property
    def is_paused(self) -> bool:
        """Whether a person paused it, as of the last look."""
        return self._pause is not None

    @property
    def may_commit(self) -> bool:
        """Whether this hour's commits leave room for one more, as of the last count."""
        return self._commit_at <= self._clock()

    def look(self) -> None:
        """See how things stand now."""
        now = self._clock()
        before, self._pause = self._pause, paused(self._state_dir, now)
        if (self._pause is None) != (before is None):
            self._log.info("%s", self._pause.words() if self._pause else "no longer paused")
        if windows.is_open(self._mirror.only_between, now):
            self._opens_at = None
        elif self._opens_at is None or now >= self._opens_at:
            self._opens_at = windows.opens_at(self._mirror.only_between, now)
        self.count()

    def count(self) -> None:
        """See whether this hour has room for one more commit."""
        now = self._clock()
        if self._is_stale and self._mirror.commits_per_hour:
            self._read(now)
        self._commit_at = budget.next_at(self._commits, self._mirror.commits_per_hour, now)

    def committed(self) -> None:
        """Somebody may have made commits, or the machine may have slept: they are counted anew."""
        self._is_stale = True

    def left(self) -> int | None:
        """How many commits the next pass may make; at least one, for who asks may make it. None is no limit."""
        per_hour = self._mirror.commits_per_hour
        return max(budget.left_of(self._commits, per_hour, self._clock()), 1) if per_hour else None

    def excuse(self) -> WithheldError | None:
        """Why the remote is not asked now; None when it is."""
        if self.gate is not Gate.HERE:
            return None
        at = "" if self._opens_at is None else f" before {time.strftime('%H:%M', time.localtime(self._opens_at))}"
        return WithheldError(f"nothing is sent{at} (only_between)", f"at once with: lfssync sync {self._mirror.name}")

    def waits(self) -> Waits | None:
        """What keeps it from going any further, whatever there is to be done; commits an hour do not count here."""
        if self._pause is not None:
            return Waits(Why.PAUSED, self._pause.until)
        return None if self._opens_at is None else Waits(Why.ONLY_BETWEEN, self._opens_at)

    def waits_with_commit(self) -> Waits | None:
        """Whether a commit has to wait for the hour to have room for it."""
        return None if self.may_commit else Waits(Why.COMMITS_PER_HOUR, float(round(self._commit_at)))

    def _read(self, now: float) -> None:
        """Read up on the commits of the last hour. A record that cannot be read tells nothing, and passes say so."""
        with contextlib.suppress(TransientError), reading(self._state_dir / "state.db") as store:
            self._commits = [] if store is None else store.commits_since(now - budget.HOUR_S)
            self._is_stale = False
