"""How much may be kept while the remote is out of reach, and who gets it: tables, without a disk."""

from __future__ import annotations

import pytest

from lfssync.line.keeping import Room, admit
from lfssync.model import Change, Signature

ROOM = Room(free_bytes=100, kept_bytes=10, headroom_bytes=30, limit_bytes=60)


@pytest.mark.parametrize(
    ("room", "left_bytes"),
    [
        (ROOM, 50),  # the limit is nearer
        (Room(100, 10, 60, 60), 40),  # the headroom is nearer
        (Room(100, 0, 100, 60), 0),
        (Room(100, 0, 200, 60), 0),  # less is free than shall be
        (Room(100, 80, 0, 60), 0),  # more is kept than shall be, since the limit was lowered
        (Room(0, 10, 30, 60, cloning=True), 50),  # a clone takes nothing of what is free
        (Room(100, 0, 0, 0), 0),
    ],
)
def test_room(room: Room, left_bytes: int) -> None:
    assert room.left_bytes == left_bytes


def test_what_is_kept_takes_room() -> None:
    assert ROOM.after(20).left_bytes == 30
    assert ROOM.after(20).free_bytes == 80
    cloned = Room(100, 10, 30, 60, cloning=True).after(20)
    assert (cloned.free_bytes, cloned.left_bytes) == (100, 30)


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([10, 20, 20], [10, 20, 20]),
        ([51, 10], [10]),  # one that is too large does not keep the others out
        ([30, 30, 20], [30, 20]),
        ([50, 1, 0], [50, 0]),
    ],
)
def test_files_are_taken_in_their_order_as_long_as_they_fit(sizes: list[int], taken: list[int]) -> None:
    changes = [Change(b"%d" % number, Signature(size, 0, 0, 0, 0o100644), None) for number, size in enumerate(sizes)]
    admitted, waiting = admit(changes, ROOM)
    assert [change.signature.size_bytes for change in admitted] == taken
    assert {change.path for change in changes} == {one.path for one in admitted} | {one.path for one in waiting}
    for one in waiting:
        assert "out of reach" in one.reason
        assert "may be kept here" in one.reason
