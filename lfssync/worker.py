"""One mirror in the daemon: hints come in, a pass is due, its outcome decides when the next one is.

Owned by `daemon`, whose main thread calls everything here but `work`. The one thing to know: a worker has no thread
of its own besides the watcher's; `work` runs in the daemon's pool only while there is something to do.
"""

from __future__ import annotations

import queue
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lfssync.debounce import Debounce, Due
from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError, UserError
from lfssync.model import Hint, Mirror, PassResult
from lfssync.pipeline import Order, run_pass
from lfssync.watch import Watcher, polling_reason
from lfssync.workbench import Session

CHECK_EVERY_S = 1.0
DECISION_RETRY_S = 30.0
"""What a person must decide is looked at again so often: the person may have decided."""

_BACKOFF_FIRST_S = 1.0
_BACKOFF_LAST_S = 300.0
_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended: its result or its error, and what it looked at."""

    worker: Worker
    due: Due
    result: PassResult | None
    error: LfssyncError | None


class Worker:
    """One mirror's loop, without a thread.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        session: Shared with all its passes: when to stop, what was seen.
        wake: Called from the watcher's thread when a hint came.
        say: Receives lines for the log.
    """

    def __init__(
        self, mirror: Mirror, state_dir: Path, session: Session, wake: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.mirror = mirror
        self.busy = False
        self._state_dir = state_dir
        self._session = session
        self._wake = wake
        self._say = say
        self._hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
        self._debounce = Debounce(mirror.quiet_s, mirror.max_wait_s, mirror.min_interval_s)
        self._watcher = Watcher(mirror.path, self._emit)
        self._polls: str | None = None
        self._check_at = 0.0
        self._rescan_at = float("inf")
        self._failures = 0

    def start(self, now: float) -> None:
        """Begin to watch.

        Args:
            now: Monotonic seconds.
        """
        self._polls = polling_reason(self.mirror.path) or self._watcher.start()
        if self._polls:
            self._say(f"{self.mirror.name}: looking every {_POLL_S:.0f} s instead of watching: {self._polls}")
            self._debounce.add(Hint(None), now)
        self._rescan_at = now + self._rescan_s
        self._check_at = now + CHECK_EVERY_S

    def stop(self) -> None:
        """Stop watching."""
        self._watcher.stop()

    def tick(self, now: float) -> Due | None:
        """Take in hints, look after the watcher, and say if a pass is due.

        Args:
            now: Monotonic seconds.

        Returns:
            What to look at, for `work`; None when nothing is due.
        """
        while True:
            try:
                self._debounce.add(self._hints.get_nowait(), now)
            except queue.Empty:
                break
        if now >= self._check_at:
            self._check_at = now + CHECK_EVERY_S
            self._look_after_watcher(now)
        if now >= self._rescan_at:
            self._rescan_at = now + self._rescan_s
            self._debounce.add(Hint(None), now - self.mirror.quiet_s)
        return None if self.busy else self._debounce.take(now)

    def next_at(self) -> float:
        """When `tick` has something to do at the latest, if nothing happens, in monotonic seconds."""
        due_at = self._debounce.due_at
        moments = [self._rescan_at, self._check_at]
        return min([*moments, due_at] if due_at is not None and not self.busy else moments)

    def work(self, due: Due) -> Outcome:
        """Run one pass; in a thread of the pool."""
        try:
            result = run_pass(self.mirror, self._state_dir, Order(paths=due.paths), self._session)
        except LfssyncError as error:
            return Outcome(self, due, None, error)
        except Exception as error:  # noqa: BLE001  a bug must not end the mirror: it is shown, logged and tried again
            return Outcome(
                self,
                due,
                None,
                LfssyncError(f"internal: {type(error).__name__}: {error}", "please report it with the log"),
            )
        return Outcome(self, due, result, None)

    def done(self, outcome: Outcome, now: float) -> None:
        """Take in how a pass ended.

        Args:
            outcome: Of `work`.
            now: Monotonic seconds.
        """
        self.busy = False
        if outcome.error is not None:
            self._failed(outcome.error, outcome.due, now)
            return
        result = outcome.result
        assert result is not None
        self._failures = 0
        if result.committed:
            self._debounce.pushed(now)
            done = f"{result.added} added, {result.changed} changed, {result.removed} removed"
            self._say(f"{self.mirror.name}: {done}, verified at {(result.commit or '')[:7]}")
        for reason, pause_s in (("open for writing", self.mirror.max_wait_s), (None, max(self.mirror.quiet_s, 0.5))):
            waiting = [
                one.path for one in result.deferred if (one.reason == "open for writing") is (reason is not None)
            ]
            self._debounce.defer(waiting, now + pause_s)

    def _failed(self, error: LfssyncError, due: Due, now: float) -> None:
        self._failures += 1
        self._debounce.put_back(due)
        if isinstance(error, AuthError | BlockedError | UserError):
            pause_s = DECISION_RETRY_S
        elif isinstance(error, TransientError) and error.retry_after_s is not None:
            pause_s = error.retry_after_s
        else:
            ceiling_s = min(_BACKOFF_FIRST_S * 2 ** min(self._failures, 16), _BACKOFF_LAST_S)
            pause_s = random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 (jitter, not a secret)
        self._debounce.hold(now + pause_s)
        if not self._session.stop.is_set():
            self._say(f"{self.mirror.name}: {error}; next try in {pause_s:.0f} s")

    def _look_after_watcher(self, now: float) -> None:
        if self._polls:
            return
        problem = self._watcher.check()
        if problem is None:
            return
        still = self._watcher.restart()
        self._debounce.add(Hint(None), now)
        if still:
            self._polls = still
            self._rescan_at = min(self._rescan_at, now + _POLL_S)
            self._say(f"{self.mirror.name}: {problem}; looking every {_POLL_S:.0f} s from now on: {still}")
        else:
            self._say(f"{self.mirror.name}: {problem}; watching again")

    @property
    def _rescan_s(self) -> float:
        return min(_POLL_S, self.mirror.rescan_s) if self._polls else self.mirror.rescan_s

    def _emit(self, hint: Hint) -> None:
        self._hints.put(hint)
        self._wake()
