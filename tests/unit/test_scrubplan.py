"""How much of a remote is looked at on a day, and which objects: tables, without a clock."""

from __future__ import annotations

import random

import pytest

from lfssync.model import LfsObject
from lfssync.rules.scrubplan import AT_LEAST, DAY_S, DAYS, all_seen_since, longest_unseen, portion

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("objects", "since_last_s", "count"),
    [
        (0, None, 0),
        (5, None, 5),
        (5, DAY_S, 5),
        (5, DAY_S - 1, 0),
        (5, 0.0, 0),
        (5, -10.0, 5),  # the clock was put back
        (1000, DAY_S, 34),
        (600, DAY_S, 20),
        (100_000, 7 * DAY_S, 3334),  # days that were missed are not made up for
    ],
)
def test_portion(objects: int, since_last_s: float | None, count: int) -> None:
    last_at = None if since_last_s is None else NOW - since_last_s
    assert portion(objects, last_at, NOW) == count


def objects(count: int) -> list[LfsObject]:
    return [LfsObject(f"{number:064x}", number + 1) for number in range(count)]


def test_those_seen_longest_ago_come_first() -> None:
    one, two, three, four = objects(4)
    seen = {one.oid: 30.0, two.oid: 10.0, four.oid: 20.0}
    assert longest_unseen([one, two, three, four], seen, 3) == [three, two, four]


@pytest.mark.parametrize("count", [1, AT_LEAST, 601, 4000])
def test_everything_has_had_its_turn_after_a_month_though_objects_are_added(count: int) -> None:
    there = objects(count)
    random.Random(count).shuffle(there)
    seen: dict[str, float] = {}
    now, last = NOW, NOW - DAY_S
    for day in range(DAYS + 2):
        share = longest_unseen(there, seen, portion(len(there), last, now))
        seen |= {lfs.oid: now for lfs in share}
        there.append(LfsObject(f"{day:063x}f", 1))
        last, now = now, now + DAY_S
    assert {lfs.oid for lfs in there[:count]} <= seen.keys()


@pytest.mark.parametrize(
    ("checked", "confirmed", "since"),
    [
        ({}, {}, None),
        ({0: 5.0, 1: 7.0}, {}, 5.0),
        ({0: 5.0}, {}, None),
        ({0: 5.0}, {1: 3.0}, 3.0),
        ({0: 5.0}, {0: 9.0, 1: 10.0}, 9.0),
        ({0: 5.0, 1: 9.0}, {0: 2.0, 7: 1.0}, 5.0),
    ],
)
def test_since_when_all_was_seen(checked: dict[int, float], confirmed: dict[int, float], since: float | None) -> None:
    one, two = objects(2)
    known = {0: one.oid, 1: two.oid, 7: "gone"}
    both = [{known[number]: at for number, at in moments.items()} for moments in (checked, confirmed)]
    assert all_seen_since([one, two], *both) == since


def test_where_nothing_is_nothing_was_seen() -> None:
    assert all_seen_since([], {}) is None
