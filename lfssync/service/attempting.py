"""One pass of a mirror in a thread of the daemon's, and how it ended.

Between `worker`, which decides when, and `firstpass`. The one thing to know: whatever goes wrong comes out as a value,
a bug included, because an exception would end nothing but the thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import Mirror, PassResult
from lfssync.rules.debounce import Due
from lfssync.service import journal
from lfssync.service.firstpass import run_pass
from lfssync.service.journal import MirrorLog


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended: what it looked at, its result or its error, and how long it took in seconds."""

    due: Due
    result: PassResult | None
    error: LfssyncError | None
    took_s: float


@dataclass(slots=True)
class UnderWay:
    """A pass under way, for whoever may have to break it off: the worker that began it, or the one in its place.

    Args:
        asks: Whether it asks the remote.
        is_broken_off: Whether its session was stopped for the sake of this pass alone.
        is_over: Whether it ended.
    """

    asks: bool
    is_broken_off: bool = False
    is_over: bool = False


def attempt(mirror: Mirror, state_dir: Path, due: Due, order: Order, session: Session) -> Outcome:
    """Run one pass to its end.

    Args:
        mirror: Which mirror.
        state_dir: Its state folder.
        due: Why it is run.
        order: See `Order`.
        session: See `Session`.
    """
    result: PassResult | None = None
    failure: LfssyncError | None = None
    began = time.monotonic()
    try:
        result = run_pass(mirror, state_dir, order, session)
    except LfssyncError as error:
        failure = error
    except Exception as error:  # noqa: BLE001  a bug must not end the mirror: it is shown, logged and tried again
        MirrorLog(mirror.name).exception("a pass failed", fields={"MESSAGE_ID": journal.FAILED})
        failure = LfssyncError(f"internal: {type(error).__name__}: {error}", "please report it with the log")
    return Outcome(due, result, failure, time.monotonic() - began)
