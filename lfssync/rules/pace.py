"""Why a mirror waits with what it could do, and until when.

Used by `worker`, which knows the moments; shown by `status`. The one thing to know: moments that people read are
seconds since the epoch, those that the daemon reckons with are monotonic; `at_epoch` leads from one to the other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class Why(StrEnum):
    """What keeps a mirror from going on; the words are part of what `status` answers."""

    PAUSED = "paused"
    ONLY_BETWEEN = "only_between"
    BACK_OFF = "back-off"
    COMMITS_PER_HOUR = "commits_per_hour"
    MIN_INTERVAL = "min_interval"


class Waits(NamedTuple):
    """What a mirror waits for.

    Args:
        why: What keeps it.
        until: In seconds since the epoch; None when nobody knows.
    """

    why: Why
    until: float | None

    def document(self) -> dict[str, Any]:
        """As it travels to those who ask."""
        return {"why": self.why.value, "until": self.until}


def at_epoch(moment: float, monotonic: float, now: float) -> float:
    """A moment in whole seconds since the epoch.

    Args:
        moment: In monotonic seconds.
        monotonic: Now, in the same.
        now: Now, in seconds since the epoch.
    """
    return float(round(now + moment - monotonic))
