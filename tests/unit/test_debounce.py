"""When a pass is due: tables for the rules, properties for what must hold in any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.model import EVERYTHING, Hint
from lfssync.rules.debounce import MAX_PATHS, Debounce, Due

QUIET_S = 5.0
MAX_WAIT_S = 60.0


def debounce(min_interval_s: float = 0.0, max_paths: int = MAX_PATHS) -> Debounce:
    return Debounce(QUIET_S, MAX_WAIT_S, min_interval_s, max_paths)


def taken(subject: Debounce, now: float) -> Due:
    due = subject.take(now)
    assert due is not None
    return due


def within(path: bytes, paths: frozenset[bytes] | None) -> bool:
    """True when a scan of `paths` looks at `path`; the plain definition, without any cleverness."""
    return paths is None or any(path == other or path.startswith(other + b"/") for other in paths)


@pytest.mark.parametrize(
    ("hints_at", "due_at"),
    [
        ([], None),
        ([100.0], 105.0),
        ([100.0, 103.0], 108.0),
        ([100.0, 104.0, 108.0], 113.0),
        ([100.0, *(100.0 + 4 * step for step in range(1, 15))], 160.0),
        ([0.0], 5.0),
    ],
)
def test_due_when_writing_rests_or_at_the_cap(hints_at: list[float], due_at: float | None) -> None:
    subject = debounce()
    for now in hints_at:
        subject.add(Hint(b"model.safetensors"), now)
    assert subject.due_at == due_at
    assert subject.pending_since == (hints_at[0] if hints_at else None)


def test_nothing_is_taken_too_early_and_nothing_twice() -> None:
    subject = debounce()
    assert subject.take(100.0) is None
    subject.add(Hint(b"a"), 100.0)
    assert subject.take(104.9) is None
    assert subject.take(105.0) == Due(frozenset({b"a"}), capped=False, since=100.0)
    assert subject.take(1000.0) is None
    assert subject.pending_since is None


def test_an_endless_writer_is_taken_at_the_pace_of_the_cap() -> None:
    subject = debounce()
    passes = []
    for now in range(200):
        subject.add(Hint(b"events.tfevents"), float(now))
        if due := subject.take(float(now)):
            passes.append((now, due.capped))
    assert passes == [(60, True), (121, True), (182, True)]


def test_a_cap_that_is_met_after_writing_rested_is_no_cap() -> None:
    subject = debounce()
    subject.add(Hint(b"a"), 0.0)
    assert taken(subject, 500.0).capped is False


def test_hints_during_a_pass_belong_to_the_next_one() -> None:
    subject = debounce()
    subject.add(Hint(b"first"), 0.0)
    assert taken(subject, 5.0).paths == frozenset({b"first"})
    subject.add(Hint(b"second"), 6.0)
    assert subject.pending_since == 6.0
    assert taken(subject, 11.0) == Due(frozenset({b"second"}), capped=False, since=6.0)


@pytest.mark.parametrize(
    ("hinted", "paths"),
    [
        ([b"a", b"a"], {b"a"}),
        ([b"d/x", b"d/y"], {b"d/x", b"d/y"}),
        ([b"d/x", b"d/e/y", b"d"], {b"d"}),
        ([b"d", b"d/x", b"d/e/y"], {b"d"}),
        ([b"d", b"d2/x", b"d-x"], {b"d", b"d2/x", b"d-x"}),
        ([b"d/e/f/g", b"d/e", b"d/h"], {b"d/e", b"d/h"}),
        ([b"\xff\n/-rf", b":(top)*"], {b"\xff\n/-rf", b":(top)*"}),
        ([b"a", None], None),
        ([None, b"a"], None),
        ([b"a", b""], None),
    ],
)
def test_a_hinted_folder_swallows_what_is_below(hinted: list[bytes | None], paths: set[bytes] | None) -> None:
    subject = debounce()
    for path in hinted:
        subject.add(Hint(path), 0.0)
    assert taken(subject, 5.0).paths == (None if paths is None else frozenset(paths))


def test_too_many_paths_become_everything() -> None:
    subject = debounce()
    for number in range(MAX_PATHS):
        subject.add(Hint(b"step-%d/model.bin" % number), 0.0)
    assert len(taken(subject, 5.0).paths or ()) == MAX_PATHS
    for number in range(MAX_PATHS + 1):
        subject.add(Hint(b"step-%d/model.bin" % number), 10.0)
    assert taken(subject, 15.0).paths is None


def test_a_storm_below_one_folder_stays_one_path() -> None:
    subject = debounce()
    for number in range(MAX_PATHS):
        subject.add(Hint(b"d/%d" % number), 0.0)
    subject.add(Hint(b"d"), 0.0)
    for number in range(3 * MAX_PATHS):
        subject.add(Hint(b"d/%d" % number), 0.0)
    subject.add(Hint(b"other"), 0.0)
    assert taken(subject, 5.0).paths == frozenset({b"d", b"other"})


def test_a_push_keeps_the_next_pass_waiting() -> None:
    subject = debounce(min_interval_s=30.0)
    subject.add(Hint(b"a"), 0.0)
    taken(subject, 5.0)
    subject.pushed(7.0)
    subject.add(Hint(b"b"), 8.0)
    assert subject.due_at == 37.0
    assert subject.take(36.9) is None
    assert taken(subject, 37.0).paths == frozenset({b"b"})


def test_deferred_paths_are_looked_at_again_without_an_event() -> None:
    subject = debounce()
    subject.add(Hint(b"open.bin"), 0.0)
    subject.add(Hint(b"done.bin"), 0.0)
    taken(subject, 5.0)
    subject.defer([b"open.bin"], at=15.0)
    assert (subject.due_at, subject.pending_since) == (15.0, 0.0)
    assert taken(subject, 15.0) == Due(frozenset({b"open.bin"}), capped=False, since=0.0)
    assert subject.due_at is None


def test_a_deferral_does_not_hurry_other_hints() -> None:
    subject = debounce()
    subject.add(Hint(b"open.bin"), 0.0)
    taken(subject, 5.0)
    subject.defer([b"open.bin"], at=15.0)
    subject.add(Hint(b"busy.bin"), 14.0)
    assert taken(subject, 15.0).paths == frozenset({b"open.bin"})
    assert taken(subject, 19.0).paths == frozenset({b"busy.bin"})


def test_a_deferred_path_is_left_alone_until_the_earliest_time_named() -> None:
    subject = debounce()
    subject.add(Hint(b"open.bin"), 0.0)
    taken(subject, 5.0)
    subject.defer([b"open.bin"], at=50.0)
    subject.defer([b"open.bin"], at=60.0)
    subject.add(Hint(b"done.bin"), 10.0)
    assert taken(subject, 15.0).paths == frozenset({b"done.bin"})
    assert subject.due_at == 50.0


def test_a_pass_that_covers_a_deferred_path_answers_for_it() -> None:
    subject = debounce()
    subject.add(Hint(b"d/open.bin"), 0.0)
    taken(subject, 5.0)
    subject.defer([b"d/open.bin"], at=50.0)
    subject.add(Hint(b"d"), 10.0)
    assert taken(subject, 15.0).paths == frozenset({b"d"})
    assert subject.due_at is None
    subject.defer([b"d/open.bin"], at=25.0)
    assert subject.pending_since == 0.0


def test_what_stays_deferred_for_max_wait_is_capped_and_then_waits_anew() -> None:
    subject = debounce()
    subject.add(Hint(b"held-open.log"), 0.0)
    now, passes = taken(subject, 5.0).since + 5.0, []
    while now < 180.0:
        subject.defer([b"held-open.log"], at=now + 10.0)
        now += 10.0
        passes.append((now, taken(subject, now).capped))
    assert [moment for moment, capped in passes if capped] == [65.0, 125.0, 185.0]


def test_too_many_deferred_paths_become_everything() -> None:
    subject = debounce(max_paths=3)
    subject.add(EVERYTHING, 0.0)
    taken(subject, 5.0)
    subject.defer([b"a", b"b", b"c"], at=20.0)
    subject.defer([b"d"], at=10.0)
    assert subject.due_at == 10.0
    assert taken(subject, 10.0) == Due(None, capped=False, since=0.0)
    assert subject.due_at is None


def test_a_failed_pass_is_put_back_with_its_age_and_held() -> None:
    subject = debounce()
    for now in range(61):
        subject.add(Hint(b"a"), float(now))
    failed = taken(subject, 60.0)
    assert failed.capped
    subject.put_back(failed)
    subject.hold(90.0)
    subject.add(Hint(b"b"), 70.0)
    assert subject.due_at == 90.0
    assert subject.take(89.0) is None
    assert taken(subject, 90.0) == Due(frozenset({b"a", b"b"}), capped=True, since=0.0)


def test_everything_on_demand_leaves_nothing_waiting() -> None:
    subject = debounce(min_interval_s=30.0)
    subject.add(Hint(b"a"), 0.0)
    taken(subject, 5.0)
    subject.defer([b"a"], at=50.0)
    subject.add(Hint(b"b"), 6.0)
    subject.pushed(6.0)
    assert subject.take_everything(7.0) == Due(None, capped=False, since=0.0)
    assert (subject.due_at, subject.pending_since) == (None, None)
    assert subject.take_everything(8.0) == Due(None, capped=False, since=8.0)


gaps = st.floats(min_value=0.0, max_value=2 * MAX_WAIT_S, allow_nan=False) | st.floats(min_value=0.0, max_value=QUIET_S)
names = st.sampled_from([b"a", b"b", b"a-", b"\xff", b"-rf"])
paths_of_names = st.lists(names, min_size=1, max_size=3).map(b"/".join)


@given(st.lists(gaps, min_size=1, max_size=60))
def test_between_the_quiet_time_and_the_cap(between: list[float]) -> None:
    subject = debounce()
    now = 1000.0
    batch: list[float] = []
    for gap in [*between, 10 * MAX_WAIT_S]:
        now += gap
        # The caller sleeps until due_at or the next hint, whichever comes first.
        while (due_at := subject.due_at) is not None and due_at <= now:
            due = taken(subject, due_at)
            assert due.since == batch[0]
            assert due_at <= batch[0] + MAX_WAIT_S
            assert due_at >= batch[-1] + QUIET_S or (due.capped and due_at == batch[0] + MAX_WAIT_S)
            assert due.capped == (due_at < batch[-1] + QUIET_S)
            batch = []
        subject.add(Hint(b"a"), now)
        batch.append(now)


@given(st.lists(paths_of_names | st.just(b"") | st.none(), max_size=30), st.integers(min_value=1, max_value=8))
def test_the_paths_cover_every_hint_and_nothing_else(hinted: list[bytes | None], max_paths: int) -> None:
    subject = debounce(max_paths=max_paths)
    for path in hinted:
        subject.add(Hint(path), 0.0)
    due = subject.take(5.0)
    assert (due is None) == (not hinted)
    if due is None:
        return
    apart = {
        path for path in hinted if path and not any(within(path, frozenset({o})) for o in hinted if o and o != path)
    }
    if due.paths is None:
        assert None in hinted or b"" in hinted or len(set(hinted)) > max_paths
    else:
        assert due.paths == apart
        assert len(due.paths) <= max_paths


class Owed:
    """What the debounce still owes a look, kept as a plain set."""

    def __init__(self) -> None:
        self.paths: set[bytes] = set()

    def settle(self, due: Due) -> set[bytes]:
        looked_at = {path for path in self.paths if within(path, due.paths)}
        self.paths -= looked_at
        return looked_at


@given(st.data())
def test_no_hint_is_lost_whatever_happens_to_the_passes(data: st.DataObject) -> None:
    subject = debounce(min_interval_s=data.draw(st.sampled_from([0.0, 20.0])), max_paths=data.draw(st.integers(1, 5)))
    owed = Owed()
    now = 0.0
    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(gaps)
        due = subject.take(now)
        if due is None:
            path = data.draw(paths_of_names)
            subject.add(Hint(path), now)
            owed.paths.add(path)
            continue
        looked_at = owed.settle(due)
        # An event arrives while the pass runs, even on a path that the pass looks at.
        arrived = data.draw(paths_of_names)
        subject.add(Hint(arrived), now)
        owed.paths.add(arrived)
        match data.draw(st.sampled_from(["done", "some deferred", "failed"])):
            case "some deferred":
                left = data.draw(st.sets(st.sampled_from(sorted(looked_at)))) if looked_at else set()
                subject.defer(left, now + data.draw(gaps))
                owed.paths |= left
            case "failed":
                subject.put_back(due)
                subject.hold(now + data.draw(gaps))
                owed.paths |= looked_at
            case _:
                subject.pushed(now)
    while (due_at := subject.due_at) is not None:
        owed.settle(taken(subject, due_at))
    assert not owed.paths
    assert subject.pending_since is None


# -- looks ahead ----------------------------------------------------------------------------------------------------


def ahead(ahead_s: float = 15.0) -> Debounce:
    return Debounce(5.0, 60.0, ahead_s=ahead_s)


def test_while_writing_goes_on_it_is_looked_at_without_being_taken() -> None:
    subject = ahead()
    looks = []
    for now in range(61):
        subject.add(Hint(b"a"), float(now))
        if due := subject.take(float(now)) or subject.look_ahead(float(now)):
            looks.append((now, due))
    look = Due(frozenset({b"a"}), capped=False, since=0.0, is_ahead=True)
    assert looks == [(15, look), (30, look), (45, look), (60, Due(frozenset({b"a"}), capped=True, since=0.0))]


def test_what_rests_soon_is_not_looked_at_before() -> None:
    subject = ahead(4.0)
    subject.add(Hint(b"a"), 0.0)
    assert subject.ahead_at == 4.0
    other = ahead(5.0)
    other.add(Hint(b"a"), 0.0)
    assert other.ahead_at is None
    assert other.look_ahead(5.0) is None


def test_the_next_batch_is_looked_at_anew() -> None:
    subject = ahead(4.0)
    subject.add(Hint(b"a"), 0.0)
    assert subject.look_ahead(4.0)
    subject.take(5.0)
    subject.add(Hint(b"b"), 6.0)
    assert subject.ahead_at == 10.0
    assert subject.look_ahead(9.9) is None
    assert subject.look_ahead(10.0) == Due(frozenset({b"b"}), capped=False, since=6.0, is_ahead=True)


def test_nothing_is_looked_at_while_passes_are_held_back() -> None:
    subject = ahead(4.0)
    subject.hold(100.0)
    for now in range(50):
        subject.add(Hint(b"a"), float(now))
        assert subject.look_ahead(float(now)) is None


def test_without_a_pace_there_are_no_looks_ahead() -> None:
    subject = debounce()
    subject.add(Hint(b"a"), 0.0)
    assert subject.ahead_at is None
