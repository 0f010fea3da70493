"""Pauses, hours of the day and commits an hour: what a worker does then, by clocks of the test's own.

The one thing to know: nothing runs here, not even a watcher; how passes ended is told to the worker, and `work` is only
run to see what it asks of a pass.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lfssync.answers import LogKind
from lfssync.credentials import nobody
from lfssync.errors import AuthError, NetworkError, StoppedError, TransientError
from lfssync.line.outofreach import OutOfReachError, WithheldError
from lfssync.model import Mirror, PassResult, Receipt
from lfssync.records import pausing
from lfssync.records.store import Store
from lfssync.rules.backoff import PASSING_S
from lfssync.rules.debounce import Due
from lfssync.rules.windows import parse
from lfssync.service.attempting import Outcome
from lfssync.service.worker import Worker
from tests.helpers import make_bare

NOTHING = PassResult(None, None)
RECEIPT = Receipt("refs/heads/main", "c" * 40, 0, 0, 0.0)
DONE = PassResult("c" * 40, RECEIPT, added=1)
NIGHT = "22:00-07:00"


def at(clock: str) -> float:
    """A moment of a day by this machine's clock, in seconds since the epoch."""
    return time.mktime(time.strptime(f"2026-11-23 {clock}", "%Y-%m-%d %H:%M"))


@dataclass
class Hands:
    """A worker with clocks that a test sets."""

    worker: Worker
    state: Path
    wall: list[float]
    now: float = 0.0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.wall[0] += seconds
        self.worker.tick(self.now, 0)

    def take(self) -> Due:
        """The pass that is due, now or soon."""
        for _ in range(20):
            if (due := self.worker.take(self.now)) is not None:
                return due
            self.pass_time(1.0)
        raise AssertionError(f"nothing is due: {self.waits()}")

    def rests(self) -> bool:
        """Whether nothing is due, now and soon."""
        for _ in range(20):
            if self.worker.take(self.now) is not None:
                return False
            self.pass_time(1.0)
        return self.worker.due_at is None

    def change(self) -> None:
        """Something changed, so that everything is to be looked at."""
        self.worker.woke(self.now)

    def end(self, due: Due, result: PassResult | None = DONE, error: Any = None) -> None:
        self.worker.done(Outcome(due, result, error, 0.1), self.now)

    def unreached(self, due: Due, error: TransientError, result: PassResult = NOTHING) -> None:
        self.worker.done(Outcome(due, None, OutOfReachError(error, result), 0.1), self.now)

    def waits(self) -> dict[str, Any] | None:
        told = self.worker.waits(self.now, self.wall[0])
        return None if told is None else told.document()


