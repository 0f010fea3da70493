"""The hours of the day in which a mirror may deliver, as the key `only_between` has them.

Read by `settings`, asked by `pacing`; pure, with the moment and the zone passed in. The one thing to know: a window is
what the clock on the wall shows, so it is compared with that each time, also on the two odd days of a year. Only the
moment that is told to people is reckoned ahead, minute by minute: ask for it when a window closes, not all the time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lfssync.errors import UserError

DAY_MIN = 24 * 60
_DAYS = 3
"""A window that the wall clock leaps over is not there on one day, but on the next."""

_WINDOW = r"([01]?\d|2[0-4]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)"

Wall = Callable[[float], time.struct_time]
"""What the clock on the wall shows at a moment in seconds since the epoch; `time.localtime` for this machine's."""


class Window(NamedTuple):
    """One window, in minutes since midnight; it ends on the next day when the end comes before the start.

    Args:
        start_min: Its first minute.
        end_min: The first minute after it.
    """

    start_min: int
    end_min: int

    def holds(self, minute: int) -> bool:
        """Whether it is open at a minute of the day."""
        if self.start_min < self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min


def parse(text: str) -> tuple[Window, ...]:
    """The windows in a text such as `22:00-07:00, 12:00-13:00`; none in an empty one, which is no limit.

    Raises:
        UserError: It says something else.
    """
    return tuple(_window(part.strip()) for part in text.split(",")) if text.strip() else ()


def _window(text: str) -> Window:
    remedy = 'write it like "22:00-07:00", several with commas between them'
    match = re.fullmatch(_WINDOW, text, re.ASCII)
    if not match:
        raise UserError(f"{text!r} is no time of day from one to another", remedy)
    start_min, end_min = (int(match[hour]) * 60 + int(match[hour + 1]) for hour in (1, 3))
    if max(start_min, end_min) > DAY_MIN or start_min == DAY_MIN:
        raise UserError(f"{text!r} goes beyond the day", remedy)
    if start_min == end_min:
        raise UserError(f"{text!r} begins when it ends", "leave the key out, or choose another end")
    return Window(start_min, end_min)


def is_open(windows: Sequence[Window], at: float, wall: Wall = time.localtime) -> bool:
    """Whether it is time to deliver.

    Args:
        windows: When that is; none means always.
        at: The moment, in seconds since the epoch.
        wall: See `Wall`.
    """
    return not windows or any(window.holds(_minute(at, wall)) for window in windows)


def opens_at(windows: Sequence[Window], at: float, wall: Wall = time.localtime) -> float | None:
    """When it is time to deliver again, in seconds since the epoch; None when it is now.

    Args:
        windows: When that is; none means always.
        at: The moment, in the same.
        wall: See `Wall`.
    """
    if is_open(windows, at, wall):
        return None
    whole = at - at % 60  # every zone's clock is put forward or back by whole minutes
    ahead = (whole + minute * 60 for minute in range(1, _DAYS * DAY_MIN))
    return next((one for one in ahead if is_open(windows, one, wall)), None)


def _minute(at: float, wall: Wall) -> int:
    shown = wall(at)
    return shown.tm_hour * 60 + shown.tm_min
