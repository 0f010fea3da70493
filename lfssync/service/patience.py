"""What went wrong with one mirror, and how long it rests for that.

Owned by `worker`; the rule for the rest is in `backoff`. The one thing to know: when the network is back, a mirror that
rests because of the network does not any more. A network that comes and goes all the time does not make that a way
around the rest: each time it counts for less.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lfssync.errors import LfssyncError, TransientError, is_network
from lfssync.rules import backoff

EASE_FIRST_S = 30.0
"""So long after the network was back it does not count again; doubled each time, as long as nothing gets through."""

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a mirror does not get on, and since when in seconds since the epoch."""

    error: LfssyncError
    since: float


class Patience:
    """The rest of one mirror.

    Args:
        clock: Seconds since the epoch.
        draw: From 0 to 1, at random.
    """

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float] = random.random) -> None:
        self.trouble: Trouble | None = None
        self.held_until = _NEVER
        """In monotonic seconds."""
        self.failures = 0
        self._clock = clock
        self._draw = draw
        self._ease_at = _NEVER
        self._eased = 0
        self._is_network_back = False

    @property
    def passes_by_itself(self) -> bool:
        """Whether nothing is wrong, or nothing that only a person can mend."""
        return self.trouble is None or isinstance(self.trouble.error, TransientError)

    def hold(self, until: float) -> None:
        """Rest until then in any case, in monotonic seconds."""
        self.held_until = max(self.held_until, until)

    def failed(self, error: LfssyncError, now: float) -> float:
        """A pass failed; gives how long is rested, in seconds.

        Args:
            error: Why.
            now: Monotonic seconds.
        """
        self.failures += 1
        pause_s = backoff.pause_s(error, self.failures, self._draw())
        self.held_until = now + pause_s
        if self.trouble is None or str(self.trouble.error) != str(error):
            self.trouble = Trouble(error, self._clock())
        return pause_s

    def over(self) -> None:
        """Nothing is wrong any more."""
        self.trouble = None
        self.failures = 0
        self.held_until = _NEVER
        self._eased = 0
        self._is_network_back = False

    def network_returned(self) -> None:
        """The network is back, or may be: what failed because of it is tried again soon."""
        self._is_network_back = self.trouble is not None and is_network(self.trouble.error)

    def look(self, now: float) -> None:
        """Rest no more if the network is back and that counts again.

        Args:
            now: Monotonic seconds.
        """
        if not self._is_network_back or now < self._ease_at:
            return
        self._is_network_back = False
        if self.held_until <= now:
            return
        if not self._eased:  # names may take some seconds longer than addresses
            self.failures = 0
        self.held_until = now
        self._ease_at = now + min(EASE_FIRST_S * 2.0**self._eased, backoff.PASSING_S[1])
        self._eased = min(self._eased + 1, 16)