class Blind:
    """A watcher that sees nothing, and does not mind."""

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def check(self) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes workers."""
    monkeypatch.setattr("lfssync.service.lookout.Watcher", Blind)
    made: list[Worker] = []

    def starts(clock: str = "12:00", **keys: Any) -> Hands:
        if not made:
            (tmp_path / "model").mkdir()
            make_bare(tmp_path / "model.git")
        mirror = Mirror("model", tmp_path / "model", str(tmp_path / "model.git"), rescan_s=1e9, **keys)
        wall = [at(clock)]
        worker = Worker(mirror, tmp_path / "state", lambda: None, nobody(), lambda: wall[0])
        made.append(worker)
        worker.start(0.0)
        return Hands(worker, tmp_path / "state", wall)

    yield starts
    for worker in made:
        worker.stop()


# -- pauses ----------------------------------------------------------------------------------------------------------


def test_a_paused_mirror_has_no_pass_and_resuming_takes_everything(start: Any) -> None:
    hands = start()
    pausing.pause(hands.state, None, hands.wall[0])
    assert hands.rests()
    assert hands.waits() == {"why": "paused", "until": None}
    hands.change()
    assert hands.rests()
    assert hands.worker.is_waiting
    pausing.resume(hands.state, hands.wall[0])
    assert hands.take().paths is None
    assert hands.waits() is None


def test_a_pause_ends_by_itself_and_survives_a_restart(start: Any) -> None:
    hands = start()
    pausing.pause(hands.state, hands.wall[0] + 7200, hands.wall[0])
    hands.pass_time(1)
    assert hands.waits() == {"why": "paused", "until": at("14:00")}
    again = start(clock="13:59")
    assert again.rests()
    again.pass_time(60)
    assert again.take().paths is None


def test_a_damaged_record_of_a_pause_pauses(start: Any) -> None:
    hands = start()
    (hands.state).mkdir()
    (hands.state / "paused.json").write_bytes(b"\0\0\0")
    assert hands.rests()
    assert hands.waits() == {"why": "paused", "until": None}


def test_a_pass_under_way_is_broken_off_and_made_up_for(start: Any) -> None:
    hands = start()
    due = hands.take()
    pausing.pause(hands.state, None, hands.wall[0])
    hands.pass_time(1)
    assert hands.worker.session.stop.is_set()
    hands.end(due, None, StoppedError())
    assert hands.worker.trouble is None
    assert hands.rests()
    pausing.resume(hands.state, hands.wall[0])
    hands.pass_time(1)
    assert not hands.worker.session.stop.is_set()
    assert hands.take() == due


def test_a_paused_mirror_has_no_last_pass(start: Any) -> None:
    hands = start()
    pausing.pause(hands.state, None, hands.wall[0])
    hands.pass_time(1)
    assert hands.worker.close(hands.now, is_working=False) == hands.now
    assert hands.worker.due_at is None


# -- hours of the day ------------------------------------------------------------------------------------------------


def test_outside_of_its_hours_passes_go_on_without_the_remote(start: Any) -> None:
    hands = start(only_between=parse(NIGHT))
    due = hands.take()
    assert due.paths is None
    outcome = hands.worker.work(due)
    assert isinstance(outcome.error, OutOfReachError)
    assert isinstance(outcome.error.cause, WithheldError)
    assert outcome.error.message == "nothing is sent before 22:00 (only_between)"
    hands.worker.done(outcome, hands.now)
    assert hands.worker.trouble is None, "nothing is wrong"
    assert hands.waits() == {"why": "only_between", "until": at("22:00")}
    assert hands.rests()


def test_when_its_hours_begin_it_delivers_at_once(start: Any) -> None:
    hands = start(clock="21:59", only_between=parse(NIGHT))
    hands.unreached(hands.take(), WithheldError("later"))
    assert hands.rests()
    hands.pass_time(60)
    due = hands.take()
    assert due.paths is None
    hands.end(due)
    assert hands.waits() is None


def test_without_room_for_copies_it_waits_as_a_whole(start: Any) -> None:
    hands = start(only_between=parse(NIGHT), offline_limit_bytes=0)
    assert hands.rests()
    assert hands.waits() == {"why": "only_between", "until": at("22:00")}


def test_what_is_under_way_when_its_hours_end_is_broken_off(start: Any) -> None:
    hands = start(clock="06:59", only_between=parse(NIGHT))
    due = hands.take()
    hands.pass_time(90)
    assert hands.worker.session.stop.is_set()
    hands.end(due, None, StoppedError())
    assert not hands.worker.session.stop.is_set()
    assert hands.take() == due
    hands.pass_time(1)
    assert not hands.worker.session.stop.is_set(), "that one stays here"


def test_a_remote_that_was_out_of_reach_is_not_told_about_while_nobody_asks(start: Any) -> None:
    hands = start(clock="06:59", only_between=parse(NIGHT))
    hands.unreached(hands.take(), NetworkError("gone"))
    assert hands.worker.trouble
    hands.pass_time(90)
    hands.change()
    hands.unreached(hands.take(), WithheldError("later"))
    assert hands.worker.trouble is None
    assert hands.waits() == {"why": "only_between", "until": at("22:00")}


def test_told_to_end_outside_of_its_hours_it_secures_here(start: Any) -> None:
    hands = start(only_between=parse(NIGHT))
    assert hands.worker.close(hands.now, is_working=False) > hands.now
    due = hands.worker.take(hands.now)
    assert due
    outcome = hands.worker.work(due)
    assert isinstance(outcome.error, OutOfReachError)


# -- commits an hour -------------------------------------------------------------------------------------------------


def commits(hands: Hands, *moments: float) -> None:
    hands.state.mkdir(exist_ok=True)
    with Store(hands.state / "state.db") as store, store.transaction():
        for moment in moments:
            store.append(moment, LogKind.COMMIT, os.urandom(20).hex(), "a commit")


def test_an_hours_commits_are_spread_and_come_together_meanwhile(start: Any) -> None:
    hands = start(commits_per_hour=2)
    due = hands.take()
    commits(hands, hands.wall[0])
    hands.end(due)
    hands.change()
    assert hands.rests()
    told = hands.waits()
    assert told
    assert told["why"] == "commits_per_hour"
    assert at("12:30") <= told["until"] <= at("12:31")
    hands.pass_time(1000)
    hands.change()
    assert hands.rests()
    hands.pass_time(800)
    due = hands.take()
    assert due.paths is None
    hands.end(due, NOTHING)
    assert hands.rests(), "all of it came together"


def test_a_restart_knows_what_was_committed_before(start: Any) -> None:
    hands = start(commits_per_hour=1)
    commits(hands, at("11:30"), at("10:00"))
    again = start(commits_per_hour=1)
    assert again.rests()
    assert again.waits() == {"why": "commits_per_hour", "until": at("12:30")}
    assert start(commits_per_hour=0).take()


def test_a_pass_is_told_how_many_commits_it_may_make(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Any] = []

    def run_pass(*arguments: Any) -> PassResult:
        orders.append(arguments[2])
        return NOTHING

    monkeypatch.setattr("lfssync.service.attempting.run_pass", run_pass)
    commits(start(), at("11:30"))
    hands = start(commits_per_hour=5)
    hands.worker.work(hands.take())
    hands = start()
    hands.worker.work(hands.take())
    assert [order.commits for order in orders] == [4, None]


def test_told_to_end_the_last_commit_is_made(start: Any) -> None:
    hands = start(commits_per_hour=1)
    commits(hands, hands.wall[0])
    hands.change()
    hands.worker.close(hands.now, is_working=False)
    assert hands.worker.take(hands.now)


# -- the network comes back, the machine wakes -----------------------------------------------------------------------


def next_try_s(hands: Hands) -> float:
    due_at = hands.worker.due_at
    assert due_at is not None
    return due_at - hands.now


def test_the_network_is_back(start: Any) -> None:
    hands = start()
    due = hands.take()
    for _ in range(12):
        hands.unreached(due, NetworkError("gone"))
    assert next_try_s(hands) > 60
    hands.worker.network_returned(hands.now)
    assert next_try_s(hands) <= 0
    assert hands.take().paths == frozenset()
    hands.unreached(Due(frozenset(), capped=False, since=hands.now), NetworkError("no names yet"))
    assert next_try_s(hands) <= 2, "the first time, the rest begins anew"


@pytest.mark.parametrize(
    "error",
    [TransientError("503"), NetworkError("429", "wait", 3600.0), AuthError("who are you"), TransientError("disk full")],
    ids=str,
)
def test_what_the_network_has_nothing_to_do_with_rests_on(start: Any, error: TransientError) -> None:
    hands = start()
    due = hands.take()
    for _ in range(12):
        hands.end(due, None, error)
    before = next_try_s(hands)
    assert before > 60
    hands.worker.network_returned(hands.now)
    hands.pass_time(2)
    assert next_try_s(hands) == before - 2


def test_a_network_that_comes_and_goes_is_no_way_around_the_rest(start: Any) -> None:
    hands = start()
    hands.unreached(hands.take(), NetworkError("gone"))
    tries, began = [], hands.now
    for _ in range(3600):
        hands.worker.network_returned(hands.now)
        if (due := hands.worker.take(hands.now)) is not None:
            tries.append(hands.now)
            hands.unreached(due, NetworkError("gone"))
        hands.pass_time(1)
    assert len([one for one in tries if one > began + 600]) <= 3000 / PASSING_S[1] * 3
    assert len(tries) <= 60


def test_awake_again_everything_is_looked_at_and_verified(start: Any) -> None:
    hands = start()
    due = hands.take()
    hands.end(due)
    hands.unreached(due, NetworkError("gone"))
    hands.worker.woke(hands.now)
    due = hands.take()
    assert due.paths is None
