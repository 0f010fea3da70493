"""What waits between passes: since when, and what was read of it; whatever is found in the store."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.line.waiting import PATHS, Wait, Waiting
from lfssync.model import Deferred, LfsObject, Signature, Staged

SIGNATURE = Signature(7, 1, 2, 3, 0o100644)
LFS = LfsObject("ab" * 32, 7)
READ = Staged(b"a", SIGNATURE, "1" * 40, LFS)
OPEN = Deferred(b"a", "open for writing")


def test_it_counts_from_the_first_pass_that_left_a_path_behind() -> None:
    waiting = Waiting().after([OPEN], [], [], 1000.0).after([OPEN], [], [], 1200.0)
    assert waiting.waits == {b"a": Wait(1000.0)}
    assert not waiting.has_waited(b"a", 1200.0, 300.0)
    assert waiting.has_waited(b"a", 1300.0, 300.0)
    assert waiting.has_waited(b"a", 1299.0, 300.0)  # two clocks
    assert not waiting.has_waited(b"b", 9999.0, 300.0)


def test_a_clock_that_was_put_back_starts_anew() -> None:
    assert Waiting({b"a": Wait(1000.0)}).after([OPEN], [], [], 500.0).waits == {b"a": Wait(500.0)}


def test_what_was_taken_does_not_wait_any_more() -> None:
    waiting = Waiting().after([OPEN], [], [], 1.0)
    assert waiting.after([], [READ], [], 2.0) == Waiting()
    assert waiting.after([], [], [b"a"], 2.0) == Waiting()
    assert waiting.after([], [], [], 2.0) == Waiting()  # new, and gone again


def test_what_was_read_and_waits_for_others_need_not_be_read_again() -> None:
    waiting = Waiting().after([Deferred(b"a", "waits for b: missing"), Deferred(b"c", "x")], [READ], [], 1.0)
    assert waiting.was_read(b"a", SIGNATURE) == LFS
    assert waiting.was_read(b"a", Signature(7, 1, 2, 4, 0o100644)) is None
    assert waiting.was_read(b"c", SIGNATURE) is None
    assert waiting.was_read(b"d", SIGNATURE) is None
    assert waiting.after([OPEN], [], [], 2.0).was_read(b"a", SIGNATURE) is None


def test_of_an_open_file_the_rest_waits_from_then_on() -> None:
    prefix = Staged(b"a", SIGNATURE, "1" * 40, LFS, is_prefix=True)
    waiting = Waiting({b"a": Wait(1.0)}).after([], [prefix], [], 300.0)
    assert waiting.waits == {b"a": Wait(300.0, is_appended=True)}
    assert waiting.looked_at([b"x"]) == frozenset({b"x"})  # it waits for nothing; an event tells when it grew
    assert waiting.after([], [], [], 400.0) == waiting
    assert waiting.after([OPEN], [], [], 500.0).has_waited(b"a", 601.0, 300.0)
    assert waiting.after([], [], [b"a"], 400.0) == Waiting()


def test_passes_look_at_all_that_waits() -> None:
    waiting = Waiting().after([OPEN], [], [], 1.0)
    assert waiting.looked_at([b"x"]) == frozenset({b"a", b"x"})


def test_it_is_bounded() -> None:
    waiting = Waiting().after([Deferred(b"%d" % number, "x") for number in range(PATHS + 5)], [], [], 1.0)
    assert len(waiting.waits) == PATHS
    assert waiting.looked_at([b"x"]) is None


@given(
    st.dictionaries(
        st.binary(min_size=1),
        st.builds(Wait, st.floats(0, 1e10), is_appended=st.booleans()) | st.just(Wait(1.0, SIGNATURE, LFS)),
    )
)
def test_the_store_gives_back_what_it_got(waits: dict[bytes, Wait]) -> None:
    assert Waiting.of(json.loads(json.dumps(Waiting(waits).document()))) == Waiting(waits)


@pytest.mark.parametrize("document", [None, 1, "x", [1], [["a"]], [["a", 1.0, False, "oid", 1, 2]], {"a": 1}])
def test_what_another_version_wrote_is_forgotten(document: object) -> None:
    assert Waiting.of(document) == Waiting()


def test_what_was_sent_ahead_is_known_and_nothing_is_forgotten() -> None:
    waiting = Waiting({b"c": Wait(1.0)}).with_read([READ, Staged(b"plain", SIGNATURE, "1" * 40)], 5.0)
    assert waiting.waits == {b"a": Wait(5.0, SIGNATURE, LFS), b"c": Wait(1.0)}
    full = Waiting({b"%d" % number: Wait(1.0) for number in range(PATHS)})
    assert full.with_read([READ], 5.0) == full
