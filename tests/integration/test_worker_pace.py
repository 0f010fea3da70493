"""When a mirror's next pass is due while its remote is out of reach, by a clock of the test's own.

The one thing to know: nothing runs here but the watcher; how passes ended is told to the worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.credentials import nobody
from lfssync.errors import AuthError, TransientError
from lfssync.line.outofreach import OutOfReachError
from lfssync.model import Deferred, Mirror, PassResult, Receipt
from lfssync.records.lock import BusyError
from lfssync.rules.backoff import PASSING_S
from lfssync.rules.debounce import Due
from lfssync.service.attempting import Outcome
from lfssync.service.worker import Worker
from tests.helpers import write
from tests.integration.daemons import soon

QUIET_S = 5.0
NOTHING = PassResult(None, None)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Its first pass has just found the remote out of reach, at 100."""
    (tmp_path / "model").mkdir()
    mirror = Mirror("model", tmp_path / "model", str(tmp_path / "remote.git"), quiet_s=QUIET_S, rescan_s=1e9)
    worker = Worker(mirror, tmp_path / "state", lambda: None, nobody())
    worker.start(0.0)
    due = worker.take(90.0)
    assert due
    assert due.paths is None
    worker.done(lost(due), 100.0)
    try:
        yield worker
    finally:
        worker.stop()


def lost(due: Due, result: PassResult = NOTHING, retry_after_s: float | None = None) -> Outcome:
    return Outcome(due, None, OutOfReachError(TransientError("gone", "wait", retry_after_s), result), 0.1)


def pause_s(worker: Worker, now: float) -> float:
    assert worker.due_at is not None
    return worker.due_at - now


def ask(worker: Worker) -> tuple[Due, float]:
    """The pass that asks the remote again, when it is due."""
    now = worker.due_at
    assert now is not None
    due = worker.take(now)
    assert due
    return due, now


def test_the_remote_is_asked_again_ever_more_seldom_and_nothing_is_looked_at_for_that(worker: Worker) -> None:
    now, before_s = 100.0, 0.0
    for _ in range(12):
        assert 0 < pause_s(worker, now) <= PASSING_S[1]
        assert worker.take(now) is None
        due, now = ask(worker)
        assert due.paths == frozenset()
        worker.done(lost(due), now)
        before_s = pause_s(worker, now)
    assert before_s >= PASSING_S[1] / 2


def test_what_settles_meanwhile_has_its_pass_at_the_usual_pace(worker: Worker, tmp_path: Path) -> None:
    worker.done(lost(Due(frozenset(), capped=False, since=100.0), retry_after_s=1e6), 100.0)
    write(tmp_path / "model" / "new", b"1")

    def is_due() -> bool:
        worker.tick(101.0, 0)
        return worker.is_waiting

    soon(is_due)
    due, _ = ask(worker)
    assert due.paths is None or b"new" in due.paths
    at = worker.due_at
    worker.done(lost(due, PassResult("c" * 40, None, added=1)), 110.0)
    assert worker.due_at == at, "nobody was asked, so nothing changes about when that is to be"
    assert pause_s(worker, 100.0) > 1e5


def test_a_pass_of_somebody_else_is_waited_for(worker: Worker) -> None:
    _, now = ask(worker)
    due = Due(frozenset({b"new"}), capped=False, since=now - 60)
    worker.done(Outcome(due, None, BusyError("another pass is under way"), 0.0), now)
    assert pause_s(worker, now) >= 1
    assert worker.take(now) is None


def test_what_waits_is_looked_at_again(worker: Worker) -> None:
    due, now = ask(worker)
    waiting = Deferred(b"large", "the remote is out of reach, and only 0 B may be kept here", 5)
    result = PassResult(None, None, deferred=(waiting,))
    worker.done(lost(due, result, retry_after_s=1e6), now)
    due, later = ask(worker)
    assert due.paths == frozenset({b"large"})
    assert later == now + 300


def test_back_in_reach_everything_is_looked_at_at_once(worker: Worker) -> None:
    due, now = ask(worker)
    receipt = Receipt("refs/heads/main", "c" * 40, 0, 0, 0.0)
    worker.done(Outcome(due, PassResult("c" * 40, receipt), None, 0.1), now)
    assert worker.trouble is None
    due, _ = ask(worker)
    assert due.paths is None
    worker.done(Outcome(due, PassResult("c" * 40, receipt), None, 0.1), now)
    assert worker.due_at is None


