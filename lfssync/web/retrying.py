"""Trying again: how often, and how long to wait in between.

Below the line, under transfers and hosts. The one thing to know: this bridges seconds, within one pass. What lasts
longer is the daemon's matter, which runs the whole pass again; a server that asks for a longer wait gets it from there.

Source: full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lfssync.errors import StoppedError, TransientError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How much patience there is.

    Args:
        tries: At most so many attempts.
        first_s: The longest first pause; doubled each time.
        last_s: No pause is longer.
        asked_s: A server that wants more than this is not waited for here.
    """

    tries: int = 6
    first_s: float = 0.5
    last_s: float = 20.0
    asked_s: float = 60.0

    def pause_s(self, failures: int, error: TransientError, draw: float) -> float | None:
        """How long to wait after so many failures, or None to give up.

        Args:
            failures: At least 1.
            error: The last one.
            draw: From 0 to 1, at random.
        """
        if failures >= self.tries:
            return None
        if error.retry_after_s is not None:  # a little later each, for others were told the same moment
            return error.retry_after_s + draw * self.first_s if error.retry_after_s <= self.asked_s else None
        return draw * min(self.first_s * 2.0 ** (failures - 1), self.last_s)


def stopped_error() -> StoppedError:
    """What is raised when it was told to stop."""
    return StoppedError()


def persist(action: Callable[[], T], stop: threading.Event | None = None, patience: Patience | None = None) -> T:
    """Do something until it works or patience ends.

    Args:
        action: Raises `TransientError` for what may work when tried again.
        stop: When set, nothing is tried any more.
        patience: How long to go on.

    Raises:
        TransientError: The last one, when patience ended.
    """
    stop, patience = stop or threading.Event(), patience or Patience()
    failures = 0
    while True:
        try:
            return action()
        except StoppedError:
            raise
        except TransientError as error:
            failures += 1
            pause_s = patience.pause_s(failures, error, random.random())  # noqa: S311 (jitter, not a secret)
            if pause_s is None or stop.wait(pause_s):
                raise
