"""One mirror in the daemon: hints come in, a pass is due, its outcome decides when the next one is.

Owned by `daemon`, whose main thread calls everything here but `work`. The one thing to know: a worker has no thread
of its own besides the watcher's; `work` runs in a thread of the daemon's only while there is something to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from lfssync.credentials import Credentials
from lfssync.errors import LfssyncError
from lfssync.line.outofreach import OutOfReachError, WithheldError
from lfssync.line.pipeline import Aim, Order
from lfssync.line.workbench import Session
from lfssync.model import EVERYTHING, Hint, Mirror, PassResult
from lfssync.records.lock import BusyError
from lfssync.rules.closing import LAST, UNDER_WAY
from lfssync.rules.debounce import Debounce, Due
from lfssync.rules.pace import Waits, Why, at_epoch
from lfssync.service import journal
from lfssync.service.attempting import Outcome, UnderWay, attempt
from lfssync.service.gauge import Gauge
from lfssync.service.inbox import Inbox
from lfssync.service.lookout import POLL_S, Lookout
from lfssync.service.pacing import Gate, Pace
from lfssync.service.patience import Patience, Trouble
from lfssync.service.sayings import Sayings
from lfssync.service.tally import Tally

CHECK_EVERY_S = 1.0
VERIFY_EVERY_S = 3600.0
"""The remote is asked so often for what it holds, even when nothing changes here."""

_AHEAD_SHARE = 20
_AHEAD_MIN_S = 1.0
"""While writing goes on, complete files are looked for so many times in `max_wait`, and no more often than that."""

_BUSY_RETRY_S = 1.0


class Worker:
    """One mirror's loop, without a thread.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        wake: Called from the watcher's thread when a hint came that nobody expects.
        login: Who knows the login for its remote.
        clock: Seconds since the epoch, by the clock on the wall.
    """

    def __init__(
        self,
        mirror: Mirror,
        state_dir: Path,
        wake: Callable[[], None],
        login: Credentials,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.mirror = mirror
        self.gauge = Gauge()
        self.session = Session(self.gauge, login=login)
        self._state_dir = state_dir
        self._inbox = Inbox(wake)
        ahead_s = max(mirror.quiet_s, mirror.max_wait_s / _AHEAD_SHARE, _AHEAD_MIN_S)
        self._debounce = Debounce(mirror.quiet_s, mirror.max_wait_s, mirror.min_interval_s, ahead_s=ahead_s)
        self.tally = Tally(self._inbox, self._debounce)
        self._log = Sayings(mirror.name)
        self._lookout = Lookout(mirror, self._inbox.put, self._log)
        self._patience = Patience(clock)
        self._pace = Pace(mirror, state_dir, clock)
        self._withheld = False  # passes went without the remote while it was not to be asked
        self._under_way = UnderWay(asks=False, is_over=True)
        self._check_at = self._rescan_at = float("inf")
        self._interval_until = float("-inf")
        self._unreached: OutOfReachError | None = None  # while it is: when held back, passes go on without the remote
        self._asks = True
        self._excuse: LfssyncError | None = None  # why the pass under way does not ask the remote
        self._commits: int | None = None  # how many commits it may make
        self._closes_at: float | None = None
        self._last_call = self._looked_again = False
        self._verify_at = float("-inf")  # first of all: the remote may be another one than before
        self._verifies = True
        self._moving_looks = 0
        self._look_took_s = 0.0

    @property
    def trouble(self) -> Trouble | None:
        """Why it does not get on, if it does not."""
        return self._patience.trouble

    @property
    def is_polling(self) -> bool:
        """Whether events cannot be relied on."""
        return self._lookout.is_polling

    @property
    def is_waiting(self) -> bool:
        """Whether something may have changed that no pass has looked at yet."""
        return self._debounce.pending_since is not None

    @property
    def due_at(self) -> float | None:
        """When the next pass is due as things stand, in monotonic seconds; None when nothing waits."""
        if self._last_call:
            return float("-inf")
        if self._closes_at is not None:
            return self._last_due_at(self._closes_at)
        if self._pace.gate is Gate.SHUT or not self._pace.may_commit:
            return None
        moments = [at for at in (self._debounce.due_at, self._debounce.ahead_at) if at is not None]
        held_until = self._patience.held_until
        if self._unreached is not None:
            return min([*moments, held_until] if self._pace.gate is Gate.OPEN else moments, default=None)
        return max(min(moments), held_until) if moments else None

    def waits(self, monotonic: float, now: float) -> Waits | None:
        """What keeps it from going on, if anything does.

        Args:
            monotonic: Now, in monotonic seconds.
            now: Now, in seconds since the epoch.
        """
        if (paced := self._pace.waits()) and (self._pace.is_paused or self.is_waiting or self._withheld):
            return paced
        if self.trouble is not None and self._patience.held_until > monotonic:
            return Waits(Why.BACK_OFF, at_epoch(self._patience.held_until, monotonic, now))
        if not self.is_waiting:
            return None
        if self._interval_until > monotonic:
            return Waits(Why.MIN_INTERVAL, at_epoch(self._interval_until, monotonic, now))
        return self._pace.waits_with_commit()

    @property
    def tick_at(self) -> float:
        """When `tick` has something to do at the latest, in monotonic seconds."""
        return min(self._rescan_at, self._check_at)

    def start(self, now: float) -> None:
        """Begin to watch.

        Args:
            now: Monotonic seconds.
        """
        self._lookout.start(now)
        self._pace.look()
        self._debounce.add(EVERYTHING, now)
        self._rescan_at = now + self._lookout.rescan_s(1, self._look_took_s)
        self._check_at = now + CHECK_EVERY_S

    def stand_in_for(self, before: Worker) -> None:
        """Take the place of a worker of the same mirror, whose pass under way goes on."""
        self.gauge, self.session, self._under_way = before.gauge, before.session, before._under_way

    def stop(self) -> None:
        """Stop watching. A pass under way goes on, unless its `session` is stopped."""
        self._lookout.stop()

    def close(self, now: float, is_working: bool) -> float:
        """Take and deliver what is complete, and nothing else any more; says until when, in monotonic seconds.

        Args:
            now: Monotonic seconds.
            is_working: Whether a pass of this mirror is under way.
        """
        grace_s = self.mirror.shutdown_grace_s
        self._closes_at = now + grace_s
        self.session.last_call.until = now + grace_s * UNDER_WAY
        self._rescan_at = self._check_at = float("inf")
        if self.is_polling:
            self._debounce.add(EVERYTHING, now)
        self._last_call = (self.is_waiting or is_working) and not self._is_hopeless
        return self._closes_at if self._last_call or is_working else now

    def tick(self, now: float, polling: int, check_every_s: float = CHECK_EVERY_S) -> None:
        """Take in hints, and look after watcher and rescan.

        Args:
            now: Monotonic seconds.
            polling: How many mirrors of this daemon cannot be watched.
            check_every_s: How often the watchers of all mirrors are looked after.
        """
        paths, first, last = self._inbox.take()
        for path in paths:
            self._debounce.add(Hint(path), first)
        if paths:
            self._debounce.add(Hint(paths[-1]), last)
        if now >= self._check_at:
            self._check_at = (now // check_every_s + 1) * check_every_s
            self.look_at_pace(now)
            self._patience.look(now)
            if self._lookout.look(now):
                self._rescan_at = min(self._rescan_at, now + POLL_S)
                self._debounce.add(EVERYTHING, now)
        if now >= self._rescan_at:
            self.tally.rescans += 1
            self._rescan_at = now + self._lookout.rescan_s(polling, self._look_took_s)
            self._debounce.add(EVERYTHING, now - self.mirror.quiet_s)
            self._verifies = self._verifies or now >= self._verify_at
        self._inbox.is_expected = self.is_waiting

    def take(self, now: float) -> Due | None:
        """What the pass that is due has to look at, for `work`; None when none is due.

        Args:
            now: Monotonic seconds.
        """
        due = self._take_next(now) if self._closes_at is None else self._take_last(self._closes_at, now)
        if due is not None:
            self._commits = self._pace.left()
            self._excuse = self._pace.excuse() or (None if self._asks and not due.is_ahead else self._unreached)
            self._under_way = UnderWay(asks=self._excuse is None)
        return due

    def _take_next(self, now: float) -> Due | None:
        self._pace.count()
        if self._pace.gate is Gate.SHUT or not self._pace.may_commit:
            return None
        self._asks = now >= self._patience.held_until and self._pace.gate is Gate.OPEN
        if self._unreached is None and now < self._patience.held_until:
            return None
        due = self._debounce.take(now) or self._debounce.look_ahead(now)
        if due is None and self._unreached is not None and self._asks:
            return Due(frozenset(), capped=False, since=now)
        return due

    def look_at_pace(self, now: float) -> None:
        """See whether it may go on, and how far. A pass that may not go on any more is broken off.

        Args:
            now: Monotonic seconds.
        """
        self._pace.look()
        gate, one = self._pace.gate, self._under_way
        if not one.is_over and gate < (Gate.OPEN if one.asks else Gate.HERE):
            one.is_broken_off = True
            self.session.stop.set()
        if self._withheld and gate is Gate.OPEN:
            self._withheld = False
            self._debounce.add(EVERYTHING, now - self.mirror.quiet_s)

    @property
    def _is_hopeless(self) -> bool:
        """Whether only a person can get it going, so that there is no time for it when lfssync ends."""
        return self._pace.gate is Gate.SHUT or not self._patience.passes_by_itself

    def _last_due_at(self, closes_at: float) -> float | None:
        if self._is_hopeless:
            return None
        due_at = self._debounce.due_at
        if due_at is not None and self._unreached is None:
            due_at = max(due_at, self._patience.held_until)
        return due_at if due_at is not None and due_at < closes_at else None

    def _take_last(self, closes_at: float, now: float) -> Due | None:
        self.session.last_call.until = closes_at - self.mirror.shutdown_grace_s * (1 - LAST)
        self._asks = self._unreached is None and self._pace.gate is Gate.OPEN
        if self._last_call:
            self._last_call = False
            return self._debounce.take_rest(now)
        return None if self._asks and now < self._patience.held_until else self._debounce.take(now)

    def work(self, due: Due) -> Outcome:
        """Run one pass; in a thread of its own."""
        # Whoever has the lock may have it for hours, and other mirrors need the place of this pass.
        aim = Aim.PREPARE if due.is_ahead else Aim.DELIVER
        scrubs = self._verifies and self._closes_at is None
        order = Order(
            due.paths, verify=self._verifies, scrubs=scrubs, unreached=self._excuse, wait_lock_s=0.0, aim=aim,
            commits=self._commits,
        )  # fmt: skip
        return attempt(self.mirror, self._state_dir, due, order, self.session)

    def done(self, outcome: Outcome, now: float) -> None:
        """Take in how a pass ended.

        Args:
            outcome: Of `work`.
            now: Monotonic seconds.
        """
        self.gauge.clear()
        error = None if self.session.stop.is_set() or _is_withheld(outcome) else outcome.error
        self.tally.count(outcome.due, outcome.result, error)
        self._pace.committed()
        self._under_way.is_over = True
        if self._under_way.is_broken_off:
            self.session.stop.clear()
            if outcome.result is None:
                if not outcome.due.is_ahead:
                    self._debounce.put_back(outcome.due)
                return
        if outcome.due.is_ahead and (outcome.result is not None or isinstance(outcome.error, BusyError)):
            return  # the pass itself is still to come
        if outcome.result is not None:
            self._succeeded(outcome.result, outcome.took_s, now)
        elif outcome.error is not None and not self.session.stop.is_set():
            if isinstance(outcome.error, OutOfReachError):
                self._cut_off(outcome.error, now)
                return
            if not outcome.due.is_ahead:
                self._debounce.put_back(outcome.due)
            if isinstance(outcome.error, BusyError):
                self._patience.hold(now + _BUSY_RETRY_S)
                self._debounce.hold(now + _BUSY_RETRY_S)
            else:
                self._unreached = None
                self._failed(outcome.error, now)

    def network_returned(self, now: float) -> None:
        """The network is back, or may be.

        Args:
            now: Monotonic seconds.
        """
        self._patience.network_returned()
        self._patience.look(now)

    def woke(self, now: float) -> None:
        """The machine slept: much may have changed here and there.

        Args:
            now: Monotonic seconds.
        """
        self._debounce.add(EVERYTHING, now - self.mirror.quiet_s)
        self._verifies = True
        self._pace.committed()
        self.network_returned(now)

    def eased(self) -> None:
        """Somebody else's pass of this mirror went well: nothing is held back any longer."""
        if self.trouble is not None:
            self._log.info("goes on again", fields={"MESSAGE_ID": journal.RECOVERED})
            self._lookout.try_again()
        self._patience.over()
        self._unreached = None
        self._pace.committed()

    def _cut_off(self, error: OutOfReachError, now: float) -> None:
        """The pass did all it could without the remote, which is asked again ever more seldom."""
        if isinstance(error.cause, WithheldError):
            self._withheld = True
            if self._patience.passes_by_itself:  # nobody asks now
                self._patience.over()
                self._unreached = None
        else:
            if self._asks:
                self._failed(error, now)
            self._unreached = error
        if error.result.committed:
            self._log.committed(error.result, "committed here as")
        self._wait_for_rest(error.result, now)

    def _succeeded(self, result: PassResult, took_s: float, now: float) -> None:
        failures = 0
        if self._unreached is not None:  # what had no room here may go now
            self._debounce.add(EVERYTHING, now - self.mirror.quiet_s)
            failures = self._patience.failures  # unless it shows that LFS objects still are not taken
        self.eased()
        self._patience.failures = failures
        if self._verifies or result.committed:
            self._verifies, self._verify_at = False, now + VERIFY_EVERY_S
        if result.committed:
            self._debounce.pushed(now)
            self._interval_until = now + self.mirror.min_interval_s
            self._log.committed(result, "verified at")
        else:
            self._look_took_s = took_s
        self._wait_for_rest(result, now)

    def _wait_for_rest(self, result: PassResult, now: float) -> None:
        """See to it that what had to wait is looked at again."""
        moving = [one.path for one in result.deferred if one.passes_soon]
        if self._closes_at is not None:
            if not self._looked_again:  # what was written just now may be whole: it gets the time that telling takes
                self._debounce.defer(moving, now + self.mirror.quiet_s)
            self._looked_again = True
            return self._log.left(result.deferred)
        pause_s = max(self.mirror.quiet_s, 0.5) * 2 ** min(self._moving_looks, 16)
        self._debounce.defer(moving, now + min(pause_s, max(self.mirror.max_wait_s, 0.5)))
        self._moving_looks = self._moving_looks + 1 if moving and not result.committed else 0
        lasting = [one for one in result.deferred if not one.passes_soon]
        self._debounce.defer((one.path for one in lasting), now + max(self.mirror.max_wait_s, 0.5))
        self._log.waiting(lasting, result.warnings, now)

    def _failed(self, error: LfssyncError, now: float) -> None:
        before = self.trouble
        pause_s = self._patience.failed(error, now)
        if self.trouble is not before:
            self._log.forget(str(error))
        fields = {"ERROR_KIND": error.kind, "MESSAGE_ID": journal.FAILED}
        self._log.say(logging.WARNING, str(error), now, f"; next try in {pause_s:.0f} s", fields)


def _is_withheld(outcome: Outcome) -> bool:
    """Whether a pass did all that it may, while the remote is not to be asked."""
    return isinstance(outcome.error, OutOfReachError) and isinstance(outcome.error.cause, WithheldError)
