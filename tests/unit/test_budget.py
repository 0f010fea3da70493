"""So many commits an hour: tables for the rule, properties for what must hold whenever changes come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.rules.budget import HOUR_S, left_of, next_at

PER_HOUR = st.integers(1, 200)


def made(changes: list[float], per_hour: int) -> list[float]:
    """When the commits are made; changes that come while one waits go along with it."""
    commits: list[float] = []
    now = 0.0
    for change in changes:
        now = max(now, change)
        if commits and change <= commits[-1]:
            continue  # it went along
        at = next_at(commits, per_hour, now)
        assert next_at(commits, per_hour, at) == at, "it may be made when it was said to"
        commits.append(at)
        now = at
    return commits


@pytest.mark.parametrize(
    ("commits", "per_hour", "now", "at"),
    [
        ([], 30, 100.0, 100.0),
        ([0.0] * 14, 30, 100.0, 100.0),
        ([0.0] * 15, 30, 100.0, 225.0),  # the other half is spread over the hour
        ([0.0] * 15, 30, 300.0, 300.0),
        ([0.0] * 30, 30, 100.0, 3600.0),
        ([0.0] * 30, 30, 3600.0, 3600.0),
        ([0.0] * 30, 0, 100.0, 100.0),
        ([50.0], 1, 100.0, 3650.0),
        ([50.0], 2, 100.0, 1850.0),
        ([500.0] * 30, 30, 100.0, 100.0),  # the clock was put back
        ([0.0] * 50, 30, 100.0, 3600.0),  # people made some as well
    ],
)
def test_the_rule(commits: list[float], per_hour: int, now: float, at: float) -> None:
    assert next_at(commits, per_hour, now) == at


@given(changes=st.lists(st.floats(0, 6 * HOUR_S), max_size=400).map(sorted), per_hour=PER_HOUR)
def test_no_hour_sees_more(changes: list[float], per_hour: int) -> None:
    commits = made(changes, per_hour)
    for at in commits:
        assert len([one for one in commits if at - HOUR_S + 1e-6 < one <= at]) <= per_hour


@given(commits=st.lists(st.floats(0, HOUR_S), max_size=300).map(sorted), per_hour=PER_HOUR, now=st.floats(0, HOUR_S))
def test_nothing_waits_while_half_of_it_is_there_and_nothing_longer_than_it_must(
    commits: list[float], per_hour: int, now: float
) -> None:
    at = next_at(commits, per_hour, now)
    spent = [one for one in commits if now - HOUR_S < one <= now]
    assert now <= at <= now + HOUR_S
    if len(spent) < max(per_hour // 2, 1):
        assert at == now
    elif at > now and left_of(commits, per_hour, now):
        assert at - max(spent) <= HOUR_S / 2 + 1e-6  # sums of fractions of a second


@pytest.mark.parametrize("per_hour", [1, 2, 3, 30, 128])
def test_who_changes_something_all_the_time_gets_all_of_it(per_hour: int) -> None:
    """Over a long time the whole budget is used, and not in bursts."""
    hours = 20
    commits = made([float(second) for second in range(0, int(hours * HOUR_S), 5)], per_hour)
    assert len(commits) >= per_hour * hours * 0.9
    late = [one for one in commits if one > (hours - 2) * HOUR_S]
    gaps = [after - before for before, after in pairwise(late)]
    assert not gaps or max(gaps) <= 3 * HOUR_S / per_hour


def test_many_files_in_one_moment_are_one_commit() -> None:
    assert len(made([1.0 + number / 1e6 for number in range(400)], 1)) == 2, "one at once, the rest in the next"
