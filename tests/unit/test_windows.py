"""Hours of the day: tables for what may be written, and a year of moments in zones that change their clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lfssync.errors import UserError
from lfssync.rules.windows import Wall, Window, is_open, opens_at, parse

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns")
YEAR = (datetime(2026, 1, 1, tzinfo=UTC).timestamp(), datetime(2027, 1, 1, tzinfo=UTC).timestamp())
WINDOW = st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda one: one[0] != one[1])


def wall_of(zone: str) -> Wall:
    return lambda at: datetime.fromtimestamp(at, ZoneInfo(zone)).timetuple()


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("", ()),
        ("22:00-07:00", (Window(22 * 60, 7 * 60),)),
        ("22:00-07:00, 12:00 - 13:30", (Window(22 * 60, 7 * 60), Window(12 * 60, 13 * 60 + 30))),
        ("0:00-24:00", (Window(0, 24 * 60),)),
    ],
)
def test_what_may_be_written(text: str, windows: tuple[Window, ...]) -> None:
    assert parse(text) == windows


@pytest.mark.parametrize(
    "text",
    ["22-7", "22:00", "22:00-07:00,", "24:01-07:00", "24:00-07:00", "22:60-07:00", "25:00-07:00", "7:00-7:00",
     "-1:00-2:00", "٢٢:00-07:00", "22:00-07:00 12:00-13:00"],
)  # fmt: skip
def test_what_may_not(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-23T06:59:59", None),
        ("2026-11-23T07:00:00", "2026-11-23T12:00:00"),
        ("2026-11-23T11:59:59", "2026-11-23T12:00:00"),
        ("2026-11-23T12:59:00", None),
        ("2026-11-23T13:00:00", "2026-11-23T22:00:00"),
        ("2026-11-23T22:00:00", None),
        ("2026-11-24T00:00:00", None),
    ],
)
def test_when_it_opens(moment: str, opens: str | None) -> None:
    windows = parse("22:00-07:00, 12:00-13:00")
    found = opens_at(windows, at(moment), wall_of("Europe/Berlin"))
    assert found == (None if opens is None else at(opens))


@pytest.mark.parametrize(
    ("windows", "moment", "opens"),
    [
        ("03:00-04:00", "2026-03-28T23:00:00", "2026-03-29T03:00:00"),  # the night is an hour shorter
        ("03:00-04:00", "2026-10-24T23:00:00", "2026-10-25T03:00:00"),  # ... and an hour longer
        ("02:15-02:45", "2026-03-28T23:00:00", "2026-03-30T02:15:00"),  # leapt over
        ("02:15-03:15", "2026-03-28T23:00:00", "2026-03-29T03:00:00"),  # ... its beginning only
    ],
)
def test_the_nights_on_which_clocks_are_changed(windows: str, moment: str, opens: str) -> None:
    assert opens_at(parse(windows), at(moment), wall_of("Europe/Berlin")) == at(opens)


@example(zone="Europe/Berlin", windows=[(135, 165)], moment=at("2026-03-28T23:00:00"))
@given(zone=st.sampled_from(ZONES), windows=st.lists(WINDOW, min_size=1, max_size=3), moment=st.floats(*YEAR))
def test_it_opens_when_the_wall_says_so_and_not_before(
    zone: str, windows: list[tuple[int, int]], moment: float
) -> None:
    wall, own = wall_of(zone), [Window(*one) for one in windows]
    opens = opens_at(own, moment, wall)
    assert (opens is None) == is_open(own, moment, wall)
    if opens is not None:
        assert is_open(own, opens, wall)
        assert moment < opens <= moment + 2 * 86400
        between = [moment + step * 600 for step in range(int((opens - moment) // 600) + 1)]
        assert not [one for one in (*between, opens - 1) if moment <= one < opens and is_open(own, one, wall)]


def test_this_machines_own_clock() -> None:
    now = time.time()
    shown = time.localtime(now)
    minute = shown.tm_hour * 60 + shown.tm_min
    assert is_open([Window(minute, (minute + 2) % 1440 or 1440)], now)
    assert not is_open([Window((minute + 2) % 1440, (minute + 4) % 1440 or 1440)], now)
