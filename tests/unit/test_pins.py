"""How many files each pass may hold open: tables, and what becomes of a share when others come and go."""

from __future__ import annotations

import pytest

from lfssync.line.pins import LEAST, MOST, Pins, budget, share_of


@pytest.mark.parametrize(
    ("limit", "total"), [(64, LEAST), (100, 18), (256, 96), (1024, 480), (1 << 16, 32736), (0, LEAST)]
)
def test_budget(limit: int, total: int) -> None:
    assert budget(limit) == total


@pytest.mark.parametrize(
    ("total", "passes", "held_by_others", "share"),
    [
        (480, 1, 0, MOST),
        (480, 4, 0, 120),
        (480, 4, 400, 80),  # others began when there were fewer, and have not let go yet
        (480, 4, 480, LEAST),
        (96, 1, 0, 96),
        (LEAST, 10, 40, LEAST),
        (1 << 20, 10, 0, MOST),
    ],
)
def test_share(total: int, passes: int, held_by_others: int, share: int) -> None:
    assert share_of(total, passes, held_by_others) == share


def test_a_share_shrinks_when_others_come_and_grows_when_they_go() -> None:
    pins = Pins(lambda: 264)  # a budget of 100
    with pins.share() as one:
        assert one.reads + one.sends == 100
        one.read, one.unsent = 50, 40
        with pins.share() as other:
            assert other.reads + other.sends == 10
            assert one.reads + one.sends == 50
            one.read = one.unsent = 0
            assert other.reads + other.sends == 50
        assert one.reads + one.sends == 100


def test_all_passes_together_never_get_more_than_there_is() -> None:
    pins = Pins(lambda: 264)
    with pins.share() as first, pins.share() as second, pins.share() as third:
        for share in (first, second, third, first, second, third):
            share.read, share.unsent = share.reads, share.sends
        assert sum(share.read + share.unsent for share in (first, second, third)) <= 100


def test_the_limit_may_be_raised_meanwhile() -> None:
    limits = iter([64, 4096])
    pins = Pins(lambda: next(limits))
    with pins.share() as share:
        assert share.reads == LEAST // 2
        assert share.reads == MOST // 2