def test_a_server_that_answers_and_takes_nothing_is_not_hammered(worker: Worker) -> None:
    """What was committed arrived; then an upload shows that the LFS server takes nothing yet."""
    now, longest_s = 100.0, 0.0
    for _ in range(12):
        due, now = ask(worker)
        assert due.paths == frozenset()
        worker.done(Outcome(due, NOTHING, None, 0.1), now)
        due, now = ask(worker)
        assert due.paths is None
        worker.done(lost(due), now)
        longest_s = max(longest_s, pause_s(worker, now))
    assert longest_s >= PASSING_S[1] / 2


def test_another_trouble_takes_its_place(worker: Worker) -> None:
    due, now = ask(worker)
    worker.done(Outcome(due, None, AuthError("who are you"), 0.1), now)
    assert pause_s(worker, now) >= 15
    assert worker.take(now + 1) is None


# -- told to end -----------------------------------------------------------------------------------------------------


def test_the_last_call_takes_all_that_waits_and_what_stands_still_soon_after(worker: Worker) -> None:
    due, now = ask(worker)
    moving = Deferred(b"moving", "still changing", 5)
    worker.done(Outcome(due, PassResult(None, None, deferred=(moving,)), None, 0.1), now)
    until = worker.close(now, is_working=False)
    assert until == now + 20
    assert worker.due_at == float("-inf")
    rest = worker.take(now)
    assert rest
    assert rest.paths is None or b"moving" in rest.paths
    assert worker.session.last_call.until == now + 15
    left = Deferred(b"moving", "still changing", 5)
    worker.done(Outcome(rest, PassResult(None, None, deferred=(left,)), None, 0.1), now + 1)
    assert worker.due_at == now + 1 + QUIET_S
    again = worker.take(now + 1 + QUIET_S)
    assert again
    assert again.paths == frozenset({b"moving"})
    worker.done(Outcome(again, PassResult(None, None, deferred=(left,)), None, 0.1), now + 2 + QUIET_S)
    assert worker.due_at is None


def test_a_last_pass_that_fails_is_not_tried_without_a_pause(worker: Worker) -> None:
    worker.eased()
    worker.tick(100.0, 0)
    until = worker.close(100.0, is_working=True)
    due = worker.take(100.0)
    if due is None:  # nothing waited
        due = Due(frozenset({b"file"}), capped=False, since=100.0)
    worker.done(Outcome(due, None, TransientError("no"), 0.1), 101.0)
    assert worker.due_at is None or 101 < worker.due_at < until
    assert worker.take(101.0) is None


def test_one_that_nobody_can_help_has_no_last_pass(worker: Worker) -> None:
    due, now = ask(worker)
    worker.done(Outcome(due, None, AuthError("who are you"), 0.1), now)
    assert worker.close(now, is_working=False) == now
    assert worker.due_at is None or worker.due_at > now


# -- why it waits ----------------------------------------------------------------------------------------------------


def test_the_next_try_is_told(worker: Worker) -> None:
    told = worker.waits(100.0, 5000.0)
    assert told
    assert told.document() == {"why": "back-off", "until": round(5000.0 + pause_s(worker, 100.0))}
    worker.eased()
    assert worker.waits(100.0, 5000.0) is None


def test_the_pause_between_two_pushes_is_told_while_something_waits(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    mirror = Mirror("model", tmp_path / "model", str(tmp_path / "remote.git"), min_interval_s=60, rescan_s=1e9)
    worker = Worker(mirror, tmp_path / "state", lambda: None, nobody())
    try:
        worker.start(0.0)
        due = worker.take(90.0)
        assert due
        worker.done(Outcome(due, PassResult("c" * 40, None, added=1), None, 0.1), 100.0)
        assert worker.waits(101.0, 5001.0) is None, "nothing is to be done"
        worker.start(110.0)
        told = worker.waits(120.0, 5020.0)
        assert told
        assert told.document() == {"why": "min_interval", "until": 5060.0}
        assert worker.waits(160.0, 5060.0) is None
    finally:
        worker.stop()
