"""What a gauge says of made-up passes, by a clock that is turned by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lfssync.model import Plan, Progress, State
from lfssync.service.gauge import RATE_OVER_S, Gauge

MIB = 1 << 20
READ, SEND = State.STAGING, State.UPLOADING


class Clock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pass_that_reads_and_then_sends() -> None:
    gauge = Gauge(Clock())
    assert gauge.headway() is None
    gauge(Plan(READ, 3, 9 * MIB))
    gauge(Progress(READ, b"a", 4 * MIB, 4 * MIB))
    reads = gauge.headway()
    assert reads is not None
    assert (reads.state, reads.files, reads.files_total, reads.done_bytes, reads.size_bytes) == (
        *(READ, 1, 3, 4 * MIB, 9 * MIB),
    )
    gauge(Plan(SEND, 1, 4 * MIB))
    gauge(Progress(SEND, b"a", MIB, 4 * MIB))
    sends = gauge.headway()
    assert sends is not None
    assert (sends.state, sends.files, sends.files_total) == (SEND, 0, 3)
    assert (sends.done_bytes, sends.size_bytes) == (MIB, 9 * MIB)  # what is not read yet will be sent as well
    gauge(Progress(SEND, b"a", 4 * MIB, 4 * MIB))
    gauge(Progress(READ, b"b", 5 * MIB - 2, 5 * MIB - 2))
    gauge(Progress(READ, b"c", 2, 2))
    then = gauge.headway()
    assert then is not None
    assert (then.files, then.files_total) == (1, 2)  # c was too small to be sent by itself
    assert (then.done_bytes, then.size_bytes) == (4 * MIB, 9 * MIB - 2)
    gauge.clear()
    assert gauge.headway() is None
    assert (gauge.read_bytes, gauge.sent_bytes) == (9 * MIB, 4 * MIB)


def test_the_rate_is_that_of_the_last_seconds_and_sinks_while_nothing_moves() -> None:
    clock = Clock()
    gauge = Gauge(clock)
    gauge(Plan(SEND, 1, 1000 * MIB))
    gauge(Progress(SEND, b"a", 0, 1000 * MIB))
    first = gauge.headway()
    assert first is not None
    assert (first.rate, first.left_s) == (None, None)
    for second in range(1, 31):
        clock.now += 1
        gauge(Progress(SEND, b"a", second * MIB, 1000 * MIB))
    steady = gauge.headway()
    assert steady is not None
    assert steady.rate == MIB
    assert steady.left_s == 970
    clock.now += RATE_OVER_S
    stuck = gauge.headway()
    assert stuck is not None
    assert stuck.rate is not None
    assert stuck.rate < MIB


def test_somebody_elses_pass_is_counted_and_told() -> None:
    gauge = Gauge(Clock())
    heard: list[Plan | Progress] = []
    with gauge.beside(heard.append) as monitor:
        monitor(Plan(SEND, 1, MIB))
        assert gauge.headway() is not None
    assert gauge.headway() is None
    assert heard == [Plan(SEND, 1, MIB)]
    gauge(Plan(SEND, 1, MIB))
    with gauge.beside(heard.append):
        pass  # it only waited for the lock
    assert gauge.headway() is not None


def test_who_waits_for_a_pass_is_told_of_what_is_left_of_it_and_of_how_it_goes_on() -> None:
    gauge = Gauge(Clock())
    gauge(Plan(READ, 1, MIB))
    gauge(Progress(READ, b"a", MIB, MIB))  # of which nothing is left to tell
    gauge(Plan(SEND, 3, 9 * MIB))
    gauge(Progress(SEND, b"a", 4 * MIB, 4 * MIB))
    gauge(Progress(SEND, b"b", MIB, 3 * MIB))
    heard: list[Plan | Progress] = []
    also: list[Plan | Progress] = []
    with gauge.beside(heard.append) as monitor:
        assert heard == [Plan(SEND, 2, 5 * MIB), Progress(SEND, b"b", MIB, 3 * MIB)]
        gauge(Progress(SEND, b"b", 3 * MIB, 3 * MIB))
        gauge(Progress(SEND, b"c", 2 * MIB, 2 * MIB))
        assert heard[2:] == [Progress(SEND, b"b", 3 * MIB, 3 * MIB), Progress(SEND, b"c", 2 * MIB, 2 * MIB)]
        with gauge.beside(also.append):
            monitor(Plan(READ, 1, 5))
        gauge(Plan(READ, 2, 6))
    gauge(Plan(READ, 3, 7))
    assert heard[4:] == [Plan(READ, 1, 5), Plan(READ, 2, 6)]
    assert also == [Plan(READ, 1, 5)]


@given(
    st.lists(
        st.one_of(
            st.builds(Plan, st.sampled_from([READ, SEND]), st.integers(0, 3), st.integers(0, 5 * MIB)),
            st.builds(
                lambda state, name, done, size: Progress(state, name, min(done, size), size),
                st.sampled_from([READ, SEND, State.PUSHING]),
                st.sampled_from([b"a", b"b"]),
                st.integers(0, 3 * MIB),
                st.integers(0, 3 * MIB),
            ),
        )
    )
)
def test_whatever_is_told_nothing_goes_beyond_its_end(events: list[Plan | Progress]) -> None:
    clock = Clock()
    gauge = Gauge(clock)
    for event in events:
        clock.now += 0.7
        sent = gauge.sent_bytes
        gauge(event)
        assert gauge.sent_bytes >= sent
        headway = gauge.headway()
        if headway is not None:
            assert 0 <= headway.files <= headway.files_total
            assert headway.done_bytes <= headway.size_bytes
            assert headway.rate is None or headway.rate >= 0
