"""One mirror in the daemon: hints come in, a pass is due, its outcome decides when the next one is.

Owned by `daemon`, whose main thread calls everything here but `work`. The one thing to know: a worker has no thread
of its own besides the watcher's; `work` runs in a thread of the daemon's only while there is something to do.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lfssync.credentials import Credentials
from lfssync.errors import LfssyncError, TransientError
from lfssync.line.outofreach import OutOfReachError
from lfssync.line.pipeline import Aim, Order
from lfssync.line.watch import Watcher, polling_reason
from lfssync.line.workbench import Session
from lfssync.model import EVERYTHING, Hint, Mirror, PassResult, human_bytes, show
from lfssync.records.lock import BusyError
from lfssync.rules import backoff
from lfssync.rules.closing import LAST, LEFT, UNDER_WAY
from lfssync.rules.debounce import Debounce, Due
from lfssync.rules.pace import Waits, Why, at_epoch
from lfssync.service import journal
from lfssync.service.firstpass import run_pass
from lfssync.service.gauge import Gauge
from lfssync.service.inbox import Inbox
from lfssync.service.journal import MirrorLog
from lfssync.service.tally import Tally

CHECK_EVERY_S = 1.0
VERIFY_EVERY_S = 3600.0
"""The remote is asked so often for what it holds, even when nothing changes here."""

_AHEAD_SHARE = 20
_AHEAD_MIN_S = 1.0
"""While writing goes on, complete files are looked for so many times in `max_wait`, and no more often than that."""

_BUSY_RETRY_S = 1.0
_POLL_S = 5.0
_POLL_SHARE = 0.05
"""Looking at all trees that cannot be watched takes at most so much of one processor."""

_WATCH_RETRY_FIRST_S = 30.0
_WATCH_RETRY_LAST_S = 900.0
_SHOWN = 20
"""So many files that wait, and so many warnings, of one pass are logged; `status` shows more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended: what it looked at, its result or its error, and how long it took in seconds."""

    due: Due
    result: PassResult | None
    error: LfssyncError | None
    took_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a mirror does not get on, and since when in seconds since the epoch."""

    error: LfssyncError
    since: float


