"""May a file be taken now? The decision alone, with the clock passed in; `probe` is tested on real files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.line.settle import Seen, Writer, judge
from lfssync.model import Signature

SIGNATURE = Signature(1, 2, 3, 4, 0o100644)


@pytest.mark.parametrize(
    ("writer", "stands_still_s", "reason"),
    [
        (Writer.PRESENT, 0.0, "open for writing"),
        (Writer.PRESENT, 1e6, "open for writing"),
        (Writer.ABSENT, 0.0, None),
        (Writer.ABSENT, 1e6, None),
        (Writer.UNKNOWN, 0.0, "still changing"),
        (Writer.UNKNOWN, 4.999, "still changing"),
        (Writer.UNKNOWN, 5.0, None),
        (Writer.UNKNOWN, 1e6, None),
    ],
)
def test_judge(writer: Writer, stands_still_s: float, reason: str | None) -> None:
    assert judge(writer, Seen(SIGNATURE, 1000.0), 1000.0 + stands_still_s, 5.0) == reason


def test_without_a_quiet_time_nothing_that_no_writer_is_known_of_waits() -> None:
    assert judge(Writer.UNKNOWN, Seen(SIGNATURE, 7.0), 7.0, 0.0) is None


@given(st.sampled_from(Writer), st.floats(0, 1e9), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_may_be_taken_may_still_be_taken_later(
    writer: Writer, since_s: float, wait_s: float, longer_s: float, quiet_s: float
) -> None:
    seen = Seen(SIGNATURE, since_s)
    if judge(writer, seen, since_s + wait_s, quiet_s) is None:
        assert judge(writer, seen, since_s + wait_s + longer_s, quiet_s) is None
