from __future__ import annotations

import threading
import time

from lfssync.lifeline import Lifeline, silent
from lfssync.model import State
from lfssync.service.notifying import Doing, status_line

LIMIT_S = 10.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_looks_whether_to_stop_lives() -> None:
    clock = Clock()
    lifeline = Lifeline(clock)
    with lifeline.at_work():
        for _ in range(5):
            clock.now += LIMIT_S
            assert not lifeline.hangs(LIMIT_S)
            assert not lifeline.is_set()
        clock.now += LIMIT_S + 1
        assert lifeline.hangs(LIMIT_S)
        assert not lifeline.is_set()
        assert not lifeline.hangs(LIMIT_S)


def test_nothing_is_expected_of_what_is_not_at_work() -> None:
    clock = Clock()
    lifeline = Lifeline(clock)
    clock.now += 1000
    assert not lifeline.hangs(LIMIT_S)
    with lifeline.at_work():
        assert not lifeline.hangs(LIMIT_S)  # the time before does not count
        with lifeline.at_work():
            clock.now += LIMIT_S + 1
        assert lifeline.hangs(LIMIT_S)
    assert not lifeline.hangs(LIMIT_S)


def test_a_wait_that_was_told_beforehand_may_be_silent_for_as_long() -> None:
    clock = Clock()
    lifeline = Lifeline(clock)
    with lifeline.at_work():
        with silent(lifeline, 300.0):
            clock.now += 299
            assert not lifeline.hangs(LIMIT_S)
            clock.now += 2
            assert lifeline.hangs(LIMIT_S)
        assert not lifeline.hangs(LIMIT_S)
        clock.now += LIMIT_S + 1
        assert lifeline.hangs(LIMIT_S)


def test_whoever_only_looks_after_others_gives_no_sign_of_life() -> None:
    clock = Clock()
    lifeline = Lifeline(clock)
    with lifeline.at_work():
        clock.now += LIMIT_S + 1
        assert not threading.Event.is_set(lifeline)
        assert lifeline.hangs(LIMIT_S)


def test_waiting_is_told_by_itself_and_ends_at_the_word() -> None:
    lifeline = Lifeline()
    with lifeline.at_work():
        waits = threading.Thread(target=lifeline.wait, args=(60.0,))
        waits.start()
        deadline = time.monotonic() + 5
        while lifeline.hangs(0.0) and time.monotonic() < deadline:
            pass
        assert not lifeline.hangs(0.0)
        lifeline.set()
        waits.join(5)
        assert not waits.is_alive()
        assert lifeline.is_set()


def test_an_event_of_somebody_elses_will_do() -> None:
    with silent(threading.Event(), 1.0):
        pass


def test_a_line_about_all_mirrors() -> None:
    def doings(*states: State, left_bytes: int = 0) -> list[Doing]:
        return [Doing(str(number), state, left_bytes, Lifeline()) for number, state in enumerate(states)]

    assert status_line([]) == "no mirrors"
    assert status_line(doings(State.IDLE)) == "1 mirror: idle"
    assert status_line(doings(State.UPLOADING, left_bytes=3_200_000_000)) == "1 mirror: uploading (3.2 GB left)"
    many = doings(*[State.IDLE] * 10, State.OFFLINE) + doings(State.UPLOADING, left_bytes=3_200_000_000)
    assert status_line(many) == "12 mirrors: 10 idle, 1 uploading (3.2 GB left), 1 offline"
    assert status_line(many, {"b", "a"}) == "a, b: hangs, to be started anew"
