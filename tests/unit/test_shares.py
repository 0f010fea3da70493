"""What all passes share: nobody gets more than there is, and no host more than its part."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from lfssync.shares import Sharing, hash_block

PATIENCE_S = 30.0


def test_a_block_is_hashed_by_any_number_of_threads() -> None:
    def digest(number: int) -> str:
        hashed = hashlib.sha256()
        for _ in range(20):
            hash_block(hashed, bytes([number]) * 10_000)
        return hashed.hexdigest()

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(digest, range(64)))
    assert found == [hashlib.sha256(bytes([number]) * 200_000).hexdigest() for number in range(64)]


def test_no_more_than_there_are_at_a_time_and_everybody_has_a_turn() -> None:
    sharing, stop, lock = Sharing(4, 3), threading.Event(), threading.Lock()
    now: dict[str, int] = {"a": 0, "b": 0}
    most: dict[str, int] = {"a": 0, "b": 0, "all": 0}

    def work(host: str) -> None:
        with sharing.one(host, stop):
            with lock:
                now[host] += 1
                most[host] = max(most[host], now[host])
                most["all"] = max(most["all"], sum(now.values()))
            with lock:
                now[host] -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, ["a", "b"] * 200))
    assert most["a"] <= 3
    assert most["b"] <= 3
    assert most["all"] <= 4


def test_a_host_that_has_its_part_does_not_keep_another_from_going_on() -> None:
    sharing, stop, entered = Sharing(4, 2), threading.Event(), threading.Event()

    def third() -> None:
        with sharing.one("hangs", stop):
            entered.set()

    with ExitStack() as hanging:
        for _ in range(2):
            hanging.enter_context(sharing.one("hangs", stop))
        waiting = threading.Thread(target=third)
        waiting.start()
        with sharing.one("fine", stop), sharing.one("fine", stop):
            assert not entered.wait(0.3)
    assert entered.wait(PATIENCE_S)
    waiting.join()


def test_who_is_told_to_stop_waits_no_longer() -> None:
    sharing, stop = Sharing(1, 1), threading.Event()
    entered = threading.Event()

    def second() -> None:
        with sharing.one("a", stop):
            entered.set()

    with sharing.one("a", stop):
        waiting = threading.Thread(target=second)
        waiting.start()
        stop.set()
        assert entered.wait(PATIENCE_S)
    waiting.join()
    with sharing.one("a", threading.Event()):
        pass  # and nothing is taken for good
