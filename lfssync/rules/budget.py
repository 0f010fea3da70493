"""How often a mirror may commit, where its host takes only so many commits an hour.

Asked by `pacing`; pure, with the moments passed in. The one thing to know: half of the budget may go at once, the other
half is spread over the rest of the hour. So a change after a quiet time never waits, and there is never a long silence
because everything was spent at its start. Whatever comes in between goes along in the next commit.
"""

from __future__ import annotations

from collections.abc import Sequence

HOUR_S = 3600.0


def next_at(commits: Sequence[float], per_hour: int, now: float) -> float:
    """When the next commit may be made; `now` when that is at once.

    No hour ever sees more than `per_hour` commits when each is made at this moment or later.

    Args:
        commits: When commits were made, the oldest first, in seconds by any clock; those after `now` do not count,
            because the clock was put back since.
        per_hour: How many an hour may see; 0 is no limit.
        now: Now, by the same clock.
    """
    at, known = now, _last_hour(commits, now)
    while (later := _spread(_last_hour(known, at), per_hour, at)) > at:  # again whenever an old one stops counting
        at = later
    return at


def _spread(last: Sequence[float], per_hour: int, now: float) -> float:
    """When the next commit may be made, by those of the last hour alone."""
    if not per_hour or len(last) < max(per_hour // 2, 1):
        return now
    left = max(per_hour - len(last), 0)
    room_at = last[-per_hour:][0] + HOUR_S  # then there is room for one more in any case
    return max(now, last[-1] + (room_at - last[-1]) / (left + 1))


def left_of(commits: Sequence[float], per_hour: int, now: float) -> int:
    """How many commits may still be made in this hour.

    Args:
        commits: See `next_at`.
        per_hour: How many an hour may see, above 0.
        now: See `next_at`.
    """
    return max(per_hour - len(_last_hour(commits, now)), 0)


def _last_hour(commits: Sequence[float], now: float) -> list[float]:
    return [at for at in commits if now - HOUR_S < at <= now]
