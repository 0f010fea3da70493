"""What a long-running process owes to its surroundings: signals, limits, and where it hung when it is ended for that.

Used by `daemon`. The one thing to know: a signal handler interrupts the main thread anywhere, also where it holds a
lock. So it only hands on what shall be done, through the `put` of a `queue.SimpleQueue`, which may interrupt itself;
an `Event` may not.

Source: signal-safety in the documentation of queue.SimpleQueue; getrlimit(2); WatchdogSignal= in systemd.kill(5).
"""

from __future__ import annotations

import contextlib
import faulthandler
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping

Job = Callable[[], None]
"""What the main thread shall do."""

_DESCRIPTORS = 1 << 16


@contextlib.contextmanager
def on_signals(jobs: Mapping[signal.Signals, Job], put: Callable[[Job], None]) -> Iterator[None]:
    """Hand on a job whenever its signal comes; the handlers that were there come back afterwards.

    Args:
        jobs: What shall be done for each signal.
        put: Takes the job; must be safe to be interrupted by itself.
    """
    before = {number: signal.signal(number, lambda *_, job=job: put(job)) for number, job in jobs.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def allow_descriptors() -> None:
    """Raise our own limit of open files as far as we may: every mirror takes a few, and their transfers more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def tell_where_it_hangs() -> None:
    """Have the service manager's signal to a process that hangs, SIGABRT, write down where every thread stands."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):  # nowhere to write it
        faulthandler.enable(sys.__stderr__ or sys.stderr)
