"""How far a pass is: what it reads and sends, counted while it does, for whoever asks the daemon.

Filled by the threads of a pass, as its monitor; read by the daemon's main thread for `status` and metrics, and passed
on to commands that wait for the mirror. The one thing to know: an event only changes numbers under a lock and is told
to monitors, which never wait, because it comes from the threads that read and send. How much a pass will send is only
known at its end: until then all that is not read yet counts as if it were to be sent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lfssync.answers import Headway
from lfssync.model import Monitor, Plan, Progress, State

SAMPLE_EVERY_S = 1.0
RATE_OVER_S = 20.0
"""The rate is that of the last seconds: of an hour it would say nothing about now, of a moment it would jump."""

_LARGE_BYTES = 1 << 20
"""Smaller files are seldom LFS objects; what is read of them is not expected to be sent."""


@dataclass(slots=True)
class _Phase:
    files: int = 0
    size_bytes: int = 0
    done_files: int = 0
    done_bytes: int = 0
    in_flight: dict[bytes, Progress] = field(default_factory=dict)

    def plan(self, plan: Plan) -> None:
        self.files += plan.files
        self.size_bytes += plan.size_bytes
        self.in_flight.clear()

    def advance(self, event: Progress) -> int:
        """Count an event; gives by how many bytes it went on."""
        before = self.in_flight.get(event.path)
        more = event.done_bytes - (before.done_bytes if before else 0)
        self.done_bytes += more
        if event.done_bytes < event.size_bytes:
            self.in_flight[event.path] = event
        else:
            self.in_flight.pop(event.path, None)
            self.done_files += 1
        return max(more, 0)

    def left(self, state: State) -> list[Plan | Progress]:
        """What would tell somebody who comes now of what is left; nothing if that is nothing."""
        files = max(self.files - self.done_files, len(self.in_flight))
        if not files:
            return []
        done_bytes = self.done_bytes - sum(one.done_bytes for one in self.in_flight.values())
        return [Plan(state, files, max(self.size_bytes - done_bytes, 0)), *self.in_flight.values()]


class Gauge:
    """A monitor that counts what the passes of one mirror do; one pass at a time.

    Args:
        clock: Gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.read_bytes = 0
        self.sent_bytes = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._reads: _Phase | None = None
        self._sends: _Phase | None = None
        self._coming = _Phase()
        self._samples: deque[tuple[float, int]] = deque()
        self._beside: tuple[Monitor, ...] = ()

    def __call__(self, event: Plan | Progress) -> None:
        """Take in an event; from any thread, returns at once and never raises."""
        with self._lock:
            if isinstance(event, Plan):
                self._begin(event)
            elif event.state is State.STAGING:
                self._read(event)
            elif event.state is State.UPLOADING and self._sends is not None:
                self.sent_bytes += self._sends.advance(event)
                self._sample(self._sends.done_bytes)
            beside = self._beside
        for monitor in beside:
            monitor(event)

    @contextmanager
    def beside(self, monitor: Monitor) -> Iterator[Monitor]:
        """A monitor for somebody else's pass of the same mirror, which is counted here.

        Args:
            monitor: Is told of that pass, and of any other that it has to wait for meanwhile.
        """
        is_ours = False

        def ours(event: Plan | Progress) -> None:
            nonlocal is_ours
            is_ours = True
            self(event)

        with self._lock:
            for phase, state in ((self._reads, State.STAGING), (self._sends, State.UPLOADING)):
                for event in phase.left(state) if phase else ():
                    monitor(event)
            self._beside = (*self._beside, monitor)
        try:
            yield ours
        finally:
            with self._lock:
                self._beside = tuple(one for one in self._beside if one is not monitor)
            if is_ours:  # else it only waited for a pass that may be under way still
                self.clear()

    def clear(self) -> None:
        """The pass is over."""
        with self._lock:
            self._reads = self._sends = None
            self._samples.clear()

    def headway(self) -> Headway | None:
        """How far the pass under way is; None while there is none, or it moves nothing."""
        with self._lock:
            reads, sends = self._reads or _Phase(), self._sends
            if sends is not None:
                files = sends.files + self._coming.files + max(reads.files - reads.done_files, 0)
                size = sends.size_bytes + self._coming.size_bytes + max(reads.size_bytes - reads.done_bytes, 0)
                return self._told(State.UPLOADING, sends, files, size)
            if self._reads is not None:
                return self._told(State.STAGING, reads, reads.files, reads.size_bytes)
            return None

    def _told(self, state: State, phase: _Phase, files: int, size_bytes: int) -> Headway:
        done_bytes = min(phase.done_bytes, size_bytes)
        return Headway(state, min(phase.done_files, files), files, done_bytes, size_bytes, self._rate(phase.done_bytes))

    def _begin(self, plan: Plan) -> None:
        if plan.state is State.STAGING:
            self._reads, self._sends = _Phase(), None
            self._coming = _Phase()
            self._reads.plan(plan)
            self._samples.clear()
        elif plan.state is State.UPLOADING:
            if self._sends is None:
                self._sends = _Phase()
                self._samples.clear()
            self._sends.plan(plan)
            self._coming = _Phase()

    def _read(self, event: Progress) -> None:
        if self._reads is None:
            return
        self.read_bytes += self._reads.advance(event)
        if event.size_bytes >= _LARGE_BYTES and event.done_bytes == event.size_bytes:
            self._coming.plan(Plan(State.UPLOADING, 1, event.size_bytes))
        if self._sends is None:
            self._sample(self._reads.done_bytes)

    def _sample(self, done_bytes: int) -> None:
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_EVERY_S:
            self._samples.append((now, done_bytes))
            while len(self._samples) > 1 and now - self._samples[1][0] > RATE_OVER_S:
                self._samples.popleft()

    def _rate(self, done_bytes: int) -> float | None:
        if not self._samples:
            return None
        began, first = self._samples[0]
        passed_s = self._clock() - began
        return max(done_bytes - first, 0) / passed_s if passed_s >= SAMPLE_EVERY_S else None
