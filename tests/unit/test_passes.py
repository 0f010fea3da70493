"""Who may have a pass next: fair between mirrors and between places, by tables and by workers that a test directs."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from lfssync.line.workbench import Session
from lfssync.rules.debounce import Due
from lfssync.service.attempting import Outcome
from lfssync.service.passes import AT_ONCE, YOUNG_AT_ONCE, YOUNG_S, Passes, Turn, may_begin, place_of
from lfssync.service.worker import Worker

ALL = Due(None, capped=False, since=0.0)


@dataclass
class FakeMirror:
    name: str
    remote: str


@dataclass
class FakeWorker:
    """A worker whose passes do nothing."""

    name: str
    remote: str
    due_at: float | None = 0.0
    ended: list[Outcome] = field(default_factory=list)
    session: Session = field(default_factory=Session)

    @property
    def mirror(self) -> FakeMirror:
        return FakeMirror(self.name, self.remote)

    def take(self, now: float) -> Due | None:
        self.due_at = None
        return ALL

    def work(self, due: Due) -> Outcome:
        return Outcome(due, None, None, 0.0)

    def done(self, outcome: Outcome, now: float) -> None:
        self.ended.append(outcome)


class Stage:
    """Workers, and passes that end when the test says so."""

    def __init__(self, *workers: FakeWorker) -> None:
        self.by_name = {worker.name: worker for worker in workers}
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.passes = Passes(self.jobs.put)

    def begin(self, now: float) -> float:
        return self.passes.begin(cast("dict[str, Worker]", self.by_name), now)

    @property
    def under_way(self) -> set[str]:
        return set(self.passes.workers)

    def end_one(self) -> None:
        self.jobs.get(timeout=30)()


def on(host: str, count: int, due_at: float = 0.0) -> list[FakeWorker]:
    return [FakeWorker(f"{host}-{number}", f"https://{host}/me/{number}", due_at) for number in range(count)]


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("https://huggingface.co/me/model", "huggingface.co"),
        ("https://Git.Example.org:8443/a.git", "git.example.org"),
        ("ssh://git@git.example.org:22/a.git", "git.example.org"),
        ("git@git.example.org:me/a.git", "git.example.org"),
        ("git.example.org:a.git", "git.example.org"),
        ("/mnt/nas/models/a.git", "/mnt/nas/models"),
        ("/mnt/nas/models/b.git", "/mnt/nas/models"),
        ("/a.git", "/a.git"),
    ],
)
def test_a_place_is_a_host_or_the_top_of_a_path(remote: str, place: str) -> None:
    assert place_of(remote) == place


def test_who_is_due_longest_begins_first() -> None:
    stage = Stage(*[FakeWorker(f"m{number}", f"https://h{number}/x", 9.0 - number) for number in range(10)])
    stage.begin(10.0)
    assert stage.under_way == {f"m{number}" for number in range(10 - YOUNG_AT_ONCE, 10)}
    for _ in range(YOUNG_AT_ONCE):
        stage.end_one()
    stage.begin(10.0)
    assert stage.under_way == {f"m{number}" for number in range(10 - YOUNG_AT_ONCE)}


def test_what_is_not_due_does_not_begin_and_says_when() -> None:
    stage = Stage(FakeWorker("a", "https://a/x", 7.0), FakeWorker("b", "https://b/x", 5.0))
    assert stage.begin(4.0) == 5.0
    assert stage.under_way == set()
    assert Stage(FakeWorker("a", "https://a/x", None)).begin(1.0) == float("inf")


def test_a_hanging_host_leaves_room_for_others_from_the_first_moment() -> None:
    hanging, others = on("hangs", 50), on("fine", 2, due_at=1.0)
    stage = Stage(*hanging, *others)
    stage.begin(2.0)
    assert "fine-0" in stage.under_way
    now = 2.0
    for _ in range(10):  # none of its passes ever ends
        now += YOUNG_S + 1
        stage.begin(now)
    assert sum(name.startswith("hangs") for name in stage.under_way) <= AT_ONCE // 2
    assert {"fine-0", "fine-1"} <= stage.under_way


def test_several_hanging_hosts_leave_room_for_one_that_answers_once_they_are_old() -> None:
    stage = Stage(*on("one", 20), *on("two", 20))
    stage.begin(1.0)
    assert len(stage.under_way) == YOUNG_AT_ONCE
    stage.by_name |= {worker.name: worker for worker in on("fine", 1, due_at=1.5)}
    again_at = stage.begin(2.0)
    assert again_at == 1.0 + YOUNG_S
    stage.begin(again_at)
    stage.begin(again_at + YOUNG_S)
    assert "fine-0" in stage.under_way


def test_a_mirror_that_changes_without_end_waits_for_its_turn() -> None:
    busy, quiet = FakeWorker("busy", "https://a/x", 0.0), on("a", 8, due_at=1.0)
    stage = Stage(busy, *quiet)
    began: list[str] = []
    for now in range(2, 40):
        stage.begin(float(now))
        began += sorted(stage.under_way)
        while stage.under_way:
            stage.end_one()
        busy.due_at = float(now)  # at once again, after each pass
    assert {worker.name for worker in quiet} <= set(began[:16])
    assert began.count("busy") > 30


def test_it_is_told_once_that_the_last_one_has_ended() -> None:
    stage = Stage(*on("a", 2))
    assert not stage.passes.are_over()
    stage.begin(1.0)
    assert not stage.passes.are_over()
    stage.end_one()
    assert not stage.passes.are_over()
    stage.end_one()
    assert stage.passes.are_over()
    assert not stage.passes.are_over()


def test_no_more_than_all_there_is() -> None:
    turns = [Turn(f"host{number}", -1000.0) for number in range(AT_ONCE)]
    assert not may_begin("another", turns, 0.0)
    assert may_begin("another", turns[1:], 0.0)


def test_the_end_of_a_pass_is_told_to_its_worker_even_if_it_was_dismissed() -> None:
    worker = FakeWorker("a", "https://a/x")
    stage = Stage(worker)
    stage.begin(1.0)
    stage.by_name = {"a": FakeWorker("a", "https://b/x")}
    stage.begin(1.0)
    assert stage.under_way == {"a"}
    stage.end_one()
    assert len(worker.ended) == 1
    stage.begin(1.0)
    stage.end_one()
    assert len(stage.by_name["a"].ended) == 1


def test_a_thread_that_cannot_be_started_ends_the_pass_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    worker = FakeWorker("a", "https://a/x")
    stage = Stage(worker)
    stage.begin(1.0)
    assert stage.under_way == set()
    assert "no thread could be started" in str(worker.ended[0].error)