class Worker:
    """One mirror's loop, without a thread.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        wake: Called from the watcher's thread when a hint came that nobody expects.
        login: Who knows the login for its remote.
    """

    def __init__(self, mirror: Mirror, state_dir: Path, wake: Callable[[], None], login: Credentials) -> None:
        self.mirror = mirror
        self.gauge = Gauge()
        self.session = Session(self.gauge, login=login)
        self.trouble: Trouble | None = None
        self._log = MirrorLog(mirror.name)
        self._state_dir = state_dir
        self._inbox = Inbox(wake)
        ahead_s = max(mirror.quiet_s, mirror.max_wait_s / _AHEAD_SHARE, _AHEAD_MIN_S)
        self._debounce = Debounce(mirror.quiet_s, mirror.max_wait_s, mirror.min_interval_s, ahead_s=ahead_s)
        self.tally = Tally(self._inbox, self._debounce)
        self._watcher = Watcher(mirror.path, self._inbox.put)
        self._polls: str | None = None
        self._check_at = float("inf")
        self._rescan_at = float("inf")
        self._watch_at = float("inf")
        self._watch_pause_s = _WATCH_RETRY_FIRST_S
        self._held_until = float("-inf")
        self._interval_until = float("-inf")
        self._unreached: OutOfReachError | None = None  # while it is: when held back, passes go on without the remote
        self._asks = True
        self._closes_at: float | None = None
        self._last_call = False
        self._verify_at = float("-inf")  # first of all: the remote may be another one than before
        self._verifies = True
        self._failures = 0
        self._moving_looks = 0
        self._look_took_s = 0.0

    @property
    def is_polling(self) -> bool:
        """Whether events cannot be relied on."""
        return self._polls is not None

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
        moments = [at for at in (self._debounce.due_at, self._debounce.ahead_at) if at is not None]
        if self._unreached is not None:
            return min([*moments, self._held_until])
        return max(min(moments), self._held_until) if moments else None

    def waits(self, monotonic: float, now: float) -> Waits | None:
        """What keeps it from going on, if anything does.

        Args:
            monotonic: Now, in monotonic seconds.
            now: Now, in seconds since the epoch.
        """
        if self.trouble is not None and self._held_until > monotonic:
            return Waits(Why.BACK_OFF, at_epoch(self._held_until, monotonic, now))
        if self.is_waiting and self._interval_until > monotonic:
            return Waits(Why.MIN_INTERVAL, at_epoch(self._interval_until, monotonic, now))
        return None

    @property
    def tick_at(self) -> float:
        """When `tick` has something to do at the latest, in monotonic seconds."""
        return min(self._rescan_at, self._check_at)

    def start(self, now: float) -> None:
        """Begin to watch.

        Args:
            now: Monotonic seconds.
        """
        self._watch(now)
        self._debounce.add(EVERYTHING, now)
        self._rescan_at = now + self._rescan_s(1)
        self._check_at = now + CHECK_EVERY_S

    def stop(self) -> None:
        """Stop watching. A pass under way goes on, unless its `session` is stopped."""
        try:
            self._watcher.stop()
        except TransientError as error:
            self._log.warning("%s", error)

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
        is_hopeless = self.trouble is not None and not isinstance(self.trouble.error, TransientError)
        self._last_call = (self.is_waiting or is_working) and not is_hopeless
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
            self._look_after_watcher(now)
        if now >= self._rescan_at:
            self.tally.rescans += 1
            self._rescan_at = now + self._rescan_s(polling)
            self._debounce.add(EVERYTHING, now - self.mirror.quiet_s)
            self._verifies = self._verifies or now >= self._verify_at
        self._inbox.is_expected = self.is_waiting

    def take(self, now: float) -> Due | None:
        """What the pass that is due has to look at, for `work`; None when none is due.

        Args:
            now: Monotonic seconds.
        """
        if self._closes_at is not None:
            return self._take_last(self._closes_at, now)
        self._asks = now >= self._held_until
        if self._unreached is None and not self._asks:
            return None
        due = self._debounce.take(now) or self._debounce.look_ahead(now)
        if due is None and self._unreached is not None and self._asks:
            return Due(frozenset(), capped=False, since=now)
        return due

    def _last_due_at(self, closes_at: float) -> float | None:
        if self.trouble is not None and not isinstance(self.trouble.error, TransientError):
            return None  # only a person can help, and there is no time for that
        due_at = self._debounce.due_at
        if due_at is not None and self._unreached is None:
            due_at = max(due_at, self._held_until)
        return due_at if due_at is not None and due_at < closes_at else None

    def _take_last(self, closes_at: float, now: float) -> Due | None:
        self.session.last_call.until = closes_at - self.mirror.shutdown_grace_s * (1 - LAST)
        self._asks = self._unreached is None
        if self._last_call:
            self._last_call = False
            return self._debounce.take_rest(now)
        return None if self._asks and now < self._held_until else self._debounce.take(now)

    def work(self, due: Due) -> Outcome:
        """Run one pass; in a thread of its own."""
        result: PassResult | None = None
        failure: LfssyncError | None = None
        began = time.monotonic()
        try:
            # Whoever has the lock may have it for hours, and other mirrors need the place of this pass.
            aim = Aim.PREPARE if due.is_ahead else Aim.DELIVER
            unreached = None if self._asks and not due.is_ahead else self._unreached
            scrubs = self._verifies and self._closes_at is None
            order = Order(
                due.paths, verify=self._verifies, scrubs=scrubs, unreached=unreached, wait_lock_s=0.0, aim=aim
            )
            result = run_pass(self.mirror, self._state_dir, order, self.session)
        except LfssyncError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  a bug must not end the mirror: it is shown, logged and tried again
            self._log.exception("a pass failed", fields={"MESSAGE_ID": journal.FAILED})
            failure = LfssyncError(f"internal: {type(error).__name__}: {error}", "please report it with the log")
        return Outcome(due, result, failure, time.monotonic() - began)

    def done(self, outcome: Outcome, now: float) -> None:
        """Take in how a pass ended.

        Args:
            outcome: Of `work`.
            now: Monotonic seconds.
        """
        self.gauge.clear()
        self.tally.count(outcome.due, outcome.result, None if self.session.stop.is_set() else outcome.error)
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
                self._held_until = max(self._held_until, now + _BUSY_RETRY_S)
                self._debounce.hold(now + _BUSY_RETRY_S)
            else:
                self._unreached = None
                self._failed(outcome.error, now)

    def eased(self) -> None:
        """Somebody else's pass of this mirror went well: nothing is held back any longer."""
        if self.trouble is not None:
            self._log.info("goes on again", fields={"MESSAGE_ID": journal.RECOVERED})
            self._watch_at = float("-inf")  # a directory that was gone may be back
        self.trouble = None
        self._unreached = None
        self._failures = 0
        self._held_until = float("-inf")

    def _cut_off(self, error: OutOfReachError, now: float) -> None:
        """The pass did all it could without the remote, which is asked again ever more seldom."""
        if self._asks:
            self._failed(error, now)
        self._unreached = error
        if error.result.committed:
            self._say_committed(error.result, "committed here as")
        self._wait_for_rest(error.result, now)

    def _succeeded(self, result: PassResult, took_s: float, now: float) -> None:
        failures = 0
        if self._unreached is not None:  # what had no room here may go now
            self._debounce.add(EVERYTHING, now - self.mirror.quiet_s)
            failures = self._failures  # unless it shows that LFS objects still are not taken
        self.eased()
        self._failures = failures
        if self._verifies or result.committed:
            self._verifies, self._verify_at = False, now + VERIFY_EVERY_S
        if result.committed:
            self._debounce.pushed(now)
            self._interval_until = now + self.mirror.min_interval_s
            self._say_committed(result, "verified at")
        else:
            self._look_took_s = took_s
        self._wait_for_rest(result, now)

    def _say_committed(self, result: PassResult, how: str) -> None:
        done = f"{result.added} added, {result.changed} changed, {result.removed} removed"
        commit = result.commit or ""
        self._log.info("%s, %s %s", done, how, commit[:7], fields={"COMMIT": commit, "MESSAGE_ID": journal.DELIVERED})

    def _wait_for_rest(self, result: PassResult, now: float) -> None:
        """See to it that what had to wait is looked at again."""
        if self._closes_at is not None:
            left = [one for one in result.deferred if one.reason == LEFT]
            for one in left[:_SHOWN]:
                self._log.warning("%s (%s): %s", show(one.path), human_bytes(one.size_bytes), LEFT)
            return
        moving = [one.path for one in result.deferred if one.passes_soon]
        pause_s = max(self.mirror.quiet_s, 0.5) * 2 ** min(self._moving_looks, 16)
        self._debounce.defer(moving, now + min(pause_s, max(self.mirror.max_wait_s, 0.5)))
        self._moving_looks = self._moving_looks + 1 if moving and not result.committed else 0
        lasting = [one for one in result.deferred if not one.passes_soon]
        self._debounce.defer((one.path for one in lasting), now + max(self.mirror.max_wait_s, 0.5))
        for text in (
            *(f"waiting for {show(one.path)}: {one.reason}" for one in lasting[:_SHOWN]),
            *result.warnings[:_SHOWN],
        ):
            self._log.say(logging.INFO, text, now)

    def _failed(self, error: LfssyncError, now: float) -> None:
        self._failures += 1
        pause_s = backoff.pause_s(error, self._failures, random.random())  # noqa: S311 (jitter, not a secret)
        self._held_until = now + pause_s
        if self.trouble is None or str(self.trouble.error) != str(error):
            self.trouble = Trouble(error, time.time())
            self._log.forget(str(error))
        fields = {"ERROR_KIND": error.kind, "MESSAGE_ID": journal.FAILED}
        self._log.say(logging.WARNING, str(error), now, f"; next try in {pause_s:.0f} s", fields)

    def _look_after_watcher(self, now: float) -> None:
        problem = self._polls or self._watcher.check()
        if problem is None or (self._polls and now < self._watch_at):
            return
        was_polling = self.is_polling
        self.stop()
        self._watch(now)
        if self._polls is None:
            self._log.info("watching again")
        elif not was_polling:
            self._rescan_at = min(self._rescan_at, now + _POLL_S)
            self._debounce.add(EVERYTHING, now)

    def _watch(self, now: float) -> None:
        """Watch, or else poll and try to watch again later, ever more seldom."""
        self._polls = polling_reason(self.mirror.path) or self._watcher.start()
        if self._polls is None:
            self._watch_pause_s = _WATCH_RETRY_FIRST_S
            return
        self._log.say(logging.WARNING, f"looking from time to time instead of watching: {self._polls}", now)
        self._watch_at = now + self._watch_pause_s
        self._watch_pause_s = min(self._watch_pause_s * 2, _WATCH_RETRY_LAST_S)

    def _rescan_s(self, polling: int) -> float:
        if self._polls is None:
            return self.mirror.rescan_s
        return min(max(_POLL_S, self._look_took_s * polling / _POLL_SHARE), self.mirror.rescan_s)
